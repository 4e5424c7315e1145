import { randomUUID } from 'node:crypto';
import { body, Invalid, json, route, text } from '../../../lib/answer.js';
import * as photos from '../../../lib/photos.js';

export const dynamic = 'force-dynamic';

// BullMQ gives a meaning of its own to ids that are numbers, and keys are joined with colons.
const ID = /^(?!\d+$)[A-Za-z0-9_-]{1,64}$/;

export const POST = route(async (request) => {
  const { id = randomUUID(), name, ms } = await body(request);
  if (ms !== undefined && !(Number.isInteger(ms) && ms >= 0 && ms <= 600_000)) throw new Invalid('ms is not a whole number up to 600000');
  const photo = { id: text(id, 'id', ID), name: text(name, 'name', /^.{1,200}$/), ms };
  const isNew = await photos.submit(photo);
  if (isNew) return json({ id, status: 'pending' }, 202);
  const [found] = await photos.find([id]);
  return json({ id, status: found.status });
});

export const GET = route(async (request) => {
  const ids = (new URL(request.url).searchParams.get('ids') ?? '').split(',').map((id) => text(id, 'ids', ID));
  return json({ photos: await photos.find(ids) });
});
