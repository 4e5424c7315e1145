// Takes photographs from the queue and has them analysed.
import { createHash, randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { Worker } from 'bullmq';
import { config, requireEnv, SERVICE_ENV } from './lib/config.js';
import { log } from './lib/log.js';
import * as metrics from './lib/metrics.js';
import * as photos from './lib/photos.js';
import { connect, QUEUE } from './lib/queue.js';

requireEnv(...SERVICE_ENV, 'OPENAI_API_KEY', 'CLAUDE_API_KEY');

// Stands for the call to a provider: it takes its time, may be too late, and answers with something that depends on the picture.
async function analyse({ name, ms = config.aiCallMs }) {
  const [provider, model] = name.includes('claude') ? ['claude', 'claude-sonnet'] : ['openai', 'gpt-4o-mini'];
  const waited = Math.min(ms, config.aiTimeoutMs);
  await delay(waited);
  const problem = ms > config.aiTimeoutMs ? `no answer within ${config.aiTimeoutMs} ms` : name.includes('unreadable') ? 'the picture cannot be read' : '';
  const costUsd = problem ? 0 : (config.imageTargetSize / 1024) ** 2 * 0.002;
  await metrics.record({ provider, model, ok: !problem, ms: waited, costUsd });
  if (problem) throw new Error(problem);
  return `${config.imageTargetSize}px sha256:${createHash('sha256').update(name).digest('hex')}`;
}

// At least once: a run may end anywhere, and another worker begins it anew.
async function run(job) {
  const { photo, name, ms } = job.data;
  const id = randomUUID();
  if (!(await photos.begin(photo, id))) return;
  log.info('photo started', { photo, run: id });
  await photos.complete(photo, id, await analyse({ name, ms }));
  log.info('photo completed', { photo, run: id });
}

const worker = new Worker(QUEUE, run, {
  connection: connect('worker', { maxRetriesPerRequest: null }),
  concurrency: config.concurrency,
  // A killed worker's lock ends after at most 8 s and the next check, 3 s apart, hands the job on.
  lockDuration: 8000,
  stalledInterval: 3000,
  // Crashes of the worker are not the job's fault; the default of 1 would fail a job at the second one.
  maxStalledCount: 20,
});
worker.on('error', (error) => log.warn('queue', { error: error.message }));
worker.on('stalled', (id) => log.warn('photo taken over', { photo: id }));
worker.on('failed', (job, error) => {
  const givenUp = job.attemptsMade >= job.opts.attempts;
  log.error('photo failed', { photo: job.data.photo, attempt: job.attemptsMade, given_up: givenUp, error: error.message });
  if (givenUp) {
    photos.fail(job.data.photo, error.message).catch((problem) => log.error('failure not recorded', { photo: job.data.photo, error: problem.message }));
  }
});
await worker.waitUntilReady();
log.info('processing', { queue: QUEUE, concurrency: config.concurrency });

let stopping = false;
async function stop(signal) {
  if (stopping) return;
  stopping = true;
  log.info('stopping', { signal });
  const finished = worker.close().then(() => true);
  const inTime = await Promise.race([finished, delay(config.shutdownGraceMs, false)]);
  // What is unfinished keeps its lock for a few seconds, then another worker, or this one restarted, takes it.
  if (inTime) log.info('stopped');
  else log.warn('stopped with photos unfinished');
  process.exit(0);
}
process.on('SIGTERM', stop);
process.on('SIGINT', stop);

if (config.fault === 'crash-later') {
  setTimeout(() => {
    log.error('this image is made to crash');
    process.exit(1);
  }, 5000);
}
