"""Fine-tune a model on traces of your own: files or hub names with messages, prompt and completion, or TRL's layouts.

  aha sft traces.jsonl --model HuggingFaceTB/SmolLM2-135M
  aha sft traces.jsonl more.parquet --model tiny sft.epochs=3 sft.lr=1e-4

A share of the conversations is held out (sft.validation=0.02), and the loss on them is shown before, after each epoch
and at the end. The checkpoint is runs/sft/sft/final, which transformers loads. An interrupted run continues."""

from __future__ import annotations

import argparse
from pathlib import Path

from aha.commands import run as run_command
from aha.types import AhaError

HELP = "fine-tune a model on your own traces (supervised)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """As ``aha run sft``; words without "=" are the data."""
    run_command.add_run_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Run the recipe sft."""
    return with_data(args, "sft")


def with_data(args: argparse.Namespace, recipe: str) -> int:
    """Run a recipe on the files that stand among the words. Raises AhaError where there are none."""
    words = [word for word in args.settings if "=" not in word or Path(word).exists()]
    args.settings = [word for word in args.settings if word not in words]
    sources = [*([args.data] if args.data else []), *words]
    if not sources and not args.config:
        command = recipe.replace("_", "-")
        raise AhaError(
            f"There is no data. Write aha {command} FILE, a .jsonl or .parquet file or a hub name."
        )
    args.data, args.recipe = sources or None, recipe
    return run_command.run(args)
