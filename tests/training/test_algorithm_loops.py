"""Every preset's loss and gradient against plain loops over groups, completions and tokens.

The loops are written from the papers' formulas, in Python floats, and share no code with the program.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch

from aha.stages.rl.collect import keep
from aha.training import credit
from aha.training.algorithm import Algorithm
from aha.training.policy import TokenView
from aha.training.presets import PRESETS
from aha.training.sequences import to_examples
from aha.types import Finish, Group, Problem, Rollout, Score, Scored

BETA = 0.04  # of the presets with DeepSeekMath's KL coefficient
LENGTHS = [[3, 6, 1, 5], [4, 2, 5], [2, 3], [7, 4, 31, 2, 5, 3], [3, 2]]
REWARDS = [[1.0, 0.0, 0.5, 0.0], [1.0, math.nan, -0.5], [1.0, 1.0], [0, 1, 2, 0, 0.7, -1], [1.0, math.nan]]
SEEDS = (0, 1, 2)
GREEDY = [0.5, 0.25, math.nan, 1.0, 0.0]


@dataclass
class Completion:
    """One completion and all that is known of its tokens [C]; ``base`` is ``new`` before it is varied."""

    number: int
    reward: float
    cut: bool
    new: np.ndarray
    old: np.ndarray
    reference: np.ndarray
    values: np.ndarray
    entropy: np.ndarray
    steps: list[tuple[int, float]]
    base: np.ndarray = field(init=False)

    def __post_init__(self):
        self.base = self.new.copy()

    @property
    def size(self):
        return len(self.new)

    @property
    def right(self):
        return self.reward > 0.5


def random_groups(spread=0.25, seed=0):
    """Groups with an ungradable member, with equal rewards, with a truncated completion, with one graded."""
    rng = np.random.default_rng(seed)
    groups, number = [], 0
    for g, (lengths, rewards) in enumerate(zip(LENGTHS, REWARDS, strict=True)):
        groups.append([])
        for i, (size, reward) in enumerate(zip(lengths, rewards, strict=True)):
            old = np.log(rng.uniform(0.1, 0.9, size))
            steps = [(t, float(rng.normal())) for t in range(1, size - 1, 2)]
            completion = Completion(
                number,
                reward,
                cut=(g, i) in {(0, 1), (3, 2)},
                new=old + spread * rng.normal(size=size),
                old=old,
                reference=old + 0.5 * rng.normal(size=size),
                values=rng.normal(size=size),
                entropy=rng.uniform(0.1, 2, size),
                steps=steps,
            )
            groups[-1].append(completion)
            number += 1
    return groups


# --- the loops ----------------------------------------------------------------------------------------------


def mean(values):
    values = list(values)
    return sum(values) / len(values)


def std(values):
    values = list(values)
    return math.sqrt(mean((v - mean(values)) ** 2 for v in values))


def graded(group):
    return [c for c in group if not math.isnan(c.reward)]


def comparable(groups):
    """Groups with at least two graded members: a group baseline says nothing of one alone."""
    return [graded(g) for g in groups if len(graded(g)) >= 2]


def silent(group):
    return len({c.reward for c in group}) == 1


def standardised(group):
    """GRPO's advantages: 0 where all rewards are equal."""
    if silent(group):
        return [0.0 for _ in group]
    centre, scale = mean(c.reward for c in group), std(c.reward for c in group)
    return [(c.reward - centre) / scale for c in group]


def clipped(ratio, advantage, low=0.2, high=0.2):
    return min(ratio * advantage, max(1 - low, min(1 + high, ratio)) * advantage)


def ratio(c, t):
    return math.exp(c.new[t] - c.old[t])


def k3(c, t):
    u = math.exp(c.reference[t] - c.new[t])
    return u - math.log(u) - 1


def reinforce(groups):
    every = [c for g in groups for c in graded(g)]
    return -mean(c.reward * sum(c.new) for c in every)


def normalised_ppo(tokens, penalty):
    """REINFORCE++: (completion, t, advantage) of all tokens, normalised together, then PPO's clip."""
    centre, scale = mean(a for _, _, a in tokens), std(a for _, _, a in tokens)
    return mean(-clipped(ratio(c, t), (a - centre) / scale) + penalty(c, t) for c, t, a in tokens)


def reinforce_pp(groups):
    tokens = []
    for c in (c for g in groups for c in graded(g)):
        for t in range(c.size):
            divergence = sum(c.old[j] - c.reference[j] for j in range(t, c.size))
            tokens.append((c, t, c.reward - 0.001 * divergence))
    return normalised_ppo(tokens, lambda c, t: 0.0)


def reinforce_pp_baseline(groups):
    tokens = []
    for group in comparable(groups):
        centre = mean(c.reward for c in group)
        tokens += [(c, t, c.reward - centre) for c in group for t in range(c.size)]
    return normalised_ppo(tokens, lambda c, t: 0.001 * (c.new[t] - c.reference[t]) ** 2 / 2)


def rloo(groups):
    terms = []
    for group in comparable(groups):
        for i, c in enumerate(group):
            others = mean(o.reward for j, o in enumerate(group) if j != i)
            terms.append(-(c.reward - others) * sum(c.new))
    return mean(terms)


def remax(groups):
    terms = []
    for group, greedy in zip(groups, GREEDY, strict=True):
        if not math.isnan(greedy):
            terms += [-(c.reward - greedy) * sum(c.new) for c in graded(group)]
    return mean(terms)


def gae_by_sums(c, lam, gamma=1.0):
    """The definition: A_t is the sum over l of (gamma lambda)^l (r + gamma V' - V) at t + l."""
    out = []
    for t in range(c.size):
        total = 0.0
        for j in range(t, c.size):
            reward = c.reward if j == c.size - 1 else 0.0
            following = c.values[j + 1] if j + 1 < c.size else 0.0
            total += (gamma * lam) ** (j - t) * (reward + gamma * following - c.values[j])
        out.append(total)
    return out


def ppo(groups):
    every = [c for g in groups for c in graded(g)]
    advantages = [gae_by_sums(c, 1.0) for c in every]
    centre, scale = mean(a for row in advantages for a in row), std(a for row in advantages for a in row)
    return -mean(
        mean(clipped(ratio(c, t), (row[t] - centre) / scale) for t in range(c.size))
        for c, row in zip(every, advantages, strict=True)
    )


def vc_ppo(groups):
    every = [c for g in groups for c in graded(g)]
    advantages = [gae_by_sums(c, 0.95) for c in every]
    return -mean(
        mean(clipped(ratio(c, t), row[t]) for t in range(c.size))
        for c, row in zip(every, advantages, strict=True)
    )


def vapo(groups):
    every = [c for g in groups for c in graded(g)]
    terms = []
    for c in every:
        row = gae_by_sums(c, max(0.0, 1 - 1 / (0.05 * c.size)))
        terms += [-clipped(ratio(c, t), row[t], high=0.28) for t in range(c.size)]
    imitated = [-c.new[t] for c in every if c.right for t in range(c.size)]
    return mean(terms) + 0.1 * mean(imitated)


def grpo_with(groups, beta):
    terms = []
    for group in comparable(groups):
        for c, a in zip(group, standardised(group), strict=True):
            terms.append(-mean(clipped(ratio(c, t), a) - beta * k3(c, t) for t in range(c.size)))
    return mean(terms)


def grpo_process(groups):
    """The outcome is one more step, the last token."""
    terms = []
    for group in (graded(g) for g in groups):
        steps = [[*c.steps, (c.size - 1, c.reward)] for c in group]
        centre, scale = mean(r for row in steps for _, r in row), std(r for row in steps for _, r in row)
        for c, row in zip(group, steps, strict=True):
            total = 0.0
            for t in range(c.size):
                later = [(r - centre) / scale if scale else 0.0 for end, r in row if end >= t]
                total += clipped(ratio(c, t), sum(later)) - BETA * k3(c, t)
            terms.append(-total / c.size)
    return mean(terms)


def dr_grpo(groups):
    terms = []
    for group in comparable(groups):
        centre = mean(c.reward for c in group)
        terms += [-sum(clipped(ratio(c, t), c.reward - centre) for t in range(c.size)) for c in group]
    return mean(terms) / 1024


def token_mean_grpo(groups, high=0.28, drop=False):
    """DAPO's objective and its relatives: the mean over all tokens."""
    terms = []
    for group in comparable(groups):
        if drop and silent(group):
            continue
        for c, a in zip(group, standardised(group), strict=True):
            terms += [-clipped(ratio(c, t), a, high=high) for t in range(c.size)]
    return mean(terms)


def grpo_plus(groups):
    """Sequence mean with the higher clip, over the completions that were not cut."""
    terms = []
    for group in comparable(groups):
        for c, a in zip(group, standardised(group), strict=True):
            if not c.cut:
                terms.append(-mean(clipped(ratio(c, t), a, high=0.28) for t in range(c.size)))
    return mean(terms)


def magic(groups, bonus=0.0):
    kept = [g for g in comparable(groups) if not silent(g)]
    entropy = mean(h for g in kept for c in g for h in c.entropy)
    return token_mean_grpo(groups, high=0.2, drop=True) - bonus * entropy


def gspo(groups):
    terms = []
    for group in comparable(groups):
        for c, a in zip(group, standardised(group), strict=True):
            whole = math.exp((sum(c.new) - sum(c.old)) / c.size)
            terms.append(-clipped(whole, a, 3e-4, 4e-4))
    return mean(terms)


def cispo(groups):
    terms = []
    for group in comparable(groups):
        for c, a in zip(group, standardised(group), strict=True):
            for t in range(c.size):
                weight = min(5.0, math.exp(c.base[t] - c.old[t]))  # a constant: no gradient through it
                terms.append(-weight * a * c.new[t])
    return mean(terms)


def gpg(groups):
    compared = comparable(groups)
    samples, lost = sum(len(g) for g in compared), sum(len(g) for g in compared if silent(g))
    terms = []
    for group in compared:
        centre = mean(c.reward for c in group)
        terms += [-(c.reward - centre) * c.new[t] for c in group for t in range(c.size)]
    return samples / (samples - lost) * mean(terms)


def cppo(groups):
    terms = []
    for group in comparable(groups):
        pairs = sorted(zip(group, standardised(group), strict=True), key=lambda pair: -abs(pair[1]))
        for c, a in pairs[: len(group) // 2]:
            terms.append(-mean(clipped(ratio(c, t), a) - BETA * k3(c, t) for t in range(c.size)))
    return mean(terms)


def kimi(groups):
    terms = []
    for group in comparable(groups):
        centre = mean(c.reward for c in group)
        for c in group:
            moved = sum(c.new) - sum(c.old)
            terms.append(-(c.reward - centre) * sum(c.new) + 0.01 / 2 * moved**2)
    return mean(terms)


def raft(groups):
    terms = []
    for group in (graded(g) for g in groups):
        best = max(c.reward for c in group)
        terms += [-c.new[t] for c in group if c.reward == best and best > 0 for t in range(c.size)]
    return mean(terms)


def agro(groups):
    """Half the variance of r - coef log(policy / reference), in units of coef."""
    total, count = 0.0, sum(len(graded(g)) for g in groups)
    for group in (graded(g) for g in groups):
        scores = [c.reward - 0.01 * (sum(c.new) - sum(c.reference)) for c in group]
        total += sum((s - mean(scores)) ** 2 for s in scores) / 2
    return total / count / 0.01


LOOPS = {
    "reinforce": reinforce,
    "reinforce_pp": reinforce_pp,
    "reinforce_pp_baseline": reinforce_pp_baseline,
    "rloo": rloo,
    "remax": remax,
    "ppo": ppo,
    "vc_ppo": vc_ppo,
    "vapo": vapo,
    "grpo": lambda groups: grpo_with(groups, 0.001),
    "grpo_no_kl": lambda groups: grpo_with(groups, 0.0),
    "grpo_process": grpo_process,
    "grpo_iterative": lambda groups: grpo_with(groups, BETA),
    "dr_grpo": dr_grpo,
    "dapo": lambda groups: token_mean_grpo(groups, drop=True),
    "gspo": gspo,
    "cispo": cispo,
    "gpg": gpg,
    "cppo": cppo,
    "kimi": kimi,
    "grpo_plus": grpo_plus,
    "magic": magic,
    "srpo": token_mean_grpo,
    "raft": raft,
    "agro": agro,
}
SPREAD = {"gspo": 5e-4, "cispo": 1.5}  # of log(new / old), so that both sides of the clip are reached
NO_VALUE = {"agro"}  # the loop is the objective itself, the program's loss a surrogate with its gradient


# --- the program --------------------------------------------------------------------------------------------


def as_group(completions, index):
    members = []
    for c in completions:
        ids = np.full(c.size, c.number)
        finish = Finish.LENGTH if c.cut else Finish.STOP
        rollout = Rollout(np.array([100 + index, 7]), ids, c.old, "", finish)
        value = None if math.isnan(c.reward) else c.reward
        members.append(Scored(rollout, {"accuracy": Score(value)}, value))
    return Group(Problem(str(index), "test", ()), tuple(members))


def annotated(example, by_number):
    c = by_number[int(example.token_ids[-1])]

    def column(values):
        return np.concatenate([np.zeros(example.prompt_length), values])

    return replace(example, reference_logprobs=column(c.reference), values=column(c.values))


def credited(groups, algorithm):
    """Examples as the stage makes them, up to the loss."""
    by_number = {c.number: c for g in groups for c in g}
    scored = [as_group(g, i) for i, g in enumerate(groups)]
    rewards = [np.array([c.reward for c in g]) for g in groups]
    advantages = keep(algorithm, scored, algorithm.advantages(rewards, np.array(GREEDY)))
    steps = lambda m: tuple(by_number[int(m.rollout.completion_ids[0])].steps)  # noqa: E731
    rows = to_examples(scored, advantages, steps if algorithm.process else lambda m: ())
    rows = algorithm.credit([annotated(e, by_number) for e in rows])
    if algorithm.agro:
        news = [by_number[int(e.token_ids[-1])].new for e in rows]
        rows = [
            replace(e, policy_logprobs=np.concatenate([np.zeros(2), n]))
            for e, n in zip(rows, news, strict=True)
        ]
        rows = credit.agro_credit(rows, algorithm.kl_coef)
    if algorithm.nll_coef:
        rows = credit.imitate(rows, algorithm.nll_coef, algorithm.weighting())
    return rows, [by_number[int(e.token_ids[-1])] for e in rows]


def as_view(examples, weights):
    def tokens(rows):
        return torch.tensor(np.concatenate([r[e.mask] for r, e in zip(rows, examples, strict=True)]))

    imitation = None if examples[0].imitation is None else tokens([e.imitation for e in examples])
    return TokenView(
        weights=tokens(weights),
        advantages=tokens([e.advantage for e in examples]),
        old_logprobs=tokens([e.sampler_logprobs for e in examples]),
        reference_logprobs=tokens([e.reference_logprobs for e in examples]),
        sequence=torch.repeat_interleave(
            torch.arange(len(examples)), torch.tensor([int(e.mask.sum()) for e in examples])
        ),
        imitation=imitation,
    )


def program(groups, algorithm, bonus=None):
    """(total loss, gradient of each completion's logprobs by number, statistics)."""
    examples, completions = credited(groups, algorithm)
    view = as_view(examples, algorithm.weighting()(examples))
    logprobs = torch.tensor(np.concatenate([c.new for c in completions]), requires_grad=True)
    entropy = torch.tensor(np.concatenate([c.entropy for c in completions]))
    losses, stats = algorithm.loss(bonus)(logprobs, entropy, view)
    total = (losses * view.weights).sum()
    total.backward()
    parts = np.split(logprobs.grad.numpy(), np.cumsum([c.size for c in completions])[:-1])
    gradient = {c.number: np.zeros(c.size) for g in groups for c in g}
    gradient |= {c.number: part for c, part in zip(completions, parts, strict=True)}
    return total.item(), gradient, stats


def finite_differences(groups, loop, h=1e-6):
    """The loop's gradient with respect to every new logprob, by central differences."""
    slopes = {}
    for c in (c for g in groups for c in g):
        slopes[c.number] = np.zeros(c.size)
        for t in range(c.size):
            ends = []
            for sign in (1, -1):
                c.new[t] = c.base[t] + sign * h
                ends.append(loop(groups))
            c.new[t] = c.base[t]
            slopes[c.number][t] = (ends[0] - ends[1]) / (2 * h)
    return slopes


def flat(gradient):
    return np.concatenate([gradient[number] for number in sorted(gradient)])


def test_every_preset_has_a_loop():
    assert set(LOOPS) == set(PRESETS)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", LOOPS)
def test_loss_and_gradient_are_those_of_the_loop(name, seed):
    groups = random_groups(SPREAD.get(name, 0.25), seed)
    algorithm = Algorithm.model_validate({"preset": name})
    total, gradient, stats = program(groups, algorithm)
    expected, got = flat(finite_differences(groups, LOOPS[name])), flat(gradient)
    assert np.abs(expected).max() > 1e-6, "the data say something"
    if name not in NO_VALUE:
        assert total == pytest.approx(LOOPS[name](groups), rel=2e-5)
    assert got == pytest.approx(expected, rel=2e-5, abs=2e-5 * np.abs(expected).max())
    if algorithm.objective in ("clipped", "cispo"):
        assert 0 < stats["clip_ratio/region_mean"].mean() < 1, "both sides of the clip are reached"


def test_entropy_bonus_is_part_of_the_loss():
    groups = random_groups()
    total, _, _ = program(groups, Algorithm.model_validate("magic"), bonus=0.3)
    assert total == pytest.approx(magic(groups, bonus=0.3), rel=2e-5)
    assert abs(total - magic(groups)) > 0.1
