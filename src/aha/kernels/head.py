"""Logits in float32, and what is read off them: the log probability of a token, the entropy, a drawn token."""

from __future__ import annotations

import torch
from torch import Tensor

from aha.kernels.dispatch import Linear, call, has, matrix_units, takes
from aha.kernels.products import by_kernel, can_meet, meet

_FEW = 8
"""Rows for which logits that exist cost less: their softmax is taken along a row, not across rows."""


def can_project(hidden: Tensor, weight: Tensor) -> bool:
    """Whether a kernel makes the logits of these: of bf16, where the CPU multiplies it, and of few rows of float32
    where it is faster; and nobody asks for gradients."""
    asked = torch.is_grad_enabled() and (hidden.requires_grad or weight.requires_grad)
    if asked:
        return False
    return can_meet(hidden, weight) if weight.dtype == torch.bfloat16 else by_kernel(hidden, weight)


def project(hidden: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """hidden [.., width] times a weight [V, width] -> [.., V]: products of bf16 and all sums in float32, which is what
    float32 products of the same numbers give."""
    return meet(hidden, weight, bias)


def can_score(logits: Tensor) -> bool:
    """Whether there are kernels for these logits [n, V]."""
    return logits.dtype == torch.float32 and logits.is_contiguous() and takes(logits)


def score(logits: Tensor, tokens: Tensor, temperature: float) -> tuple[Tensor, Tensor, Tensor]:
    """Of softmax(logits / temperature) [n, V]: the log probability of ``tokens`` [n], the entropy [n], and the log
    of each row's sum [n]."""
    rows, size = logits.shape
    logprobs, entropies, sums = logits.new_empty(3, rows)
    factor = 1 / temperature
    call("score", logits, logits, rows, size, factor, tokens, logprobs, entropies, sums)
    return logprobs, entropies, sums


def score_gradient(
    logits: Tensor,
    tokens: Tensor,
    temperature: float,
    entropies: Tensor,
    sums: Tensor,
    gradients: tuple[Tensor, Tensor | None],
    scale: float = 1.0,
) -> None:
    """Turn ``logits`` into ``scale`` times their gradient, where ``gradients`` are those of log probability and
    entropy."""
    rows, size = logits.shape
    call(
        "score_backward", logits, logits, rows, size, 1 / temperature, tokens,
        entropies, sums, gradients[0].contiguous(), None if gradients[1] is None else gradients[1].contiguous(),
        scale,
    )  # fmt: skip


def pick(logits: Tensor, uniform: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """One token a row of softmax(logits / temperature) [n, V] by ``uniform`` [n], and its log probability."""
    rows, size = logits.shape
    tokens, logprobs = logits.new_empty(rows, dtype=torch.int64), logits.new_empty(rows)
    call("pick", logits, logits, rows, size, 1 / temperature, uniform, tokens, logprobs)
    return tokens, logprobs


# --- without logits, on matrix units -----------------------------------------------------------------------


def can_fuse(hidden: Tensor, weight: Tensor) -> bool:
    """Whether what is read off the logits of these can be had without them."""
    known = weight.dtype == torch.bfloat16 and can_project(hidden, weight)
    return known and has("project_pick", weight) and matrix_units()


def can_draw(hidden: Tensor, weight: Tensor) -> bool:
    """Whether ``draw`` takes these, and is worth it."""
    return len(hidden) >= _FEW and can_fuse(hidden, weight)


def draw(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, uniform: Tensor | None, factor: float
) -> tuple[Tensor, Tensor]:
    """One token a row of softmax(``factor`` * logits) of hidden [n, width] by ``uniform`` [n], or the likeliest one,
    and its log probability."""
    hidden = hidden.contiguous()
    tokens = hidden.new_empty(len(hidden), dtype=torch.int64)
    logprobs = hidden.new_empty(len(hidden), dtype=torch.float32)
    call("project_pick", weight, hidden, *_head(hidden, weight, bias), factor, uniform, tokens, logprobs)
    return tokens, logprobs


def project_score(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, tokens: Tensor, factor: float
) -> tuple[Tensor, Tensor, Tensor]:
    """``score`` of ``factor`` * logits of hidden [n, width]."""
    hidden = hidden.contiguous()
    scores = hidden.new_empty(3, len(hidden), dtype=torch.float32)
    call("project_score", weight, hidden, *_head(hidden, weight, bias), factor, tokens, *scores)
    logprobs, entropies, sums = scores
    return logprobs, entropies, sums


def project_gradient(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    tokens: Tensor,
    factor: float,
    known: tuple[Tensor, Tensor],
    gradients: tuple[Tensor, Tensor | None],
    scale: float,
) -> Tensor:
    """``scale`` times the gradient [n, V] by the logits that ``factor`` has multiplied, in bf16; ``known``: entropies
    and sums, ``gradients``: gradients of log probability and entropy."""
    hidden = hidden.contiguous()
    dz = hidden.new_empty(len(hidden), len(weight))
    by = [None if x is None else x.contiguous() for x in gradients]
    call(
        "project_gradient",
        weight,
        hidden,
        *_head(hidden, weight, bias),
        factor,
        tokens,
        *known,
        *by,
        scale,
        dz,
    )
    return dz


def _head(hidden: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[int, int, Linear, int]:
    return len(hidden), weight.shape[1], Linear.of(weight, bias), len(weight)
