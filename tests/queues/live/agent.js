// Producers and workers of the real libraries, told what to do by lines of JSON as packages.js is, but many things at once:
// {"id", "action", "given": {"handle", …}} -> {"id", "result"} or {"id", "error"}.
// Every run of every job is noted in a ledger, a hash per question, in another database than the queue:
//   runs (how often a job's processor began), done (how often it ended well), kinds (its name), added (what a producer
//   put in), ticks (a list: when a schedule fired, in ms), strange (a list: runs without a name, as of an id without a job).
"use strict";
const readline = require("node:readline");
const Redis = require("ioredis");

const handles = new Map();
const say = (message) => process.stdout.write(JSON.stringify(message) + "\n");
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

// A stream of numbers below 1 that a seed decides.
function numbers(seed) {
  let state = seed >>> 0 || 1;
  return () => {
    state ^= state << 13;
    state >>>= 0;
    state ^= state >>> 17;
    state ^= state << 5;
    state >>>= 0;
    return state / 4294967296;
  };
}

class Ledger {
  constructor(options, name) {
    this.redis = new Redis({ ...options, enableAutoPipelining: true });
    this.name = name;
  }
  key(what) {
    return `${this.name}:${what}`;
  }
  async begun(job) {
    const id = String(job.id);
    const [run] = await Promise.all([
      this.redis.hincrby(this.key("runs"), id, 1),
      this.redis.hset(this.key("kinds"), id, String(job.name)),
    ]);
    if (!job.name) await this.redis.rpush(this.key("strange"), id);
    if (job.name === "tick") await this.redis.rpush(this.key("ticks"), Date.now());
    return run;
  }
  ended(job) {
    return this.redis.hincrby(this.key("done"), String(job.id), 1);
  }
  added(jobs) {
    return this.redis.hset(this.key("added"), ...jobs.flatMap((job) => [String(job.id), job.name]));
  }
}

// What a job does is in its data: wait so long (ms), write a line of log, fail in its first runs.
async function work(ledger, job) {
  const data = job.data || {};
  const run = await ledger.begun(job);
  if (data.wait) await pause(data.wait);
  if (data.log) await job.log(`run ${run}`);
  if (run <= (data.fail || 0)) throw new Error(data.reason || `fails in run ${run}`);
  await ledger.ended(job);
  return { run };
}

class Handle {
  constructor({ package: name, redis, ledger, prefix, queue }) {
    this.library = require(name);
    this.name = name;
    this.bull = name.startsWith("bull") && !name.startsWith("bullmq");
    this.major = Number(/\d/.exec(name)[0]);
    this.queueName = queue;
    this.prefix = prefix;
    this.redis = { ...redis, maxRetriesPerRequest: null };
    this.options = { connection: this.redis, prefix };
    this.ledger = new Ledger(ledger, queue);
    this.workers = [];
    this.errors = [];
    this.queue = this.watched(this.bull ? this.bullQueue() : new this.library.Queue(queue, this.options));
    this.producing = null;
  }
  bullQueue(settings) {
    const { maxRetriesPerRequest, ...redis } = this.redis;
    return new this.library(this.queueName, { redis, prefix: this.prefix, settings });
  }
  watched(object) {
    object.on("error", (error) => this.errors.push(String(error.message || error)));
    return object;
  }
  async ready() {
    await (this.bull ? this.queue.isReady() : this.queue.waitUntilReady());
  }
  async work({ concurrency = 1, lock = 60000, stalled = 60000, name }) {
    const processor = (job) => work(this.ledger, job);
    if (this.bull) {
      const queue = this.watched(this.bullQueue({ lockDuration: lock, stalledInterval: stalled, guardInterval: 1000 }));
      queue.process("*", concurrency, processor);
      await queue.isReady();
      this.workers.push(queue);
      return;
    }
    const options = { ...this.options, concurrency, lockDuration: lock, stalledInterval: stalled };
    if (name) options.name = name;
    if (this.library.QueueScheduler) {
      const scheduler = this.watched(
        new this.library.QueueScheduler(this.queueName, { ...this.options, stalledInterval: stalled }),
      );
      await scheduler.waitUntilReady();
      this.workers.push(scheduler);
    }
    const worker = this.watched(new this.library.Worker(this.queueName, processor, options));
    await worker.waitUntilReady();
    this.workers.push(worker);
  }
  async add({ name = "plain", data = {}, options = {}, count = 1 }) {
    const jobs = Array.from({ length: count }, () => ({ name, data, opts: options }));
    const added = await this.queue.addBulk(jobs);
    await this.ledger.added(added);
    return added.map((job) => String(job.id));
  }
  async flow({ flow }) {
    const producer = this.watched(new this.library.FlowProducer(this.options));
    const tree = await producer.add(flow);
    await producer.close();
    return ids(tree);
  }
  async schedule({ every, key = "tick" }) {
    if (!this.bull && this.major >= 5) await this.queue.upsertJobScheduler(key, { every }, { name: "tick", data: {} });
    else await this.queue.add("tick", {}, { repeat: { every } });
  }
  // Puts jobs of every kind in until it is told to stop or has put so many in.
  async produce({ seed, most, batch = 20, every = 10 }) {
    const random = numbers(seed);
    const flows = this.bull ? null : this.watched(new this.library.FlowProducer(this.options));
    const state = { stop: false, added: 0 };
    state.end = (async () => {
      while (!state.stop && state.added < most) {
        const jobs = Array.from({ length: batch }, () => this.invent(random));
        const added = await this.queue.addBulk(jobs);
        await this.ledger.added(added);
        state.added += added.length;
        if (flows) {
          const tree = await flows.add(this.inventFlow(random, state.added));
          const members = [tree.job, ...tree.children.map((child) => child.job)];
          await this.ledger.added(members);
          state.added += members.length;
        }
        await pause(every);
      }
      if (flows) await flows.close();
    })();
    this.producing = state;
  }
  invent(random) {
    const kinds = ["plain", "plain", "plain", "log", "delayed", "prio", "lifo", "twice", "flaky", "doomed", "waste"];
    const name = kinds[Math.floor(random() * kinds.length)];
    const data = { pad: "x".repeat(random() * 200) };
    const opts = {};
    if (name === "log") data.log = true;
    if (name === "delayed") opts.delay = 1 + Math.floor(random() * 300);
    if (name === "prio") opts.priority = 1 + Math.floor(random() * 9);
    if (name === "lifo") opts.lifo = true;
    if (name === "twice" || name === "doomed") opts.attempts = 2;
    if (name === "twice" || name === "flaky") data.fail = 1;
    if (name === "doomed") data.fail = 1e9;
    if (data.fail) data.reason = name;
    if (name === "waste") {
      const third = random();
      if (third < 0.33) opts.priority = 1 + Math.floor(random() * 9);
      else if (third < 0.66) opts.delay = 1 + Math.floor(random() * 300);
    }
    return { name, data, opts };
  }
  inventFlow(random, number) {
    const child = () =>
      random() < 0.3
        ? { name: "flaky", data: { fail: 1, reason: "flaky" }, queueName: this.queueName }
        : { name: "child", data: {}, queueName: this.queueName };
    const children = Array.from({ length: 1 + Math.floor(random() * 3) }, child);
    return { name: "parent", data: {}, queueName: this.queueName, opts: { jobId: `flow-${number}` }, children };
  }
  async produced({ stop = false }) {
    if (stop) {
      this.producing.stop = true;
      await this.producing.end;
    }
    return this.producing.added;
  }
  // Holds a job as a worker does, without working: the lock stays until its time is over.
  async take({ token = "held", lock = 60000 }) {
    if (this.bull) {
      const job = await this.queue.getNextJob();
      return job && String(job.id);
    }
    const worker = new this.library.Worker(this.queueName, null, {
      ...this.options, autorun: false, lockDuration: lock,
    });
    await worker.waitUntilReady();
    const job = await worker.getNextJob(token, { block: false });
    await worker.close(true);
    return job ? String(job.id) : null;
  }
  pause() {
    return this.queue.pause();
  }
  resume() {
    return this.queue.resume();
  }
  counts() {
    return this.queue.getJobCounts();
  }
  faults() {
    return this.errors;
  }
  // Removes a job as the application itself might.
  async remove({ id }) {
    const job = await this.queue.getJob(id);
    if (job) await job.remove();
  }
  async paused() {
    return Boolean(await this.queue.isPaused());
  }
  async stop() {
    const closing = this.workers.splice(0).map((worker) => worker.close(true));
    await Promise.all(closing);
  }
  async close() {
    await this.stop();
    await this.queue.close();
    this.ledger.redis.disconnect();
  }
}

function ids(tree) {
  return { id: String(tree.job.id), children: (tree.children || []).map(ids) };
}

async function answer(line) {
  const { id, action, given } = JSON.parse(line);
  const { handle, ...rest } = given;
  try {
    let result;
    if (action === "open") {
      const opened = new Handle(rest);
      await opened.ready();
      handles.set(handle, opened);
    } else if (action === "close") {
      const closed = handles.get(handle);
      handles.delete(handle);
      await closed.close();
    } else if (action === "pid") result = process.pid;
    else result = await handles.get(handle)[action](rest);
    say({ id, result: result === undefined ? null : result });
  } catch (error) {
    say({ id, error: String((error && error.stack) || error) });
  }
}

// What a library throws in the background is told by faults(); the process lives on, as a worker in production should.
process.on("unhandledRejection", (error) => {
  for (const handle of handles.values()) handle.errors.push(String((error && error.message) || error));
});
const lines = readline.createInterface({ input: process.stdin });
lines.on("line", answer);
lines.on("close", () => process.exit(0));
