"""The sampler's key-value cache: one slot a row, the live rows always at the front."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from aha import attention
from aha.attention import PLAIN, Variant


def bytes_per_token(model: Any) -> int:
    """Cache bytes that one token of one row takes, over all layers."""
    numbers = sum(layer.kv_heads * (layer.key_dim + layer.value_dim) for layer in attention.layers(model))
    return numbers * next(model.parameters()).dtype.itemsize


class SlotCache:
    """Keys [layers][rows, Hkv, capacity, D] and values [.., Dv]. An attention context for decoding one token
    a row.

    ``lengths`` [rows] counts the tokens each row has cached; ``begin_step`` fixes which rows take part.
    """

    def __init__(self, model: Any, rows: int, capacity: int):
        weight = next(model.parameters())

        def make(heads: int, dim: int) -> Tensor:
            return torch.zeros((rows, heads, capacity, dim), dtype=weight.dtype, device=weight.device)

        self.layers = [
            (make(layer.kv_heads, layer.key_dim), make(layer.kv_heads, layer.value_dim))
            for layer in attention.layers(model)
        ]
        self.rows, self.capacity = rows, capacity
        self.lane = torch.arange(capacity, device=weight.device)

    def fits(self, rows: int, capacity: int) -> bool:
        """Whether this cache can serve so many rows of that length."""
        return self.rows >= rows and self.capacity >= capacity

    def write_prompt(
        self, rows: Tensor, kept: dict[int, tuple[Tensor, Tensor]], start: int, length: int
    ) -> None:
        """Copy a prompt's keys and values (tokens ``start`` on of ``kept``) into each of ``rows`` [n]."""
        for layer, (keys, values) in kept.items():
            for store, source in zip(self.layers[layer], (keys, values), strict=True):
                store[rows, :, :length] = source[start : start + length].transpose(0, 1)

    def move(self, source: Tensor, target: Tensor, length: int) -> None:
        """Copy the first ``length`` tokens of rows ``source`` into rows ``target``."""
        for layer in self.layers:
            for store in layer:
                store[target, :, :length] = store[source, :, :length]

    def begin_step(self, lengths: Tensor) -> None:
        """The next forward call decodes one token for rows 0..n-1, which have cached ``lengths`` [n]."""
        self.count, self.where = len(lengths), lengths
        self.longest = int(lengths.max()) + 1
        self.index = torch.arange(self.count, device=lengths.device)
        seen = self.lane[: self.longest] <= lengths[:, None]
        bias = torch.zeros(seen.shape, device=lengths.device).masked_fill_(~seen, -torch.inf)
        self.biases: dict[int | None, tuple[int, Tensor]] = {None: (0, bias)}

    def _seen(self, window: int | None) -> tuple[int, Tensor]:
        """Where the first key that some row still sees stands, and the bias [R, keys] from there on."""
        if window is None or window >= self.longest:
            return self.biases[None]
        if window not in self.biases:
            first = max(0, int(self.where.min()) + 1 - window)
            too_far = self.lane[first : self.longest] <= (self.where - window)[:, None]
            self.biases[window] = first, self.biases[None][1][:, first:].masked_fill(too_far, -torch.inf)
        return self.biases[window]

    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float, variant: Variant = PLAIN
    ) -> Tensor:
        """query [R, H, 1, D], key and value [R, Hkv, 1, ..] of the new token -> [R, 1, H, Dv]."""
        return self.attend_rows(layer, query[:, :, 0], key[:, :, 0], value[:, :, 0], scale, variant)[:, None]

    def attend_rows(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float, variant: Variant = PLAIN
    ) -> Tensor:
        """query [R, H, D], key [R, Hkv, D] and value [R, Hkv, Dv] of the new token -> [R, H, Dv]."""
        keys, values = self.layers[layer]
        keys[self.index, :, self.where] = key
        values[self.index, :, self.where] = value
        rows, heads, dim = self.count, query.shape[1], query.shape[2]
        kv_heads = keys.shape[1]
        first, bias = self._seen(variant.window)
        k, v = (x[:rows, :, first : self.longest].flatten(0, 1) for x in (keys, values))
        q = query.reshape(rows * kv_heads, heads // kv_heads, dim)
        if k.device.type == "cpu" and k.dtype is torch.bfloat16:
            k = k.contiguous()  # its product copies strided keys itself, three times slower
        p, _ = attention.probabilities(q, k, bias[:, None], scale, variant)
        return torch.bmm(p.to(v.dtype), v).view(rows, heads, -1)
