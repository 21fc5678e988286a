"""What sets the algorithms apart, read off the gradient of one update through the stage's own code."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from test_algorithm_world import Bandit, all_completions, first_token_table, shows

RIGHT, WRONG = (1, 0), (2, 0)  # for the first prompt


def gradient(algorithm, groups, table=None, **settings):
    """The gradient of an update from ``groups``: pairs of a prompt and completions."""
    world = Bandit(algorithm, table, **settings)
    return world.gradient([world.group(p, completions) for p, completions in groups])


def cosine(a, b):
    return float(a @ b / a.norm() / b.norm())


MIXED = [(0, [RIGHT, WRONG, (3, 1), (1, 4)]), (1, [(2, 2), (4, 0), (0,), (3, 3)])]


@shows("reinforce", "rloo", "remax", "grpo_no_kl", "dr_grpo", "gpg", "kimi")
@pytest.mark.parametrize("name", ["rloo", "remax", "grpo", "grpo_no_kl", "dr_grpo", "gpg", "kimi"])
def test_a_constant_added_to_all_rewards_changes_nothing_but_reinforce(name):
    table = first_token_table(3, 2)
    plain, moved = gradient(name, MIXED, table), gradient(name, MIXED, table + 3)
    assert plain.norm() > 1e-4
    assert (moved - plain).norm() < 1e-3 * plain.norm()
    plain, moved = gradient("reinforce", MIXED, table), gradient("reinforce", MIXED, table + 3)
    assert (moved - plain).norm() > plain.norm()


VALUES = np.array([[0.3, 1.2, -0.5, 0.8, 2.0]])  # of the five completions of one token


@shows("reinforce", "rloo", "remax", "dr_grpo", "kimi")
@pytest.mark.parametrize(
    ("algorithm", "share"),
    [
        ("reinforce", 1.0),
        ("rloo", 1.0),
        ("remax", 1.0),
        ("kimi", 0.5),
        ({"preset": "dr_grpo", "constant_length": 1}, 0.5),
    ],
)
def test_expected_gradient(algorithm, share):
    """Over all draws of two completions: the exact policy gradient, or (G - 1) / G of it where a completion
    is part of its own baseline."""
    world = Bandit(algorithm, VALUES, prompts=1, length=1)
    chance = world.chances()[0]
    total = torch.zeros_like(world.policy.gradient)
    for a, b in itertools.product(range(5), repeat=2):
        total += chance[a] * chance[b] * world.gradient([world.group(0, [(a,), (b,)])])
    exact = -world.exact.gradient(world.policy, VALUES)
    assert exact.norm() > 0.05
    assert (total - share * exact).norm() < 1e-3 * exact.norm()


@shows("remax")
def test_the_greedy_baseline_takes_variance_away_where_rewards_have_an_offset():
    spread = {}
    for name in ("reinforce", "remax"):
        world = Bandit(name, VALUES + 5, prompts=1, length=1)
        gradients = torch.stack([world.gradient([world.group(0, [(a,)])]) for a in range(5)])
        chance = torch.tensor(world.chances()[0], dtype=torch.float32)
        spread[name] = float((chance @ gradients.square()).sum() - (chance @ gradients).square().sum())
    assert spread["remax"] < 0.2 * spread["reinforce"]


@shows("reinforce_pp", "reinforce_pp_baseline", "grpo_no_kl")
def test_only_the_global_baseline_compares_groups():
    """A group all right beside a group all wrong."""
    groups = [(0, [RIGHT, (1, 3)]), (1, [RIGHT, (3, 3)])]
    world = Bandit("reinforce_pp")
    assert world.gradient([world.group(p, c) for p, c in groups]).norm() > 0.1
    signs = sorted((c, np.sign(slopes).tolist()) for c, slopes in world.slopes)
    up, down = [-1.0, -1.0], [1.0, 1.0]
    assert signs == [(RIGHT, up), (RIGHT, down), ((1, 3), up), ((3, 3), down)]
    for name in ("reinforce_pp_baseline", "grpo_no_kl", "grpo"):
        assert gradient(name, groups).norm() < 1e-5


def with_ratio(amounts):
    """Examples as if an older policy had sampled them: log(policy / old) of each token as given."""

    def change(examples):
        rows = []
        for e, amount in zip(examples, amounts, strict=True):
            old = e.sampler_logprobs.copy()
            old[e.mask] -= amount
            rows.append(replace(e, sampler_logprobs=old.astype(np.float32)))
        return rows

    return change


@shows("gspo")
def test_all_tokens_of_a_completion_share_one_ratio():
    completions = [(1, 2, 0), (2, 1, 3), (3, 0), (1, 4, 4)]
    amounts = [np.array(x) for x in ([0.3, -0.2, 0.1], [0.0, 0.2, -0.3], [0.1, 0.3], [-0.2, 0.2, 0.2])]
    advantages = [1, -1, -1, 1]
    wide = {"clip_low": 0.9, "clip_high": 0.9}
    for name, shared in (("gspo", True), ("grpo_no_kl", False)):
        world = Bandit({"preset": name} | wide, length=3)
        world.gradient([world.group(0, completions)], change=with_ratio(amounts))
        slopes = dict(world.slopes)
        for c, amount, a in zip(completions, amounts, advantages, strict=True):
            ratio = np.full(len(c), np.exp(amount.mean())) if shared else np.exp(amount)
            assert slopes[c] == pytest.approx(-a * ratio / len(c) / 4, rel=1e-4)


@shows("cispo", "grpo_no_kl")
def test_a_token_beyond_the_clip_keeps_its_gradient():
    """log ratio 1 (2.7 times) and 3 (20 times, above the bound of 5) on the right completion."""
    amounts = [np.array([1.0, 3.0]), np.zeros(2)]
    for name, factors in (("cispo", [np.e, 5.0]), ("grpo_no_kl", [0.0, 0.0])):
        world = Bandit(name)
        world.gradient([world.group(0, [RIGHT, WRONG])], change=with_ratio(amounts))
        slopes = dict(world.slopes)
        assert slopes[RIGHT] == pytest.approx(-np.array(factors) / 4, rel=1e-4)
        assert slopes[WRONG] == pytest.approx(np.full(2, 1 / 4), rel=1e-4)


@shows("dr_grpo")
def test_gradient_of_a_token_and_the_length_of_its_completion():
    """Two wrong completions: with 1/|o| the longer one is punished less for each token."""
    for name, relation in (("dr_grpo", 1.0), ("grpo_no_kl", 2 / 3)):
        world = Bandit(name, length=3)
        world.gradient([world.group(0, [RIGHT, (1, 3, 0), (2, 0), (2, 3, 3)])])
        slopes = dict(world.slopes)
        assert slopes[2, 0].min() > 0
        assert slopes[2, 3, 3] == pytest.approx(np.full(3, relation * slopes[2, 0][0]), rel=1e-4)


@shows("dapo", "srpo")
@pytest.mark.parametrize("name", ["dapo", "srpo", "magic", "cispo", "gpg", "raft"])
def test_every_token_counts_the_same_under_the_token_mean(name):
    world = Bandit(name, length=3)
    world.gradient([world.group(0, [(1, 0), (1, 3, 0), (2, 0), (2, 3, 0)])])
    sizes = np.abs(np.concatenate([slopes for _, slopes in world.slopes]))
    assert len(sizes) == (5 if name == "raft" else 10)
    assert sizes == pytest.approx(np.full(len(sizes), sizes[0]), rel=1e-4)


@shows("gpg")
def test_groups_without_signal_do_not_dilute_the_gradient():
    signal, silent = (0, [RIGHT, WRONG]), (1, [(3, 0), (4, 0)])
    for name, left in (("gpg", 1.0), ("grpo_no_kl", 0.5), ("dr_grpo", 0.5)):
        alone, beside = gradient(name, [signal]), gradient(name, [signal, silent])
        assert alone.norm() > 1e-4
        assert (beside - left * alone).norm() < 1e-4 * alone.norm()


@shows("dapo", "magic")
@pytest.mark.parametrize("name", ["dapo", "magic"])
def test_groups_without_signal_are_left_out(name):
    alone = gradient(name, [(0, [RIGHT, WRONG])])
    beside = gradient(name, [(0, [RIGHT, WRONG]), (1, [(3, 0), (4, 0)])])
    assert alone.norm() > 1e-3
    assert (beside - alone).norm() < 1e-5 * alone.norm()


@shows("cppo")
def test_half_of_the_completions_point_where_all_do():
    """Rewards of every size: those near the mean had little to say."""
    table = np.random.default_rng(0).normal(size=(3, 21))
    completions = all_completions(2)[:16]
    gradients = {}
    for rate in (0.0, 0.5):
        world = Bandit({"preset": "cppo", "prune_rate": rate}, table)
        gradients[rate] = world.gradient([world.group(0, completions)])
        assert len(world.slopes) == 16 * (1 - rate)
    rewards = table[0, :16]
    nearest = np.argsort(np.abs(rewards - rewards.mean()))[:8]
    assert {c for c, _ in world.slopes}.isdisjoint({completions[i] for i in nearest})
    assert 0.8 < cosine(gradients[0.0], gradients[0.5]) < 0.9999


@shows("grpo_plus")
def test_truncated_completions_are_not_trained_on():
    """(1, 2) and (2, 3) were cut; what they say leaves no trace but their reward in the baseline."""
    world = Bandit("grpo_plus")
    first = world.gradient([world.group(0, [RIGHT, (1, 2), WRONG, (2, 3)])])
    assert {c for c, _ in world.slopes} == {RIGHT, WRONG}
    assert first.norm() > 0.01
    again = world.gradient([world.group(0, [RIGHT, (1, 4), WRONG, (4, 4)])])
    assert (again - first).norm() < 1e-5 * first.norm()
    srpo = Bandit("srpo")
    srpo.gradient([srpo.group(0, [RIGHT, (1, 2), WRONG, (2, 3)])])
    assert len(srpo.slopes) == 4


@shows("raft")
def test_imitation_of_the_best_pushes_nothing_down():
    world = Bandit("raft")
    whole = world.gradient([world.group(0, [RIGHT, (1, 2), WRONG, (3, 3)]), world.group(1, [(3, 0), (4, 1)])])
    assert whole.norm() > 0.01
    for completion, slopes in world.slopes:
        pushed_up = completion[0] == 1
        assert (slopes < 0).all() if pushed_up else (slopes == 0).all()
    assert gradient("raft", [(1, [(3, 0), (4, 1)])]).norm() == 0, "no positive, nothing to learn"


@shows("grpo_process")
def test_credit_changes_at_a_rewarded_step():
    """The first token earns 1 in one completion and -1 in the other; what follows earned nothing."""
    steps = {(1, 2, 0): [(1, 1.0)], (2, 2, 3): [(1, -1.0)], (3, 2, 0): [(2, 1.0)], (4, 2, 0): [(2, -1.0)]}
    world = Bandit("grpo_process", np.zeros((3, 85)), length=3, step_rewards=steps)
    world.gradient([world.group(0, list(steps))])
    signs = {c: np.sign(np.round(-slopes, 6)).tolist() for c, slopes in world.slopes}
    assert signs[1, 2, 0] == [1, 0, 0]
    assert signs[2, 2, 3] == [-1, 0, 0]
    assert signs[3, 2, 0] == [1, 1, 0]
    assert signs[4, 2, 0] == [-1, -1, 0]


@shows("vapo")
def test_right_completions_are_imitated_where_the_critic_expected_them():
    """All right, and the critic knew: the surrogate says nothing, imitation still pulls them up."""
    gradients = {}
    for coefficient in (0.0, 0.1):
        settings = {"preset": "vapo", "value_pretrain_steps": 0, "nll_coef": coefficient}
        world = Bandit(settings, np.ones((3, 21)))
        world.critic.values = lambda batch: np.ones(len(batch.token_ids), np.float32)
        gradients[coefficient] = world.gradient([world.group(0, [RIGHT, (1, 2), (3, 3)])])
    assert gradients[0.0].norm() < 1e-6
    assert gradients[0.1].norm() > 1e-3
    for _, slopes in world.slopes:
        assert slopes == pytest.approx(np.full(2, -0.1 / 6), rel=1e-4)
