import { status } from '../../lib/status.js';

export const metadata = { title: 'Moverz · Admin' };

export default async function Admin() {
  const { database, queues, ai } = await status();
  return (
    <main>
      <h1>Admin</h1>
      <ul>
        <li>Database: {database}</li>
        <li>Queues: {queues}</li>
        <li>AI: {ai}</li>
      </ul>
    </main>
  );
}
