import { config } from './config.js';
import { rows } from './db.js';
import * as metrics from './metrics.js';
import { viaQueue } from './queue.js';

const asks = (work, judge = () => 'ok') => work.then(judge, () => 'down');

// What the pages and the monitoring see of everything that the application needs.
export async function status() {
  const [database, queues, ai] = await Promise.all([
    asks(rows('SELECT 1')),
    asks(viaQueue((queue) => queue.getWorkersCount()), (workers) => (workers > 0 ? 'ok' : 'no worker')),
    asks(metrics.summary(), ({ successRate }) => (successRate >= 0.95 ? 'ok' : 'failing')),
  ]);
  const good = [database, queues, ai].every((word) => word === 'ok');
  return { status: good ? 'ok' : 'degraded', version: config.version, database, queues, ai };
}
