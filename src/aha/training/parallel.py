"""Several ranks on one optimizer batch. Weights are normalised over the whole batch, so gradients are summed.

Every rank packs the whole batch, the same way, and computes its share of the micro-batches; what they return is
gathered, so that every rank knows all of it, in the order that one process would have.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from aha import ranks
from aha.types import AhaError, Batch

BUCKET = 1 << 24
"""Gradients that are exchanged at once, in elements."""
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
    bucket: list[Tensor] = []
    for number, master in enumerate(masters, 1):
        assert master.grad is not None
        bucket.append(master.grad)
        if number == len(masters) or sum(grad.numel() for grad in bucket) >= BUCKET:
            _sum(bucket)
            bucket = []


def _sum(grads: Sequence[Tensor]) -> None:
    """Add up in one exchange what would take one each: small tensors cost mostly the waiting."""
    if len(grads) == 1:
        dist.all_reduce(grads[0])
        return
    flat = torch.cat([grad.reshape(-1) for grad in grads])
    dist.all_reduce(flat)
    for grad, total in zip(grads, flat.split([grad.numel() for grad in grads]), strict=True):
        grad.copy_(total.view_as(grad))


def dealt(batches: Sequence[Batch], rank: int, size: int) -> list[int]:
    """Which batches are the share of ``rank``: by falling length, dealt there and back, so that shares are about
    equal."""
    order = sorted(range(len(batches)), key=lambda i: (-len(batches[i].token_ids), i))
    rounds = (order[i : i + size] for i in range(0, len(order), size))
    places = (rank if number % 2 == 0 else size - 1 - rank for number in itertools.count())
    return [row[place] for row, place in zip(rounds, places) if place < len(row)]  # noqa: B905, endless places


def deal(batches: Sequence[Batch], rank: int, size: int) -> list[Batch]:
    """The share of ``rank``, see ``dealt``."""
    return [batches[i] for i in dealt(batches, rank, size)]


def balance(packed: Callable[[int], list[Batch]], max_tokens: int, dp_size: int | None = None) -> list[Batch]:
    """``packed(max_tokens)``; on several ranks the same examples in chunks of about equal length, equally many a
    rank (as in DeepSeek-R1's infrastructure), so that no rank waits for another. The gradient is the same.

    ``dp_size``: among how many they are dealt, see ``Trainer.dp_size``; the ranks if it is not given.
    """
    batches, size = packed(max_tokens), dp_size or world()[1]
    if not batches or size == 1:
        return batches
    count = math.ceil(len(batches) / size) * size
    splits = [batches]
    small, large = sum(len(b.token_ids) for b in batches) // count, max_tokens
    for _ in range(TRIES):  # for the shortest chunks of which there are no more
        tokens = (small + large) // 2
        try:
            again = packed(tokens)
        except AhaError:  # one example is longer than such a chunk
            small = tokens
            continue
        if len(again) > count:
            small = tokens
        else:
            large = tokens
            splits.append(again)
    return min(splits, key=lambda batching: (len(batching) % size != 0, _longest_share(batching, size)))


def _longest_share(batches: Sequence[Batch], size: int) -> int:
    return max(sum(len(b.token_ids) for b in deal(batches, rank, size)) for rank in range(size))
