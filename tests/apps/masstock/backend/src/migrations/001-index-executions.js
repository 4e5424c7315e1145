// Executions recorded before the index existed are added to it.
export async function up(redis) {
  for await (const keys of redis.scanStream({ match: 'execution:*', count: 200 })) {
    if (keys.length > 0) await redis.sadd('executions', ...keys.map((key) => key.slice('execution:'.length)));
  }
}
