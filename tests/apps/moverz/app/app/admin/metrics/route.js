import { json, route } from '../../../lib/answer.js';
import { same } from '../../../lib/auth.js';
import { config } from '../../../lib/config.js';
import { log } from '../../../lib/log.js';
import * as metrics from '../../../lib/metrics.js';
import { viaQueue } from '../../../lib/queue.js';

export const dynamic = 'force-dynamic';

// The token is compared here, never in the browser. Each try is in the log, whoever made it.
export const GET = route(async (request) => {
  const allowed = same(request.headers.get('x-admin-token') ?? '', config.adminToken);
  log[allowed ? 'info' : 'warn']('admin access', { path: '/admin/metrics', allowed, from: request.headers.get('x-forwarded-for') ?? '' });
  if (!allowed) return json({ error: 'token_required' }, 401);
  const queues = await viaQueue((queue) => queue.getJobCounts());
  return json({ queues: { 'photo-analyze': queues }, ai: await metrics.summary() });
});
