// PostgreSQL by DATABASE_URL, which may lead through a pooler: no session state, no named statements.
import pg from 'pg';
import { config } from './config.js';
import { log } from './log.js';

// Next.js may load a module once per route; the pool is one per process.
export function pool() {
  if (!globalThis.moverzPool) {
    globalThis.moverzPool = new pg.Pool({
      connectionString: config.databaseUrl,
      max: 8,
      connectionTimeoutMillis: 3000,
      query_timeout: 5000,
      application_name: `moverz ${config.version}`,
    });
    globalThis.moverzPool.on('error', (error) => log.warn('database connection lost', { error: error.message }));
  }
  return globalThis.moverzPool;
}

export const rows = async (sql, values) => (await pool().query(sql, values)).rows;
