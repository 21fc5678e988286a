"""Write a run's report.html (again), one self-contained page, and say where it is."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "write a run's report.html again, and say where it is"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which run."""
    parser.add_argument("run", type=Path, help="the run's folder, or its name in the runs folder")
    parser.add_argument("--runs-dir", type=Path, default=Path("runs"), help="where runs are kept")


def run(args: argparse.Namespace) -> int:
    """Write the page."""
    from aha.runs.overview import run_folder
    from aha.runs.report.page import write_report
    from aha.runs.state import result

    folder = run_folder(args.run, args.runs_dir)
    print(f"Report   {write_report(folder)}")
    checkpoint = result(folder)
    print("Next     open it in a browser" + (f"; aha chat {checkpoint}" if checkpoint is not None else ""))
    return 0
