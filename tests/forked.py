"""Processes forked from one that has the imports behind it: real ones, with a life and a death of their own, that begin
within a tenth of a second instead of several."""

from __future__ import annotations

import multiprocessing
import os
import runpy
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aha import ranks

IMPORTED = (
    "aha.cli", "aha.commands.run", "aha.commands.zero", "aha.recipes.r1_zero", "aha.stages.rl.setup",
    "aha.stages.rl.session", "aha.planning.dry_run", "aha.runs.report.page", "aha.doctor.full.checkup",
    "transformers.models.llama.modeling_llama", "transformers.models.auto.modeling_auto",
)  # fmt: skip

FORKS = multiprocessing.get_context("forkserver" if hasattr(os, "fork") else None)
if hasattr(os, "fork"):
    FORKS.set_forkserver_preload(list(IMPORTED))


def _live(words: tuple[str, ...], folder: str, env: Mapping[str, str], log: str) -> None:
    """As ``python WORDS``: ``-m MODULE``, ``-c PROGRAM`` or a file. Both streams go to one file."""
    with open(log, "ab", buffering=0) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.chdir(folder)
    os.environ.update(env)
    first, *rest = words
    sys.argv = ["-c", *rest[1:]] if first == "-c" else rest if first == "-m" else [first, *rest]
    if first == "-c":
        exec(compile(rest[0], "<string>", "exec"), {"__name__": "__main__"})
    elif first == "-m":
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    else:
        sys.path.insert(0, str(Path(first).parent))
        runpy.run_path(first, run_name="__main__")


class Forked:
    """``python WORDS`` in a folder, with what tests ask of a ``subprocess.Popen``."""

    def __init__(self, folder: Path, *words: Any, env: Mapping[str, str] | None = None) -> None:
        number, log = tempfile.mkstemp(suffix=".log")
        os.close(number)
        self._log = Path(log)
        life = (tuple(map(str, words)), str(folder), dict(env or {}), log)
        self._process = FORKS.Process(target=_live, args=life)
        self._process.start()

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def kill(self) -> None:
        self._process.kill()

    def communicate(self, timeout: float = 900) -> tuple[str, None]:
        """What it said, once it has ended."""
        self._process.join(timeout)
        if self._process.is_alive():
            self._process.kill()
            raise AssertionError(f"no end in {timeout} s: {self._log.read_text(errors='replace')[-2000:]}")
        said = self._log.read_text(encoding="utf-8", errors="replace")
        self._log.unlink()
        return said, None


def start_ranks(*words: Any, folder: Path, size: int = 2) -> list[Forked]:
    """The ranks of one job, as torchrun would start them."""
    places = ranks.variables(size, ranks.free_port())
    return [Forked(folder, *words, env={"OMP_NUM_THREADS": "1"} | one) for one in places]


def ended(processes: Sequence[Any], timeout: float = 900) -> list[tuple[int, str]]:
    """(exit code, output) of each."""
    return [(p.returncode, out) for p in processes for out in [p.communicate(timeout=timeout)[0]]]
