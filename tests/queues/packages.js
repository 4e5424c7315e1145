// Holds one of the real packages and does with it what lines of JSON on stdin ask for: node packages.js ALIAS
//
//   {"id": 1, "action": "add", "given": {...}, "now": null}  ->  {"id": 1, "result": ...} or {"id": 1, "error": "..."}
//
// Every action's `given` has redis {host, port, db, ...}, queue, and optionally prefix and opts (of the Queue). Actions:
//   touch                                    make the Queue, which writes what it writes at that
//   add       jobs: [{name, data, opts}]     -> ids
//   flow      flow: {name, queueName, ...}   -> id of the root (BullMQ)
//   schedule  id, repeat, template           job scheduler (BullMQ 5.16+), legacy repeatable before that, or Bull's
//   work      count, fail, result            take jobs as a worker does and finish or fail them -> ids
//   take      count                          take jobs and leave them active -> ids
//   clean     grace, limit, state            -> ids
//   retryJobs options                        (BullMQ 1.8x+; Bull 4: retryJobs)
//   retry     ids, state, options            Job.retry of each
//   remove    ids      pause   resume   drain (delayed)   obliterate (force)   counts   orphans
//   worker    name, opts, mode               a worker that runs until "stop"; keeps {done, failed, names} in state
//   ran       name                           -> what that worker did       stop  name
//   script    source, given                  body of an async function of (lib, given, queueOf, note, state)
//   close                                    close all queues and connections
"use strict";
const readline = require("readline");

const RealDate = Date;
let pinned = null;
globalThis.Date = class extends RealDate {
  constructor(...given) {
    if (given.length === 0 && pinned !== null) super(pinned);
    else super(...given);
  }
  static now() {
    return pinned === null ? RealDate.now() : pinned;
  }
};

const alias = process.argv[2];
const lib = require(alias);
const isBull = !alias.startsWith("bullmq");
const queues = new Map();
const workers = new Map();
const takers = new Map();
const state = {};
const say = (message) => process.stdout.write(JSON.stringify(message) + "\n");
const note = (message) => say({ note: message });
const quiet = () => {};

const keyOf = (given) => JSON.stringify([given.redis, given.prefix, given.queue, given.opts]);
const connectionOf = (given) => ({ ...given.redis, maxRetriesPerRequest: null, enableReadyCheck: !isBull });

function queueOf(given) {
  const key = keyOf(given);
  if (!queues.has(key)) {
    const Queue = isBull ? lib : lib.Queue;
    const shared = given.prefix === undefined ? {} : { prefix: given.prefix };
    const connection = connectionOf(given);
    const queue = isBull
      ? new Queue(given.queue, { redis: connection, ...shared, ...given.opts })
      : new Queue(given.queue, { connection, ...shared, ...given.opts });
    queue.on("error", quiet);
    queues.set(key, queue);
  }
  return queues.get(key);
}

// A worker without a processor: it takes a job when it is told to.
function takerOf(given) {
  const key = keyOf(given);
  if (!takers.has(key)) {
    const shared = given.prefix === undefined ? {} : { prefix: given.prefix };
    const taker = new lib.Worker(given.queue, null, {
      connection: connectionOf(given), autorun: false, lockDuration: 30000, ...shared, ...given.worker,
    });
    taker.on("error", quiet);
    takers.set(key, taker);
  }
  return takers.get(key);
}

async function next(given, token) {
  if (isBull) {
    const queue = queueOf(given);
    await queue.isReady();
    // getNextJob() waits for a job when there is none; this does not.
    return queue.moveToActive();
  }
  const taker = takerOf(given);
  await taker.waitUntilReady();
  return taker.getNextJob(token, { block: false });
}

const ready = async (given) => {
  const queue = queueOf(given);
  await (isBull ? queue.isReady() : queue.waitUntilReady());
  return queue;
};

const actions = {
  async touch(given) {
    await ready(given);
  },
  async add(given) {
    const queue = await ready(given);
    const ids = [];
    for (const job of given.jobs) {
      const made = isBull && job.name === undefined
        ? await queue.add(job.data || {}, job.opts)
        : await queue.add(job.name || "job", job.data || {}, job.opts);
      ids.push(made ? made.id : null);
    }
    return ids;
  },
  async flow(given) {
    const shared = given.prefix === undefined ? {} : { prefix: given.prefix };
    const key = keyOf(given) + "flow";
    if (!queues.has(key)) queues.set(key, new lib.FlowProducer({ connection: connectionOf(given), ...shared }));
    const producer = queues.get(key);
    const made = await producer.add(given.flow);
    return made.job.id;
  },
  async schedule(given) {
    const queue = await ready(given);
    if (queue.upsertJobScheduler) {
      const job = await queue.upsertJobScheduler(given.id, given.repeat, given.template);
      return job && job.id;
    }
    const template = given.template || {};
    const repeat = { ...given.repeat };
    if (repeat.pattern && (isBull || alias === "bullmq1")) {
      repeat.cron = repeat.pattern;
      delete repeat.pattern;
    }
    const job = await queue.add(template.name || given.id, template.data || {}, { ...template.opts, repeat });
    return job && job.id;
  },
  async take(given) {
    const ids = [];
    for (let i = 0; i < given.count; i++) {
      const job = await next(given, given.token || "token");
      if (!job) break;
      ids.push(job.id);
    }
    return ids;
  },
  async work(given) {
    const ids = [];
    for (let i = 0; i < given.count; i++) {
      const token = given.token || "token";
      const job = await next(given, token);
      if (!job) break;
      ids.push(job.id);
      const fail = given.fail || (job.data && job.data.fail);
      if (fail) {
        const error = new Error(given.reason || (typeof fail === "string" ? fail : "as asked"));
        error.stack = `Error: ${error.message}\n    at test`;
        await (isBull ? job.moveToFailed(error, false) : job.moveToFailed(error, token, false));
      } else {
        await (isBull ? job.moveToCompleted(given.result || "done", false, true) : job.moveToCompleted(given.result || "done", token, false));
      }
    }
    return ids;
  },
  async clean(given) {
    const queue = await ready(given);
    const removed = isBull
      ? await queue.clean(given.grace, given.state, given.limit)
      : await queue.clean(given.grace, given.limit, given.state);
    return removed;
  },
  async retryJobs(given) {
    const queue = await ready(given);
    return queue.retryJobs(given.options || {});
  },
  async retry(given) {
    const queue = await ready(given);
    for (const id of given.ids) {
      const job = await queue.getJob(id);
      if (!job) throw new Error(`no job ${id}`);
      await (isBull ? job.retry() : job.retry(given.state || "failed", given.options));
    }
  },
  async remove(given) {
    const queue = await ready(given);
    for (const id of given.ids) {
      const job = await queue.getJob(id);
      if (job) await job.remove();
    }
  },
  async pause(given) {
    const queue = await ready(given);
    await queue.pause();
  },
  async resume(given) {
    const queue = await ready(given);
    await queue.resume();
  },
  async drain(given) {
    const queue = await ready(given);
    await (isBull ? queue.empty() : queue.drain(Boolean(given.delayed)));
  },
  async obliterate(given) {
    const queue = await ready(given);
    await queue.obliterate({ force: Boolean(given.force) });
  },
  async counts(given) {
    const queue = await ready(given);
    return queue.getJobCounts();
  },
  async orphans(given) {
    const queue = await ready(given);
    return queue.removeOrphanedJobs(...(given.arguments || []));
  },
  async worker(given) {
    const did = { done: [], failed: [], names: [] };
    const run = async (job) => {
      if (given.wait) await new Promise((done) => setTimeout(done, given.wait));
      did.names.push(job.name);
      if (job.data && job.data.fail) throw new Error(typeof job.data.fail === "string" ? job.data.fail : "as asked");
      return "done";
    };
    const shared = given.prefix === undefined ? {} : { prefix: given.prefix };
    let worker;
    if (isBull) {
      worker = new lib(given.queue, { redis: connectionOf(given), ...shared, ...given.worker });
      worker.on("error", quiet);
      const concurrency = given.concurrency || 1;
      worker.process("*", concurrency, run).catch(quiet);
      await worker.isReady();
    } else {
      worker = new lib.Worker(given.queue, run, { connection: connectionOf(given), concurrency: given.concurrency || 1, ...shared, ...given.worker });
      worker.on("error", quiet);
      await worker.waitUntilReady();
    }
    worker.on("completed", (job) => did.done.push(job.id));
    worker.on("failed", (job) => did.failed.push(job && job.id));
    workers.set(given.name || "worker", { worker, did });
  },
  async ran(given) {
    return workers.get(given.name || "worker").did;
  },
  async stop(given) {
    const name = given.name || "worker";
    const { worker, did } = workers.get(name);
    workers.delete(name);
    await worker.close(Boolean(given.force));
    return did;
  },
  async script(given) {
    const AsyncFunction = Object.getPrototypeOf(async function () {}).constructor;
    return new AsyncFunction("lib", "given", "queueOf", "note", "state", given.source)(lib, given.given || {}, queueOf, note, state);
  },
  async close() {
    const all = [...workers.values()].map((entry) => entry.worker).concat([...takers.values()], [...queues.values()]);
    workers.clear();
    takers.clear();
    queues.clear();
    await Promise.all(all.map((one) => one.close().catch(quiet)));
  },
};

say({ pid: process.pid });
let turn = Promise.resolve();
readline.createInterface({ input: process.stdin }).on("line", (line) => {
  const { id, action, given, now } = JSON.parse(line);
  // One after the other: the clock that one of them pins is the clock of all.
  turn = turn.then(async () => {
    pinned = now === undefined ? null : now;
    try {
      if (!actions[action]) throw new Error(`packages.js has no action ${action}`);
      const result = await actions[action](given);
      say({ id, result: result === undefined ? null : result });
    } catch (error) {
      say({ id, error: String((error && error.stack) || error) });
    } finally {
      pinned = null;
    }
  });
}).on("close", () => process.exit(0));
process.on("unhandledRejection", quiet);
