import { useEffect, useState } from 'react';
import { call } from './api.js';

const POLL_MS = 2000;

function Login({ onUser }) {
  const [problem, setProblem] = useState('');
  async function submit(event) {
    event.preventDefault();
    const { email, password } = Object.fromEntries(new FormData(event.target));
    try {
      onUser((await call('POST', '/api/v1/auth/login', { email, password })).user);
    } catch (error) {
      setProblem(error.message);
    }
  }
  return (
    <form onSubmit={submit}>
      <label>Email <input name="email" type="email" autoComplete="username" required /></label>
      <label>Password <input name="password" type="password" autoComplete="current-password" required /></label>
      <button>Log in</button>
      <p role="alert">{problem}</p>
    </form>
  );
}

function Workflow({ user }) {
  const [execution, setExecution] = useState(null);
  const [problem, setProblem] = useState('');
  const unfinished = execution && !['completed', 'failed'].includes(execution.status);

  useEffect(() => {
    if (!unfinished) return undefined;
    const timer = setInterval(async () => {
      try {
        setExecution(await call('GET', `/api/v1/executions/${execution.id}`));
        setProblem('');
      } catch (error) {
        setProblem(error.message);
      }
    }, POLL_MS);
    return () => clearInterval(timer);
  }, [unfinished, execution?.id]);

  async function submit(event) {
    event.preventDefault();
    const prompts = new FormData(event.target).get('prompts').split('\n').map((line) => line.trim()).filter(Boolean);
    try {
      setExecution(await call('POST', '/api/v1/executions', { prompts }));
      setProblem('');
    } catch (error) {
      setProblem(error.message);
    }
  }
  return (
    <form onSubmit={submit}>
      <p>Signed in as {user.email}</p>
      <label>One prompt per line <textarea name="prompts" rows="4" required /></label>
      <button disabled={unfinished}>Run</button>
      {execution && <p role="status">Execution {execution.id}: {execution.status}</p>}
      <p role="alert">{problem}</p>
    </form>
  );
}

export function App() {
  const [user, setUser] = useState(null);
  useEffect(() => {
    call('GET', '/api/v1/me').then((answer) => setUser(answer.user), () => setUser(null));
  }, []);
  return (
    <main>
      <h1>MasStock</h1>
      {user ? <Workflow user={user} /> : <Login onUser={setUser} />}
      <footer>Version {__VERSION__}</footer>
    </main>
  );
}
