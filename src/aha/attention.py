"""Padding-free attention: many sequences in one row of tokens, each seeing only itself and its prompt.

The linear layers of the model run on packed tokens, without padding. Only here are sequences laid out as
rectangles: rows of similar length form a bucket, and every bucket is three batched matrix products. A
segment may name a *prefix*: tokens of another segment (the prompt that G completions share) which it sees
as its own past, so a prompt is computed once for its whole group.

On CPUs plain products and a softmax measured faster than ``scaled_dot_product_attention``, whose backward
is slow there; the backward below is written out and tested against autograd.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from aha.types import AhaError

IMPLEMENTATION = "aha"
MAX_BUCKET_SCORES = 8 * 2**20
"""Attention scores held at once by a bucket, in elements for one head: bounds memory, fits the caches."""
_KEEP_PROBABILITIES_UP_TO = 1024


@dataclass(frozen=True, slots=True)
class Bucket:
    """Rows of similar shape. ``q_index`` [R * Lq] and ``kv_index`` [R * Lk] point at packed tokens; the
    index T (one past the last token) stands for padding. ``bias`` [R, Lq, Lk]: 0 where seen, -inf else."""

    rows: int
    q_len: int
    kv_len: int
    q_index: Tensor
    kv_index: Tensor
    bias: Tensor


@dataclass(frozen=True, slots=True)
class Plan:
    """How the tokens of one packed batch see each other. ``inverse`` [T]: where each token's output
    stands in the buckets' outputs laid end to end; ``shared``: some key belongs to several rows."""

    tokens: int
    buckets: tuple[Bucket, ...]
    inverse: Tensor
    shared: bool


def make_plan(segments: np.ndarray, device: torch.device | str = "cpu") -> Plan:
    """Plan attention for ``segments`` [S, 4]: (start, length, prefix_start, prefix_length) of each."""
    tokens = int(segments[:, 1].sum())
    order = np.lexsort((segments[:, 3], segments[:, 1]))[::-1]
    inverse = np.empty(tokens, dtype=np.int64)
    buckets, offset = [], 0
    for rows in _split_rows(segments[order]):
        bucket = _make_bucket(rows, tokens, device)
        lanes = np.arange(bucket.q_len)
        for i, (start, length) in enumerate(rows[:, :2]):
            inverse[start : start + length] = offset + i * bucket.q_len + lanes[:length]
        offset += bucket.rows * bucket.q_len
        buckets.append(bucket)
    shared = bool((segments[:, 3] > 0).any())
    return Plan(tokens, tuple(buckets), torch.from_numpy(inverse).to(device), shared)


def _split_rows(segments: np.ndarray) -> list[np.ndarray]:
    """Cut segments sorted by falling length into buckets that waste little and stay small."""
    parts, first = [], 0
    for i in range(1, len(segments) + 1):
        if i < len(segments):
            longest = segments[first, 1]
            keys = longest + segments[first : i + 1, 3].max()
            small = (i + 1 - first) * longest * keys <= MAX_BUCKET_SCORES
            if segments[i, 1] >= 0.8 * longest - 8 and small:
                continue
        parts.append(segments[first:i])
        first = i
    return parts


def _make_bucket(rows: np.ndarray, tokens: int, device: torch.device | str) -> Bucket:
    start, length, prefix_start, prefix = (rows[:, i : i + 1] for i in range(4))
    q_len, prefix_len = int(length.max()), int(prefix.max())
    lane, prefix_lane = np.arange(q_len)[None], np.arange(prefix_len)[None]
    own = np.where(lane < length, start + lane, tokens)
    past = np.where(prefix_lane < prefix, prefix_start + prefix_lane, tokens)
    keys = np.concatenate([past, own], axis=1)
    # A padded query sees the keys its lane would see, so that its softmax stays finite; nobody reads it.
    seen_own = np.broadcast_to(lane <= lane.T, (len(rows), q_len, q_len))
    seen_past = np.broadcast_to((prefix_lane < prefix)[:, None], (len(rows), q_len, prefix_len))
    seen = np.concatenate([seen_past, seen_own], axis=2)
    bias = np.where(seen, np.float32(0), np.float32(-np.inf))
    as_tensor = lambda a: torch.from_numpy(np.ascontiguousarray(a)).to(device)  # noqa: E731
    return Bucket(
        len(rows), q_len, q_len + prefix_len, as_tensor(own.ravel()), as_tensor(keys.ravel()), as_tensor(bias)
    )


def _with_zero_row(x: Tensor) -> Tensor:
    return torch.cat([x, x.new_zeros(1, *x.shape[1:])])


def _heads_first(x: Tensor, rows: int, length: int, kv_heads: int) -> Tensor:
    """[R * L, H, D] -> [R * Hkv, (H / Hkv) * L, D]: the query heads of one key head stacked as queries."""
    groups, dim = x.shape[1] // kv_heads, x.shape[2]
    x = x.view(rows, length, kv_heads, groups, dim).permute(0, 2, 3, 1, 4)
    return x.reshape(rows * kv_heads, groups * length, dim)


def _tokens_first(x: Tensor, rows: int, length: int, kv_heads: int) -> Tensor:
    """The inverse of ``_heads_first``: back to [R * L, H, D]."""
    groups, dim = x.shape[1] // length, x.shape[2]
    x = x.view(rows, kv_heads, groups, length, dim).permute(0, 3, 1, 2, 4)
    return x.reshape(rows * length, kv_heads * groups, dim)


def _probabilities(q: Tensor, k: Tensor, bucket: Bucket, scale: float) -> Tensor:
    """softmax(q k' * scale + bias) in float32: [R * Hkv, g * Lq, Lk]."""
    scores = torch.bmm(q, k.transpose(1, 2)).float().mul_(scale)
    view = scores.view(bucket.rows, -1, bucket.q_len, bucket.kv_len)
    view += bucket.bias[:, None]
    return torch.softmax(scores, dim=-1)


class _PackedAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, plan: Plan, scale: float) -> Tensor:
        kv_heads = k.shape[1]
        padded = [_with_zero_row(x) for x in (q, k, v)]
        outputs, kept = [], []
        for bucket in plan.buckets:
            qb, kb, vb = _lay_out(padded, bucket, kv_heads)
            p = _probabilities(qb, kb, bucket, scale).to(q.dtype)
            outputs.append(_tokens_first(torch.bmm(p, vb), bucket.rows, bucket.q_len, kv_heads))
            kept.append(p if bucket.kv_len <= _KEEP_PROBABILITIES_UP_TO else None)
        ctx.save_for_backward(q, k, v)
        ctx.plan, ctx.scale, ctx.kept = plan, scale, kept
        return torch.cat(outputs).index_select(0, plan.inverse)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        (grad,) = grads
        q, k, v = ctx.saved_tensors
        plan, kv_heads = ctx.plan, k.shape[1]
        padded, padded_grad = [_with_zero_row(x) for x in (q, k, v)], _with_zero_row(grad)
        dq_parts, dkv_parts = [], []
        for bucket, p in zip(plan.buckets, ctx.kept, strict=True):
            qb, kb, vb = _lay_out(padded, bucket, kv_heads)
            if p is None:
                p = _probabilities(qb, kb, bucket, ctx.scale).to(q.dtype)
            gb = _heads_first(
                padded_grad.index_select(0, bucket.q_index), bucket.rows, bucket.q_len, kv_heads
            )
            dv = torch.bmm(p.transpose(1, 2), gb)
            dp = torch.bmm(gb, vb.transpose(1, 2)).float()
            pf = p.float()
            ds = pf.mul_(dp.sub_((pf * dp).sum(-1, keepdim=True))).mul_(ctx.scale).to(q.dtype)
            dq_parts.append(_tokens_first(torch.bmm(ds, kb), bucket.rows, bucket.q_len, kv_heads))
            dk = torch.bmm(ds.transpose(1, 2), qb)
            dkv = torch.cat([_tokens_first(x, bucket.rows, bucket.kv_len, kv_heads) for x in (dk, dv)], dim=1)
            dkv_parts.append(dkv)
        dq = torch.cat(dq_parts).index_select(0, plan.inverse)
        dkv = _sum_into_tokens(plan, dkv_parts)
        return dq, dkv[:, :kv_heads], dkv[:, kv_heads:], None, None


def _lay_out(padded: Sequence[Tensor], bucket: Bucket, kv_heads: int) -> tuple[Tensor, Tensor, Tensor]:
    q, k, v = padded
    return (
        _heads_first(q.index_select(0, bucket.q_index), bucket.rows, bucket.q_len, kv_heads),
        _heads_first(k.index_select(0, bucket.kv_index), bucket.rows, bucket.kv_len, kv_heads),
        _heads_first(v.index_select(0, bucket.kv_index), bucket.rows, bucket.kv_len, kv_heads),
    )


def _sum_into_tokens(plan: Plan, parts: Sequence[Tensor]) -> Tensor:
    """Bring the gradients of keys and values [R * Lk, 2 Hkv, D] back to tokens, adding where shared."""
    own, shared_index, shared_values = [], [], []
    for bucket, part in zip(plan.buckets, parts, strict=True):
        prefix = bucket.kv_len - bucket.q_len
        rows = part.view(bucket.rows, bucket.kv_len, *part.shape[1:])
        own.append(rows[:, prefix:].reshape(-1, *part.shape[1:]))
        if prefix:
            shared_index.append(bucket.kv_index.view(bucket.rows, -1)[:, :prefix].reshape(-1))
            shared_values.append(rows[:, :prefix].reshape(-1, *part.shape[1:]))
    total = torch.cat(own).index_select(0, plan.inverse)
    if shared_index:
        # Float32 for the sum over a group, as many small gradients meet in one token; row T is padding.
        prompt = total.new_zeros(plan.tokens + 1, *total.shape[1:], dtype=torch.float32)
        prompt.index_add_(0, torch.cat(shared_index), torch.cat(shared_values).float())
        total = (total.float() + prompt[:-1]).to(total.dtype)
    return total


class Context(Protocol):
    """Who sees whom in one forward call: packed sequences (below) or the sampler's cache."""

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        """query [1 or R, H, T or 1, D], key and value [.., Hkv, .., D] -> [1 or R, T or 1, H, D]."""
        ...


class Packed:
    """Packed sequences attending by a plan. With ``keep`` the keys and values [T, Hkv, D] of each layer
    are kept in ``kept``: a prompt's cache for the sampler."""

    def __init__(self, plan: Plan, keep: bool = False):
        self.plan, self.keep = plan, keep
        self.kept: dict[int, tuple[Tensor, Tensor]] = {}

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        """query [1, H, T, D], key and value [1, Hkv, T, D] -> [1, T, H, D]."""
        q, k, v = (x[0].transpose(0, 1) for x in (query, key, value))
        if self.keep:
            self.kept[layer] = (k, v)
        return _PackedAttention.apply(q, k, v, self.plan, scale)[None]  # type: ignore[index]


def _attention(
    module: torch.nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any, **kwargs: Any
) -> tuple[Tensor, None]:
    """What transformers calls in each layer; ``context`` comes with the forward call."""
    if kwargs.get("softcap") or kwargs.get("s_aux") is not None or kwargs.get("sliding_window"):
        raise AhaError(
            "This model's attention has soft caps, sinks or a sliding window, which aha does not train yet."
        )
    context: Context = kwargs["context"]
    scale = kwargs.get("scaling") or query.shape[-1] ** -0.5
    return context.attend(int(module.layer_idx), query, key, value, scale), None  # type: ignore[arg-type]


def install(model: Any) -> None:
    """Route a transformers model's attention through the ``context`` given to each forward call."""
    from transformers import AttentionInterface, AttentionMaskInterface

    if model.config._attn_implementation != IMPLEMENTATION:
        AttentionInterface.register(IMPLEMENTATION, _attention)
        AttentionMaskInterface.register(IMPLEMENTATION, lambda *args, **kwargs: None)
        model.set_attn_implementation(IMPLEMENTATION)
