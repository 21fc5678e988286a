"""What a stage was set up with: held-out problems that are trained on, a prompt that the checkpoint does not know."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aha.checkpoints.names import resolve
from aha.diagnosis import stored
from aha.diagnosis.findings import Illness
from aha.rewards.ritual import question_of
from aha.runs.charts import number
from aha.tasks.base import Task
from aha.types import AhaError, Problem

SHARE = 0.05
"""Of the held-out problems that must stand among those trained on, and two at least."""
FIRST = 3
LITTLE = 0.5
"""The share of the first steps' completions that have no answer, or are cut, from which a prompt is not understood."""


def held_out_trained(
    stage: str, task: Task, known: Mapping[str, Problem], settings: Mapping[str, Any]
) -> Illness | None:
    """Where questions of the validation or test split are among those that are trained on."""
    trained = {_plain(problem) for problem in known.values()}
    words = []
    for split, name in {"test": "test_problems", "validation": "eval_problems"}.items():
        if not settings.get(name) or (split == "validation" and not settings.get("eval_every")):
            continue
        try:
            problems = list(task.load(split, stored.count(settings, name), 0))
        except (AhaError, OSError):
            continue
        both = [problem for problem in problems if _plain(problem) in trained]
        if len(both) >= 2 and len(both) >= SHARE * len(problems):
            words.append(
                f"{len(both)} of {len(problems)} problems of the {split} split are trained on (such as {both[0].id})"
            )
    return Illness("held_out_trained", stage, 1, tuple(words)) if words else None


def wrong_prompt(
    stage: str, settings: Mapping[str, Any], prompt: str, run: Path, metrics: Sequence[Mapping[str, Any]]
) -> Illness | None:
    """Where the checkpoint says that it was trained with another prompt, and the first steps show that it does not
    understand this one."""
    trained = _trained_with(str(settings.get("model") or ""), run)
    if not trained or prompt in ("", "auto", trained):  # auto takes what the checkpoint says
        return None
    first = [row for row in metrics if row.get("step")][:FIRST]
    figures = {"answers/missing": "have no answer", "completions/clipped_ratio": "are cut"}
    seen = {
        words: statistics.fmean(shares)
        for key, words in figures.items()
        if (shares := [v for row in first if (v := number(row.get(key))) is not None])
    }
    bad = {words: share for words, share in seen.items() if share > LITTLE}
    if not bad:
        return None
    shown = " and ".join(f"{share:.0%} of the completions {words}" for words, share in bad.items())
    other = f"the checkpoint was trained with prompt={trained} and is asked with prompt={prompt}"
    return Illness("wrong_prompt", stage, 1, (f"{other}; in the first steps {shown}",))


def _trained_with(model: str, run: Path) -> str:
    """The prompt that a checkpoint says it was trained with; "" where it says none, or is not here."""
    try:
        place = run / model[1:-1] / "final" if model.startswith("<") else Path(resolve(model))
        said = json.loads((place / "aha.json").read_text(encoding="utf-8"))
    except (AhaError, OSError, ValueError):
        return ""
    return str(said.get("prompt", "")) if isinstance(said, dict) else ""


def _plain(problem: Problem) -> str:
    return " ".join(question_of(problem).split()).casefold()
