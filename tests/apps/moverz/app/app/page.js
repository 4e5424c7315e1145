import Link from 'next/link';
import BackOffice from './back-office.js';

export default function Home() {
  return (
    <main>
      <h1>Moverz</h1>
      <BackOffice />
      <Link href="/admin">Admin</Link>
    </main>
  );
}
