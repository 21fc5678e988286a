// One rollout beside the others of its group, and why it was paid what it was paid.

import {h, fill, field, choice, show, toast} from './dom.js';
import {ask, tell} from './api.js';
import {address, go, shared} from './state.js';
import {verdict} from './rollouts.js';

const look = {folded: null, colour: 'marks', group: true};
const COLOURS = [['marks', 'reflections and switches'], ['logprob', 'tokens by logprob'], ['gap', 'tokens: policy against sampler'], ['advantage', 'tokens by advantage']];
const VERDICTS = [['correct', 'correct'], ['wrong', 'wrong'], ['no_answer', 'no answer'], ['unknown', 'cannot be graded']];

export async function draw(main, query) {
  const run = [...shared.chosen][0], id = query.get('id');
  const data = await ask('rollout', {run, id, regex: query.get('regex') ?? ''}), mine = data.members.find((m) => m.id === data.id), tokens = data.members.some((m) => m.pieces.length);
  const hit = hits(query.get('text'), query.get('regex') ? data.hits : null), why = h('div'), sides = h('div.sides'), key = h('span.small.soft');
  const to = (other) => go('rollout', {run, id: other, text: query.get('text') ?? '', regex: query.get('regex') ?? ''});
  const order = [mine, ...data.members.filter((m) => m !== mine)];

  fill(main, h('h1', {}, mine.problem_id || 'Rollout'), h('p.small', {}, h('a', {href: address('rollouts', {run})}, run), ` · ${data.file} · step ${mine.step ?? '–'} · member ${mine.member ?? '–'} of ${data.members.length} · policy ${mine.policy_version ?? '–'}`),
    h('div.box', {}, h('p', {class: 'question'}, mine.question), mine.gold ? h('p', {}, h('span.soft', {}, 'Expected: '), h('b', {}, mine.gold)) : '', h('p.small', {class: data.signal.has ? 'soft' : 'warn'}, data.signal.words)),
    h('div.bar', {}, h('button', {disabled: data.neighbours[0] === null, onclick: () => to(data.neighbours[0]), title: '['}, '← previous'), h('button', {onclick: () => to(data.neighbours[1]), title: ']'}, 'next →'),
      h('button', {onclick: fold, title: 't'}, 'Fold thinking'), data.members.length > 1 ? h('button', {'aria-pressed': String(look.group), onclick: (e) => { look.group = !look.group; e.target.setAttribute('aria-pressed', String(look.group)); paint(); }}, `Its group (${data.members.length})`) : '',
      field('Shown', choice(tokens ? COLOURS : COLOURS.slice(0, 1), tokens ? look.colour : 'marks', (v) => { look.colour = v; paint(); })), key),
    data.members.length > 1 ? strip(data, to) : '', sides, why);

  function paint() { fill(key, legend(tokens)); fill(sides, (look.group ? order : [mine]).map((m) => side(m, m === mine, hit, tokens ? look.colour : 'marks', to))); if (look.folded !== null) foldAll(look.folded); }
  function foldAll(folded) { for (const d of sides.querySelectorAll('details.think')) d.open = !folded; }
  function fold() { const any = [...sides.querySelectorAll('details.think')].some((d) => d.open); look.folded = any; foldAll(any); }
  paint();
  fill(why, h('h2', {}, 'Why this reward'), reasons(mine), h('p', {}, h('button.primary', {onclick: asked}, 'Ask the graders again'), h('span.small.soft', {}, ' The same code as in training; a program runs in the sandbox.')), h('div', {id: 'path'}), mistake(run, mine));

  async function asked(event) {
    event.target.disabled = true;
    const place = document.getElementById('path');
    fill(place, h('p.soft', {role: 'status'}, 'Asking…'));
    try { fill(place, path(await tell('why', {run, id: mine.id}))); } catch (error) { fill(place, h('p.bad', {}, error.message)); }
    event.target.disabled = false;
  }
  return {
    key: (event) => {
      if (event.key === 't') fold();
      if (event.key === '[' && data.neighbours[0]) to(data.neighbours[0]);
      if (event.key === ']') to(data.neighbours[1]);
      const at = document.activeElement?.closest?.('[data-line]');
      if (event.key === 'Enter' && at) to(at.dataset.line);
    },
  };
}

// --- the chain ---------------------------------------------------------------------------------------------

function side(m, chosen, hit, colour, to) {
  const folded = m.text.length > 6000;
  const body = colour !== 'marks' && m.pieces.length ? coloured(m.pieces, colour) : m.parts.map((p) => part(p, hit, folded));
  return h('section.side', {class: chosen ? 'on' : '', tabindex: 0, 'data-line': m.id, 'aria-label': `member ${m.member}`},
    h('div.head.small', {}, verdict(m.right), ` reward ${show(m.reward)}`, m.advantage === null ? '' : ` · advantage ${show(m.advantage)}`, ` · ${show(m.tokens)} tokens`, m.finish === 'stop' ? '' : h('span.warn', {}, ` · ${m.finish === 'length' ? 'cut at the length limit' : m.finish}`),
      m.mean_logprob === null ? '' : h('span.soft', {}, ` · mean logprob ${show(m.mean_logprob)}`), ' ', chosen ? '' : h('button.quiet.small', {onclick: () => to(m.id)}, `member ${m.member} →`)),
    h('div.chain', {tabindex: 0, 'aria-label': 'text'}, body), chosen ? '' : h('ul.scores', {}, m.scores.map(score)));
}

function part(p, hit, folded) {
  if (p.kind === 'tag') return h('span.tagname', {}, p.runs[0][0]);
  const runs = p.runs.map(([text, mark]) => (mark ? h(`mark.${mark}`, {title: mark === 'switch' ? 'another language' : 'reflective word'}, text) : marked(text, hit)));
  if (p.kind === 'think') {
    const text = p.runs.map(([t]) => t).join(''), counted = p.runs.filter(([, m]) => m === 'reflection').length;
    return h('details.think', {open: !folded}, h('summary', {}, `thinking, ${text.length.toLocaleString('en')} characters${counted ? `, ${counted} reflective words` : ''}`), runs);
  }
  return h('span', {class: p.kind}, runs);
}

// what an expression found comes from the server, which stops one that takes too long
function hits(text, found) {
  const words = found ?? (text ?? '').replaceAll(/-\S+/g, ' ').match(/[\p{L}\p{N}]+/gu);
  return words?.length ? new RegExp(words.map((w) => w.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&')).join('|'), found ? 'gu' : 'giu') : null;
}

function marked(text, hit) {
  if (!hit) return text;
  const found = [];
  let at = 0;
  for (const m of text.matchAll(hit)) {
    if (!m[0]) continue;
    found.push(text.slice(at, m.index), h('mark.hit', {}, m[0]));
    at = m.index + m[0].length;
  }
  return [found, text.slice(at)];
}

// --- tokens ------------------------------------------------------------------------------------------------

// blue: likely, more likely under the policy, or pushed up; red: the other way. The strength is written in the title.
function coloured(pieces, colour) {
  return pieces.map(([text, sampler, policy, advantage]) => {
    const gap = sampler !== null && policy !== null ? policy - sampler : null;
    const value = colour === 'logprob' ? sampler : colour === 'gap' ? gap : advantage;
    const node = h('span', {title: [`logprob ${show(sampler)}`, policy === null ? '' : `policy ${show(policy)}`, advantage === null ? '' : `advantage ${show(advantage)}`].filter(Boolean).join(', ')}, text);
    const share = value === null ? 0 : colour === 'logprob' ? Math.min(1, -value / 5) : Math.min(1, Math.abs(value) / (colour === 'gap' ? 0.5 : 2));
    const red = colour === 'logprob' || value < 0;
    if (share > 0.03) node.style.setProperty('background-color', red ? `rgba(214,60,40,${(0.55 * share).toFixed(2)})` : `rgba(40,110,214,${(0.55 * share).toFixed(2)})`);
    return node;
  });
}

function legend(tokens) {
  const said = look.colour;
  if (!tokens || said === 'marks') return [h('mark', {}, 'wait'), ' reflective word · ', h('mark.switch', {}, '不对'), ' another language'];
  return (said === 'logprob' ? 'the redder, the less likely the token was' : said === 'gap' ? 'red: less likely under the policy than when it was sampled; blue: more' : 'red: pushed down; blue: pushed up');
}

function strip(data, to) {
  return h('div.bar', {role: 'group', 'aria-label': 'members of the group'}, data.members.map((m) => h('button', {'aria-pressed': String(m.id === data.id), title: `member ${m.member}: reward ${show(m.reward)}`, onclick: () => to(m.id)},
    h('span', {class: m.right === true ? 'good' : m.right === false ? 'bad' : 'warn'}, m.right === true ? '✓' : m.right === false ? '✗' : '?'), ` ${show(m.reward)}`)));
}

// --- reasons -----------------------------------------------------------------------------------------------

const score = (s) => h('li', {}, h('b', {}, s.name), ` ${s.value === null ? 'not gradable' : show(s.value)}`, s.note ? h('span.soft', {}, ` — ${s.note}`) : '');

function reasons(m) {
  return h('div.box', {}, h('p', {}, verdict(m.right), ` It was paid `, h('b', {}, m.reward === null ? 'nothing: it could not be graded' : show(m.reward)), m.advantage === null ? '' : [', advantage ', h('b', {}, show(m.advantage))], '. What was written down as it was graded:'),
    h('ul.scores', {}, m.scores.map(score)));
}

function path(p) {
  const said = (v) => (v ? h('span', {}, h('b', {class: v.outcome === 'correct' ? 'good' : v.outcome === 'wrong' ? 'bad' : 'warn'}, v.outcome.replace('_', ' ')), v.note ? ` — ${v.note}` : '', v.value === null ? '' : ` (worth ${show(v.value)})`) : '–');
  return h('div.box', {}, p.faults.map((f) => h('p.warn', {}, f)),
    h('dl', {}, p.steps.map(([what, words]) => [h('dt', {}, what), h('dd.mono', {}, words)]), p.verdict ? [h('dt', {}, 'Verdict'), h('dd', {}, said(p.verdict))] : '', p.lenient ? [h('dt', {}, 'Wherever it stands'), h('dd', {}, said(p.lenient))] : ''),
    p.rewards.length ? h('div.scroll', {}, h('table', {}, h('thead', {}, h('tr', {}, ['Reward', 'Weight', 'Paid', 'Now', 'Reason'].map((n, i) => h('th', {class: i > 0 && i < 4 ? 'num' : ''}, n)))),
      h('tbody', {}, p.rewards.map((r) => h('tr', {}, h('td', {}, r.name), h('td.num', {}, show(r.weight)), h('td.num', {}, show(r.stored)), h('td.num', {class: r.same === false ? 'warn' : ''}, show(r.now), r.same === false ? ' (differs)' : ''), h('td', {}, r.note || r.stored_note)))))) : '',
    p.program === null ? '' : [h('h3', {}, 'The program that was found'), h('pre.mono', {}, p.program)],
    p.tests.length ? [h('h3', {}, 'Its tests'), h('div.scroll', {}, h('table.stack', {}, h('thead', {}, h('tr', {}, ['Test', 'Given', 'Expected', 'Came to'].map((n) => h('th', {}, n)))),
      h('tbody', {}, p.tests.map((t) => h('tr', {}, h('td', {'data-name': 'Test'}, h('span.cell', {}, h('b', {class: t.passed ? 'good' : t.passed === null ? 'warn' : 'bad'}, t.passed ? '✓ ' : t.passed === null ? '? ' : '✗ '), t.number)), h('td', {'data-name': 'Given'}, h('span.cell.mono', {}, t.input)), h('td', {'data-name': 'Expected'}, h('span.cell.mono', {}, t.expected)),
        h('td', {'data-name': 'Came to'}, h('span.cell', {}, t.note, t.output ? h('pre', {}, t.output) : '')))))))] : '');
}

// --- a grader's mistake ------------------------------------------------------------------------------------

function mistake(run, m) {
  const place = h('div');
  const paint = (flag) => {
    const expected = h('select', {name: 'expected'}, VERDICTS.map(([k, w]) => h('option', {value: k, selected: k === (flag?.expected ?? (m.right ? 'wrong' : 'correct'))}, w)));
    const comment = h('input', {value: flag?.comment ?? '', size: 30, placeholder: 'why, in a few words'});
    const keep = async (more) => { try { const found = await tell('flag', {run, id: m.id, ...more}); paint(more.remove ? null : found); toast(more.remove ? 'Taken back.' : `Noted in .aha-view/${found.kept_in}`); } catch (error) { toast(error.message); } };
    fill(place, h('details', {open: !!flag}, h('summary', {}, flag ? h('b.warn', {}, `Noted: the grader is mistaken, it should say “${flag.expected.replace('_', ' ')}”`) : 'The grader is mistaken here'),
      h('form.bar', {onsubmit: (e) => { e.preventDefault(); keep({expected: expected.value, comment: comment.value}); }}, field('It should say', expected), field('Comment', comment), h('button.primary', {}, 'Note it'), flag ? h('button', {type: 'button', onclick: () => keep({remove: true})}, 'Take it back') : '')));
  };
  paint(m.flag);
  return place;
}
