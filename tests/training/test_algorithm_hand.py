"""Every preset's loss on one small rollout, worked by hand.

The rollout: two questions, two completions each.

    question 0: a, 2 tokens, reward 1, policy/old ratios 1.5 and 1;  b, 1 token, reward 0, ratio 0.5
    question 1: c, 1 token, reward 1, ratio 1;                       d, 1 token, reward 1, ratio 2

The old policy's log probabilities are all -1, the reference's all -1.5, so log(old/reference) = 1/2.
"""

from __future__ import annotations

from dataclasses import replace
from math import exp, log, sqrt

import numpy as np
import pytest
import torch

from aha.training import credit
from aha.training.algorithm import Algorithm, adapted_entropy
from aha.training.credit import gae
from aha.training.losses import value_loss
from aha.training.policy import TokenView
from aha.training.presets import PRESETS
from aha.types import Example

RATIOS = [[1.5, 1.0], [0.5], [1.0], [2.0]]
REWARDS = [np.array([1.0, 0.0]), np.array([1.0, 1.0])]
NEW = [log(r) - 1 for row in RATIOS for r in row]  # log probabilities now, of the five tokens
LA, LA2, LB, LC, LD = NEW
GREEDY = np.array([0.5, 1.0])  # rewards of the greedy completions, for ReMax


def examples(advantages, **columns):
    """The four completions behind prompts of one token."""
    rows, i = [], 0
    for group, values in enumerate(advantages):
        for value in values:
            if np.isnan(value):
                i += 1
                continue
            n = len(RATIOS[i]) + 1
            mask = np.arange(n) > 0
            rows.append(
                Example(
                    np.arange(n) + i % 2,  # the first token tells which of the two this is
                    mask,
                    np.where(mask, value, 0.0),
                    np.where(mask, -1.0, 0.0),
                    1,
                    group,
                    right=REWARDS[group][i % 2] == 1,
                    reference_logprobs=np.where(mask, -1.5, 0.0),
                    **{name: np.where(mask, column, 0.0) for name, column in columns.items()},
                )
            )
            i += 1
    return rows


def total_loss(algorithm, rows):
    """The loss of the optimizer batch in float64."""

    def column(values):
        return torch.tensor(np.concatenate([v[e.mask] for e, v in zip(rows, values, strict=True)]))

    imitation = None if rows[0].imitation is None else column([e.imitation for e in rows])
    view = TokenView(
        column(algorithm.weighting()(rows)),
        column([e.advantage for e in rows]),
        column([e.sampler_logprobs for e in rows]),
        column([e.reference_logprobs for e in rows]),
        torch.tensor(np.concatenate([np.full(e.mask.sum(), i) for i, e in enumerate(rows)])),
        imitation,
    )
    new = [NEW[i : i + n] for i, n in ((0, 2), (2, 1), (3, 1), (4, 1))]
    numbers = [new[_which(e)] for e in rows]
    logprobs = torch.tensor(np.concatenate(numbers))
    loss, _ = algorithm.loss()(logprobs, torch.zeros_like(logprobs), view)
    return float((loss * view.weights).sum())


def _which(e):
    """The number of the completion: by question and by right or wrong, c and d by their place."""
    return e.group * 2 + int(e.token_ids[0])


def run(preset, **changes):
    algorithm = Algorithm.model_validate({"preset": preset} | changes)
    columns = {"values": 0.25} if algorithm.critic else {}
    rows = examples(algorithm.advantages(REWARDS, GREEDY), **columns)
    if algorithm.process:  # a's first token ends a step worth 0.5
        rows[0] = replace(rows[0], steps=((1, 0.5),))
    rows = algorithm.credit(rows)
    if algorithm.agro:
        rows = credit.agro_credit(rows, algorithm.kl_coef)
    if algorithm.nll_coef:
        rows = credit.imitate(rows, algorithm.nll_coef, algorithm.weighting())
    return total_loss(algorithm, rows)


def k3(logp):
    u = exp(-1.5 - logp)
    return u - log(u) - 1


KL = [k3(x) for x in NEW]
KL_MEAN = ((KL[0] + KL[1]) / 2 + KL[2] + KL[3] + KL[4]) / 4  # sequence mean of k3
# GRPO: advantages of question 0 are +1 and -1, of question 1 both 0. a: min(1.5, 1.2) and 1, mean 1.1;
# b: -max(0.5, 0.8). Sequence mean: -(1.1 - 0.8) / 4.
GRPO = -(1.1 - 0.8) / 4

# REINFORCE++: rewards minus 0.001 * (number of tokens left) / 2, then over all five tokens.
PP = np.array([1 - 0.001, 1 - 0.0005, -0.0005, 1 - 0.0005, 1 - 0.0005])
PP = (PP - PP.mean()) / PP.std()
PP_LOSS = -(min(1.5 * PP[0], 1.2 * PP[0]) + PP[1] + min(0.5 * PP[2], 0.8 * PP[2]) + PP[3] + 1.2 * PP[4]) / 5
# its variant: r - mean is .5 .5 -.5 0 0, mean .1, std sqrt((3 * .25) / 5 - .01) = sqrt(.14)
PB = (np.array([0.5, 0.5, -0.5, 0, 0]) - 0.1) / sqrt(0.14)
PB_LOSS = (
    -(1.2 * PB[0] + PB[1] + 0.8 * PB[2] + PB[3] + 2.0 * PB[4]) / 5
    + 0.001 * sum((-1.5 - x) ** 2 / 2 for x in NEW) / 5
)  # d: A < 0 and ratio 2: unclipped

# A critic that says 1/4 everywhere, lambda 1: A = r - 1/4 at every token: .75 .75 -.25 .75 .75.
PPO = np.array([0.75, 0.75, -0.25, 0.75, 0.75])
PPO_W = (PPO - PPO.mean()) / PPO.std()
# lambda .95: a's first token: delta 0 + .25 - .25 = 0, plus .95 * .75.
VC = np.array([0.95 * 0.75, 0.75, -0.25, 0.75, 0.75])
# VAPO: lambda = 1 - 1 / (.05 l) is below 0 for such lengths, so 0: one-step advantages.
VA = np.array([0.0, 0.75, -0.25, 0.75, 0.75])


def clipped(a, low=0.8, high=1.2):
    r = [1.5, 1.0, 0.5, 1.0, 2.0]
    return [-min(x * y, min(max(x, low), high) * y) for x, y in zip(r, a, strict=True)]


def sequence_mean(t):
    return ((t[0] + t[1]) / 2 + t[2] + t[3] + t[4]) / 4


# Process: rewards of question 0 are 0.5, 1 (a) and 0 (b): mean .5, std sqrt(1/6). a's first token gets both.
PS = sqrt(1 / 6)
PROCESS = -((min(1.5, 1.2) * 0.5 / PS + 0.5 / PS) / 2 - 0.8 * 0.5 / PS) / 4

# AGRO: r - .01 * sum log(old/reference): .99, -.005 | .995, .995; minus the question's mean .4925.
AGRO = -(0.4975 * (LA + LA2) - 0.4975 * LB) / 4

EXPECTED = {
    "reinforce": -((LA + LA2) + LC + LD) / 4,
    "reinforce_pp": PP_LOSS,
    "reinforce_pp_baseline": PB_LOSS,
    "rloo": -((LA + LA2) - LB) / 4,  # r - the other's reward: 1, -1, 0, 0
    "remax": -(0.5 * (LA + LA2) - 0.5 * LB) / 4,
    "ppo": sequence_mean(clipped(PPO_W)),
    "vc_ppo": sequence_mean(clipped(VC)),
    "vapo": sum(clipped(VA, high=1.28)) / 5 - 0.1 * (LA + LA2 + LC + LD) / 4,
    "grpo": GRPO + 0.001 * KL_MEAN,
    "grpo_no_kl": GRPO,
    "grpo_process": PROCESS + 0.04 * KL_MEAN,
    "grpo_iterative": GRPO + 0.04 * KL_MEAN,
    "dr_grpo": -(0.5 * (1.2 + 1.0) - 0.5 * 0.8) / (4 * 1024),
    "dapo": -((1.28 + 1) - 0.8) / 5,
    # the sequence's ratio is sqrt(1.5) for a: above 1.0004; b: 0.5 is below 1 - 0.0003
    "gspo": -(1.0004 - 0.9997) / 4,
    # weights min(r, 5): 1.5, 1, .5; no token loses its gradient
    "cispo": -(1.5 * LA + LA2 - 0.5 * LB) / 5,
    # r - mean = .5, .5, -.5; two of four samples carry no signal: times 2
    "gpg": -((LA + LA2) - LB) / 5,
    # half of each group is kept; |A| are equal, so the first of each: a and c
    "cppo": -1.1 / 2 + 0.04 * ((KL[0] + KL[1]) / 2 + KL[3]) / 2,
    # .5 logp of a, -.5 of b, and .005 * (log of the completion's ratio)^2
    "kimi": (-(0.5 * (LA + LA2) - 0.5 * LB) + 0.005 * (log(1.5) ** 2 + log(0.5) ** 2 + log(2) ** 2)) / 4,
    "grpo_plus": -((1.28 + 1) / 2 - 0.8) / 4,
    "magic": -((1.2 + 1) - 0.8) / 5,
    "srpo": -((1.28 + 1) - 0.8) / 5,
    "raft": -(LA + LA2 + LC + LD) / 4,  # b is left out
    "agro": AGRO,
}


def test_every_preset_is_worked_out():
    assert set(EXPECTED) == set(PRESETS)


@pytest.mark.parametrize("preset", sorted(EXPECTED))
def test_loss_by_hand(preset):
    assert run(preset) == pytest.approx(EXPECTED[preset], rel=1e-4, abs=1e-7)


def test_dual_clip_bounds_the_loss_of_bad_tokens():
    # d with A = -1 and ratio 2: loss 2, bounded at 1.5
    plain, bounded = (Algorithm.model_validate({"clip_dual": c}).loss() for c in (None, 1.5))
    new, zero = torch.tensor([log(2.0)]), torch.zeros(1)
    view = TokenView(torch.ones(1), -torch.ones(1), zero, None, torch.zeros(1, dtype=torch.int64))
    assert float(plain(new, zero, view)[0]) == pytest.approx(2.0)
    assert float(bounded(new, zero, view)[0]) == pytest.approx(1.5)


def test_unbiased_kl_from_old_samples_is_the_kl_and_its_gradient():
    """Over a table of three outcomes sampled by an old policy, exactly: sum of old * (p/old) * k3 = KL(p, ref)."""
    logits = torch.tensor([0.3, -0.2, 0.5], dtype=torch.float64, requires_grad=True)
    old, ref = (
        torch.tensor(x, dtype=torch.float64).log_softmax(0) for x in ([0.1, 0.4, -0.3], [0.5, 0.0, 0.2])
    )
    p = logits.log_softmax(0)
    exact = (p.exp() * (p - ref)).sum()
    (expected,) = torch.autograd.grad(exact, logits, retain_graph=True)
    zero = torch.zeros(3, dtype=torch.float64)
    view = TokenView(old.exp(), zero, old, ref, torch.arange(3))
    for kind in ("k1", "k3"):
        a = Algorithm.model_validate({"kl": kind, "kl_coef": 1.0, "kl_unbiased": True})
        loss, _ = a.loss()(p, zero, view)
        total = (loss * old.exp()).sum()
        (got,) = torch.autograd.grad(total, logits, retain_graph=True)
        assert total.item() == pytest.approx(exact.item())
        assert got.tolist() == pytest.approx(expected.tolist())


def test_gae_by_hand():
    # deltas: 0 + .5 * .4 - .2 = 0, 1 - .4 = .6; A_0 = 0 + .5 * .9 * .6
    got = gae(np.array([0.0, 1.0]), np.array([0.2, 0.4]), gamma=0.5, lam=0.9)
    assert got == pytest.approx([0.27, 0.6])


def test_value_clip_by_hand():
    # the value moved from 0 to 1, at most .2 is allowed; return 1: errors 0 and .64, the worse counts
    got = value_loss(torch.tensor([1.0]), torch.tensor([0.0]), torch.tensor([1.0]), 0.2)
    assert float(got) == pytest.approx(0.32)
    assert float(value_loss(torch.tensor([1.0]), torch.tensor([0.0]), torch.tensor([1.0]), None)) == 0


def test_importance_correction_by_hand():
    # policy/sampler 3 and 1/4 at two tokens of advantage 2
    mask = np.array([False, True, True])
    e = Example(np.arange(3), mask, 2.0 * mask, np.zeros(3), 1, 0, policy_logprobs=np.log([1.0, 3.0, 0.25]))

    def corrected(kind, level):
        return credit.correct_importance([e], kind, 2.0, level)[0].advantage[mask].tolist()

    assert corrected("truncated", "token") == pytest.approx([4.0, 0.5])
    assert corrected("masked", "token") == pytest.approx([0.0, 0.0])
    assert corrected("truncated", "sequence") == pytest.approx([1.5, 1.5])
    assert corrected("masked", "sequence") == pytest.approx([1.5, 1.5])


def test_entropy_bonus_grows_below_the_target_and_is_off_above():
    coef, now = adapted_entropy(0.0, entropy=0.1, target=0.2, step=0.005)
    assert (coef, now) == pytest.approx((0.005, 0.005))
    coef, now = adapted_entropy(coef, entropy=0.15, target=0.2, step=0.005)
    assert (coef, now) == pytest.approx((0.01, 0.01))
    assert adapted_entropy(coef, entropy=0.3, target=0.2, step=0.005) == pytest.approx((0.005, 0.0))


def test_process_rewards_alone_are_normalised_alone():
    # two completions of 4 tokens, steps at tokens 2 and 4 worth (1, 1) and (1, 0): mean 3/4, std sqrt(3)/4
    mask = np.arange(5) > 0
    plain = Example(np.arange(5), mask, np.zeros(5), np.zeros(5), 1, 0)
    rows = [replace(plain, steps=steps) for steps in (((2, 1.0), (4, 1.0)), ((2, 1.0), (4, 0.0)))]
    a, b = (e.advantage[mask] for e in credit.process_credit(rows, outcome=False))
    up, down = 1 / sqrt(3), -sqrt(3)
    assert a == pytest.approx([2 * up, 2 * up, up, up], rel=1e-4)
    assert b == pytest.approx([up + down, up + down, down, down], rel=1e-4)
    silent = credit.process_credit([plain, plain], outcome=False)
    assert all((e.advantage == 0).all() for e in silent)
