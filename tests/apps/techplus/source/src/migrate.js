// `migrate.js` applies the pending migrations in order, `migrate.js status` tells where they are, and `migrate.js resolve NAME`
// marks a failed one as rolled back. Each is one transaction; a failed one stops all that follow until it is resolved.
import { readdir, readFile } from 'node:fs/promises';
import pg from 'pg';
import { config, requireEnv } from './config.js';
import { fault, version } from './release.js';

requireEnv('DATABASE_URL');

const LOCK = 0x7ec9; // one migration at a time, whoever starts it
const RECORD = `CREATE TABLE IF NOT EXISTS schema_migrations (
  name text PRIMARY KEY, release text NOT NULL, started_at timestamptz NOT NULL DEFAULT now(), finished_at timestamptz, error text)`;
const FAULTS = { 'migration-fails': 'SELECT 1 / 0', 'migration-hangs': 'SELECT pg_sleep(3600)' };

async function present() {
  const directory = new URL('../migrations/', import.meta.url);
  const names = (await readdir(directory)).filter((name) => /^\d{3}-.+\.sql$/.test(name));
  const found = await Promise.all(names.map(async (name) => {
    const sql = await readFile(new URL(name, directory), 'utf8');
    return { name: name.slice(0, -'.sql'.length), sql, irreversible: /^-- irreversible\b/m.test(sql) };
  }));
  if (fault in FAULTS) found.push({ name: `900-${fault}`, sql: FAULTS[fault], irreversible: false });
  return found.sort((a, b) => (a.name < b.name ? -1 : 1));
}

async function recorded(client) {
  const { rows: [{ exists }] } = await client.query("SELECT to_regclass('schema_migrations') IS NOT NULL AS exists");
  return exists ? (await client.query('SELECT * FROM schema_migrations ORDER BY name')).rows : [];
}

async function status(client) {
  const files = await present();
  const rows = await recorded(client);
  const done = new Set(rows.filter((row) => row.finished_at).map((row) => row.name));
  const failed = rows.filter((row) => !row.finished_at).map((row) => row.name);
  const names = files.map((file) => file.name);
  const pending = files.filter((file) => !done.has(file.name));
  return {
    version,
    applied: [...done],
    pending: pending.map((file) => file.name).filter((name) => !failed.includes(name)),
    failed,
    // Of a later release: this one does not know what they changed.
    unknown: [...done].filter((name) => !names.includes(name)),
    irreversible: pending.filter((file) => file.irreversible).map((file) => file.name),
  };
}

async function apply(client, { name, sql }) {
  await client.query('INSERT INTO schema_migrations (name, release) VALUES ($1, $2)', [name, version]);
  try {
    await client.query(`BEGIN; ${sql}\n; UPDATE schema_migrations SET finished_at = clock_timestamp() WHERE name = '${name}'; COMMIT`);
  } catch (error) {
    await client.query('ROLLBACK');
    await client.query('UPDATE schema_migrations SET error = $2 WHERE name = $1', [name, error.message]);
    throw new Error(`${name}: ${error.message}`);
  }
  process.stdout.write(`${JSON.stringify({ migration: name, applied: true })}\n`);
}

async function migrate(client) {
  const { rows: [{ locked }] } = await client.query('SELECT pg_try_advisory_lock($1) AS locked', [LOCK]);
  if (!locked) throw new Error('another migration is running');
  await client.query(RECORD);
  const { failed } = await status(client);
  if (failed.length > 0) throw new Error(`failed before and not resolved: ${failed.join(', ')}`);
  const done = new Set((await recorded(client)).map((row) => row.name));
  const files = await present();
  const pending = files.filter((file) => !done.has(file.name));
  for (const file of pending) await apply(client, file);
  process.stdout.write(`${JSON.stringify({ applied: pending.length, present: files.length })}\n`);
}

async function resolve(client, name) {
  const { rowCount } = await client.query('DELETE FROM schema_migrations WHERE name = $1 AND finished_at IS NULL', [name]);
  if (rowCount === 0) throw new Error(`${name} is no failed migration`);
  process.stdout.write(`${JSON.stringify({ migration: name, resolved: true })}\n`);
}

const [action = 'apply', name] = process.argv.slice(2);
const client = new pg.Client({
  connectionString: config.databaseUrl,
  application_name: 'techplus-migrate',
  connectionTimeoutMillis: 5000,
  // No request waits long for a table that a migration wants for itself, and a killed migration ends in the server too.
  options: '-c lock_timeout=10s -c client_connection_check_interval=1s',
});
try {
  await client.connect();
  if (action === 'apply') await migrate(client);
  else if (action === 'resolve' && name) await resolve(client, name);
  else if (action === 'status') {
    const found = await status(client);
    process.stdout.write(`${JSON.stringify(found)}\n`);
    if (found.failed.length > 0) process.exitCode = 1;
  } else throw new Error('usage: migrate.js [apply | status | resolve NAME]');
} catch (error) {
  process.stderr.write(`fatal: migration: ${error.message}\n`);
  process.exitCode = 1;
}
await client.end().catch(() => {});
