// Makes a release of the one build: the release's own mark takes the place of the placeholder, a file that holds it gets a name
// of its own, and the migrations of later releases are left out.
// Usage: node scripts/stamp.js VERSION [FAULT]
import { createHash } from 'node:crypto';
import { cp, mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { PLACEHOLDER } from '../lib/placeholder.js';

const [version, fault = ''] = process.argv.slice(2);
const hash = (text) => createHash('sha256').update(text).digest('hex').slice(0, 16);
const mark = `r${hash(version)}`;
const BUILD = '.next';

async function files(directory) {
  const found = [];
  for (const entry of await readdir(directory, { withFileTypes: true })) {
    const place = path.join(directory, entry.name);
    if (entry.isDirectory()) found.push(...(await files(place)));
    else if (entry.isFile()) found.push(place);
  }
  return found;
}

const contents = new Map();
for (const file of [...(await files(BUILD)), 'server.js']) {
  const text = await readFile(file, 'latin1');
  if (!file.endsWith('.nft.json')) contents.set(file, text);
}

// Chunks whose content changes with the release: their names are hashes of content, so they change with it.
const names = new Map();
for (const [file, text] of contents) {
  if (file.startsWith(`${BUILD}/static/chunks/`) && text.includes(PLACEHOLDER)) {
    const { name, ext } = path.parse(file);
    names.set(`${name}${ext}`, `${hash(`${name}${version}`)}${ext}`);
  }
}
if (names.size === 0) throw new Error('no chunk carries the placeholder');

for (const [file, text] of contents) {
  let stamped = text.replaceAll(PLACEHOLDER, mark);
  for (const [old, fresh] of names) stamped = stamped.replaceAll(old, fresh);
  if (stamped !== text) await writeFile(file, stamped, 'latin1');
  const fresh = names.get(path.basename(file));
  if (fresh) await rename(file, path.join(path.dirname(file), fresh));
}
// Copied, not renamed: a directory of a lower layer cannot be renamed.
await cp(`${BUILD}/static/${PLACEHOLDER}`, `${BUILD}/static/${mark}`, { recursive: true });
await rm(`${BUILD}/static/${PLACEHOLDER}`, { recursive: true });

// 1.2.0 is the last release with a migration, and its own one cannot be undone. The faulty releases are made to be left again:
// they carry what 1.1.0 has, and their code suits the tables of 1.1.0 and of 1.2.0.
const order = (text) => text.split(/[.-]/).slice(0, 3).reduce((sum, part) => sum * 1000 + Number(part), 0);
const last = fault ? '1.1.0' : version;
await mkdir('prisma/migrations');
const sources = (await readdir('prisma')).filter((name) => /^\d/.test(name) && order(name) <= order(last)).map((name) => `prisma/${name}`);
if (fault.startsWith('migration-')) sources.push(`prisma/faults/${fault}`);
for (const source of sources) await cp(source, 'prisma/migrations', { recursive: true });
for (const name of await readdir('prisma')) if (name !== 'migrations') await rm(`prisma/${name}`, { recursive: true });
process.stdout.write(`${version}: mark ${mark}, ${names.size} chunks renamed, ${(await readdir('prisma/migrations')).length} migrations\n`);
