import { createServer } from 'node:http';
import { WebSocket, WebSocketServer } from 'ws';
import { Vault } from './vault.js';

const VERSION = process.env.APP_VERSION || '0.0.0-dev';
const DATA = process.env.N8N_USER_FOLDER || '/home/node/.n8n';
const PORT = Number(process.env.N8N_PORT || 5678);
const EX_CONFIG = 78;
const HEARTBEAT_MS = 5000;

function log(level, msg, fields) {
  process.stdout.write(`${JSON.stringify({ time: new Date().toISOString(), level, service: 'n8n', version: VERSION, msg, ...fields })}\n`);
}

function refuse(message) {
  process.stderr.write(`fatal: ${message}\n`);
  process.exit(EX_CONFIG);
}

if (!process.env.N8N_ENCRYPTION_KEY) refuse('missing environment variables: N8N_ENCRYPTION_KEY');

function openVault() {
  try {
    return new Vault(DATA, process.env.N8N_ENCRYPTION_KEY);
  } catch (error) {
    return refuse(error.message);
  }
}
const vault = openVault();

const PAGE = `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="version" content="${VERSION}"><title>n8n (stand-in)</title>
<link rel="icon" href="data:,"></head>
<body><h1>n8n (stand-in)</h1><p>Version ${VERSION}</p><p>Push connection: <output id="push">closed</output></p>
<script src="/push.js"></script></body></html>
`;
const SCRIPT = `const output = document.getElementById('push');
const socket = new WebSocket(location.origin.replace(/^http/, 'ws') + '/rest/push');
socket.onmessage = (event) => { output.value = JSON.parse(event.data).type; };
socket.onclose = () => { output.value = 'closed'; };
`;

function answer(res, status, body, type = 'application/json; charset=utf-8') {
  res.writeHead(status, { 'Content-Type': type });
  res.end(type.startsWith('application/json') ? JSON.stringify(body) : body);
}

async function json(req) {
  const chunks = [];
  let bytes = 0;
  for await (const chunk of req) {
    bytes += chunk.length;
    if (bytes > 64 * 1024) return null;
    chunks.push(chunk);
  }
  try {
    return JSON.parse(Buffer.concat(chunks).toString('utf8'));
  } catch {
    return null;
  }
}

const isText = (value) => typeof value === 'string' && value !== '';

// Values go in and never come out again: whoever knows one may ask whether it is the stored one.
async function credentials(req, res) {
  if (req.method === 'GET') return answer(res, 200, { names: vault.names() });
  const body = await json(req);
  if (!isText(body?.name) || !isText(body?.value)) return answer(res, 400, { error: 'expected {"name": "...", "value": "..."}' });
  if (req.url.endsWith('/verify')) {
    if (!vault.has(body.name)) return answer(res, 404, { error: 'not_found' });
    return answer(res, 200, { name: body.name, matches: vault.matches(body.name, body.value) });
  }
  vault.put(body.name, body.value);
  return answer(res, 201, { name: body.name });
}

const routes = {
  'GET /': (_req, res) => answer(res, 200, PAGE, 'text/html; charset=utf-8'),
  'GET /push.js': (_req, res) => answer(res, 200, SCRIPT, 'text/javascript; charset=utf-8'),
  'GET /healthz': (_req, res) => answer(res, 200, { status: 'ok' }),
  'GET /version': (_req, res) => answer(res, 200, { service: 'n8n', version: VERSION }),
  'GET /rest/credentials': credentials,
  'POST /rest/credentials': credentials,
  'POST /rest/credentials/verify': credentials,
};

const server = createServer(async (req, res) => {
  const path = req.url.split('?')[0];
  const method = req.method === 'HEAD' ? 'GET' : req.method; // wget --spider asks with HEAD
  res.on('close', () => log('info', 'request', { method: req.method, path, status: res.statusCode }));
  const route = routes[`${method} ${path}`];
  if (!route) return answer(res, 404, { error: 'not_found' });
  try {
    return await route(req, res);
  } catch (error) {
    log('error', 'unexpected', { path, error: error.message });
    return answer(res, 500, { error: 'internal' });
  }
});

const push = new WebSocketServer({ noServer: true, maxPayload: 64 * 1024 });
server.on('upgrade', (req, socket, head) => {
  if (req.url.split('?')[0] !== '/rest/push') return socket.end('HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\n');
  return push.handleUpgrade(req, socket, head, (client) => push.emit('connection', client));
});
push.on('connection', (client) => {
  client.on('error', (error) => log('warn', 'push connection', { error: error.message }));
  client.on('message', (data) => client.send(JSON.stringify({ type: 'echo', data: data.toString() })));
  client.send(JSON.stringify({ type: 'hello', version: VERSION }));
});
const heartbeat = setInterval(() => {
  for (const client of push.clients) {
    if (client.readyState === WebSocket.OPEN) client.send(JSON.stringify({ type: 'heartbeat' }));
  }
}, HEARTBEAT_MS);

server.keepAliveTimeout = 65_000; // longer than the nginx in front
server.listen(PORT, () => log('info', 'listening', { port: PORT }));

function stop(signal) {
  log('info', 'stopping', { signal });
  clearInterval(heartbeat);
  for (const client of push.clients) client.close(1001, 'server is stopping');
  server.close(() => process.exit(0));
  setTimeout(() => process.exit(1), 8000);
}
process.once('SIGTERM', stop);
process.once('SIGINT', stop);
