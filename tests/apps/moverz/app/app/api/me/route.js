import { json, route } from '../../../lib/answer.js';
import { userOf } from '../../../lib/auth.js';

export const dynamic = 'force-dynamic';

export const GET = route(async (request) => {
  const user = await userOf(request);
  return user ? json({ user }) : json({ error: 'not_signed_in' }, 401);
});
