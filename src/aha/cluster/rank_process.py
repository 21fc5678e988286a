"""One trainer rank: ``python -m aha.cluster.rank_process PARENT WORDS...`` is ``aha WORDS...``, which ends with PARENT.

The command cannot tell it from torchrun's: what differs is only how the process ends.
"""

from __future__ import annotations

import ctypes
import os
import runpy
import signal
import sys
import threading
import time
import traceback

from aha import ranks
from aha.types import AhaError

_PR_SET_PDEATHSIG = 1


def leash(parent: int) -> None:
    """End this process when its parent ends, by whatever cause, also while it is stopped."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    else:
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    if os.getppid() != parent:  # it ended before it could be noticed
        os._exit(1)


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1.0)
    os.kill(os.getpid(), signal.SIGKILL)


def main(parent: int, words: list[str]) -> int:
    """Run the command; returns its exit code, or one that says that its error was not explained."""
    leash(parent)
    if ranks.watched():  # Ray blocks it for what it starts
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = ["aha", *words]
    try:
        runpy.run_module("aha", run_name="__main__", alter_sys=True)
    except AhaError as error:  # with --debug
        traceback.print_exc()
        return ranks.exit_code(error)
    except Exception:
        traceback.print_exc()
        return ranks.CRASHED
    return 0


if __name__ == "__main__":
    ranks.end(main(int(sys.argv[1]), sys.argv[2:]))
