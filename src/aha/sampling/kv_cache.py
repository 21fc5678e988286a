"""The sampler's key-value cache: one slot a row, the live rows always at the front."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

GROWTH = 16
"""Tokens by which the room of every row grows."""


def bytes_per_token(model: Any) -> int:
    """Cache bytes that one token of one row takes, over all layers."""
    config, dtype = model.config, next(model.parameters()).dtype
    heads, dim = kv_shape(config)
    return 2 * config.num_hidden_layers * heads * dim * dtype.itemsize


def kv_shape(config: Any) -> tuple[int, int]:
    """(key heads, head size) of a config."""
    dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return getattr(config, "num_key_value_heads", None) or config.num_attention_heads, dim


class SlotCache:
    """Keys and values [layers][2][rows, Hkv, room, D]. An attention context for decoding one token a row.

    ``room`` follows the longest live row in steps of ``GROWTH`` tokens, up to ``capacity``: what a step reads
    is then one contiguous block, which batched products need not copy. ``lengths`` [rows] counts the tokens
    each row has cached; ``begin_step`` fixes which rows take part.
    """

    def __init__(self, model: Any, rows: int, capacity: int):
        self.heads, self.dim = kv_shape(model.config)
        weight = next(model.parameters())
        self.rows, self.capacity, self.room = rows, capacity, 0
        # One buffer more than keys and values need: resizing copies into it, and leaves the old one spare.
        size = rows * self.heads * (capacity + GROWTH) * self.dim
        buffer = lambda: torch.empty(size, dtype=weight.dtype, device=weight.device)  # noqa: E731
        self.layers = [[buffer(), buffer()] for _ in range(model.config.num_hidden_layers)]
        self.spare = buffer()
        self.lane = torch.arange(capacity + GROWTH, device=weight.device)

    def view(self, buffer: Tensor, rows: int, room: int | None = None) -> Tensor:
        """The first ``rows`` of a buffer: [rows, Hkv, room, D], contiguous."""
        room = self.room if room is None else room
        return buffer[: rows * self.heads * room * self.dim].view(rows, self.heads, room, self.dim)

    def fits(self, rows: int, capacity: int) -> bool:
        """Whether this cache can serve so many rows of that length."""
        return self.rows >= rows and self.capacity >= capacity

    def clear(self) -> None:
        """Forget every row."""
        self.room = self.used = 0

    def _make_room(self, tokens: int) -> None:
        """Room for ``tokens`` a row, and not much more; what rows have cached stays."""
        wanted = -(-tokens // GROWTH) * GROWTH
        if wanted > self.room or wanted < self.room - 4 * GROWTH:
            self._resize(wanted, keep=min(self.room, wanted))

    def _resize(self, room: int, keep: int) -> None:
        for layer in self.layers:
            for i, old in enumerate(layer):
                new = self.view(self.spare, self.used, room)
                new[:, :, :keep] = self.view(old, self.used)[:, :, :keep]
                new[:, :, keep:] = 0  # a probability of 0 times whatever stood there must be 0
                layer[i], self.spare = self.spare, old
        self.room = room

    def write_prompt(
        self, rows: Tensor, kept: dict[int, tuple[Tensor, Tensor]], start: int, length: int
    ) -> None:
        """Copy a prompt's keys and values (tokens ``start`` on of ``kept``) into each of ``rows`` [n]."""
        first, self.used = self.used, max(self.used, int(rows.max()) + 1)
        if length > self.room:
            self._make_room(length)
        for layer, (keys, values) in kept.items():
            for store, source in zip(self.layers[layer], (keys, values), strict=True):
                place = self.view(store, self.used)
                place[first:] = 0
                place[rows, :, :length] = source[start : start + length].transpose(0, 1)

    def move(self, source: Tensor, target: Tensor, length: int) -> None:
        """Copy the first ``length`` tokens of rows ``source`` into rows ``target``."""
        for layer in self.layers:
            for store in layer:
                place = self.view(store, self.used)
                place[target, :, :length] = place[source, :, :length]

    def begin_step(self, lengths: Tensor) -> None:
        """The next forward call decodes one token for rows 0..n-1, which have cached ``lengths`` [n]."""
        self.count = self.used = len(lengths)
        self.longest = int(lengths.max()) + 1
        self._make_room(self.longest)
        head = torch.arange(self.count * self.heads, device=lengths.device)
        self.target = head * self.room + lengths.repeat_interleave(self.heads)  # in [rows * Hkv * room, D]
        seen = self.lane[: self.room] <= lengths[:, None]
        self.bias = torch.zeros(seen.shape, device=lengths.device).masked_fill_(~seen, -torch.inf)

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        """query [R, H, 1, D], key and value [R, Hkv, 1, D] of the new token -> [R, 1, H, D]."""
        return self.attend_rows(layer, query[:, :, 0], key[:, :, 0], value[:, :, 0], scale)[:, None]

    def attend_rows(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        """query [R, H, D], key and value [R, Hkv, D] of the new token -> [R, H, D]."""
        rows = self.count
        keys, values = (self.view(store, rows) for store in self.layers[layer])
        for store, new in ((keys, key), (values, value)):
            store.view(-1, self.dim).index_copy_(0, self.target, new.reshape(-1, self.dim))
        heads, dim = query.shape[1:]
        kv_heads = keys.shape[1]
        k, v = keys.flatten(0, 1), values.flatten(0, 1)
        q = query.reshape(rows * kv_heads, heads // kv_heads, dim)
        scores = torch.bmm(q, k.transpose(1, 2)).view(rows, -1, self.room)
        scores = torch.add(self.bias[:, None], scores, alpha=scale)  # in float32, the bias's type
        p = torch.softmax(scores, dim=-1).to(v.dtype).view(rows * kv_heads, -1, self.room)
        return torch.bmm(p, v).view(rows, heads, dim)
