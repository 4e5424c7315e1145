// What belongs to a user: node scripts/show-user-details.js <userId>
import { requireEnv } from '../lib/config.js';
import { pool, rows } from '../lib/db.js';

requireEnv('DATABASE_URL');
const [user] = await rows(
  `SELECT "id", "email", (SELECT count(*)::int FROM "Project" WHERE "userId" = u."id") AS "projects",
     (SELECT count(*)::int FROM "Photo" WHERE "userId" = u."id") AS "photos" FROM "User" u WHERE "id" = $1`,
  [process.argv[2] ?? ''],
);
if (user) process.stdout.write(`${JSON.stringify(user)}\n`);
else {
  process.stderr.write(`fatal: no such user: ${process.argv[2] ?? ''}\n`);
  process.exitCode = 1;
}
await pool().end();
