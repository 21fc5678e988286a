"""What ``--ranks N`` does: this process is the first of N on this machine, and starts the others like itself."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

from aha import ranks
from aha.types import AhaError

MOST = 4
"""Ranks on CPUs by ``auto``: each has a model of its own and samples fewer rows at once."""
SECONDS = 20.0
"""How long this process may go on after another one failed: it should notice by itself, and say so better."""


def start(args: argparse.Namespace) -> None:
    """Start the other ranks, which end with this process. Nothing to do without ``--ranks``, for one rank, and in
    those that it started. Raises AhaError under torchrun, and for what is no number."""
    if args.ranks is None:
        return
    check(args.ranks)
    number = _number(args.ranks, args.device)
    if number == ranks.launched():
        return
    if ranks.launched() > 1:
        raise AhaError("--ranks starts the ranks itself: give it without torchrun.")
    own, *rest = ranks.variables(number, ranks.free_port())
    os.environ |= own
    words = [sys.executable, "-m", "aha.cluster.rank_process", str(os.getpid()), *args.words]
    others = [subprocess.Popen(words, stdin=subprocess.DEVNULL, env=os.environ | one) for one in rest]
    threading.Thread(target=_watch, args=(others,), daemon=True).start()


def check(count: str | None) -> None:
    """Raise AhaError for what is neither a number of ranks nor ``auto``."""
    if count not in (None, "auto") and not (count.isdecimal() and int(count) > 0):
        raise AhaError(f"--ranks {count}: give a number from 1, or auto.")


def _number(count: str, device: str) -> int:
    """How many ranks: a number, or ``auto``, one for each GPU here; without one, for each core, up to MOST."""
    if count != "auto":
        return int(count)
    from aha import hardware

    place = hardware.pick_device(device)
    if place.type == "cpu":
        return min(MOST, hardware.cores())
    return hardware.count(place) if place.index is None else 1


def _watch(others: Sequence[subprocess.Popen[bytes]]) -> None:
    """End this process when another rank failed and nothing else does, as while they still meet."""
    while all(process.poll() in (None, 0) for process in others):
        time.sleep(0.2)
    met = ranks.real_world()[1] > 1
    time.sleep(SECONDS if met else 1.0)
    failed = next((i, p.returncode) for i, p in enumerate(others, 1) if p.returncode)
    print(f"aha: Rank {failed[0]} ended with exit code {failed[1]}; what it said stands above. Give the same "
          "command again to continue.", file=sys.stderr, flush=True)  # fmt: skip
    os._exit(1)
