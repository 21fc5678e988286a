"""R1-Zero: pure reinforcement learning from a base model, no supervised fine-tuning.

Without arguments it trains the embedded base (1.7 million parameters) on Countdown, in minutes, on a CPU,
without a network. With --model and --task it is the same path on a real model."""

from __future__ import annotations

import argparse

from aha.commands import run as run_command

HELP = "R1-Zero from a base model: watch it learn to think (start here)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """As ``aha run r1_zero``."""
    run_command.add_run_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Run the recipe r1_zero."""
    args.recipe = "r1_zero"
    return run_command.run(args)
