// The stages of a run: what is made from what, how far each is, what it cost.

import {h, fill, show, duration} from './dom.js';
import {ask} from './api.js';
import {address, row, shared} from './state.js';

const W = 158, H = 58, GAP = 46, ROW = 72;

export async function draw(main, query) {
  const run = [...shared.chosen][0];
  if (!run) { fill(main, h('h1', {}, 'Stages'), h('p', {}, 'There is no run to show.')); return null; }
  let data = await ask('graph', {run}), chosen = query.get('stage') ?? '';
  const head = h('p.small'), place = h('div'), detail = h('div'), table = h('div');
  fill(main, h('h1', {}, run), head, place, detail, table);

  function paint() {
    const done = data.stages.filter((s) => s.state === 'done').length;
    fill(head, h('span.state', {class: row(run)?.state}, row(run)?.state ?? ''), ` · ${done} of ${data.stages.length} stages done · ${duration(data.seconds)} · `,
      h('a', {href: address('curves', {run})}, 'curves'), ' · ', h('a', {href: address('rollouts', {run})}, 'rollouts'));
    fill(place, h('div.scroll', {}, picture(data.stages, chosen, (name) => { chosen = name; paint(); place.querySelector(`[data-line="${CSS.escape(name)}"]`)?.focus(); })),
      h('p.small.soft', {}, 'Solid green: done. Blue: running. Amber: begun, and nobody works on it. Dashed: waiting. Enter shows a stage.'));
    const stage = data.stages.find((s) => s.name === chosen);
    fill(detail, stage ? described(run, stage) : '');
    fill(table, listed(data.stages), data.faults.length ? h('div.box.bad', {}, data.faults.map((f) => h('p', {}, f))) : '');
  }
  paint();
  const hear = async (changed) => { if (changed.has(run)) { data = await ask('graph', {run}); if (!place.contains(document.activeElement)) paint(); } };
  shared.heard.add(hear);
  return {
    close: () => shared.heard.delete(hear),
    key: (event) => { const at = document.activeElement?.closest?.('[data-line]'); if (at && event.key === 'Enter') { chosen = at.dataset.line; paint(); } },
  };
}

// Columns by depth. An edge that passes a column has a place of its own in it, so that no line runs through a box.
function places(stages) {
  const by = new Map(stages.map((s) => [s.name, s])), columns = [];
  const put = (depth, thing) => (columns[depth] ??= []).push(thing);
  for (const s of stages) put(s.depth, {name: s.name, from: s.kind === 'comparison' ? [] : s.inputs.filter((i) => by.has(i))});
  const ways = new Map();
  for (const s of stages) {
    if (s.kind === 'comparison') continue; // it reads every checkpoint
    for (const from of s.inputs.filter((i) => by.has(i))) {
      const way = [];
      for (let d = by.get(from).depth + 1; d < s.depth; d++) {
        const name = `${from}>${s.name}@${d}`;
        put(d, {name, from: [way.at(-1) ?? from]});
        way.push(name);
      }
      ways.set(`${from}>${s.name}`, way);
    }
  }
  const row = new Map(), at = new Map();
  columns.forEach((members, depth) => {
    const mean = (m) => (m.from.length ? m.from.reduce((sum, f) => sum + (row.get(f) ?? 0), 0) / m.from.length : 0);
    members.sort((a, b) => mean(a) - mean(b));
    members.forEach((m, i) => { row.set(m.name, i); at.set(m.name, [10 + depth * (W + GAP), 10 + i * ROW]); });
  });
  return {at, ways};
}

// All that a stage was made from, and what was made from it.
function near(stages, name) {
  const by = new Map(stages.map((s) => [s.name, s])), found = new Set();
  const up = (n) => { for (const i of by.get(n)?.inputs ?? []) { found.add(`${i}>${n}`); up(i); } };
  if (name) up(name);
  return found;
}

function picture(stages, chosen, choose) {
  const {at, ways} = places(stages), all = [...at.values()], lit = near(stages, chosen);
  const width = Math.max(...all.map(([x]) => x)) + W + 10, height = Math.max(...all.map(([, y]) => y)) + H + 10;
  const svg = h('svg.graph', {viewBox: `0 0 ${width} ${height}`, width, height, role: 'group', 'aria-label': `Graph of ${stages.length} stages; the table below holds the same`});
  for (const [edge, way] of ways) {
    const [from, to] = edge.split('>');
    svg.append(h('path.edge', {class: lit.has(edge) ? 'near' : '', d: route([from, ...way, to].map((name) => at.get(name)))}));
  }
  for (const s of stages) {
    const [x, y] = at.get(s.name), share = s.steps && s.state === 'running' ? Math.min(1, s.step / s.steps) : 0;
    svg.append(h(`g.${s.state}`, {tabindex: 0, role: 'button', 'data-line': s.name, class: s.name === chosen ? 'on' : '', 'aria-label': `${s.name}: ${s.kind}, ${s.state}, ${progress(s)}`, onclick: () => choose(s.name)},
      h('rect', {x, y, width: W, height: H, rx: 7}), share ? h('rect.bar-in', {x: x + 6, y: y + H - 8, width: (W - 12) * share, height: 4, rx: 2}) : '',
      h('text', {x: x + 9, y: y + 18, 'font-weight': 600}, cut(s.name, 20)), h('text.soft', {x: x + 9, y: y + 32}, cut(s.kind || 'stage', 25)), h('text.soft', {x: x + 9, y: y + 44}, cut(progress(s), 26)),
      h('title', {}, `${s.name}: ${s.state}`)));
  }
  return svg;
}

function route(points) {
  let d = '';
  points.forEach(([x, y], i) => {
    const middle = y + H / 2;
    if (i) d += `C${points[i - 1][0] + W + GAP / 2} ${points[i - 1][1] + H / 2} ${x - GAP / 2} ${middle} ${x} ${middle}`;
    if (!i) d += `M${x + W} ${middle}`;
    else if (i + 1 < points.length) d += `L${x + W} ${middle}`; // past a column
  });
  return d;
}

const cut = (text, most) => (text.length > most ? text.slice(0, most - 1) + '…' : text);
const progress = (s) => [s.state === 'done' ? '' : s.state, s.step ? `step ${show(s.step)}${s.steps ? ` of ${show(s.steps)}` : ''}` : '', s.seconds ? duration(s.seconds) : ''].filter(Boolean).join(', ');

function described(run, s) {
  return h('div.box', {}, h('h2', {}, s.name, ' ', h(`span.state.${s.state}`, {}, s.state)),
    h('dl', {}, pairs({kind: s.kind, 'made from': [s.model, ...s.inputs].filter(Boolean).join(', '), 'settings and inputs': s.fingerprint, data: s.data_hash, checkpoint: s.checkpoint ? 'yes' : '', time: duration(s.seconds), tokens: s.tokens ? show(s.tokens) : ''})),
    h('p', {}, h('a', {href: address('curves', {run, stage: s.name})}, 'its curves'), ' · ', h('a', {href: address('rollouts', {run, stage: s.name})}, 'its rollouts')),
    h('details', {}, h('summary', {}, 'What it said at its end'), h('dl', {}, pairs(s.summary))), h('details', {}, h('summary', {}, 'Settings'), h('dl', {}, pairs(s.settings))));
}

const pairs = (values) => Object.entries(values).filter(([, v]) => v !== '' && v !== null && v !== undefined).map(([k, v]) => [h('dt', {}, k), h('dd', {}, typeof v === 'object' ? JSON.stringify(v) : typeof v === 'number' ? show(v) : String(v))]);

function listed(stages) {
  const cell = (name, kind, ...inside) => h(`td${kind ? '.' + kind : ''}`, {'data-name': name}, h('span.cell', {}, inside));
  return h('div', {}, h('h2', {}, 'Stages and costs'), h('div.scroll', {}, h('table.stack', {},
    h('thead', {}, h('tr', {}, ['Stage', 'State', 'Kind', 'Made from', 'Steps', 'Tokens', 'Time', 'pass@1'].map((n, i) => h('th', {class: i > 3 ? 'num' : ''}, n)))),
    h('tbody', {}, stages.map((s) => h('tr', {}, cell('Stage', '', h('b', {}, s.name)), cell('State', '', h(`span.state.${s.state}`, {}, s.state)), cell('Kind', '', s.kind),
      cell('Made from', '', [s.model, ...s.inputs].filter(Boolean).join(', ')), cell('Steps', 'num', s.step ? `${show(s.step)}${s.steps ? ` / ${show(s.steps)}` : ''}` : '–'), cell('Tokens', 'num', show(s.tokens)),
      cell('Time', 'num', duration(s.seconds)), cell('pass@1', 'num', show(s.summary['pass@1'], 'rate'))))))));
}
