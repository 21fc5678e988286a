// Curves of one or several runs, live.

import {h, fill, field, choice, show, duration} from './dom.js';
import {ask} from './api.js';
import {address, row, shared} from './state.js';
import {banded, chart, smooth, valueAt} from './chart.js';

const AXES = {
  step: {name: 'step', words: 'step', whole: true, show: (x) => show(Math.round(x * 10) / 10)},
  tokens: {name: 'tokens', words: 'tokens sampled', show: (x) => show(x)},
  seconds: {name: 'time', words: 'time', show: (x) => (x ? duration(x) : '0')},
  flop: {name: 'FLOP', words: 'FLOP (8 · parameters · tokens)', show: (x) => (x ? x.toExponential(0).replace('+', '') : '0')},
};
const DASHES = [false, '6 4', '2 3', '9 3 2 3', '1 4'];
const look = {axis: 'step', logX: false, logY: false, smooth: 0, seeds: false, stage: '', text: ''};

export async function draw(main, query) {
  const runs = [...shared.chosen].filter(row);
  if (!runs.length) { fill(main, h('h1', {}, 'Curves'), h('p', {}, 'Choose runs in the ', h('a', {href: '#/runs'}, 'table'), '.')); return null; }
  let data = await ask('curves', {run: runs});
  const stages = () => [...new Set(runs.flatMap((r) => data[r].stages.map((s) => s.stage)))];
  if (query.get('stage')) look.stage = query.get('stage');
  if (!stages().includes(look.stage)) look.stage = preferred(data, runs);
  const charts = h('div.charts'), more = h('div.charts'), rest = h('details', {ontoggle: () => paint()}, h('summary', {}, 'Every other figure'), more);
  const faults = h('div'), who = h('p.small');
  const seeds = kin(runs).some((group) => group.length > 1);
  const check = (label, key) => h('label', {}, h('input', {type: 'checkbox', checked: look[key], onchange: (e) => { look[key] = e.target.checked; paint(); }}), label);
  const bar = h('div.bar', {},
    stages().length > 1 ? field('Stage', choice(stages().map((s) => [s, s]), look.stage, (v) => { look.stage = v; paint(); })) : '',
    field('Over', choice(Object.entries(AXES).map(([k, a]) => [k, a.words]), look.axis, (v) => { look.axis = v; paint(); })),
    field('Smoothing', h('input', {type: 'range', min: 0, max: 0.98, step: 0.02, value: look.smooth, 'aria-label': 'smoothing', oninput: (e) => { look.smooth = +e.target.value; paint(); }})),
    check('log across', 'logX'), check('log up', 'logY'), seeds ? check('seeds as bands', 'seeds') : '',
    field('Charts named', h('input', {type: 'search', value: look.text, 'data-search': '', size: 12, oninput: (e) => { look.text = e.target.value; paint(); }})));
  fill(main, h('h1', {}, runs.length === 1 ? runs[0] : `${runs.length} runs`), who, bar, faults, charts, rest);

  function paint() {
    fill(who, runs.map((r, i) => [h('span.state', {class: row(r)?.state}, runs.length > 1 ? h(`span.key.k${color(i)}`) : '', ' ',
      h('a', {href: address('graph', {run: r})}, r), ` ${row(r)?.words ?? ''}`), ' ', h('a', {href: address('rollouts', {run: r})}, 'rollouts'), i + 1 < runs.length ? ' · ' : '']), runs.length > 1 ? [' · ', h('a', {href: address('findings', {tab: 'comparison', run: runs.slice(0, 8)})}, 'compare them')] : '');
    const said = runs.flatMap((r) => data[r].faults.map((f) => `${r}: ${f}`));
    fill(faults, said.length ? h('div.box.bad', {}, said.map((f) => h('p', {}, f))) : '');
    const found = titles(data, runs).filter(({title}) => title.toLowerCase().includes(look.text.toLowerCase()));
    const known = found.filter((t) => !t.other), others = found.filter((t) => t.other);
    fill(charts, known.map(({title}) => one(title, data, runs)));
    if (rest.open || look.text) fill(more, others.map(({title}) => one(title, data, runs))); else fill(more);
    rest.querySelector('summary').textContent = `Every other figure (${others.length})`;
    rest.classList.toggle('hidden', !others.length);
    if (look.text && others.length) rest.open = true;
    if (!found.length) fill(charts, h('p.soft', {}, 'No figures yet.'));
  }
  paint();
  let busy = false, again = false;
  const hear = async (changed) => {
    if (!runs.some((r) => changed.has(r))) return;
    if (busy) { again = true; return; }
    busy = true;
    try {
      do { again = false; data = await ask('curves', {run: runs}); } while (again);
      if (!main.querySelector('svg:focus, svg:hover')) paint();
    } finally { busy = false; }
  };
  shared.heard.add(hear);
  return {close: () => shared.heard.delete(hear)};
}

const color = (i) => (i % 8) + 1;

// The stage that is worked on, else the last of reinforcement learning, else the last.
function preferred(data, runs) {
  const now = row(runs[0])?.stage, found = data[runs[0]].stages;
  const learned = found.filter((s) => s.charts.some((c) => c.title === 'Reward'));
  return found.find((s) => s.stage === now)?.stage ?? learned.at(-1)?.stage ?? found.at(-1)?.stage ?? '';
}

const stageOf = (data, run) => data[run].stages.find((s) => s.stage === look.stage);

function titles(data, runs) {
  const found = new Map();
  for (const run of runs) for (const c of stageOf(data, run)?.charts ?? []) if (!found.has(c.title)) found.set(c.title, {title: c.title, other: !c.note && c.title !== 'Learning rate'});
  return [...found.values()];
}

function kin(runs) {
  const groups = new Map();
  for (const r of runs) groups.set(row(r).kin, [...(groups.get(row(r).kin) ?? []), r]);
  return [...groups.values()];
}

function one(title, data, runs) {
  const of = (run) => stageOf(data, run)?.charts.find((c) => c.title === title);
  const first = runs.map(of).find(Boolean);
  const groups = look.seeds ? kin(runs) : runs.map((r) => [r]);
  const series = groups.flatMap((group, g) => {
    const names = [...new Set(group.flatMap((r) => of(r)?.series.map((s) => s.name) ?? []))];
    return names.flatMap((name, n) => {
      const found = group.map((r) => [of(r)?.series.find((s) => s.name === name), stageOf(data, r)]).filter(([s]) => s);
      const style = found[0][0];
      const label = runs.length > 1 ? `${group.length > 1 ? `${group[0]} and ${group.length - 1} more seeds` : group[0]}${names.length > 1 ? `: ${name}` : ''}` : name;
      const common = {name: label, row: runs.length > 1 ? name : '', color: runs.length > 1 ? color(g) : style.color, dashed: runs.length > 1 ? DASHES[n % DASHES.length] : style.dashed, marks: style.marks, line: style.line};
      const placed = found.map(([s, stage]) => ({points: over(s.points, stage), band: over(s.band, stage)}));
      if (placed.length > 1) {
        const joined = banded(placed.map((p) => smooth(p.points, style.marks ? 0 : look.smooth)));
        return [{...common, ...joined}];
      }
      const points = placed[0].points, calm = style.marks ? points : smooth(points, look.smooth);
      const raw = calm === points || runs.length > 3 ? null : points;
      return [{...common, points: calm, raw, band: runs.length > 1 ? [] : placed[0].band}];
    });
  });
  return chart({title, note: first.note, series, axis: {...AXES[look.axis], log: look.logX}, value: {kind: first.kind, log: look.logY, top: first.top, limit: first.limit}});
}

// Points over steps as points over the axis that was chosen; those that have no place on it are left out.
function over(points, stage) {
  if (look.axis === 'step') return points;
  const axis = stage.axes[look.axis];
  if (!axis) return [];
  const map = stage.axes.step.map((s, i) => [s, axis[i]]);
  return points.map(([step, ...rest]) => [valueAt(map, step), ...rest]).filter(([x]) => x !== null);
}
