"""A token through all layers in one call, and logits: held against float64, whatever the rows and the threads."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from comparing import DTYPES, near, random, tables, turned
from conftest import VECTORS, make_model

from aha import hardware, kernels, speeds
from aha.kernels import build, dispatch
from aha.sampling.local import fused
from aha.sampling.local.fused import FusedDecoder
from aha.sampling.local.kv_cache import SlotCache

HEADS, KV_HEADS, DIM, HIDDEN, INNER, ROOM, EPS = 4, 2, 32, 64, 96, 48, 1e-6

pytestmark = pytest.mark.skipif(build.library() is None, reason="no C++ compiler here")


@pytest.fixture(autouse=True)
def no_matrix_units(monkeypatch):
    """On CPUs that have them this is not the way that is taken."""
    flags = hardware.cpu_flags() - {"amx_bf16"}
    monkeypatch.setattr(hardware, "cpu_flags", lambda: flags)


@pytest.fixture(params=["matrix units", "vectors"])
def units(request):
    """With the CPU's matrix units, where there are some, and without them."""
    if request.param == "vectors":
        with kernels.vectors():
            yield request.param
    elif not kernels.matrix_units():
        pytest.skip("this CPU has no matrix units")
    else:
        yield request.param


def layer(seed, dtype, biased, normed):
    def linear(out, width, at):
        weight = random(out, width, dtype=dtype, seed=seed + at, scale=width**-0.5).detach()
        return weight, random(out, dtype=dtype, seed=seed + at + 1).detach() if biased else None

    def norm(size, at):
        return 1 + random(size, dtype=dtype, seed=seed + at, scale=0.1).detach()

    return kernels.Weights(
        qkv=linear((HEADS + 2 * KV_HEADS) * DIM, HIDDEN, 10),
        out=linear(HIDDEN, HEADS * DIM, 20),
        gate_up=linear(2 * INNER, HIDDEN, 30),
        down=linear(HIDDEN, INNER, 40),
        before=norm(HIDDEN, 50),
        between=norm(HIDDEN, 51),
        heads=(norm(DIM, 52), norm(DIM, 53)) if normed else None,
    )


def problem(dtype, rows, biased=False, normed=False):
    """A model of two layers, one token for each of ``rows``, and what is cached."""
    layers = [layer(seed, dtype, biased, normed) for seed in (100, 200)]
    caches = [
        tuple(random(rows, KV_HEADS, ROOM, DIM, dtype=dtype, seed=s + i).detach() for i in (0, 1))
        for s in (300, 400)
    ]
    lengths = torch.arange(rows) * 7 % ROOM
    x = random(rows, HIDDEN, dtype=dtype, seed=1).detach()
    return layers, random(HIDDEN, dtype=dtype, seed=2).detach(), x, caches, lengths


def taken(layers, norm, x, caches, lengths):
    """By the kernel: (result, caches)."""
    assert kernels.WholeStep.knows(layers)
    step = kernels.DecodeStep(HEADS, KV_HEADS, DIM**-0.5, *tables(64, DIM, x.dtype), EPS)
    caches = [tuple(part.clone() for part in pair) for pair in caches]
    whole = kernels.WholeStep(layers, norm, step)
    return whole.take(x.clone(), caches, lengths, ROOM), caches


def exact(layers, norm, x, caches, lengths):
    """The same in float64: (result, caches)."""
    rows, caches_now = len(x), []
    at = [table.double()[lengths] for table in tables(64, DIM, x.dtype)]
    seen = torch.arange(ROOM) <= lengths[:, None]
    x = x.double()
    for w, pair in zip(layers, caches, strict=True):

        def times(x, part):
            return F.linear(x, *(None if p is None else p.double() for p in part))

        h = times(F.rms_norm(x, (HIDDEN,), w.before.double(), EPS), w.qkv).view(rows, -1, DIM)
        q, k, v = h.split([HEADS, KV_HEADS, KV_HEADS], 1)
        if w.heads is not None:
            q, k = (
                F.rms_norm(part, (DIM,), norm.double(), EPS)
                for part, norm in zip((q, k), w.heads, strict=True)
            )
        q, k = turned(q, *at), turned(k, *at)
        keys, values = (part.double() for part in pair)
        keys[torch.arange(rows), :, lengths], values[torch.arange(rows), :, lengths] = k, v
        caches_now.append((keys, values))
        groups = HEADS // KV_HEADS
        scores = torch.einsum("rhd,rhtd->rht", q, keys.repeat_interleave(groups, 1)) * DIM**-0.5
        p = scores.masked_fill(~seen[:, None], -torch.inf).softmax(-1)
        h = torch.einsum("rht,rhtd->rhd", p, values.repeat_interleave(groups, 1)).flatten(1)
        x = x + times(h, w.out)
        gate, up = times(F.rms_norm(x, (HIDDEN,), w.between.double(), EPS), w.gate_up).chunk(2, -1)
        x = x + times(F.silu(gate) * up, w.down)
    return F.rms_norm(x, (HIDDEN,), norm.double(), EPS), caches_now


def has_step(dtype, units="vectors"):
    if units == "matrix units" and dtype != torch.bfloat16:
        pytest.skip("matrix units know bf16 alone")
    if not dispatch.has("step", torch.empty(0, dtype=dtype)):
        pytest.skip("these vectors do not multiply bf16")


@pytest.mark.parametrize(
    ("lanes", "dtype"),
    [("native", torch.bfloat16), *((name, torch.float32) for name in VECTORS)],
    indirect=["lanes"],
    ids=str,
)
@pytest.mark.parametrize(("biased", "normed"), [(False, False), (True, True)])
@pytest.mark.parametrize("rows", [1, 3, 7, 8, 9, 21, 130])
def test_a_token_through_all_layers(units, lanes, dtype, rows, biased, normed):
    has_step(dtype, units)
    inputs = problem(dtype, rows, biased, normed)
    ours, caches = taken(*inputs)
    truth, exact_caches = exact(*inputs)
    scale = 3 if dtype == torch.bfloat16 else 1  # each of the layers' results is rounded
    assert (ours.double() - truth).norm() <= scale * (8e-3 if scale > 1 else 3e-6) * truth.norm()
    lengths = inputs[-1]
    for new, old, right in zip(caches, inputs[3], exact_caches, strict=True):
        for kind in (0, 1):
            others = torch.arange(ROOM) != lengths[:, None]
            rest = others[:, None, :, None].expand_as(new[kind])
            assert torch.equal(new[kind][rest], old[kind][rest]), "nothing but the new token is written"
            near(new[kind][~rest], right[kind][~rest], dtype) if scale == 1 else None


@pytest.mark.parametrize(
    ("lanes", "dtype"),
    [("native", torch.bfloat16), *((name, dtype) for name in VECTORS for dtype in (torch.float32,))],
    indirect=["lanes"],
    ids=str,
)
@pytest.mark.parametrize("heads", [(6, 2, 32), (4, 4, 64), (14, 2, 128)], ids=str)
def test_a_prompt_that_rows_share_is_read_once(lanes, dtype, heads):
    """Rows of a family see their own first row's prompt: copies that are spoilt are not looked at."""
    if dtype == torch.bfloat16 and "avx512_bf16" not in hardware.cpu_flags():
        pytest.skip("this CPU widens bf16 as it reads it: each row reads its own copy")
    (h, kv, dim), room = heads, 160
    families = np.array([3, 1, 3, 3, 7, 1, 3, 9])
    prompts = np.array([97, 33, 97, 97, 50, 33, 97, 10])
    lengths = torch.from_numpy(prompts) + torch.tensor([0, 3, 1, 60, 5, 0, 17, 2])
    first = {family: int(np.flatnonzero(families == family)[0]) for family in families}
    keys, values = (random(8, kv, room, dim, dtype=dtype, seed=s).detach() for s in (1, 2))
    for cache in (keys, values):
        for row, (family, prompt) in enumerate(zip(families, prompts, strict=True)):
            cache[row, :, :prompt] = cache[first[family], :, :prompt]
    qkv = random(8, (h + 2 * kv) * dim, dtype=dtype, seed=3).detach()
    step = kernels.DecodeStep(h, kv, dim**-0.5, *tables(200, dim, dtype), EPS)
    expected = step.attend(qkv, keys, values, lengths)

    for cache in (keys, values):
        for row in (2, 3, 5, 6):  # not the first of their families
            cache[row, :, : prompts[row] // 32 * 32] = 1e3
    kept = keys.clone()
    groups = kernels.Groups.of(families, prompts)
    attended = step.attend(qkv, keys, values, lengths, groups=groups)
    if lanes == "native":
        assert not torch.equal(step.attend(qkv, keys, values, lengths), expected), (
            "what was spoilt matters alone"
        )
    assert torch.equal(keys, kept), "each row's new token is where it was put before"
    near(attended, expected.double(), dtype)


def test_rows_are_grouped_by_family():
    groups = kernels.Groups.of(np.array([4, 2, 4, 0]), np.array([30, 20, 30, 5]))
    order, edges, shared = (part.tolist() for part in groups.kept)
    assert order == [3, 1, 0, 2]
    assert edges == [0, 1, 2, 4]
    assert shared == [5, 20, 30]
    order, edges, shared = (part.tolist() for part in kernels.Groups.alone(2).kept)
    assert (order, edges, shared) == ([0, 1], [0, 1, 2], [0, 0])


@DTYPES
def test_a_row_is_the_same_whatever_is_beside_it(units, dtype):
    has_step(dtype, units)
    layers, norm, x, caches, lengths = problem(dtype, 130)
    whole, _ = taken(layers, norm, x, caches, lengths)
    few = [(3, 4), (60, 67), (0, 9)] if dtype is torch.bfloat16 else []  # float32 turns weights over for many
    for first, end in ((0, 13), (64, 130), (100, 112), *few):
        part = [tuple(kind[first:end] for kind in pair) for pair in caches]
        some, _ = taken(layers, norm, x[first:end], part, lengths[first:end])
        assert torch.equal(some, whole[first:end])


@DTYPES
@pytest.mark.parametrize("rows", [3, 70])
def test_its_bits_do_not_hang_on_threads(units, dtype, rows):
    has_step(dtype, units)
    inputs, before = problem(dtype, rows), torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            results.append(taken(*inputs)[0])
    finally:
        torch.set_num_threads(before)
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


def test_which_models_it_knows(monkeypatch):
    layers = problem(torch.float32, 2)[0]
    assert kernels.WholeStep.knows(layers)
    odd = [w._replace(down=(torch.zeros(HIDDEN, INNER + 8), None)) for w in layers]
    assert not kernels.WholeStep.knows(odd)
    across = [w._replace(out=(w.out[0].t(), None)) for w in layers]
    assert not kernels.WholeStep.knows(across)
    monkeypatch.setattr(hardware, "cpu_flags", lambda: frozenset({"amx_bf16"}))
    assert kernels.WholeStep.always_faster(layers), "matrix units know bf16 alone"
    assert not kernels.WholeStep.always_faster(problem(torch.bfloat16, 2)[0])
    monkeypatch.setattr(hardware, "cpu_flags", lambda: frozenset({"avx512_bf16"}))
    assert kernels.WholeStep.always_faster(problem(torch.bfloat16, 2)[0])


def with_matrix_units(monkeypatch, tmp_path, tokenizer):
    """A decoder in bf16 on a CPU that has them, and with nothing tried before."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(hardware, "cpu_flags", lambda: frozenset({"amx_bf16", "avx512_bf16"}))
    model = make_model(tokenizer, head_dim=32).bfloat16()
    return FusedDecoder(model, 64), SlotCache(model, 512, 64)


@pytest.mark.parametrize("slow", ["library", "kernel", "kernel from 4 rows on"])
def test_rows_for_which_one_call_is_faster_are_found_once(monkeypatch, tmp_path, tokenizer, slow):
    decoder, _ = with_matrix_units(monkeypatch, tmp_path, tokenizer)
    if not kernels.WholeStep.knows([fused._weights(part) for part in decoder.base.layers]):
        pytest.skip("this CPU has no kernel for bf16")

    def faster(one, other):
        rows = len(one())
        assert torch.allclose(one(), other(), atol=0.05, rtol=0.05), "both compute the same step"
        tried.append(rows)
        return {"library": False, "kernel": True}.get(slow, rows >= 4)

    tried = []
    monkeypatch.setattr(speeds, "faster", faster)
    decoder.version()
    few = {"library": fused.MANY, "kernel": 0}.get(slow, 2)
    assert decoder.few == few
    once = list(tried)
    again = FusedDecoder(make_model(tokenizer, head_dim=32).bfloat16(), 64)
    again.version()
    assert (again.few, tried) == (few, once), "the choice stays on this machine"


def test_more_rows_go_through_the_library(monkeypatch, tmp_path, tokenizer):
    decoder, cache = with_matrix_units(monkeypatch, tmp_path, tokenizer)
    monkeypatch.setattr(FusedDecoder, "_few_rows", lambda self, whole: 2)
    decoder.version()
    if decoder.whole is None:
        pytest.skip("this CPU has no kernel for bf16")
    calls = []
    real = kernels.WholeStep.take
    monkeypatch.setattr(
        kernels.WholeStep, "take", lambda *inputs: calls.append(len(inputs[1])) or real(*inputs)
    )
    for rows in (1, 2, 3, 5):
        cache.clear()
        cache.make_room(rows, 2)
        at = torch.zeros(rows, dtype=torch.int64)
        cache.begin_step(at, 1)
        decoder.forward(torch.arange(5, 5 + rows), at, cache)
    assert calls == [1, 2]


def test_the_shorter_time_counts():
    import time

    assert speeds.faster(lambda: None, lambda: time.sleep(0.002))
    assert not speeds.faster(lambda: time.sleep(0.002), lambda: None)


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
def test_a_decoder_takes_it_and_notices_other_weights(tokenizer, family):
    model = make_model(tokenizer, family=family, head_dim=32, attention_bias=family != "qwen2")
    decoder, cache = FusedDecoder(model, 64), SlotCache(model, 256, 64)
    ids, lengths = torch.tensor([5, 6, 7]), torch.tensor([0, 3, 9])

    def forward(plainly=False):
        cache.clear()
        cache.make_room(3, 10)
        cache.begin_step(lengths, 10)
        for pair in cache.layers:
            for part in pair:
                part.zero_()
        with torch.inference_mode():
            if not plainly:
                return decoder.forward(ids, lengths, cache)
            with kernels.without():
                return FusedDecoder(model, 64).forward(ids, lengths, cache)

    first = forward()
    assert decoder.whole is not None
    assert torch.allclose(first, forward(plainly=True), atol=2e-5)
    with torch.no_grad():
        model.base_model.layers[1].mlp.down_proj.weight.mul_(2)  # in place: nothing to look up
    second = forward()
    assert not torch.allclose(first, second, atol=1e-2)
    assert torch.allclose(second, forward(plainly=True), atol=2e-5)
    for name in ("down_proj", "gate_proj"):
        linear = getattr(model.base_model.layers[0].mlp, name)
        linear.weight.data = linear.weight.data * 2
    model.base_model.norm.weight.data = model.base_model.norm.weight.data + 1
    assert torch.allclose(forward(), forward(plainly=True), atol=5e-5)


@pytest.mark.parametrize("outputs", [32, 33, 100, 160])
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("rows", [1, 5, 8, 150])
def test_logits(units, rows, outputs, biased):
    has_step(torch.bfloat16, units)
    width = 96
    hidden = random(rows, width, dtype=torch.bfloat16).detach()
    weight = random(outputs, width, dtype=torch.bfloat16, seed=1).detach()
    bias = random(outputs, dtype=torch.bfloat16, seed=2).detach() if biased else None
    assert kernels.can_project(hidden, weight)
    ours = kernels.project(hidden, weight, bias)
    expected = F.linear(hidden.double(), weight.double(), None if bias is None else bias.double())
    assert ours.dtype == torch.float32
    near(ours, expected, torch.float32)
    assert torch.equal(kernels.project(hidden.view(rows, 1, width), weight, bias)[:, 0], ours)


def test_logits_that_it_leaves_to_torch():
    hidden, weight = torch.zeros(3, 64, dtype=torch.bfloat16), torch.zeros(40, 64, dtype=torch.bfloat16)
    assert not kernels.can_project(hidden.float(), weight.float())
    assert not kernels.can_project(hidden, weight[:31])
    assert not kernels.can_project(hidden[:, :48], weight[:, :48])
    assert not kernels.can_project(hidden, weight.requires_grad_())
    with kernels.without():
        assert not kernels.can_project(hidden, weight.detach())
