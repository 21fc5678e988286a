"""How two ways to compute one thing are compared, and the tokens that a model is tried on.

Two computations in bf16 differ by rounding, and by how much depends on the model: layers with large keys or many
layers turn the last bit of a number into a tenth of the result. So neither is held against the other. Both are held
against the truth, the same computed in a finer type; ours may err as the plain way does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

FACTOR = 2.0
"""Our error by the plain way's, at most: what the order of sums makes of rounding varies by less, bugs by more."""
ROUNDING: Mapping[torch.dtype, float] = {
    torch.bfloat16: 4e-3, torch.float16: 5e-4, torch.float32: 5e-6, torch.float64: 1e-6,
}  # fmt: skip
"""Relative error of one operator that says nothing, even where the plain way happens to make none. In float64 families
compute their softmax and norms in float32."""
TEXT = (
    "The train left the station at 9:45 with 128 people on board. How many of them were children, if every "
    "fourth seat was taken by one? Let x be their number."
)
"""Ordinary text; a model's own tokenizer makes ids of it."""
MOST_TOKENS = 24
ODD_TOKENS = 7
DRAWS = 4
_NOTED = "_trial_text"  # an attribute, so that copies of a model have it too


def finer(dtype: torch.dtype) -> torch.dtype:
    """The type in which the truth about computations in ``dtype`` is computed."""
    return torch.float64 if dtype in (torch.float32, torch.float64) else torch.float32


def finer_of(x: Tensor) -> Tensor:
    """The same numbers in that type."""
    return x.to(finer(x.dtype))


def error(output: Tensor, truth: Tensor) -> float:
    """|output - truth| / |truth| of a token [.., T, n], on average: some tokens are thousands of times as long as
    others and would hide them. Infinite where something found is not finite."""
    truth = truth.double()
    away = (output.double() - truth).norm(dim=-1) / truth.norm(dim=-1).clamp_min(1e-30)
    return float(away.mean().nan_to_num(float("inf")))


def as_good(ours: float, plain: float, dtype: torch.dtype) -> bool:
    """Whether our error is the plain way's, but for rounding in ``dtype``: a smaller one always is."""
    return ours <= FACTOR * plain + ROUNDING[dtype]


def shaken(x: Tensor, draw: int = 0) -> Tensor:
    """``x`` in the finer type, each number moved at random by at most as much as two roundings move it. Where scores
    are so large that this decides who is attended to, any way of computing may fall either way."""
    generator = torch.Generator().manual_seed(draw)
    noise = torch.rand(x.shape, generator=generator).to(x.device, finer(x.dtype)) * 2 - 1
    return x.to(noise.dtype) * (1 + torch.finfo(x.dtype).eps * noise)


def shakes() -> list[Callable[[Tensor], Tensor]]:
    """Several draws of it: what a function makes of them shows how far rounding alone takes it."""
    return [partial(shaken, draw=draw) for draw in range(DRAWS)]


def note_text(model: Any, ids: Sequence[int]) -> None:
    """Remember ids of ordinary text by the model's own tokenizer, for its trials."""
    setattr(model, _NOTED, tuple(ids)[:MOST_TOKENS])


def token_ids(model: Any) -> Tensor:
    """A sequence [1, L] on the model's device: ordinary text where it is known, and then a few ids from all over the
    vocabulary, on which models err most."""
    weight = model.get_input_embeddings().weight
    rows = len(weight)
    odd = torch.linspace(1, rows - 1, ODD_TOKENS).long().tolist()
    text = [i for i in getattr(model, _NOTED, ()) if 0 <= i < rows]
    return torch.tensor([[*text, *odd]], device=weight.device)
