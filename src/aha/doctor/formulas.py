"""The algorithms' losses and weights as the papers write them, one completion at a time, in float64.

Written apart from ``training.losses`` and ``training.batching`` and in another form, to compare with them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aha.types import Example


def known(algorithm: Any) -> bool:
    """Whether these formulas cover the algorithm's loss."""
    return _objective(algorithm) in ("clipped", "cispo", "logprob", "mirror")


def stops_gradient(algorithm: Any) -> bool:
    """Whether a part of the loss is held constant by definition, so that its gradient is not its slope."""
    return _objective(algorithm) == "cispo"


def _objective(algorithm: Any) -> str:
    return str(algorithm.objective)


def completion_loss(
    algorithm: Any,
    new: Tensor,
    old: Tensor,
    reference: Tensor | None,
    advantage: Tensor,
    entropy: Tensor,
    detached: Tensor | None = None,
    imitation: Tensor | None = None,
) -> Tensor:
    """Loss [n] of each token of one completion. All arguments are [n]; ``detached`` are the logprobs at which a
    part that is constant by definition is taken (default: ``new``, detached)."""
    loss = _surrogate(algorithm, new, old, advantage, new.detach() if detached is None else detached)
    kind = str(algorithm.kl)
    if reference is not None and kind != "none" and algorithm.kl_coef and _in_loss(algorithm):
        divergence = kl(new, reference, kind)
        if algorithm.kl_unbiased:
            divergence = divergence * torch.exp(new - old)
        loss = loss + algorithm.kl_coef * divergence
    if imitation is not None:
        loss = loss - imitation * new
    return loss - algorithm.entropy_coef * entropy


def _in_loss(algorithm: Any) -> bool:
    return algorithm.kl_place == "loss"


def _surrogate(algorithm: Any, new: Tensor, old: Tensor, a: Tensor, detached: Tensor) -> Tensor:
    objective = _objective(algorithm)
    if objective == "logprob":
        return -a * new
    if objective == "mirror":
        whole = (new - old).sum()
        return -a * new + algorithm.mirror_coef * 0.5 * whole**2 / len(new)
    low, high = 1 - algorithm.clip_low, 1 + algorithm.clip_high
    if objective == "cispo":
        return -_ratio(algorithm, detached, old).clip(low, high) * a * new
    r = _ratio(algorithm, new, old)
    # PPO's pessimistic bound by cases: a good action is worth at most ratio `high`, a bad one at least `low`.
    good = torch.minimum(r, torch.full_like(r, high)) * a
    bad = torch.maximum(r, torch.full_like(r, low)) * a
    dual = algorithm.clip_dual
    if dual is not None:
        bad = torch.minimum(torch.maximum(r, torch.full_like(r, low)), torch.full_like(r, dual)) * a
    return -torch.where(a >= 0, good, bad)


def _ratio(algorithm: Any, new: Tensor, old: Tensor) -> Tensor:
    difference = new - old
    if algorithm.ratio == "sequence":
        return torch.exp(difference.mean()) * torch.ones_like(difference)
    if algorithm.ratio == "sequence_product":
        return torch.exp(difference.sum()) * torch.ones_like(difference)
    return torch.exp(difference)


def kl(new: Tensor, reference: Tensor, kind: str) -> Tensor:
    """Schulman's estimators of KL(policy || reference) from the policy's samples, [n]."""
    if kind == "k1":
        return new - reference
    if kind == "k2":
        return 0.5 * (new - reference) ** 2
    return torch.exp(reference) / torch.exp(new) - 1 + (new - reference)


def weights(algorithm: Any, examples: Sequence[Example]) -> list[np.ndarray] | None:
    """The weight [L] of each token, by loops; None for an aggregation that is not known here."""
    counts = [sum(1 for m in e.mask if m) for e in examples]
    n, tokens = len(examples), sum(counts)
    kinds = {
        "sequence_mean": lambda i: 1.0 / (n * max(1, counts[i])),
        "token_mean": lambda i: 1.0 / max(1, tokens),
        "sequence_sum": lambda i: 1.0 / n,
        "constant_length": lambda i: 1.0 / (n * algorithm.constant_length),
    }
    each = kinds.get(algorithm.aggregation)
    if each is None:
        return None
    return [np.array([each(i) if m else 0.0 for m in e.mask]) for i, e in enumerate(examples)]


def adamw(
    values: np.ndarray,
    gradients: Sequence[np.ndarray],
    *,
    lr: Sequence[float],
    betas: tuple[float, float],
    eps: float,
    decay: float,
) -> np.ndarray:
    """Decoupled weight decay (arXiv 1711.05101, algorithm 2) in float64, one gradient and rate a step."""
    w = np.asarray(values, np.float64).copy()
    m, v = np.zeros_like(w), np.zeros_like(w)
    for t, (g, rate) in enumerate(zip(gradients, lr, strict=True), 1):
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g * g
        w = w - rate * decay * w
        w = w - rate * (m / (1 - betas[0] ** t)) / (np.sqrt(v / (1 - betas[1] ** t)) + eps)
    return w


def clip_scale(gradients: Sequence[np.ndarray], limit: float) -> tuple[float, float]:
    """(norm of all gradients together, factor that brings it to at most ``limit``)."""
    norm = math.sqrt(sum(float((np.asarray(g, np.float64) ** 2).sum()) for g in gradients))
    return norm, min(1.0, limit / (norm + 1e-6))


def group_advantages(rewards: Sequence[float], kind: str) -> list[float] | None:
    """Advantages of one group by loops; None for an estimator not known here. NaN rewards stay NaN."""
    graded = [r for r in rewards if not math.isnan(r)]
    if kind == "group_best":
        best = max(graded, default=0.0)
        return [1.0 if r == best > 0 else math.nan for r in rewards]  # NaN equals nothing
    if kind == "raw":
        return list(map(float, rewards))
    if kind not in ("group_std", "group_mean", "leave_one_out"):
        return None
    if len(graded) < 2:
        return [math.nan] * len(rewards)
    mean = math.fsum(graded) / len(graded)
    std = math.sqrt(math.fsum((r - mean) ** 2 for r in graded) / len(graded))
    equal = min(graded) == max(graded)
    advantages = []
    for r in rewards:
        value = math.nan if math.isnan(r) else 0.0 if equal else r - mean
        if kind == "group_std" and value:
            value /= std + 1e-6
        if kind == "leave_one_out":
            value *= len(graded) / (len(graded) - 1)
        advantages.append(value)
    return advantages
