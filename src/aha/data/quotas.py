"""Domains of a training set: its table of statistics, and quotas by ratio.

The table is the R1 paper's for its 800k samples: samples, average tokens and average rounds by domain.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from aha.types import AhaError

T = TypeVar("T")
PAPER = {"math": 395_285, "code": 211_129, "stem": 10_124, "logic": 10_395, "general": 177_812}
"""Samples by domain in the paper's SFT set (DeepSeek-R1, arXiv 2501.12948): a mix to aim at."""


@dataclass(frozen=True, slots=True)
class DomainStatistics:
    """One line of the table."""

    domain: str
    samples: int
    mean_tokens: float
    mean_rounds: float


def statistics(
    rows: Sequence[T], domain: Callable[[T], str], tokens: Callable[[T], int], rounds: Callable[[T], int]
) -> list[DomainStatistics]:
    """The table's lines, the largest domain first, and a last one named "total"."""
    groups: dict[str, list[T]] = {}
    for row in rows:
        groups.setdefault(domain(row), []).append(row)
    ordered = sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))

    def line(name: str, members: Sequence[T]) -> DomainStatistics:
        n = max(len(members), 1)
        return DomainStatistics(
            name, len(members), sum(map(tokens, members)) / n, sum(map(rounds, members)) / n
        )

    return [line(name, members) for name, members in ordered] + [line("total", rows)]


def table(lines: Sequence[DomainStatistics]) -> str:
    """The table as text."""
    width = max(len("domain"), *(len(line.domain) for line in lines))
    shown = [f"{'domain':<{width}}  {'samples':>9}  {'avg tokens':>10}  {'avg rounds':>10}"]
    for line in lines:
        shown.append(
            f"{line.domain:<{width}}  {line.samples:>9,}  {line.mean_tokens:>10,.1f}  {line.mean_rounds:>10.2f}"
        )
    return "\n".join(shown)


def quotas(
    available: Mapping[str, int], ratios: Mapping[str, float], total: int | None = None
) -> dict[str, int]:
    """How many rows of each domain: in the proportion of ``ratios``, ``total`` at most together, and no more
    than there are. Without ``total`` as many as the scarcest domain allows.

    A domain that has too few gives all it has, and the others keep their share: the result is then smaller
    than ``total``. Raises AhaError for a ratio that is not above 0 and for a domain without rows.
    """
    if not ratios or any(not ratio > 0 for ratio in ratios.values()):
        raise AhaError(f"Ratios must be numbers above 0, not {dict(ratios)}.")
    if missing := sorted(name for name in ratios if not available.get(name)):
        raise AhaError(
            f"No rows of the domains {', '.join(missing)}. There are: {', '.join(sorted(available))}."
        )
    whole = sum(ratios.values())
    if total is None:
        total = int(min(available[name] * whole / ratio for name, ratio in ratios.items()) + 1e-9)
    exact = {name: total * ratio / whole for name, ratio in ratios.items()}
    dealt = {name: int(value + 1e-9) for name, value in exact.items()}
    by_rest = sorted(exact, key=lambda name: dealt[name] - exact[name])
    for name in by_rest[: total - sum(dealt.values())]:
        dealt[name] += 1
    return {name: min(n, available[name]) for name, n in dealt.items()}


def take(rows: Sequence[T], domain: Callable[[T], str], quota: Mapping[str, int], seed: int = 0) -> list[T]:
    """So many rows of each domain, drawn by ``seed``; those kept stay in their order."""
    indices: dict[str, list[int]] = {}
    for i, row in enumerate(rows):
        indices.setdefault(domain(row), []).append(i)
    kept: list[int] = []
    for name, n in quota.items():
        places = indices.get(name, [])
        kept += random.Random(f"{seed}:{name}").sample(places, min(n, len(places)))
    return [rows[i] for i in sorted(kept)]


def parse_ratios(text: str) -> dict[str, float]:
    """``math:5,code:3`` as a mapping; "paper" is the paper's mix. Raises AhaError for anything else."""
    if text == "paper":
        return {name: float(n) for name, n in PAPER.items()}
    ratios: dict[str, Any] = {}
    for part in text.split(","):
        name, _, number = part.strip().rpartition(":")
        try:
            ratios[name] = float(number)
        except ValueError:
            ratios[name] = 0.0
        if not name or not 0 < ratios[name] < float("inf"):
            raise AhaError(f"'{part}' is no quota. Write DOMAIN:NUMBER with commas between: math:5,code:3.")
    return ratios
