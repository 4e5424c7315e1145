import { setTimeout as delay } from 'node:timers/promises';
import { Invalid, json, route } from '../../lib/answer.js';
import { config } from '../../lib/config.js';
import { log } from '../../lib/log.js';

export const dynamic = 'force-dynamic';

// A request that is still being answered when something is restarted.
export const GET = route(async (request) => {
  const asked = new URL(request.url).searchParams.get('ms') ?? '1000';
  if (!/^\d{1,9}$/.test(asked)) throw new Invalid('ms is not a whole number');
  const ms = Math.min(Number(asked), 10_000);
  log.info('slow request begun', { ms });
  await delay(ms);
  return json({ slept_ms: ms, version: config.version });
});
