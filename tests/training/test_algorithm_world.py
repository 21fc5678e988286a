"""A world small enough to be known exactly: every completion of every prompt, its chance and its reward.

Five tokens, of which 0 ends a completion, prompts of two tokens, completions of at most three. ``Bandit`` is
the session of the RL stage with this world in place of an engine and a task, so that tests of algorithms run
the code of the stage itself. The tests in this file are of the world.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import make_model

from aha.sampling.engine import Engine, Request
from aha.sampling.rollouts import Prompter, score_group
from aha.stages.rl import RL
from aha.stages.rl.collect import Collector
from aha.stages.rl.session import RLSession
from aha.training.critic import Critic
from aha.training.frozen import frozen_copy
from aha.training.policy import OptimizerConfig, Policy
from aha.training.replay import Replay
from aha.training.sequences import to_examples
from aha.types import Finish, Problem, Rollout, Score

VOCABULARY, END = 5, 0
PROMPTS = [(1, 1), (2, 2), (3, 3), (4, 4), (1, 3), (2, 4)]
SHOWN: dict[str, list[str]] = {}  # preset -> the tests that show its known properties


def shows(*presets):
    """Mark a test as one that shows a property of these presets."""

    def mark(test):
        for name in presets:
            SHOWN.setdefault(name, []).append(test.__name__)
        return test

    return mark


class Letters:
    """A tokenizer: one letter a token."""

    eos_token_id, pad_token_id = END, None

    def __len__(self):
        return VOCABULARY

    def decode(self, ids, skip_special_tokens=False):
        return "".join("#abcd"[i] for i in ids)


def all_completions(length):
    """Everything that can be written in at most ``length`` tokens, shortest first."""
    ended, open_ones = [], [()]
    for _ in range(length):
        longer = [(*prefix, t) for prefix in open_ones for t in range(VOCABULARY)]
        ended += [c for c in longer if c[-1] == END]
        open_ones = [c for c in longer if c[-1] != END]
    return ended + open_ones


def first_token_table(prompts, length):
    """1 where the first token is the prompt's own, 0 elsewhere: [P, completions]."""
    return np.array([[float(c[0] == 1 + p % 4) for c in all_completions(length)] for p in range(prompts)])


def tiny_model(seed=0):
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    rest = {"num_key_value_heads": 1, "tie_word_embeddings": False, "max_position_embeddings": 16}
    return make_model(Letters(), seed=seed, **shape, **rest)


class Exact:
    """The distribution over all completions by plain transformers: one forward over all open prefixes."""

    def __init__(self, prompts, length):
        self.prompts, self.length = PROMPTS[:prompts], length
        self.completions = all_completions(length)
        self.number = {c: i for i, c in enumerate(self.completions)}
        inner = [c[:-1] for c in self.completions if len(c) == length and c[-1] != END][:: VOCABULARY - 1]
        rows = [[next(i for i, p in enumerate(inner) if p[: len(c) - 1] == c[:-1])] for c in self.completions]
        self.row = torch.tensor(rows)
        pad = [[*c, *[0] * (length - len(c))] for c in self.completions]
        self.token = torch.tensor(pad)
        self.used = torch.tensor([[t < len(c) for t in range(length)] for c in self.completions])
        self.inputs = torch.tensor([[*p, *c] for p in self.prompts for c in inner])
        self.model = tiny_model()

    def logprobs(self, policy):
        """[P, Y, length] log probability of each token, 0 after the end; of ``self.model``'s parameters."""
        self.model.load_state_dict(policy.model.state_dict())
        logits = self.model(self.inputs).logits[:, -self.length :]
        table = logits.log_softmax(-1).view(len(self.prompts), -1, self.length, VOCABULARY)
        of_tokens = table[:, self.row, torch.arange(self.length), self.token]
        return of_tokens * self.used

    @torch.no_grad()
    def chances(self, policy):
        """[P, Y]"""
        return self.logprobs(policy).sum(-1).exp().double().numpy()

    def gradient(self, policy, table):
        """The exact gradient of the mean, over prompts, of the expected reward."""
        self.model.zero_grad()
        chance = self.logprobs(policy).sum(-1).exp()
        (chance * torch.tensor(table, dtype=torch.float32)).sum(-1).mean().backward()
        return torch.cat([p.grad.flatten() for p in self.model.parameters()])


class TableEngine(Engine):
    """Samples from the exact distribution."""

    shares_modules = True
    takes_weights = False
    version = 0

    def __init__(self, exact, policy):
        self.exact, self.policy = exact, policy

    @torch.no_grad()
    def generate(self, requests, params, *, seed=0, progress=None):
        logprobs = self.exact.logprobs(self.policy).double().numpy()
        for i, request in enumerate(requests):
            p = self.exact.prompts.index(tuple(request.prompt_ids))
            chance = np.exp(logprobs[p].sum(-1))
            rng = np.random.default_rng([seed % 2**32, request.key])
            drawn = rng.choice(len(chance), request.n, p=chance / chance.sum())
            if params.temperature == 0:
                drawn = [self.greedy(logprobs[p])] * request.n
            yield i, tuple(self.rollout(p, int(y), logprobs[p, y]) for y in drawn)

    def greedy(self, logprobs):
        prefix = ()
        while prefix not in self.exact.number:
            nearest = [c for c in self.exact.completions if c[: len(prefix)] == prefix]
            best = max(nearest, key=lambda c: logprobs[self.exact.number[c], len(prefix)])
            prefix = best[: len(prefix) + 1]
        return self.exact.number[prefix]

    def rollout(self, p, y, logprobs):
        ids = self.exact.completions[y]
        finish = Finish.STOP if ids[-1] == END else Finish.LENGTH
        kept = logprobs[: len(ids)].astype(np.float32)
        return Rollout(np.array(self.exact.prompts[p]), np.array(ids), kept, Letters().decode(ids), finish)


class PairPrompter(Prompter):
    """Problem p is the p-th prompt."""

    def __init__(self):
        self.tokenizer = Letters()

    def requests(self, problems, n, first_key=0):
        return [Request(PROMPTS[int(p.id)], n, first_key + i) for i, p in enumerate(problems)]


class Recorder(Policy):
    """A policy that shows its gradients: of each token's logprob, and of the parameters at each step."""

    frozen = False

    def __init__(self, model, optimizer):
        super().__init__(model, optimizer)
        self.batches, self.gradient = [], torch.zeros(sum(p.numel() for p in self.params))

    def backward(self, batch, loss, temperature=1.0):
        seen = {}

        def watched(logprobs, entropy, view):
            logprobs.retain_grad()
            seen["logprobs"] = logprobs
            return loss(logprobs, entropy, view)

        sums = super().backward(batch, watched, temperature)
        trained = batch.weights != 0
        slopes = np.split(seen["logprobs"].grad.numpy(), np.flatnonzero(np.diff(batch.sequence[trained])) + 1)
        tokens = np.split(batch.token_ids[trained], np.flatnonzero(np.diff(batch.sequence[trained])) + 1)
        self.batches.append([(tuple(t), s) for t, s in zip(tokens, slopes, strict=True)])
        return sums

    def step(self, lr=None):
        self.gradient = torch.cat([m.grad.flatten() for m in self.masters]).clone()
        if not self.frozen:
            return super().step(lr)
        self.zero_grad()
        return 0.0


class Bandit(RLSession):
    """The stage's session in the small world; ``table`` [P, Y] are the rewards, NaN = ungradable."""

    def __init__(
        self, algorithm, table=None, *, prompts=3, length=2, step_rewards=(), model_seed=0, **settings
    ):
        defaults = {"prompts_per_step": prompts, "group_size": 8, "lr": 0.02, "eval_every": 0, "steps": 25}
        self.config = RL.model_validate(defaults | settings | {"name": "bandit", "algorithm": algorithm})
        a, c = self.config.algorithm, self.config
        self.exact = Exact(prompts, length)
        self.table = first_token_table(prompts, length) if table is None else np.asarray(table)
        self.step_rewards = dict(step_rewards)  # completion -> its steps' rewards
        model = tiny_model(model_seed)
        optimizer = OptimizerConfig(lr=c.lr, max_grad_norm=c.max_grad_norm)
        self.policy = Recorder(model, optimizer)
        self.engine = TableEngine(self.exact, self.policy)
        problems = [Problem(str(p), "bandit", ()) for p in range(prompts)]
        rewards = {"accuracy": (1.0, self._reward)}
        self.collector = Collector(self.engine, PairPrompter(), problems, rewards, a, c.seed)
        self.collectors = [(1, self.collector)]
        self.replay = Replay(a.replay_ratio, a.replay_max_age, c.seed)
        self.reference = frozen_copy(self.policy) if a.needs_reference else None
        critic_optimizer = OptimizerConfig(lr=c.lr * a.critic_lr_scale, max_grad_norm=c.max_grad_norm)
        self.critic = Critic(model, critic_optimizer) if a.critic else None
        self.entropy_state = self.entropy_coef = a.entropy_coef
        self.asynchronous, self.step, self.correction = None, 0, {}
        self.sync_seconds = self.sync_before = 0.0
        self.start, self.saved, self.token_rows = 0, 0, None
        self.mismatch, self.history, self.totals, self.entropies = [], [], [], []
        self.console = SimpleNamespace(counter=lambda *names: lambda more: None)
        self.params = SimpleNamespace(max_tokens=length)

    def _reward(self, problem, rollouts):
        p = self.exact.prompts.index(tuple(rollouts[0].prompt_ids))
        scores = []
        for r in rollouts:
            ids = tuple(r.completion_ids)
            value = self.table[p, self.exact.number[ids]]
            steps = tuple(self.step_rewards.get(ids, ()))
            total = None if np.isnan(value) else float(value + sum(v for _, v in steps))
            scores.append(Score(total, steps=steps))
        return scores

    # --- the stage's own loop, or one update from given completions ---------------------------------------

    def train(self):
        """``RL._train`` as it is; returns the exact expected reward after each step."""
        self.config._train(self)
        return self.history

    def report(self, step, groups, advantages, totals, *rest):
        self.mismatch.clear()
        self.totals.append(dict(totals))
        self.history.append(self.expected())
        self.entropies.append(self.entropy())

    def save(self, step):
        self.saved = step

    def group(self, prompt, completions):
        """A scored group of these completions, as the policy would have sampled them now."""
        with torch.no_grad():
            logprobs = self.exact.logprobs(self.policy).double().numpy()
        numbers = [self.exact.number[c] for c in completions]
        rollouts = [self.engine.rollout(prompt, y, logprobs[prompt, y]) for y in numbers]
        return score_group(Problem(str(prompt), "bandit", ()), rollouts, self.collector.rewards)

    def update(self, groups, step=1, change=lambda examples: examples):
        """One pass of the loop's body over ``groups``; ``change`` may alter the examples first."""
        examples = change(to_examples(groups, self.advantages(groups), self.collector.steps))
        credited = self.config.algorithm.credit(self.annotate(self.replay.mix(step, examples)))
        self.policy.batches.clear()
        return self.config._update(self, step, credited)

    def gradient(self, groups, **rest):
        """The gradient an update from ``groups`` would follow, without taking it."""
        self.policy.frozen = True
        self.policy.gradient = torch.zeros_like(self.policy.gradient)
        self.update(groups, **rest)
        self.policy.frozen = False
        return self.policy.gradient

    @property
    def slopes(self):
        """The gradient with respect to each completion's logprobs in the last update: (tokens, slopes)."""
        return [row for batch in self.policy.batches for row in batch]

    # --- exact figures -------------------------------------------------------------------------------------

    def chances(self):
        return self.exact.chances(self.policy)

    def expected(self):
        """The exact expected reward, mean over prompts."""
        return float((self.chances() * np.nan_to_num(self.table)).sum(-1).mean())

    def entropy(self):
        p = self.chances()
        return float(-(p * np.log(p)).sum(-1).mean())

    def divergence(self, other):
        """KL(policy || other) in nats, mean over prompts; ``other`` [P, Y]."""
        p = self.chances()
        return float((p * np.log(p / other)).sum(-1).mean())


# --- the world itself ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("length", "count"), [(1, 5), (2, 21), (3, 85)])
def test_chances_sum_to_one(length, count):
    chances = Bandit("grpo_no_kl", length=length).chances()
    assert chances.shape == (3, count)
    assert chances.sum(-1) == pytest.approx(np.ones(3), abs=1e-5)
    assert chances.max() < 0.9


def test_the_policy_and_the_world_agree_on_logprobs():
    world = Bandit("grpo_no_kl", length=3)
    groups = [world.group(p, world.exact.completions) for p in range(3)]
    (sampled, now) = [], []
    examples = world.with_policy_logprobs(to_examples(groups, [np.ones(85)] * 3))
    for e in examples:
        sampled.append(e.sampler_logprobs[e.mask])
        now.append(e.policy_logprobs[e.mask])
    assert np.concatenate(now) == pytest.approx(np.concatenate(sampled), abs=1e-5)


def test_sampling_follows_the_chances():
    world = Bandit("grpo_no_kl", length=2)
    greedy, plain = (SimpleNamespace(temperature=t) for t in (0, 1))
    requests = [Request(PROMPTS[1], 20_000, 0)]
    ((_, rollouts),) = world.engine.generate(requests, plain)
    shares = np.zeros(21)
    for r in rollouts:
        shares[world.exact.number[tuple(r.completion_ids)]] += 1 / 20_000
    assert np.abs(shares - world.chances()[1]).max() < 0.02
    ((_, (best, *_)),) = world.engine.generate(requests, greedy)
    first = {
        t: sum(x for x, c in zip(shares, world.exact.completions, strict=True) if c[0] == t) for t in range(5)
    }
    assert best.completion_ids[0] == max(first, key=first.get)
