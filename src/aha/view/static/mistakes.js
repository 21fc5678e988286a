// The graders' mistakes that were noted.

import {h, fill} from './dom.js';
import {ask} from './api.js';
import {shared} from './state.js';

export async function draw(main) {
  const found = await ask('mistakes'), file = `${shared.own}/grader_mistakes.jsonl`;
  fill(main, h('h1', {}, 'Graders’ mistakes'), h('p', {}, found.length ? `${found.length} noted in ` : 'None noted yet. On a rollout’s page, “The grader is mistaken here” notes it in ', h('code', {}, file), '; those of other graders than the math verifier beside it, in ', h('code', {}, 'grader_mistakes_other.jsonl'), '. ',
    h('code', {}, 'aha grade FILE'), ' grades the first again, and says which are still not as they should be.'),
  found.length ? h('div.scroll', {}, h('table.stack', {}, h('thead', {}, h('tr', {}, ['Run', 'Problem', 'Expected answer', 'Written', 'Should be', 'Comment'].map((n) => h('th', {}, n)))), h('tbody', {}, found.map(line)))) : '');
  return null;
}

function line(f) {
  const cell = (name, ...inside) => h('td', {'data-name': name}, h('span.cell', {}, inside));
  const note = Object.entries(f.scores ?? {}).map(([k, s]) => `${k} ${s.value ?? 'not gradable'}`).join(', ');
  return h('tr', {}, cell('Run', f.run, h('div.small.soft', {}, `${f.file}, step ${f.step}`)), cell('Problem', f.problem_id), cell('Expected answer', h('span.mono', {}, String(f.gold).slice(0, 200))),
    cell('Written', h('span.mono', {}, `…${String(f.prediction).slice(-160)}`), h('div.small.soft', {}, note)), cell('Should be', h('b', {}, f.expected.replace('_', ' '))), cell('Comment', f.comment));
}
