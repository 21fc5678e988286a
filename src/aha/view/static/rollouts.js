// The browser of rollouts: filters, pages, and the groups of a step.

import {h, fill, field, choice, show, toast} from './dom.js';
import {ask} from './api.js';
import {address, go, row as runRow, shared} from './state.js';

const FIELDS = ['stage', 'part', 'task', 'problem', 'outcome', 'finish', 'step_from', 'step_to', 'reward_from', 'reward_to', 'tokens_from', 'tokens_to', 'text', 'regex', 'sort'];
const SORTS = [['first', 'as written'], ['last', 'newest first'], ['worst', 'lowest reward'], ['best', 'highest reward'], ['longest', 'longest'], ['shortest', 'shortest'], ['down', 'lowest advantage'], ['up', 'highest advantage']];
const OUTCOMES = [['', 'any'], ['right', 'right'], ['wrong', 'wrong'], ['ungraded', 'could not grade']];
const FINISHES = [['', 'any'], ['stop', 'stop'], ['length', 'cut at the limit'], ['abort', 'abort'], ['error', 'error']];

export async function draw(main, query) {
  const run = [...shared.chosen][0];
  if (!run) { fill(main, h('h1', {}, 'Rollouts'), h('p', {}, 'There is no run to show.')); return null; }
  const filters = Object.fromEntries(FIELDS.map((f) => [f, query.get(f) ?? '']));
  const overview = await ask('overview', {run});
  const control = new AbortController(), list = h('div.list'), foot = h('p'), said = h('p.small', {role: 'status'}), state = h('p.small.soft');
  const groups = query.get('groups') === '1';
  const again = (changes = {}) => go('rollouts', {run, ...filters, groups: groups ? '1' : '', ...changes});
  fill(main, h('h1', {}, 'Rollouts of ', run), h('form', {onsubmit: (e) => { e.preventDefault(); again(read(e.target)); }}, ...form(filters, overview, again, groups)), state, said, list, foot);
  stand(overview);
  if (groups) await step(); else next('');

  function stand(o) {
    const i = o.index, broken = o.broken.reduce((n, b) => n + b.lines, 0);
    fill(state, `${show(i.rows)} rollouts in the index`, i.bytes < i.total ? ` · being read: ${(100 * i.bytes / i.total).toFixed(0)}% so far` : '',
      broken ? [' · ', h('span.bad', {title: o.broken.map((b) => `${b.file}: ${b.lines}, the first at byte ${b.at}`).join('\n')}, `${show(broken)} lines could not be read`)] : '');
  }

  // --- pages ---

  let found = 0, stopped = false;
  async function next(after) {
    fill(foot, h('span.soft', {}, 'Searching…'));
    if (!after) counted();
    try {
      for (;;) {
        const page = await ask('rollouts', {run, ...filters, after}, control.signal);
        list.append(...page.rows.map((r) => line(run, r)));
        found += page.rows.length;
        after = page.next;
        if (!after || page.rows.length || stopped) break;
        fill(foot, h('span.soft', {}, `Searched ${(100 * page.searched).toFixed(0)}%…`), ' ', h('button', {onclick: () => { stopped = true; }}, 'Stop'));
      }
    } catch (error) {
      if (error.name === 'AbortError') return;
      fill(foot, h('span.bad', {}, error.message));
      return;
    }
    stopped = false;
    fill(foot, after ? h('button', {onclick: () => next(after)}, 'More') : found ? h('span.soft', {}, 'That is all.') : h('span.soft', {}, 'No rollout fits.'));
  }

  async function counted() {
    const {regex, ...rest} = filters;
    try {
      const {count, whole} = await ask('count', {run, ...rest}, control.signal);
      said.textContent = `${whole ? '' : 'more than '}${count.toLocaleString('en')} fit${regex ? ' without the expression' : ''}`;
    } catch (error) { if (error.name !== 'AbortError') said.textContent = ''; }
  }

  // --- groups of one step ---

  async function step() {
    const source = overview.sources.find((s) => s.stage === filters.stage && s.part === (filters.part || 'steps')) ?? overview.sources.find((s) => s.part === 'steps') ?? overview.sources[0];
    if (!source) { fill(list, h('p.soft', {}, 'No rollouts yet.')); return; }
    const at = filters.step_from || source.steps?.[1] || 0;
    let rows = await ask('groups', {run, stage: source.stage, part: source.part, step: at}, control.signal);
    const silent = rows.filter((g) => !g.signal).length;
    said.textContent = `step ${at} of ${source.stage}, ${source.part}: ${rows.length} groups, ${silent} without a signal`;
    rows = rows.sort((a, b) => a.signal - b.signal || a.mean - b.mean);
    const cell = (name, kind, ...inside) => h(`td${kind ? '.' + kind : ''}`, {'data-name': name}, h('span.cell', {}, inside));
    fill(list, h('div.scroll', {}, h('table.stack', {}, h('thead', {}, h('tr', {}, ['Problem', 'Signal', 'Right', 'Wrong', 'Not graded', 'Rewards', 'Tokens', 'Cut'].map((n, i) => h('th', {class: i > 1 ? 'num' : ''}, n)))),
      h('tbody', {}, rows.map((g) => h('tr', {tabindex: 0, 'data-line': g.row, onclick: () => go('rollout', {run, id: g.row})},
        cell('Problem', '', h('a', {href: address('rollout', {run, id: g.row})}, g.name || '(no name)'), h('div.small.soft', {}, (g.question ?? '').slice(0, 140))),
        cell('Signal', '', g.signal ? 'yes' : h('b.warn', {}, 'none')), cell('Right', 'num', g.right), cell('Wrong', 'num', g.wrong), cell('Not graded', 'num', g.ungraded),
        cell('Rewards', 'num', g.lowest === g.highest ? show(g.lowest) : `${show(g.lowest)} to ${show(g.highest)}`), cell('Tokens', 'num', show(g.tokens)), cell('Cut', 'num', g.cut)))))));
  }

  const hear = async (changed) => {
    if (!changed.has(run)) return;
    try { stand(await ask('overview', {run}, control.signal)); } catch (error) { if (error.name !== 'AbortError') toast(error.message); }
  };
  shared.heard.add(hear);
  return {
    close: () => { shared.heard.delete(hear); control.abort(); },
    key: (event) => {
      const at = document.activeElement?.closest?.('[data-line]');
      if (at && event.key === 'Enter') go('rollout', {run, id: at.dataset.line, ...context(filters)});
    },
  };
}

const context = (filters) => Object.fromEntries(Object.entries(filters).filter(([k, v]) => v && (k === 'text' || k === 'regex')));
const read = (form) => Object.fromEntries(FIELDS.filter((f) => form.elements[f]).map((f) => [f, form.elements[f].value.trim()]));

function form(f, overview, again, groups) {
  const stages = [...new Set(overview.sources.map((s) => s.stage))];
  const parts = [...new Set(overview.sources.filter((s) => !f.stage || s.stage === f.stage).map((s) => s.part))];
  const select = (name, options) => { const s = choice(options, f[name], (v) => again({...read(s.form), [name]: v})); s.name = name; return s; };
  const text = (name, options) => h('input', {name, value: f[name], ...options});
  const range = (name, step) => h('span', {}, text(`${name}_from`, {type: 'number', step, 'aria-label': `${name} from`}), ' to ', text(`${name}_to`, {type: 'number', step, 'aria-label': `${name} to`}));
  const many = (values) => [['', 'any'], ...values.map((v) => [v, v])];
  return [
    h('div.bar', {}, field('Words', text('text', {type: 'search', 'data-search': '', placeholder: 'wait "try again" -but', size: 24})),
      field('Regular expression', text('regex', {type: 'search', class: 'mono', size: 16})), field('Problem', text('problem', {type: 'search', size: 14})),
      h('button.primary', {}, 'Search'), h('button', {type: 'button', onclick: () => again(Object.fromEntries(FIELDS.map((n) => [n, ''])))}, 'Clear'),
      h('button', {type: 'button', 'aria-pressed': String(groups), onclick: (e) => again({...read(e.target.form), groups: groups ? '' : '1'})}, 'Groups of a step')),
    h('div.bar', {}, stages.length > 1 ? field('Stage', select('stage', many(stages))) : '', parts.length > 1 ? field('Part', select('part', many(parts))) : '',
      overview.tasks.length > 1 ? field('Task', select('task', many(overview.tasks))) : '', field('Outcome', select('outcome', OUTCOMES)), field('Ended', select('finish', FINISHES)),
      field('Step', range('step', 1)), field('Reward', range('reward', 'any')), field('Tokens', range('tokens', 1)), field('Order', select('sort', SORTS))),
  ];
}

export function verdict(right) {
  return right === true ? h('b.good', {}, '✓ right') : right === false ? h('b.bad', {}, '✗ wrong') : h('b.warn', {}, '? not graded');
}

function line(run, r) {
  const query = place(r.id, run);
  return h('a.item', {href: query, 'data-line': r.id}, h('div.head', {}, verdict(r.right), h('span', {}, `reward ${show(r.reward)}`),
    r.advantage === null ? '' : h('span', {}, `advantage ${show(r.advantage)}`), r.step === null ? '' : h('span', {}, `step ${r.step}`), h('span', {}, `${show(r.tokens)} tokens`), r.finish === 'stop' ? '' : h('span.warn', {}, r.finish),
    h('span.soft', {}, `${r.problem.name} · ${r.file.replace('/rollouts/', ' ')}`)),
  h('div.text', {}, r.missing ? h('span.bad', {}, 'The file was changed; the index will notice.') : r.excerpt.map(([text, mark]) => (mark ? h('mark.hit', {}, text) : text))), r.note ? h('div.small.soft', {}, r.note) : '');
}

const place = (id, run) => {
  const now = new URLSearchParams(location.hash.split('?')[1] ?? '');
  return address('rollout', {run, id, text: now.get('text') ?? '', regex: now.get('regex') ?? ''});
};
