"""In bf16 packed attention is as near to exact attention as the plain way, which keeps its scores in float32."""

import numpy as np
import pytest
import torch

from aha.attention import Packed, make_plan

SEGMENTS = np.array([(0, 37, 0, 0), (37, 20, 0, 37), (57, 61, 0, 37), (118, 90, 0, 0)])
HEADS, KV_HEADS, DIM = 4, 2, 32


def seen() -> torch.Tensor:
    """[T, T]: which tokens each token sees, by the definition."""
    mask = torch.zeros(int(SEGMENTS[:, 1].sum()), int(SEGMENTS[:, 1].sum()), dtype=torch.bool)
    for start, length, prefix, prefix_length in SEGMENTS:
        mask[start : start + length, prefix : prefix + prefix_length] = True
        mask[start : start + length, start : start + length] = torch.ones(length, length).tril().bool()
    return mask


def plain(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """[1, H, T, D] -> [1, T, H, D]; scores and softmax in float32 or better."""
    k, v = (x.repeat_interleave(HEADS // KV_HEADS, 1) for x in (k, v))
    scores = (q @ k.transpose(2, 3)).to(torch.promote_types(q.dtype, torch.float32)) * DIM**-0.5
    p = scores.masked_fill(~seen(), -torch.inf).softmax(-1).to(q.dtype)
    return (p @ v).transpose(1, 2)


def results(attend, q, k, v, grad, dtype) -> list[torch.Tensor]:
    """The output and the gradients of queries, keys and values, in float64."""
    leaves = [x.detach().to(dtype, copy=True).requires_grad_() for x in (q, k, v)]
    out = attend(*leaves)
    out.backward(grad.to(dtype))
    return [x.double() for x in (out.detach(), *(g.grad for g in leaves))]


@pytest.mark.parametrize("spread", [0.3, 1.0, 4.0])  # from nearly even attention to a few keys that take all
def test_bf16_is_as_exact_as_scores_in_float32(spread):
    torch.manual_seed(0)
    tokens = int(SEGMENTS[:, 1].sum())
    q, grad = torch.randn(1, HEADS, tokens, DIM) * spread, torch.randn(1, tokens, HEADS, DIM)
    k, v = torch.randn(2, 1, KV_HEADS, tokens, DIM)
    q, k, v, grad = (x.bfloat16().double() for x in (q, k, v, grad))
    packed = Packed(make_plan(SEGMENTS))
    ours = lambda *x: packed.attend(0, *x, DIM**-0.5)  # noqa: E731
    in_float64 = results(plain, q, k, v, grad, torch.float64)
    sides = [results(f, q, k, v, grad, torch.bfloat16) for f in (ours, plain)]
    for name, exact, mine, theirs in zip(
        ("outputs", "queries", "keys", "values"), in_float64, *sides, strict=True
    ):
        error, usual = ((x - exact).norm() / exact.norm() for x in (mine, theirs))
        assert error < 1.5 * usual + 1e-4, name
        assert error < 0.02, name
