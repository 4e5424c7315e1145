import { config } from '../lib/config.js';

// Every page is made when it is asked for: the version comes from the environment.
export const dynamic = 'force-dynamic';
export const generateMetadata = () => ({ title: 'Moverz', other: { version: config.version } });

export default function Layout({ children }) {
  return (
    <html lang="fr">
      <body>{children}</body>
    </html>
  );
}
