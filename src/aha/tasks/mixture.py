"""Several tasks in proportions, as one: ``countdown:0.5,logic:0.3,gsm8k=train.jsonl:0.2``."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeVar

from aha import aside, plugins
from aha.tasks.base import Task
from aha.tasks.splits import check_split
from aha.types import AhaError, Problem, Verdict

_Found = TypeVar("_Found", Verdict, "str | None")


def parse(text: str) -> dict[str, tuple[str | None, float]]:
    """Name -> (data or None, share) of a mixture in words: ``NAME[=DATA]:SHARE`` with commas between.

    Raises AhaError for a share that is missing, no number or not above 0, and for a name that stands twice.
    """
    parts: dict[str, tuple[str | None, float]] = {}
    for item in text.split(","):
        left, colon, share = item.strip().rpartition(":")
        name, _, data = (left, "", "") if plugins.is_reference(left) else left.partition("=")
        try:
            value = float(share)
        except ValueError:
            value = 0.0
        if not (colon and name and 0 < value < float("inf")):
            raise AhaError(
                f"'{item.strip()}' is no part of a mixture. Write NAME:SHARE or NAME=DATA:SHARE, the share a "
                "number above 0, with commas between: countdown:0.5,logic:0.5."
            )
        if name in parts:
            raise AhaError(f"The mixture names '{name}' twice. Give it one share.")
        parts[name] = (data or None, value)
    return parts


def counts(shares: Mapping[str, float], n: int) -> dict[str, int]:
    """``n`` problems dealt out by ``shares`` (which need not sum to 1): the largest remainders round up."""
    total = sum(shares.values())
    exact = {name: n * share / total for name, share in shares.items()}
    dealt = {name: int(value) for name, value in exact.items()}
    by_rest = sorted(exact, key=lambda name: dealt[name] - exact[name])
    for name in by_rest[: n - sum(dealt.values())]:
        dealt[name] += 1
    return dealt


def task(parts: Mapping[str, tuple[Task, float]], name: str = "mixture") -> Task:
    """A task of several: name -> (task, share). Each problem carries its part's name as its ``task``."""

    def load(split: str, n: int, seed: int) -> list[Problem]:
        check_split(name, split)
        dealt = counts({part: share for part, (_, share) in parts.items()}, n)
        problems: list[Problem] = []
        for part, k in dealt.items():
            loaded = parts[part][0].load(split, k, seed) if k else []
            if split == "train" and len(loaded) < k and len(parts) > 1:
                aside.note(
                    f"{name}: {part} has {len(loaded):,} problems, and its share of {n:,} would be {k:,}: it is asked "
                    "that much less often."
                )
            problems += [replace(p, task=part, id=f"{part}/{p.id}") for p in loaded]
        random.Random(f"{name}:{split}:{seed}").shuffle(problems)
        return problems

    def by_part(pick: Callable[[Task], Callable[[Problem, str], _Found]]) -> Callable[[Problem, str], _Found]:
        def call(problem: Problem, text: str) -> _Found:
            if problem.task not in parts:
                raise AhaError(f"Problem {problem.id} is of task '{problem.task}', no part of {name}.")
            return pick(parts[problem.task][0])(problem, text)

        return call

    return Task(
        name,
        load,
        by_part(lambda t: t.verify),
        by_part(lambda t: t.verify_lenient),
        by_part(lambda t: t.vote),
        lambda problem: problem.task,
    )
