"""Losses: value against the papers' formulas, gradient against finite differences, all in float64."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aha.doctor import formulas
from aha.doctor.finding import Check, Finding, at_most, count, holds
from aha.doctor.subject import DoctorContext
from aha.training import losses as training_losses
from aha.training import policy as policies
from aha.training.algorithm import Algorithm
from aha.training.presets import PRESETS

LENGTHS = (5, 1, 7)  # tokens of three completions
_LOSS_FIELDS = (
    "objective", "ratio", "clip_low", "clip_high", "clip_dual", "mirror_coef", "entropy_coef",
)  # fmt: skip
STEP = 1e-6
SLOPE_LIMIT = 2e-5  # of central differences at that step in float64
EXACT = 1e-9
CAUSE = (
    "the loss is not the algorithm's: a clip on the wrong side, a sign (KL, entropy, advantage), policy and "
    "reference exchanged, or a ratio at the wrong level"
)
FIX = "look at training.losses and at the preset's settings"


def drawn(seed: int, imitation: bool = False) -> tuple[Tensor, Tensor, policies.TokenView]:
    """(logprobs, entropies, view) of made-up tokens in float64, ratios on both sides of every clip."""
    rng = np.random.default_rng(seed)
    n = sum(LENGTHS)
    as_tensor = lambda a: torch.tensor(np.asarray(a), dtype=torch.float64)  # noqa: E731
    new = np.log(rng.uniform(0.05, 0.95, n))
    sequence = np.repeat(np.arange(len(LENGTHS)), LENGTHS)
    view = policies.TokenView(
        weights=as_tensor(rng.uniform(0.5, 1.5, n) / n),
        advantages=as_tensor(rng.choice([-1.4, -0.6, 0.8, 1.2], len(LENGTHS))[sequence]),
        old_logprobs=as_tensor(new + rng.normal(0, 0.3, n)),
        reference_logprobs=as_tensor(new + rng.normal(0, 0.5, n)),
        sequence=torch.tensor(sequence),
        imitation=as_tensor(rng.uniform(0, 0.2, n)) if imitation else None,
    )
    return as_tensor(new), as_tensor(rng.uniform(0.1, 3.0, n)), view


def total(loss: Any, new: Tensor, entropy: Tensor, view: policies.TokenView) -> Tensor:
    """What the trainer minimises."""
    return (loss(new, entropy, view)[0] * view.weights).sum()


def formula(
    algorithm: Any, new: Tensor, entropy: Tensor, view: policies.TokenView, detached: Tensor | None = None
) -> Tensor:
    """The same by the papers' formulas, completion by completion."""
    pieces = []
    for index in range(len(LENGTHS)):
        on = view.sequence == index
        reference = None if view.reference_logprobs is None else view.reference_logprobs[on]
        loss = formulas.completion_loss(
            algorithm, new[on], view.old_logprobs[on], reference, view.advantages[on], entropy[on],
            None if detached is None else detached[on], None if view.imitation is None else view.imitation[on],
        )  # fmt: skip
        pieces.append((loss * view.weights[on]).sum())
    return torch.stack(pieces).sum()


def slopes(function: Any, at: Tensor) -> Tensor:
    """Central differences of ``function`` in each element of ``at``."""
    derivatives = torch.zeros_like(at)
    for i in range(len(at)):
        up, down = at.clone(), at.clone()
        up[i] += STEP
        down[i] -= STEP
        derivatives[i] = (function(up) - function(down)) / (2 * STEP)
    return derivatives


def gradient(function: Any, at: Tensor) -> Tensor:
    """What autograd says; zero where nothing depends on ``at``."""
    at = at.clone().requires_grad_()
    value = function(at)
    if not value.requires_grad:
        return torch.zeros_like(at)
    (slope,) = torch.autograd.grad(value, at, allow_unused=True)
    return torch.zeros_like(at) if slope is None else slope


def algorithms(subject: DoctorContext) -> dict[str, Any]:
    """Every preset, the run's own algorithm, and ones with all terms at once; those whose loss has the same
    settings under one name."""
    every = {name: Algorithm.model_validate(name) for name in PRESETS}
    every["the run's"] = subject.plan.algorithm
    named: dict[str, list[str]] = {}
    for name, algorithm in every.items():
        kl = (algorithm.kl, algorithm.kl_coef, algorithm.kl_unbiased) if algorithm.kl_in_loss else None
        own = [getattr(algorithm, f) for f in _LOSS_FIELDS]
        named.setdefault(str((own, kl, algorithm.nll_coef > 0)), []).append(name)
    distinct = {", ".join(names): every[names[0]] for names in named.values()}
    for kind in ("k1", "k2", "k3"):
        distinct[f"all terms, {kind}"] = Algorithm.model_validate(
            {"preset": "dapo", "kl": kind, "kl_coef": 0.3, "entropy_coef": 0.2}
        )
    return distinct


def losses(subject: DoctorContext) -> Iterator[Finding]:
    """Each algorithm's value and gradients."""
    for name, algorithm in algorithms(subject).items():
        yield _one(name, algorithm, subject.data_seed)
    yield _value(subject.data_seed)
    yield from _kl(subject.data_seed)


def _one(name: str, algorithm: Any, seed: int) -> Finding:
    """The largest deviation of one algorithm, over two draws."""
    loss = algorithm.loss()
    worst = {"value": 0.0, "slope": 0.0, "entropy slope": 0.0}
    for draw in range(2):
        new, entropy, view = drawn(100 * seed + draw, imitation=algorithm.nll_coef > 0)
        of_new = lambda x: total(loss, x, entropy, view)  # noqa: B023, E731
        of_entropy = lambda x: total(loss, new, x, view)  # noqa: B023, E731
        exact = of_new
        if formulas.known(algorithm):
            detached = new.clone()
            exact = lambda x: formula(algorithm, x, entropy, view, detached)  # noqa: B023, E731
            gap = abs(float(of_new(new)) - float(exact(new)))
            worst["value"] = _larger(worst["value"], gap)
        numeric = slopes(exact if formulas.stops_gradient(algorithm) else of_new, new)
        worst["slope"] = _larger(worst["slope"], _gap(gradient(of_new, new), numeric))
        if formulas.known(algorithm):
            worst["slope"] = _larger(worst["slope"], _gap(gradient(of_new, new), gradient(exact, new)))
        worst["entropy slope"] = _larger(
            worst["entropy slope"], _gap(gradient(of_entropy, entropy), slopes(of_entropy, entropy))
        )
    figure = max(worst.values())
    more = ", ".join(f"{k} {v:.1e}" for k, v in worst.items())
    by = "formula and finite differences" if formulas.known(algorithm) else "finite differences"
    return at_most(f"loss and gradient of {name} against {by}", figure, SLOPE_LIMIT, more=more,
                   cause=CAUSE, fix=FIX)  # fmt: skip


def _value(seed: int) -> Finding:
    """The critic's loss with and without its clip, against finite differences and its formula."""
    rng = np.random.default_rng(seed + 9)
    at, old, returns = (torch.tensor(rng.normal(0, 1, 12)) for _ in range(3))
    worst = 0.0
    for clip in (None, 0.3):
        of = lambda x: training_losses.value_loss(x, old, returns, clip).sum()  # noqa: B023, E731
        by_hand = 0.0
        for v, o, r in zip(at.tolist(), old.tolist(), returns.tolist(), strict=True):
            moved = v if clip is None else o + min(max(v - o, -clip), clip)
            by_hand += max((v - r) ** 2, (moved - r) ** 2) / 2
        worst = _larger(worst, _gap(gradient(of, at), slopes(of, at)))
        worst = _larger(worst, abs(float(of(at)) - by_hand))
    return at_most("the critic's loss and gradient against formula and finite differences", worst, SLOPE_LIMIT,
                   cause="the value loss or its clip is wrong", fix="look at training.losses.value_loss")  # fmt: skip


def _larger(a: float, b: float) -> float:
    return b if not b <= a else a  # NaN stays


def _gap(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max())


def _kl(seed: int) -> Iterator[Finding]:
    """Over a whole distribution: the estimators' expectation is the KL divergence, exactly."""
    rng = np.random.default_rng(seed)
    p, q = (torch.tensor(rng.normal(0, 1.5, 30)).log_softmax(0) for _ in range(2))
    exact = float((p.exp() * (p - q)).sum())
    for kind in ("k1", "k3"):
        estimate = float((p.exp() * training_losses.kl_estimate(p, q, kind)).sum())
        yield at_most(f"expectation of {kind} under the policy and KL(policy || reference)",
                      abs(estimate - exact), EXACT, unit=" nats", more=f"{estimate:.6f} and {exact:.6f}",
                      cause="the estimator has the wrong sign, or policy and reference are exchanged",
                      fix="look at training.losses.kl_estimate")  # fmt: skip
    lowest = float(training_losses.kl_estimate(p, q, "k3").min())
    yield holds("k3 is never negative", lowest >= 0, f"lowest {lowest:.2e}", threshold="at least 0",
                cause="k3 is not u - log u - 1", fix="look at training.losses.kl_estimate")  # fmt: skip
    yield _descends(seed)


def _descends(seed: int) -> Finding:
    """A step down the KL term's gradient brings the policy nearer to the reference, for each estimator."""
    wrong = []
    for kind in ("k2", "k3"):
        plus, none = (
            Algorithm.model_validate({"preset": "grpo", "kl": kind, "kl_coef": c}).loss() for c in (0.5, 0.0)
        )
        new, entropy, view = drawn(seed + 50)
        assert view.reference_logprobs is not None
        slope = gradient(lambda x: total(plus, x, entropy, view) - total(none, x, entropy, view), new)  # noqa: B023
        wrong += [kind] if ((view.reference_logprobs - new) * -slope < 0).any() else []
    return count("KL terms whose gradient leads away from the reference", wrong, 2,
                 cause="the KL penalty's sign is wrong", fix="look at training.losses")  # fmt: skip


CHECKS = (Check("losses", "loss and KL gradients, for every algorithm", losses),)
