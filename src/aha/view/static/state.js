// What all pages share: the table of runs, which of them are chosen, and where we are.

import {ask, listen} from './api.js';

export const shared = {rows: [], notes: {}, tabs: [], roots: [], chosen: new Set(), heard: new Set()};

export async function load() {
  Object.assign(shared, await ask('runs'));
  for (const id of [...shared.chosen]) if (!row(id)) shared.chosen.delete(id);
}

export const row = (id) => shared.rows.find((r) => r.id === id);

// While a tab is hidden it holds no connection: a browser has six for one address, whatever the number of tabs.
export function follow(onstate) {
  let source = open();
  document.addEventListener('visibilitychange', async () => {
    if (document.hidden) { source?.close(); source = null; return; }
    if (source) return;
    source = open();
    await load(); // what changed meanwhile
    for (const hear of [...shared.heard]) hear(new Set(shared.rows.map((r) => r.id)));
  });

  function open() { return listen(changed, onstate); }
  function changed({rows, gone}) {
    const by = new Map(shared.rows.map((r) => [r.id, r]));
    for (const r of rows) by.set(r.id, r);
    for (const id of gone) by.delete(id);
    shared.rows = [...by.values()].sort((a, b) => b.began - a.began);
    const ids = new Set([...rows.map((r) => r.id), ...gone]);
    for (const hear of [...shared.heard]) hear(ids);
  }
}

// hash: #/page?key=value&...
export function place() {
  const [path, query] = location.hash.replace(/^#/, '').split('?');
  return {page: path.replace(/^\//, '') || 'runs', query: new URLSearchParams(query ?? '')};
}

export function address(page, query = {}) {
  const pairs = Object.entries(query).flatMap(([k, v]) => [v].flat().filter((x) => x !== '' && x !== null && x !== undefined).map((x) => [k, x]));
  const text = new URLSearchParams(pairs).toString();
  return `#/${page}${text ? '?' + text : ''}`;
}

export const go = (page, query) => { location.hash = address(page, query); };
