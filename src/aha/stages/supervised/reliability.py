"""How well a reward model's probabilities hold: accuracy, expected calibration error, and the table behind it.

(Guo et al., On Calibration of Modern Neural Networks, arXiv 1706.04599: ten bins of equal width.) A pair's probability
is sigma(chosen - rejected), read as the confidence in the answer that scores higher; a label's is sigma(score).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

BINS = 10
Values = Sequence[float] | np.ndarray


def sigmoid(scores: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)), without overflow."""
    return np.exp(-np.logaddexp(0.0, -np.asarray(scores, np.float64)))


def of_pairs(chosen: Values, rejected: Values) -> dict[str, Any]:
    """Figures of pairs: a tie is half right."""
    gap = np.asarray(chosen, np.float64) - np.asarray(rejected, np.float64)
    right = np.where(gap > 0, 1.0, np.where(gap < 0, 0.0, 0.5))
    loss = float(np.logaddexp(0, -gap).mean())
    brier = float(((sigmoid(gap) - 1) ** 2).mean())
    return _figures(sigmoid(np.abs(gap)), right, float(right.mean()), loss, brier, 0.5)


def of_labels(scores: Values, labels: Values) -> dict[str, Any]:
    """Figures of single answers with labels in 0..1; above 0.5 is good."""
    values, targets = np.asarray(scores, np.float64), np.asarray(labels, np.float64)
    right = (values > 0) == (targets > 0.5)
    loss = float((np.logaddexp(0, values) - targets * values).mean())
    brier = float(((sigmoid(values) - targets) ** 2).mean())
    return _figures(sigmoid(values), targets, float(right.mean()), loss, brier, 0.0)


def _figures(
    said: np.ndarray, happened: np.ndarray, accuracy: float, loss: float, brier: float, low: float
) -> dict[str, Any]:
    table = reliability(said, happened, low)
    error = sum(row["rows"] * abs(row["said"] - row["happened"]) for row in table) / len(said)
    return {
        "accuracy": accuracy, "held_out_loss": round(loss, 6), "ece": round(error, 6), "brier": round(brier, 6),
        "reliability": table,
    }  # fmt: skip


def reliability(said: np.ndarray, happened: np.ndarray, low: float = 0.0) -> list[dict[str, float]]:
    """One row for each of ten bins between ``low`` and 1 that holds any: how many, the mean probability that was said,
    and the share in which it happened."""
    edges = np.linspace(low, 1.0, BINS + 1)
    which = np.clip(np.searchsorted(edges, said, side="right") - 1, 0, BINS - 1)
    return [
        {
            "from": round(float(edges[b]), 4), "to": round(float(edges[b + 1]), 4), "rows": int((which == b).sum()),
            "said": round(float(said[which == b].mean()), 6), "happened": round(float(happened[which == b].mean()), 6),
        }
        for b in range(BINS)
        if (which == b).any()
    ]  # fmt: skip


def table(figures: dict[str, Any]) -> str:
    """The reliability table in Markdown, with its error in words."""
    lines = [f"Expected calibration error {figures['ece']:.3f}, Brier score {figures['brier']:.3f}.", "",
             "| said | rows | mean said | happened |", "|---|---|---|---|"]  # fmt: skip
    lines += [
        f"| {row['from']:.2f} to {row['to']:.2f} | {row['rows']} | {row['said']:.1%} | {row['happened']:.1%} |"
        for row in figures["reliability"]
    ]
    return "\n".join(lines) + "\n"
