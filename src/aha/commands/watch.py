"""Attach the live display to a run, wherever its folder is: one that is running, or a finished one. Nothing of the run
is changed, and Ctrl-C ends the display alone."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "attach the live display to a run, running or finished"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which run."""
    parser.add_argument("run", type=Path, help="the run's folder, or its name in the runs folder")
    parser.add_argument("--runs-dir", type=Path, default=Path("runs"), help="where runs are kept")
    parser.add_argument("--plain", action="store_true", help="plain lines instead of the live display")


def run(args: argparse.Namespace) -> int:
    """Show it until it ends."""
    from aha.runs.overview import run_folder
    from aha.runs.watching import watch

    folder = run_folder(args.run, args.runs_dir)
    try:
        print(f"State    {watch(folder, plain=True if args.plain else None)}")
    except KeyboardInterrupt:
        print(f"\nThe display ended; the run goes on. Next     aha watch {folder}")
        return 0
    print(f"Next     aha diagnose {folder}")
    return 0
