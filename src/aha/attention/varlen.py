"""Packed attention through torch's variable-length flash attention on GPUs, after a trial on this very device.

Queries stay packed; a segment's keys are its prefix and its own, laid end to end. What the kernel means by causal
(aligned to the last key), by windows and by grouped heads is its own affair: before tensors of a kind go there, a
few segments do, and what comes back must be what rectangles give, gradients included.
"""

from __future__ import annotations

import functools
import inspect
import logging
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aha import trials
from aha.kernels.build import OFF

_log = logging.getLogger(__name__)
DEVICES = ("cuda",)
DTYPES = (torch.bfloat16, torch.float16)
MAX_DIM = 256
"""Flash attention has heads of up to so many numbers, in steps of 8."""
FACTOR, ROUNDINGS = 3.0, 2.5
"""How far a token may be from exact attention in the trial: by so many times what rectangles in the same type are,
and so many times what rounding makes of one operator. It is the farthest token that counts; errors are larger."""
_TRIALS = (
    ((0, 70, 0, 0), (70, 1, 0, 70), (71, 33, 0, 70), (104, 150, 0, 70), (254, 129, 0, 0)),
    ((0, 90, 0, 0), (90, 40, 0, 0)),
    ((0, 1, 0, 0), (1, 1, 0, 1), (2, 1, 0, 1)),
)
"""Segments across the kernels' blocks of 64 and 128, without prompts, and of one token each, which kernels treat
apart."""
_TRIAL_WINDOW = 20


@dataclass(frozen=True, slots=True, eq=False)
class VarlenLayout:
    """Segments as the kernel takes them. ``queries``, ``keys`` [S + 1] int32: where each one's begin; ``index`` [K]:
    the packed token of each key, or None where keys are the tokens; ``copies``: (tokens [n], places [n, c]) of the
    tokens that are c of the keys, for each c."""

    queries: Tensor
    keys: Tensor
    max_q: int
    max_k: int
    index: Tensor | None = None
    copies: tuple[tuple[Tensor, Tensor], ...] = ()

    @classmethod
    def of(cls, segments: np.ndarray, device: torch.device | str) -> VarlenLayout:
        """For ``segments`` [S, 4] (start, length, prefix_start, prefix_length) that hold each token once."""
        rows = segments[np.argsort(segments[:, 0], kind="stable")]
        rows = rows[rows[:, 1] > 0]
        length, prefix = rows[:, 1], rows[:, 3]
        put = lambda a: torch.from_numpy(np.ascontiguousarray(a)).to(device)  # noqa: E731
        queries, keys = (put(np.cumsum([0, *n], dtype=np.int32)) for n in (length, length + prefix))
        max_q, max_k = int(length.max()), int((length + prefix).max())
        if not prefix.any():
            return cls(queries, keys, max_q, max_k)
        index = np.concatenate([np.r_[a : a + n, s : s + m] for s, m, a, n in rows.tolist()])
        copies = tuple((put(tokens), put(places)) for tokens, places in _copies(index))
        return cls(queries, keys, max_q, max_k, put(index), copies)

    @classmethod
    def of_piece(cls, queries: int, keys: int, device: torch.device | str) -> VarlenLayout:
        """The last ``queries`` tokens of one sequence that has ``keys``."""
        own, all_ = (torch.tensor([0, n], dtype=torch.int32, device=device) for n in (queries, keys))
        return cls(own, all_, queries, keys)

    def summed(self, grads: Tensor) -> Tensor:
        """Gradients of keys [K, ..] -> of tokens [T, ..]. A token's copies are added in one order and, as torch sums
        bf16 in float32, rounded once."""
        total = grads.new_empty(sum(len(tokens) for tokens, _ in self.copies), *grads.shape[1:])
        for tokens, places in self.copies:
            rows = grads.index_select(0, places.view(-1))
            if places.shape[1] > 1:
                rows = rows.view(*places.shape, *grads.shape[1:]).sum(1)
            total.index_copy_(0, tokens, rows)
        return total


def _copies(index: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """The tokens that ``index`` names c times, and where, for each c."""
    places, counts = np.argsort(index, kind="stable"), np.bincount(index)
    first = np.cumsum(counts) - counts
    by_count = [(np.flatnonzero(counts == c), c) for c in np.unique(counts)]
    return [(tokens, places[first[tokens][:, None] + np.arange(c)]) for tokens, c in by_count]


class _PackedKeys(torch.autograd.Function):
    """Keys or values of every segment, prefix and own, from those of the packed tokens."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layout: VarlenLayout) -> Tensor:
        ctx.layout = layout
        return x.index_select(0, layout.index)  # type: ignore[arg-type]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return ctx.layout.summed(grads[0]), None


def attend(q: Tensor, k: Tensor, v: Tensor, layout: VarlenLayout, scale: float, window: int | None) -> Tensor:
    """q [T, H, D], k and v [T, Hkv, D] -> [T, H, D]: each token sees its segment's prefix and past, or the last
    ``window`` tokens of them with itself."""
    q, k, v = (x if x.stride(2) == 1 else x.contiguous() for x in (q, k, v))
    if layout.index is not None:
        k, v = (_PackedKeys.apply(x, layout) for x in (k, v))  # type: ignore[misc]
    before = -1 if window is None else window - 1
    return _kernel(
        q, k, v, layout.queries, layout.keys, layout.max_q, layout.max_k, scale=scale, window_size=(before, 0)
    )


def _kernel(q: Tensor, k: Tensor, v: Tensor, *lengths: Any, **options: Any) -> Tensor:
    from torch.nn.attention.varlen import varlen_attn

    if q.shape[1] != k.shape[1] and _asks_for_groups():
        options["enable_gqa"] = True
    return varlen_attn(q, k, v, *lengths, **options)  # type: ignore[return-value]


@functools.cache
def _asks_for_groups() -> bool:
    """Whether grouped heads must be asked for: torch 2.11 takes them as they come."""
    from torch.nn.attention.varlen import varlen_attn

    return "enable_gqa" in inspect.signature(varlen_attn).parameters


# --- the trial -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class KernelKey:
    """What decides which kernel it is."""

    device: torch.device
    dtype: torch.dtype
    dim: int
    groups: int  # query heads to a key head
    windowed: bool

    def __str__(self) -> str:
        window = ", in windows" if self.windowed else ""
        return f"{self.dtype} on {self.device}, heads of {self.dim}, {self.groups} to a key head{window}"


_stands: dict[KernelKey, bool] = {}
ReferenceAttention = Callable[[Tensor, Tensor, Tensor, np.ndarray, float, "int | None"], Tensor]
"""(q, k, v, segments, scale, window) -> what attention over those segments is, computed in another way."""


def takes(q: Tensor, k: Tensor, v: Tensor, window: int | None, reference: ReferenceAttention) -> bool:
    """Whether ``attend`` computes tensors like these: of a type and shape that the kernel has, on a device where a
    trial has shown it right. The first call of a kind runs the trial against ``reference``; where it fails a warning
    says why."""
    dim = q.shape[2]
    if q.device.type not in DEVICES or q.dtype not in DTYPES or not q.dtype == k.dtype == v.dtype:
        return False
    if not k.shape[2] == v.shape[2] == dim or dim % 8 or dim > MAX_DIM or q.shape[1] % k.shape[1]:
        return False
    kind = KernelKey(q.device, q.dtype, dim, q.shape[1] // k.shape[1], window is not None)
    if kind not in _stands:
        _stands[kind] = _tried(kind, reference)
    return _stands[kind]


def _tried(kind: KernelKey, reference: ReferenceAttention) -> bool:
    if os.environ.get("AHA_KERNELS", "1") in OFF:
        return False
    # In a thread of its own nothing of the caller's holds: no recomputation that counts saved tensors, no
    # inference mode. Recomputed layers find the answer of the first pass.
    with ThreadPoolExecutor(1) as thread:
        reason = thread.submit(_trial, kind, reference).result()
    if reason is not None:
        _log.warning("attention (%s) stays with rectangles: torch's varlen_attn %s", kind, reason)
    return reason is None


def _trial(kind: KernelKey, reference: ReferenceAttention) -> str | None:
    """What speaks against the kernel for this kind, if anything does."""
    window = _TRIAL_WINDOW if kind.windowed else None
    scale = 1.3 * kind.dim**-0.5  # not the one that a kernel would take of its own accord
    try:
        with torch.cuda.device(kind.device) if kind.device.type == "cuda" else nullcontext():
            for segments in map(np.array, _TRIALS):
                layout, inputs = (
                    VarlenLayout.of(segments, kind.device),
                    _inputs(kind, int(segments[:, 1].sum())),
                )
                exact = [x.float() for x in inputs]
                truth, plain = (
                    _results(lambda q, k, v, s=segments: reference(q, k, v, s, scale, window), x)
                    for x in (exact, inputs)
                )
                ours = _results(lambda q, k, v, at=layout: attend(q, k, v, at, scale, window), inputs)
                if reason := _difference(ours, plain, truth):
                    return reason
    except torch.OutOfMemoryError:  # says nothing about the kernel
        raise
    except Exception as error:
        return f"fails: {type(error).__name__}: {error}"
    return None


def _inputs(kind: KernelKey, tokens: int) -> list[Tensor]:
    """Queries, keys, values and a gradient, the same every time, without touching torch's random numbers."""
    generator = torch.Generator().manual_seed(0)
    heads = (2 * kind.groups, 2, 2, 2 * kind.groups)
    tensors = (torch.randn(n, tokens, kind.dim, generator=generator) for n in heads)
    return [
        x.to(kind.device, kind.dtype).transpose(0, 1) for x in tensors
    ]  # with strides, as models may have them


def _results(function: Any, arguments: Sequence[Tensor]) -> list[Tensor]:
    """Outputs, and the gradients of queries, keys and values."""
    inputs = [x.detach().requires_grad_() for x in arguments[:3]]
    out = function(*inputs)
    return [out.detach(), *torch.autograd.grad(out, inputs, arguments[3])]


def _difference(ours: Sequence[Tensor], plain: Sequence[Tensor], truth: Sequence[Tensor]) -> str | None:
    """Where a token's numbers are farther from the wanted ones than the plain way and rounding take them."""
    names = ("outputs", "gradients of queries", "gradients of keys", "gradients of values")
    for name, x, other, y in zip(names, ours, plain, truth, strict=True):
        away, allowed = _farthest(x, y), FACTOR * _farthest(other, y) + ROUNDINGS * trials.ROUNDING[x.dtype]
        if not away <= allowed:
            return f"differs from them by {away:.3g} in {name}, where {allowed:.3g} is rounding"
    return None


def _farthest(ours: Tensor, truth: Tensor) -> float:
    """The largest error of a token, by its size and the usual one."""
    sizes = truth.flatten(1).norm(dim=1)
    usual = sizes.square().mean().sqrt()
    return ((ours.float() - truth).flatten(1).norm(dim=1) / (sizes + usual)).max().item()
