// One JSON object per line on stdout, which pm2 writes to a file. Callers name each field, so nothing secret slips in with an object.
import { config } from './config.js';
import { version } from './release.js';

const LEVELS = ['error', 'warn', 'info', 'debug'];
const shown = LEVELS.indexOf(config.logLevel);

function write(level, message, fields) {
  if (LEVELS.indexOf(level) > shown) return;
  const line = { timestamp: new Date().toISOString(), level, service: 'techplus-api', version, pid: process.pid, message, ...fields };
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

export const log = Object.fromEntries(LEVELS.map((level) => [level, (message, fields) => write(level, message, fields)]));
