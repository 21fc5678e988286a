"""Train a reward model on judged answers of your own: pairs (prompt, chosen, rejected), or answers with a label.

  aha reward-model pairs.jsonl --model HuggingFaceTB/SmolLM2-135M
  aha reward-model labels.jsonl --model tiny reward_model.kind=safety

Rows of a tenth of the questions are held out; loss and accuracy on them are shown at the end, with the
error of calibration. A classifier of Hugging Face as --model is not trained, but measured on all rows. The layers are
saved as a checkpoint that transformers loads, the scalar head beside them. Train against it with
rl.helpful_model=FOLDER."""

from __future__ import annotations

import argparse

from aha.commands import run as run_command
from aha.commands.sft import with_data

HELP = "train a reward model on your own pairs or labels"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """As ``aha run reward_model``; words without "=" are the data."""
    run_command.add_run_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Run the recipe reward_model."""
    return with_data(args, "reward_model")
