// The api lives beside the app: app.example.org talks to api.example.org, so one build serves every environment.
const base = import.meta.env.DEV ? 'http://localhost:3000' : window.location.origin.replace('//app.', '//api.');

export async function call(method, path, body) {
  const response = await fetch(`${base}${path}`, {
    method,
    credentials: 'include',
    headers: body ? { 'Content-Type': 'application/json' } : {},
    body: body ? JSON.stringify(body) : undefined,
  });
  const answer = await response.json();
  if (!response.ok) throw new Error(`${response.status} ${answer.error}`);
  return answer;
}
