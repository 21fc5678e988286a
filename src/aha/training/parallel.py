"""Several ranks on one optimizer batch. Weights are normalised over the whole batch, so gradients are summed.

Every rank packs the whole batch, the same way, and computes its share of the micro-batches; what they return is
gathered, so that every rank knows all of it, in the order that one process would have.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch.distributed as dist
from torch import Tensor

from aha import ranks
from aha.types import AhaError, Batch

TRIES = 6
"""How often chunks are cut anew for an equal number a rank."""


def world() -> tuple[int, int]:
    """(rank, number of ranks); (0, 1) outside torch.distributed and within ``ranks.alone``."""
    if ranks.world()[1] > 1 and dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def sum_gradients(masters: Sequence[Tensor]) -> None:
    """Add up every rank's float32 gradients in place: each rank then takes the same step."""
    if world()[1] == 1:
        return
    for master in masters:
        dist.all_reduce(master.grad)


def dealt(batches: Sequence[Batch], rank: int, size: int) -> list[int]:
    """Which batches are the share of ``rank``: by falling length, dealt in turn, so that shares are about equal."""
    order = sorted(range(len(batches)), key=lambda i: (-len(batches[i].token_ids), i))
    return order[rank::size]


def deal(batches: Sequence[Batch], rank: int, size: int) -> list[Batch]:
    """The share of ``rank``, see ``dealt``."""
    return [batches[i] for i in dealt(batches, rank, size)]


def even(packed: Callable[[int], list[Batch]], max_tokens: int, dealt_to: int | None = None) -> list[Batch]:
    """``packed(max_tokens)``, or, where that leaves some ranks a chunk less than others, the same examples in
    smaller chunks, equally many a rank (as in DeepSeek-R1's infrastructure). The gradient is the same.

    ``dealt_to``: among how many they are dealt, see ``Trainer.dealt_to``; the ranks if it is not given.
    """
    batches, size = packed(max_tokens), dealt_to or world()[1]
    if not batches or len(batches) % size == 0:
        return batches
    wanted = math.ceil(len(batches) / size) * size
    small, large = sum(len(b.token_ids) for b in batches) // wanted, max_tokens
    for _ in range(TRIES):
        tokens = (small + large) // 2
        try:
            again = packed(tokens)
        except AhaError:  # one example is longer than such a chunk
            small = tokens
            continue
        if len(again) == wanted:
            return again
        small, large = (tokens, large) if len(again) > wanted else (small, tokens)
    return batches
