// Talk to the models of runs: one, or two side by side. A model is loaded when it is first asked, and ended when it is not.

import {h, fill, field, toast} from './dom.js';
import {ask, tell, pour} from './api.js';
import {row, shared} from './state.js';

// What was said stays here while other pages are looked at. turns: {question, answers: [answer or null, one a side]}
const talk = {sides: ['', ''], turns: [], system: '', temperature: 0.6, top_p: 0.95, max_tokens: 480, think_budget: '', folded: true, waiting: []};
const SIDES = ['A', 'B'];

export async function draw(main, query) {
  let there = await ask('models');
  choose(there.models, query);
  const turns = h('div.turns', {role: 'log', 'aria-label': 'Conversation', 'aria-live': 'off'}), state = h('p.small.soft', {role: 'status'});
  const input = h('textarea', {rows: 3, 'data-search': '', placeholder: 'Ask; for Countdown numbers and a target: 24 7 3 -> 171', 'aria-label': 'Your question', onkeydown: entered});
  const send = h('button.primary', {onclick: asked}, 'Ask'), stop = h('button', {onclick: halt, disabled: true}, 'Stop'), again = h('button', {onclick: retry}, 'Try again');
  const anew = h('button', {onclick: () => { halt(); talk.turns = []; paint(); input.focus(); }}, 'Begin anew');
  if (!there.models.length) { fill(main, h('h1', {}, 'Talk'), h('p', {}, 'There is no model here yet: a run makes its first with its first checkpoint.')); return null; }
  fill(main, h('h1', {}, 'Talk'), h('div.bar', {}, field('Model', picker(there.models, 0, paint)), field('Beside it', picker(there.models, 1, paint))), settings(), state, turns,
    h('form.ask', {onsubmit: (e) => { e.preventDefault(); asked(); }}, input, h('div.bar', {}, send, stop, again, anew, h('span.small.soft', {}, 'Enter asks, Shift-Enter begins a line'))));

  function entered(event) {
    if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) { event.preventDefault(); asked(); }
  }
  function asked() {
    const text = input.value.trim();
    if (!text || talk.waiting.length) return;
    input.value = '';
    begin({question: text, answers: [null, null]});
  }
  function retry() {
    const last = talk.turns.at(-1);
    if (!last || talk.waiting.length) return;
    talk.turns.pop();
    begin({question: last.question, answers: [null, null]});
  }
  async function begin(turn) {
    talk.turns.push(turn);
    const seed = Math.floor(Math.random() * 2 ** 31);
    talk.waiting = sides().map((side) => answer(turn, side, seed, () => piece(turn, side)));
    paint();
    turns.lastChild?.scrollIntoView({block: 'end'});
    await Promise.all(talk.waiting.map((w) => w.done));
    talk.waiting = [];
    paint();
    there = await ask('models');
    paintState();
  }
  function piece(turn, side) {
    const node = turns.lastChild?.querySelector(`[data-side="${side}"]`);
    if (node) fill(node, said(turn.answers[side]));
  }
  function halt() { for (const w of talk.waiting) w.stop(); }
  function paint() {
    fill(turns, talk.turns.map((turn) => h('section.turn', {}, h('p.question', {}, turn.question),
      h('div.sides', {}, sides().map((side) => h('div.side', {'data-side': side, 'aria-label': `answer ${SIDES[side]}`, 'aria-live': 'polite', 'aria-busy': String(!!talk.waiting.length && turn === talk.turns.at(-1))}, said(turn.answers[side])))))));
    send.disabled = talk.waiting.length > 0;
    again.disabled = !talk.turns.length || talk.waiting.length > 0;
    stop.disabled = !talk.waiting.length;
    paintState();
  }
  function paintState() {
    const named = (id) => { const m = there.models.find((x) => x.id === id); return m ? `${m.run}, ${m.words}` : 'a model'; };
    fill(state, there.loaded.length ? ['In memory: ', there.loaded.map((m) => [named(m.id), ' ', h('button.quiet.small', {'aria-label': `unload ${named(m.id)}`, onclick: () => unload(m.id)}, 'unload'), ' '])] : 'No model is in memory; the first question loads it.',
      ` One that nobody asks for ${Math.round(there.idle / 60)} minutes is ended.`);
  }
  async function unload(id) {
    try { await tell('unload', {model: id}); there = await ask('models'); paintState(); } catch (error) { toast(error.message); }
  }
  paint();
  return {
    close: halt,
    key: (event) => { if (event.key === 't') { const all = [...turns.querySelectorAll('details.think')], any = all.some((d) => d.open); for (const d of all) d.open = !any; talk.folded = any; } },
  };
}

const sides = () => (talk.sides[1] ? [0, 1] : [0]);

// The run's newest model, or what an address names.
function choose(models, query) {
  const run = query.get('run') ?? [...shared.chosen][0];
  if (query.get('model')) talk.sides[0] = query.get('model');
  const mine = models.find((m) => m.run === run) ?? models[0];
  if (!models.some((m) => m.id === talk.sides[0]) || (query.get('run') && !query.get('model') && models.find((m) => m.id === talk.sides[0])?.run !== run)) talk.sides[0] = mine?.id ?? '';
  if (!models.some((m) => m.id === talk.sides[1])) talk.sides[1] = '';
}

function picker(models, side, paint) {
  const runs = [...new Set(models.map((m) => m.run))];
  return h('select', {onchange: (e) => { talk.sides[side] = e.target.value; paint(); }}, side ? h('option', {value: '', selected: !talk.sides[1]}, 'no other model') : '',
    runs.map((run) => h('optgroup', {label: `${run}${row(run)?.model ? ` (${row(run).model})` : ''}`}, models.filter((m) => m.run === run).map((m) => h('option', {value: m.id, selected: m.id === talk.sides[side]}, `${run}: ${m.words}`)))));
}

function settings() {
  const number = (label, key, more) => field(label, h('input', {type: 'number', value: talk[key], ...more, onchange: (e) => { talk[key] = e.target.value === '' ? '' : +e.target.value; }}));
  return h('details', {}, h('summary', {}, 'How it is asked'), h('div.bar', {}, number('Temperature', 'temperature', {min: 0, max: 10, step: 0.1}), number('Top-p', 'top_p', {min: 0.01, max: 1, step: 0.01}), number('Tokens at most', 'max_tokens', {min: 1, step: 1}),
    number('Of them thinking', 'think_budget', {min: 1, step: 1, placeholder: 'any'}), h('label', {}, h('input', {type: 'checkbox', checked: talk.folded, onchange: (e) => { talk.folded = e.target.checked; }}), 'thinking folded')),
  field('System message', h('textarea', {rows: 2, value: talk.system, oninput: (e) => { talk.system = e.target.value; }})));
}

// --- an answer ---------------------------------------------------------------------------------------------

function conversation(turn, side) {
  const before = talk.turns.slice(0, talk.turns.indexOf(turn)).filter((t) => t.answers[side]?.said);
  const system = talk.system.trim() ? [{role: 'system', content: talk.system.trim()}] : [];
  return [...system, ...before.flatMap((t) => [{role: 'user', content: t.question}, {role: 'assistant', content: t.answers[side].said}]), {role: 'user', content: turn.question}];
}

// {done, stop}: the answer grows in its turn, and its side is painted at most once a frame
function answer(turn, side, seed, paint) {
  const found = {reasoning: '', content: '', notes: [], state: 'Asking…', began: performance.now()}, control = new AbortController();
  let due = false;
  const soon = () => { if (!due) { due = true; requestAnimationFrame(() => { due = false; paint(); }); } };
  found.by = talk.sides[side];
  turn.answers[side] = found;
  const sampling = Object.fromEntries(['temperature', 'top_p', 'max_tokens', 'think_budget'].filter((k) => talk[k] !== '').map((k) => [k, talk[k]]));
  const hear = (line) => {
    if (line.loading) found.state = 'Loading the model…';
    if (line.ready) { found.state = 'Reading…'; if (line.ready.warning) found.notes = [line.ready.warning]; }
    if (line.note) found.notes.push(line.note);
    if (line.kind) { found[line.kind] += line.text; found.state = ''; found.first ??= performance.now(); }
    if (line.error) throw new Error(line.error);
    if (line.end) Object.assign(found, line.end, {state: '', seconds: (performance.now() - (found.first ?? found.began)) / 1000});
    soon();
  };
  const done = pour('talk', {model: talk.sides[side], messages: conversation(turn, side), seed, ...sampling}, hear, control.signal).catch((error) => {
    found.state = '';
    if (control.signal.aborted) { found.said = (found.reasoning ? `<think>${found.reasoning}</think>` : '') + found.content; found.finish = 'stopped'; } else found.error = error.message;
    soon();
  });
  return {done, stop: () => control.abort()};
}

function said(a) {
  if (!a) return h('span.soft', {}, 'not asked');
  const end = a.finish === 'length' ? ' · cut at the length limit' : a.finish === 'stopped' ? ' · stopped' : '';
  const rate = a.tokens && a.seconds > 0.05 ? ` · ${(a.tokens / a.seconds).toFixed(0)} tokens/s` : '';
  return [talk.sides[1] ? h('p.small.soft', {}, a.by) : '', a.notes.map((n) => h('p.small.warn', {}, n)),
    a.reasoning ? h('details.think', {open: !talk.folded}, h('summary', {}, `thinking, ${a.reasoning.length.toLocaleString('en')} characters${a.content || a.finish ? '' : '…'}`), a.reasoning) : '',
    h('div.chain', {}, a.content), a.state ? h('p.small.soft', {}, a.state) : '', a.error ? h('p.bad', {}, a.error) : '',
    a.finish ? h('p.small.soft', {}, a.tokens ? `${a.tokens} tokens` : '', rate, end) : ''];
}
