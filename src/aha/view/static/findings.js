// Tabs of findings: words and tables that plain functions of the server make from runs.

import {h, fill, field, choice} from './dom.js';
import {ask} from './api.js';
import {address, go, shared} from './state.js';
import * as rescoring from './rescoring.js';

const RESCORING = {name: 'rescoring', title: 'Rescoring', least: 1, most: 1, live: false};

export async function draw(main, query) {
  const name = query.get('tab') ?? shared.tabs[0]?.name, tabs = [...shared.tabs, RESCORING], tab = tabs.find((t) => t.name === name);
  if (!tab) { fill(main, h('h1', {}, 'Findings'), h('p', {}, 'There is no such tab.')); return null; }
  const runs = [...shared.chosen].slice(0, tab.most), place = h('div');
  const again = h('button', {onclick: () => paint()}, 'Look again');
  const bar = h('div.bar', {}, field('Tab', choice(tabs.map((t) => [t.name, t.title]), name, (v) => go('findings', {tab: v, run: [...shared.chosen]}))),
    tab.most === 1 ? field('Run', choice(shared.rows.map((r) => [r.id, r.id]), runs[0], (v) => go('findings', {tab: name, run: v}))) : '', tab.live || tab === RESCORING ? '' : again);
  fill(main, h('h1', {}, tab.title), h('p.small.soft', {}, runs.join(', ')), bar, place);
  if (runs.length < tab.least) {
    fill(place, h('p', {}, `This looks at ${tab.least} runs or more together: choose them in the `, h('a', {href: '#/runs'}, 'table'), '.'));
    return null;
  }
  if (tab === RESCORING) return {close: await rescoring.draw(place, runs[0])};
  async function paint() {
    again.disabled = true;
    if (!tab.live) fill(place, h('p.soft', {role: 'status'}, 'Looking; this takes a while…'));
    try { fill(place, (await ask('tab', {name, run: runs})).map((b) => block(b, runs))); } catch (error) { fill(place, h('p.bad', {}, error.message)); }
    again.disabled = false;
  }
  if (tab.live) await paint(); else paint();
  const hear = (changed) => { if (tab.live && runs.some((r) => changed.has(r))) paint(); };
  shared.heard.add(hear);
  return {close: () => shared.heard.delete(hear)};
}

export function block(b, runs) {
  return h('section.box', {class: b.tone}, h('h2', {}, b.heading), b.texts.map((t) => h('p', {}, t)),
    b.rows.length ? h('div.scroll', {}, h('table', {}, h('thead', {}, h('tr', {}, b.head.map((n) => h('th', {}, n)))), h('tbody', {}, b.rows.map((r) => h('tr', {}, r.map((c) => h('td', {}, c))))))) : '',
    b.links.map(([words, filter]) => h('p', {}, h('a', {href: address('rollouts', {run: filter.run ?? runs[0], ...filter})}, words))));
}
