"""Products with weights, and the gradients of weights, by the way that is fastest on this machine.

A product of two matrices as they stand can be twice as fast as one in which a matrix is read across its rows, which is
what a projection (x @ W.T) and the gradient of its weight (dz.T @ x) ask of the library. Where it pays, a matrix is
written as its transpose first. For few rows of float32 the library may read the weight at a third of what memory
gives; then a kernel does the product. Which way pays is tried once on a machine for each shape.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from aha import hardware, speeds
from aha.kernels.dispatch import Linear, call, has, takes, version

LEAST_ROWS = 256
"""Rows of a product for which another way is tried: to write a matrix anew costs the same for few and for many."""
MOST_ROWS = 256
"""Rows of a product of float32 for which the kernel is tried: with many the library is as fast as the CPU is."""
LEAST_WEIGHT = 1 << 16
"""Numbers of a weight for which it is: the call costs as much as a small product."""
MOST_WEIGHT = 1 << 24
"""Numbers of a weight in a trial: more than caches hold, and no burden beside the model itself."""
LEAST_OUTPUTS, WIDTH = 32, 32
"""Of the kernel: outputs at least, and numbers that the width is a multiple of."""
BLOCK = 1 << 14
"""Outputs whose gradients are taken together: what is turned of them stays small, however large a vocabulary is."""
TRIALS = "products.json"


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x [n, in] times a weight [out, in] -> [n, out]. No gradients go through it."""
    if by_kernel(x, weight):
        return meet(x, weight, bias)
    if _may_turn(x, weight) and _turns("product", len(x), *weight.shape):
        return _product_turned(x, weight, bias)
    return F.linear(x, weight, bias)


def by_kernel(x: Tensor, weight: Tensor) -> bool:
    """Whether x [.., in] times a weight [out, in], both float32, is faster by the kernel for few rows."""
    rows = x.numel() // max(1, x.shape[-1])
    return (
        0 < rows < MOST_ROWS
        and weight.dtype == torch.float32
        and can_meet(x, weight)
        and weight.numel() >= LEAST_WEIGHT
        and _tried("few", _class(rows), *weight.shape, torch.get_num_threads())
    )


def can_meet(x: Tensor, weight: Tensor) -> bool:
    """Whether the kernel for few rows knows these."""
    fits = weight.dim() == 2 and len(weight) >= LEAST_OUTPUTS and weight.shape[1] % WIDTH == 0
    return fits and weight.is_contiguous() and takes(x, weight) and has("project", weight)


def meet(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x [.., in] times a weight [out, in] as it stands -> [.., out] in float32, with all sums in float32."""
    x = x.contiguous()
    z = x.new_empty(*x.shape[:-1], len(weight), dtype=torch.float32)
    rows = x.numel() // weight.shape[1]
    call("project", weight, x, rows, weight.shape[1], Linear.of(weight, bias), len(weight), z)
    return z


def weight_gradient(dz: Tensor, x: Tensor) -> Tensor:
    """The gradient [out, in] of a weight, of dz [n, out] and x [n, in]: dz.T @ x."""
    if _may_turn(dz, x) and _turns("gradient", len(x), dz.shape[1], x.shape[1]):
        return _gradient_turned(dz, x)
    return dz.t() @ x


def transposed(x: Tensor, into: Tensor | None = None) -> Tensor:
    """x [r, c] of bf16, whose rows are contiguous, as a matrix [c, r] of its own, or in ``into``."""
    y = x.new_empty(x.shape[1], x.shape[0]) if into is None else into
    call("transpose", x, x, x.stride(0), *x.shape, y)
    return y


def _may_turn(x: Tensor, other: Tensor) -> bool:
    straight = x.stride(-1) == other.stride(-1) == 1
    return (
        len(x) >= LEAST_ROWS
        and x.dtype == torch.bfloat16
        and straight
        and takes(x, other)
        and has("transpose", x)
    )


def _product_turned(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    turned = transposed(weight.detach())
    return x @ turned if bias is None else torch.addmm(bias, x, turned)


def _gradient_turned(dz: Tensor, x: Tensor) -> Tensor:
    """By turning whichever is smaller."""
    if dz.shape[1] <= x.shape[1]:
        return transposed(dz) @ x
    turned, out = transposed(x), x.new_empty(dz.shape[1], x.shape[1])
    for part, into in zip(dz.split(BLOCK, 1), out.split(BLOCK), strict=True):
        transposed(turned @ part, into)
    return out


# --- which way -------------------------------------------------------------------------------------------


def _turns(kind: str, rows: int, outputs: int, inputs: int) -> bool:
    """Whether a matrix is turned first. Numbers of rows between two powers of two are one."""
    return _tried(kind, _class(rows), outputs, inputs, torch.get_num_threads())


def _class(rows: int) -> int:
    return 1 << (rows.bit_length() - 1)


@functools.cache
def _tried(kind: str, rows: int, outputs: int, inputs: int, threads: int) -> bool:
    """``threads`` are among the machine's facts: with others it is tried anew."""
    facts = hardware.facts() | {
        "product": [kind, rows, outputs, inputs],
        "kernels": version(),
    }
    return speeds.kept(TRIALS, facts, lambda: speeds.faster(*_ways(kind, rows, outputs, inputs)), _flag)


def _ways(kind: str, rows: int, outputs: int, inputs: int) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """The product by the kernel or with its matrix turned, and as the library does it."""
    if kind == "few":
        x = torch.ones(rows, inputs)
        weight = torch.ones(max(LEAST_OUTPUTS, min(outputs, MOST_WEIGHT // inputs)), inputs)
        return lambda: meet(x, weight, None), lambda: F.linear(x, weight)
    x = torch.ones(rows, inputs, dtype=torch.bfloat16)
    if kind == "product":
        weight = torch.ones(outputs, inputs, dtype=torch.bfloat16)
        return lambda: _product_turned(x, weight, None), lambda: F.linear(x, weight)
    dz = torch.ones(rows, outputs, dtype=torch.bfloat16)
    return lambda: _gradient_turned(dz, x), lambda: dz.t() @ x


def _flag(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None
