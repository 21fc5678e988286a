"""From examples to packed batches. All normalisation happens here, once, as a weight on each token.

Weights are computed over every example of the optimizer step before anything is split into micro-batches,
so micro-batch size, packing and the number of ranks cannot change the gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields

import numpy as np

from aha.types import AhaError, Batch, Example, TokenColumns

Weighting = Callable[[Sequence[Example]], list[np.ndarray]]
"""Examples of one optimizer step -> a weight [L] for each token of each example."""


def sequence_mean(examples: Sequence[Example]) -> list[np.ndarray]:
    """GRPO and PPO as published: each completion counts the same, 1 / (N |o|) per token."""
    n = len(examples)
    return [e.mask / (n * max(1, int(e.mask.sum()))) for e in examples]


def token_mean(examples: Sequence[Example]) -> list[np.ndarray]:
    """DAPO (arXiv 2503.14476, eq. 8) and SFT: each token counts the same, 1 / sum |o|."""
    total = max(1, sum(int(e.mask.sum()) for e in examples))
    return [e.mask / total for e in examples]


def constant_length(length: int) -> Weighting:
    """Dr. GRPO (arXiv 2503.20783): the sum over tokens divided by a constant, 1 / (N ``length``)."""

    def weigh(examples: Sequence[Example]) -> list[np.ndarray]:
        return [e.mask / (len(examples) * length) for e in examples]

    return weigh


def sequence_sum(examples: Sequence[Example]) -> list[np.ndarray]:
    """REINFORCE, RLOO, Kimi: log probabilities of whole completions, 1 / N per token."""
    return [e.mask / len(examples) for e in examples]


WEIGHTINGS: dict[str, Weighting] = {
    "sequence_mean": sequence_mean,
    "token_mean": token_mean,
    "sequence_sum": sequence_sum,
}


def pack(
    examples: Sequence[Example],
    weighting: Weighting,
    max_tokens: int,
    *,
    skip_zero_advantage: bool = False,
) -> list[Batch]:
    """Pack the examples of one optimizer step into batches of at most ``max_tokens`` tokens.

    Examples with the same non-negative ``group`` that land in one batch share their prompt's tokens.
    With ``skip_zero_advantage`` examples that cannot contribute to the gradient (all advantages 0, and no
    other term in the loss) are left out *after* the weights are fixed, so the gradient is unchanged.
    Raises AhaError if a single example is longer than ``max_tokens``.
    """
    weights = weighting(examples)
    offsets = np.cumsum([0, *(len(e.token_ids) for e in examples)])
    chosen = [
        (example, weight, int(offset))
        for example, weight, offset in zip(examples, weights, offsets[:-1], strict=True)
        if weight.any() and not (skip_zero_advantage and not example.advantage[example.mask].any())
    ]
    return [_join(bin_) for bin_ in _fill(chosen, max_tokens)]


def unpack(
    examples: Sequence[Example], batches: Sequence[Batch], values: Sequence[np.ndarray]
) -> list[np.ndarray]:
    """Back from packed ``values`` [T] of each batch to arrays [L], one an example; 0 where nothing was packed."""
    flat = np.zeros(sum(len(e.token_ids) for e in examples), np.float32)
    for batch, of_batch in zip(batches, values, strict=True):
        flat[batch.origin] = of_batch
    return np.split(flat, np.cumsum([len(e.token_ids) for e in examples])[:-1])


Weighted = tuple[Example, np.ndarray, int]


def _fill(items: list[Weighted], max_tokens: int) -> list[list[Weighted]]:
    """Groups stay together where they fit (they share a prompt); bins are filled best-fit."""
    bins: list[list[Weighted]] = []
    room: list[int] = []
    for block in _blocks(items, max_tokens):
        size = _packed_length(block)
        fitting = [i for i, free in enumerate(room) if free >= size]
        if fitting:
            best = min(fitting, key=lambda i: room[i])
            bins[best].extend(block)
            room[best] -= size
        else:
            bins.append(list(block))
            room.append(max_tokens - size)
    return bins


def _blocks(items: list[Weighted], max_tokens: int) -> list[list[Weighted]]:
    """Examples that share a prompt, cut so that no block is longer than ``max_tokens``; longest first."""
    grouped: dict[int, list[Weighted]] = {}
    for i, item in enumerate(items):
        if len(item[0].token_ids) > max_tokens:
            raise AhaError(
                f"A sequence of {len(item[0].token_ids)} tokens does not fit the training batch of "
                f"{max_tokens} tokens. Raise max_tokens_per_batch or lower the maximum length."
            )
        grouped.setdefault(item[0].group if item[0].group >= 0 else -1 - i, []).append(item)
    blocks: list[list[Weighted]] = []
    for members in grouped.values():
        block: list[Weighted] = []
        for item in sorted(members, key=lambda item: -len(item[0].token_ids)):
            if block and _packed_length([*block, item]) > max_tokens:
                blocks.append(block)
                block = []
            block.append(item)
        blocks.append(block)
    return sorted(blocks, key=_packed_length, reverse=True)


def _shares_prompt(example: Example) -> bool:
    return example.group >= 0 and example.prompt_length > 0


def _packed_length(block: Sequence[Weighted]) -> int:
    seen, total = set(), 0
    for example, _, _ in block:
        total += len(example.token_ids)
        if _shares_prompt(example):
            if example.group in seen:
                total -= example.prompt_length
            seen.add(example.group)
    return total


class _Joiner:
    """Lays segments end to end while keeping the arrays of a Batch."""

    def __init__(self) -> None:
        self.columns: dict[str, list[np.ndarray]] = {}
        self.segments: list[tuple[int, int, int, int]] = []
        self.length = 0

    def add(self, item: Weighted, part: slice, prefix: tuple[int, int], sequence: int) -> int:
        example, weight, offset = item
        start, count = self.length, part.stop - part.start
        predictor = np.arange(start - 1, start + count - 1)
        predictor[:1] = prefix[0] + prefix[1] - 1 if prefix[1] else -1
        logprobs = example.sampler_logprobs
        row = {
            "token_ids": example.token_ids[part],
            "positions": np.arange(part.start, part.stop),
            "predictor": predictor,
            "sequence": np.where(example.mask[part], sequence, -1),
            "weights": weight[part].astype(np.float32),
            "advantages": example.advantage[part].astype(np.float32),
            "sampler_logprobs": np.zeros(count, np.float32) if logprobs is None else logprobs[part],
            "origin": np.arange(offset + part.start, offset + part.stop),
        }
        for name in OPTIONAL_COLUMNS:
            column = getattr(example, name)
            if column is not None:
                row[name] = column[part].astype(np.float32)
        for name, values in row.items():
            self.columns.setdefault(name, []).append(values)
        self.segments.append((start, count, *prefix))
        self.length += count
        return start


OPTIONAL_COLUMNS = tuple(column.name for column in fields(TokenColumns))
"""Columns that all examples of a batch have, or none."""


def _join(items: Sequence[Weighted]) -> Batch:
    joiner = _Joiner()
    prompts: dict[int, tuple[int, int]] = {}
    for sequence, item in enumerate(items):
        example = item[0]
        length, prompt = len(example.token_ids), example.prompt_length
        if not _shares_prompt(example):
            joiner.add(item, slice(0, length), (0, 0), sequence)
            continue
        if example.group not in prompts:
            start = joiner.add(item, slice(0, prompt), (0, 0), -1)
            prompts[example.group] = (start, prompt)
        joiner.add(item, slice(prompt, length), prompts[example.group], sequence)
    arrays = {name: np.concatenate(parts) for name, parts in joiner.columns.items()}
    return Batch(segments=np.array(joiner.segments, dtype=np.int64), **arrays)
