// Applies the numbered migrations that are not recorded as applied yet, in order, and names what it did on stdout.
// One at a time: a second process waits for nothing and changes nothing, it fails and says who holds the lock.
import { randomUUID } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import os from 'node:os';
import { REDIS_ENV, requireEnv } from './config.js';
import { patient } from './redis.js';

requireEnv(...REDIS_ENV);

const RECORD = 'schema:migrations';
const LOCK = 'schema:lock';
const LOCK_MS = 10 * 60 * 1000; // ends by itself when the holder was killed

const directory = new URL('./migrations/', import.meta.url);
const names = (await readdir(directory)).filter((name) => /^\d{3}-.+\.js$/.test(name)).sort();

const redis = patient('migrate', { retryStrategy: (attempt) => (attempt > 20 ? null : 200) });
const owner = `${os.hostname()}/${randomUUID()}`;

try {
  if ((await redis.set(LOCK, owner, 'PX', LOCK_MS, 'NX')) !== 'OK') {
    throw new Error(`another migration is running: ${await redis.get(LOCK)}`);
  }
  try {
    const done = new Set(await redis.hkeys(RECORD));
    const pending = names.filter((name) => !done.has(name));
    for (const name of pending) {
      const { up } = await import(new URL(name, directory));
      await up(redis);
      await redis.hset(RECORD, name, new Date().toISOString());
      process.stdout.write(`${JSON.stringify({ migration: name, applied: true })}\n`);
    }
    process.stdout.write(`${JSON.stringify({ applied: pending.length, present: names.length })}\n`);
  } finally {
    if ((await redis.get(LOCK)) === owner) await redis.del(LOCK);
  }
} catch (error) {
  process.stderr.write(`fatal: migration: ${error.message}\n`);
  process.exitCode = 1;
}
redis.disconnect();
