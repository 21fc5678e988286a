"""Losses and advantages against numbers worked by hand, plain loops, and finite differences."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from aha.training.advantages import group_mean, group_std
from aha.training.algorithm import Algorithm
from aha.training.losses import clipped_loss, kl_estimate, log_ratio
from aha.training.policy import TokenView
from aha.types import AhaError


def view(old, advantages, weights=None, reference=None, sequence=None):
    n = len(old)
    as_tensor = lambda values: torch.tensor(values, dtype=torch.float64)  # noqa: E731
    return TokenView(
        weights=as_tensor(weights or [1.0] * n),
        advantages=as_tensor(advantages),
        old_logprobs=as_tensor(old),
        reference_logprobs=None if reference is None else as_tensor(reference),
        sequence=torch.tensor(sequence or [0] * n),
    )


def per_token(loss, logprobs, v):
    logprobs = torch.tensor(logprobs, dtype=torch.float64, requires_grad=True)
    token_loss, stats = loss(logprobs, torch.zeros_like(logprobs), v)
    token_loss.sum().backward()
    return token_loss.detach().numpy(), logprobs.grad.numpy(), stats


def test_group_advantages_by_hand():
    # rewards 1 0 0 1: mean .5, population std .5
    assert group_std(np.array([1.0, 0, 0, 1])) == pytest.approx([1, -1, -1, 1], abs=1e-5)
    # rewards 3 1 2: mean 2, std sqrt(2/3)
    assert group_std(np.array([3.0, 1, 2])) == pytest.approx([1.224745, -1.224745, 0], abs=1e-5)
    assert group_mean(np.array([1.0, 0, 0, 0])) == pytest.approx([0.75, -0.25, -0.25, -0.25])


@pytest.mark.parametrize("estimate", [group_std, group_mean])
def test_equal_rewards_give_exactly_zero(estimate):
    for value in (0.0, 0.1, 1 / 3, 1e9):
        assert (estimate(np.full(7, value)) == 0).all()


@pytest.mark.parametrize("estimate", [group_std, group_mean])
def test_ungradable_members_leave_the_baseline(estimate):
    got = estimate(np.array([1.0, np.nan, 0.0, np.nan]))
    assert np.isnan(got[[1, 3]]).all()
    assert got[[0, 2]] == pytest.approx(estimate(np.array([1.0, 0.0])))
    assert np.isnan(estimate(np.array([1.0, np.nan]))).all(), "one graded member is no group"


def test_clip_by_hand():
    # ratios 1.5, 0.5, 1.5, 0.5 with advantages +, +, -, -; eps 0.2
    logs = [math.log(1.5), math.log(0.5)] * 2
    v = view([0.0] * 4, [1.0, 1.0, -1.0, -1.0])
    loss, grad, stats = per_token(clipped_loss(), logs, v)
    assert loss == pytest.approx([-1.2, -0.5, 1.5, 0.8])
    # the gradient dies where the clip is active: ratio too high with A > 0, too low with A < 0
    assert grad == pytest.approx([0.0, -0.5, 1.5, 0.0])
    assert stats["clip_ratio/high_mean"].tolist() == [1, 0, 0, 0]
    assert stats["clip_ratio/low_mean"].tolist() == [0, 0, 0, 1]


def test_clip_higher_moves_only_the_upper_bound():
    logs = [math.log(1.25), math.log(0.75)]
    loss, grad, _ = per_token(clipped_loss(clip_high=0.28), logs, view([0.0, 0.0], [1.0, -1.0]))
    assert loss == pytest.approx([-1.25, 0.8])
    assert grad == pytest.approx([-1.25, 0.0])


def test_epsilon_ten_clips_only_ratios_above_eleven():
    logs = [math.log(10.9), math.log(11.1), math.log(1e-6)]
    _, grad, stats = per_token(
        clipped_loss(clip_low=10, clip_high=10), logs, view([0.0] * 3, [1.0, 1.0, -1.0])
    )
    assert grad[0] == pytest.approx(-10.9)
    assert grad[1] == 0
    assert grad[2] == pytest.approx(1e-6)
    assert stats["clip_ratio/region_mean"].tolist() == [0, 1, 0]


def test_kl_estimators_by_hand():
    policy, reference = torch.tensor([-1.0, -2.0]), torch.tensor([-1.5, -1.0])
    log_u = np.array([-0.5, 1.0])
    assert kl_estimate(policy, reference, "k1").tolist() == pytest.approx([0.5, -1.0])
    assert kl_estimate(policy, reference, "k2").tolist() == pytest.approx([0.125, 0.5])
    assert kl_estimate(policy, reference, "k3").tolist() == pytest.approx(list(np.exp(log_u) - log_u - 1))


def test_k3_is_zero_and_flat_at_the_reference_and_never_negative():
    logprobs = torch.linspace(-5, -0.01, 50, dtype=torch.float64, requires_grad=True)
    same = kl_estimate(logprobs, logprobs.detach(), "k3")
    (gradient,) = torch.autograd.grad(same.sum(), logprobs)
    assert same.abs().max() < 1e-12
    assert gradient.abs().max() < 1e-12
    assert (kl_estimate(logprobs, torch.full((50,), -2.0), "k3") >= 0).all()


def test_kl_is_the_expectation_of_each_estimator():
    torch.manual_seed(0)
    p, q = (
        torch.randn(5, dtype=torch.float64).log_softmax(0),
        torch.randn(5, dtype=torch.float64).log_softmax(0),
    )
    exact = (p.exp() * (p - q)).sum()
    for kind in ("k1", "k3"):
        assert (p.exp() * kl_estimate(p, q, kind)).sum() == pytest.approx(exact.item())


def test_sequence_ratios_by_hand():
    v = view([0.0] * 5, [1.0] * 5, sequence=[0, 0, 1, 1, 1])
    logs = torch.tensor([0.2, 0.4, 0.3, 0.0, -0.6], dtype=torch.float64)
    assert log_ratio(logs, v, "sequence").tolist() == pytest.approx([0.3, 0.3, -0.1, -0.1, -0.1])
    assert log_ratio(logs, v, "sequence_product").tolist() == pytest.approx([0.6, 0.6, -0.3, -0.3, -0.3])


@pytest.mark.parametrize("preset", ["grpo", "dapo", "gspo", "dr_grpo"])
def test_gradient_by_finite_differences(preset):
    rng = np.random.default_rng(0)
    n, step = 12, 1e-6
    logs, old, ref = (np.log(rng.uniform(0.2, 0.9, n)) for _ in range(3))
    v = view(old, rng.normal(size=n).tolist(), reference=ref, sequence=[0] * 5 + [1] * 7)
    loss = Algorithm.model_validate(preset).loss()
    _, grad, _ = per_token(loss, logs, v)
    for i in range(n):
        up, down = logs.copy(), logs.copy()
        up[i] += step
        down[i] -= step
        numeric = (per_token(loss, up, v)[0].sum() - per_token(loss, down, v)[0].sum()) / (2 * step)
        assert grad[i] == pytest.approx(numeric, abs=1e-5)


def test_grpo_against_a_plain_loop():
    """Equation 1 of the R1 paper with token ratios, as loops over completions and tokens."""
    rng = np.random.default_rng(1)
    lengths, rewards, beta = [3, 5, 1, 4], np.array([1.0, 0, 0, 1]), 0.04
    new, old, ref = ([np.log(rng.uniform(0.1, 0.9, n)) for n in lengths] for _ in range(3))
    adv = (rewards - rewards.mean()) / rewards.std()
    total = 0.0
    for i, n in enumerate(lengths):
        for t in range(n):
            r = math.exp(new[i][t] - old[i][t])
            u = math.exp(ref[i][t] - new[i][t])
            surrogate = min(r * adv[i], max(min(r, 1.2), 0.8) * adv[i])
            total -= (surrogate - beta * (u - math.log(u) - 1)) / n / len(lengths)
    algorithm = Algorithm.model_validate({"preset": "grpo", "kl_coef": beta})
    weights = np.concatenate([np.full(n, 1 / n / 4) for n in lengths]).tolist()
    advantages = np.concatenate([np.full(n, a) for n, a in zip(lengths, group_std(rewards), strict=True)])
    v = view(np.concatenate(old), advantages.tolist(), weights, np.concatenate(ref))
    loss, _, _ = per_token(algorithm.loss(), np.concatenate(new), v)
    assert (loss * v.weights.numpy()).sum() == pytest.approx(total, rel=1e-4)


def test_unknown_preset_is_refused():
    with pytest.raises(AhaError, match="Unknown algorithm 'grop'"):
        Algorithm.model_validate("grop")
