// The environment, read once. Nothing is refused while reading, because `next build` loads this too: every process calls
// requireEnv first, and one with a wrong environment stops there, before it opens or listens to anything.

const EX_CONFIG = 78; // sysexits.h: tells a wrong environment from a crash
const problems = [];

function integer(name, fallback, minimum = 0, maximum = Number.MAX_SAFE_INTEGER) {
  const text = process.env[name];
  if (!text) return fallback;
  const value = Number(text);
  if (/^\d+$/.test(text) && value >= minimum && value <= maximum) return value;
  const range = maximum === Number.MAX_SAFE_INTEGER ? `of ${minimum} or more` : `from ${minimum} to ${maximum}`;
  problems.push(`${name}=${JSON.stringify(text)} is not a whole number ${range}`);
  return fallback;
}

function choice(name, fallback, ...choices) {
  const text = process.env[name];
  if (!text) return fallback;
  if (!choices.includes(text)) problems.push(`${name}=${JSON.stringify(text)} is none of ${choices.join(', ')}`);
  return text;
}

// An address holds a password: it is never repeated.
function address(name, ...schemes) {
  const text = process.env[name];
  if (!text) return '';
  const scheme = URL.canParse(text) ? new URL(text).protocol : '';
  if (!schemes.includes(scheme)) problems.push(`${name} is not an address that begins with ${schemes[0]}//`);
  return text;
}

export function refuse(message) {
  process.stderr.write(`fatal: ${message}\n`);
  process.exit(EX_CONFIG);
}

export function requireEnv(...names) {
  const missing = names.filter((name) => !process.env[name]);
  if (missing.length > 0) refuse(`missing environment variables: ${missing.join(', ')}`);
  if (problems.length > 0) refuse(problems.join('; '));
}

export const SERVICE_ENV = ['DATABASE_URL', 'REDIS_URL'];
export const LEVELS = ['debug', 'info', 'warn', 'error'];

export const config = {
  version: process.env.APP_VERSION || '0.0.0-dev',
  fault: process.env.APP_FAULT || '',
  production: process.env.NODE_ENV === 'production',
  host: process.env.HOST || '127.0.0.1',
  port: integer('PORT', 0, 1, 65535),
  logFile: process.env.LOG_FILE ?? '/app/logs/app.log',
  logLevel: choice('LOG_LEVEL', 'info', ...LEVELS),
  metricsFile: process.env.METRICS_FILE ?? '/app/.next/metrics/ai-metrics.jsonl',
  shutdownGraceMs: integer('SHUTDOWN_GRACE_MS', 8000), // below Docker's own 10 s
  databaseUrl: address('DATABASE_URL', 'postgresql:', 'postgres:'),
  directUrl: address('DIRECT_URL', 'postgresql:', 'postgres:'),
  redisUrl: address('REDIS_URL', 'redis:', 'rediss:'),
  jwtSecret: process.env.JWT_SECRET || '',
  adminToken: process.env.ADMIN_BYPASS_TOKEN || '',
  boardToken: process.env.BULLBOARD_TOKEN || '',
  demoEmail: process.env.DEMO_EMAIL || 'demo@movers-test.gslv.cloud',
  demoPassword: process.env.DEMO_PASSWORD || '',
  aiTimeoutMs: integer('AI_TIMEOUT_MS', 30_000, 1000, 120_000),
  aiCallMs: integer('AI_CALL_MS', 800), // what a call to a provider costs in time here
  concurrency: integer('QUEUE_CONCURRENCY', 4, 1, 32),
  imageTargetSize: integer('IMAGE_TARGET_SIZE', 1024, 256, 4096),
};
