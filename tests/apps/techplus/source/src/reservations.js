// Reservations: a row in PostgreSQL and a job in BullMQ that confirms it. Each run of a job leaves a row of its own.
import { Queue } from 'bullmq';
import { CONTACT } from './columns.js';
import { version } from './release.js';

export const QUEUE = 'reservations';

export function openQueue(connection) {
  return new Queue(QUEUE, {
    connection,
    defaultJobOptions: { attempts: 5, backoff: { type: 'fixed', delay: 1000 }, removeOnComplete: { age: 3600, count: 1000 } },
  });
}

// Fails on a database that lacks what this release needs.
export const check = (database) => database.query(`SELECT ${CONTACT} FROM reservations LIMIT 0`);

// Whoever did not get an answer repeats the call with the same id and ends with one row and one job.
export async function submit(database, queue, { id, date, guests, contact }) {
  const { rowCount } = await database.query(
    `INSERT INTO reservations (id, date, guests, ${CONTACT}, management_token, token_expires_at)
     VALUES ($1, $2, $3, $4, gen_random_uuid(), now() + interval '7 days') ON CONFLICT (id) DO NOTHING`,
    [id, date, guests, contact],
  );
  const found = await find(database, id);
  if (found.status === 'PENDING') await queue.add('confirm', { id }, { jobId: id });
  return { isNew: rowCount === 1, found };
}

export async function find(database, id) {
  const { rows: [row] } = await database.query(
    `SELECT id, status, to_char(date, 'YYYY-MM-DD') AS date, guests, ${CONTACT} AS contact,
            (SELECT count(*)::int FROM reservation_runs WHERE reservation = id) AS starts,
            (SELECT count(*)::int FROM reservation_runs WHERE reservation = id AND completed_at IS NOT NULL) AS completions
     FROM reservations WHERE id = $1`,
    [id],
  );
  return row ?? null;
}

async function pending(database) {
  const { rows } = await database.query("SELECT id FROM reservations WHERE status = 'PENDING'");
  return rows.map(({ id }) => id);
}

// How many reservations are in which state, and the two things that must never be: one that waits without a job (lost),
// and one whose job ran to its end more than once (repeated).
export async function summary(database, redis, queue) {
  const waiting = await pending(database);
  const pipeline = redis.pipeline();
  for (const id of waiting) pipeline.exists(queue.toKey(id));
  const exists = await pipeline.exec();
  const without = waiting.filter((_id, n) => exists[n][1] === 0);
  // A job that ended between the two readings is not lost.
  const still = new Set(without.length > 0 ? await pending(database) : []);
  const counts = await database.query('SELECT status, count(*)::int AS count FROM reservations GROUP BY status ORDER BY status');
  const runs = await database.query('SELECT count(*)::int AS starts, count(completed_at)::int AS completions FROM reservation_runs');
  const repeated = await database.query(
    'SELECT reservation FROM reservation_runs WHERE completed_at IS NOT NULL GROUP BY reservation HAVING count(*) > 1 ORDER BY reservation',
  );
  return {
    total: counts.rows.reduce((sum, { count }) => sum + count, 0),
    counts: Object.fromEntries(counts.rows.map(({ status, count }) => [status, count])),
    ...runs.rows[0],
    lost: without.filter((id) => still.has(id)),
    repeated: repeated.rows.map(({ reservation }) => reservation),
  };
}

// The worker's side. `begin` says whether there is anything left to do.
export async function begin(database, id, run) {
  const { rowCount } = await database.query(
    `INSERT INTO reservation_runs (run, reservation, version)
     SELECT $2, id, $3 FROM reservations WHERE id = $1 AND status = 'PENDING'`,
    [id, run, version],
  );
  return rowCount === 1;
}

// One statement, so that a reservation is confirmed and its run ended together or not at all.
export const complete = (database, id, run) => database.query(
  `WITH ended AS (UPDATE reservation_runs SET completed_at = now() WHERE run = $2 RETURNING reservation)
   UPDATE reservations SET status = 'CONFIRMED' FROM ended WHERE id = $1 AND id = reservation`,
  [id, run],
);
