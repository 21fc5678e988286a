"""Attention over a plan: each sequence seeing only itself and its prompt, the backward pass written out.

On CPUs plain products and a softmax measured faster than ``scaled_dot_product_attention``, whose backward
is slow there; the backward below is tested against autograd. What families do besides (sliding windows, soft
caps on the scores, sinks, values of another size than keys) costs only the families that do it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from aha import kernels
from aha.attention import varlen
from aha.attention.context_parallel import Exchange
from aha.attention.layout import Bucket, Plan, make_plan

_KEEP_PROBABILITIES_UP_TO = 1024
WAYS: set[str] = set()
"""How packed attention was computed in this process: kernels, varlen, rectangles."""


@contextlib.contextmanager
def unnoted() -> Iterator[None]:
    """For a computation that is no part of the work: the ways that it goes are not added to ``WAYS``."""
    before = set(WAYS)
    try:
        yield
    finally:
        WAYS.intersection_update(before)


@dataclass(frozen=True, slots=True, eq=False)
class Variant:
    """What a layer's attention does beside the softmax of scaled products."""

    window: int | None = None  # a token sees itself and the window - 1 before it
    softcap: float | None = None  # scores -> cap * tanh(scores / cap)
    sinks: Tensor | None = None  # [H]: the score of one more key of each query head, whose value is zero

    @property
    def plain(self) -> bool:
        """Whether it does nothing else, but for a window."""
        return self.softcap is None and self.sinks is None


PLAIN = Variant()


def _with_zero_row(x: Tensor) -> Tensor:
    return torch.cat([x, x.new_zeros(1, *x.shape[1:])])


def heads_first(x: Tensor, rows: int, length: int, kv_heads: int) -> Tensor:
    """[R * L, H, D] -> [R * Hkv, (H / Hkv) * L, D]: the query heads of one key head stacked as queries."""
    groups, dim = x.shape[1] // kv_heads, x.shape[2]
    x = x.view(rows, length, kv_heads, groups, dim).permute(0, 2, 3, 1, 4)
    return x.reshape(rows * kv_heads, groups * length, dim)


def tokens_first(x: Tensor, rows: int, length: int, kv_heads: int) -> Tensor:
    """The inverse of ``heads_first``: back to [R * L, H, D]."""
    groups, dim = x.shape[1] // length, x.shape[2]
    x = x.view(rows, kv_heads, groups, length, dim).permute(0, 3, 1, 2, 4)
    return x.reshape(rows * length, kv_heads * groups, dim)


def probabilities(
    q: Tensor, k: Tensor, bias: Tensor, scale: float, variant: Variant = PLAIN
) -> tuple[Tensor, Tensor | None]:
    """What queries q [R * Hkv, g * Lq, D] give to keys k [R * Hkv, Lk, D] under ``bias`` [R, Lq, Lk], in q's
    type: [R * Hkv, g * Lq, Lk], and what they give to their sink [R * Hkv, g * Lq, 1], if there is one.

    Products, scale and bias are summed in float32 and rounded once, and so is the softmax: passes over scores
    in float32 cost more than the products.
    """
    if variant.plain:
        scores = q.new_empty(*q.shape[:2], k.shape[1])
        scores.view(len(bias), -1, *bias.shape[1:]).copy_(bias[:, None])
        return torch.softmax(scores.baddbmm_(q, k.transpose(1, 2), alpha=scale), dim=-1), None
    scores = _scores(q, k, scale, variant.softcap)
    view = scores.view(len(bias), -1, *bias.shape[1:])
    view += bias[:, None]
    p = torch.softmax(scores, dim=-1)
    if variant.sinks is None:
        return p.to(q.dtype), None
    over = _each_query(variant.sinks, len(bias), bias.shape[1], len(k)) - scores.logsumexp(-1, keepdim=True)
    return p.mul_(torch.sigmoid(-over)).to(q.dtype), torch.sigmoid(over)


def _scores(q: Tensor, k: Tensor, scale: float, softcap: float | None) -> Tensor:
    """q k' * scale in float32, capped: [R * Hkv, g * Lq, Lk]."""
    scores = torch.bmm(q, k.transpose(1, 2)).float().mul_(scale)
    return scores.div_(softcap).tanh_().mul_(softcap) if softcap else scores


def _each_query(sinks: Tensor, rows: int, q_len: int, batch: int) -> Tensor:
    """One number a query head [H], laid out like the queries: [R * Hkv, g * Lq, 1], float32."""
    kv_heads = batch // rows
    sinks = sinks.float().view(1, kv_heads, -1, 1).expand(rows, -1, -1, q_len)
    return sinks.reshape(batch, -1, 1)


class _PackedAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        sinks: Tensor | None,
        plan: Plan,
        scale: float,
        variant: Variant,
        exchange: Exchange | None,
    ) -> Tensor:
        kv_heads = k.shape[1]
        padded = [_with_zero_row(x) for x in (q, *_everyones(k, v, exchange))]
        outputs, kept = [], []
        for bucket, bias in zip(plan.buckets, plan.biases(variant.window, q.dtype), strict=True):
            qb, kb, vb = _lay_out(padded, bucket, kv_heads)
            p, sunk = probabilities(qb, kb, bias, scale, variant)
            outputs.append(tokens_first(torch.bmm(p, vb), bucket.rows, bucket.q_len, kv_heads))
            kept += [p, sunk] if bucket.kv_len <= _KEEP_PROBABILITIES_UP_TO else [None, None]
        # Saved the official way, so that recomputing layers (gradient_checkpointing) can let go of them.
        ctx.save_for_backward(q, k, v, sinks, *kept)
        ctx.plan, ctx.scale, ctx.variant, ctx.exchange = plan, scale, variant, exchange
        return torch.cat(outputs).index_select(0, plan.inverse)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, sinks, *kept = ctx.saved_tensors
        plan, kv_heads = ctx.plan, k.shape[1]
        variant = Variant(ctx.variant.window, ctx.variant.softcap, sinks)
        padded = [_with_zero_row(x) for x in (q, *_everyones(k, v, ctx.exchange))]
        padded_grad = _with_zero_row(grads[0])
        dq_parts, dkv, dsinks = (
            [],
            _TokenGradients(plan),
            None if sinks is None else torch.zeros_like(sinks.float()),
        )
        join = 1 if k.shape == v.shape else 2  # keys and values travel as one tensor
        biases = plan.biases(variant.window, q.dtype)
        for i, (bucket, bias) in enumerate(zip(plan.buckets, biases, strict=True)):
            qb, kb, vb = _lay_out(padded, bucket, kv_heads)
            p, sunk = kept[2 * i : 2 * i + 2]
            if p is None:
                p, sunk = probabilities(qb, kb, bias, ctx.scale, variant)
            grad = padded_grad.index_select(0, bucket.q_index)
            gb = heads_first(grad, bucket.rows, bucket.q_len, kv_heads)
            dv = torch.bmm(p.transpose(1, 2), gb)
            dp = torch.bmm(gb, vb.transpose(1, 2))
            if dsinks is not None and sunk is not None:
                # a sink's share of it is zero, as its value is
                mean = (p.float() * dp).sum(-1, keepdim=True)
                products = (sunk * mean).view(bucket.rows, kv_heads, -1, bucket.q_len)
                dsinks -= products.sum((0, 3)).view(-1)
            # p (dp - sum of p dp), summed in float32
            ds = torch.ops.aten._softmax_backward_data(dp, p, -1, p.dtype)
            del dp
            if variant.softcap:
                capped = _scores(qb, kb, ctx.scale, variant.softcap)
                ds.mul_(1 - capped.div_(variant.softcap).square_())
            dq = _scaled_products(ds, kb, ctx.scale)
            dq_parts.append(tokens_first(dq, bucket.rows, bucket.q_len, kv_heads))
            dk = _scaled_products(ds.transpose(1, 2), qb, ctx.scale)
            both = [tokens_first(x, bucket.rows, bucket.kv_len, kv_heads) for x in (dk, dv)]
            dkv.add(bucket, torch.cat(both, dim=join))
        dq = torch.cat(dq_parts).index_select(0, plan.inverse)
        total = dkv.total() if ctx.exchange is None else ctx.exchange.sum_scatter(dkv.total())
        dk, dv = total.to(k.dtype).split([k.shape[join], v.shape[join]], dim=join)
        return dq, dk, dv, dsinks if sinks is None or dsinks is None else dsinks.to(sinks.dtype), *[None] * 4


def _everyones(k: Tensor, v: Tensor, exchange: Exchange | None) -> tuple[Tensor, Tensor]:
    """Keys and values of all tokens. Only a rank's own are kept between the passes: gathered again, they cost a
    little time and not the memory that ranks share a batch to save."""
    if exchange is None:
        return k, v
    whole = exchange.gather(torch.cat([k, v], dim=-1))
    return whole[..., : k.shape[-1]], whole[..., k.shape[-1] :]


def _scaled_products(a: Tensor, b: Tensor, scale: float) -> Tensor:
    """``scale`` a b [B, n, m], rounded once."""
    return torch.baddbmm(a.new_empty(1, 1, 1), a, b, beta=0, alpha=scale)


def _lay_out(padded: Sequence[Tensor], bucket: Bucket, kv_heads: int) -> tuple[Tensor, Tensor, Tensor]:
    q, k, v = padded
    return (
        heads_first(q.index_select(0, bucket.q_index), bucket.rows, bucket.q_len, kv_heads),
        heads_first(k.index_select(0, bucket.kv_index), bucket.rows, bucket.kv_len, kv_heads),
        heads_first(v.index_select(0, bucket.kv_index), bucket.rows, bucket.kv_len, kv_heads),
    )


class _TokenGradients:
    """Gradients of keys and values, joined, brought from the buckets' rows back to tokens, added where shared."""

    def __init__(self, plan: Plan):
        self.plan = plan
        self.own: list[Tensor] = []  # of each bucket, a token once
        self.shared: Tensor | None = None  # [T + 1, .., ..], row T is padding

    def add(self, bucket: Bucket, part: Tensor) -> None:
        """One bucket's ``part`` [R * Lk, .., ..]; what is before its queries is summed at once, in float32, as
        many small gradients meet in one token, and as a long sequence's pieces would be a square of them."""
        past = bucket.kv_len - bucket.q_len
        rows = part.view(bucket.rows, bucket.kv_len, *part.shape[1:])
        own = rows[:, past:].reshape(-1, *part.shape[1:])
        self.own.append(own.clone() if past else own)  # a view of one row would keep all of ``part``
        if not past:
            return
        if self.shared is None:
            size = (self.plan.tokens + 1, *part.shape[1:])
            self.shared = part.new_zeros(size, dtype=torch.float32)
        index = bucket.kv_index.view(bucket.rows, -1)[:, :past].reshape(-1)
        self.shared.index_add_(0, index, rows[:, :past].reshape(-1, *part.shape[1:]).float())

    def total(self) -> Tensor:
        """[T, .., ..], in float32 where it was summed."""
        total = torch.cat(self.own).index_select(0, self.plan.inverse)
        if self.plan.own is not None:
            shared = total.new_zeros(self.plan.tokens + 1, *total.shape[1:], dtype=torch.float32)
            shared = shared if self.shared is None else self.shared
            return shared.index_add_(0, self.plan.own, total.float())[:-1]
        return total if self.shared is None else total.float() + self.shared[:-1]


class AttentionContext(Protocol):
    """Who sees whom in one forward call: packed sequences (below) or the sampler's cache."""

    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float, variant: Variant = PLAIN
    ) -> Tensor:
        """query [1 or R, H, T or 1, D], key [.., Hkv, .., D], value [.., Hkv, .., Dv] ->
        [1 or R, T or 1, H, Dv]."""
        ...


class Packed:
    """Packed sequences attending by a plan. With ``keep`` the keys and values [T, Hkv, D] of each layer
    are kept in ``kept``: a prompt's cache for the sampler. With ``exchange`` T is a rank's own tokens, and keys
    and values of the others come through it."""

    def __init__(self, plan: Plan, keep: bool = False, exchange: Exchange | None = None):
        self.plan, self.keep, self.exchange = plan, keep, exchange
        self.kept: dict[int, tuple[Tensor, Tensor]] = {}

    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float, variant: Variant = PLAIN
    ) -> Tensor:
        """query [1, H, T, D], key [1, Hkv, T, D], value [1, Hkv, T, Dv] -> [1, T, H, Dv]."""
        q, k, v = (x[0].transpose(0, 1) for x in (query, key, value))
        if self.keep:
            self.kept[layer] = (k, v)
        longest = self.plan.longest
        window = variant.window if (variant.window or longest) < longest else None
        if variant.plain and self.exchange is None and self.plan.prefix_groups is not None:
            if window is None and kernels.can_attend(q, k, v, longest):
                WAYS.add("kernels")
                return kernels.attend(q, k, v, self.plan.prefix_groups, scale)[None]
            if varlen_takes(q, k, v, window):
                WAYS.add("varlen")
                return varlen.attend(q, k, v, self.plan.layout(), scale, window)[None]
        WAYS.add("rectangles")
        out = _PackedAttention.apply(q, k, v, variant.sinks, self.plan, scale, variant, self.exchange)
        return out[None]  # type: ignore[index]


def rectangles(q: Tensor, k: Tensor, v: Tensor, plan: Plan, scale: float, window: int | None) -> Tensor:
    """q [T, H, D], k [T, Hkv, D], v [T, Hkv, Dv] -> [T, H, Dv]: the way that everything can go."""
    return _PackedAttention.apply(q, k, v, None, plan, scale, Variant(window), None)  # type: ignore[return-value]


def varlen_takes(q: Tensor, k: Tensor, v: Tensor, window: int | None) -> bool:
    """Whether torch's flash attention takes tensors like these, shown right against ``rectangles`` on this device."""
    return varlen.takes(q, k, v, window, in_rectangles)


def in_rectangles(
    q: Tensor, k: Tensor, v: Tensor, segments: np.ndarray, scale: float, window: int | None
) -> Tensor:
    """``rectangles`` over ``segments`` [S, 4]."""
    return rectangles(q, k, v, make_plan(segments, q.device), scale, window)
