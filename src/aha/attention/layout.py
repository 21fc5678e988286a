"""Many sequences in one row of tokens: which keys each query sees, laid out as rectangles.

The linear layers of the model run on packed tokens, without padding. Only in attention are sequences laid out
as rectangles: rows of similar length form a bucket, and every bucket is a few batched matrix products. A
segment may name a *prefix*: tokens of another segment (the prompt that G completions share) which it sees
as its own past, so a prompt is computed once for its whole group. A long segment is cut into pieces whose past
is all before them, so that the memory of its scores grows with its length and not with the square.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from aha.attention.varlen import VarlenLayout
from aha.kernels import PrefixGroups

MAX_BUCKET_SCORES = 8 * 2**20
"""Attention scores held at once by a bucket, in elements for one head: bounds memory, fits the caches."""


LASTING_SCORES = 1 << 26
"""Biases that a plan keeps for all layers, in elements; the others are made anew in every layer."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """Rows of similar shape. ``q_index`` [R * Lq] points at the plan's queries, ``kv_index`` [R * Lk] at packed
    tokens; one past the last of them stands for padding. ``past`` [R]: how many of a row's first keys are
    before its first query."""

    rows: int
    q_len: int
    kv_len: int
    q_index: Tensor
    kv_index: Tensor
    past: Tensor

    def bias(self, window: int | None, dtype: torch.dtype = torch.float32) -> Tensor:
        """[R, Lq, Lk]: 0 where seen, -inf else. A token sees itself and, of what is before it, the last
        ``window`` - 1 tokens or all. A padded query sees what its lane would, so that its softmax is finite;
        nobody reads it."""
        lanes = torch.arange(self.kv_len, device=self.past.device)
        shared = self.kv_len - self.q_len  # lanes of the past, padded to the bucket's longest
        past = self.past[:, None]
        query = past + lanes[: self.q_len]  # [R, Lq]: positions in the whole sequence
        key = torch.where(lanes < shared, lanes, past + lanes - shared)  # [R, Lk]
        unseen = key[:, None] > query[:, :, None]
        unseen |= ((lanes < shared) & (lanes >= past))[:, None]
        if window is not None:
            unseen |= query[:, :, None] - key[:, None] >= window
        return torch.zeros(unseen.shape, dtype=dtype, device=unseen.device).masked_fill_(unseen, -torch.inf)


@dataclass(frozen=True, slots=True)
class Plan:
    """How the tokens of one packed batch see each other. ``inverse`` [t]: where each query's output stands in
    the buckets' outputs laid end to end; ``longest``: tokens of the longest sequence, prefix included; ``own``
    [t]: which tokens the queries are, in order, where they are not all T of them; ``prefix_groups``: the sequences as
    kernels take them, where they are."""

    tokens: int
    buckets: tuple[Bucket, ...]
    inverse: Tensor
    longest: int
    own: Tensor | None = None
    prefix_groups: PrefixGroups | None = None
    bias_of: dict[tuple[int, int | None, torch.dtype], Tensor] = field(default_factory=dict)
    layouts: list[VarlenLayout] = field(default_factory=list)

    def layout(self) -> VarlenLayout:
        """The sequences, of a plan that has prefix groups, as ``varlen`` takes them; made once."""
        if not self.layouts:
            assert self.prefix_groups is not None
            self.layouts.append(VarlenLayout.of(self.prefix_groups.segments[:, :4], self.inverse.device))
        return self.layouts[0]

    def biases(self, window: int | None, dtype: torch.dtype = torch.float32) -> Iterator[Tensor]:
        """The bias [R, Lq, Lk] of each bucket; small ones are made once for all layers of one window. A window
        that holds every sequence whole costs nothing."""
        if window is not None and window >= self.longest:
            window = None
        for i, bucket in enumerate(self.buckets):
            bias = self.bias_of.get((i, window, dtype))
            if bias is None:
                bias = bucket.bias(window, dtype)
                if bias.numel() + sum(b.numel() for b in self.bias_of.values()) <= LASTING_SCORES:
                    self.bias_of[i, window, dtype] = bias
            yield bias


def piece_length(tokens: int) -> int:
    """The longest piece of a sequence of ``tokens`` tokens whose scores are few enough; at least 64."""
    return max(64, MAX_BUCKET_SCORES // max(1, tokens))


def make_plan(
    segments: np.ndarray, device: torch.device | str = "cpu", pieces: np.ndarray | None = None
) -> Plan:
    """Plan attention for ``segments`` [S, 4]: (start, length, prefix_start, prefix_length) of each.

    ``pieces`` [n, 5], of (start, length, prefix_start, prefix_length, tokens of the segment before it), are the
    tokens that are queries, where not all are; keys are always all.
    """
    tokens = int(segments[:, 1].sum())
    longest = int((segments[:, 1] + segments[:, 3]).max())
    whole = pieces is None
    pieces = np.pad(segments, ((0, 0), (0, 1))) if pieces is None else pieces
    own = np.sort(np.concatenate([np.arange(start, start + n) for start, n in pieces[:, :2]]))
    local = np.full(tokens + 1, len(own))  # where a token stands among the queries
    local[own] = np.arange(len(own))
    pieces = np.concatenate([_in_pieces(piece) for piece in pieces])
    order = np.lexsort((pieces[:, 3] + pieces[:, 4], pieces[:, 1]))[::-1]
    inverse = np.empty(len(own), dtype=np.int64)
    buckets, offset = [], 0
    for rows in _split_rows(pieces[order]):
        bucket = _make_bucket(rows, local, device)
        lanes = np.arange(bucket.q_len)
        for i, (start, length) in enumerate(rows[:, :2]):
            inverse[local[start : start + length]] = offset + i * bucket.q_len + lanes[:length]
        offset += bucket.rows * bucket.q_len
        buckets.append(bucket)
    which = None if whole else torch.from_numpy(own).to(device)
    prefix_groups = PrefixGroups.of(segments) if whole else None
    return Plan(tokens, tuple(buckets), torch.from_numpy(inverse).to(device), longest, which, prefix_groups)


def _in_pieces(piece: np.ndarray) -> np.ndarray:
    """A piece as shorter ones [n, 5], with few enough scores each."""
    start, length, prefix_start, prefix, before = map(int, piece)
    step = piece_length(before + length + prefix)
    return np.array(
        [
            (start + a, min(step, length - a), prefix_start, prefix, before + a)
            for a in range(0, max(length, 1), step)
        ]
    )


def _split_rows(segments: np.ndarray) -> list[np.ndarray]:
    """Cut segments sorted by falling length into buckets that waste little and stay small."""
    parts, first = [], 0
    for i in range(1, len(segments) + 1):
        if i < len(segments):
            longest = segments[first, 1]
            keys = longest + segments[first : i + 1, 3:].sum(1).max()
            small = (i + 1 - first) * longest * keys <= MAX_BUCKET_SCORES
            if segments[i, 1] >= 0.8 * longest - 8 and small:
                continue
        parts.append(segments[first:i])
        first = i
    return parts


def _make_bucket(rows: np.ndarray, local: np.ndarray, device: torch.device | str) -> Bucket:
    tokens = len(local) - 1
    start, length, prefix_start, prefix, before = (rows[:, i : i + 1] for i in range(5))
    q_len, past_len = int(length.max()), int((prefix + before).max())
    lane, past_lane = np.arange(q_len)[None], np.arange(past_len)[None]
    own = np.where(lane < length, start + lane, tokens)
    past = np.where(past_lane < prefix, prefix_start + past_lane, start - before + past_lane - prefix)
    past = np.where(past_lane < prefix + before, past, tokens)
    keys = np.concatenate([past, own], axis=1)
    as_tensor = lambda a: torch.from_numpy(np.ascontiguousarray(a)).to(device)  # noqa: E731
    return Bucket(
        len(rows),
        q_len,
        q_len + past_len,
        as_tensor(local[own.ravel()]),
        as_tensor(keys.ravel()),
        as_tensor((prefix + before)[:, 0]),
    )
