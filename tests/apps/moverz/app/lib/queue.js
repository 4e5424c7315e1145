import { Queue } from 'bullmq';
import Redis from 'ioredis';
import { config } from './config.js';
import { log } from './log.js';

export const QUEUE = 'photo-analyze';
const reconnect = (attempt) => Math.min(attempt * 100, 1000);

export class Unavailable extends Error {}

export function connect(name, options) {
  const client = new Redis(config.redisUrl, { connectTimeout: 2000, retryStrategy: reconnect, ...options });
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
export function queue(name = 'app') {
  if (!globalThis.moverzQueue) {
    const connection = connect(name, {
      enableOfflineQueue: false,
      autoResendUnfulfilledCommands: false,
      maxRetriesPerRequest: 0,
      commandTimeout: 2000,
    });
    globalThis.moverzQueue = new Queue(QUEUE, {
      connection,
      defaultJobOptions: { attempts: 3, backoff: { type: 'fixed', delay: 1000 } },
    });
    globalThis.moverzQueue.on('error', () => {}); // the connection has reported it
  }
  return globalThis.moverzQueue;
}

// After an error it is unknown whether a write arrived: repeating it with the same id is safe.
export async function viaQueue(work) {
  let timer;
  const late = new Promise((_resolve, reject) => {
    timer = setTimeout(() => reject(new Unavailable('redis did not answer within 2.5 s')), 2500);
  });
  try {
    return await Promise.race([work(queue()), late]);
  } catch (error) {
    throw error instanceof Unavailable ? error : new Unavailable(error.message, { cause: error });
  } finally {
    clearTimeout(timer);
  }
}
