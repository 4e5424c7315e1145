import { createHash, randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { config, requireEnv, SERVICE_ENV } from './config.js';
import * as executions from './executions.js';
import { log } from './log.js';
import { patient } from './redis.js';

requireEnv(...SERVICE_ENV, 'GEMINI_API_KEY');

const redis = patient('worker');
const queue = executions.openQueue((type) => (type === 'client' ? redis : patient(type, { enableReadyCheck: false })));

// Stands for the call to the Gemini API: it takes its time and answers with something that depends on the prompt.
async function generateImage(prompt) {
  await delay(config.worker.promptMs);
  return `sha256:${createHash('sha256').update(prompt).digest('hex')}`;
}

// At least once: a run may end anywhere, and the next one continues after the last prompt whose result was stored.
async function run(job) {
  const { executionId: id, prompts } = job.data;
  const runId = randomUUID();
  if (!(await executions.begin(redis, id, runId))) return;
  log.info('execution started', { execution: id, run: runId, prompts: prompts.length });
  for (const [n, prompt] of prompts.entries()) {
    if (!(await executions.hasResult(redis, id, n))) {
      await executions.saveResult(redis, id, n, await generateImage(prompt));
    }
    await job.progress(Math.round((100 * (n + 1)) / prompts.length));
  }
  await executions.complete(redis, id, runId);
  log.info('execution completed', { execution: id, run: runId });
}

queue.on('stalled', (job) => log.warn('execution taken over', { execution: job.data.executionId }));
queue.on('failed', async (job, error) => {
  const { executionId: id } = job.data;
  try {
    // Also reported for a try that will be repeated.
    const given_up = await job.isFailed();
    if (given_up) await executions.fail(redis, id, error.message);
    log.error('execution failed', { execution: id, attempt: job.attemptsMade, given_up, error: error.message });
  } catch (problem) {
    log.error('failure not recorded', { execution: id, error: problem.message });
  }
});

queue.process(config.worker.concurrency, run).catch((error) => {
  log.error('queue not processed', { error: error.message });
  process.exit(1);
});
log.info('processing', { queue: executions.QUEUE, concurrency: config.worker.concurrency });

let stopping = false;
async function stop(signal) {
  if (stopping) return;
  stopping = true;
  log.info('stopping', { signal });
  const finished = queue.close().then(() => true);
  const inTime = await Promise.race([finished, delay(config.shutdownGraceMs, false)]);
  // What is unfinished keeps its lock for a few seconds, then another worker, or this one restarted, continues it.
  if (inTime) log.info('stopped');
  else log.warn('stopped with executions unfinished');
  process.exit(0);
}
process.on('SIGTERM', stop);
process.on('SIGINT', stop);
