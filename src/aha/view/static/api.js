// What the server is asked. Every answer is JSON; an error is told in words.

export async function ask(path, query = {}, signal = undefined) {
  const pairs = Object.entries(query).flatMap(([key, value]) => [value].flat()
    .filter((v) => v !== '' && v !== null && v !== undefined).map((v) => [key, v]));
  const answer = await fetch(`/api/${path}?${new URLSearchParams(pairs)}`, {signal});
  return told(answer);
}

export async function tell(path, said) {
  return told(await fetch(`/api/${path}`, {method: 'POST', headers: {'content-type': 'application/json'}, body: JSON.stringify(said)}));
}

async function told(answer) {
  const text = await answer.text();
  let found;
  try { found = JSON.parse(text); } catch { throw new Error(text.trim() || `the server answered ${answer.status}`); }
  if (!answer.ok) throw new Error(found.error ?? `the server answered ${answer.status}`);
  return found;
}

// The stream of changes: onchange({rows, gone}), onstate(whether it is open)
export function listen(onchange, onstate) {
  const source = new EventSource('/api/events');
  source.addEventListener('change', (event) => onchange(JSON.parse(event.data)));
  source.onopen = () => onstate(true);
  source.onerror = () => onstate(false);
  return source;
}
