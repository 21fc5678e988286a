"""Decoding, one new token a row: the attention of a layer, or all layers of a Llama-like model at once."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from torch import Tensor

from aha import hardware
from aha.kernels.dispatch import (
    MAX_DIM,
    Cache,
    DecoderModel,
    GroupsOf,
    HeadShape,
    Layer,
    Linear,
    Turn,
    call,
    has,
    pointer,
    takes,
)

_MAX_GROUP = 64
_WIDTH = 32
"""Numbers that every matrix must have a multiple of, in each direction."""


class Weights(NamedTuple):
    """One layer: projections as (weight [out, in], bias [out] or None), those of one input joined; norms [in]."""

    qkv: tuple[Tensor, Tensor | None]
    out: tuple[Tensor, Tensor | None]
    gate_up: tuple[Tensor, Tensor | None]
    down: tuple[Tensor, Tensor | None]
    before: Tensor
    between: Tensor
    heads: tuple[Tensor, Tensor] | None  # norms of queries and keys


class Groups:
    """Rows whose caches begin with the same tokens, which are then read once for all of them."""

    def __init__(self, order: np.ndarray, edges: np.ndarray, shared: np.ndarray):
        parts = (order, edges, shared)
        self.kept = [np.ascontiguousarray(part, np.int64) for part in parts]  # what the pointers point to
        self.struct = GroupsOf(len(edges) - 1, *(part.ctypes.data for part in self.kept))

    @classmethod
    def of(cls, prompt_of: np.ndarray, shared: np.ndarray) -> Groups:
        """Rows of one number in ``prompt_of`` [R] have their first ``shared`` [R] tokens from one prompt."""
        order = np.argsort(prompt_of, kind="stable")
        starts = np.flatnonzero(np.diff(prompt_of[order], prepend=-1))
        return cls(order, np.append(starts, len(order)), shared[order[starts]])

    @classmethod
    def alone(cls, rows: int) -> Groups:
        """Each row is one of its own."""
        return cls(np.arange(rows), np.arange(rows + 1), np.zeros(rows))


def can_decode(weight: Tensor, heads: int, kv_heads: int, dim: int) -> bool:
    """Whether ``DecodeStep`` knows models of this type and these heads."""
    return dim % 32 == 0 and dim <= MAX_DIM and heads // kv_heads <= _MAX_GROUP and takes(weight)


class DecodeStep:
    """The attention of a model's layers in decoding: ``cos`` and ``sin`` [positions, D] are its rotary tables."""

    def __init__(self, heads: int, kv_heads: int, scale: float, cos: Tensor, sin: Tensor, eps: float):
        self.cos, self.sin, self.eps = cos.contiguous(), sin.contiguous(), eps
        self.shape = HeadShape(heads, kv_heads, cos.shape[-1], scale)

    def attend(
        self,
        qkv: Tensor,
        keys: Tensor,
        values: Tensor,
        lengths: Tensor,
        norms: tuple[Tensor, Tensor] | None = None,
        groups: Groups | None = None,
    ) -> Tensor:
        """qkv [R, (H + 2 Hkv) * D] of each row's new token, keys and values [R, Hkv, room, D] of which a row has
        ``lengths`` [R] tokens -> [R, H * D]. The new token's key and value are put behind them. ``norms``: the
        weights of the norms of queries and keys."""
        rows = len(qkv)
        groups = groups or Groups.alone(rows)
        out = qkv.new_empty(rows, self.shape.heads * self.shape.dim)
        query_norm, key_norm = (None, None) if norms is None else map(pointer, norms)
        cache = Cache(pointer(keys), pointer(values), pointer(lengths), keys.shape[2])
        turn = Turn(query_norm, key_norm, pointer(self.cos), pointer(self.sin), self.eps)
        call("decode", qkv, qkv, qkv.stride(0), cache, turn, out, groups.struct, self.shape)
        return out


class WholeStep:
    """All layers of a model, and the norm behind them, in one call. It reads the weights as they stand, and must be
    made again where others stand in their place."""

    def __init__(self, layers: Sequence[Weights], norm: Tensor, step: DecodeStep):
        self.kept = layers, norm, step  # what the pointers point to
        self.layers = (Layer * len(layers))(*map(_layer, layers))
        inner = layers[0].down[0].shape[1]
        self.model = DecoderModel(
            ctypes.addressof(self.layers), len(layers), len(norm), inner,
            pointer(norm), pointer(step.cos), pointer(step.sin), step.eps, step.shape,
        )  # fmt: skip

    @staticmethod
    def knows(layers: Sequence[Weights]) -> bool:
        """Whether the CPU has it for layers like these."""
        weight = layers[0].before
        sizes = {size for layer in layers for part in layer[:4] for size in part[0].shape}
        straight = all(part[0].is_contiguous() for layer in layers for part in layer[:4])
        return straight and has("step", weight) and not any(size % _WIDTH for size in sizes)

    @staticmethod
    def always_faster(layers: Sequence[Weights]) -> bool:
        """Whether the library's products are never worth it: they may be where the CPU has matrix units for the
        type."""
        return "amx_bf16" not in hardware.cpu_flags() or layers[0].before.element_size() != 2

    def take(
        self,
        x: Tensor,
        caches: Sequence[Sequence[Tensor]],
        lengths: Tensor,
        room: int,
        groups: Groups | None = None,
    ) -> Tensor:
        """x [R, hidden], the embedded tokens, becomes the normed output of the last layer. ``caches`` [layers]: keys
        and values [R, Hkv, room, D], of which row r has ``lengths[r]`` tokens; the new one is put behind them."""
        for layer, (keys, values) in zip(self.layers, caches, strict=True):
            layer.keys, layer.values = pointer(keys), pointer(values)
        groups = groups or Groups.alone(len(x))
        call("step", x, ctypes.addressof(self.model), x, len(x), lengths, room, groups.struct)
        return x


def _layer(w: Weights) -> Layer:
    norms = (None, None) if w.heads is None else map(pointer, w.heads)
    linears = (Linear.of(*part) for part in w[:4])
    return Layer(pointer(w.before), pointer(w.between), *norms, *linears)
