// What all pages share: the table of runs, which of them are chosen, and where we are.

import {ask, listen} from './api.js';

export const shared = {rows: [], notes: {}, tabs: [], roots: [], chosen: new Set(), heard: new Set()};

export async function load() {
  Object.assign(shared, await ask('runs'));
  for (const id of [...shared.chosen]) if (!row(id)) shared.chosen.delete(id);
}

export const row = (id) => shared.rows.find((r) => r.id === id);

export function follow(onstate) {
  listen(({rows, gone}) => {
    const by = new Map(shared.rows.map((r) => [r.id, r]));
    for (const r of rows) by.set(r.id, r);
    for (const id of gone) by.delete(id);
    shared.rows = [...by.values()].sort((a, b) => b.began - a.began);
    const changed = new Set([...rows.map((r) => r.id), ...gone]);
    for (const hear of [...shared.heard]) hear(changed);
  }, onstate);
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
