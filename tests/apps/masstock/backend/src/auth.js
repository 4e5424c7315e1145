// In production Supabase checks the password. Here there is one user, from the environment, and none without a password.
import { createHash, timingSafeEqual } from 'node:crypto';
import jwt from 'jsonwebtoken';
import { config } from './config.js';

const ACCESS_MS = 15 * 60 * 1000;
const REFRESH_MS = 7 * 24 * 60 * 60 * 1000;

const digest = (text) => createHash('sha256').update(text).digest();
const same = (a, b) => timingSafeEqual(digest(a), digest(b));
const cookie = (maxAge) => ({ httpOnly: true, secure: config.production, sameSite: 'lax', maxAge });

const user = () => ({ id: 'demo', email: config.demoEmail });
const sign = (type, ms) => jwt.sign({ sub: user().id, type }, config.jwtSecret, { expiresIn: ms / 1000 });

export function login(email, password) {
  const known = same(email, config.demoEmail);
  const right = same(password, config.demoPassword);
  return config.demoPassword !== '' && known && right;
}

export function startSession(res) {
  res.cookie('access_token', sign('access', ACCESS_MS), cookie(ACCESS_MS));
  res.cookie('refresh_token', sign('refresh', REFRESH_MS), cookie(REFRESH_MS));
  return { user: user(), session: { expires_at: new Date(Date.now() + ACCESS_MS).toISOString() } };
}

// The user a request's cookie stands for, or null.
export function userOf(req, type = 'access') {
  const token = new RegExp(`(?:^|;\\s*)${type}_token=([^;]+)`).exec(req.headers.cookie ?? '')?.[1];
  try {
    return jwt.verify(token ?? '', config.jwtSecret).type === type ? user() : null;
  } catch {
    return null;
  }
}
