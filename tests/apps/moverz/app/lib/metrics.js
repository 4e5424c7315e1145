// What each call to a provider cost: a row for the summary, a line for the file, a line for the log.
import { appendFile } from 'node:fs/promises';
import { config } from './config.js';
import { rows } from './db.js';
import { log } from './log.js';

export async function record({ provider, model, ok, ms, costUsd }) {
  await rows(
    'INSERT INTO "AiMetric" ("provider", "model", "success", "latencyMs", "costUsd") VALUES ($1, $2, $3, $4, $5)',
    [provider, model, ok, ms, costUsd],
  );
  log.info('AI_METRIC', { provider, model, success: ok, latency_ms: ms, cost_usd: costUsd });
  if (!config.metricsFile) return;
  const line = `${JSON.stringify({ at: new Date().toISOString(), provider, model, success: ok, latencyMs: ms, costUsd })}\n`;
  // Opened anew for every line, so that the file may be cut or replaced at any moment.
  await appendFile(config.metricsFile, line).catch((error) => log.warn('metrics file not written', { error: error.message }));
}

const FIGURES = `count(*)::int AS "totalCalls", count(*) FILTER (WHERE "success")::int AS "successes",
  coalesce(percentile_disc(0.50) WITHIN GROUP (ORDER BY "latencyMs"), 0)::int AS "p50",
  coalesce(percentile_disc(0.95) WITHIN GROUP (ORDER BY "latencyMs"), 0)::int AS "p95",
  coalesce(percentile_disc(0.99) WITHIN GROUP (ORDER BY "latencyMs"), 0)::int AS "p99",
  coalesce(sum("costUsd"), 0)::float8 AS "totalCostUsd"`;

// Without a call nothing failed: a fresh installation is not an alarm.
const present = ({ totalCalls, successes, p50, p95, p99, totalCostUsd, ...rest }) => ({
  ...rest,
  totalCalls,
  successRate: totalCalls === 0 ? 1 : successes / totalCalls,
  failureRate: totalCalls === 0 ? 0 : 1 - successes / totalCalls,
  latency: { p50, p95, p99 },
  totalCostUsd,
});

// The last seven days, as the guide's comparison of variants has it.
export async function summary() {
  const recent = `FROM "AiMetric" WHERE "at" > now() - interval '7 days'`;
  const [all] = await rows(`SELECT ${FIGURES} ${recent}`);
  const parts = await rows(`SELECT "provider", "model", ${FIGURES} ${recent} GROUP BY "provider", "model" ORDER BY 1, 2`);
  return { ...present(all), breakdown: parts.map(present) };
}
