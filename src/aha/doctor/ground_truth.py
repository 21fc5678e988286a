"""Independent computation: transformers' own forward, one sequence at a time, and plain formulas.

Nothing here uses packing, the packed attention, the chunked head, or the trainer.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aha import attention, kernels
from aha.types import Example, Group, Rollout


def is_capped(model: Any) -> bool:
    """Whether attention's scores are capped, which sdpa leaves out."""
    return bool(getattr(model.config, "attn_logit_softcapping", None))


@contextlib.contextmanager
def own_attention(model: Any, kind: str = "sdpa") -> Iterator[Any]:
    """The model with the code that transformers ships, without kernels of ours, and its attention of this ``kind``,
    where the family has that; ours is back in place afterwards."""
    ours = model.config._attn_implementation == attention.IMPLEMENTATION
    try:
        model.set_attn_implementation("eager" if is_capped(model) else kind)
    except (ValueError, ImportError):  # some architectures have no sdpa
        model.set_attn_implementation("eager")
    try:
        with kernels.without():
            yield model
    finally:
        if ours:
            attention.install(model)


def logits(model: Any, ids: np.ndarray, last: int = 0) -> Tensor:
    """Float32 (or better) logits [L, V]; row t predicts token t + 1. Of the ``last`` rows only, if that is not 0.
    ``model`` is inside ``own_attention``."""
    tokens = torch.from_numpy(np.asarray(ids, np.int64))[None].to(next(model.parameters()).device)
    output = model(input_ids=tokens, use_cache=False, **_keeping(model, last)).logits[0]
    output = output[-last:] if last else output
    return output if output.dtype is torch.float64 else output.float()


def _keeping(model: Any, last: int) -> dict[str, int]:
    """What spares the family the logits of other rows, where it knows that."""
    known = "logits_to_keep" in inspect.signature(model.forward).parameters
    return {"logits_to_keep": last} if last and known else {}


def token_logprobs(
    model: Any, ids: np.ndarray, temperature: float = 1.0, last: int = 0
) -> tuple[Tensor, Tensor]:
    """(log probability of tokens 1..L-1, entropy of the distributions they came from), each [L - 1]; of the ``last``
    tokens only, if that is not 0."""
    logp = torch.log_softmax(logits(model, ids, last + 1 if last else 0)[:-1] / temperature, dim=-1)
    chosen = torch.from_numpy(np.asarray(ids[-len(logp) :], np.int64)).to(logp.device)
    return logp.gather(1, chosen[:, None])[:, 0], -(logp.exp() * logp).sum(-1)


def completion_logprobs(model: Any, rollout: Rollout, temperature: float = 1.0) -> np.ndarray:
    """Log probability [C] of each token of a completion."""
    ids = np.concatenate([rollout.prompt_ids, rollout.completion_ids])
    with torch.no_grad():
        values, _ = token_logprobs(model, ids, temperature, len(rollout.completion_ids))
    return values.cpu().double().numpy()


def examples(groups: Sequence[Group], advantages: Sequence[np.ndarray]) -> list[Example]:
    """Examples as they must be: the sampled ids, learned on every token of the completion and on no other.

    Members whose advantage is NaN are left out."""
    rows = []
    for index, (group, values) in enumerate(zip(groups, advantages, strict=True)):
        for member, value in zip(group.members, values, strict=True):
            if np.isnan(value):
                continue
            r = member.rollout
            prompt, completion = [int(t) for t in r.prompt_ids], [int(t) for t in r.completion_ids]
            mask = np.array([False] * len(prompt) + [True] * len(completion))
            rows.append(
                Example(
                    token_ids=np.array(prompt + completion, np.int64),
                    mask=mask,
                    advantage=np.array([0.0] * len(prompt) + [float(value)] * len(completion)),
                    sampler_logprobs=np.array(
                        [0.0] * len(prompt) + [float(x) for x in r.logprobs], np.float32
                    ),
                    prompt_length=len(prompt),
                    group=index,
                )
            )
    return rows


def random_advantages(groups: Sequence[Group], seed: int = 0) -> list[np.ndarray]:
    """Advantages that are neither equal nor zero, for each member of each group."""
    rng = np.random.default_rng(seed)
    return [rng.choice([-1.5, -0.5, 0.7, 1.3], len(g.members)) + 0.01 * i for i, g in enumerate(groups)]


def restricted(
    logits_row: np.ndarray, temperature: float, top_p: float = 1.0, top_k: int = 0, min_p: float = 0.0
) -> np.ndarray:
    """Log probabilities [V] that a sampler must draw from, in float64, written as the definitions read.

    Top-k keeps the k likeliest; min-p what has at least that part of the likeliest one's probability; top-p
    the shortest head of the ranking that reaches p. Each renormalises what the one before left.
    """
    z = np.asarray(logits_row, np.float64) / temperature
    keep = np.ones(len(z), bool)
    if top_k and top_k < len(z):
        keep &= z >= np.sort(z)[-top_k]
    if min_p:
        p = _softmax(z, keep)
        keep &= p >= min_p * p.max()
    if top_p < 1:
        p, head = _softmax(z, keep), np.zeros(len(z), bool)
        order = np.argsort(-p, kind="stable")
        enough = int(np.searchsorted(np.add.accumulate(p[order]), top_p - 1e-15)) + 1
        head[order[:enough]] = True
        keep &= head
    with np.errstate(divide="ignore"):
        return np.log(_softmax(z, keep))


def restricted_bounds(
    logits_row: np.ndarray,
    temperature: float,
    slack: float,
    *,
    top_p: float = 1.0,
    top_k: int = 0,
    min_p: float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """(lowest, highest) log probability [V] of each token after truncation, where each logit (divided by the
    temperature) may be off by ``slack`` nats: who stands at the edge of what is kept can then fall either way. Minus
    infinity twice for a token that may not be kept at all."""
    z = np.asarray(logits_row, np.float64) / temperature
    p = _softmax(z, np.ones(len(z), bool))
    loose, tight = (_kept(z, p, 2 * s, top_p, top_k, min_p) for s in (slack, -slack))  # of two logits
    with np.errstate(divide="ignore"):
        own, mass = np.log(p), p[tight].sum()
        highest = own - np.log(np.where(tight, mass, mass + p))
        return np.where(loose, own - np.log(p[loose].sum()), -np.inf), np.where(loose, highest, -np.inf)


def _kept(z: np.ndarray, p: np.ndarray, slack: float, top_p: float, top_k: int, min_p: float) -> np.ndarray:
    """Which tokens [V] a truncation may keep; with a negative ``slack``, which it must."""
    upward = np.sort(z)
    reached = np.searchsorted(upward, z + slack, side="right" if slack > 0 else "left")
    itself = int(slack <= 0)  # is among those that stand at most so far below it
    keep = np.ones(len(z), bool)
    if top_k and top_k < len(z):
        keep &= len(z) - reached - itself < top_k
    if min_p:
        keep &= z >= z.max() + np.log(min_p) - slack
    if top_p < 1:
        above = np.append(np.cumsum(np.sort(p)[::-1])[::-1], 0.0)[reached] - itself * p
        keep &= above * np.exp(-slack) < top_p * p[keep].sum()
    return keep


def _softmax(z: np.ndarray, keep: np.ndarray) -> np.ndarray:
    e = np.where(keep, np.exp(z - z[keep].max()), 0.0)
    return e / e.sum()


def relative_error(got: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """|got - expected| / |expected| over all tensors as one vector; NaN or infinite gradients give infinity."""
    difference = sum(
        float((a.double() - b.double()).square().sum()) for a, b in zip(got, expected, strict=True)
    )
    size = sum(float(b.double().square().sum()) for b in expected)
    value = (difference / max(size, 1e-300)) ** 0.5
    return value if np.isfinite(value) else float("inf")
