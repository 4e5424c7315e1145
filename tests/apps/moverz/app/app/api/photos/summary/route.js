import { json, route } from '../../../../lib/answer.js';
import { summary } from '../../../../lib/photos.js';

export const dynamic = 'force-dynamic';

export const GET = route(async () => json(await summary()));
