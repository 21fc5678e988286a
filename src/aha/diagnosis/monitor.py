"""The diagnosis while a run is trained: what its questions, graders and evaluations show, said once, when it is seen.

Figures that leave their range are told by ``runs.health``, by the same table; here is what needs more than one of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aha.diagnosis import motion, stored
from aha.diagnosis.causes import CAUSES
from aha.diagnosis.seen import Seen, Verify
from aha.diagnosis.truth import truth_fall
from aha.runs.growing import GrowingRows
from aha.runs.report.data import read_lines
from aha.types import Group, Problem

MOST_FILES = 200
"""Rollout files that are read again where a run goes on."""
Row = Mapping[str, Any]


class Monitor:
    """Of one stage, on the first rank. ``planned``: the steps that it is to take."""

    def __init__(self, stage: str, folder: Path, verify: Verify, planned: int):
        self.stage, self.folder, self.planned = stage, folder, planned
        self.seen = Seen(verify)
        self._files: dict[str, GrowingRows] = {}

    def restore(self, problems: Sequence[Problem]) -> None:
        """What was seen before the process ended, from the stored rollouts; evenly over the steps where there are many
        of them."""
        known = {problem.id: problem for problem in problems}
        for step, file in stored.evenly(stored.step_files(self.folder), MOST_FILES):
            self.seen.note(step, stored.groups(list(read_lines(file, [])), known))

    def after_step(
        self, step: int, groups: Sequence[Group], metrics: Sequence[Row], said: Sequence[Row]
    ) -> list[tuple[str, str]]:
        """(cause, words) of what this step's groups brought to light, but for what was ``said`` before."""
        self.seen.note(step, groups)
        causes = [(i.cause, *i.evidence) for i in self.seen.found(self.stage)]
        still = motion.unmoved(metrics, self.planned) if step % 4 == 0 else ""
        return self._new([*causes, *([("lr_low", still)] if still else [])], said)

    def after_evaluation(
        self, metrics: Sequence[Row], evals: Sequence[Row], said: Sequence[Row]
    ) -> list[tuple[str, str]]:
        """(cause, words) where held-out truth fell below its best by more than chance."""
        fall = truth_fall(metrics, evals)
        if fall is None:
            return []
        return self._new([("reward_hacking" if fall.hacked else "lr_high", fall.words())], said)

    def rows(self, name: str) -> list[dict[str, Any]]:
        """What a file of the stage holds so far."""
        file = self._files.setdefault(name, GrowingRows(self.folder / f"{name}.jsonl"))
        file.refresh()
        return file.rows

    def _new(self, causes: Sequence[tuple[str, ...]], said: Sequence[Row]) -> list[tuple[str, str]]:
        known = {row.get("key") for row in said}
        return [
            (c, f"{CAUSES[c].title}: {'; '.join(w)}. {CAUSES[c].advice}")
            for c, *w in causes
            if c not in known
        ]
