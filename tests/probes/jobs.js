// Uses the real queue libraries: node jobs.js bull|bullmq ACTION QUEUE [JSON]
// add: {"count": n, "options": {...}}; work: runs until it is ended, {"wait": ms per job, "fail": true}; pause; resume; drain
"use strict";
const [library, action, name, text] = process.argv.slice(2);
const given = JSON.parse(text || "{}");
const connection = { path: "/run/redis/redis.sock", username: "jobs", password: process.env.REDIS_PASSWORD, maxRetriesPerRequest: null };
const work = async () => {
  await new Promise((done) => setTimeout(done, given.wait || 0));
  if (given.fail) throw new Error("as asked");
};

async function bull() {
  const Queue = require("bull");
  const queue = new Queue(name, { redis: { ...connection, maxRetriesPerRequest: undefined } });
  if (action === "work") return queue.process(1, work);
  if (action === "add") for (let i = 0; i < given.count; i++) await queue.add({ i }, given.options);
  if (action === "pause") await queue.pause();
  if (action === "resume") await queue.resume();
  await queue.close();
}

async function bullmq() {
  const { Queue, Worker } = require("bullmq");
  if (action === "work") return new Worker(name, work, { connection, concurrency: 1, ...given.worker });
  const queue = new Queue(name, { connection });
  await queue.waitUntilReady();
  if (action === "add") for (let i = 0; i < given.count; i++) await queue.add("job", { i }, given.options);
  if (action === "pause") await queue.pause();
  if (action === "resume") await queue.resume();
  await queue.close();
}

({ bull, bullmq })[library]().catch((error) => {
  console.error(error);
  process.exit(1);
});
