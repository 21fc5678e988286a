"""Runs side by side: the settings that differ, the figures of their curves, a paired test on the problems that both
were asked after training, and samples that one solves and the other does not. Where a difference is no more than
chance it says that they cannot be told apart."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aha.analysis.compare import CurveFigure, PairOfRuns, RunComparison, SolvedByOne

HELP = "compare runs: settings that differ, curves, a paired test on the same problems, samples"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which runs."""
    parser.add_argument(
        "runs", type=Path, nargs="+", metavar="RUN", help="folders, or names in the runs folder"
    )
    parser.add_argument(
        "--stage", help="whose answers are compared; default: the last one that was evaluated"
    )
    parser.add_argument("--json", action="store_true", help="print all of it as JSON")
    parser.add_argument("--runs-dir", type=Path, default=Path("runs"), help="where runs are kept")


def run(args: argparse.Namespace) -> int:
    """Compare and print."""
    from aha.analysis.compare import compare
    from aha.runs.overview import run_folder

    folders = [run_folder(place, args.runs_dir) for place in args.runs]
    comparison = compare(folders, args.stage)
    print(
        json.dumps(comparison.as_json(), ensure_ascii=False, indent=1, default=str)
        if args.json
        else described(comparison)
    )
    return 0


def described(comparison: RunComparison) -> str:
    """A comparison in words."""
    head = ["settings that differ", *comparison.runs]
    settings = [[row.name, *map(_value, row.values)] for row in comparison.settings]
    figures = [[f"{row.stage} {row.key}", *_shown(row)] for row in comparison.figures]
    parts = [
        _table([head, *settings]) if settings else "Settings: the same in all.",
        _table([["last (best)", *comparison.runs], *figures]),
        *(_pair(pair) for pair in comparison.pairs),
        *(f"Note     {note}" for note in comparison.notes),
    ]
    return "\n\n".join(parts)


def _value(value: Any) -> str:
    return (
        "-"
        if value is None
        else json.dumps(value, ensure_ascii=False)
        if isinstance(value, dict | list)
        else str(value)
    )


def _shown(row: CurveFigure) -> list[str]:
    from aha.runs.charts import show

    kind = (
        "rate"
        if row.key in ("rewards/accuracy/mean", "rewards/format/mean", "pass@1 (held out)")
        else "number"
    )
    return [
        show(last, kind) + (f" ({show(best, kind)})" if best is not None else "")
        for last, best in zip(row.last, row.best, strict=True)
    ]


def _table(rows: list[list[str]]) -> str:
    from aha.runs.charts import clean

    shown = [[clean(cell, 60) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in shown) for i in range(len(shown[0]))]
    return "\n".join(
        "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in shown
    )


def _pair(pair: PairOfRuns) -> str:
    lines = [pair.sentence()]
    for name, other, only in (
        (pair.first, pair.second, pair.first_only),
        (pair.second, pair.first, pair.second_only),
    ):
        lines += [f"Solved by {name} and not by {other}:"] if only else []
        lines += [line for solved in only for line in _solved(solved)]
    return "\n".join(lines)


def _solved(solved: SolvedByOne) -> list[str]:
    from aha.runs.charts import clean

    def one(text: str) -> str:
        return clean(" ".join(text.split()), 200)

    gold = f" (reference: {clean(solved.answer, 60)})" if solved.answer else ""
    why = f" ({clean(solved.why, 100)})" if solved.why else ""
    return [
        f"  {one(solved.question)}{gold}",
        f"    right: {one(solved.right)}",
        f"    wrong{why}: {one(solved.wrong)}",
    ]
