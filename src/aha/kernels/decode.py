"""Attention of one new token a row: turned to its position, put into the cache, and held against what is there."""

from __future__ import annotations

from torch import Tensor

from aha.kernels.door import MAX_DIM, Cache, Shape, Turn, call, pointer, takes

_MAX_GROUP = 64


def can_decode(weight: Tensor, heads: int, kv_heads: int, dim: int) -> bool:
    """Whether ``DecodeStep`` knows models of this type and these heads."""
    return dim % 32 == 0 and dim <= MAX_DIM and heads // kv_heads <= _MAX_GROUP and takes(weight)


class DecodeStep:
    """The attention of a model's layers in decoding: ``cos`` and ``sin`` [positions, D] are its rotary tables."""

    def __init__(self, heads: int, kv_heads: int, scale: float, cos: Tensor, sin: Tensor, eps: float):
        self.cos, self.sin, self.eps = cos.contiguous(), sin.contiguous(), eps
        self.shape = Shape(heads, kv_heads, cos.shape[-1], scale)

    def attend(
        self,
        qkv: Tensor,
        keys: Tensor,
        values: Tensor,
        lengths: Tensor,
        norms: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """qkv [R, (H + 2 Hkv) * D] of each row's new token, keys and values [R, Hkv, room, D] of which a row has
        ``lengths`` [R] tokens -> [R, H * D]. The new token's key and value are put behind them. ``norms``: the
        weights of the norms of queries and keys."""
        rows = len(qkv)
        out = qkv.new_empty(rows, self.shape.heads * self.shape.dim)
        query_norm, key_norm = (None, None) if norms is None else map(pointer, norms)
        cache = Cache(pointer(keys), pointer(values), pointer(lengths), keys.shape[2])
        turn = Turn(query_norm, key_norm, pointer(self.cos), pointer(self.sin), self.eps)
        call("decode", qkv, qkv, qkv.stride(0), cache, turn, out, rows, self.shape)
        return out
