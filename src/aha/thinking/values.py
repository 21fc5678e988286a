"""What an answer, or the beginning of one, is worth: a function of one's own, or a trained reward model.

A process model, which grades the steps of a thinking, comes in by this door: ``FILE.py:NAME`` names a function of
(problem, texts) that returns a number for each text; a text may end after any step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

from aha import plugins
from aha.types import AhaError, Problem

Scores = Callable[[Problem, Sequence[str]], Sequence[float]]
"""(problem, texts) -> a number for each text."""
LOWEST = -1e9
"""The value of a text that a reward model cannot read: it is chosen last."""


class ValueFunction:
    """Scores texts by ``function``; what it gives is looked at. ``identity`` tells it from an earlier one of its
    name."""

    def __init__(self, label: str, function: Scores, identity: Any = None):
        self.label, self.function, self.identity = label, function, identity

    def scores(self, problem: Problem, texts: Sequence[str]) -> list[float]:
        """A number for each text. Raises AhaError where the function gives something else."""
        try:
            values = plugins.call(self.function, problem, list(texts), file=self._file)
        except plugins.CallFailed as error:
            raise AhaError(f"The value function {self.label} failed on {problem.id}: {error}.") from error
        try:
            numbers = [float(value) for value in values]
        except (TypeError, ValueError):
            numbers = []
        if len(numbers) != len(texts) or any(math.isnan(x) for x in numbers):
            raise AhaError(
                f"The value function {self.label} gave {str(values)[:80]} for {len(texts)} texts of {problem.id}: it "
                "must give one number for each."
            )
        return numbers

    @property
    def _file(self) -> str:
        return getattr(getattr(self.function, "__code__", None), "co_filename", "")

    def __repr__(self) -> str:
        return f"{self.label} {self.identity}"


def open_value(name: str, folder: Path, device: str, dtype: str) -> ValueFunction:
    """``FILE.py:NAME``, ``PACKAGE.MODULE:NAME``, or the folder of a trained reward model. Raises AhaError for what is
    neither."""
    if plugins.is_reference(name):
        function: Any = plugins.resolve(name)
        if not callable(function):
            raise AhaError(
                f"'{name}' is {type(function).__name__}: a value is a function of (problem, texts)."
            )
        return ValueFunction(plugins.label(name), cast("Scores", function), plugins.source_of(name).hash)
    if not Path(name).is_dir():
        raise AhaError(f"'{name}' is no folder of a reward model. Give one, or FILE.py:NAME.")
    return ValueFunction(
        f"reward model {Path(name).name}", _reward_model(name, folder, device, dtype), _files(name)
    )


def _files(name: str) -> list[tuple[str, int, int]]:
    files = [f for f in sorted(Path(name).iterdir()) if f.is_file()]
    return [(f.name, f.stat().st_size, f.stat().st_mtime_ns) for f in files]


def _reward_model(
    name: str, folder: Path, device: str, dtype: str
) -> Callable[[Problem, Sequence[str]], list[float]]:
    from aha.runs.pipeline import Context
    from aha.stages.supervised.reward_model import Scorer

    scorer = Scorer(name, Context(folder, device, dtype), "raw")

    def score(problem: Problem, texts: Sequence[str]) -> list[float]:
        return [LOWEST if s is None else s for s in scorer.scores(problem.messages, texts)]

    return score
