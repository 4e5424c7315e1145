// Stands for the Prisma command of the guide: migrations of this image in prisma/migrations, Prisma's own table of what was
// done, Prisma's exit codes. Everything goes through DIRECT_URL, past any pooler.
//
//   npx prisma migrate deploy                     apply what is pending, in order
//   npx prisma migrate status                     one line for each: applied, pending, failed, unknown; exit 1 unless all applied
//   npx prisma migrate resolve --rolled-back NAME a failed one may be tried again
//   npx prisma db push --force-reset              delete all data and begin anew
import { createHash, randomUUID } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import pg from 'pg';
import { config, requireEnv } from '../lib/config.js';

const DIRECTORY = new URL('../prisma/migrations/', import.meta.url);
const LOCK = 0x6d6f7672; // one migration at a time, whoever starts it

class Refused extends Error {}
const say = (text) => process.stdout.write(`${text}\n`);

async function present() {
  const names = (await readdir(DIRECTORY)).sort();
  return Promise.all(names.map(async (name) => {
    const sql = await readFile(new URL(`${name}/migration.sql`, DIRECTORY), 'utf8');
    return { name, sql, irreversible: sql.startsWith('-- irreversible') };
  }));
}

// What the database says: the name of each migration that was begun and not rolled back, and whether it ended.
async function begun(client) {
  const [table] = (await client.query(`SELECT to_regclass('_prisma_migrations') AS "name"`)).rows;
  if (!table.name) return new Map();
  const done = await client.query(
    'SELECT "migration_name", bool_or("finished_at" IS NOT NULL) AS "ended" FROM "_prisma_migrations" WHERE "rolled_back_at" IS NULL GROUP BY 1',
  );
  return new Map(done.rows.map((row) => [row.migration_name, row.ended]));
}

const failedOf = (known) => [...known].filter(([, ended]) => !ended).map(([name]) => name);

async function status(client) {
  const [migrations, known] = [await present(), await begun(client)];
  const state = (name) => (known.has(name) ? (known.get(name) ? 'applied' : 'failed') : 'pending');
  const here = new Set(migrations.map(({ name }) => name));
  const lines = migrations.map(({ name, irreversible }) => [name, `${state(name)} ${name}${irreversible ? ' irreversible' : ''}`]);
  // Of a later release; this one neither applies nor undoes them.
  for (const [name, ended] of known) if (!here.has(name)) lines.push([name, `${ended ? 'unknown' : 'failed'} ${name}`]);
  for (const [, line] of lines.sort()) say(line);
  const good = lines.every(([, line]) => /^(applied|unknown) /.test(line));
  if (!good) process.exitCode = 1;
}

async function deploy(client) {
  const [{ locked }] = (await client.query('SELECT pg_try_advisory_lock($1) AS "locked"', [LOCK])).rows;
  if (!locked) throw new Refused('another migration is running');
  await client.query(`CREATE TABLE IF NOT EXISTS "_prisma_migrations" (
    "id" varchar(36) PRIMARY KEY, "checksum" varchar(64) NOT NULL, "finished_at" timestamptz, "migration_name" varchar(255) NOT NULL,
    "logs" text, "rolled_back_at" timestamptz, "started_at" timestamptz NOT NULL DEFAULT now(), "applied_steps_count" integer NOT NULL DEFAULT 0)`);
  const known = await begun(client);
  const failed = failedOf(known);
  if (failed.length > 0) throw new Refused(`P3009: failed earlier, nothing new is applied before it is resolved: ${failed.join(', ')}`);
  const migrations = await present();
  const pending = migrations.filter(({ name }) => !known.has(name));
  for (const { name, sql } of pending) {
    const id = randomUUID();
    const checksum = createHash('sha256').update(sql).digest('hex');
    await client.query('INSERT INTO "_prisma_migrations" ("id", "checksum", "migration_name") VALUES ($1, $2, $3)', [id, checksum, name]);
    say(`applying ${name}`);
    try {
      await client.query(sql); // several statements in one message: one transaction
    } catch (error) {
      await client.query('UPDATE "_prisma_migrations" SET "logs" = $2 WHERE "id" = $1', [id, error.message]);
      throw new Refused(`P3018: ${name} failed: ${error.message}`);
    }
    await client.query('UPDATE "_prisma_migrations" SET "finished_at" = now(), "applied_steps_count" = 1 WHERE "id" = $1', [id]);
  }
  say(`${pending.length} applied now, ${migrations.length} in all`);
}

async function resolve(client, name) {
  if (!failedOf(await begun(client)).includes(name)) throw new Refused(`P3012: no failed migration of this name: ${name}`);
  await client.query(
    'UPDATE "_prisma_migrations" SET "rolled_back_at" = now() WHERE "migration_name" = $1 AND "finished_at" IS NULL AND "rolled_back_at" IS NULL',
    [name],
  );
  say(`${name} is marked as rolled back`);
}

// The schema stays, so that what was granted on it stays too.
async function reset(client) {
  const tables = await client.query('SELECT quote_ident(tablename) AS "name" FROM pg_tables WHERE schemaname = current_schema()');
  if (tables.rows.length > 0) await client.query(`DROP TABLE ${tables.rows.map(({ name }) => name).join(', ')} CASCADE`);
  say(`${tables.rows.length} tables deleted`);
  await deploy(client);
}

const words = process.argv.slice(2);
const called = words.join(' ');
const commands = { 'migrate deploy': deploy, 'migrate status': status, 'db push --force-reset': reset };
const command = words.length === 4 && called.startsWith('migrate resolve --rolled-back ')
  ? (client) => resolve(client, words[3])
  : commands[called];
if (!command) {
  process.stderr.write(`fatal: not a command of this stand-in: prisma ${called}\n`);
  process.exit(64);
}

requireEnv('DIRECT_URL');
const client = new pg.Client({ connectionString: config.directUrl, connectionTimeoutMillis: 5000, application_name: 'moverz migrate' });
client.on('error', () => {}); // the query that it ends says so
// As process 1 of a container there is no default; the server notices within a second that its client is gone.
for (const signal of ['SIGTERM', 'SIGINT']) {
  process.on(signal, () => {
    process.stderr.write(`fatal: migration: ended by ${signal}\n`);
    process.exit(143);
  });
}
try {
  await client.connect();
  await client.query("SET client_connection_check_interval = '1s'");
  await command(client);
} catch (error) {
  process.stderr.write(`fatal: migration: ${error.message}\n`);
  process.exitCode = 1;
}
await client.end().catch(() => {});
