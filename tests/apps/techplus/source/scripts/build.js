// Makes dist/ out of web/: every asset gets a name with a digest of its content, so that pages of two releases find their own.
import { createHash } from 'node:crypto';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { fault, version } from '../src/release.js';

if (fault === 'build-fails') {
  process.stderr.write('fatal: build: the fault build-fails\n');
  process.exit(1);
}

const web = new URL('../web/', import.meta.url);
const site = new URL('../dist/', import.meta.url);
await rm(site, { recursive: true, force: true });
await mkdir(new URL('assets/', site), { recursive: true });

let page = (await readFile(new URL('index.html', web), 'utf8')).replaceAll('{{version}}', version);
for (const [name, extension] of [['app', 'js'], ['style', 'css']]) {
  const content = (await readFile(new URL(`${name}.${extension}`, web), 'utf8')).replaceAll('{{version}}', version);
  const hashed = `assets/${name}-${createHash('sha256').update(content).digest('hex').slice(0, 8)}.${extension}`;
  await writeFile(new URL(hashed, site), content);
  page = page.replaceAll(`{{${name}}}`, `/${hashed}`);
}
await writeFile(new URL('index.html', site), page);
