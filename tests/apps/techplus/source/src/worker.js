import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { Worker } from 'bullmq';
import { config, requireEnv, SERVICE_ENV } from './config.js';
import { openDatabase } from './database.js';
import { watchProcess } from './errors.js';
import { log } from './log.js';
import { connect } from './redis.js';
import { HEARTBEAT, HEARTBEAT_SECONDS } from './worker-health.js';
import * as reservations from './reservations.js';

requireEnv(...SERVICE_ENV);
watchProcess();

const database = openDatabase();
const redis = connect('worker');

// At least once: a run may end anywhere, and the next one begins anew.
async function confirm(job) {
  const { id } = job.data;
  const run = randomUUID();
  if (!(await reservations.begin(database, id, run))) return;
  log.info('reservation begun', { reservation: id, run });
  await delay(config.reservationMs);
  await reservations.complete(database, id, run);
  log.info('reservation confirmed', { reservation: id, run });
}

const worker = new Worker(reservations.QUEUE, confirm, {
  connection: redis,
  concurrency: config.concurrency,
  // A killed worker's lock ends after at most 8 s and the next check, 3 s apart, hands the job on.
  lockDuration: 8000,
  stalledInterval: 3000,
  // Crashes of the worker are not the job's fault.
  maxStalledCount: 20,
});
worker.on('error', (error) => log.warn('worker', { error: error.message }));
worker.on('stalled', (id) => log.warn('reservation taken over', { reservation: id }));
worker.on('failed', (job, error) => log.error('reservation failed', { reservation: job?.id, attempt: job?.attemptsMade, error: error.message }));

await worker.waitUntilReady();
const beat = () => redis.set(HEARTBEAT, String(process.pid), 'EX', HEARTBEAT_SECONDS).catch((error) => log.warn('no heartbeat', { error: error.message }));
await beat();
const heart = setInterval(beat, 2000);
log.info('processing', { queue: reservations.QUEUE, concurrency: config.concurrency });
process.send?.('ready');

let stopping = false;
async function stop(signal) {
  if (stopping) return;
  stopping = true;
  log.info('stopping', { signal });
  clearInterval(heart);
  // What is unfinished keeps its lock for a few seconds, then another worker, or this one restarted, runs it again.
  const inTime = await Promise.race([worker.close().then(() => true), delay(config.shutdownGraceMs, false)]);
  if (inTime) log.info('stopped');
  else log.warn('stopped with reservations unfinished');
  process.exit(inTime ? 0 : 1);
}
process.on('SIGTERM', stop);
process.on('SIGINT', stop); // pm2's own
