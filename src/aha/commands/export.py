"""Copy a run's final checkpoint to a folder, with a card: recipe, lineage of stages, data, results. With --push
it goes to the Hugging Face hub as well."""

from __future__ import annotations

import argparse
from pathlib import Path

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

    source = args.run if args.run.exists() else args.runs_dir / args.run
    if not source.is_dir():
        raise AhaError(f"No run at '{args.run}' nor at '{source}'.")
    made = export(source, args.folder, args.stage)
    print(f"Model    {args.folder} (the final checkpoint of {made.name})")
    if args.push:
        print(f"Pushed   {_push(args.folder, args.push, private=not args.public)}")
    else:
        print(f"Next     aha chat {args.folder}")
    return 0


def _push(folder: Path, repo: str, *, private: bool) -> str:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError

    api = HfApi()
    try:
        url = api.create_repo(repo, private=private, exist_ok=True)
        api.upload_folder(repo_id=repo, folder_path=folder)
    except (HfHubHTTPError, LocalTokenNotFoundError, OSError, ValueError) as error:
        raise AhaError(
            f"Could not push to '{repo}': {str(error).strip().splitlines()[0]}\nThe checkpoint is in {folder}. "
            "Log in with 'hf auth login' and give the upload command 'hf upload' by hand, or try again into a "
            "new folder."
        ) from error
    return str(url)
