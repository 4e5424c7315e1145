CREATE TABLE "AiMetric" (
  "id" bigserial PRIMARY KEY,
  "at" timestamptz NOT NULL DEFAULT now(),
  "provider" text NOT NULL,
  "model" text NOT NULL,
  "success" boolean NOT NULL,
  "latencyMs" integer NOT NULL,
  "costUsd" numeric(10, 6) NOT NULL
);
CREATE INDEX "AiMetric_at" ON "AiMetric" ("at");
