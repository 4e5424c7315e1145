CREATE TABLE users (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  email text NOT NULL UNIQUE
);
INSERT INTO users (email) VALUES ('demo@techplus.com');

CREATE TABLE tables (
  id integer PRIMARY KEY,
  seats integer NOT NULL
);
INSERT INTO tables SELECT n, 2 + n % 5 FROM generate_series(1, 20) AS n;

CREATE TABLE reservations (
  id text PRIMARY KEY,
  date date NOT NULL,
  guests integer NOT NULL,
  phone text NOT NULL,
  status text NOT NULL DEFAULT 'PENDING' CHECK (status IN ('PENDING', 'CONFIRMED', 'COMPLETED', 'CANCELLED')),
  management_token text,
  token_expires_at timestamptz,
  created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX reservations_status_date ON reservations (status, date);
