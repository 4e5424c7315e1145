// Sessions live in Redis as `session:<token>` and end by themselves. A person who logs out leaves `expired:<token>` behind,
// which nobody reads: maintenance removes it.
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { config } from './config.js';

const digest = (text) => createHash('sha256').update(text).digest();
const same = (a, b) => timingSafeEqual(digest(a), digest(b));

const tokenOf = (req) => /(?:^|;\s*)session=([\w-]+)/.exec(req.headers.cookie ?? '')?.[1] ?? '';

export async function login(database, redis, { email, password }) {
  const { rows: [user] } = await database.query('SELECT id, email FROM users WHERE email = $1', [email]);
  // In production each user has a password of their own. Here there is one, from the environment, and none without it.
  const right = same(password, config.demoPassword) && config.demoPassword !== '' && user?.email === config.demoEmail;
  if (!right) return null;
  const token = randomBytes(24).toString('base64url');
  await redis.set(`session:${token}`, JSON.stringify(user), 'EX', config.sessionSeconds);
  return { token, user };
}

export async function userOf(redis, req) {
  const token = tokenOf(req);
  const text = token && (await redis.get(`session:${token}`));
  return text ? JSON.parse(text) : null;
}

export async function logout(redis, req) {
  const token = tokenOf(req);
  if (!token || (await redis.exists(`session:${token}`)) === 0) return;
  await redis.multi().rename(`session:${token}`, `expired:${token}`).persist(`expired:${token}`).exec();
}
