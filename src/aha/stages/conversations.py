"""Conversations from files and from stages' data, as sequences to train on: learned on the completion only."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from aha import chat
from aha.data.quotas import quotas
from aha.data.schemas import Record, read_source
from aha.types import AhaError, Example


@dataclass(slots=True)
class Conversations:
    """Examples in order, how many rows each source gave, and how many went for which reason."""

    examples: list[Example] = field(default_factory=list)
    sources: dict[str, int] = field(default_factory=dict)
    dropped: Counter[str] = field(default_factory=Counter)


def read_sources(
    paths: Sequence[str], shares: Sequence[float], total: int | None, seed: int
) -> tuple[list[Record], dict[str, int]]:
    """Rows of every source, one after another, and how many of each.

    ``shares``: proportions in which the sources are taken (none: everything); the scarcest one then says how
    much there is, unless ``total`` does. Raises AhaError if shares and sources do not match.
    """
    if not paths:
        raise AhaError("There is no data: give at least one file or stage in `data`.")
    if shares and len(shares) != len(paths):
        raise AhaError(f"{len(paths)} sources of data but {len(shares)} shares: give one for each, or none.")
    found = {f"{i}:{path}": read_source(path)[0] for i, path in enumerate(paths)}
    counts = {name: len(records) for name, records in found.items()}
    if shares:
        counts = quotas(counts, dict(zip(found, shares, strict=True)), total)
    elif total is not None and total < sum(counts.values()):
        counts = quotas(counts, {name: float(n) for name, n in counts.items()}, total)
    records: list[Record] = []
    for name, members in found.items():
        rng = random.Random(f"{seed}:{name.partition(':')[0]}")
        records += [members[i] for i in sorted(rng.sample(range(len(members)), counts[name]))]
    return records, counts


def to_example(record: Record, tokenizer: Any, template: chat.Template) -> Example | None:
    """Prompt and last assistant message as ids [L], the end-of-text mark last; None without a completion.

    Masked is the prompt; trained are the completion's tokens and the mark, without which it would never end.
    """
    if len(record.prompt) == len(record.messages) or not record.prompt:
        return None
    rendered = chat.render(record.prompt, tokenizer, template=template)
    text = chat.render_completion(record.messages[-1], rendered)
    if not text.strip():
        return None
    prompt = chat.encode_prompt(rendered, tokenizer)
    completion = tokenizer.encode(text, add_special_tokens=False)
    ids = np.array([*prompt, *completion, tokenizer.eos_token_id], np.int64)
    mask = np.arange(len(ids)) >= len(prompt)
    return Example(ids, mask, np.zeros(len(ids)), prompt_length=len(prompt))


def load(
    paths: Sequence[str],
    shares: Sequence[float],
    total: int | None,
    tokenizer: Any,
    template: chat.Template,
    max_length: int,
    seed: int,
) -> Conversations:
    """All conversations that have a completion and at most ``max_length`` tokens.

    Raises AhaError if none is left.
    """
    records, sources = read_sources(paths, shares, total, seed)
    found = Conversations(sources=sources)
    for record in records:
        if record.label is not None and record.label <= 0.5:  # an answer that is said to be bad
            found.dropped["not preferred"] += 1
            continue
        example = to_example(record, tokenizer, template)
        if example is None:
            found.dropped["no completion"] += 1
        elif len(example.token_ids) > max_length:
            found.dropped["too long"] += 1
        else:
            found.examples.append(example)
    if not found.examples:
        raise AhaError(
            f"No conversation of {sum(sources.values())} can be trained on: {dict(found.dropped)}. Raise "
            "max_length, or give rows with a completion."
        )
    return found
