-- The ledger: how often a reservation's job was started and run to the end.
CREATE TABLE reservation_runs (
  run uuid PRIMARY KEY,
  reservation text NOT NULL,
  version text NOT NULL,
  started_at timestamptz NOT NULL DEFAULT now(),
  completed_at timestamptz
);
CREATE INDEX reservation_runs_reservation ON reservation_runs (reservation);
