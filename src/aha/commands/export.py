"""Copy a run's final checkpoint to a folder, with a card: recipe, lineage of stages, data, results. With --push
it goes to the Hugging Face hub as well."""

from __future__ import annotations

import argparse
from pathlib import Path

from aha import options
from aha.types import AhaError

HELP = "copy a run's final checkpoint with its card, or push it to the hub"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which run, where to."""
    parser.add_argument("run", type=Path, help="the run's folder, or its name in the runs folder")
    parser.add_argument("folder", type=Path, help="where the checkpoint goes; must be new or empty")
    parser.add_argument("--stage", help="which stage's model (default: the last one)")
    parser.add_argument("--push", metavar="REPO", help="upload it to this repository of the Hugging Face hub")
    parser.add_argument("--public", action="store_true", help="a repository made by --push is public")
    parser.add_argument("--runs-dir", type=Path, default=Path("runs"), help="where runs are kept")


def run(args: argparse.Namespace) -> int:
    """Copy, then push if asked to."""
    from aha.runs.export import export
    from aha.runs.overview import run_folder

    if not args.push:
        options.refuse(args, ("public",), "it is of the repository that --push REPO makes.")
    source = run_folder(args.run, args.runs_dir)
    if args.push:
        _reach(args.push, private=not args.public)  # before gigabytes are copied for nothing
    exported = export(source, args.folder, args.stage)
    print(f"Model    {args.folder} (the final checkpoint of {exported.name})")
    if args.push:
        print(f"Pushed   {_push(args.folder, args.push)}")
    else:
        print(f"Next     aha chat {args.folder}")
    return 0


def _reach(repo: str, *, private: bool) -> None:
    """Make the repository, or find it. Raises AhaError where that cannot be."""
    from huggingface_hub import HfApi

    try:
        HfApi().create_repo(repo, private=private, exist_ok=True)
    except Exception as error:  # of the hub, of the network below it: many kinds, and none is ours
        raise AhaError(
            f"Cannot push to '{repo}': {_reason(error)}. Nothing was copied. Log in with 'hf auth login', look at the "
            "name (USER/MODEL) and at the network, or leave --push away."
        ) from error


def _push(folder: Path, repo: str) -> str:
    from huggingface_hub import HfApi

    try:
        return str(HfApi().upload_folder(repo_id=repo, folder_path=folder))
    except Exception as error:
        raise AhaError(
            f"Could not push to '{repo}': {_reason(error)}. The checkpoint is in {folder}: "
            f"'hf upload {repo} {folder}' uploads it."
        ) from error


def _reason(error: Exception) -> str:
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    return lines[0][:300].rstrip(".") if lines else type(error).__name__
