"""What is counted of conversations: each turn's accuracy, and what becomes of it from one turn to the next.

Multi-IF (He et al., arXiv 2410.15553) takes four shares of a turn: answers that keep every instruction and
instructions that are kept, each strictly and loosely; its figure of a turn is their mean. What a turn demands holds for
those after it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from aha.benchmarks.records import GradedProblem, GradedTurn
from aha.stages.evaluation.figures import defined, interval, mean

Marks = Callable[[GradedTurn], bool | None]


def figures(records: Sequence[GradedProblem]) -> dict[str, Any]:
    """``turns``: the figures of each; ``turn_1``, ...: the benchmark's figure of each, ``turns_mean`` of them all; the
    same of each kind, or language. Empty where nothing had several turns."""
    whole = _averages(records)
    if not whole:
        return {}
    kinds = sorted({record.kind for record in records})
    own = (
        {kind: _averages([r for r in records if r.kind == kind]) for kind in kinds} if len(kinds) > 1 else {}
    )
    plain = {kind: {name: v for name, v in of.items() if name != "turns"} for kind, of in own.items()}
    return {**whole, "turns_by": plain}


def _averages(records: Sequence[GradedProblem]) -> dict[str, Any]:
    most = max((len(s.turns) for r in records for s in r.samples), default=0)
    if most < 2:
        return {}
    every = [_of_turn(records, number) for number in range(most)]
    shown = {f"turn_{one['turn']}": one["average"] for one in every if one["average"] is not None}
    return {"turns": every, **shown, "turns_mean": mean([*shown.values()]) if shown else None}


def _of_turn(records: Sequence[GradedProblem], number: int) -> dict[str, Any]:
    """``pass@1`` and ``lenient``: the share of answers that keep all of the turn's rules; ``instructions``,
    ``instructions_lenient``: of its instructions; ``consistency``: of the conversations that were right the turn before
    those that still are; ``forgotten``: of the instructions kept the turn before those that no longer are."""
    reached = [[s.turns for s in r.samples if len(s.turns) > number] for r in records]
    reached = [of for of in reached if of]
    strict = _rates(reached, number, lambda turn: turn.right)
    lenient = _rates(reached, number, lambda turn: turn.lenient)
    marks = [of[number] for conversations in reached for of in conversations]
    kept = {
        "instructions": mean([m for turn in marks for m in turn.followed]),
        "instructions_lenient": mean([m for turn in marks for m in turn.followed_loosely]),
    }
    accuracies = [mean(strict), mean(lenient), *kept.values()]
    values = {
        "turn": number + 1,
        "problems": len(reached),
        "pass@1": mean(strict),
        "pass@1_ci": list(interval(strict)),
        "lenient": mean(lenient),
        **kept,
        "average": mean(accuracies) if kept["instructions"] == kept["instructions"] else mean(strict),
        "mean_tokens": mean([turn.tokens for turn in marks]),
    }
    return defined(values | _since(reached, number))


def _rates(reached: Sequence[Sequence[Sequence[GradedTurn]]], number: int, marks: Marks) -> np.ndarray:
    """The share of right answers to a turn of each problem [P]; those that could not be graded are left out."""
    graded = [
        [m for of in conversations if (m := marks(of[number])) is not None] for conversations in reached
    ]
    return np.array([sum(one) / len(one) for one in graded if one])


def _since(reached: Sequence[Sequence[Sequence[GradedTurn]]], number: int) -> dict[str, Any]:
    """What is left of what was right the turn before; empty of the first."""
    if not number:
        return {}
    pairs = [(of[number - 1], of[number]) for conversations in reached for of in conversations]
    still = [bool(now.right) for before, now in pairs if before.right and now.right is not None]
    kept = [
        keeps
        for before, now in pairs
        for was, keeps in zip(before.followed, now.followed[: now.repeated], strict=False)
        if was
    ]
    return {"consistency": mean(still), "forgotten": 1 - mean(kept)}
