"""The parts that algorithms share or offer, each against a plain loop: credit, clips, KL, corrections."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from test_algorithm_loops import (
    SEEDS,
    SPREAD,
    clipped,
    credited,
    finite_differences,
    flat,
    gae_by_sums,
    graded,
    grpo_with,
    k3,
    mean,
    program,
    random_groups,
    ratio,
    standardised,
)

from aha.training import credit
from aha.training.algorithm import Algorithm
from aha.training.losses import value_loss
from aha.training.presets import PRESETS
from aha.types import Example


def completions(n=5, seed=0, **columns):
    """Examples of ``n`` tokens of prompt and completion, two to a group; ``columns`` make arrays [C]."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(n):
        size = int(rng.integers(2, 6))
        mask = np.arange(size + 2) >= 2
        spread = {name: np.concatenate([np.zeros(2), make(rng, size)]) for name, make in columns.items()}
        rows.append(Example(np.full(size + 2, i), mask, np.where(mask, rng.normal(), 0.0), group=i // 2))
        rows[-1] = replace(rows[-1], **spread)
    return rows


def logprobs(rng, size):
    return np.log(rng.uniform(0.1, 0.9, size))


@pytest.mark.parametrize("lam", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("gamma", [0.9, 1.0])
def test_gae_is_its_double_sum(lam, gamma):
    for c in (c for g in random_groups() for c in graded(g)):
        rewards = np.zeros(c.size)
        rewards[-1] = c.reward
        expected = gae_by_sums(c, lam, gamma)
        assert credit.gae(rewards, c.values, gamma, lam) == pytest.approx(expected)


def test_gae_of_lambda_one_and_zero_by_meaning():
    rewards, values = np.array([0.0, 0.0, 2.0]), np.array([0.5, -1.0, 1.5])
    assert credit.gae(rewards, values, 1.0, 1.0) == pytest.approx(2.0 - values)
    assert credit.gae(rewards, values, 1.0, 0.0) == pytest.approx([-1.5, 2.5, 0.5])


@pytest.mark.parametrize("name", ["ppo", "vc_ppo", "vapo"])
def test_the_critic_learns_the_whole_return(name):
    """lambda 1: every token's return is the reward of the completion."""
    rows, sources = credited(random_groups(), Algorithm.model_validate(name))
    assert len(rows) == 15
    for e, c in zip(rows, sources, strict=True):
        assert e.returns[e.mask] == pytest.approx(np.full(c.size, c.reward))


def test_returns_of_a_critic_with_its_own_lambda():
    algorithm = Algorithm.model_validate({"preset": "vc_ppo", "lam_critic": 0.8, "gamma": 0.9})
    rows, sources = credited(random_groups(), algorithm)
    for e, c in zip(rows, sources, strict=True):
        assert e.returns[e.mask] == pytest.approx(np.array(gae_by_sums(c, 0.8, 0.9)) + c.values)
        assert e.advantage[e.mask] == pytest.approx(gae_by_sums(c, 0.95, 0.9))


def test_lambda_by_length_grows_with_length():
    """VAPO: the longer the completion, the farther the outcome is heard; up to 1 / alpha tokens only TD(0)."""
    heard = []
    for size in (10, 20, 25, 50, 400):
        mask = np.arange(size + 1) >= 1
        e = Example(np.zeros(size + 1), mask, mask.astype(float), values=np.zeros(size + 1))
        (done,) = credit.gae_credit([e], gamma=1.0, lam=None, lam_critic=1.0, lam_length=0.05)
        lam = 1 - 1 / (0.05 * size)
        assert done.advantage[-1] == 1
        assert done.advantage[-2] == pytest.approx(max(0.0, lam))
        heard.append(done.advantage[-2])
    assert heard == sorted(heard)
    assert heard[:2] == [0, 0]
    assert heard[-1] > 0.9


def test_ppo_with_kl_in_the_reward():
    settings = {"preset": "vc_ppo", "lam": 0.9, "kl": "k1", "kl_coef": 0.3, "kl_place": "reward"}
    rows, sources = credited(random_groups(), Algorithm.model_validate(settings))
    for e, c in zip(rows, sources, strict=True):
        expected = []
        for t in range(c.size):
            total = 0.0
            for j in range(t, c.size):
                reward = (c.reward if j == c.size - 1 else 0.0) - 0.3 * (c.old[j] - c.reference[j])
                following = c.values[j + 1] if j + 1 < c.size else 0.0
                total += 0.9 ** (j - t) * (reward + following - c.values[j])
            expected.append(total)
        assert e.advantage[e.mask] == pytest.approx(expected)


def test_whitened_advantages_keep_their_order_over_the_whole_rollout():
    rows = completions(8)
    before = [a for e in rows for a in e.advantage[e.mask]]
    after = [a for e in credit.whiten(rows) for a in e.advantage[e.mask]]
    centre = sum(before) / len(before)
    scale = math.sqrt(sum((a - centre) ** 2 for a in before) / len(before))
    assert after == pytest.approx([(a - centre) / scale for a in before], rel=1e-5)
    assert mean(after) == pytest.approx(0, abs=1e-9)
    assert all(e.advantage[~e.mask].tolist() == [0, 0] for e in credit.whiten(rows))


def test_whitening_equal_advantages_gives_zero():
    equal = [replace(e, advantage=np.where(e.mask, 0.1, 0.0)) for e in completions(4)]
    assert all((e.advantage == 0).all() for e in credit.whiten(equal))


@pytest.mark.parametrize(("rate", "kept"), [(0.0, 8), (0.5, 4), (0.75, 2), (0.99, 1)])
def test_pruning_keeps_the_largest_of_each_group(rate, kept):
    rng = np.random.default_rng(0)
    rows = []
    for i in range(16):
        mask = np.array([False, True, True])
        rows.append(Example(np.full(3, i), mask, np.where(mask, rng.normal(), 0.0), group=i % 2))
    left = credit.prune(rows, rate)
    for group in (0, 1):
        sizes = sorted((abs(e.advantage[-1]) for e in rows if e.group == group), reverse=True)
        got = [abs(e.advantage[-1]) for e in left if e.group == group]
        assert sorted(got, reverse=True) == sizes[:kept]
    numbers = [int(e.token_ids[0]) for e in left]
    assert numbers == sorted(numbers), "in the order they came"


def test_dual_clip_bounds_the_loss_of_a_bad_token():
    """max(min(r A, clip(r) A), c A) where A < 0; and its gradient."""
    groups = random_groups(spread=1.0)
    algorithm = Algorithm.model_validate({"preset": "grpo_no_kl", "clip_dual": 1.5})

    def loop(groups):
        terms, bounded = [], 0
        for group in (graded(g) for g in groups if len(graded(g)) > 1):
            for c, a in zip(group, standardised(group), strict=True):
                total = 0.0
                for t in range(c.size):
                    gain = clipped(ratio(c, t), a)
                    bounded += a < 0 and 1.5 * a > gain
                    total += max(gain, 1.5 * a) if a < 0 else gain
                terms.append(-total / c.size)
        assert bounded > 3
        return mean(terms)

    total, gradient, _ = program(groups, algorithm)
    assert total == pytest.approx(loop(groups), rel=2e-5)
    expected = flat(finite_differences(groups, loop))
    assert flat(gradient) == pytest.approx(expected, abs=2e-5 * np.abs(expected).max())


def test_unbiased_kl_is_weighed_by_the_ratio():
    groups = random_groups()
    settings = {"preset": "grpo", "kl_coef": 0.5, "kl_unbiased": True}

    def loop(groups):
        total, n = grpo_with(groups, 0.0), sum(len(graded(g)) for g in groups if len(graded(g)) > 1)
        for c in (c for g in groups if len(graded(g)) > 1 for c in graded(g)):
            total += 0.5 * mean(ratio(c, t) * k3(c, t) for t in range(c.size)) / n
        return total

    total, gradient, _ = program(groups, Algorithm.model_validate(settings))
    assert total == pytest.approx(loop(groups), rel=2e-5)
    expected = flat(finite_differences(groups, loop))
    assert flat(gradient) == pytest.approx(expected, abs=2e-5 * np.abs(expected).max())


def test_unbiased_kl_has_the_gradient_of_the_exact_kl_off_policy():
    """Expectation over the old policy of r * k3: value and gradient are those of KL(policy || reference)."""
    torch.manual_seed(0)
    scores, old, reference = (torch.randn(5, dtype=torch.float64) for _ in range(3))
    old, reference = old.log_softmax(0), reference.log_softmax(0)
    algorithm = Algorithm.model_validate({"preset": "grpo", "kl_coef": 1.0})
    view = _view(old, reference, weights=old.exp())
    gradients = {}
    for unbiased in (True, False):
        z = scores.clone().requires_grad_()
        loss = algorithm.model_copy(update={"kl_unbiased": unbiased}).loss()
        losses, _ = loss(z.log_softmax(0), torch.zeros(5), view)
        (gradients[unbiased],) = torch.autograd.grad((losses * view.weights).sum(), z)
    z = scores.clone().requires_grad_()
    policy = z.log_softmax(0)
    (exact,) = torch.autograd.grad((policy.exp() * (policy - reference)).sum(), z)
    assert torch.allclose(gradients[True], exact)
    assert (gradients[False] - exact).abs().max() > 0.05


def _view(old, reference, weights):
    from aha.training.policy import TokenView

    sequence = torch.arange(len(old))
    return TokenView(weights, torch.zeros_like(old), old, reference, sequence)


@pytest.mark.parametrize("level", ["token", "sequence"])
@pytest.mark.parametrize("kind", ["truncated", "masked"])
def test_importance_correction(kind, level):
    rows = completions(12, sampler_logprobs=logprobs, policy_logprobs=logprobs)
    done = credit.correct_importance(rows, kind, 2.0, level)
    cut = 0
    for before, after in zip(rows, done, strict=True):
        moved = [before.policy_logprobs[t] - before.sampler_logprobs[t] for t in range(2, len(before.mask))]
        for t, m in enumerate(moved):
            u = math.exp(sum(moved) if level == "sequence" else m)
            if kind == "truncated":
                factor = min(u, 2.0)
            else:
                factor = u if 0.5 <= u <= 2.0 else 0.0
            cut += factor != u
            assert after.advantage[t + 2] == pytest.approx(factor * before.advantage[t + 2])
    assert cut > 3, "the bound is reached"


def test_importance_correction_makes_the_gradient_the_policys():
    """Expectation over the sampler of u * A * grad log p is the policy's; without u it is not."""
    torch.manual_seed(1)
    scores, sampler = torch.randn(4, dtype=torch.float64), torch.randn(4, dtype=torch.float64).log_softmax(0)
    rewards = torch.tensor([1.0, 0.0, -1.0, 2.0], dtype=torch.float64)
    policy = scores.log_softmax(0)
    examples = [
        Example(
            np.array([9, i]),
            np.array([False, True]),
            np.array([0, rewards[i].item()]),
            np.array([0, sampler[i].item()]),
            policy_logprobs=np.array([0, policy[i].item()]),
        )
        for i in range(4)
    ]
    exact = torch.autograd.functional.jacobian(lambda z: (z.softmax(0) * rewards).sum(), scores)
    chance, score = sampler.exp(), torch.eye(4, dtype=torch.float64) - policy.exp()
    for kind, close in (("truncated", True), ("none", False)):
        done = credit.correct_importance(examples, kind, 1e9, "token")
        a = torch.tensor([e.advantage[1] for e in done])
        assert torch.allclose((chance * a) @ score, exact) is close


@pytest.mark.parametrize("clip", [None, 0.3])
def test_value_loss_against_a_loop(clip):
    rng = np.random.default_rng(0)
    values, old, returns = (rng.normal(size=40) for _ in range(3))
    expected, clipped_tokens = [], 0
    for v, o, r in zip(values, old, returns, strict=True):
        worst = (v - r) ** 2
        if clip is not None:
            near = max(o - clip, min(o + clip, v))
            clipped_tokens += int((near - r) ** 2 > worst)
            worst = max(worst, (near - r) ** 2)
        expected.append(worst / 2)
    tensors = [torch.tensor(x) for x in (values, old, returns)]
    assert value_loss(*tensors, clip).tolist() == pytest.approx(expected)
    assert (clipped_tokens > 5) is (clip is not None)


def test_a_value_beyond_its_clip_has_no_gradient_towards_the_return():
    values = torch.tensor([1.0, 1.0, -1.0], requires_grad=True)
    loss = value_loss(values, torch.zeros(3), torch.tensor([2.0, 0.5, 2.0]), 0.2)
    loss.sum().backward()
    # moved 1.0 towards 2.0: stopped at 0.2; past 0.5: pulled back; away from 2.0: pulled back
    assert values.grad.tolist() == pytest.approx([0.0, 0.5, -3.0])


def test_imitation_is_the_mean_over_right_tokens_under_any_weighting():
    for aggregation in ("token_mean", "sequence_mean", "sequence_sum", "constant_length"):
        algorithm = Algorithm.model_validate({"preset": "vapo", "aggregation": aggregation})
        groups = random_groups()
        with_it, _, _ = program(groups, algorithm)
        without, _, _ = program(groups, algorithm.model_copy(update={"nll_coef": 0.0}))
        right = [c for g in groups for c in graded(g) if c.right]
        expected = mean(-c.new[t] for c in right for t in range(c.size))
        assert with_it - without == pytest.approx(0.1 * expected, rel=1e-6)


ELSEWHERE = {
    "curriculum",
    "dynamic_sampling",
    "reference_every",
    "replay_ratio",
    "value_clip",
    "value_pretrain_steps",
    "lam_critic",
    "entropy_target",
    "entropy_coef_step",
}
"""Settings that act on which completions come, on the critic, or from step to step."""


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        (name, key)
        for name, settings in PRESETS.items()
        for key, value in settings.items()
        if key not in ELSEWHERE and value != Algorithm.model_fields[key].default
    ],
)
def test_the_loops_would_notice_a_missing_setting(name, setting):
    """Without any one setting of a preset the gradient is another, on the very data of the loops."""
    default, changes = Algorithm.model_fields[setting].default, []
    for seed in SEEDS:
        groups = random_groups(SPREAD.get(name, 0.25), seed)
        whole = flat(program(groups, Algorithm.model_validate({"preset": name}))[1])
        without = flat(program(groups, Algorithm.model_validate({"preset": name, setting: default}))[1])
        changes.append(np.abs(whole - without).max() / np.abs(whole).max())
    assert max(changes) > 1e-4
