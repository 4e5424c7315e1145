// One JSON object per line, on stdout and in the log file. Callers name each field, so nothing secret slips in with an object.
// The guide's filters must find their lines: ERROR, POST /api, AI_METRIC.
import { createWriteStream } from 'node:fs';
import { config, LEVELS } from './config.js';

const entry = process.argv[1]?.match(/([^/]+)\.js$/)?.[1] ?? 'node';
const service = entry === 'start' ? 'app' : entry;
const threshold = LEVELS.indexOf(config.logLevel);

const line = (level, msg, fields) =>
  `${JSON.stringify({ time: new Date().toISOString(), level: level.toUpperCase(), service, version: config.version, msg, ...fields })}\n`;

// Opened at the first line and for appending: all processes share the file, and logrotate's copytruncate works.
let file;
function logFile() {
  if (file !== undefined || !config.logFile) return file;
  file = createWriteStream(config.logFile, { flags: 'a' });
  file.on('error', (error) => {
    // A full disk or a foreign owner costs the file, never the service: stdout still has every line.
    file = null;
    process.stdout.write(line('warn', 'log file given up', { path: config.logFile, error: error.message }));
  });
  return file;
}

function write(level, msg, fields) {
  if (LEVELS.indexOf(level) < threshold) return;
  const text = line(level, msg, fields);
  process.stdout.write(text);
  logFile()?.write(text);
}

export const log = Object.fromEntries(LEVELS.map((level) => [level, (msg, fields) => write(level, msg, fields)]));
