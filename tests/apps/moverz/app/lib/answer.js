import { log } from './log.js';
import { Unavailable } from './queue.js';

export class Invalid extends Error {}

export const json = (body, status = 200, headers = {}) =>
  Response.json(body, { status, headers: { 'Cache-Control': 'no-store', ...headers } });

// A route's answer, or the one its error stands for. Details go to the log only.
export const route = (handler) => async (request, context) => {
  try {
    return await handler(request, context);
  } catch (error) {
    if (error instanceof Invalid) return json({ error: 'invalid_request', problem: error.message }, 400);
    const path = new URL(request.url).pathname;
    if (error instanceof Unavailable) {
      log.warn('queue needed but unavailable', { path, error: error.message });
      return json({ error: 'queue_unavailable' }, 503, { 'Retry-After': '1' });
    }
    log.error('unexpected', { path, error: error.message, code: error.code });
    return json({ error: 'internal' }, 500);
  }
};

export async function body(request) {
  const value = await request.json().catch(() => null);
  if (value === null || typeof value !== 'object' || Array.isArray(value)) throw new Invalid('the body is not a JSON object');
  return value;
}

export function text(value, name, pattern) {
  if (typeof value !== 'string' || !pattern.test(value)) throw new Invalid(`${name} is missing or malformed`);
  return value;
}
