"""Distil a reasoning model into a smaller one: sample the teacher's answers, keep the right and readable ones, tune
the student on them, and compare the three.

  aha distill --teacher runs/zero/rl/final --task countdown
  aha distill --teacher http://host:8000/v1#MODEL --student Qwen/Qwen2.5-1.5B --task gsm8k --data train.jsonl

Without --student a small model is pretrained first. The teacher may be a checkpoint or an endpoint."""

from __future__ import annotations

import argparse

from aha.commands import run as run_command

HELP = "teach a smaller model by a teacher's right answers"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """As ``aha run distill``."""
    run_command.add_run_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Run the recipe distill."""
    args.recipe = "distill"
    return run_command.run(args)
