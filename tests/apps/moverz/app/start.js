// Starts the server that `next build` made. Next.js' own handling of SIGTERM ends with exit code 143 and knows no limit, so
// this does it instead.
import diagnostics from 'node:diagnostics_channel';
import { randomUUID } from 'node:crypto';
import { config, requireEnv, SERVICE_ENV } from './lib/config.js';
import { log } from './lib/log.js';

requireEnv(...SERVICE_ENV, 'JWT_SECRET', 'ADMIN_BYPASS_TOKEN');

// Next.js writes for people; here a line is JSON. Its messages may hold a stack, never a request's body or headers.
const plain = (words) => words.map((word) => (word instanceof Error ? word.stack : String(word))).join(' ').trim();
console.log = (...words) => log.debug('next', { text: plain(words) });
console.info = console.log;
console.warn = (...words) => log.warn('next', { text: plain(words) });
console.error = (...words) => log.error('next', { text: plain(words) });

let server;
let stopping = false;

diagnostics.subscribe('http.server.request.start', ({ request, response, server: from }) => {
  server = from;
  const begun = process.hrtime.bigint();
  const requestId = request.headers['x-request-id'] || randomUUID();
  // The path without its query: a query may carry what does not belong in a log.
  const [path] = request.url.split('?');
  response.setHeader('X-Request-Id', requestId);
  if (stopping) response.setHeader('Connection', 'close');
  response.on('close', () => {
    const ms = Number((process.hrtime.bigint() - begun) / 1_000_000n);
    const level = path === '/health' ? 'debug' : 'info';
    log[level]('request', { request: `${request.method} ${path}`, request_id: requestId, status: response.statusCode, ms, finished: response.writableFinished });
    if (stopping) setImmediate(() => server.closeIdleConnections());
    if (config.fault === 'crash-later' && path === '/health') crash();
  });
});

// Healthy first: the five seconds begin when somebody was told so.
let crashing = false;
function crash() {
  if (crashing) return;
  crashing = true;
  setTimeout(() => {
    log.error('this image is made to crash');
    process.exit(1);
  }, 5000);
}

function stop(signal) {
  if (stopping) return;
  stopping = true;
  log.info('stopping', { signal });
  const end = () => {
    log.info('stopped');
    process.exit(0);
  };
  if (!server) return end(); // nobody ever asked it anything
  server.close(end);
  server.closeIdleConnections();
  setTimeout(() => {
    log.warn('stopped with requests unanswered');
    process.exit(1);
  }, config.shutdownGraceMs);
}
process.on('SIGTERM', stop);
process.on('SIGINT', stop);

Object.assign(process.env, {
  NEXT_MANUAL_SIG_HANDLE: '1',
  HOSTNAME: config.host, // Docker sets it to the container's id
  PORT: String(config.port || 3001),
  // Longer than nginx keeps its connections (60 s): a connection closed from this side could meet a request on its way.
  KEEP_ALIVE_TIMEOUT: '65000',
});
log.info('starting', { host: config.host, port: config.port || 3001 });
await import('./server.js');
