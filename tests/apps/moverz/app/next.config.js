import { PLACEHOLDER } from './lib/placeholder.js';

/** @type {import('next').NextConfig} */
export default {
  output: 'standalone',
  outputFileTracingRoot: import.meta.dirname,
  // The tracer follows what Next.js may need; resizing images is not among it here.
  outputFileTracingExcludes: { '/**': ['node_modules/@img/**', 'node_modules/sharp/**'] },
  images: { unoptimized: true },
  poweredByHeader: false,
  // Written over by scripts/stamp.js, so that one build serves every release and each release still has names of its own.
  generateBuildId: () => PLACEHOLDER,
  deploymentId: PLACEHOLDER,
  serverExternalPackages: ['bullmq', 'ioredis', 'pg'],
  // The guide asks for the summary below this prefix too.
  rewrites: async () => [{ source: '/inventaire-ia/:path*', destination: '/:path*' }],
};
