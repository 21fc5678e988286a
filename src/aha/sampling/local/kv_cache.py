"""The sampler's key-value cache: one slot a row, the live rows always at the front."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from aha import attention, kernels
from aha.attention import PLAIN, Variant

GROWTH = 16
"""Tokens by which the room of every row grows."""
STEADY_GROWTH = 128
"""The same of a steady cache: at least this, and an eighth of the room."""


def bytes_per_token(model: Any) -> int:
    """Cache bytes that one token of one row takes, over all layers."""
    numbers = sum(layer.kv_heads * (layer.key_dim + layer.value_dim) for layer in attention.layers(model))
    return numbers * next(model.parameters()).dtype.itemsize


def buffer_bytes_per_token(model: Any) -> int:
    """What a cache of one token takes, with the buffers that it grows through."""
    sizes = {x.kv_heads * dim for x in attention.layers(model) for dim in (x.key_dim, x.value_dim)}
    return bytes_per_token(model) + sum(sizes) * next(model.parameters()).dtype.itemsize


class CacheStep:
    """One new token for each of rows 0..n-1, which have cached ``lengths`` [n] tokens, the ``longest`` of them
    with the new one so many: what all layers share."""

    def __init__(self, cache: SlotCache, lengths: Tensor, longest: int):
        self.count, self.where, self.longest = len(lengths), lengths, longest
        self.room, self.dtype, self.lane = cache.room, cache.dtype, cache.lane
        self.targets: dict[int, Tensor] = {}
        self.biases: dict[int | None, Tensor] = {}

    def target(self, heads: int) -> Tensor:
        """Where the new token of each row and head stands in [rows * Hkv * room, D]."""
        if heads not in self.targets:
            head = torch.arange(self.count * heads, device=self.where.device)
            self.targets[heads] = head * self.room + self.where.repeat_interleave(heads)
        return self.targets[heads]

    def bias(self, window: int | None) -> Tensor:
        """[R, room]: 0 where a row's new token sees, -inf else."""
        if window is not None and window >= self.longest:
            window = None
        if window not in self.biases:
            lane = self.lane[: self.room]
            unseen = lane > self.where[:, None]
            if window is not None:
                unseen |= lane <= (self.where - window)[:, None]
            bias = torch.zeros(unseen.shape, dtype=self.dtype, device=unseen.device)
            self.biases[window] = bias.masked_fill_(unseen, -torch.inf)
        return self.biases[window]


class SlotCache:
    """Keys [layers][rows, Hkv, room, D] and values [.., Dv]. An attention context for decoding one token a
    row.

    There is memory for ``tokens`` tokens in all: many short rows, or few long ones. ``room`` follows the longest
    live row in steps of ``GROWTH`` tokens, up to ``capacity``: what a step reads is then one contiguous block,
    which batched products need not copy. ``make_room`` says how many rows there are, ``begin_step`` where each
    stands.

    A ``steady`` cache is one that captured steps read: its buffers keep their places, and its room changes seldom.
    """

    def __init__(self, model: Any, tokens: int, capacity: int, steady: bool = False):
        weight = next(model.parameters())
        self.dtype, self.steady = weight.dtype, steady
        self.tokens, self.capacity, self.room, self.used = tokens, capacity, 0, 0
        self.finite = 0  # rows that hold finite numbers all over
        self.step: CacheStep | None = None
        self.groups: kernels.Groups | None = None  # which rows begin alike, where that is known
        layers = attention.layers(model)
        self.shapes = [((x.kv_heads, x.key_dim), (x.kv_heads, x.value_dim)) for x in layers]

        def buffer(size: int) -> Tensor:
            return torch.empty(size, dtype=weight.dtype, device=weight.device)

        def size(shape: tuple[int, int]) -> int:
            return tokens * shape[0] * shape[1]

        self.layers = [[buffer(size(shape)) for shape in pair] for pair in self.shapes]
        # One buffer more of each size: resizing copies into it, and leaves the old one spare.
        self.spares = {n: buffer(n) for n in {size(shape) for pair in self.shapes for shape in pair}}
        self.lane = torch.arange(capacity + GROWTH, device=weight.device)

    def view(self, layer: int, i: int, rows: int) -> Tensor:
        """The first ``rows`` of a layer's keys (``i`` = 0) or values (1): [rows, Hkv, room, D], contiguous."""
        return _view(self.layers[layer][i], self.shapes[layer][i], rows, self.room)

    def fits(self, tokens: int, capacity: int) -> bool:
        """Whether this cache has so many tokens, and rows of that length."""
        return self.tokens >= tokens and self.capacity >= capacity

    def holds(self, rows: int, length: int) -> bool:
        """Whether there is memory for so many rows when the longest has ``length`` tokens."""
        return rows * _in_steps(length) <= self.tokens

    def clear(self) -> None:
        """Forget every row."""
        self.room = self.used = self.finite = 0
        self.groups = None

    def make_room(self, rows: int, longest: int) -> None:
        """There are ``rows`` rows now, and the longest is about to have ``longest`` tokens."""
        self.used = rows
        self._make_room(longest)

    def _make_room(self, tokens: int) -> None:
        """Room for ``tokens`` a row, and not much more; what rows have cached stays."""
        least = _in_steps(tokens)
        too_much = least < self.room and self.used * self.room > self.tokens
        if least > self.room or self._ample(least + 4 * GROWTH, self.used) < self.room or too_much:
            room = self._ample(least, self.used)
            self._resize(room, keep=min(self.room, room))

    def _ample(self, least: int, rows: int) -> int:
        """The room to give ``rows`` rows that need ``least``: of a steady cache more, as far as there is memory."""
        if not self.steady:
            return least
        step = max(STEADY_GROWTH, (1 << max(0, least - 1).bit_length()) // 8)
        there = self.tokens // max(1, rows) // GROWTH * GROWTH
        return max(least, min(-(-least // step) * step, _in_steps(self.capacity), there))

    def pad(self, rows: int) -> None:
        """Rows up to ``rows`` may take part in a step, though nobody lives in them: they hold finite numbers."""
        if rows > self.finite:
            for layer in range(len(self.layers)):
                for i in (0, 1):
                    self.view(layer, i, rows)[self.finite :] = 0
            self.finite = rows

    def expect(self, rows: int, more: int, longest: int) -> None:
        """``more`` rows are about to join the ``rows`` there are, whose longest has ``longest`` tokens: give back
        the room of rows that left, where it would be missing."""
        if (rows + more) * self.room > self.tokens:
            self.used = rows
            room = self._ample(_in_steps(longest), rows + more)
            self._resize(room, keep=min(room, self.room))

    def _resize(self, room: int, keep: int) -> None:
        for layer, shapes in zip(self.layers, self.shapes, strict=True):
            for i, (old, shape) in enumerate(zip(layer, shapes, strict=True)):
                spare = self.spares[len(old)]
                new = _view(spare, shape, self.used, room)
                new[:, :, :keep] = _view(old, shape, self.used, self.room)[:, :, :keep]
                new[:, :, keep:] = 0  # a probability of 0 times whatever stood there must be 0
                if self.steady:
                    _view(old, shape, self.used, room).copy_(new)
                else:
                    layer[i], self.spares[len(old)] = spare, old
        self.room, self.finite = room, self.used

    def write_prompt(
        self, rows: Tensor, kept: dict[int, tuple[Tensor, Tensor]], start: int, length: int
    ) -> None:
        """Copy a prompt's keys and values (tokens ``start`` on of ``kept``) into each of ``rows`` [n]."""
        first, self.used = self.used, max(self.used, int(rows.max()) + 1)
        if length > self.room:
            self._make_room(length)
        self.finite = max(self.finite, self.used)
        for layer, sources in kept.items():
            for i, source in enumerate(sources):
                place = self.view(layer, i, self.used)
                place[first:] = 0
                place[rows, :, :length] = source[start : start + length].transpose(0, 1)

    def move(self, source: Tensor, target: Tensor, length: int) -> None:
        """Copy the first ``length`` tokens of rows ``source`` into rows ``target``."""
        for layer in range(len(self.layers)):
            for i in (0, 1):
                place = self.view(layer, i, self.used)
                place[target, :, :length] = place[source, :, :length]

    def begin_step(self, lengths: Tensor, longest: int) -> None:
        """The next forward call decodes one token for rows 0..n-1, which have cached ``lengths`` [n]; none has
        more than ``longest`` with it."""
        self.step = CacheStep(self, lengths, longest)

    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float, variant: Variant = PLAIN
    ) -> Tensor:
        """query [R, H, 1, D], key and value [R, Hkv, 1, ..] of the new token -> [R, 1, H, Dv]."""
        return self.attend_rows(layer, query[:, :, 0], key[:, :, 0], value[:, :, 0], scale, variant)[:, None]

    def attend_rows(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float, variant: Variant = PLAIN
    ) -> Tensor:
        """query [R, H, D], key [R, Hkv, D] and value [R, Hkv, Dv] of the new token -> [R, H, Dv]."""
        assert self.step is not None
        step, (rows, heads, dim), kv_heads = self.step, query.shape, key.shape[1]
        keys, values = self.view(layer, 0, rows), self.view(layer, 1, rows)
        for store, new in ((keys, key), (values, value)):
            size = new.shape[2]
            store.view(-1, size).index_copy_(0, step.target(kv_heads), new.reshape(-1, size))
        k, v = keys.flatten(0, 1), values.flatten(0, 1)
        q = query.reshape(rows * kv_heads, heads // kv_heads, dim)
        bias = step.bias(variant.window)[:, None]
        p, _ = attention.probabilities(q, k, bias, scale, variant)
        return torch.bmm(p, v).view(rows, heads, -1)


def _in_steps(tokens: int) -> int:
    """The room for so many tokens."""
    return -(-tokens // GROWTH) * GROWTH


def _view(buffer: Tensor, shape: tuple[int, int], rows: int, room: int) -> Tensor:
    heads, dim = shape
    return buffer[: rows * heads * room * dim].view(rows, heads, room, dim)
