"""Random tensors, the same sums in float64, and how near to them is near enough."""

from __future__ import annotations

import pytest
import torch

CLOSE = {torch.float32: 3e-6, torch.bfloat16: 8e-3}
DTYPES = pytest.mark.parametrize("dtype", CLOSE, ids=str)


def random(*shape, dtype=torch.float32, seed=0, scale=1.0):
    values = torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * scale
    return values.to(dtype).requires_grad_()


def exactly(*tensors):
    """The same numbers in float64."""
    return [x.detach().double().requires_grad_() for x in tensors]


def near(ours, exact, dtype):
    ours, exact = ours.detach().double(), exact.detach().double()
    assert ours.shape == exact.shape
    scale = exact.norm() + exact.numel() ** 0.5  # some gradients are zero but for what cancels
    assert (ours - exact).norm() <= CLOSE[dtype] * scale


def same(function, reference, inputs, dtype):
    """Results and gradients of ``function`` are those of ``reference`` on float64."""
    ours, truth = function(*inputs), reference(*(exact := exactly(*inputs)))
    near(ours, truth, dtype)
    upstream = random(*truth.shape, dtype=dtype, seed=9).detach()
    ours.backward(upstream)
    truth.backward(upstream.double())
    for x, y in zip(inputs, exact, strict=True):
        near(x.grad, y.grad, dtype)


def turned(x, cos, sin):
    half = x.shape[-1] // 2
    other = torch.cat([-x[..., half:], x[..., :half]], -1)
    return x * cos[:, None] + other * sin[:, None]


def tables(tokens, dim, dtype):
    angles = torch.arange(tokens)[:, None] * 10000 ** (-torch.arange(0, dim, 2) / dim)
    angles = torch.cat([angles, angles], -1)
    return angles.cos().to(dtype), angles.sin().to(dtype)
