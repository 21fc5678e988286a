"""The table of the paper's claims over finished runs of the whole recipe with different seeds.

Which figures and bounds: ``claims_list``. How a verdict comes about: ``claims_rules``. Here: tables and files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aha.files import write_json, write_text
from aha.runs import charts
from aha.runs.claims.criteria import CLAIMS
from aha.runs.claims.data import RunFigures, check_seeds, notes, read_figures
from aha.runs.claims.rules import (
    LEVEL,
    BoundKind,
    Claim,
    ClaimFinding,
    ClaimVerdict,
    Criterion,
    find,
    overall,
)
from aha.types import AhaError

JSON, MARKDOWN = "claims.json", "claims.md"
RULE = (
    f"Each figure is measured in every run; the interval is Student's t interval ({LEVEL:.0%}) for the mean over "
    "seeds, of ratios on the scale of logarithms. A claim holds if the whole interval lies beyond the bound that "
    "it demands, does not hold at this scale if none of it does, and else nobody can tell; one seed has no "
    "interval. Every demand of a claim has to hold. Figures without a demand are only shown."
)


@dataclass(frozen=True, slots=True)
class Judged:
    """A claim with what was found for each of its figures."""

    claim: Claim
    findings: tuple[ClaimFinding, ...]

    @property
    def verdict(self) -> ClaimVerdict:
        """The claim's own verdict."""
        return overall(self.findings)

    @property
    def sides(self) -> tuple[int, int]:
        """(demands whose mean lies on the claim's side, demands); intervals apart."""
        means = [f.mean for f in self.findings if f.criterion.bound is not None]
        bounded = [f for f in self.findings if f.criterion.bound is not None and f.mean is not None]
        return sum(f.criterion.wanted(f.mean or 0.0) for f in bounded), len(means)


@dataclass(frozen=True, slots=True)
class Table:
    """All claims over some runs, and what a reader should know of the runs."""

    runs: tuple[RunFigures, ...]
    claims: tuple[Judged, ...]
    notes: tuple[str, ...]


def judge(folders: Sequence[Path]) -> Table:
    """Read the runs and judge every claim. Raises AhaError for no run, an unfinished one, or equal seeds."""
    if not folders:
        raise AhaError("Give one run folder at least, such as runs/r1.")
    runs = [read_figures(folder) for folder in folders]
    check_seeds(runs)
    claims = tuple(Judged(claim, tuple(find(c, runs) for c in claim.criteria)) for claim in CLAIMS)
    return Table(tuple(runs), claims, tuple(notes(runs)))


def write(table: Table, folders: Sequence[Path]) -> list[Path]:
    """Write ``claims.md`` and ``claims.json`` into each folder; returns the tables' paths."""
    text, data = markdown(table), as_json(table)
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / MARKDOWN, text)
        write_json(folder / JSON, data)
    return [folder / MARKDOWN for folder in folders]


def as_json(table: Table) -> dict[str, Any]:
    """Everything in the table, as plain data."""
    return {
        "runs": [{"folder": run.folder.name, "seed": run.seed} for run in table.runs],
        "interval": "t",
        "level": LEVEL,
        "rule": RULE,
        "notes": list(table.notes),
        "claims": [
            {
                "key": judged.claim.key,
                "title": judged.claim.title,
                "verdict": judged.verdict,
                "on_its_side": list(judged.sides),
                "figures": [_plain(finding) for finding in judged.findings],
            }
            for judged in table.claims
        ],
    }


def _plain(finding: ClaimFinding) -> dict[str, Any]:
    c = finding.criterion
    return {
        "text": c.text,
        "kind": c.kind,
        "demand": None if c.bound is None else {"side": c.side, "bound": c.bound},
        "values": list(finding.values),
        "mean": finding.mean,
        "interval": None if finding.low is None else [finding.low, finding.high],
        "verdict": finding.verdict,
        "note": finding.note,
    }


# --- as text -----------------------------------------------------------------------------------------------


def markdown(table: Table) -> str:
    """The verdicts in short, then the figures of each claim."""
    seeds = ", ".join(f"{run.folder.name} (seed {run.seed})" for run in table.runs)
    lines = [f"# The paper's claims over {len(table.runs)} run{'s' * (len(table.runs) > 1)}", "", f"Runs: {seeds}.", "",
             RULE, ""]  # fmt: skip
    lines += [f"- Note: {note}" for note in table.notes] + [""] * bool(table.notes)
    lines += ["| | claim | verdict | means on its side |", "|---" * 4 + "|"]
    for j in table.claims:
        on, of = j.sides
        lines.append(f"| {j.claim.key} | {j.claim.title} | {j.verdict} | {on} of {of} |")
    for judged in table.claims:
        lines += [
            "",
            f"## {judged.claim.key}. {judged.claim.title}: {judged.verdict}",
            "",
            *_rows(judged, table.runs),
        ]
    return "\n".join(lines) + "\n"


def _rows(judged: Judged, runs: Sequence[RunFigures]) -> list[str]:
    head = ["", *(f"seed {run.seed}" for run in runs), "mean", f"{LEVEL:.0%} interval", "demanded", "verdict"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for f in judged.findings:
        verdict = f.verdict + (f" ({f.note})" if f.note else "")
        cells = [
            f.criterion.text,
            *(value(v, f.criterion.kind) for v in f.values),
            value(f.mean, f.criterion.kind),
        ]
        lines.append("| " + " | ".join([*cells, interval(f), demand(f.criterion), verdict]) + " |")
    return lines


def interval(finding: ClaimFinding) -> str:
    """The interval's ends in words; a dash where there is none."""
    if finding.low is None or finding.high is None:
        return "-"
    kind = finding.criterion.kind
    return f"{value(finding.low, kind)} to {value(finding.high, kind)}"


def demand(criterion: Criterion) -> str:
    """What a criterion demands, in words."""
    return "" if criterion.bound is None else f"{criterion.side} {value(criterion.bound, criterion.kind)}"


def value(number: float | None, kind: BoundKind) -> str:
    """A figure as people read it: ``91.5%``, ``+3.2 points``, ``x4.1``, ``12 min 5 s``."""
    if number is None:
        return "-"
    if kind == "points":
        return f"{100 * number:+.1f} points"
    words: Mapping[str, str] = {
        "ratio": f"x{number:.2f}",
        "seconds": charts.duration(number),
        "bytes": f"{number / 1e6:,.1f} MB",
        "rate": charts.show(number, "rate"),
        "tokens": charts.show(number, "tokens"),
    }
    return words.get(kind) or charts.show(number)
