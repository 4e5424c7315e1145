import pg from 'pg';
import { config } from './config.js';
import { log } from './log.js';

export function openDatabase() {
  const pool = new pg.Pool({
    connectionString: config.databaseUrl,
    application_name: 'techplus',
    max: 5,
    connectionTimeoutMillis: 5000,
    idleTimeoutMillis: 60_000,
    query_timeout: 5000,
  });
  pool.on('error', (error) => log.warn('database connection lost', { error: error.message }));
  return pool;
}
