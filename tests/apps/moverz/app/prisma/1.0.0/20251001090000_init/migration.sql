CREATE TABLE "User" (
  "id" text PRIMARY KEY,
  "email" text NOT NULL UNIQUE,
  "name" text NOT NULL
);

CREATE TABLE "Project" (
  "id" text PRIMARY KEY,
  "userId" text NOT NULL REFERENCES "User" ON DELETE CASCADE,
  "title" text NOT NULL
);

CREATE TABLE "Room" (
  "id" text PRIMARY KEY,
  "projectId" text NOT NULL REFERENCES "Project" ON DELETE CASCADE,
  "title" text NOT NULL
);

CREATE TABLE "Photo" (
  "id" text PRIMARY KEY,
  "userId" text NOT NULL REFERENCES "User" ON DELETE CASCADE,
  "roomId" text REFERENCES "Room" ON DELETE CASCADE,
  "name" text NOT NULL,
  "status" text NOT NULL DEFAULT 'pending',
  "result" text,
  "error" text,
  "createdAt" timestamptz NOT NULL DEFAULT now(),
  "queuedAt" timestamptz
);

CREATE TABLE "PhotoRun" (
  "id" text PRIMARY KEY,
  "photoId" text NOT NULL REFERENCES "Photo" ON DELETE CASCADE,
  "startedAt" timestamptz NOT NULL DEFAULT now(),
  "endedAt" timestamptz
);
CREATE INDEX "PhotoRun_photoId" ON "PhotoRun" ("photoId");

INSERT INTO "User" ("id", "email", "name") VALUES ('demo', 'demo@movers-test.gslv.cloud', 'Demo');
INSERT INTO "Project" ("id", "userId", "title") VALUES ('demo-removal', 'demo', 'A removal');
INSERT INTO "Room" ("id", "projectId", "title") VALUES ('demo-kitchen', 'demo-removal', 'Kitchen');
