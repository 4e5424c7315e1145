// One JSON object per line, on stdout and in the log file. Callers name each field, so nothing secret slips in with an object.
import { createWriteStream } from 'node:fs';
import { config } from './config.js';

const service = process.argv[1]?.match(/([^/]+)\.js$/)?.[1] ?? 'node';

function line(level, msg, fields) {
  return `${JSON.stringify({ time: new Date().toISOString(), level, service, version: config.version, msg, ...fields })}\n`;
}

// Opened for appending: api and worker share the file, and logrotate's copytruncate works.
let file = config.logFile ? createWriteStream(config.logFile, { flags: 'a' }) : null;
file?.on('error', (error) => {
  // A full disk or a foreign owner costs the file, never the service: stdout still has every line.
  file = null;
  process.stdout.write(line('warn', 'log file given up', { path: config.logFile, error: error.message }));
});

function write(level, msg, fields) {
  const text = line(level, msg, fields);
  process.stdout.write(text);
  file?.write(text);
}

export const log = {
  info: (msg, fields) => write('info', msg, fields),
  warn: (msg, fields) => write('warn', msg, fields),
  error: (msg, fields) => write('error', msg, fields),
};
