"""What a task is: problems to ask, and a verifier for the answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from aha.types import Problem, Verdict

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, slots=True)
class Task:
    """``load(split, n, seed)`` gives at most ``n`` problems of a split, always the same for one seed;
    ``verify(problem, text)`` grades what a model wrote, and ``verify_lenient`` does so without demanding
    that the answer stands where the format wants it. ``facet`` names the kind of a problem (its level, its
    size), so that evaluations can tell kinds apart. ``margins`` over another model's answer, one for each time that a
    judge compared; none where it could not. ``followed``: of each thing that is demanded whether an answer keeps it,
    strictly and loosely, where a verdict has parts."""

    name: str
    load: Callable[[str, int, int], list[Problem]]
    verify: Callable[[Problem, str], Verdict]
    verify_lenient: Callable[[Problem, str], Verdict]
    vote: Callable[[Problem, str], str | None]
    facet: Callable[[Problem], str] | None = None
    margins: Callable[[Problem, str], tuple[float, ...]] | None = None
    followed: Callable[[Problem, str], tuple[tuple[bool, ...], tuple[bool, ...]]] | None = None
