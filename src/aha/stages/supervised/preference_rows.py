"""Rows of preferences as sequences to train on: pairs of completions, or labelled ones."""

from __future__ import annotations

import random
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from aha import aside, chat
from aha.aside import Aside
from aha.data.schemas import Record, read_source
from aha.stages.data.conversations import turn_example
from aha.types import AhaError, Example, Message


@dataclass(frozen=True, slots=True)
class PreferenceRow:
    """What one row gives: (chosen, rejected), or one completion; ``labels`` are 1 for chosen or desirable ones. ``key``
    is its question. ``mismatch``: the same prompt with a completion of another one, which KTO's estimate needs.
    ``reference``: what the reference says of ``asked``, once it is known."""

    key: str
    examples: tuple[Example, ...]
    labels: tuple[float, ...]
    mismatch: Example | None = None
    reference: tuple[float, ...] = ()

    @property
    def asked(self) -> tuple[Example, ...]:
        """All of it that the reference is asked of: its examples, and the mismatch behind them."""
        return self.examples if self.mismatch is None else (*self.examples, self.mismatch)

    @property
    def packed(self) -> int:
        """Tokens that it takes in a batch, the shared prompt once."""
        shared = self.examples[0].prompt_length * (len(self.examples) - 1)
        return sum(len(e.token_ids) for e in self.examples) - shared

    @property
    def checksum(self) -> int:
        """A number that other tokens have not."""
        crc = 0
        for example in self.asked:
            crc = zlib.crc32(np.ascontiguousarray(example.token_ids, np.int64).tobytes(), crc)
        return crc


@dataclass(slots=True)
class PreferenceRows:
    """Rows in order, how many records each source gave, and how many went for which reason."""

    rows: list[PreferenceRow] = field(default_factory=list)
    sources: dict[str, int] = field(default_factory=dict)
    dropped: Counter[str] = field(default_factory=Counter)


def read_preferences(sources: Sequence[str], paired: bool) -> tuple[list[Record], dict[str, int]]:
    """The records of the sources that have a pair or, if that is not asked for, a pair or a label; others are set aside
    with the reason. Raises AhaError where too many are, and where there is no source."""
    if not sources:
        raise AhaError("There is no data: give at least one file or stage in `data`.")
    records: list[Record] = []
    counts: dict[str, int] = {}
    for number, source in enumerate(sources):
        every = read_source(source)[0]
        bad = [Aside(r.where, why) for r in every if (why := unfit(r, paired))]
        _say_other_loss(source, every, bad, paired)
        aside.report(f"{source} (preferences)", len(every), bad)
        kept = [record for record in every if not unfit(record, paired)]
        counts[f"{number}:{source}"] = len(kept)
        records += kept
    return records, counts


def unfit(record: Record, paired: bool) -> str:
    """Why a record says nothing of preferences; "" where it does."""
    if record.prompt == record.messages:
        return "it has no completion"
    if record.rejected or (not paired and record.label is not None):
        return ""
    if paired:
        return "it has no chosen and rejected answer"
    return "it has neither a label nor a chosen and a rejected answer"


def _say_other_loss(source: str, records: Sequence[Record], bad: Sequence[Aside], paired: bool) -> None:
    """Raise AhaError where all rows are labelled ones, which another loss would take."""
    if paired and records and len(bad) == len(records) and all(r.label is not None for r in records):
        raise AhaError(
            f"The rows of '{source}' are single completions with a label. This loss learns from pairs (chosen, "
            "rejected): take --loss kto, or give pairs."
        )


def to_rows(
    records: Sequence[Record], tokenizer: Any, prompt: chat.Prompt, paired: bool, longest: int
) -> tuple[list[PreferenceRow], Counter[str]]:
    """Records as rows to train on, and how many went for which reason. ``longest``: of a sequence, in tokens.

    With ``paired`` a row is a pair; else a pair gives two rows.
    """
    collected: list[PreferenceRow] = []
    dropped: Counter[str] = Counter()
    for record in records:
        row = _row(record, tokenizer, prompt, longest)
        if isinstance(row, str):
            dropped[row] += 1
        else:
            collected += [row] if paired else _single(row)
    return collected, dropped


def _row(record: Record, tokenizer: Any, prompt: chat.Prompt, longest: int) -> PreferenceRow | str:
    """The row of a record, or why it is none."""
    before, sides = record.prompt, [record.messages[-1], *record.rejected[:1]]
    labels = (1.0, 0.0) if record.rejected else (float((record.label or 0.0) > 0.5),)
    end = chat.turn_end(tokenizer, prompt)
    try:
        turns = [turn_example(before, said, tokenizer, prompt, end, record.tools) for said in sides]
    except AhaError as error:
        return str(error)
    examples = [example for example in turns if example is not None]
    if len(examples) < len(sides):
        return "nothing is said"
    if len(examples) == 2 and np.array_equal(examples[0].token_ids, examples[1].token_ids):
        return "chosen and rejected are the same"
    if max(len(example.token_ids) for example in examples) > longest:
        return "too long"
    return PreferenceRow(question_of(record), tuple(examples), labels)


def question_of(record: Record) -> str:
    """What rows of one question share: what the user says in them. Not an id: files give one to different questions,
    and different ones to the same."""
    said: Sequence[Message] = record.prompt
    asked = [m["content"] for m in said if m["role"] == "user"]
    return str(asked or [m["content"] for m in said])


def _single(row: PreferenceRow) -> list[PreferenceRow]:
    """A row for each of its completions."""
    return [
        PreferenceRow(row.key, (example,), (label,))
        for example, label in zip(row.examples, row.labels, strict=True)
    ]


def split_by_question(
    rows: Sequence[PreferenceRow], share: float, seed: int
) -> tuple[list[PreferenceRow], list[PreferenceRow]]:
    """(to train on, held out), all rows of a question on one side; one question held out at least where ``share`` is
    above 0 and there are two."""
    keys = sorted({row.key for row in rows})
    n = min(len(keys) - 1, max(1, round(share * len(keys)))) if share and keys else 0
    out = set(random.Random(f"{seed}:validation").sample(keys, n))
    return [r for r in rows if r.key not in out], [r for r in rows if r.key in out]


def mismatched(rows: Sequence[PreferenceRow], longest: int, seed: int) -> list[PreferenceRow]:
    """The rows, each with the completion of another question behind its own prompt (KTO, arXiv 2402.01306, 4.1): the
    next one that fits into ``longest`` tokens, in an order drawn by ``seed``. One that has none stays without."""
    order = list(range(len(rows)))
    random.Random(f"{seed}:mismatched").shuffle(order)
    swapped = list(rows)
    for place, at in enumerate(order):
        following = (order[(place + step) % len(order)] for step in range(1, min(len(order), 64)))
        fitting = (j for j in following if rows[j].key != rows[at].key and _joined(rows, at, j) <= longest)
        other = next(fitting, None)
        if other is not None:
            swapped[at] = replace(rows[at], mismatch=_crossed(rows[at].examples[0], rows[other].examples[0]))
    return swapped


def _joined(rows: Sequence[PreferenceRow], at: int, other: int) -> int:
    prompt, said = rows[at].examples[0], rows[other].examples[0]
    return prompt.prompt_length + len(said.token_ids) - said.prompt_length


def _crossed(prompt: Example, said: Example) -> Example:
    """The prompt of one example with the completion of another."""
    ids = np.concatenate([prompt.token_ids[: prompt.prompt_length], said.token_ids[said.prompt_length :]])
    mask = np.arange(len(ids)) >= prompt.prompt_length
    return Example(ids, mask, np.zeros(len(ids)), prompt_length=prompt.prompt_length)


def flat(rows: Sequence[PreferenceRow]) -> list[Example]:
    """The rows' examples one after another; those of one row share their prompt and stay in one batch."""
    return [replace(e, group=i) for i, row in enumerate(rows) for e in row.examples]
