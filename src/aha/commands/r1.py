"""The whole of DeepSeek-R1: R1-Zero, cold start, two rounds of fine-tuning and reinforcement learning, rejection
sampling, reward models, distillation, and a table of every checkpoint on every task.

  aha r1 --dry-run                          what would run, beside the paper's settings; with estimates
  aha r1                                    an embedded base, on a CPU
  aha r1 --base Qwen/Qwen2.5-1.5B --tasks gsm8k --teacher http://host:8000/v1#MODEL

A run that was interrupted continues. With a changed setting, as in aha r1 dev3.epochs=3, a run beside it (r1-2) takes
over the stages that are the same, and runs that stage and those that need it. People's review of the cold-start chains:
aha r1 cold_start.review=required."""

from __future__ import annotations

import argparse

from aha.commands import run as run_command

HELP = "the whole R1 recipe: every stage of the paper, resumable; --dry-run shows the plan"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """As ``aha run r1``."""
    run_command.add_run_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Run the recipe r1."""
    args.recipe = "r1"
    return run_command.run(args)
