// The table of runs: sorted, searched, chosen for curves, with tags and a note.

import {h, fill, field, show, duration, moment, toast} from './dom.js';
import {tell} from './api.js';
import {address, go, load, shared} from './state.js';

const COLUMNS = [
  ['id', 'Run', ''], ['state', 'State', ''], ['model', 'Model', ''], ['task', 'Task', ''], ['algorithm', 'Algorithm', ''],
  ['step', 'Steps', 'num'], ['best', 'Best', 'num'], ['seconds', 'Time', 'num'], ['began', 'Begun', 'num'], ['tags', 'Tags and note', ''],
];
const look = {sort: 'began', down: true, text: '', state: ''};

export async function draw(main) {
  await load();
  const body = h('tbody'), head = h('tr'), bar = h('div.bar'), count = h('span.soft.small', {role: 'status'});
  const search = h('input', {type: 'search', value: look.text, placeholder: 'name, model, task, tag', 'data-search': '', oninput: (e) => { look.text = e.target.value; lines(); }});
  const states = h('select', {onchange: (e) => { look.state = e.target.value; lines(); }},
    ['', 'running', 'finished', 'stopped', 'damaged'].map((s) => h('option', {value: s, selected: s === look.state}, s || 'any')));
  const curves = h('button.primary', {onclick: () => go('curves', {run: [...shared.chosen].slice(0, 16)})}, 'Curves of the chosen');
  fill(bar, field('Search', search), field('State', states), curves, h('button', {onclick: () => { shared.chosen.clear(); lines(); }}, 'Choose none'), count);
  fill(main, h('h1', {}, 'Runs'), bar, shared.rows.length ? h('div.scroll', {}, h('table.stack', {}, h('thead', {}, head), body)) : empty());
  function heads() {
  fill(head, h('th', {}, h('span.small', {}, 'choose')), COLUMNS.map(([key, words, kind]) => h('th', {class: kind, 'aria-sort': look.sort === key ? (look.down ? 'descending' : 'ascending') : null},
      h('button', {onclick: () => { look.down = look.sort === key ? !look.down : key === 'best' || key === 'began'; look.sort = key; heads(); lines(); }},
        words, look.sort === key ? (look.down ? ' ↓' : ' ↑') : ''))));
  }

  function lines() {
    const rows = sorted(shared.rows.filter(fits));
    const focus = document.activeElement?.closest?.('[data-line]')?.dataset.line;
    fill(body, rows.map((r) => line(r, lines)));
    if (focus) [...body.children].find((n) => n.dataset.line === focus)?.focus();
    count.textContent = `${rows.length} of ${shared.rows.length} runs, ${shared.chosen.size} chosen`;
    curves.disabled = !shared.chosen.size;
  }
  heads();
  lines();
  const hear = () => { if (!document.querySelector('dialog[open]') && !main.querySelector('form')) lines(); };
  shared.heard.add(hear);
  return {
    close: () => shared.heard.delete(hear),
    key: (event) => {
      const at = document.activeElement?.closest?.('[data-line]');
      if (!at) return;
      if (event.key === 'x') { flip(at.dataset.line); lines(); }
      if (event.key === 'Enter') go('curves', {run: at.dataset.line});
    },
  };
}

// A mixture's tasks without their shares and files.
const tasks = (words) => [...new Set(words.split(',').map((part) => part.trim().split(/[:=]/)[0]))].join(', ');
const noted = (r) => shared.notes[r.id] ?? {tags: [], note: ''};
const fits = (r) => (!look.state || r.state === look.state) && look.text.toLowerCase().split(/\s+/).every((word) =>
  [r.id, r.model, r.task, r.algorithm, r.recipe, ...noted(r).tags, noted(r).note].join(' ').toLowerCase().includes(word));

function sorted(rows) {
  const value = (r) => look.sort === 'tags' ? noted(r).tags.join(' ') : r[look.sort] ?? (look.down ? -Infinity : Infinity);
  return rows.sort((a, b) => { const x = value(a), y = value(b); return (x < y ? -1 : x > y ? 1 : 0) * (look.down ? -1 : 1); });
}

const flip = (id) => { if (!shared.chosen.delete(id)) shared.chosen.add(id); };

function line(r, again) {
  const said = noted(r), cell = (name, kind, ...inside) => h(`td${kind ? '.' + kind : ''}`, {'data-name': name}, h('span.cell', {}, inside));
  const steps = r.steps ? `${show(r.step)} / ${show(r.steps)}` : show(r.step);
  return h('tr', {tabindex: 0, 'data-line': r.id, class: shared.chosen.has(r.id) ? 'on' : '', ondblclick: () => go('curves', {run: r.id})},
    cell('choose', '', h('input', {type: 'checkbox', checked: shared.chosen.has(r.id), 'aria-label': `choose ${r.id}`, onchange: () => { flip(r.id); again(); }})),
    cell('Run', 'run', h('a', {href: address('curves', {run: r.id}), title: r.path}, r.id),
      h('div.small', {}, h('a', {href: address('graph', {run: r.id})}, r.stages > 1 ? `${r.stages_done} of ${r.stages} stages` : 'stage'), ' · ',
        h('a', {href: address('rollouts', {run: r.id})}, 'rollouts'), r.seed === null ? '' : h('span.soft', {}, ` · seed ${r.seed}`))),
    cell('State', '', h(`span.state.${r.state}`, {title: r.words}, r.state), r.state === 'running' && r.stage && r.stages > 1 ? h('div.small.soft', {}, r.stage) : ''),
    cell('Model', '', r.model), cell('Task', 'long', h('span', {title: r.task}, tasks(r.task))), cell('Algorithm', '', r.algorithm), cell('Steps', 'num', steps),
    cell('Best', 'num', h('b', {}, show(r.best, r.best_kind)), h('div.small.soft', {}, r.best_name)),
    cell('Time', 'num', duration(r.seconds)), cell('Begun', 'num', moment(r.began)),
    h('td', {'data-name': 'Tags'}, h('span.cell', {}, said.tags.map((t) => h('span.tag', {}, t)), said.note ? h('div.small.soft', {}, said.note) : '', ' ',
      h('button.quiet.small', {'aria-label': `tags and note of ${r.id}`, onclick: (e) => edit(r, e.target.closest('td'), again)}, '✎'))));
}

function edit(r, cell, again) {
  const said = noted(r);
  const tags = h('input', {value: said.tags.join(', '), placeholder: 'good, try again'}), note = h('textarea', {rows: 2, value: said.note});
  const form = h('form', {onsubmit: async (event) => {
    event.preventDefault();
    try {
      shared.notes[r.id] = await tell('notes', {run: r.id, tags: tags.value.split(',').map((t) => t.trim()).filter(Boolean), note: note.value});
      form.remove();
      again();
    } catch (error) { toast(error.message); }
  }}, field('Tags, with commas', tags), field('Note', note), h('p', {}, h('button.primary', {}, 'Keep'), ' ', h('button', {type: 'button', onclick: () => { form.remove(); again(); }}, 'Leave')));
  fill(cell, form);
  tags.focus();
}

function empty() {
  return h('div.box', {}, h('p', {}, 'There are no runs here yet:'), h('p.mono', {}, shared.roots.join(', ')), h('p', {}, 'Begin one with ', h('code', {}, 'aha zero'), '; it appears here as it goes.'));
}
