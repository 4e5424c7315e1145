// What the newest bullmq does to a queue: node peer.js ACTION {"port": …, "queue": …, …}
// Prints {"seconds": of the action alone, "result": …, "rss_kib": …}.
"use strict";
const { createRequire } = require("module");
const path = require("path");
const installed = createRequire(path.resolve(process.argv[2], "package.json"));
const { Queue } = installed("bullmq");
const Redis = installed("ioredis");
const action = process.argv[3];
const given = JSON.parse(process.argv[4]);
const connection = { host: "127.0.0.1", port: given.port };

const actions = {
  // Bull Board's "clean all" is this with a limit that is never reached.
  async clean(queue) {
    let removed = 0;
    for (;;) {
      const ids = await queue.clean(0, given.limit, given.state);
      removed += ids.length;
      if (!given.limit || ids.length < given.limit) return removed;
    }
  },
  async retry(queue) {
    await queue.retryJobs({ state: "failed", count: 1000 });
  },
  // Bull Board's "retry all": one job after another, in pages.
  async retryEach(queue) {
    for (;;) {
      const jobs = await queue.getFailed(0, 99);
      if (!jobs.length) return;
      await Promise.all(jobs.map((job) => job.retry("failed")));
    }
  },
  async counts() {
    // One connection for all of them, as its users share it.
    const shared = new Redis({ ...connection, maxRetriesPerRequest: null });
    let jobs = 0;
    const queues = given.names.map((name) => new Queue(name, { connection: shared, skipMetasUpdate: true }));
    for (const counts of await Promise.all(queues.map((one) => one.getJobCounts()))) {
      for (const count of Object.values(counts)) jobs += count;
    }
    return jobs;
  },
};

async function main() {
  const queue = new Queue(given.queue, { connection });
  await queue.waitUntilReady();
  const began = process.hrtime.bigint();
  const result = await actions[action](queue);
  const seconds = Number(process.hrtime.bigint() - began) / 1e9;
  console.log(JSON.stringify({ seconds, result, rss_kib: process.resourceUsage().maxRSS }));
  await queue.close();
}

main().then(() => process.exit(0), (error) => {
  console.error(error);
  process.exit(1);
});
