// Rows by table.
import { requireEnv } from '../lib/config.js';
import { pool, rows } from '../lib/db.js';

requireEnv('DATABASE_URL');
const counts = {};
for (const table of ['User', 'Project', 'Room', 'Photo', 'AiMetric']) {
  const [{ count }] = await rows(`SELECT count(*)::int AS "count" FROM "${table}"`);
  counts[table] = count;
}
process.stdout.write(`${JSON.stringify(counts)}\n`);
await pool().end();
