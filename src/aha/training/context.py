"""Context parallelism: consecutive ranks share each micro-batch, so that a long sequence's activations fit.

Each rank takes its own tokens through the model (``attention.shared`` says which, and brings keys and values
together) and reads what the loss needs off its own predictors. Those values are gathered, so that every rank of a
group computes the loss of the whole micro-batch; going backward each keeps the gradient of its own values. So every
token's gradient arises on one rank, and the sum over all ranks is what one process has.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aha import attention, ranks
from aha.types import AhaError, Batch


@dataclass(frozen=True, slots=True)
class RankGroup:
    """The ranks that share this one's micro-batches. ``index``: which of the ``count`` groups it is."""

    handle: Any  # torch.distributed's
    size: int
    rank: int  # within the group
    index: int
    count: int


def join(size: int) -> RankGroup | None:
    """This rank's group of ``size`` ranks, None for 1; every rank must call it.

    Raises AhaError where ``size`` does not divide the number of ranks.
    """
    if size == 1:
        return None
    rank, world = ranks.real_world()
    if world % size:
        count = f"{world} rank" + ("s" if world > 1 else "")
        raise AhaError(
            f"context_parallel_size={size} does not divide the {count} of this run, but ranks share micro-batches "
            f"in groups of so many. Start a multiple of {size} with torchrun --nproc-per-node, or give a "
            f"context_parallel_size that divides {world}."
        )
    import torch.distributed as dist

    return RankGroup(
        _groups(dist.group.WORLD, size)[rank // size], size, rank % size, rank // size, world // size
    )


@lru_cache(maxsize=8)
def _groups(world: Any, size: int) -> list[Any]:
    """Groups of consecutive ranks; made once for all trainers of a run, as each takes memory of its own."""
    import torch.distributed as dist

    starts = range(0, dist.get_world_size(world), size)
    return [dist.new_group(list(range(a, a + size)), timeout=ranks.PATIENCE) for a in starts]


class Share:
    """This rank's share of one batch: ``own`` [t] are its tokens, ``plan`` what their queries see."""

    def __init__(self, batch: Batch, group: RankGroup, device: torch.device):
        parts = attention.divided(batch.segments, group.size)
        self.group, self.device = group, device
        self.owner = np.empty(len(batch.token_ids), np.int64)
        for rank, pieces in enumerate(parts):
            for start, length in pieces[:, :2]:
                self.owner[start : start + length] = rank
        self.tokens = attention.Exchange(self.owner, group.handle, device)
        self.own, mine = self.tokens.own, parts[group.rank]
        if not len(mine):  # two tokens among three ranks: it computes the first one too, and nobody reads it
            self.own, mine = np.zeros(1, np.int64), np.array([(0, 1, 0, 0, 0)])
        self.plan = attention.make_plan(batch.segments, device, mine)

    def attention(self) -> attention.Packed:
        """The attention context of a forward call with this rank's tokens."""
        return attention.Packed(self.plan, exchange=self.tokens)

    def readers(self, predictors: np.ndarray) -> attention.Exchange:
        """Who reads what off ``predictors`` [n]: the ranks whose tokens they are."""
        return attention.Exchange(self.owner[predictors], self.group.handle, self.device)

    def place(self, tokens: np.ndarray) -> np.ndarray:
        """Where some of this rank's tokens are among them."""
        return np.searchsorted(self.own, tokens)


class _Together(torch.autograd.Function):
    """Every rank's values [m, k] as all of them [n, k]. All ranks go on to compute the same, so the gradient of the
    own values is there already: it is taken out and not summed."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, exchange: attention.Exchange) -> Tensor:
        ctx.own = torch.from_numpy(exchange.own).to(own.device)
        return exchange.gather(own)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return grads[0].index_select(0, ctx.own), None


def together(own: tuple[Tensor, ...], exchange: attention.Exchange) -> tuple[Tensor, ...]:
    """Values [m] that this rank has read, of each kind, as those of all ranks [n]."""
    stacked: Tensor = _Together.apply(torch.stack(own, dim=1), exchange)  # type: ignore[assignment]
    return tuple(stacked.unbind(1))
