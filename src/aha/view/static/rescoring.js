// What other rewards would have paid for what a run wrote: chosen here, graded aside, with its progress.

import {h, fill, field, choice} from './dom.js';
import {ask, pour} from './api.js';
import {block} from './findings.js';

const look = {run: '', stage: '', weights: {}, own: '', ownWeight: 1, steps: 20};

export async function draw(place, run) {
  const there = await ask('rescorable', {run}), stages = Object.keys(there.stages);
  if (!stages.length) { fill(place, h('p', {}, 'This run has no stored rollouts: none of its stages samples, or it has not come that far.')); return () => {}; }
  if (look.run !== run) Object.assign(look, {run, stage: '', weights: {}});
  if (!stages.includes(look.stage)) { look.stage = stages[0]; look.weights = {...there.paid[look.stage]}; }
  const found = h('div'), bar = h('progress', {max: 1, value: 0, 'aria-label': 'steps graded'}), how = h('span.small.soft', {role: 'status'});
  const go = h('button.primary', {}, 'Grade anew'), stop = h('button', {type: 'button', disabled: true}, 'Stop');
  const names = [...new Set([...Object.keys(there.paid[look.stage] ?? {}), ...Object.keys(there.rewards)])];
  let control = null;

  const weight = (name) => h('input', {type: 'number', step: 'any', value: look.weights[name] ?? '', placeholder: '–', 'aria-label': `weight of ${name}`, onchange: (e) => { if (e.target.value === '') delete look.weights[name]; else look.weights[name] = +e.target.value; }});
  const table = h('div.scroll', {}, h('table', {}, h('thead', {}, h('tr', {}, ['Weight', 'Reward', 'Paid in the run'].map((n) => h('th', {}, n)))), h('tbody', {}, names.map((name) => h('tr', {},
    h('td.weight', {}, weight(name)), h('td', {}, h('b', {}, name), h('div.small.soft', {}, there.rewards[name] ?? '')), h('td', {}, there.paid[look.stage]?.[name] ?? '–'))))));
  const own = h('div.bar', {}, field('One of your own: FILE.py:NAME', h('input', {value: look.own, size: 34, placeholder: 'my_reward.py:short', onchange: (e) => { look.own = e.target.value.trim(); }})),
    field('Its weight', h('input', {type: 'number', step: 'any', value: look.ownWeight, onchange: (e) => { look.ownWeight = +e.target.value; }})),
    field('Steps at most', h('input', {type: 'number', min: 1, value: look.steps, onchange: (e) => { look.steps = e.target.value === '' ? '' : +e.target.value; }})));
  const form = h('form', {onsubmit: (e) => { e.preventDefault(); grade(); }},
    stages.length > 1 ? h('div.bar', {}, field('Stage', choice(stages.map((s) => [s, `${s} (${there.stages[s]} steps)`]), look.stage, (v) => { look.stage = v; look.weights = {...there.paid[v]}; draw(place, run); }))) : '',
    h('p.small.soft', {}, 'Nothing is sampled and nothing of the run changes. Leave a weight empty to leave a reward out; a file of your own is run with your rights.'),
    h('details', {open: true}, h('summary', {}, 'Rewards'), table), own, h('div.bar', {}, go, stop, bar, how));
  fill(place, form, found);
  bar.classList.add('hidden');
  stop.addEventListener('click', () => control?.abort());

  async function grade() {
    const rewards = {...look.weights, ...(look.own ? {[look.own]: look.ownWeight} : {})};
    control = new AbortController();
    go.disabled = true;
    stop.disabled = false;
    bar.removeAttribute('value');
    bar.classList.remove('hidden');
    fill(how, 'Beginning…');
    fill(found);
    try { await pour('rescore', {run, stage: look.stage, rewards, ...(look.steps ? {steps: look.steps} : {})}, hear, control.signal); } catch (error) {
      fill(found, control.signal.aborted ? h('p.soft', {}, 'Stopped.') : h('p.bad', {}, error.message));
    }
    go.disabled = false;
    stop.disabled = true;
    bar.classList.add('hidden');
    fill(how);
  }
  function hear(line) {
    if (line.progress) { bar.max = line.progress[1]; bar.value = line.progress[0]; fill(how, `step ${line.progress[0]} of ${line.progress[1]}`); }
    if (line.blocks) { fill(found, line.blocks.map((b) => block(b, [run]))); form.querySelector('details').open = false; }
    if (line.error) throw new Error(line.error);
  }
  return () => control?.abort();
}
