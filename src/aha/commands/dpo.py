"""Tune a model on preferences: pairs of a chosen and a rejected completion, or single completions with a label.

  aha dpo HuggingFaceTB/SmolLM2-135M-Instruct --data pairs.jsonl
  aha dpo tiny --data pairs.jsonl --loss simpo dpo.beta=2 dpo.gamma=1
  aha dpo tiny --data labels.jsonl --loss kto

Rows: prompt, chosen, rejected (texts or messages; the prompt may stand in both sides), UltraFeedback's and HH-RLHF's
rows, prompt, completion, label for kto, and what aha's own stages wrote. What cannot be used is set aside or counted
by reason. dpo.label_smoothing=0.1 is conservative DPO. Loss and accuracy on held-out questions are shown at the end;
the checkpoint is runs/dpo/dpo/final, which transformers loads. An interrupted run continues."""

from __future__ import annotations

import argparse
from pathlib import Path

from aha.commands import run as run_command
from aha.commands.sft import with_data
from aha.types import AhaError

HELP = "tune a model on preferences: DPO, IPO, ORPO, SimPO or KTO on your own pairs or labels"
LOSSES = ("dpo", "ipo", "orpo", "simpo", "kto")
LOSS_SETTINGS = ("loss", "dpo.loss", "algorithm.loss", "dpo.algorithm.loss")
"""How the setting may be called that ``--loss`` is short for."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """As ``aha run dpo``; of words without "=" the first is the model where --data is given, else all are data."""
    run_command.add_run_arguments(parser)
    parser.add_argument("--loss", choices=LOSSES, help="what is learned from preferences (default dpo)")


def run(args: argparse.Namespace) -> int:
    """Run the recipe dpo."""
    if args.data:
        take_model(args)
    if args.loss:
        check_loss(args)
        args.settings = [*args.settings, f"dpo.loss={args.loss}"]
    return with_data(args, "dpo")


def check_loss(args: argparse.Namespace) -> None:
    """Raise AhaError where the settings name another loss than --loss."""
    words = [word for word in args.settings if word.partition("=")[0].strip() in LOSS_SETTINGS]
    if others := [word for word in words if word.partition("=")[2].strip() != args.loss]:
        raise AhaError(f"--loss {args.loss} and {others[-1]} both say which loss: give one of them.")


def take_model(args: argparse.Namespace) -> None:
    """The word that is no setting is the model. Raises AhaError for several, and where --model is another one."""
    words = [word for word in args.settings if "=" not in word or Path(word).exists()]
    if len(words) > 1 or (words and args.model not in (None, words[0])):
        named = ", ".join(filter(None, [args.model, *words]))
        raise AhaError(f"Which is the model: {named}? Write aha dpo MODEL --data FILE, one of each.")
    args.model = words[0] if words else args.model
    args.settings = [word for word in args.settings if word not in words]
