import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import cors from 'cors';
import express from 'express';
import { rateLimit } from 'express-rate-limit';
import { z } from 'zod';
import * as auth from './auth.js';
import { config, requireEnv, SERVICE_ENV } from './config.js';
import * as executions from './executions.js';
import { log } from './log.js';
import { impatient } from './redis.js';
import * as uploads from './uploads.js';

requireEnv(...SERVICE_ENV);

class Unavailable extends Error {}

const redis = impatient('api');
const queue = executions.openQueue(() => redis);

// Redis or nothing, at once. After a 503 it is unknown whether the write arrived: repeating it with the same id is safe.
async function viaRedis(work) {
  if (redis.status !== 'ready') throw new Unavailable(`redis connection is ${redis.status}`);
  try {
    return await work();
  } catch (error) {
    throw new Unavailable(error.message, { cause: error });
  }
}

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
    const ms = Number((process.hrtime.bigint() - begun) / 1_000_000n);
    // The path without its query: a query may carry what does not belong in a log.
    log.info('request', { request_id: requestId, method: req.method, path: req.path, status: res.statusCode, ms, ip: req.ip, finished: res.writableFinished });
    if (stopping) server.closeIdleConnections();
  });
  next();
});

// Before anything that limits or parses: the health check must say whether this process answers, and nothing else. Redis is
// left out on purpose; a health check that fails with it would restart a good api for a fault that is not its own.
app.get('/health', (_req, res) => {
  if (config.fault === 'never-healthy') return res.status(503).json({ status: 'failing', timestamp: new Date().toISOString() });
  return res.json({ status: 'ok', timestamp: new Date().toISOString() });
});
app.get('/version', (_req, res) => res.json({ service: 'masstock-api', version: config.version }));

const corsOptions = {
  origin: [config.corsOrigin, 'http://localhost:5174', 'http://localhost:3002'],
  credentials: true,
  methods: ['GET', 'POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS'],
  allowedHeaders: ['Content-Type', 'Authorization', 'X-Requested-With'],
  exposedHeaders: ['set-cookie'],
  maxAge: 86400,
};
app.use(cors(corsOptions));
app.options('*', cors(corsOptions));

// Express 4 does not see a rejected promise by itself.
const route = (handler) => (req, res, next) => { handler(req, res, next).catch(next); };

const limiter = (limit) => rateLimit({
  windowMs: config.rateLimit.windowMs,
  limit,
  skip: () => !config.rateLimit.enabled,
  standardHeaders: 'draft-7',
  legacyHeaders: false,
  handler: (_req, res) => res.status(429).json({ error: 'rate_limited', retry_after: Number(res.get('Retry-After')) }),
});
app.use(limiter(config.rateLimit.general));
app.use('/api/v1/auth', limiter(config.rateLimit.auth));

// Uploads come before the JSON parser so that a .json file is stored, not parsed.
app.post('/api/v1/uploads', route(async (req, res) => {
  res.status(201).json(await uploads.store(req));
}));
app.get('/api/v1/uploads/:id', (req, res, next) => {
  const id = z.uuid().parse(req.params.id);
  res.type('application/octet-stream').sendFile(id, { root: config.uploadDirectory }, next);
});

app.use(express.json({ limit: '1mb' }));

const Login = z.strictObject({ email: z.email(), password: z.string().min(1).max(200) });
app.post('/api/v1/auth/login', (req, res) => {
  const { email, password } = Login.parse(req.body);
  if (!auth.login(email, password)) return res.status(401).json({ error: 'invalid_credentials' });
  return res.json(auth.startSession(res));
});
app.post('/api/v1/auth/refresh', (req, res) => {
  if (!auth.userOf(req, 'refresh')) return res.status(401).json({ error: 'not_signed_in' });
  return res.json(auth.startSession(res));
});
app.get('/api/v1/me', (req, res) => {
  const user = auth.userOf(req);
  return user ? res.json({ user }) : res.status(401).json({ error: 'not_signed_in' });
});

// Bull gives a meaning of its own to ids that are numbers, and keys are joined with colons.
const ExecutionId = z.string().regex(/^(?!\d+$)[A-Za-z0-9_-]{1,64}$/, 'letters, digits, - and _, not only digits, at most 64');
const Execution = z.strictObject({
  id: ExecutionId.optional(),
  prompts: z.array(z.string().min(1).max(2000)).min(1).max(100),
  priority: z.enum(['normal', 'high']).default('normal'),
});
app.post('/api/v1/executions', route(async (req, res) => {
  const { id = randomUUID(), prompts, priority } = Execution.parse(req.body);
  const isNew = await viaRedis(() => executions.submit(redis, queue, { id, prompts, priority }));
  if (isNew) return res.status(202).location(`/api/v1/executions/${id}`).json({ id, status: 'pending' });
  const [found] = await viaRedis(() => executions.find(redis, [id]));
  return res.json({ id, status: found.status });
}));
app.get('/api/v1/executions', route(async (req, res) => {
  const ids = z.array(ExecutionId).min(1).max(1000).parse(String(req.query.ids ?? '').split(',').filter(Boolean));
  res.json({ executions: await viaRedis(() => executions.find(redis, ids)) });
}));
app.get('/api/v1/executions-summary', route(async (_req, res) => {
  res.json(await viaRedis(() => executions.summary(redis, queue)));
}));
app.get('/api/v1/executions/:id', route(async (req, res) => {
  const id = ExecutionId.parse(req.params.id);
  const [found] = await viaRedis(() => executions.find(redis, [id]));
  return found ? res.json(found) : res.status(404).json({ error: 'not_found' });
}));

// A request that is still being answered when something is restarted.
app.get('/slow', route(async (req, res) => {
  const ms = z.coerce.number().int().min(0).transform((value) => Math.min(value, 10_000)).parse(req.query.ms ?? 1000);
  log.info('slow request begun', { ms });
  await delay(ms);
  res.json({ slept_ms: ms, version: config.version });
}));

app.use((_req, res) => res.status(404).json({ error: 'not_found' }));

app.use((error, req, res, _next) => {
  if (res.headersSent) return req.destroy();
  if (error instanceof z.ZodError) {
    const problems = error.issues.map(({ path, message }) => ({ path: path.join('.'), message }));
    return res.status(400).json({ error: 'invalid_request', problems });
  }
  if (error instanceof Unavailable) {
    log.warn('redis needed but unavailable', { path: req.path, error: error.message });
    return res.status(503).set('Retry-After', '1').json({ error: 'queue_unavailable' });
  }
  if (error instanceof uploads.TooLarge) return res.status(413).json({ error: 'too_large', limit: config.uploadMaxBytes });
  if (error.status >= 400 && error.status < 500) return res.status(error.status).json({ error: error.type ?? 'bad_request' });
  log.error('unexpected', { path: req.path, error: error.message, stack: error.stack });
  return res.status(500).json({ error: 'internal' });
});

const server = app.listen(config.port, () => log.info('listening', { port: config.port }));
// Longer than nginx keeps its connections (60 s): a connection closed from this side could meet a request on its way.
server.keepAliveTimeout = 65_000;

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
process.on('SIGINT', stop);
