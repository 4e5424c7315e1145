import { body, json, route, text } from '../../../../lib/answer.js';
import * as auth from '../../../../lib/auth.js';

export const dynamic = 'force-dynamic';

export const POST = route(async (request) => {
  const { email, password } = await body(request);
  const user = await auth.login(text(email, 'email', /^[^@\s]{1,64}@[^@\s]{1,190}$/), text(password, 'password', /^.{1,200}$/s));
  if (!user) return json({ error: 'invalid_credentials' }, 401);
  return json({ user }, 200, { 'Set-Cookie': await auth.cookie(user) });
});
