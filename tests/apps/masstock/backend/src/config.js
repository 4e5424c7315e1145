// The environment, read once. A process with a wrong environment stops here, before it opens or listens to anything.

const EX_CONFIG = 78; // sysexits.h: tells a wrong environment from a crash

function refuse(message) {
  process.stderr.write(`fatal: ${message}\n`);
  process.exit(EX_CONFIG);
}

export function requireEnv(...names) {
  const missing = names.filter((name) => !process.env[name]);
  if (missing.length > 0) refuse(`missing environment variables: ${missing.join(', ')}`);
}

function integer(name, fallback) {
  const text = process.env[name];
  if (!text) return fallback;
  if (!/^\d+$/.test(text)) refuse(`${name}=${JSON.stringify(text)} is not a whole number of 0 or more`);
  return Number(text);
}

function boolean(name, fallback) {
  const text = process.env[name];
  if (!text) return fallback;
  if (text !== 'true' && text !== 'false') refuse(`${name}=${JSON.stringify(text)} is neither true nor false`);
  return text === 'true';
}

// What every process of this image needs; the worker adds GEMINI_API_KEY.
export const SERVICE_ENV = ['NODE_ENV', 'REDIS_HOST', 'REDIS_PORT', 'REDIS_PASSWORD', 'JWT_SECRET', 'ENCRYPTION_KEY', 'CORS_ORIGIN'];
export const REDIS_ENV = ['REDIS_HOST', 'REDIS_PORT', 'REDIS_PASSWORD'];

export const config = {
  version: process.env.APP_VERSION || '0.0.0-dev',
  fault: process.env.APP_FAULT || '',
  production: process.env.NODE_ENV === 'production',
  port: integer('PORT', 3000),
  logFile: process.env.LOG_FILE ?? '/app/logs/app.log',
  uploadDirectory: process.env.UPLOAD_DIR || '/app/uploads',
  uploadMaxBytes: integer('UPLOAD_MAX_BYTES', 10 * 1024 * 1024),
  shutdownGraceMs: integer('SHUTDOWN_GRACE_MS', 8000), // below Docker's own 10 s
  corsOrigin: process.env.CORS_ORIGIN,
  jwtSecret: process.env.JWT_SECRET,
  demoEmail: process.env.DEMO_EMAIL || 'demo@masstock.fr',
  demoPassword: process.env.DEMO_PASSWORD || '',
  redis: {
    host: process.env.REDIS_HOST,
    port: integer('REDIS_PORT', 6379),
    password: process.env.REDIS_PASSWORD,
  },
  rateLimit: {
    enabled: boolean('RATE_LIMIT_ENABLED', true),
    windowMs: integer('RATE_LIMIT_WINDOW_MS', 60_000),
    general: integer('RATE_LIMIT_GENERAL', 100),
    auth: integer('RATE_LIMIT_AUTH', 5),
  },
  worker: {
    concurrency: integer('WORKER_CONCURRENCY', 3),
    promptMs: integer('WORKER_PROMPT_MS', 1500),
  },
};
