// Which release this tree is: each tag of the repository has a VERSION of its own, and a broken one a FAULT.
import { readFileSync } from 'node:fs';

function word(name) {
  try {
    return readFileSync(new URL(`../${name}`, import.meta.url), 'utf8').trim();
  } catch (error) {
    if (error.code !== 'ENOENT') throw error;
    return '';
  }
}

export const version = word('VERSION') || '0.0.0-dev';
export const fault = word('FAULT');
