"""Settings of a recipe as a commented TOML file: ``aha init r1_zero > my.toml``, and then
``aha run r1_zero --config my.toml``. Takes what ``aha run`` takes; unknown names, and files that are not there,
are refused."""

from __future__ import annotations

import argparse

from aha.commands import run as run_command


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """As ``aha run``."""
    run_command.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Print every setting of the recipe."""
    args.print_config = True
    return run_command.run(args)
