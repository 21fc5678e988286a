"""One long sequence in pieces: each piece sees all before it, and no square of scores of the whole ever exists."""

from __future__ import annotations

import torch
from torch import Tensor

from aha.attention import varlen
from aha.attention.packed import PLAIN, Variant, heads_first, probabilities, tokens_first, varlen_takes


class Continued:
    """The attention context of one sequence of ``tokens`` tokens, computed piece by piece without gradients.

    ``kept`` holds each layer's keys and values [T, Hkv, D]: after the last piece, the sequence's cache.
    """

    def __init__(self, tokens: int):
        self.tokens, self.start = tokens, 0
        self.kept: dict[int, tuple[Tensor, Tensor]] = {}
        self.biases: dict[int | None, Tensor] = {}
        self.layout: varlen.VarlenLayout | None = None

    def begin(self, start: int) -> None:
        """The next forward call computes the tokens from ``start`` on."""
        self.start, self.layout = start, None
        self.biases.clear()

    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float, variant: Variant = PLAIN
    ) -> Tensor:
        """query [1, H, T, D], key [1, Hkv, T, D], value [1, Hkv, T, Dv] -> [1, T, H, Dv]."""
        q, k, v = (x[0].transpose(0, 1) for x in (query, key, value))
        if layer not in self.kept:
            self.kept[layer] = (
                k.new_empty(self.tokens, *k.shape[1:]),
                v.new_empty(self.tokens, *v.shape[1:]),
            )
        keys, values = self.kept[layer]
        count, kv_heads = len(q), k.shape[1]
        end = self.start + count
        keys[self.start : end], values[self.start : end] = k, v
        window = variant.window if (variant.window or self.tokens) < self.tokens else None
        if variant.plain and varlen_takes(q, keys, values, window):
            self.layout = self.layout or varlen.VarlenLayout.of_piece(count, end, q.device)
            return varlen.attend(q, keys[:end], values[:end], self.layout, scale, window)[None]
        seen, past_values = (x[:end].transpose(0, 1) for x in (keys, values))
        bias = self._bias(count, variant.window, q.device)
        p, _ = probabilities(heads_first(q, 1, count, kv_heads), seen, bias, scale, variant)
        return tokens_first(torch.bmm(p, past_values), 1, count, kv_heads)[None]

    def _bias(self, count: int, window: int | None, device: torch.device) -> Tensor:
        """[1, T, start + T]: 0 where seen, -inf else."""
        if window not in self.biases:
            at = torch.arange(self.start + count, device=device)
            behind = at[self.start :, None] - at[None]
            seen = (behind >= 0) & (behind < (window or self.tokens))
            self.biases[window] = torch.zeros(seen.shape, device=device).masked_fill(~seen, -torch.inf)[None]
        return self.biases[window]
