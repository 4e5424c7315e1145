import { json } from '../../lib/answer.js';
import { config } from '../../lib/config.js';

export const dynamic = 'force-dynamic';

// Whether this process answers, and nothing else: restarting a good one would not repair the database or Redis.
export function GET() {
  const timestamp = new Date().toISOString();
  return config.fault === 'never-healthy' ? json({ status: 'failing', timestamp }, 503) : json({ status: 'ok', timestamp });
}
