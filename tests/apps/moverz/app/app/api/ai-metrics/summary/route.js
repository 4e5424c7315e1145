import { json, route } from '../../../../lib/answer.js';
import { summary } from '../../../../lib/metrics.js';

export const dynamic = 'force-dynamic';

export const GET = route(async () => json(await summary()));
