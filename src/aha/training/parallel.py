"""Several ranks on one optimizer batch. Weights are normalised over the whole batch, so gradients are summed."""

from __future__ import annotations

from collections.abc import Sequence

import torch.distributed as dist
from torch import Tensor

from aha.types import Batch


def world() -> tuple[int, int]:
    """(rank, number of ranks); (0, 1) outside torch.distributed."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def sum_gradients(masters: Sequence[Tensor]) -> None:
    """Add up every rank's float32 gradients in place: each rank then takes the same step."""
    if world()[1] == 1:
        return
    for master in masters:
        dist.all_reduce(master.grad)


def deal(batches: Sequence[Batch], rank: int, size: int) -> list[Batch]:
    """The share of ``rank``: batches by falling length, dealt in turn, so that shares are about equal."""
    order = sorted(range(len(batches)), key=lambda i: (-len(batches[i].token_ids), i))
    return [batches[i] for i in order[rank::size]]
