// Which page is shown, the keys, and the look.

import {h, fill, toast} from './dom.js';
import {address, follow, go, load, place, shared} from './state.js';
import * as runs from './runs.js';
import * as curves from './curves.js';
import * as graph from './graph.js';
import * as rollouts from './rollouts.js';
import * as rollout from './rollout.js';
import * as findings from './findings.js';
import * as talk from './talk.js';
import * as mistakes from './mistakes.js';

const PAGES = {runs, curves, graph, rollouts, rollout, findings, talk, mistakes};
const NAV = [['runs', 'Runs', 'r'], ['curves', 'Curves', 'c'], ['graph', 'Stages', 's'], ['rollouts', 'Rollouts', 'o'], ['findings', 'Findings', 'f'], ['talk', 'Talk', 't'], ['mistakes', 'Mistakes', 'm']];
let current = null, turn = 0;

function theme(set) {
  const dark = matchMedia('(prefers-color-scheme: dark)').matches;
  const now = set ?? localStorage.getItem('theme') ?? (dark ? 'dark' : 'light');
  document.documentElement.dataset.theme = now;
  if (set) localStorage.setItem('theme', set);
  document.getElementById('theme').textContent = now === 'dark' ? '☀' : '☾';
}

function chosenRuns(page, query) {
  const named = query.getAll('run');
  if (named.length) { shared.chosen = new Set(named); return; }
  if (!shared.chosen.size && shared.rows.length && page !== 'runs') shared.chosen = new Set([shared.rows[0].id]);
}

async function draw() {
  const {page, query} = place(), mine = ++turn, main = document.getElementById('main'), box = h('div');
  const module = PAGES[page] ?? runs;
  chosenRuns(page, query);
  nav(page);
  current?.close?.();
  current = null;
  try {
    const made = await module.draw(box, query); // beside the page: another place may be asked for meanwhile
    if (mine !== turn) { made?.close?.(); return; }
    current = made;
    fill(main, box);
    document.title = `${main.querySelector('h1')?.textContent ?? page} · aha view`;
  } catch (error) {
    if (mine !== turn) return;
    fill(main, h('div.box.bad', {}, h('h1', {}, 'This could not be shown'), h('p', {}, error.message), h('p', {}, h('a', {href: '#/runs'}, 'All runs'))));
  }
}

function nav(page) {
  const run = [...shared.chosen];
  const links = NAV.map(([name, words]) => h('a', {
    href: address(name, name === 'runs' || name === 'mistakes' ? {} : {run: name === 'curves' || name === 'findings' ? run : run.slice(0, 1)}),
    'aria-current': name === page || (name === 'rollouts' && page === 'rollout') ? 'page' : null,
  }, words));
  fill(document.getElementById('nav'), links);
  document.querySelector('nav [aria-current]')?.scrollIntoView({block: 'nearest', inline: 'nearest'}); // on a phone they stand in one line
}

// --- keys ---

const KEYS = [...NAV.map(([name, words, key]) => [`g ${key}`, words]), ['j / k', 'next, previous line'], ['Enter', 'open the line'], ['x', 'choose the line (runs)'],
  ['/', 'to the search'], ['t', 'fold or unfold all thinking'], ['[ / ]', 'previous, next rollout'], ['d', 'light or dark'], ['?', 'these keys'], ['Esc', 'back']];
let waiting = false;

function keys(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const typing = /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName);
  if (event.key === 'Escape' && typing) { event.target.blur(); return; }
  if (typing || document.getElementById('keys').open) return;
  if (waiting) {
    waiting = false;
    const found = NAV.find(([, , key]) => key === event.key);
    if (found) { event.preventDefault(); go(found[0], found[0] === 'runs' ? {} : {run: [...shared.chosen].slice(0, found[0] === 'curves' || found[0] === 'findings' ? 16 : 1)}); }
    return;
  }
  if (event.key === 'g') { waiting = true; setTimeout(() => { waiting = false; }, 1500); return; }
  if (event.key === '?') { help(); return; }
  if (event.key === 'd') { theme(document.documentElement.dataset.theme === 'dark' ? 'light' : 'dark'); return; }
  if (event.key === 'Escape') { history.back(); return; }
  if (event.key === '/') { const box = document.querySelector('[data-search]'); if (box) { event.preventDefault(); box.focus(); box.select(); } return; }
  if (event.key === 'j' || event.key === 'k') { move(event.key === 'j' ? 1 : -1); return; }
  current?.key?.(event);
}

function move(by) {
  const lines = [...document.querySelectorAll('[data-line]')];
  if (!lines.length) return;
  const at = lines.indexOf(document.activeElement.closest?.('[data-line]'));
  const next = lines[Math.min(lines.length - 1, Math.max(0, at < 0 ? 0 : at + by))];
  next.focus();
  next.scrollIntoView({block: 'nearest'});
}

function help() {
  const dialog = document.getElementById('keys');
  fill(dialog, h('h2', {id: 'keys-title'}, 'Keys'), h('dl', {}, KEYS.map(([key, words]) => [h('dt', {}, h('kbd', {}, key)), h('dd', {}, words)])),
    h('p', {}, h('button', {onclick: () => dialog.close()}, 'Close')));
  dialog.showModal();
}

document.getElementById('theme').addEventListener('click', () => theme(document.documentElement.dataset.theme === 'dark' ? 'light' : 'dark'));
document.getElementById('help').addEventListener('click', help);
addEventListener('keydown', keys);
addEventListener('hashchange', () => { draw().then(() => document.getElementById('main').focus({preventScroll: true})); });
addEventListener('unhandledrejection', (event) => toast(event.reason?.message ?? String(event.reason)));
theme();
try {
  await load();
  follow((open) => {
    const node = document.getElementById('live');
    node.className = `live ${open ? 'on' : 'off'}`;
    node.textContent = open ? 'live' : 'not connected';
  });
  await draw();
} catch (error) {
  fill(document.getElementById('main'), h('div.box.bad', {}, h('h1', {}, 'The runs could not be read'), h('p', {}, error.message)));
}
