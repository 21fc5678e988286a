"""Look at runs in the browser: a table, live curves, the graph of stages, and every rollout with its reason.

The page is served on this machine's own address alone, to whoever has the token in the address that is printed.
Nothing is loaded from or sent to anywhere else, and no file of a run is changed: tags, notes and graders' mistakes
go into the folder .aha-view beside the runs, the index of rollouts into the cache."""

from __future__ import annotations

import argparse
from pathlib import Path

from aha.types import AhaError

HELP = "look at runs in the browser: live curves, stages, every rollout and why it was paid what it was"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which folders, and where to listen."""
    parser.add_argument(
        "runs", nargs="*", type=Path, default=[Path("runs")], help="folders of runs, or runs (default: runs)"
    )
    parser.add_argument(
        "--port", type=int, help="default 8421, or any free one if it is taken; 0: any free one"
    )
    parser.add_argument("--no-open", action="store_true", help="do not open a browser")


def run(args: argparse.Namespace) -> int:
    """Serve until interrupted."""
    from aha.view.server import serve

    for folder in args.runs:
        if not folder.is_dir():
            raise AhaError(
                f"{folder} is no folder. Give the folder where runs are kept, or a run's; `aha zero` makes runs/zero."
            )
    serve(args.runs, args.port, not args.no_open, lambda text: print(text, flush=True))
    return 0
