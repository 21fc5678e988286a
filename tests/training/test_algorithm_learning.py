"""Every preset learns, through the stage's own loop, in a world where expected rewards are exact."""

from __future__ import annotations

import numpy as np
import pytest
import test_algorithm_gradients  # noqa: F401  its tests show properties too
import torch
from test_algorithm_world import SHOWN, Bandit, first_token_table, shows

from aha.training.presets import PRESETS
from aha.training.sequences import to_examples

SETTINGS = {
    "vc_ppo": ({"value_pretrain_steps": 5}, {}),
    "vapo": ({"value_pretrain_steps": 5}, {"steps": 60, "lr": 0.005}),
    "grpo_plus": ({}, {"steps": 60, "lr": 0.005}),  # most completions are cut and so not trained on
}


@pytest.mark.parametrize("name", PRESETS)
def test_expected_reward_rises(name):
    algorithm, stage = SETTINGS.get(name, ({}, {}))
    world = Bandit({"preset": name} | algorithm, **stage)
    start, history = world.expected(), world.train()
    assert history[-1] > start + 0.3


def after(world):
    world.train()
    return world


@shows("grpo", "grpo_iterative")
def test_kl_holds_the_policy_and_a_moving_reference_lets_it_go_on():
    far = {}
    for name, settings in {
        "none": {"preset": "grpo", "kl_coef": 0.0},
        "grpo": {"preset": "grpo", "kl_coef": 2.0},
        "iterative": {"preset": "grpo_iterative", "kl_coef": 2.0, "reference_every": 5},
    }.items():
        world = Bandit(settings)
        start = world.chances()
        far[name] = after(world).divergence(start)
    assert far["grpo"] < 0.5 * far["none"]
    assert far["iterative"] > 1.5 * far["grpo"]


@shows("ppo")
def test_the_critic_learns_what_to_expect_of_each_prompt():
    table = first_token_table(3, 2) / 2 + np.array([[-1.0], [0.0], [2.0]])
    world = Bandit("ppo", table, steps=30)
    assert np.abs(values_of_prompts(world)).max() == 0
    world.train()
    expected = (world.chances() * table).sum(-1)
    assert values_of_prompts(world) == pytest.approx(expected, abs=0.35)


def values_of_prompts(world):
    groups = [world.group(p, [(1, 0)]) for p in range(3)]
    examples = world.annotate(to_examples(groups, [np.ones(1)] * 3))
    return np.array([e.values[e.prompt_length] for e in examples])


@shows("vc_ppo")
def test_value_pretraining_leaves_the_policy_alone():
    table = first_token_table(3, 2) / 4 + np.array([[-1.0], [0.5], [1.0]])
    world = Bandit({"preset": "vc_ppo", "value_pretrain_steps": 10}, table, steps=13)
    start = [m.clone() for m in world.policy.masters]
    begin = world.expected()
    history = world.train()
    assert history[:10] == [begin] * 10
    assert history[12] != begin
    assert any(not torch.equal(a, b) for a, b in zip(start, world.policy.masters, strict=True))
    errors = [t["critic/squared_error"] for t in world.totals]
    assert max(errors[7:10]) < 0.3 * errors[0]


def plain_descent(world):
    """Steps along the gradient itself: no momentum, no rescaling that would make up for what is clipped."""
    for optimizer in world.policy.optimizers:
        for group in optimizer.param_groups:
            group.update(betas=(0.0, 0.0), eps=1e3)


def rarest(world):
    """The rarest completion's number and chance, and the learning rate at which the first update from right
    ones at that rate raises its log chance by a fortieth."""
    (chance,) = world.chances()
    y = int(chance.argmin())
    slope = world.exact.gradient(world.policy, np.eye(5)[[y]]).norm().item() / chance[y]
    return y, chance[y], 1e3 * 0.025 / slope**2 / np.sqrt(chance[y] / (1 - chance[y]))


@shows("dapo")
def test_a_rare_right_completion_rises_faster_under_clip_higher():
    """Many updates of each rollout: the ratio reaches the bound, and a higher one lets it go farther."""
    histories = {}
    y, start, lr = rarest(Bandit("dapo", prompts=1, length=1))
    for high in (0.2, 0.28):
        settings = {"preset": "dapo", "clip_high": high, "dynamic_sampling_rounds": 1}
        sizes = {"prompts_per_step": 16, "group_size": 32, "mini_batches": 16, "steps": 3}
        world = Bandit(settings, np.eye(5)[[y]], prompts=1, length=1, lr=lr, max_grad_norm=100, **sizes)
        plain_descent(world)
        histories[high] = after(world).history
    assert histories[0.2][-1] > 1.2 * start
    assert histories[0.28][-1] > 1.1 * histories[0.2][-1]


@shows("kimi")
def test_the_mirror_term_keeps_the_policy_near_the_one_that_sampled():
    far = {}
    for coefficient in (0.0, 0.01, 2.0):
        sizes = {"prompts_per_step": 8, "mini_batches": 8, "steps": 1}
        world = Bandit({"preset": "kimi", "mirror_coef": coefficient}, prompts=1, **sizes)
        start = world.chances()
        far[coefficient] = after(world).divergence(start)
    assert far[2.0] < 0.5 * far[0.01] <= 0.55 * far[0.0]


@shows("kimi", "srpo", "magic")
@pytest.mark.parametrize(("name", "share"), [("kimi", 0.0), ("srpo", 0.0), ("magic", 0.0), ("srpo", 0.3)])
def test_what_is_mastered_is_asked_less(name, share):
    """Of three problems one is always right; it leaves the epochs that follow, or comes back as allowed."""
    table = first_token_table(3, 2)
    table[0] = 1
    settings = {"prompts_per_step": 1, "group_size": 4, "steps": 40, "lr": 1e-6}
    world = after(Bandit({"preset": name, "easy_share": share}, table, **settings))
    visits = [world.collector.curriculum.tally.get(p, (0, 0))[1] / 4 for p in range(3)]
    assert sum(visits) == 40
    if share:
        assert 5 <= visits[0] <= 20
    else:
        assert visits[0] <= 4
        assert min(visits[1:]) >= 12


@shows("magic")
def test_the_adaptive_bonus_holds_entropy_up():
    """Over the second half of the run, at about the same reward."""
    table = first_token_table(3, 2) + 0.1 * np.random.default_rng(0).normal(size=(3, 21))
    entropy, reward = {}, {}
    for target in (None, 0.7):
        settings = {
            "preset": "magic",
            "entropy_target": target,
            "entropy_coef_step": 0.05,
            "curriculum": "shuffle",
        }
        world = after(Bandit(settings, table, steps=40, lr=0.01))
        entropy[target], reward[target] = np.mean(world.entropies[20:]), np.mean(world.history[20:])
    assert entropy[0.7] > 1.5 * entropy[None]
    assert reward[0.7] > reward[None] - 0.15


@shows("agro")
def test_old_samples_lead_to_the_regularised_optimum():
    """Every completion once, whoever wrote it: AGRO finds reference * exp(r / coef) / Z, REINFORCE does not."""
    table = np.array([[0.0, 0.5, 1.0, 0.2, 0.8], [1.0, 0.1, 0.4, 0.0, 0.6]])
    off = {}
    for name, settings in (("agro", {"kl_coef": 0.5}), ("reinforce", {})):
        world = Bandit({"preset": name} | settings, table, prompts=2, length=1, lr=0.01)
        reference = world.chances()
        optimum = reference * np.exp(table / 0.5)
        optimum /= optimum.sum(-1, keepdims=True)
        groups = [world.group(p, world.exact.completions) for p in range(2)]
        start = np.abs(world.chances() - optimum).sum(-1).max() / 2
        for step in range(120):
            world.update(groups, step=step)
        off[name] = np.abs(world.chances() - optimum).sum(-1).max() / 2
    assert start > 0.15
    assert off["agro"] < 0.05
    assert off["reinforce"] > 0.1


def test_every_preset_is_shown_to_be_itself():
    assert set(SHOWN) == set(PRESETS)
