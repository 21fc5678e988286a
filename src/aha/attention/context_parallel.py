"""One packed batch over several ranks: whose each token is, and how what ranks have of it is brought together.

Context parallelism as in Llama 3 (arXiv 2407.21783, section 3.3.2): a rank computes its own tokens alone, but for
attention, where its queries meet the gathered keys and values of all. There, of a causal mask over 2R chunks, rank
i has chunks i and 2R - 1 - i; here every long segment is cut so, for in a packed batch they see only themselves.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

WHOLE = 1 / 8
"""A segment of at most so much of a rank's share of tokens is left whole."""


def divided(segments: np.ndarray, size: int) -> list[np.ndarray]:
    """The pieces [n, 5] of each of ``size`` ranks, of (start, length, prefix_start, prefix_length, tokens of the
    segment before it), for ``segments`` [S, 4]. About equal in tokens, and in pairs of a query and a key.

    Long segments are cut into 2 * ``size`` chunks, of which each rank has one near the front and one near the
    end; short ones go, the longest first, to the rank with the fewest tokens.
    """
    pieces_of: list[list[tuple[int, ...]]] = [[] for _ in range(size)]
    load = [0] * size
    limit = WHOLE * segments[:, 1].sum() / size
    order = np.lexsort((segments[:, 3], segments[:, 1]))[::-1]
    for segment in segments[order].tolist():
        shares = _zigzag(segment, size) if segment[1] > limit else [[(*segment, 0)]]
        takers = sorted(range(size), key=lambda rank: load[rank])
        for rank, pieces in zip(takers, shares, strict=False):
            pieces_of[rank] += pieces
            load[rank] += _tokens(pieces)
    return [np.array(sorted(pieces), np.int64).reshape(-1, 5) for pieces in pieces_of]


def _zigzag(segment: list[int], size: int) -> list[list[tuple[int, ...]]]:
    """Chunks i and 2 * size - 1 - i of a segment, for each i, those with most tokens first."""
    start, length, *prefix = segment
    edges = [i * length // (2 * size) for i in range(2 * size + 1)]
    chunks = [(start + a, b - a, *prefix, a) for a, b in pairwise(edges)]
    shares = [[c for c in (chunks[i], chunks[-1 - i]) if c[1]] for i in range(size)]
    return sorted(shares, key=_tokens, reverse=True)


def _tokens(pieces: list[tuple[int, ...]]) -> int:
    return sum(length for _, length, *_ in pieces)


class Exchange:
    """Rows that the ranks of ``group`` have among them: ``owner`` [n] says whose each is.

    Every rank of the group must call the same methods in the same order.
    """

    def __init__(self, owner: np.ndarray, group: Any, device: torch.device | str):
        rank, self.size = dist.get_rank(group), dist.get_world_size(group)
        rows = [np.flatnonzero(owner == other) for other in range(self.size)]
        self.group, self.own = group, rows[rank]
        self.width = max(1, *map(len, rows))  # messages are equally long: filled up to the longest
        places = np.empty(len(owner), np.int64)  # of each row among what is gathered
        for other, theirs in enumerate(rows):
            places[theirs] = other * self.width + np.arange(len(theirs))
        self.places = torch.from_numpy(places).to(device)

    def gather(self, own: Tensor) -> Tensor:
        """All rows [n, ..] of ranks' ``own`` [m, ..], on every rank. (A rank that has none may give one row, which
        nobody gets.)"""
        padded = own.new_zeros(self.width, *own.shape[1:])
        padded[: len(own)] = own
        gathered = own.new_empty(self.size * self.width, *own.shape[1:])
        _collective("all_gather_single", "all_gather_into_tensor")(gathered, padded, group=self.group)
        return gathered.index_select(0, self.places)

    def sum_scatter(self, whole: Tensor) -> Tensor:
        """The sum over ranks of ``whole`` [n, ..], of which each gets its own rows [m, ..]; where it has none one
        row of zeros."""
        padded = whole.new_zeros(self.size * self.width, *whole.shape[1:])
        padded.index_copy_(0, self.places, whole)
        summed = whole.new_empty(self.width, *whole.shape[1:])
        _collective("reduce_scatter_single", "reduce_scatter_tensor")(summed, padded, group=self.group)
        return summed[: max(1, len(self.own))]


def _collective(new: str, old: str) -> Any:
    """A function of torch.distributed, which torch 2.13 has under another name, and warns of the old one."""
    return getattr(dist, new, None) or getattr(dist, old)
