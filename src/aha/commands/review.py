"""Walk through the cold-start chains of a run: accept, reject or edit each. What was decided stands in
review_edited.jsonl, which the stage reads when the run is given again; a review that is left goes on where it was.

  aha review runs/r1                 the chains that wait
  aha review runs/r1 --all           also those that were decided on
  EDITOR=nano aha review runs/r1     "e" opens the chain there"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from aha.types import AhaError

if TYPE_CHECKING:
    from aha.stages.data.review import ChainReview

KEYS = "a accept   r reject   e edit   n note   s skip   b back   q quit"
HELP = "review cold-start chains in the terminal: accept, reject, edit"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which run, and which of its chains."""
    parser.add_argument("run", type=Path, help="a run's folder, or that of its stage cold_start")
    parser.add_argument("--all", action="store_true", help="show chains that were decided on, too")


def run(args: argparse.Namespace) -> int:
    """Show chain after chain until all are decided on or the review is left."""
    from aha.stages.data.review import ChainReview, find_folder

    review = ChainReview(find_folder(args.run))
    places = list(range(len(review.rows))) if args.all else review.waiting
    print(f"{len(places)} of {len(review.rows)} chains to look at. {KEYS}")
    _walk(review, places)
    counts = ", ".join(f"{n} {name}" for name, n in review.counts().items())
    print(f"\nReview   {review.path if review.path.exists() else 'nothing was decided'} ({counts})")
    if review.path.exists():
        print("Next     give the run's command again: what depends on the chains runs anew")
    return 0


def _walk(review: ChainReview, places: list[int]) -> None:
    at = 0
    while at < len(places):
        _show(review, places[at], at, len(places))
        key = _read("> ").strip().lower()[:1]
        if key == "q":
            return
        if key == "b":
            at = max(0, at - 1)
        elif key == "s" or (key and key in "aren" and _act(review, places[at], key)):
            at += 1
        elif key and key not in "aren":
            print(KEYS)


def _act(review: ChainReview, place: int, key: str) -> bool:
    """Do what a key stands for; returns whether the next chain follows."""
    if key == "a":
        review.decide(place, "accept")
    elif key == "r":
        review.decide(place, "reject")
    elif key == "n":
        review.decide(place, str(review.rows[place]["status"]), note=_read("note: ").strip())
        return False
    else:
        return _edit(review, place)
    return True


def _edit(review: ChainReview, place: int) -> bool:
    from aha.stages.data.review import fault

    before = str(review.rows[place]["text"])
    text = edited(before)
    if text == before:
        print("nothing was changed")
        return False
    if wrong := fault(text):
        print(f"its form is broken: {wrong}. Edit it again; nothing was kept of it.")
        return False
    review.decide(place, "accept", text)
    return True


def edited(text: str) -> str:
    """A text as it comes back from $VISUAL or $EDITOR. Raises AhaError where that cannot be started or fails."""
    command = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "chain.txt"
        path.write_text(text + "\n", encoding="utf-8")
        try:
            code = subprocess.call([*shlex.split(command), str(path)])
        except OSError as error:
            raise AhaError(
                f"The editor '{command}' cannot be started ({error.strerror}): set EDITOR."
            ) from error
        if code:
            raise AhaError(f"The editor '{command}' ended with status {code}; the chain stays as it was.")
        return path.read_text(encoding="utf-8").strip()


def _read(ask: str) -> str:
    """A line from the terminal; "q" at its end."""
    try:
        return input(ask)
    except EOFError:
        return "q"


def _show(review: ChainReview, place: int, at: int, of: int) -> None:
    row = review.rows[place]
    width = "-" * 78
    note = f"   note: {row['note']}" if row.get("note") else ""
    print(f"\n{width}\n{at + 1} of {of}   {row['id']}   {row['status']}{note}")
    for title, text in (("Question", row["question"]), ("Draft", row["draft"]), ("Rewritten", row["text"])):
        print(f"\n{title}:\n{text}")
    sys.stdout.flush()
