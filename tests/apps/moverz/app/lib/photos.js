// Photographs: their record in PostgreSQL and their job in the queue. Every write may be repeated without changing the outcome,
// so a lost reply or a second run never spoils a record.
import { rows } from './db.js';
import { viaQueue } from './queue.js';

const FINAL = ['completed', 'failed'];

// Records the photograph and puts its job in the queue; true when it is new. The job's id is the photograph's.
export async function submit({ id, name, ms }) {
  const added = await rows(
    `INSERT INTO "Photo" ("id", "name", "userId") VALUES ($1, $2, 'demo') ON CONFLICT ("id") DO NOTHING RETURNING "id"`,
    [id, name],
  );
  const [photo] = await rows('SELECT "name", "status" FROM "Photo" WHERE "id" = $1', [id]);
  if (!FINAL.includes(photo.status)) {
    await viaQueue((queue) => queue.add('analyze', { photo: id, name: photo.name, ms }, { jobId: id }));
    await rows('UPDATE "Photo" SET "queuedAt" = coalesce("queuedAt", now()) WHERE "id" = $1', [id]);
  }
  return added.length === 1;
}

const PHOTO = `SELECT p."id", p."name", p."status", p."result", p."error", p."queuedAt" IS NOT NULL AS "accepted",
    count(r."id")::int AS "starts", count(r."endedAt")::int AS "completions"
  FROM "Photo" p LEFT JOIN "PhotoRun" r ON r."photoId" = p."id"`;

export const find = (ids) => rows(`${PHOTO} WHERE p."id" = ANY ($1) GROUP BY p."id" ORDER BY p."id"`, [ids]);

// How many photographs are in which state, and the two things that must never be: an accepted, unfinished photograph without a
// job (lost), and one that ran to its end more than once (repeated).
export async function summary() {
  const open = await rows('SELECT "id" FROM "Photo" WHERE "status" <> ALL ($1) AND "queuedAt" IS NOT NULL', [FINAL]);
  // Jobs first: one that completes between the two readings then shows as completed, not as lost.
  const jobs = await viaQueue((queue) => Promise.all(open.map(({ id }) => queue.getJob(id))));
  const orphans = new Set(open.filter((_photo, n) => !jobs[n]).map(({ id }) => id));
  const photos = await rows(`${PHOTO} GROUP BY p."id" ORDER BY p."id"`);
  const counts = { pending: 0, processing: 0, completed: 0, failed: 0 };
  for (const { status } of photos) counts[status] += 1;
  return {
    total: photos.length,
    counts,
    lost: photos.filter(({ id, status }) => orphans.has(id) && !FINAL.includes(status)).map(({ id }) => id),
    repeated: photos.filter(({ completions }) => completions > 1).map(({ id }) => id),
    photos: Object.fromEntries(photos.map(({ id, status, starts, completions }) => [id, { status, starts, completions }])),
  };
}

// The worker's side. A run is a row, not a counter: repeating a write after a lost reply does not count twice.
export async function begin(id, run) {
  const [photo] = await rows(
    `UPDATE "Photo" SET "status" = 'processing', "error" = NULL WHERE "id" = $1 AND "status" <> 'completed' RETURNING "id"`,
    [id],
  );
  if (!photo) return false;
  await rows('INSERT INTO "PhotoRun" ("id", "photoId") VALUES ($1, $2) ON CONFLICT DO NOTHING', [run, id]);
  return true;
}

export const complete = (id, run, result) => rows(
  `WITH ended AS (UPDATE "PhotoRun" SET "endedAt" = now() WHERE "id" = $2)
   UPDATE "Photo" SET "status" = 'completed', "result" = $3 WHERE "id" = $1`,
  [id, run, result],
);

export const fail = (id, error) => rows(
  `UPDATE "Photo" SET "status" = 'failed', "error" = $2 WHERE "id" = $1 AND "status" <> 'completed'`,
  [id, error],
);
