import { json } from '../../lib/answer.js';
import { config } from '../../lib/config.js';

export const dynamic = 'force-dynamic';

export const GET = () => json({ service: 'moverz-app', version: config.version });
