// `node src/worker-health.js` exits 0 while a worker of this release shows signs of life in Redis.
import { fileURLToPath } from 'node:url';
import { requireEnv } from './config.js';
import { impatient } from './redis.js';
import { fault, version } from './release.js';

export const HEARTBEAT = `heartbeat:worker:${version}`;
export const HEARTBEAT_SECONDS = 10;

async function ask() {
  requireEnv('REDIS_URL');
  if (fault === 'never-healthy') throw new Error('the fault never-healthy');
  const redis = impatient('health');
  try {
    await new Promise((resolve, reject) => { redis.once('ready', resolve).once('error', reject); });
    const pid = await redis.get(HEARTBEAT);
    if (!pid) throw new Error(`no worker of release ${version}`);
  } finally {
    redis.disconnect();
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  ask().catch((error) => {
    process.stderr.write(`unhealthy: ${error.message}\n`);
    process.exitCode = 1;
  });
}
