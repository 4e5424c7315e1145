import { json, route } from '../../../lib/answer.js';
import { status } from '../../../lib/status.js';

export const dynamic = 'force-dynamic';

export const GET = route(async () => json(await status()));
