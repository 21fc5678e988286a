"""AlpacaEval 2's length-controlled win rate (Dubois et al., arXiv 2404.04475).

Judges favour long answers. The preference for a model over the baseline is fitted by a logistic regression

    P(model is preferred) = sigmoid(a + b * tanh(difference in length / its standard deviation) + c * difficulty)

and the win rate is what it gives without a difference in length: the mean of sigmoid(a + c * difficulty). As in the
published program the sum of log losses is weighted by C against the absolute sum of the coefficients (an l1 penalty),
with no penalty-free term, and C is chosen from 1e-4 .. 1e4 by the log loss of five folds. Difficulties are those that
AlpacaEval publishes for its instructions; where rows have none, the term is left out. The published program adds
answers of a baseline that was told to be short and long, weighted 0.2, which are on the hub and not here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

STRENGTHS = tuple(float(10.0**x) for x in np.linspace(-4, 4, 10))
FOLDS = 5


@dataclass(frozen=True, slots=True)
class LengthControlled:
    """``win_rate`` in 0..1 with its standard error over instructions, and the coefficients that it came of: of the
    length, of the difficulty (None: left out) and of the model itself."""

    win_rate: float
    error: float
    length: float
    difficulty: float | None
    model: float


def length_controlled(
    preferences: Sequence[float],
    lengths: Sequence[int],
    baseline_lengths: Sequence[int],
    difficulties: Sequence[float] | None = None,
) -> LengthControlled | None:
    """Of preferences [P] in 0..1 with both answers' lengths in characters; None for fewer than five instructions, or
    where all lengths differ by the same."""
    targets = np.asarray(preferences, np.float64)
    apart = np.asarray(baseline_lengths, np.float64) - np.asarray(lengths, np.float64)
    spread = float(apart.std(ddof=1)) if len(apart) > 1 else 0.0
    if len(targets) < FOLDS or spread == 0:
        return None
    hard = [] if difficulties is None else [np.asarray(difficulties, np.float64)]
    columns = np.stack([np.tanh(apart / spread), *hard, np.ones(len(targets))], axis=1)
    weights = fit(columns, targets, _strength(columns, targets))
    plain = columns.copy()
    plain[:, 0] = 0.0
    predicted = _sigmoid(plain @ weights)
    error = float(predicted.std(ddof=1)) / len(predicted) ** 0.5
    own = float(weights[1]) if difficulties is not None else None
    return LengthControlled(float(predicted.mean()), error, float(-weights[0]), own, float(weights[-1]))


def _strength(columns: np.ndarray, targets: np.ndarray) -> float:
    """The weight of the losses with the least log loss on held-out folds; of equal ones the first."""
    fold = (len(targets) - 1 - np.arange(len(targets))) % FOLDS
    losses = []
    for strength in STRENGTHS:
        left_out = [
            _loss(
                columns[fold == f] @ fit(columns[fold != f], targets[fold != f], strength), targets[fold == f]
            )
            for f in range(FOLDS)
        ]
        losses.append(float(np.mean(left_out)))
    return STRENGTHS[int(np.argmin(losses))]


def _loss(scores: np.ndarray, targets: np.ndarray) -> float:
    """The mean log loss of scores [P] under soft labels [P]."""
    return float(np.mean(np.logaddexp(0, scores) - targets * scores))


def _sigmoid(scores: np.ndarray) -> np.ndarray:
    return np.exp(-np.logaddexp(0, -scores))


def fit(columns: np.ndarray, targets: np.ndarray, strength: float, rounds: int = 2000) -> np.ndarray:
    """The coefficients [F] that minimise ``strength`` * sum of log losses + sum of absolute coefficients: accelerated
    proximal gradient steps (FISTA, Beck and Teboulle, 2009), begun again where a step would climb."""
    bound = strength * float(np.linalg.eigvalsh(columns.T @ columns)[-1]) / 4
    weights = ahead = np.zeros(columns.shape[1])
    pace = 1.0
    for _ in range(rounds):
        slope = strength * columns.T @ (_sigmoid(columns @ ahead) - targets)
        moved = ahead - slope / bound
        new = np.sign(moved) * np.maximum(np.abs(moved) - 1 / bound, 0.0)
        if float((ahead - new) @ (new - weights)) > 0:
            pace, ahead = 1.0, weights
            continue
        quicker = (1 + (1 + 4 * pace**2) ** 0.5) / 2
        ahead = new + (pace - 1) / quicker * (new - weights)
        done = float(np.abs(new - weights).max()) < 1e-11
        weights, pace = new, quicker
        if done:
            break
    return weights
