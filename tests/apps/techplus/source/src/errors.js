// Error tracking: what Sentry's own library would send of an exception, as one envelope to the address in SENTRY_DSN.
import { randomUUID } from 'node:crypto';
import { config } from './config.js';
import { log } from './log.js';
import { version } from './release.js';

export async function report(error) {
  if (!config.sentryDsn) return;
  const dsn = new URL(config.sentryDsn);
  const id = randomUUID().replaceAll('-', '');
  const event = {
    event_id: id,
    timestamp: new Date().toISOString(),
    platform: 'node',
    level: 'error',
    release: version,
    environment: config.environment,
    exception: { values: [{ type: error.name, value: error.message }] },
  };
  const project = dsn.pathname.split('/').pop();
  try {
    await fetch(`${dsn.origin}/api/${project}/envelope/`, {
      method: 'POST',
      headers: {
        'Content-Type': 'application/x-sentry-envelope',
        'X-Sentry-Auth': `Sentry sentry_version=7, sentry_client=techplus/${version}, sentry_key=${dsn.username}`,
      },
      body: `${[{ event_id: id }, { type: 'event' }, event].map((part) => JSON.stringify(part)).join('\n')}\n`,
      signal: AbortSignal.timeout(2000),
    });
  } catch (problem) {
    log.warn('error not reported', { error: problem.message });
  }
}

export function watchProcess() {
  process.on('uncaughtException', async (error) => {
    log.error('uncaught exception', { error: error.message, stack: error.stack });
    await report(error);
    process.exit(1);
  });
  process.on('unhandledRejection', async (reason) => {
    const error = reason instanceof Error ? reason : new Error(String(reason));
    log.error('unhandled rejection', { error: error.message, stack: error.stack });
    await report(error);
  });
}
