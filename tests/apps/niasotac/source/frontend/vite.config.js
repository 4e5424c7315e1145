import { existsSync, readFileSync } from 'node:fs';
import { defineConfig } from 'vite';

// The release carries its version beside back end and front end; index.html and the page show it.
const marker = new URL('../VERSION', import.meta.url);
process.env.VITE_VERSION = existsSync(marker) ? readFileSync(marker, 'utf8').trim() : '0.0.0-dev';
// Without an address, the page asks the name that its own has with `api.` before it.
process.env.VITE_API_URL ??= '';

export default defineConfig({
  esbuild: { jsx: 'automatic' },
  server: { host: '127.0.0.1' },
});
