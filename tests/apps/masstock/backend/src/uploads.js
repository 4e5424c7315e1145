// Uploads are the request's body as it is, streamed to the volume and renamed into place when complete.
import { createHash, randomUUID } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { rename, rm } from 'node:fs/promises';
import path from 'node:path';
import { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { config } from './config.js';

export class TooLarge extends Error {}

export async function store(request) {
  // Refused before a byte is read where the size is announced; otherwise the connection is cut at the limit.
  if (Number(request.headers['content-length'] ?? 0) > config.uploadMaxBytes) throw new TooLarge();
  const id = randomUUID();
  const target = path.join(config.uploadDirectory, id);
  const hash = createHash('sha256');
  let bytes = 0;
  const meter = new Transform({
    transform(chunk, _encoding, done) {
      bytes += chunk.length;
      hash.update(chunk);
      done(bytes > config.uploadMaxBytes ? new TooLarge() : null, chunk);
    },
  });
  try {
    await pipeline(request, meter, createWriteStream(`${target}.part`, { flags: 'wx' }));
    await rename(`${target}.part`, target);
  } catch (error) {
    await rm(`${target}.part`, { force: true });
    throw error;
  }
  return { id, bytes, sha256: hash.digest('hex') };
}
