import { randomUUID } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { setTimeout as delay } from 'node:timers/promises';
import express from 'express';
import { config, requireEnv, SERVICE_ENV } from './config.js';
import { openDatabase } from './database.js';
import { report, watchProcess } from './errors.js';
import { log } from './log.js';
import { metrics } from './metrics.js';
import { impatient } from './redis.js';
import { fault, version } from './release.js';
import * as reservations from './reservations.js';
import * as sessions from './sessions.js';

requireEnv(...SERVICE_ENV, 'STRIPE_SECRET_KEY');
watchProcess();

const database = openDatabase();
const redis = impatient('backend');
const queue = reservations.openQueue(redis);
queue.on('error', (error) => log.warn('queue', { error: error.message }));

class Refused extends Error {
  constructor(status, body) {
    super(body.error);
    Object.assign(this, { status, body });
  }
}
const invalid = (...problems) => new Refused(400, { error: 'invalid_request', problems });

const app = express();
app.disable('x-powered-by');
app.set('trust proxy', 1); // exactly one proxy: the nginx of the host

let stopping = false;
app.use((req, res, next) => {
  const begun = process.hrtime.bigint();
  const requestId = req.get('X-Request-Id') || randomUUID();
  res.set('X-Request-Id', requestId);
  if (stopping) res.set('Connection', 'close');
  res.on('close', () => {
    const seconds = Number(process.hrtime.bigint() - begun) / 1e9;
    const labels = { method: req.method, route: req.route?.path ?? 'other', status_code: res.statusCode };
    metrics.duration.observe(labels, seconds);
    metrics.total.inc(labels);
    // The path without its query: a query may carry what does not belong in a log.
    log.info('request', { request_id: requestId, method: req.method, path: req.path, status: res.statusCode, ms: Math.round(seconds * 1000), finished: res.writableFinished });
  });
  next();
});

const vitals = () => ({ timestamp: new Date().toISOString(), uptime: process.uptime(), memory: process.memoryUsage(), version });

app.get('/health', (_req, res) => {
  if (fault === 'never-healthy') return res.status(503).json({ status: 'unhealthy', ...vitals() });
  return res.json({ status: 'healthy', ...vitals() });
});

const good = (name, work) => Promise.race([work, delay(2500).then(() => { throw new Error('no answer within 2.5 s'); })]).then(
  () => true,
  (error) => {
    log.error('health check failed', { check: name, error: error.message });
    return false;
  },
);

async function externalApis() {
  const headers = { Authorization: `Bearer ${config.stripeKey}` };
  const answer = await fetch(`${config.stripeUrl}/v1/charges?limit=1`, { headers, signal: AbortSignal.timeout(2000) });
  if (!answer.ok) throw new Error(`Stripe answered ${answer.status}`);
}

app.get('/health/detailed', async (_req, res) => {
  const [reached, redisGood, external] = await Promise.all([
    good('database', reservations.check(database)),
    good('redis', redis.ping()),
    good('external_apis', externalApis()),
  ]);
  const checks = { database: reached, redis: redisGood, external_apis: external };
  const healthy = fault !== 'never-healthy' && Object.values(checks).every(Boolean);
  res.status(healthy ? 200 : 503).json({ status: healthy ? 'healthy' : 'unhealthy', checks, ...vitals() });
});

app.get('/version', (_req, res) => res.json({ service: 'techplus-backend', version }));

app.get('/metrics', async (_req, res) => {
  res.type(metrics.register.contentType).send(await metrics.register.metrics());
});

// A request that is still being answered when something is restarted.
app.get('/slow', async (req, res) => {
  const text = String(req.query.ms ?? '1000');
  if (!/^\d{1,9}$/.test(text)) throw invalid('ms: a whole number');
  const ms = Math.min(Number(text), 10_000);
  log.info('slow request begun', { ms });
  await delay(ms);
  res.json({ slept_ms: ms, version, pid: process.pid });
});

app.use(express.json({ limit: '100kb' }));

app.post('/api/auth/login', async (req, res) => {
  const { email, password } = req.body ?? {};
  if (typeof email !== 'string' || typeof password !== 'string') throw invalid('email and password: texts');
  const session = await sessions.login(database, redis, { email, password });
  if (!session) throw new Refused(401, { error: 'invalid_credentials' });
  const cookie = { httpOnly: true, secure: config.production, sameSite: 'lax', maxAge: config.sessionSeconds * 1000 };
  res.cookie('session', session.token, cookie).json({ user: session.user });
});
app.get('/api/auth/me', async (req, res) => {
  const user = await sessions.userOf(redis, req);
  if (!user) throw new Refused(401, { error: 'not_signed_in' });
  res.json({ user });
});
app.post('/api/auth/logout', async (req, res) => {
  await sessions.logout(redis, req);
  res.clearCookie('session').status(204).end();
});

const RESERVATION_ID = /^(?!\d+$)[\w-]{1,64}$/; // BullMQ gives a meaning of its own to ids that are numbers

app.post('/api/reservations', async (req, res) => {
  const { id = randomUUID(), date, guests, contact = '' } = req.body ?? {};
  if (!RESERVATION_ID.test(id)) throw invalid('id: letters, digits, _ and -, not only digits, at most 64');
  if (!/^\d{4}-\d\d-\d\d$/.test(date) || Number.isNaN(Date.parse(date))) throw invalid('date: YYYY-MM-DD');
  if (!Number.isInteger(guests) || guests < 1 || guests > 20) throw invalid('guests: a whole number from 1 to 20');
  if (typeof contact !== 'string' || contact.length > 100) throw invalid('contact: a text of at most 100 characters');
  // The row may be there while the job is not: repeating the request with the same id completes it.
  const { isNew, found } = await reservations.submit(database, queue, { id, date, guests, contact });
  if (isNew) metrics.reservations.inc({ status: found.status });
  res.status(isNew ? 202 : 200).location(`/api/reservations/${id}`).json(found);
});
app.get('/api/reservations-summary', async (_req, res) => {
  res.json(await reservations.summary(database, redis, queue));
});
app.get('/api/reservations/:id', async (req, res) => {
  const found = await reservations.find(database, req.params.id);
  if (!found) throw new Refused(404, { error: 'not_found' });
  res.json(found);
});

const files = fileURLToPath(new URL('../dist', import.meta.url));
app.use('/assets', express.static(`${files}/assets`, { maxAge: '1y', immutable: true, index: false }));
app.use(express.static(files, { setHeaders: (res) => res.set('Cache-Control', 'no-cache') }));

app.use((_req, res) => res.status(404).json({ error: 'not_found' }));

// Redis and PostgreSQL that cannot be reached are no fault of the request: it may be repeated as it is.
const AWAY = /ECONN|ETIMEDOUT|ENOENT|timeout|timed out|terminat|Connection is closed|isn't writeable|the database system is/i;

app.use((error, req, res, _next) => {
  if (res.headersSent) return req.destroy();
  if (error instanceof Refused) return res.status(error.status).json(error.body);
  if (error.status >= 400 && error.status < 500) return res.status(error.status).json({ error: error.type ?? 'bad_request' });
  if (AWAY.test(`${error.code} ${error.message}`)) {
    log.warn('unavailable', { path: req.path, error: error.message });
    return res.status(503).set('Retry-After', '1').json({ error: 'unavailable' });
  }
  log.error('unexpected', { path: req.path, error: error.message, stack: error.stack });
  report(error);
  return res.status(500).json({ error: 'internal' });
});

const server = app.listen(config.port, config.host, (error) => {
  if (error) throw error; // the port is taken
  log.info('listening', { host: config.host, port: config.port });
  process.send?.('ready'); // what pm2 waits for with wait_ready
  if (fault === 'crash-later') setTimeout(() => { throw new Error('the fault crash-later'); }, 5000);
});
// Longer than nginx keeps its connections (60 s): a connection closed from this side could meet a request on its way.
server.keepAliveTimeout = 65_000;
server.on('connection', (socket) => {
  metrics.active.inc();
  socket.on('close', () => metrics.active.dec());
});

function stop(signal) {
  if (stopping) return;
  stopping = true;
  log.info('stopping', { signal });
  server.close(() => {
    log.info('stopped');
    process.exit(0);
  });
  setTimeout(() => {
    log.warn('stopped with requests unanswered');
    process.exit(1);
  }, config.shutdownGraceMs);
}
process.on('SIGTERM', stop);
process.on('SIGINT', stop); // pm2's own
