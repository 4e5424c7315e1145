// Deletes a user with all that belongs to the user: node scripts/delete-user.js <userId>
import { requireEnv } from '../lib/config.js';
import { pool, rows } from '../lib/db.js';

requireEnv('DATABASE_URL');
const deleted = await rows('DELETE FROM "User" WHERE "id" = $1 RETURNING "id"', [process.argv[2] ?? '']);
if (deleted.length === 1) process.stdout.write(`deleted ${deleted[0].id}\n`);
else {
  process.stderr.write(`fatal: no such user: ${process.argv[2] ?? ''}\n`);
  process.exitCode = 1;
}
await pool().end();
