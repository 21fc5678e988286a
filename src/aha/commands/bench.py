"""Measure parts of aha on this machine, beside peers where they are installed."""

from __future__ import annotations

import argparse
from importlib import import_module

HELP = "measure this machine against peers"
BENCHES = ("rollout", "train", "step", "load", "grade", "sandbox", "peers", "gpu", "learn")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One subcommand for each part."""
    parts = parser.add_subparsers(dest="part", metavar="PART", required=True)
    for name in BENCHES:
        module = import_module(f"aha.bench.{name}")
        about = (module.__doc__ or module.HELP).strip()
        sub = parts.add_parser(
            name, help=module.HELP, description=about, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        sub.add_argument("--debug", action="store_true", help="show tracebacks")
        module.add_arguments(sub)


def run(args: argparse.Namespace) -> int:
    """Run the part's benchmark, on ranks if they are asked for."""
    if getattr(args, "ranks", None):
        from aha.commands import local_ranks

        local_ranks.start(args)
    return import_module(f"aha.bench.{args.part}").run(args)
