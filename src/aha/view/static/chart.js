// One chart: curves over a common axis as SVG, with a read-out that follows pointer, touch and arrow keys.

import {h, fill, show} from './dom.js';

const W = 440, H = 230, LEFT = 52, RIGHT = 12, TOP = 8, BOTTOM = 26;

// series: {name, color, points: [[x, y]], raw?: [[x, y]], band?: [[x, low, high]], marks, dashed, line}
// axis: {log, kind, name}; value: {log, kind, top, limit}
export function chart({title, note, series, axis, value}) {
  const drawn = series.filter((s) => s.points.length);
  const frame = bounds(drawn, axis, value);
  const legend = h('div.legend'), svg = h('svg', {viewBox: `0 0 ${W} ${H}`, role: 'img', tabindex: 0, 'aria-label': described(title, drawn, value)});
  const node = h('figure.chart', {}, h('figcaption', {}, title, h('span.note', {}, note || ' ')), svg, legend);
  if (!frame) { fill(legend, h('span.soft', {}, 'nothing to draw on these axes')); return node; }
  svg.append(...grid(frame, axis, value));
  for (const s of drawn) svg.append(curve(s, frame));
  readout(svg, legend, drawn, frame, axis, value);
  return node;
}

function described(title, series, value) {
  const ends = series.slice(0, 6).map((s) => `${s.name} from ${show(s.points[0][1], value.kind)} to ${show(s.points.at(-1)[1], value.kind)}`);
  return `${title}: ${ends.join('; ')}. Arrow keys read it.`;
}

function bounds(series, axis, value) {
  const xs = series.flatMap((s) => s.points.map((p) => p[0])).filter((x) => !axis.log || x > 0);
  const ys = series.flatMap((s) => [...s.points.map((p) => p[1]), ...(s.band ?? []).flatMap((b) => [b[1], b[2]])]).filter((y) => !value.log || y > 0);
  if (!xs.length || !ys.length) return null;
  let [x0, x1] = [min(xs), max(xs)], [y0, y1] = [min(ys), max(ys)];
  if (!value.log) { y0 = Math.min(0, y0); y1 = Math.max(y1, value.top ?? -Infinity); }
  if (x0 === x1) { x1 += 1; x0 = axis.log ? x0 : x0 - 1; }
  if (y0 === y1) y1 = value.log ? y0 * 10 : y0 + 1;
  const levels = value.log ? decades(y0, y1) : ticks(y0, y1);
  if (!value.log) { y0 = Math.min(y0, levels[0]); y1 = Math.max(y1, levels.at(-1)); }
  const fx = axis.log ? Math.log10 : (x) => x, fy = value.log ? Math.log10 : (y) => y;
  const scale = (f, a, b, from, to) => (v) => from + (to - from) * (f(v) - f(a)) / (f(b) - f(a));
  return {x0, x1, y0, y1, levels, x: scale(fx, x0, x1, LEFT, W - RIGHT), y: scale(fy, y0, y1, H - BOTTOM, TOP), logX: axis.log, logY: value.log};
}

const min = (values) => values.reduce((a, b) => (b < a ? b : a), Infinity);
const max = (values) => values.reduce((a, b) => (b > a ? b : a), -Infinity);

function ticks(low, high, most = 5) {
  const rough = (high - low) / (most - 1), power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((s) => s >= rough * 0.999);
  const found = [];
  for (let i = Math.floor(low / step + 1e-9); i <= Math.ceil(high / step - 1e-9); i++) found.push(i * step);
  return found;
}

function decades(low, high) {
  const first = Math.floor(Math.log10(low)), last = Math.ceil(Math.log10(high)), every = Math.max(1, Math.ceil((last - first) / 5)), found = [];
  for (let i = first; i <= last; i += every) found.push(10 ** i);
  const within = found.filter((v) => v >= low * 0.999 && v <= high * 1.001);
  return within.length > 1 ? within : [low, high];
}

function grid(f, axis, value) {
  const parts = [];
  for (const y of f.levels) {
    const at = f.y(y);
    parts.push(h('line.grid', {x1: LEFT, x2: W - RIGHT, y1: at, y2: at}), h('text', {x: LEFT - 6, y: at + 4, 'text-anchor': 'end'}, show(y, value.kind)));
  }
  const xs = (f.logX ? decades(f.x0, f.x1) : ticks(f.x0, f.x1)).filter((x) => x >= f.x0 - 1e-9 && x <= f.x1 + 1e-9 && (!axis.whole || Number.isInteger(x)));
  for (const x of xs) parts.push(h('text', {x: f.x(x), y: H - 8, 'text-anchor': 'middle'}, axis.show(x)));
  parts.push(h('line.axis', {x1: LEFT, x2: W - RIGHT, y1: H - BOTTOM, y2: H - BOTTOM}));
  const limit = value.limit;
  if (limit !== null && limit !== undefined && limit > f.y0 && limit < f.y1) {
    parts.push(h('line.limit', {x1: LEFT, x2: W - RIGHT, y1: f.y(limit), y2: f.y(limit)}, h('title', {}, `edge of the healthy range: ${show(limit, value.kind)}`)));
  }
  return parts;
}

const seen = (f) => (p) => (!f.logX || p[0] > 0) && (!f.logY || p[1] > 0);
const path = (points, f) => points.filter(seen(f)).map((p, i) => `${i ? 'L' : 'M'}${f.x(p[0]).toFixed(1)} ${f.y(p[1]).toFixed(1)}`).join('');

function curve(s, f) {
  const group = h(`g.k${s.color}`);
  if (s.band?.length > 1 && s.line !== false) {
    const shown = s.band.filter((b) => (!f.logX || b[0] > 0) && (!f.logY || b[1] > 0));
    const low = shown.map((b) => [b[0], b[1]]), high = shown.map((b) => [b[0], b[2]]);
    group.append(h('path.band.f', {d: path([...high, ...low.reverse()], f) + 'Z'}));
  }
  if (s.raw) group.append(h('path.raw.s', {d: path(s.raw, f)}));
  if (s.line !== false && s.points.length > 1) group.append(h('path.line.s', {d: path(s.points, f), 'stroke-dasharray': s.dashed ? s.dashed === true ? '6 4' : s.dashed : null}));
  if (s.marks || s.points.length === 1) for (const p of s.points.filter(seen(f))) group.append(h('circle.f', {cx: f.x(p[0]), cy: f.y(p[1]), r: 2.8}));
  return group;
}

// --- reading -----------------------------------------------------------------------------------------------

function readout(svg, legend, series, f, axis, value) {
  const keys = series.map((s) => ({s, b: h('b', {class: s.row ? `k${s.color}` : '', title: s.name})}));
  const at = h('span.soft');
  fill(legend, named(keys), at);
  const cursor = h('line.cursor', {y1: TOP, y2: H - BOTTOM, x1: -9, x2: -9});
  svg.append(cursor);
  const xs = [...new Set(series.flatMap((s) => s.points.map((p) => p[0])))].filter((x) => !f.logX || x > 0).sort((a, b) => a - b);
  let place = xs.length - 1;

  function read(index) {
    place = index;
    const x = xs[index];
    cursor.setAttribute('x1', f.x(x));
    cursor.setAttribute('x2', f.x(x));
    for (const {s, b} of keys) b.textContent = show(valueAt(s.points, x), value.kind);
    at.textContent = `at ${axis.name} ${axis.show(x)}`;
  }
  function rest() {
    cursor.setAttribute('x1', -9);
    cursor.setAttribute('x2', -9);
    for (const {s, b} of keys) b.textContent = show(s.points.at(-1)[1], value.kind);
    at.textContent = '';
  }
  const pointed = (event) => {
    const box = svg.getBoundingClientRect(), px = (event.clientX - box.left) / box.width * W;
    let best = 0;
    for (let i = 1; i < xs.length; i++) if (Math.abs(f.x(xs[i]) - px) < Math.abs(f.x(xs[best]) - px)) best = i;
    read(best);
  };
  svg.addEventListener('pointermove', pointed);
  svg.addEventListener('pointerdown', pointed);
  svg.addEventListener('pointerleave', rest);
  svg.addEventListener('blur', rest);
  svg.addEventListener('keydown', (event) => {
    const by = {ArrowRight: 1, ArrowLeft: -1, PageDown: 10, PageUp: -10, Home: -1e9, End: 1e9}[event.key];
    if (by === undefined) return;
    event.preventDefault();
    read(Math.min(xs.length - 1, Math.max(0, place + by)));
    svg.setAttribute('aria-label', legend.textContent);
  });
  rest();
}

// Curves of several runs: a line for what is measured, with each run's value in its colour.
function named(keys) {
  const rows = [...new Set(keys.map(({s}) => s.row))];
  if (!rows[0]) return keys.map(({s, b}) => h('span', {}, h(`span.key.k${s.color}`), s.name, b));
  return h('div.legend.rows', {}, rows.map((row) => {
    const mine = keys.filter(({s}) => s.row === row), dashed = mine[0].s.dashed;
    return h('span', {}, h('svg', {viewBox: '0 0 26 8'}, h('line', {x1: 0, x2: 26, y1: 4, y2: 4, stroke: 'currentColor', 'stroke-width': 2, 'stroke-dasharray': dashed || null})), row, mine.map(({b}) => b));
  }));
}

export function valueAt(points, x) {
  if (!points.length || x < points[0][0] || x > points.at(-1)[0]) return null;
  let low = 0, high = points.length - 1;
  while (high - low > 1) { const mid = (low + high) >> 1; if (points[mid][0] <= x) low = mid; else high = mid; }
  const [a, b] = [points[low], points[high]];
  return b[0] === a[0] || x === a[0] ? a[1] : a[1] + (b[1] - a[1]) * (x - a[0]) / (b[0] - a[0]);
}

// --- what is done to points before they are drawn ----------------------------------------------------------

// An exponential mean whose first values weigh as they should (as Adam's moments are corrected).
export function smooth(points, share) {
  if (!share) return points;
  let mean = 0, weight = 0;
  return points.map(([x, y]) => { mean = share * mean + (1 - share) * y; weight = share * weight + (1 - share); return [x, mean / weight]; });
}

// Several runs as one: the mean, and from the lowest to the highest, where all of them have a value.
export function banded(all) {
  const xs = [...new Set(all.flatMap((points) => points.map((p) => p[0])))].sort((a, b) => a - b);
  const points = [], band = [];
  for (const x of xs) {
    const values = all.map((p) => valueAt(p, x));
    if (values.some((v) => v === null)) continue;
    points.push([x, values.reduce((a, b) => a + b, 0) / values.length]);
    band.push([x, min(values), max(values)]);
  }
  return {points, band};
}
