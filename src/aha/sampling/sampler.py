"""From logits to tokens: temperature, top-k, top-p, min-p, and the log probability of what was drawn."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from aha import kernels
from aha.modeling import Head
from aha.types import AhaError

SMALLEST = 1e-5
"""Temperatures below it are none: logits divided by them leave float32's range."""


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How to sample. ``temperature`` 0 is greedy, and so is one too small for float32 to divide by; ``top_p`` 1,
    ``top_k`` 0 and ``min_p`` 0 are off."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    max_tokens: int = 512
    stop: tuple[str, ...] = ()

    @property
    def restricted(self) -> bool:
        """Whether some tokens cannot be drawn."""
        return self.top_p < 1 or self.top_k > 0 or self.min_p > 0

    def __post_init__(self) -> None:
        if (
            not 0 <= self.temperature < math.inf
            or not 0 < self.top_p <= 1
            or self.top_k < 0
            or not 0 <= self.min_p < 1
        ):
            raise AhaError(
                f"Sampling parameters out of range: {self}. temperature and top_k are at least 0, top_p is "
                "above 0 and at most 1, min_p at least 0 and below 1."
            )
        if self.max_tokens < 1:
            raise AhaError("max_tokens must be at least 1.")
        if self.temperature < SMALLEST:
            object.__setattr__(self, "temperature", 0.0)
        if "" in self.stop:
            raise AhaError("A stop string must not be empty: every completion would end before it begins.")


_GOLDEN, _M1, _M2 = (
    np.uint64(0x9E3779B97F4A7C15),
    np.uint64(0xBF58476D1CE4E5B9),
    np.uint64(0x94D049BB133111EB),
)


def mix(x: np.ndarray) -> np.ndarray:
    """splitmix64's finalizer: uint64 in, well mixed uint64 out."""
    with np.errstate(over="ignore"):
        x = (x ^ (x >> np.uint64(30))) * _M1
        x = (x ^ (x >> np.uint64(27))) * _M2
        return x ^ (x >> np.uint64(31))


def row_seeds(seed: int, keys: np.ndarray) -> np.ndarray:
    """One stream for each key: uint64 [n] -> uint64 [n]. Streams of different seeds or keys are unrelated."""
    with np.errstate(over="ignore"):
        base = mix(np.array([seed % 2**64], dtype=np.uint64) * _GOLDEN + _GOLDEN)
        return mix(mix(keys.astype(np.uint64) + _GOLDEN) ^ base)


def uniforms(seeds: np.ndarray, counters: np.ndarray) -> np.ndarray:
    """Uniform numbers in [0, 1), float32 [n], a pure function of (stream, position): a row draws the same
    numbers whatever else is in the batch."""
    with np.errstate(over="ignore"):
        bits = mix(seeds + (counters.astype(np.uint64) + np.uint64(1)) * _GOLDEN)
    return (bits >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)


def restrict(logits: Tensor, params: SamplingParams) -> Tensor:
    """Set the logits that top-k, top-p and min-p exclude to -inf."""
    if params.top_k and params.top_k < logits.shape[-1]:
        kth = logits.topk(params.top_k, dim=-1).values[:, -1:]
        logits = logits.masked_fill(logits < kth, -torch.inf)
    if params.min_p:
        p = logits.softmax(-1)
        logits = logits.masked_fill(p < params.min_p * p.max(-1, keepdim=True).values, -torch.inf)
    if params.top_p < 1:
        ordered, index = logits.sort(dim=-1, descending=True)
        p = ordered.softmax(-1)
        out = (p.cumsum(-1) - p) >= params.top_p  # the token that crosses top_p is kept
        logits = logits.masked_fill(out.scatter(1, index, out), -torch.inf)
    return logits


def sample(logits: Tensor, uniform: Tensor, params: SamplingParams) -> tuple[Tensor, Tensor]:
    """Draw one token per row of float32 ``logits`` [R, V] by ``uniform`` [R] -> (tokens [R], logprobs [R]).

    The log probability is that of the distribution drawn from (after temperature and truncation, and
    renormalised). Greedy decoding reports the temperature-1 log probability.
    """
    if params.temperature == 0:
        logp = torch.log_softmax(logits, dim=-1)
        tokens = logp.argmax(-1)
        return tokens, logp.gather(1, tokens[:, None])[:, 0]
    if not params.restricted and kernels.can_score(logits):
        return kernels.pick(logits, uniform, params.temperature)
    logits = restrict(logits / params.temperature, params)
    logp = torch.log_softmax(logits, dim=-1)
    cdf = logp.exp().cumsum(-1)
    threshold = uniform[:, None] * cdf[:, -1:]
    tokens = torch.searchsorted(cdf, threshold, right=True)[:, 0].clamp_(max=logits.shape[-1] - 1)
    chosen = logp.gather(1, tokens[:, None])[:, 0]
    if bool(torch.isinf(chosen).any()):  # float32 rounding can step past the last allowed token
        lost = torch.isinf(chosen)
        tokens[lost] = logp[lost].argmax(-1)
        chosen = logp.gather(1, tokens[:, None])[:, 0]
    return tokens, chosen


_SAMPLES = np.uint64(1_000_003)  # apart: the streams of two keys


def sample_seed(seed: int, key: int, number: int) -> np.uint64:
    """The random stream of one sample of the request of that ``key``."""
    return row_seeds(seed, np.array([key], np.uint64) * _SAMPLES + np.uint64(number))[0]


def seed_for(seed: int, purpose: str, step: int) -> int:
    """A 63-bit seed for one purpose at one step."""
    return random.Random(f"{seed}:{purpose}:{step}").getrandbits(63)


def draw(head: Head, hidden: Tensor, uniform: Tensor, params: SamplingParams) -> tuple[Tensor, Tensor]:
    """``sample`` from the logits of ``hidden`` [R, hidden], which exist only where there is no way without them."""
    if params.restricted or head.softcap or not kernels.can_draw(hidden, head.weight):
        return sample(head.logits(hidden), uniform, params)
    if params.temperature == 0:
        return kernels.draw(hidden, head.weight, head.bias, None, head.scale)
    return kernels.draw(hidden, head.weight, head.bias, uniform, head.scale / params.temperature)
