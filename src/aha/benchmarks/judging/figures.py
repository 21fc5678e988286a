"""Figures that judged benchmarks have beside the usual ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from aha.benchmarks.judging.conversations import HIGHEST
from aha.benchmarks.judging.length_controlled import length_controlled
from aha.benchmarks.judging.tasks import preference
from aha.benchmarks.records import GradedAnswer, GradedProblem
from aha.stages.evaluation.figures import interval


def attempts(records: Sequence[GradedProblem]) -> dict[str, Any]:
    """SimpleQA's: shares of correct, incorrect and not attempted answers, the share of correct ones among those that
    were attempted, and the harmonic mean of both (F). A problem counts once, by the mean of its samples."""
    kinds = {
        "correct": lambda s: s.right is True,
        "incorrect": lambda s: s.right is False and s.ballot != "",
        "not_attempted": lambda s: s.right is False and s.ballot == "",
    }
    graded = [[s for s in r.samples if s.right is not None] for r in records]
    graded = [samples for samples in graded if samples]
    if not graded:
        return dict.fromkeys((*kinds, "correct_given_attempted", "f_score"))
    counts = {
        name: _mean([np.mean([is_so(s) for s in own]) for own in graded]) for name, is_so in kinds.items()
    }
    tried = counts["correct"] + counts["incorrect"]
    precision = counts["correct"] / tried if tried else 0.0
    both = counts["correct"] + precision
    return counts | {
        "correct_given_attempted": precision,
        "f_score": 2 * counts["correct"] * precision / both if both else 0.0,
    }


def against_baseline(records: Sequence[GradedProblem]) -> dict[str, Any]:
    """AlpacaEval 2's win rate, length controlled and not, and Arena-Hard's, in which a strong verdict counts as three
    weak ones (Li et al., arXiv 2406.11939). Of several samples of a problem the first counts; one whose verdict could
    not be read leaves the figures."""
    compared = [(r, r.samples[0]) for r in records if r.samples and r.samples[0].margins]
    worth = np.array([_worth(s) for _, s in compared], np.float64)
    hard = [r.difficulty for r, _ in compared]
    level = length_controlled(
        worth.tolist(),
        [s.chars for _, s in compared],
        [r.reference_chars for r, _ in compared],
        None if any(x is None for x in hard) else [x for x in hard if x is not None],
    )
    battles = [(_won(s), _weight(s)) for _, s in compared]
    return {
        "win_rate": _mean(worth) if compared else None,
        "win_rate_ci": list(interval(worth)) if compared else None,
        "lc_win_rate": None if level is None else level.win_rate,
        "lc_error": None if level is None else level.error,
        "length_effect": None if level is None else level.length,
        "weighted_win_rate": _ratio(battles),
        "weighted_win_rate_ci": _bootstrap(battles),
        "first_place": _first_place([s for _, s in compared]),
        "unread": 1 - len(compared) / max(1, len(records)),
    }


def scores(records: Sequence[GradedProblem]) -> dict[str, Any]:
    """MT-bench's: the mean scores, 1 to 10, of first turns, of second ones and of all, with an interval over
    conversations, and of each category; a verdict that could not be read leaves the figures. Of several samples of a
    conversation their mean counts."""
    every = [_turn_scores(record) for record in records]
    graded = [turns for turns in every if any(turns)]
    means = np.array([_mean([_mean(turn) for turn in turns if turn]) for turns in graded])
    kinds = sorted({record.kind for record in records})
    own = {
        kind: _overall([t for r, t in zip(records, every, strict=True) if r.kind == kind]) for kind in kinds
    }
    asked = sum(len(sample.turns) or 1 for record in records for sample in record.samples)
    read = sum(len(turn) for turns in every for turn in turns)
    return {
        "first_turn": _of_turn(every, 0),
        "second_turn": _of_turn(every, 1),
        "mean_score": _overall(every),
        "mean_score_ci": [float(x) for x in _resampled(means)] if len(means) else None,
        "score_by": own if len(kinds) > 1 else {},
        "unread": 1 - read / max(1, asked),
    }


def _turn_scores(record: GradedProblem) -> list[list[float]]:
    """Of each turn its samples' scores, 1 to 10."""
    n = max((len(sample.turns) or 1 for sample in record.samples), default=0)
    each = [[t.score for t in s.turns] or [s.score] for s in record.samples]
    return [[HIGHEST * s for of in each for s in of[at : at + 1] if s is not None] for at in range(n)]


def _of_turn(every: Sequence[Sequence[Sequence[float]]], number: int) -> float | None:
    """The mean score of one turn over conversations; None where nothing is there for it."""
    means = [_mean(turns[number]) for turns in every if len(turns) > number and turns[number]]
    return _mean(means) if means else None


def _overall(every: Sequence[Sequence[Sequence[float]]]) -> float | None:
    """The mean over all turns of all conversations."""
    means = [_mean(turn) for turns in every for turn in turns if turn]
    return _mean(means) if means else None


def _resampled(means: np.ndarray, rounds: int = 1000) -> np.ndarray:
    """A 95% interval of a mean over conversations."""
    drawn = means[np.random.default_rng(0).integers(0, len(means), (rounds, len(means)))].mean(axis=1)
    return np.quantile(drawn, [0.025, 0.975])


def _worth(sample: GradedAnswer) -> float:
    return float(np.mean([preference(margin) for margin in sample.margins]))


def _won(sample: GradedAnswer) -> float:
    return sum(max(1.0, abs(m)) * preference(m) for m in sample.margins)


def _weight(sample: GradedAnswer) -> float:
    return sum(max(1.0, abs(m)) for m in sample.margins)


def _ratio(battles: Sequence[tuple[float, float]]) -> float | None:
    weight = sum(w for _, w in battles)
    return sum(won for won, _ in battles) / weight if weight else None


def _bootstrap(battles: Sequence[tuple[float, float]], rounds: int = 1000) -> list[float] | None:
    """A 95% interval over problems."""
    if not battles:
        return None
    both = np.array(battles)
    drawn = both[np.random.default_rng(0).integers(0, len(both), (rounds, len(both)))].sum(axis=1)
    low, high = np.quantile(drawn[:, 0] / drawn[:, 1], [0.025, 0.975])
    return [float(low), float(high)]


def _first_place(samples: Sequence[GradedAnswer]) -> float | None:
    """How much standing first is worth to the judge: half of what preferences differ by between the two orders."""
    apart = [preference(s.margins[0]) - preference(s.margins[1]) for s in samples if len(s.margins) == 2]
    return float(np.mean(apart)) / 2 if apart else None


def _mean(values: Any) -> float:
    return float(np.mean(values))
