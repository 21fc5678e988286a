"""Several projections of one input as one product, and what follows them, with the gradients written out.

Joined projections are not copies: their parameters become views of one tensor, so an optimizer that writes into a
parameter writes into the joined one. Parameters' gradients come out apart, as if there were no join.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from aha.kernels.dispatch import takes
from aha.kernels.elementwise import rotated, swiglu_gradient, swiglu_of
from aha.kernels.products import LEAST_ROWS, product, weight_gradient

Linears = Sequence[torch.nn.Linear]
_LINE = 64


def join(linears: Linears) -> tuple[Tensor, Tensor | None]:
    """(weight, bias) of several projections of one input as one; their parameters become views of it."""
    weight = _join([linear.weight for linear in linears])
    biases = [linear.bias for linear in linears]
    return weight, None if biases[0] is None else _join(biases)


def align(param: torch.nn.Parameter) -> None:
    """Have a parameter begin at a line of the cache: what is mapped from a file need not, and each row that products
    read would lie across two."""
    if type(param.data) is Tensor and param.device.type == "cpu" and param.data_ptr() % _LINE:
        with torch.inference_mode(False):
            param.data = param.detach().clone()


def plain(linears: Linears) -> bool:
    """Whether these may be joined: no adapters, no parts of a sharded model."""
    return all(type(linear) is torch.nn.Linear and type(linear.weight.data) is Tensor for linear in linears)


def joined(linears: Linears) -> bool:
    """Whether these are joined as they stand. Those of a sharded model are not, however they were before."""
    if not plain(linears):
        return False
    sets = [[linear.weight for linear in linears], [linear.bias for linear in linears]]
    return all(params[0] is None or _view(params) is not None for params in sets)


def _join(params: Sequence[Any]) -> Tensor:
    view = _view(params)
    if view is not None:
        return view
    with torch.inference_mode(False):  # the parameters must stay fit for training
        whole = torch.cat([p.detach() for p in params])
        for param, part in zip(params, whole.split([len(p) for p in params]), strict=True):
            param.data = part
    return whole


def _view(params: Sequence[Any]) -> Tensor | None:
    """The one tensor whose parts these are, if they are."""
    first = params[0]
    expected = first.data_ptr()
    for param in params:
        if param.data_ptr() != expected or not param.is_contiguous():
            return None
        expected += param.numel() * param.element_size()
    room = first.untyped_storage().nbytes() - first.storage_offset() * first.element_size()
    if room < sum(p.numel() for p in params) * first.element_size():
        return None
    return first.detach().as_strided((sum(map(len, params)), *first.shape[1:]), first.stride())


def _params(linears: Linears) -> list[Tensor]:
    """Weights and then biases, which autograd is to give gradients."""
    biases = [linear.bias for linear in linears if linear.bias is not None]
    return [*(linear.weight for linear in linears), *biases]


def _backward(
    ctx: Any, gradient: Tensor, x: Tensor, sizes: Sequence[int], biased: bool
) -> tuple[Tensor | None, ...]:
    """Gradients of x [n, in] and of each parameter, where ``gradient`` [n, out] is that of the joined product."""
    wants_x, *wants = ctx.needs_input_grad[-1 - (2 if biased else 1) * len(sizes) :]
    dx = gradient @ ctx.weight if wants_x else None
    gradients: list[Tensor | None] = [None] * len(wants)
    if any(wants[: len(sizes)]):
        gradients[: len(sizes)] = weight_gradient(gradient, x).split(list(sizes))
    if any(wants[len(sizes) :]):
        gradients[len(sizes) :] = gradient.float().sum(0).to(gradient.dtype).split(list(sizes))
    return dx, *(part if want else None for part, want in zip(gradients, wants, strict=True))


class _FusedSwiglu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, linears: Linears, x: Tensor, *params: Tensor) -> Tensor:
        ctx.weight, bias = join(linears)
        ctx.sizes, ctx.biased = [len(linear.weight) for linear in linears], bias is not None
        both = product(x, ctx.weight, bias)
        ctx.save_for_backward(x, both)
        return swiglu_of(both)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, both = ctx.saved_tensors
        gradient = swiglu_gradient(grads[0], both)
        return None, *_backward(ctx, gradient, x, ctx.sizes, ctx.biased)


def swiglu_linear(x: Tensor, gate: torch.nn.Linear, up: torch.nn.Linear) -> Tensor:
    """silu(gate(x)) * up(x) [n, out] of x [n, in]."""
    return _FusedSwiglu.apply((gate, up), x, *_params((gate, up)))  # type: ignore[return-value]


class _Turned(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, linears: Linears, cos: Tensor, sin: Tensor, x: Tensor, *params: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        ctx.weight, bias = join(linears)
        ctx.sizes, ctx.biased = [len(linear.weight) for linear in linears], bias is not None
        dim = cos.shape[-1]
        ctx.heads = [size // dim for size in ctx.sizes]
        q, k, v = product(x, ctx.weight, bias).view(len(x), -1, dim).split(ctx.heads, 1)
        ctx.save_for_backward(x, cos, sin)
        return rotated(q, cos, sin), rotated(k, cos, sin), v.contiguous()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, cos, sin = ctx.saved_tensors
        gradient = x.new_empty(len(x), sum(ctx.heads), cos.shape[-1])
        q, k, v = gradient.split(ctx.heads, 1)
        rotated(grads[0], cos, sin, out=q, back=True)
        rotated(grads[1], cos, sin, out=k, back=True)
        v.copy_(grads[2])
        return None, None, None, *_backward(ctx, gradient.flatten(1), x, ctx.sizes, ctx.biased)


def turned_linears(x: Tensor, linears: Linears, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Queries [n, H, D] and keys [n, Hkv, D] turned to their positions (tables [n, D]), and values [n, Hkv, D], of
    x [n, in]; ``linears``: their projections."""
    return _Turned.apply(linears, cos, sin, x, *_params(linears))  # type: ignore[return-value]


class _Projected(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, *bias: Tensor) -> Tensor:
        ctx.weight, ctx.sizes, ctx.biased = weight.detach(), [len(weight)], bool(bias)
        ctx.save_for_backward(x)
        return product(x, weight, *bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        return _backward(ctx, grads[0].contiguous(), x, ctx.sizes, ctx.biased)


def linear(x: Tensor, layer: torch.nn.Linear) -> Tensor:
    """``layer(x)`` of x [.., in]; a plain projection goes by ``products``, but few rows of bf16."""
    rows, few = x.numel() // x.shape[-1], LEAST_ROWS if x.dtype == torch.bfloat16 else 1
    if rows < few or not plain([layer]) or not takes(x, layer.weight):
        return layer(x)
    y: Tensor = _Projected.apply(x.reshape(rows, -1), *_params([layer]))  # type: ignore[assignment]
    return y.view(*x.shape[:-1], -1)
