"""The paper's claims over finished runs of the whole recipe, one seed each: figures, intervals over seeds, verdicts.

  aha r1 --seed 0 --run r1_0; aha run r1_claims --seed 0 --run r1_0     a run, then the stages that claims need
  aha claims r1_0 r1_1 r1_2                                             the table; three seeds or more tell most

Writes claims.md and claims.json into every run named (or into --out). A claim whose stage is missing is "not
measured"."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "judge the paper's claims over finished runs of r1 with different seeds"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which runs, where to."""
    parser.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help="run folders, or names in the runs folder"
    )
    parser.add_argument("--out", type=Path, help="folder of claims.md and claims.json (default: every run's)")
    parser.add_argument("--runs-dir", type=Path, default=Path("runs"), help="where runs are kept")


def run(args: argparse.Namespace) -> int:
    """Judge, write, print."""
    from aha.runs.claims import table as claims
    from aha.runs.overview import run_folder

    folders = [run_folder(place, args.runs_dir) for place in args.runs]
    table = claims.judge(folders)
    written = claims.write(table, [args.out] if args.out else folders)
    print(claims.markdown(table))
    print(f"Claims   {', '.join(map(str, written))}")
    print("Next     aha report RUN puts them on a run's page")
    return 0
