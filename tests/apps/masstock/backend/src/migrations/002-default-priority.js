// Executions from before priorities existed were all normal.
export async function up(redis) {
  for (const id of await redis.smembers('executions')) await redis.hsetnx(`execution:${id}`, 'priority', 'normal');
}
