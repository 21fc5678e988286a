"""Conversations from files and from stages' data, as sequences to train on: learned on what the assistant says."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from aha import chat
from aha.data.quotas import quotas
from aha.data.schemas import Record, read_source
from aha.types import AhaError, Example, Message

LearnedTurns = Literal["all", "last"]
"""Which of the assistant's turns are learned."""


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
    by_source = {f"{i}:{path}": read_source(path)[0] for i, path in enumerate(paths)}
    counts = {name: len(records) for name, records in by_source.items()}
    if shares:
        counts = quotas(counts, dict(zip(by_source, shares, strict=True)), total)
    elif total is not None and total < sum(counts.values()):
        counts = quotas(counts, {name: float(n) for name, n in counts.items()}, total)
    records: list[Record] = []
    for name, members in by_source.items():
        rng = random.Random(f"{seed}:{name.partition(':')[0]}")
        records += [members[i] for i in sorted(rng.sample(range(len(members)), counts[name]))]
    return records, counts


def to_examples(
    record: Record, tokenizer: Any, prompt: chat.Prompt, turns: LearnedTurns = "all"
) -> tuple[list[Example], str]:
    """(a row as sequences to train on, why it is none in words or "").

    Learned are the assistant's turns, each up to and with what ends it (``chat.turn_end``), without which it would
    never end; masked is all else. A turn is learned after the very prompt that it would be asked with. Where each
    prompt goes on from the turn before, as most templates have it, all are one sequence; where a template leaves
    earlier thinking out, each turn is a sequence of its own.
    """
    messages = record.messages
    spoken = [i for i, m in enumerate(messages) if i and m["role"] == "assistant"]
    if turns == "last":
        spoken = spoken[-1:] if spoken and spoken[-1] == len(messages) - 1 else []
    end = chat.turn_end(tokenizer, prompt)
    examples: list[Example] = []
    try:
        for i in spoken:
            example = turn_example(messages[:i], messages[i], tokenizer, prompt, end, record.tools)
            if example is not None:
                _add(examples, example)
    except AhaError as error:
        return [], str(error)
    return examples, "" if examples else "no completion"


def turn_example(
    before: Sequence[Message],
    said: Message,
    tokenizer: Any,
    prompt: chat.Prompt,
    end: tuple[int, ...],
    tools: Sequence[Any],
) -> Example | None:
    """One turn after its prompt, ids [L]; None where nothing is said. Raises AhaError for what cannot be rendered."""
    options = {"tools": list(tools)} if tools else {}
    uses_tools = bool(options) or any(m.get("tool_calls") or m["role"] == "tool" for m in (*before, said))
    if uses_tools and not prompt.turns:
        raise AhaError("tools, and the prompt is no chat template that could show them")
    rendered = chat.render(before, tokenizer, prompt=prompt, chat_options=options)
    if said.get("tool_calls"):
        text = chat.render_call(before, said, rendered, tokenizer, prompt, options)
    else:
        text = chat.render_completion(said, rendered)
    if not text.strip():
        return None
    first = chat.encode_prompt(rendered, tokenizer)
    ids = np.array([*first, *tokenizer.encode(text, add_special_tokens=False), *end], np.int64)
    mask = np.arange(len(ids)) >= len(first)
    return Example(ids, mask, np.zeros(len(ids)), prompt_length=len(first))


def _add(examples: list[Example], example: Example) -> None:
    """Put a turn behind the ones before it if it goes on from them token by token, else beside them."""
    before = examples[-1] if examples else None
    if before is not None:
        n = len(before.token_ids)
        if len(example.token_ids) > n and (example.token_ids[:n] == before.token_ids).all():
            mask = np.concatenate([before.mask, example.mask[n:]])
            examples[-1] = replace(example, mask=mask, prompt_length=before.prompt_length)
            return
    examples.append(example)


def load(
    paths: Sequence[str],
    shares: Sequence[float],
    total: int | None,
    tokenizer: Any,
    prompt: chat.Prompt,
    max_length: int,
    seed: int,
    turns: LearnedTurns = "all",
) -> Conversations:
    """All conversations that have a completion and at most ``max_length`` tokens.

    Raises AhaError if none is left.
    """
    records, sources = read_sources(paths, shares, total, seed)
    loaded = Conversations(sources=sources)
    for record in records:
        if record.label is not None and record.label <= 0.5:  # an answer that is said to be bad
            loaded.dropped["not preferred"] += 1
            continue
        examples, reason = to_examples(record, tokenizer, prompt, turns)
        if reason:
            loaded.dropped[reason] += 1
        for example in examples:
            if len(example.token_ids) > max_length:
                loaded.dropped["too long"] += 1
            else:
                loaded.examples.append(example)
    if not loaded.examples:
        raise AhaError(
            f"No conversation of {sum(sources.values())} can be trained on: {dict(loaded.dropped)}. Raise "
            "max_length, or give rows with a completion."
        )
    return loaded
