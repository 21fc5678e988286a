"""Graded problems in a file, also where several ranks write: each has a part of its own, which the first takes over.

What a rank left when it was killed is taken over at the next start, so that nothing is asked twice.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import RawIOBase
from pathlib import Path
from typing import Any, BinaryIO

from aha import ranks
from aha.benchmarks import records
from aha.benchmarks.records import GradedProblem
from aha.files import disk_errors, well_formed

Keep = Callable[[GradedProblem, dict[str, Any]], None]

TAIL = 1 << 16
"""Bytes that are read at once from a file's end."""


def trim(file: Path) -> None:
    """Take a last line away that was cut as it was written."""
    if not file.exists():
        return
    with file.open("r+b") as out:
        whole = _whole_lines(out)
        if whole < out.seek(0, os.SEEK_END):
            out.truncate(whole)


def _whole_lines(out: BinaryIO) -> int:
    """Where the last whole line of a file ends, looked for from its end: it may be larger than memory."""
    at = out.seek(0, os.SEEK_END)
    while at > 0:
        start = max(0, at - TAIL)
        out.seek(start)
        if (end := out.read(at - start).rfind(b"\n")) >= 0:
            return start + end + 1
        at = start
    return 0


def read(file: Path) -> dict[str, GradedProblem]:
    """All graded problems, on every rank, with what ranks left beside the file. Raises AhaError for a line that is
    none."""
    take_over(file, lambda: {r.problem for r in records.read(file)})
    return records.by_problem(list(records.read(file))) if file.exists() else {}


def take_over(file: Path, problems: Callable[[], set[str]]) -> None:
    """On the first rank, while the others wait: every rank's whole lines go into the file, each problem once.
    ``problems``: those that are in it."""
    ranks.broadcast_object(lambda: _take_over(file, problems))


def leave_out(file: Path, problems: set[str]) -> None:
    """Take some problems' lines away; the file is whole at every moment."""
    beside = file.with_name(f"{file.name}.tmp")
    with disk_errors(beside), file.open(encoding="utf-8") as lines, beside.open("w", encoding="utf-8") as out:
        out.writelines(line for line in lines if json.loads(line)["problem"] not in problems)
    os.replace(beside, file)


def part_of(file: Path) -> Path:
    """Where this rank writes what goes into ``file``."""
    rank, size = ranks.world()
    return file if size == 1 else file.with_name(f"{file.stem}.rank{rank}.jsonl")


def _take_over(file: Path, problems: Callable[[], set[str]]) -> None:
    trim(file)
    parts = sorted(file.parent.glob(f"{file.stem}.rank*.jsonl"))
    known = problems() if parts and file.exists() else set[str]()
    for part in parts:
        trim(part)
        with part.open(encoding="utf-8") as lines, file.open("a", encoding="utf-8") as out:
            for line in lines:
                if (problem := json.loads(line)["problem"]) not in known:
                    known.add(problem)
                    out.write(line)
        part.unlink()


def put(out: RawIOBase, file: Path, row: dict[str, Any]) -> None:
    """Write a row of ``file`` at once: nothing is held back that would fail again as it is closed."""
    left = memoryview((well_formed(json.dumps(row, ensure_ascii=False)) + "\n").encode())
    with disk_errors(file):
        while left:
            left = left[out.write(left) or 0 :]


@contextmanager
def kept(file: Path, done: dict[str, GradedProblem]) -> Iterator[Keep]:
    """Write each of this rank's graded problems as it comes; afterwards every rank has all of them in ``done``."""
    with disk_errors(file):
        file.parent.mkdir(parents=True, exist_ok=True)
    with part_of(file).open("ab", buffering=0) as out:

        def keep(record: GradedProblem, row: dict[str, Any]) -> None:
            put(out, file, row)
            done[record.problem] = record

        yield keep
    if ranks.world()[1] > 1:
        ranks.barrier()
        done |= read(file)
