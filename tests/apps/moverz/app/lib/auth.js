// One user, whose password comes from the environment; without a password nobody can log in.
import { createHash, timingSafeEqual } from 'node:crypto';
import { jwtVerify, SignJWT } from 'jose';
import { config } from './config.js';
import { rows } from './db.js';

const HOURS = 8;
const key = () => new TextEncoder().encode(config.jwtSecret);
const digest = (text) => createHash('sha256').update(text).digest();
export const same = (given, wanted) => wanted !== '' && timingSafeEqual(digest(given), digest(wanted));

// The column a release reads follows its migrations: 1.1.0 adds fullName, from 1.2.0 on nothing needs name any more.
const [major, minor] = config.version.split('.').map(Number);
const release = major * 1000 + minor;
const NAME = release < 1001 ? '"name"' : release < 1002 ? 'coalesce("fullName", "name")' : '"fullName"';

export async function userBy(column, value) {
  const [user] = await rows(`SELECT "id", "email", ${NAME} AS "name" FROM "User" WHERE "${column}" = $1`, [value]);
  return user ?? null;
}

export async function login(email, password) {
  const known = same(email, config.demoEmail);
  const right = same(password, config.demoPassword);
  // The database is asked in any case: a release that does not fit it must show to whoever probes with a wrong password too.
  const user = await userBy('email', config.demoEmail);
  return known && right ? user : null;
}

export async function cookie(user) {
  const token = await new SignJWT({}).setProtectedHeader({ alg: 'HS256' }).setSubject(user.id).setExpirationTime(`${HOURS}h`).sign(key());
  const secure = config.production ? '; Secure' : '';
  return `session=${token}; Path=/; HttpOnly; SameSite=Lax; Max-Age=${HOURS * 3600}${secure}`;
}

// The user a request's cookie stands for, or null.
export async function userOf(request) {
  const token = /(?:^|;\s*)session=([^;]+)/.exec(request.headers.get('cookie') ?? '')?.[1] ?? '';
  const verified = await jwtVerify(token, key(), { algorithms: ['HS256'] }).catch(() => null);
  return verified ? userBy('id', verified.payload.sub) : null;
}
