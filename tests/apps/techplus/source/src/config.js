// The environment, read once. A process with a wrong environment stops here, before it opens or listens to anything.
import { isIP } from 'node:net';
import process from 'node:process';

const EX_CONFIG = 78; // sysexits.h: tells a wrong environment from a crash

function refuse(message) {
  process.stderr.write(`fatal: ${message}\n`);
  process.exit(EX_CONFIG);
}

// pm2 keeps what it was given in ~/.pm2/dump.pm2 and shows it to whoever asks. So it is given the name of a file only.
if (process.env.ENV_FILE) {
  try {
    process.loadEnvFile(process.env.ENV_FILE);
  } catch (error) {
    refuse(`ENV_FILE=${JSON.stringify(process.env.ENV_FILE)} cannot be read: ${error.code}`);
  }
}

export function requireEnv(...names) {
  const missing = names.filter((name) => !process.env[name]);
  if (missing.length > 0) refuse(`missing environment variables: ${missing.join(', ')}`);
}

function integer(name, fallback, most = Number.MAX_SAFE_INTEGER) {
  const text = process.env[name];
  if (!text) return fallback;
  if (!/^\d+$/.test(text) || Number(text) > most) refuse(`${name}=${JSON.stringify(text)} is not a whole number from 0 to ${most}`);
  return Number(text);
}

function choice(name, fallback, ...known) {
  const text = process.env[name] || fallback;
  if (!known.includes(text)) refuse(`${name}=${JSON.stringify(text)} is none of ${known.join(', ')}`);
  return text;
}

// The value may hold a password, so it is not repeated.
function url(name, fallback, ...protocols) {
  const text = process.env[name] || fallback;
  if (text && !(URL.canParse(text) && protocols.includes(new URL(text).protocol))) {
    refuse(`${name} is not an address that begins with ${protocols.map((protocol) => `${protocol}//`).join(' or ')}`);
  }
  return text;
}

function address(name, fallback) {
  const text = process.env[name] || fallback;
  if (!isIP(text)) refuse(`${name}=${JSON.stringify(text)} is not an IP address`);
  return text;
}

export const SERVICE_ENV = ['NODE_ENV', 'DATABASE_URL', 'REDIS_URL'];

export const config = {
  environment: process.env.NODE_ENV ?? '',
  production: process.env.NODE_ENV === 'production',
  host: address('HOST', '127.0.0.1'),
  port: integer('PORT', 3000, 65535),
  logLevel: choice('LOG_LEVEL', 'info', 'error', 'warn', 'info', 'debug'),
  databaseUrl: url('DATABASE_URL', '', 'postgresql:', 'postgres:'),
  redisUrl: url('REDIS_URL', '', 'redis:', 'rediss:'),
  sentryDsn: url('SENTRY_DSN', '', 'https:', 'http:'),
  stripeUrl: url('STRIPE_API_URL', 'https://api.stripe.com', 'https:', 'http:'),
  stripeKey: process.env.STRIPE_SECRET_KEY ?? '',
  demoEmail: process.env.DEMO_EMAIL || 'demo@techplus.com',
  demoPassword: process.env.DEMO_PASSWORD ?? '',
  sessionSeconds: integer('SESSION_SECONDS', 24 * 60 * 60),
  shutdownGraceMs: integer('SHUTDOWN_GRACE_MS', 11_000), // above the slowest request, below kill_timeout of pm2
  concurrency: integer('WORKER_CONCURRENCY', 3),
  reservationMs: integer('RESERVATION_MS', 500),
};
