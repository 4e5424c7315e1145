// The worker's health check: can this container talk to Redis and PostgreSQL with its own credentials?
import Redis from 'ioredis';
import pg from 'pg';
import { config, requireEnv, SERVICE_ENV } from '../lib/config.js';

requireEnv(...SERVICE_ENV);
if (config.fault === 'never-healthy') {
  process.stderr.write('unhealthy: this image is made to fail\n');
  process.exit(1);
}

async function redis() {
  const client = new Redis(config.redisUrl, { lazyConnect: true, connectTimeout: 3000, commandTimeout: 3000, retryStrategy: null });
  client.on('error', () => {}); // the rejected promise below says the same
  try {
    await client.connect();
    await client.ping();
  } finally {
    client.disconnect();
  }
}

async function database() {
  const client = new pg.Client({ connectionString: config.databaseUrl, connectionTimeoutMillis: 3000, query_timeout: 3000 });
  client.on('error', () => {});
  try {
    await client.connect();
    await client.query('SELECT 1');
  } finally {
    await client.end().catch(() => {});
  }
}

for (const [name, check] of Object.entries({ redis, database })) {
  try {
    await check();
  } catch (error) {
    process.stderr.write(`unhealthy: ${name}: ${error.message}\n`);
    process.exit(1);
  }
}
process.stdout.write('healthy\n');
