"""Many sequences in one row of tokens: which keys each query sees, laid out as rectangles.

The linear layers of the model run on packed tokens, without padding. Only in attention are sequences laid out
as rectangles: rows of similar length form a bucket, and every bucket is a few batched matrix products. A
segment may name a *prefix*: tokens of another segment (the prompt that G completions share) which it sees
as its own past, so a prompt is computed once for its whole group.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

MAX_BUCKET_SCORES = 8 * 2**20
"""Attention scores held at once by a bucket, in elements for one head: bounds memory, fits the caches."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """Rows of similar shape. ``q_index`` [R * Lq] and ``kv_index`` [R * Lk] point at packed tokens; the
    index T (one past the last token) stands for padding. ``bias`` [R, Lq, Lk]: 0 where seen, -inf else.
    ``prefix`` [R]: how many of a row's first keys are its prefix."""

    rows: int
    q_len: int
    kv_len: int
    q_index: Tensor
    kv_index: Tensor
    bias: Tensor
    prefix: Tensor


@dataclass(frozen=True, slots=True)
class Plan:
    """How the tokens of one packed batch see each other. ``inverse`` [T]: where each token's output
    stands in the buckets' outputs laid end to end; ``longest``: tokens of the longest sequence, prefix
    included."""

    tokens: int
    buckets: tuple[Bucket, ...]
    inverse: Tensor
    longest: int
    windowed: dict[int, tuple[Tensor, ...]] = field(default_factory=dict)

    def biases(self, window: int | None) -> tuple[Tensor, ...]:
        """The bias [R, Lq, Lk] of each bucket where a token sees itself and the ``window`` - 1 before it;
        made once for all layers of one window. A window that holds every sequence whole costs nothing."""
        if window is None or window >= self.longest:
            return tuple(bucket.bias for bucket in self.buckets)
        if window not in self.windowed:
            self.windowed[window] = tuple(_windowed(bucket, window) for bucket in self.buckets)
        return self.windowed[window]


def _windowed(bucket: Bucket, window: int) -> Tensor:
    lanes = torch.arange(bucket.kv_len, device=bucket.bias.device)
    shared = bucket.kv_len - bucket.q_len  # lanes of the prefix, padded to the bucket's longest
    prefix = bucket.prefix[:, None]
    query = prefix + lanes[: bucket.q_len]  # [R, Lq]: positions in the whole sequence
    key = torch.where(lanes < shared, lanes, prefix + lanes - shared)  # [R, Lk]
    too_far = query[:, :, None] - key[:, None] >= window
    return bucket.bias.masked_fill(too_far, -torch.inf)


def make_plan(segments: np.ndarray, device: torch.device | str = "cpu") -> Plan:
    """Plan attention for ``segments`` [S, 4]: (start, length, prefix_start, prefix_length) of each."""
    tokens = int(segments[:, 1].sum())
    order = np.lexsort((segments[:, 3], segments[:, 1]))[::-1]
    inverse = np.empty(tokens, dtype=np.int64)
    buckets, offset = [], 0
    for rows in _split_rows(segments[order]):
        bucket = _make_bucket(rows, tokens, device)
        lanes = np.arange(bucket.q_len)
        for i, (start, length) in enumerate(rows[:, :2]):
            inverse[start : start + length] = offset + i * bucket.q_len + lanes[:length]
        offset += bucket.rows * bucket.q_len
        buckets.append(bucket)
    longest = int((segments[:, 1] + segments[:, 3]).max())
    return Plan(tokens, tuple(buckets), torch.from_numpy(inverse).to(device), longest)


def _split_rows(segments: np.ndarray) -> list[np.ndarray]:
    """Cut segments sorted by falling length into buckets that waste little and stay small."""
    parts, first = [], 0
    for i in range(1, len(segments) + 1):
        if i < len(segments):
            longest = segments[first, 1]
            keys = longest + segments[first : i + 1, 3].max()
            small = (i + 1 - first) * longest * keys <= MAX_BUCKET_SCORES
            if segments[i, 1] >= 0.8 * longest - 8 and small:
                continue
        parts.append(segments[first:i])
        first = i
    return parts


def _make_bucket(rows: np.ndarray, tokens: int, device: torch.device | str) -> Bucket:
    start, length, prefix_start, prefix = (rows[:, i : i + 1] for i in range(4))
    q_len, prefix_len = int(length.max()), int(prefix.max())
    lane, prefix_lane = np.arange(q_len)[None], np.arange(prefix_len)[None]
    own = np.where(lane < length, start + lane, tokens)
    past = np.where(prefix_lane < prefix, prefix_start + prefix_lane, tokens)
    keys = np.concatenate([past, own], axis=1)
    # A padded query sees the keys its lane would see, so that its softmax stays finite; nobody reads it.
    seen_own = np.broadcast_to(lane <= lane.T, (len(rows), q_len, q_len))
    seen_past = np.broadcast_to((prefix_lane < prefix)[:, None], (len(rows), q_len, prefix_len))
    seen = np.concatenate([seen_past, seen_own], axis=2)
    bias = np.where(seen, np.float32(0), np.float32(-np.inf))
    as_tensor = lambda a: torch.from_numpy(np.ascontiguousarray(a)).to(device)  # noqa: E731
    return Bucket(
        len(rows),
        q_len,
        q_len + prefix_len,
        as_tensor(own.ravel()),
        as_tensor(keys.ravel()),
        as_tensor(bias),
        as_tensor(prefix[:, 0]),
    )
