"""Every kernel beside the same sums in float64, by autograd; bits that do not hang on threads; what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from comparing import CLOSE, DTYPES, near, random, same, tables, turned
from conftest import VECTORS

from aha import kernels
from aha.kernels import build

pytestmark = pytest.mark.skipif(build.library() is None, reason="no C++ compiler here")


# --- rows -------------------------------------------------------------------------------------------------


@DTYPES
@pytest.mark.parametrize("shape", [(1, 16), (3, 48), (700, 192), (2, 5, 64)], ids=str)
def test_norm(lanes, dtype, shape):
    inputs = random(*shape, dtype=dtype), random(shape[-1], dtype=dtype, seed=1)
    same(
        lambda x, w: kernels.rms_norm(x, w, 1e-6),
        lambda x, w: F.rms_norm(x, (len(w),), w, 1e-6),
        inputs,
        dtype,
    )


@DTYPES
@pytest.mark.parametrize("shape", [(1, 32), (130, 1024), (2, 3, 96)], ids=str)
def test_swiglu(lanes, dtype, shape):
    def plain(both):
        gate, up = both.chunk(2, -1)
        return F.silu(gate) * up

    same(kernels.swiglu, plain, [random(*shape, dtype=dtype, scale=4)], dtype)


@DTYPES
@pytest.mark.parametrize(("tokens", "heads", "dim"), [(1, 1, 32), (70, 6, 64), (9, 3, 128)])
def test_rotation(lanes, dtype, tokens, heads, dim):
    cos, sin = tables(tokens, dim, dtype)
    x = random(tokens, heads, dim, dtype=dtype)
    same(lambda x: kernels.rotate(x, cos, sin), lambda x: turned(x, cos.double(), sin.double()), [x], dtype)
    strided = random(tokens, heads + 2, dim, dtype=dtype).detach()[:, 1:-1]
    assert torch.equal(kernels.rotate(strided, cos, sin), kernels.rotate(strided.contiguous(), cos, sin))


# --- joined projections -----------------------------------------------------------------------------------


def linears(sizes, width, bias, dtype):
    torch.manual_seed(0)
    return [torch.nn.Linear(width, size, bias=bias).to(dtype) for size in sizes]


@DTYPES
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("what", ["turned", "swiglu"])
def test_joined_projections(dtype, bias, what):
    """Results, and the gradient of each parameter apart, are those of the projections one by one."""
    tokens, dim = 37, 32
    cos, sin = tables(tokens, dim, dtype)
    parts = linears([4 * dim, 2 * dim, 2 * dim] if what == "turned" else [48, 48], 64, bias, dtype)
    kernels.join(parts)
    exact = [torch.nn.Linear(64, len(p.weight), bias=bias).double() for p in parts]
    for one, other in zip(exact, parts, strict=True):
        one.load_state_dict({k: v.double() for k, v in other.state_dict().items()})

    def plain(x):
        if what == "swiglu":
            return F.silu(exact[0](x)) * exact[1](x)
        q, k, v = (p(x).view(tokens, -1, dim) for p in exact)
        return torch.cat([turned(q, cos.double(), sin.double()), turned(k, cos.double(), sin.double()), v], 1)

    def joined(x):
        if what == "swiglu":
            return kernels.swiglu_linear(x, *parts)
        return torch.cat(kernels.turned_linears(x, parts, cos, sin), 1)

    same(joined, plain, [random(tokens, 64, dtype=dtype)], dtype)
    for one, other in zip(exact, parts, strict=True):
        for (name, p), (_, q) in zip(other.named_parameters(), one.named_parameters(), strict=True):
            assert p.grad is not None, name
            near(p.grad, q.grad, dtype)


def test_a_frozen_projection_gets_no_gradient():
    parts = linears([32, 32], 64, True, torch.float32)
    kernels.join(parts)
    parts[0].requires_grad_(False)
    kernels.swiglu_linear(torch.randn(5, 64), *parts).sum().backward()
    assert parts[0].weight.grad is None
    assert parts[0].bias.grad is None
    assert parts[1].weight.grad.norm() > 0
    assert parts[1].bias.grad.norm() > 0


def test_projections_are_joined_in_place_and_only_if_plain():
    parts = linears([32, 16], 64, True, torch.float32)
    before = [p.weight.clone() for p in parts]
    assert not kernels.joined(parts)
    weight, bias = kernels.join(parts)
    assert kernels.joined(parts)
    assert torch.equal(weight, torch.cat(before))
    parts[1].weight.data.fill_(3)
    parts[0].bias.data.fill_(5)
    assert (weight[32:] == 3).all()
    assert (bias[:32] == 5).all()
    assert kernels.join(parts)[0].data_ptr() == weight.data_ptr()  # nothing is moved again
    parts[0].weight.data = parts[0].weight.data.clone()
    assert not kernels.joined(parts)
    assert not kernels.plain([parts[0], torch.nn.Identity()])


# --- attention --------------------------------------------------------------------------------------------

PACKED = {
    "one token": [(0, 1, 0, 0)],
    "alone": [(0, 40, 0, 0)],
    "two": [(0, 7, 0, 0), (7, 100, 0, 0)],
    "group": [(0, 33, 0, 0), (33, 5, 0, 33), (38, 70, 0, 33), (108, 1, 0, 33), (109, 20, 0, 0)],
    "part of a prompt": [(0, 30, 0, 0), (30, 9, 10, 13), (39, 50, 0, 30)],
    "chain": [(0, 12, 0, 0), (12, 8, 0, 12), (20, 5, 12, 8), (25, 3, 0, 0), (28, 6, 25, 3)],
    "not in order": [(50, 10, 20, 30), (20, 30, 0, 0), (0, 20, 0, 0), (60, 4, 0, 20)],
}


def dense(segments, q, k, v, scale):
    """Attention by one mask over all tokens."""
    tokens, group = len(q), q.shape[1] // k.shape[1]
    seen = torch.zeros(tokens, tokens, dtype=torch.bool)
    for start, length, past_start, past in segments:
        own = slice(start, start + length)
        seen[own, own] = torch.ones(length, length).tril().bool()
        seen[own, past_start : past_start + past] = True
    k, v = (x.repeat_interleave(group, 1) for x in (k, v))
    scores = torch.einsum("qhd,khd->hqk", q, k) * scale
    return torch.einsum("hqk,khd->qhd", scores.masked_fill(~seen, -torch.inf).softmax(-1), v)


SHAPES = [
    *(
        ("native", dtype, heads)
        for dtype in CLOSE
        for heads in ((6, 2, 32), (4, 4, 64), (14, 2, 64), (3, 1, 96))
    ),
    *((lanes, torch.float32, (6, 2, 32)) for lanes in VECTORS if lanes != "native"),
]


@pytest.mark.parametrize(("lanes", "dtype", "heads"), SHAPES, indirect=["lanes"], ids=str)
@pytest.mark.parametrize("name", PACKED)
def test_packed_attention(lanes, dtype, heads, name):
    segments, (h, kv, dim) = np.array(PACKED[name]), heads
    tokens = int(segments[:, 1].sum())
    q, k, v = (random(tokens, n, dim, dtype=dtype, seed=i) for i, n in enumerate((h, kv, kv)))
    prefix_groups, scale = kernels.PrefixGroups.of(segments), dim**-0.5
    same(
        lambda *x: kernels.attend(*x, prefix_groups, scale),
        lambda *x: dense(segments.tolist(), *x, scale),
        [q, k, v],
        dtype,
    )


def test_families_are_those_that_share_tokens():
    groups = kernels.PrefixGroups.of(np.array(PACKED["chain"]))
    assert groups.edges.tolist() == [0, 3, 5]
    assert groups.segments.tolist() == [
        [0, 12, 0, 0, 0, 0], [12, 8, 0, 12, 12, 0], [20, 5, 12, 8, 20, 12],
        [25, 3, 0, 0, 0, 0], [28, 6, 25, 3, 3, 0],
    ]  # fmt: skip


@DTYPES
@pytest.mark.parametrize("normed", [False, True])
@pytest.mark.parametrize("heads", [(6, 2, 32), (4, 4, 64), (14, 2, 128)], ids=str)
def test_decoding(lanes, dtype, normed, heads):
    """One token a row against caches of various lengths; the cache gets the new token and nothing else."""
    (h, kv, dim), room, rows = heads, 48, 5
    lengths = torch.tensor([0, 1, 17, 46, 47])
    cos, sin = tables(64, dim, dtype)
    qkv = random(rows, (h + 2 * kv) * dim, dtype=dtype).detach()
    keys, values = (random(rows, kv, room, dim, dtype=dtype, seed=s).detach() for s in (1, 2))
    norms = tuple(random(dim, dtype=dtype, seed=s).detach() for s in (3, 4)) if normed else None
    step = kernels.DecodeStep(h, kv, 0.2, cos, sin, 1e-6)
    new_keys, new_values = keys.clone(), values.clone()
    out = step.attend(qkv, new_keys, new_values, lengths, norms).view(rows, h, dim)

    q, k, v = (x.double() for x in qkv.view(rows, -1, dim).split([h, kv, kv], 1))
    if norms is not None:
        q, k = (
            F.rms_norm(x, (dim,), w.double(), 1e-6).to(dtype).double()
            for x, w in zip((q, k), norms, strict=True)
        )
    at = (cos.double()[lengths], sin.double()[lengths])
    q, k = turned(q, *at), turned(k, *at)
    for row, n in enumerate(lengths.tolist()):
        near(new_keys[row, :, n], k[row], dtype)
        assert torch.equal(new_values[row, :, n].double(), v[row])
        rest = torch.arange(room) != n
        assert torch.equal(new_keys[row][:, rest], keys[row][:, rest])
        assert torch.equal(new_values[row][:, rest], values[row][:, rest])
        past = [torch.cat([x[row, :, :n].double(), y[row][:, None]], 1) for x, y in ((keys, k), (values, v))]
        expected = dense([(n, 1, 0, n)], *_in_line(q[row], *past, n), 0.2)[n]
        near(out[row], expected, dtype)


def _in_line(q, k, v, n):
    """Queries [H, D] of the last of n + 1 tokens, keys and values [Hkv, n + 1, D], as ``dense`` takes them."""
    queries = torch.zeros(n + 1, *q.shape, dtype=q.dtype)
    queries[n] = q
    return queries, k.transpose(0, 1), v.transpose(0, 1)


# --- heads ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 5, 16, 573, 1000])
@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_scores_and_their_gradient(lanes, size, temperature):
    rows = 9
    z = random(rows, size, scale=5).detach()
    if size > 5:
        z[:, 3] = -torch.inf
    tokens = torch.arange(rows) % size
    tokens[tokens == 3] = 0
    exact = z.double().requires_grad_()
    logp = torch.log_softmax(exact / temperature, -1)
    finite = logp.masked_fill(logp == -torch.inf, 0)
    chosen = logp.gather(1, tokens[:, None])[:, 0], -(logp.exp() * finite).sum(-1)
    ours = kernels.score(z, tokens, temperature)
    for one, other in zip(ours, (*chosen, (exact / temperature).logsumexp(-1)), strict=True):
        assert torch.allclose(one.double(), other, atol=3e-6, rtol=3e-6)
    upstream = random(rows, seed=5).detach(), random(rows, seed=6).detach()
    torch.autograd.backward(chosen, [g.double() for g in upstream])
    kernels.score_gradient(z, tokens, temperature, ours[1], ours[2], upstream, scale=2.0)
    near(z, 2 * exact.grad, torch.float32)


def test_what_is_not_a_number_stays_so(lanes):
    z = torch.zeros(3, 20)
    z[1, 7] = torch.nan
    logprobs, entropies, _ = kernels.score(z, torch.zeros(3, dtype=torch.int64), 1.0)
    assert torch.isnan(logprobs).tolist() == torch.isnan(entropies).tolist() == [False, True, False]
    x = torch.ones(2, 16)
    x[1, 3] = torch.nan
    assert torch.isnan(kernels.rms_norm(x, torch.ones(16), 1e-6)).any(1).tolist() == [False, True]
    half = x.bfloat16()
    assert torch.isnan(kernels.swiglu(torch.cat([half, half], 1))).any(1).tolist() == [False, True]


@pytest.mark.parametrize("size", [3, 16, 50, 573])
def test_tokens_are_drawn_by_their_probabilities(lanes, size):
    """On a fine grid of uniform numbers each token gets its share, and its log probability is told."""
    n = 40_000
    z = random(1, size, scale=2).detach()
    z[0, 1] = -torch.inf
    uniform = (torch.arange(n) + 0.5) / n
    tokens, logprobs = kernels.pick(z.expand(n, size).contiguous(), uniform, 0.7)
    share = torch.bincount(tokens, minlength=size) / n
    expected = (z[0].double() / 0.7).softmax(0)
    assert (share - expected).abs().max() < 2 / n + 1e-5
    assert share[1] == 0
    assert torch.allclose(logprobs.double(), expected.log()[tokens], atol=1e-5)


def test_the_ends_of_the_interval(lanes):
    z = torch.full((2, 40), -torch.inf)
    z[:, 5] = z[:, 33] = 0.0
    tokens, logprobs = kernels.pick(z, torch.tensor([0.0, math.nextafter(1, 0)]), 1.0)
    assert tokens.tolist() == [5, 33]
    assert torch.allclose(logprobs, torch.tensor(0.5).log())


# --- threads and refusals ---------------------------------------------------------------------------------


def test_bits_do_not_hang_on_threads():
    segments = np.array([(0, 33, 0, 0), *((33 + 40 * i, 40, 0, 33) for i in range(6)), (273, 200, 0, 0)])
    prefix_groups, before, results = kernels.PrefixGroups.of(segments), torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            q, k, v = (random(473, n, 32, dtype=torch.bfloat16, seed=n) for n in (6, 2, 2))
            w = random(192, dtype=torch.bfloat16)
            out = kernels.attend(q, k, v, prefix_groups, 0.2)
            y = kernels.rms_norm(out.flatten(1), w, 1e-6)
            y.square().sum().backward()
            results.append([y.detach(), q.grad, k.grad, v.grad, w.grad])
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(x, y) for x, y in zip(results[0], other, strict=True))


def test_kernels_without_threads_are_for_one_thread(monkeypatch):
    x, before = torch.ones(4, 32), torch.get_num_threads()
    monkeypatch.setattr(build.library(), "parallel", False)
    try:
        torch.set_num_threads(1)
        assert kernels.takes(x)
        torch.set_num_threads(2)
        assert not kernels.takes(x)
    finally:
        torch.set_num_threads(before)


def test_what_kernels_do_not_take():
    x = torch.ones(4, 2, 32)
    assert kernels.can_attend(x, x, x, 4096)
    assert not kernels.can_attend(x, x, x, 4097)
    assert not kernels.can_attend(x[..., :24], x[..., :24], x[..., :24], 8)
    assert not kernels.can_attend(x, x, x[..., :16], 8)
    assert not kernels.takes(x.double())
    assert not kernels.takes(x, x.bfloat16())
    assert not kernels.takes(x.to("meta"))
    with kernels.without():
        assert not kernels.takes(x)
    assert kernels.takes(x)
