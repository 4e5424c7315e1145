import { defineConfig } from 'vite';

export default defineConfig({
  esbuild: { jsx: 'automatic' },
  // The Docker build passes VERSION; index.html and the page show it.
  define: { __VERSION__: JSON.stringify(process.env.VITE_VERSION ?? '0.0.0-dev') },
});
