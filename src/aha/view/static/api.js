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

// An answer that comes in lines, each told as it comes.
export async function pour(path, said, hear, signal) {
  const answer = await fetch(`/api/${path}`, {method: 'POST', headers: {'content-type': 'application/json'}, body: JSON.stringify(said), signal});
  if (!answer.ok) return told(answer);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let rest = ''; ;) {
    const {done, value} = await reader.read();
    if (done) return null;
    const lines = (rest + value).split('\n');
    rest = lines.pop();
    for (const line of lines) hear(JSON.parse(line));
  }
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
