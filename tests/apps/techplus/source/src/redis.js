import Redis from 'ioredis';
import { config } from './config.js';
import { log } from './log.js';

export function connect(name, options = {}) {
  const client = new Redis(config.redisUrl, {
    connectTimeout: 2000,
    retryStrategy: (attempt) => Math.min(attempt * 100, 1000),
    maxRetriesPerRequest: null,
    ...options,
  });
  // One line per outage, not one per attempt.
  let down = false;
  client.on('error', (error) => {
    if (!down) log.warn('redis unavailable', { connection: name, error: error.message });
    down = true;
  });
  client.on('ready', () => {
    if (down) log.info('redis available again', { connection: name });
    down = false;
  });
  return client;
}

// For whoever has a client waiting: an answer within two seconds or an error, nothing kept for later.
export function impatient(name) {
  return connect(name, { enableOfflineQueue: false, autoResendUnfulfilledCommands: false, maxRetriesPerRequest: 0, commandTimeout: 2000 });
}
