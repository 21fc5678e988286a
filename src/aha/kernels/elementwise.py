"""What is done to each token alone, in one pass each: RMS norm, SwiGLU's product, rotary positions."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from aha.kernels.dispatch import call


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        y, factors = _norm(x, weight, eps, keep=True)
        ctx.save_for_backward(x, weight, factors)
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, factors = ctx.saved_tensors
        dy, width = grads[0].contiguous(), x.shape[-1]
        dx, dweight = torch.empty_like(dy), torch.empty_like(weight)
        rows = x.numel() // width
        call("norm_backward", x, dy, x, width, weight, factors, dx, dweight, rows, width)
        return dx, dweight, None


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """x / sqrt(mean(x^2) + eps) * weight over the last dimension of ``x`` [.., n]: n a multiple of 16."""
    x = x.contiguous()
    if torch.is_grad_enabled():
        return _Norm.apply(x, weight, eps)  # type: ignore[return-value]
    return _norm(x, weight, eps, keep=False)[0]


def _norm(x: Tensor, weight: Tensor, eps: float, keep: bool) -> tuple[Tensor, Tensor | None]:
    width = x.shape[-1]
    rows = x.numel() // width
    y = torch.empty_like(x)
    factors = x.new_empty(rows, dtype=torch.float32) if keep else None
    call("norm", x, x, width, weight, y, factors, rows, width, eps)
    return y, factors


class _Swiglu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, both: Tensor) -> Tensor:
        ctx.save_for_backward(both)
        return swiglu_of(both)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return swiglu_gradient(grads[0], ctx.saved_tensors[0])


def swiglu(both: Tensor) -> Tensor:
    """silu(gate) * up [.., n] of the two beside each other [.., 2n]: n a multiple of 16."""
    both = both.contiguous()
    return _Swiglu.apply(both) if torch.is_grad_enabled() else swiglu_of(both)  # type: ignore[return-value]


def swiglu_of(both: Tensor) -> Tensor:
    """``swiglu`` of a contiguous tensor, without gradients."""
    width = both.shape[-1] // 2
    y = both.new_empty(*both.shape[:-1], width)
    call("swiglu", both, both, _second(both), 2 * width, y, y.numel() // width, width)
    return y


def swiglu_gradient(gradient: Tensor, both: Tensor) -> Tensor:
    """The gradient of ``both`` [.., 2n], where ``gradient`` [.., n] is that of ``swiglu``'s result."""
    gradient, width, result = gradient.contiguous(), gradient.shape[-1], torch.empty_like(both)
    rows = gradient.numel() // width
    halves = (both, _second(both), result, _second(result))
    call("swiglu_backward", both, gradient, *halves, 2 * width, rows, width)
    return result


def _second(both: Tensor) -> int:
    """Where the second half of each row begins."""
    return both.data_ptr() + both.shape[-1] // 2 * both.element_size()


class _Rotate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return rotated(x, cos, sin)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return rotated(grads[0], *ctx.saved_tensors, back=True), None, None


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Heads ``x`` [T, H, D] turned to their positions by ``cos`` and ``sin`` [T, D], as Llama does: D a multiple of
    32, the two halves of the tables equal."""
    return _Rotate.apply(x, cos, sin)  # type: ignore[return-value]


def rotated(x: Tensor, cos: Tensor, sin: Tensor, out: Tensor | None = None, back: bool = False) -> Tensor:
    """``rotate`` or, with ``back``, its gradient; without gradients. ``out`` [T, H, D] may be a part of rows."""
    if x.stride(2) != 1:
        x = x.contiguous()
    y = x.new_empty(x.shape) if out is None else out
    sign = -1.0 if back else 1.0
    call("rotate", x, x, x.stride(0), x.stride(1), cos, sin, y, y.stride(0), *x.shape, sign)
    return y
