"""What a model has said in conversations that are not through, kept in a file: a turn is never asked twice."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from io import RawIOBase
from pathlib import Path
from typing import Any

import numpy as np

from aha import ranks
from aha.benchmarks import keeping
from aha.files import disk_errors
from aha.rewards.accuracy import given_up
from aha.types import AhaError, Finish, Rollout

UNKNOWN_TOKEN = -1
"""Stands for each token of an answer that is read back: how many they were is known."""
Conversation = tuple[str, int]
"""(problem, number of the sample)."""


class SaidTurns:
    """The answers of conversations by turn. ``add`` writes each as it comes."""

    def __init__(self, out: RawIOBase, file: Path, said: dict[Conversation, list[Rollout]]):
        self._out, self._file, self._said = out, file, said

    def of(self, conversation: Conversation) -> list[Rollout]:
        """What was said in it so far."""
        return self._said.setdefault(conversation, [])

    def add(self, conversation: Conversation, rollout: Rollout) -> None:
        """The answer to its next turn."""
        turn = len(self.of(conversation))
        row = {"problem": json.dumps([*conversation, turn]), "text": rollout.text, "finish": rollout.finish.value,
               "tokens": len(rollout.completion_ids), "opened_think": rollout.opened_think}  # fmt: skip
        keeping.put(self._out, self._file, row)
        self.of(conversation).append(rollout)


@contextmanager
def kept(file: Path) -> Iterator[SaidTurns]:
    """What was said before and is said now, of the graded problems' ``file``; nothing is left of it when all ranks are
    through."""
    beside = file.with_name(f"{file.stem}.turns.jsonl")
    keeping.take_over(beside, lambda: {row["problem"] for row in _rows(beside)})
    said = _read(beside)
    with disk_errors(beside):
        beside.parent.mkdir(parents=True, exist_ok=True)
    with keeping.part_of(beside).open("ab", buffering=0) as out:
        yield SaidTurns(out, beside, said)
    if ranks.world()[1] > 1:
        ranks.barrier()
    keeping.part_of(beside).unlink(missing_ok=True)
    if ranks.is_main():
        beside.unlink(missing_ok=True)


def _rows(file: Path) -> Iterator[dict[str, Any]]:
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def _read(file: Path) -> dict[Conversation, list[Rollout]]:
    """Raises AhaError for a file that something else wrote."""
    if not file.exists():
        return {}
    turns: dict[Conversation, dict[int, Rollout]] = {}
    try:
        for row in _rows(file):
            problem, sample, turn = json.loads(row["problem"])
            turns.setdefault((str(problem), int(sample)), {})[int(turn)] = _rollout(row)
    except (ValueError, KeyError, TypeError) as error:
        raise AhaError(f"{file} cannot be read ({error}). Remove it: its turns are asked again.") from error
    return {name: _answered(said) for name, said in turns.items()}


def _answered(said: dict[int, Rollout]) -> list[Rollout]:
    """The turns from the first on that were answered: one that was refused is asked again."""
    answers: list[Rollout] = []
    for turn in range(len(said)):
        if turn not in said or given_up(said[turn]) is not None:
            break
        answers.append(said[turn])
    return answers


def _rollout(row: dict[str, Any]) -> Rollout:
    ids = np.full(int(row["tokens"]), UNKNOWN_TOKEN, np.int64)
    return Rollout(
        np.zeros(0, np.int64),
        ids,
        np.full(len(ids), np.nan, np.float32),
        str(row["text"]),
        Finish(row["finish"]),
        opened_think=bool(row["opened_think"]),
    )
