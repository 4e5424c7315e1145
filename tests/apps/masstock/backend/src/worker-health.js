// The worker's health check: can this container talk to Redis with its own credentials?
import Redis from 'ioredis';
import { config, REDIS_ENV, requireEnv } from './config.js';

requireEnv(...REDIS_ENV);
if (config.fault === 'never-healthy') {
  process.stderr.write('unhealthy: this image is made to fail\n');
  process.exit(1);
}

const redis = new Redis({ ...config.redis, lazyConnect: true, connectTimeout: 3000, commandTimeout: 3000, retryStrategy: null });
redis.on('error', () => {}); // the rejected promise below says the same
try {
  await redis.connect();
  process.stdout.write(`${await redis.ping()}\n`);
} catch (error) {
  process.stderr.write(`unhealthy: redis at ${config.redis.host}:${config.redis.port}: ${error.message}\n`);
  process.exitCode = 1;
}
redis.disconnect();
