// Bull Board and the guide's commands for the queue. Never for the outside: whoever has the token can delete jobs.
import { createBullBoard } from '@bull-board/api';
import { BullMQAdapter } from '@bull-board/api/bullMQAdapter';
import { ExpressAdapter } from '@bull-board/express';
import express from 'express';
import { same } from './lib/auth.js';
import { config, requireEnv } from './lib/config.js';
import { log } from './lib/log.js';
import { queue, QUEUE } from './lib/queue.js';

requireEnv('REDIS_URL', 'BULLBOARD_TOKEN');

const board = new ExpressAdapter();
board.setBasePath('/admin/queues');
createBullBoard({ queues: [new BullMQAdapter(queue('bullboard'))], serverAdapter: board });

const app = express();
app.disable('x-powered-by');
app.get('/health', (_req, res) => res.json({ status: 'ok' }));
app.get('/version', (_req, res) => res.json({ service: 'moverz-bullboard', version: config.version }));

app.use((req, res, next) => {
  // A browser cannot send the header: its token comes once in the address and then in a cookie.
  const asked = typeof req.query.token === 'string' ? req.query.token : '';
  const kept = /(?:^|;\s*)board=([^;]+)/.exec(req.headers.cookie ?? '')?.[1] ?? '';
  const allowed = [req.get('x-access-token') ?? '', asked, kept].some((given) => same(given, config.boardToken));
  log.info('request', { request: `${req.method} ${req.path}`, allowed });
  if (!allowed) return res.status(401).json({ error: 'token_required' });
  if (asked) {
    res.cookie('board', asked, { httpOnly: true, sameSite: 'strict', path: '/admin' });
    return res.redirect(req.path);
  }
  return next();
});
app.use('/admin/queues', board.getRouter());
// The guide's curl leaves the content type out.
app.use(express.json({ type: () => true }));

const known = (name, res) => {
  if (name === QUEUE) return queue();
  res.status(404).json({ error: 'no_such_queue' });
  return null;
};
app.get('/admin/api/stats', async (_req, res) => {
  res.json({ queues: { [QUEUE]: await queue().getJobCounts('waiting', 'active', 'completed', 'failed', 'delayed', 'paused') } });
});
app.get('/admin/api/failed', async (req, res) => {
  const found = await known(req.query.queue, res)?.getFailed(0, 99);
  if (found) res.json({ jobs: found.map(({ id, failedReason, attemptsMade, finishedOn }) => ({ id, failedReason, attemptsMade, finishedOn })) });
});
app.post('/admin/api/clean', async (req, res) => {
  const { queue: name, grace } = req.body ?? {};
  if (!Number.isInteger(grace) || grace < 0) return res.status(400).json({ error: 'invalid_request', problem: 'grace is not a number of milliseconds' });
  const cleaned = await known(name, res)?.clean(grace, 10_000, 'completed');
  return cleaned && res.json({ cleaned: cleaned.length });
});
app.post('/admin/api/retry-failed', async (req, res) => {
  const found = known(req.body?.queue, res);
  if (!found) return;
  const before = await found.getFailedCount();
  await found.retryJobs({ state: 'failed' });
  res.json({ retried: before });
});
app.use((error, req, res, _next) => {
  log.error('unexpected', { path: req.path, error: error.message });
  res.status(error.status ?? 500).json({ error: error.type ?? 'internal' });
});

const server = app.listen(config.port || 3010, config.host, () => log.info('listening', { host: config.host, port: config.port || 3010 }));
function stop(signal) {
  log.info('stopping', { signal });
  server.close(() => process.exit(0));
  server.closeIdleConnections();
  setTimeout(() => process.exit(1), config.shutdownGraceMs);
}
process.once('SIGTERM', stop);
process.once('SIGINT', stop);
