// Executions: their record in Redis (in production Supabase keeps it) and their job in Bull's queue.
// Every write may be repeated without changing the outcome, so a lost reply or a second run never spoils a record.
import Queue from 'bull';

export const QUEUE = 'workflow-queue';
const INDEX = 'executions';
const key = (id) => `execution:${id}`;
const now = () => new Date().toISOString();

export const FINAL = new Set(['completed', 'failed']);

export function openQueue(createClient) {
  return new Queue(QUEUE, {
    createClient,
    defaultJobOptions: { removeOnComplete: true, attempts: 3, backoff: { type: 'fixed', delay: 1000 } },
    settings: {
      // A killed worker's lock ends after at most 8 s and the next check, 3 s apart, hands the job on.
      lockDuration: 8000,
      stalledInterval: 3000,
      // Crashes of the worker are not the job's fault; Bull's default of 1 would fail a job at the second one.
      maxStalledCount: 20,
      retryProcessDelay: 1000,
    },
  });
}

// MULTI/EXEC reports each command's error in its result; one failed command fails the whole.
function values(results) {
  return results.map(([error, value]) => {
    if (error) throw error;
    return value;
  });
}

// Records the execution and puts its job in the queue; true when it is new. The job's id is the execution's, so whoever did
// not get an answer repeats the call and ends with one execution and one job, also when the first call stopped half-way.
export async function submit(redis, queue, { id, prompts, priority }) {
  const [added] = values(await redis.multi()
    .sadd(INDEX, id)
    .hsetnx(key(id), 'status', 'pending')
    .hsetnx(key(id), 'created_at', now())
    .hsetnx(key(id), 'priority', priority)
    .hsetnx(key(id), 'prompts', JSON.stringify(prompts))
    .exec());
  const record = await redis.hgetall(key(id));
  if (!FINAL.has(record.status)) {
    const data = { executionId: id, prompts: JSON.parse(record.prompts), config: {} };
    await queue.add(data, { jobId: id, ...(record.priority === 'high' && { priority: 1 }) });
  }
  return added === 1;
}

// Starts and completions are one field per run, not counters: repeating a write after a lost reply does not count twice.
function present(id, record) {
  const fields = Object.keys(record);
  const results = fields.filter((field) => field.startsWith('result:'));
  return {
    id,
    status: record.status,
    priority: record.priority,
    prompts: JSON.parse(record.prompts ?? '[]').length,
    results: Object.fromEntries(results.map((field) => [field.slice('result:'.length), record[field]])),
    starts: fields.filter((field) => field.startsWith('started:')).length,
    completions: fields.filter((field) => field.startsWith('completed:')).length,
    created_at: record.created_at,
    completed_at: record.completed_at ?? null,
    error: record.error ?? null,
  };
}

export async function find(redis, ids) {
  const pipeline = redis.pipeline();
  for (const id of ids) pipeline.hgetall(key(id));
  const records = values(await pipeline.exec());
  return records.flatMap((record, n) => (record.status ? [present(ids[n], record)] : []));
}

// How many executions are in which state, and the two things that must never be: an unfinished execution without a job
// (lost), and one that ran to its end more than once (repeated).
export async function summary(redis, queue) {
  const ids = await redis.smembers(INDEX);
  const pipeline = redis.pipeline();
  for (const id of ids) pipeline.exists(queue.toKey(id));
  // Jobs first: one that completes between the two readings then shows as completed, not as lost.
  const jobs = new Map(values(await pipeline.exec()).map((exists, n) => [ids[n], exists === 1]));
  const executions = await find(redis, ids);
  const counts = { pending: 0, processing: 0, completed: 0, failed: 0 };
  for (const { status } of executions) counts[status] += 1;
  return {
    total: executions.length,
    counts,
    lost: executions.filter(({ id, status }) => !FINAL.has(status) && !jobs.get(id)).map(({ id }) => id),
    repeated: executions.filter(({ completions }) => completions > 1).map(({ id }) => id),
    executions: Object.fromEntries(executions.map(({ id, status, starts, completions }) => [id, { status, starts, completions }])),
  };
}

// The worker's side. `begin` says whether there is anything left to do.
export async function begin(redis, id, run) {
  if ((await redis.hget(key(id), 'status')) === 'completed') return false;
  values(await redis.multi().hset(key(id), `started:${run}`, now()).hset(key(id), 'status', 'processing').exec());
  return true;
}

export const hasResult = async (redis, id, n) => (await redis.hexists(key(id), `result:${n}`)) === 1;
export const saveResult = (redis, id, n, result) => redis.hsetnx(key(id), `result:${n}`, result);

export async function complete(redis, id, run) {
  values(await redis.multi()
    .hset(key(id), `completed:${run}`, now())
    .hsetnx(key(id), 'completed_at', now())
    .hset(key(id), 'status', 'completed')
    .exec());
}

export const fail = (redis, id, error) => redis.hset(key(id), 'status', 'failed', 'error', error);
