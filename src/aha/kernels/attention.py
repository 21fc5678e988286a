"""Causal attention of packed sequences without padding, and of one new token a row against a cache."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aha.kernels.dispatch import MAX_DIM, Heads, HeadShape, call, takes

LONGEST = 4096
"""Keys of a sequence up to which a block's scores fit a core's cache."""


@dataclass(frozen=True, slots=True)
class PrefixGroups:
    """Sequences [S, 6] (start, length, past_start, past, local, past_local) by group, those that see each other's
    tokens; ``edges`` [F + 1]: where each group begins. ``local`` counts tokens within the group."""

    segments: np.ndarray
    edges: np.ndarray

    @classmethod
    def of(cls, segments: np.ndarray) -> PrefixGroups:
        """Groups of packed ``segments`` [S, 4], each token of which is in one of them."""
        start, length = segments[:, 0], segments[:, 1]
        order = np.argsort(start, kind="stable")
        holder = order[np.searchsorted(start[order], segments[:, 2], side="right") - 1]
        holder = np.where(segments[:, 3] > 0, holder, np.arange(len(segments)))
        root = holder
        while (root != holder[root]).any():
            root = holder[root]
        by_family = np.lexsort((start, root))
        _, first = np.unique(root[by_family], return_index=True)
        edges = np.append(first, len(segments))
        before = np.cumsum(length[by_family]) - length[by_family]
        local = np.empty(len(segments), np.int64)
        local[by_family] = before - np.repeat(before[first], np.diff(edges))
        past_local = np.where(segments[:, 3] > 0, local[holder] + segments[:, 2] - start[holder], 0)
        whole = np.column_stack([segments, local, past_local])[by_family]
        return cls(np.ascontiguousarray(whole, np.int64), edges.astype(np.int64))


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, prefix_groups: PrefixGroups, scale: float
    ) -> Tensor:
        out = q.new_empty(q.shape)
        lse = q.new_empty(q.shape[:2], dtype=torch.float32)
        segments = prefix_groups.segments
        heads = map(Heads.of, (q, k, v))
        call("attend", q, *heads, out, lse, _array(segments), len(segments), _shape(q, k, scale))
        ctx.save_for_backward(q, k, v, out, lse)
        ctx.prefix_groups, ctx.scale = prefix_groups, scale
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, out, lse = ctx.saved_tensors
        gradient = grads[0] if grads[0].stride(2) == 1 else grads[0].contiguous()
        dq, dk, dv = q.new_empty(q.shape), k.new_empty(k.shape), v.new_empty(v.shape)
        prefix_groups: PrefixGroups = ctx.prefix_groups
        call(
            "attend_backward", q, *map(Heads.of, (q, k, v)), out, lse, Heads.of(gradient), dq, dk, dv,
            _array(prefix_groups.segments), _array(prefix_groups.edges), len(prefix_groups.edges) - 1,
            _shape(q, k, ctx.scale),
        )  # fmt: skip
        return dq, dk, dv, None, None


def can_attend(q: Tensor, k: Tensor, v: Tensor, longest: int) -> bool:
    """Whether ``attend`` takes queries and keys like these, of sequences of up to ``longest`` tokens."""
    same = k.shape[2] == v.shape[2] == q.shape[2]
    return same and q.shape[2] % 32 == 0 and q.shape[2] <= MAX_DIM and longest <= LONGEST and takes(q, k, v)


def attend(q: Tensor, k: Tensor, v: Tensor, prefix_groups: PrefixGroups, scale: float) -> Tensor:
    """q [T, H, D], k and v [T, Hkv, D] -> [T, H, D]: each token sees its sequence's past."""
    q, k, v = (x if x.stride(2) == 1 else x.contiguous() for x in (q, k, v))
    return _Attend.apply(q, k, v, prefix_groups, scale)  # type: ignore[return-value]


def _shape(q: Tensor, k: Tensor, scale: float) -> HeadShape:
    return HeadShape(q.shape[1], k.shape[1], q.shape[2], scale)


def _array(x: np.ndarray) -> int:
    return x.ctypes.data
