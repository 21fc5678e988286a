"""Packed attention by torch's variable-length kernel, of which there is none for CPUs: what its documentation says
of it stands in its place, and in other tests what a kernel might do instead."""

from __future__ import annotations

import functools
import logging

import numpy as np
import pytest
import torch
from families import make
from torch.nn.attention import varlen as torchs

from aha import attention
from aha.attention import varlen
from aha.attention.layout import make_plan
from aha.attention.packed import PLAIN, Packed, Variant, in_rectangles, varlen_takes
from aha.sampling.engine import Request
from aha.sampling.local.engine import LocalEngine
from aha.sampling.sampler import SamplingParams
from aha.training.batching import pack, sequence_mean
from aha.training.losses import clipped_loss
from aha.training.policy import OptimizerConfig, Policy
from aha.types import Example

PACKED = {
    "one token": [(0, 1, 0, 0)],
    "no prompts": [(0, 7, 0, 0), (7, 40, 0, 0), (47, 1, 0, 0)],
    "groups": [
        (0, 33, 0, 0),
        (33, 5, 0, 33),
        (38, 50, 0, 33),
        (88, 1, 0, 33),
        (89, 20, 0, 0),
        (109, 9, 89, 20),
    ],
    "part of a prompt": [(0, 30, 0, 0), (30, 9, 10, 13), (39, 50, 0, 30)],
    "chain": [(0, 12, 0, 0), (12, 8, 0, 12), (20, 5, 12, 8), (25, 3, 0, 0), (28, 6, 25, 3)],
    "not in order": [(50, 10, 20, 30), (20, 30, 0, 0), (0, 20, 0, 0), (60, 4, 0, 20), (60, 0, 0, 0)],
}


def documented(
    query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, *,
    return_aux=None, scale=None, window_size=(-1, -1), enable_gqa=False, top_left=False, rounds=False,
):  # fmt: skip
    """Attention of sequences laid end to end, in float32. Query i of n sees keys i + m - n - left to i + m - n +
    right of m, the last query aligned to the last key; -1 is no limit. With ``rounds`` probabilities, and what comes
    back to them, are rounded as in the kernel."""
    assert return_aux is None
    assert cu_seq_q.dtype == cu_seq_k.dtype == torch.int32
    assert query.stride(2) == key.stride(2) == value.stride(2) == 1
    assert isinstance(window_size, tuple)  # it is compared with one
    group = query.shape[1] // key.shape[1]
    assert enable_gqa or group == 1
    ends, key_ends = cu_seq_q.tolist(), cu_seq_k.tolist()
    assert (ends[0], ends[-1], key_ends[0], key_ends[-1]) == (0, len(query), 0, len(key))
    assert (max_q, max_k) == (int(cu_seq_q.diff().max()), int(cu_seq_k.diff().max()))
    left, right = (n if n >= 0 else 1 << 30 for n in window_size)
    outputs = []
    for row, n, past, m in zip(
        ends, cu_seq_q.diff().tolist(), key_ends, cu_seq_k.diff().tolist(), strict=False
    ):
        q, k, v = (x.float() for x in (query[row : row + n], key[past : past + m], value[past : past + m]))
        k, v = (x.repeat_interleave(group, 1) for x in (k, v))
        away = torch.arange(m) - torch.arange(n)[:, None] - (0 if top_left else m - n)
        scores = torch.einsum("qhd,khd->hqk", q, k) * (scale or q.shape[2] ** -0.5)
        scores = scores.masked_fill((away > right) | (away < -left), -torch.inf)
        p = scores.softmax(-1)
        p = p.to(query.dtype).float() if rounds else p
        outputs.append(torch.einsum("hqk,khd->qhd", p, v))
    return torch.cat(outputs).to(query.dtype)


@pytest.fixture
def use(monkeypatch):
    """CPUs have the given function for a kernel, and nothing is known of it."""

    def put(function):
        monkeypatch.setattr(varlen, "DEVICES", ("cpu",))
        monkeypatch.setattr(varlen, "DTYPES", (torch.bfloat16, torch.float16, torch.float32))
        if function is not documented:  # it has the signature that torch's has
            functools.update_wrapper(function, documented)
        monkeypatch.setattr(torchs, "varlen_attn", function)
        forget()

    def forget():
        monkeypatch.setattr(varlen, "_stands", {})
        attention.WAYS.clear()
        varlen._asks_for_groups.cache_clear()

    put.forget = forget
    yield put
    varlen._asks_for_groups.cache_clear()


def inputs(tokens, heads=(4, 2), dim=24, dtype=torch.float32, seed=0):
    """Queries [1, H, T, D], keys, values and a gradient [1, T, H, D]."""
    generator = torch.Generator().manual_seed(seed)
    h, kv = heads
    tensors = [torch.randn(1, tokens, n, dim, generator=generator).to(dtype) for n in (h, kv, kv, h)]
    return [*(x.transpose(1, 2).requires_grad_() for x in tensors[:3]), tensors[3]]


def computed(segments, inputs, variant=PLAIN, scale=0.3):
    """What a plan of its own makes of the inputs: the output and the gradients."""
    *x, grad = inputs
    out = Packed(make_plan(np.array(segments))).attend(0, *x, scale, variant)
    return [out.detach(), *torch.autograd.grad(out, x, grad)]


def by(way):
    assert way == attention.WAYS, "not the way that was to be shown"


# --- beside rectangles --------------------------------------------------------------------------------------


@pytest.mark.parametrize("heads", [(4, 4), (6, 2), (4, 1)], ids=str)
@pytest.mark.parametrize("window", [None, 1, 4, 25, 500])
@pytest.mark.parametrize("name", PACKED)
def test_outputs_and_gradients_are_those_of_rectangles(use, name, window, heads):
    tensors = inputs(sum(length for _, length, *_ in PACKED[name]), heads)
    expected = computed(PACKED[name], tensors, Variant(window))
    use(documented)
    ours = computed(PACKED[name], tensors, Variant(window))
    by({"varlen"})
    for x, y in zip(ours, expected, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-5, atol=1e-5)


def test_keys_without_prompts_are_the_tokens_and_a_plan_is_laid_out_once(use):
    seen = []
    use(lambda q, k, v, *rest, **options: seen.append((k, rest)) or documented(q, k, v, *rest, **options))
    for name in ("no prompts", "groups"):
        q, k, v, _ = inputs(sum(length for _, length, *_ in PACKED[name]))
        context = Packed(make_plan(np.array(PACKED[name])))
        context.attend(0, q, k, v, 0.3)  # and the trial
        seen.clear()
        for layer in range(2):
            context.attend(layer, q, k, v, 0.3)
        assert (seen[0][0].data_ptr() == k.data_ptr()) == (name == "no prompts")
        assert all(x is y for x, y in zip(seen[0][1], seen[1][1], strict=True))
    lengths, key_lengths = (edges.diff().tolist() for edges in seen[0][1][:2])
    assert lengths == [33, 5, 50, 1, 20, 9]
    assert key_lengths == [33, 38, 83, 34, 20, 29]


def test_gradients_of_copies_are_rounded_once():
    """300 completions of one prompt, a few of another: bf16 sums would stall, and order would show."""
    lengths = [5, *[1] * 300, 3, *[2] * 7]
    starts = np.cumsum([0, *lengths[:-1]])
    prefixes = [(0, 0), *[(0, 5)] * 300, (0, 0), *[(305, 3)] * 7]
    segments = np.array([(s, n, *p) for s, n, p in zip(starts, lengths, prefixes, strict=True)])
    layout = varlen.VarlenLayout.of(segments, "cpu")
    grads = torch.rand(len(layout.index), 2, 8, generator=torch.Generator().manual_seed(0)).bfloat16()
    exact = torch.zeros(sum(lengths), 2, 8, dtype=torch.float64).index_add_(0, layout.index, grads.double())
    total = layout.summed(grads)
    assert ((total.double() - exact).abs() <= exact * 2**-8 * 1.001).all()
    single = torch.bincount(layout.index) == 1
    assert torch.equal(total[single].double(), exact[single])
    assert sorted(places.shape[1] for _, places in layout.copies) == [1, 8, 301]


def test_one_long_prompt_in_pieces(use):
    ids, results = np.arange(50), []
    for function in (None, documented):
        if function:
            use(function)
        context, parts = attention.Continued(len(ids)), []
        for start in range(0, len(ids), 15):
            context.begin(start)
            for layer, window in enumerate((None, 6)):
                q, k, v, _ = (x[:, :, start : start + 15] for x in inputs(len(ids), dim=16, seed=layer))
                parts.append(context.attend(layer, q, k, v, 0.3, Variant(window)))
        results.append(torch.cat(parts, 1).detach())
    assert len(varlen._stands) == 2
    assert all(varlen._stands.values())
    torch.testing.assert_close(*results)


# --- the trial ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
@pytest.mark.parametrize("windowed", [False, True])
@pytest.mark.parametrize(("dim", "groups"), [(8, 1), (64, 7), (128, 4), (256, 2)])
def test_the_trial_takes_what_the_documentation_says(use, dtype, windowed, dim, groups):
    use(functools.partial(documented, rounds=True))
    assert (
        varlen._trial(varlen.KernelKey(torch.device("cpu"), dtype, dim, groups, windowed), in_rectangles)
        is None
    )


class Altered(torch.autograd.Function):
    """Gradients that a kernel got wrong on the way back."""

    @staticmethod
    def forward(ctx, x, change):
        ctx.change = change
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        return ctx.change(grad), None


def _only_the_first_of_a_group(q, k, v, *rest, **options):
    """Keys get the gradient of one query head of those that share them."""
    return documented(q, k, Altered.apply(v, lambda g: g / 2), *rest, **options)


def _heads_in_turn(q, k, v, *rest, **options):
    """Query head h has key head h mod Hkv."""
    group = q.shape[1] // k.shape[1]
    turned = q.unflatten(1, (group, -1)).transpose(1, 2).flatten(1, 2)
    out = documented(turned, k, v, *rest, **options)
    return out.unflatten(1, (-1, group)).transpose(1, 2).flatten(1, 2)


def _one_more_in_a_window(*tensors, window_size, **options):
    left, right = window_size
    return documented(*tensors, window_size=(left + 1 if left >= 0 else left, right), **options)


def _last_token_lost(*tensors, **options):
    out = documented(*tensors, **options)
    return torch.cat([out[:-1], 0 * out[-1:]])


def _not_a_number(q, *rest, **options):
    return documented(
        Altered.apply(q, lambda g: g.index_fill(0, torch.tensor([3 % len(g)]), torch.nan)), *rest, **options
    )


def _ones_apart(q, k, v, cu_q, cu_k, max_q, max_k, **options):
    """Of single tokens each sees the first key alone, as if causal were aligned to it."""
    return documented(q, k, v, cu_q, cu_k, max_q, max_k, top_left=max_q == 1, **options)


def _no_kernel(*tensors, **options):
    raise RuntimeError("no kernel image is available for execution on the device")


WRONG = {
    "aligned to the first key": lambda *x, **options: documented(*x, top_left=True, **options),
    "another scale": lambda *x, scale, **options: documented(*x, **options),
    "not causal": lambda *x, window_size, **options: documented(*x, **options),
    "no window": lambda *x, window_size, **options: documented(*x, window_size=(-1, 0), **options),
    "a window of one more": _one_more_in_a_window,
    "heads in turn": _heads_in_turn,
    "half a gradient of values": _only_the_first_of_a_group,
    "no gradient of keys": lambda q, k, *x, **options: documented(
        q, Altered.apply(k, torch.zeros_like), *x, **options
    ),
    "gradients of queries a tenth too long": lambda q, *x, **options: documented(
        Altered.apply(q, lambda g: 1.1 * g), *x, **options
    ),
    "one token lost": _last_token_lost,
    "one gradient not a number": _not_a_number,
    "single tokens": _ones_apart,
    "no kernel": _no_kernel,
    "another shape": lambda *x, **options: documented(*x, **options).flatten(1),
}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("name", WRONG)
def test_what_does_otherwise_is_left_and_rectangles_go_on(use, caplog, name, dtype):
    variant = Variant(9 if "window" in name else None)
    tensors = inputs(118, dtype=dtype)
    expected = computed(PACKED["groups"], tensors, variant)
    use(WRONG[name])
    with caplog.at_level(logging.WARNING, "aha"):
        for _ in range(2):
            ours = computed(PACKED["groups"], tensors, variant)
            assert all(torch.equal(x, y) for x, y in zip(ours, expected, strict=True))
    by({"rectangles"})
    (record,) = caplog.records
    reason = {"no kernel": "no kernel image", "another shape": "fails"}.get(name, "differs")
    assert "stays with rectangles" in record.getMessage()
    assert reason in record.getMessage()


def test_kinds_are_tried_apart(use, caplog):
    """A kernel without windows serves the layers that have none."""
    use(WRONG["no window"])
    tensors = inputs(118)
    computed(PACKED["groups"], tensors)
    computed(PACKED["groups"], tensors, Variant(9))
    by({"varlen", "rectangles"})
    assert len(caplog.records) == 1


def test_a_lack_of_memory_says_nothing_about_the_kernel(use):
    def full(*tensors, **options):
        raise torch.OutOfMemoryError("CUDA out of memory")

    use(full)
    with pytest.raises(torch.OutOfMemoryError):
        computed(PACKED["groups"], inputs(118))
    assert not varlen._stands


def test_the_trial_leaves_random_numbers_alone(use):
    use(documented)
    torch.manual_seed(3)
    computed(PACKED["groups"], inputs(118))
    other = torch.rand(3)
    torch.manual_seed(3)
    assert torch.equal(other, torch.rand(3))


def test_it_is_left_away_on_request(use, monkeypatch, caplog):
    def never(*tensors, **options):
        raise AssertionError("not asked for")

    use(never)
    monkeypatch.setenv("AHA_KERNELS", "0")
    computed(PACKED["groups"], inputs(118))
    by({"rectangles"})
    assert not caplog.records


def test_what_it_does_not_take(use, monkeypatch):
    q = torch.zeros(4, 4, 64, dtype=torch.bfloat16)
    assert not varlen_takes(q, q, q, None)  # no such kernel for CPUs
    use(documented)
    assert varlen_takes(q, q, q, None)
    monkeypatch.setattr(varlen, "DTYPES", (torch.bfloat16, torch.float16))
    assert not varlen_takes(q.float(), q.float(), q.float(), None)
    assert not varlen_takes(q, q.half(), q, None)
    assert not varlen_takes(q, q, q[..., :32], None)
    assert not varlen_takes(*[q[..., :12]] * 3, None)
    assert not varlen_takes(*[q.repeat(1, 1, 5)] * 3, None)
    assert not varlen_takes(q, q[:, :3], q[:, :3], None)
    for variant in (Variant(softcap=5.0), Variant(sinks=torch.zeros(4))):
        use.forget()
        computed(PACKED["groups"], inputs(118, dtype=torch.bfloat16), variant)
        by({"rectangles"})


def test_torchs_own_operator_takes_the_call():
    """Without numbers: names, order and shapes, there and back."""
    q, k, v, _ = inputs(118, (6, 2), 64, torch.bfloat16)
    q, k, v = (x[0].transpose(0, 1).detach().to("meta").requires_grad_() for x in (q, k, v))
    for window in (None, 9):
        layout = varlen.VarlenLayout.of(np.array(PACKED["groups"]), "meta")
        out = varlen.attend(q, k, v, layout, 0.3, window)
        assert out.shape == q.shape
        assert "varlen_attn" in out.grad_fn.name()
        gradients = torch.autograd.grad(out, (q, k, v), torch.empty_like(out))
        assert [g.shape for g in gradients] == [x.shape for x in (q, k, v)]


# --- models -------------------------------------------------------------------------------------------------


def examples():
    """Groups that share prompts, longer than the families' windows."""
    rng, members = np.random.default_rng(0), []
    for g in range(2):
        prompt = rng.integers(0, 300, 4 + 9 * g)
        for _ in range(3):
            ids = np.concatenate([prompt, rng.integers(0, 300, rng.integers(3, 24))])
            mask = np.arange(len(ids)) >= len(prompt)
            old = np.where(mask, -np.abs(rng.normal(size=len(ids))) - 3, 0.0).astype(np.float32)
            members.append(Example(ids, mask, np.where(mask, rng.normal(), 0.0), old, len(prompt), g))
    return members


FAMILIES = {
    "llama": {"varlen"},
    "qwen2-window": {"varlen"},
    "gemma3": {"varlen"},
    "gemma2": {"rectangles"},
    "gpt-oss": {"rectangles"},
}


@pytest.mark.parametrize("again", [False, True], ids=["kept", "recomputed"])
@pytest.mark.parametrize("family", FAMILIES)
def test_models_train_and_sample_the_same(use, tokenizer, monkeypatch, family, again):
    """The first call of each kind comes within recomputed layers, or in sampling's inference mode."""
    monkeypatch.setattr(attention, "piece_length", lambda tokens: 8)
    (batch,) = pack(examples(), sequence_mean, 10_000)
    prompts = [list(range(20, 31)), [5, 6, 7]]
    results = []
    for function in (None, documented):
        policy = Policy(make(family, tokenizer), OptimizerConfig(gradient_checkpointing=again))
        engine = LocalEngine(policy.model, tokenizer)
        if function:
            use(function)
        policy.backward(batch, clipped_loss())
        if function:
            by(FAMILIES[family])
            use.forget()
        sampled = []
        for several in (prompts, prompts[:1]):  # packed, and one in pieces
            requests = [Request(ids, 1, i) for i, ids in enumerate(several)]
            completions = dict(engine.generate(requests, SamplingParams(max_tokens=9), seed=1))
            sampled += [completions[i][0] for i in range(len(several))]
        if function:
            by(FAMILIES[family])
        results.append((policy.logprobs(batch), [m.grad.clone() for m in policy.masters], sampled))
    (logprobs, grads, sampled), (other, other_grads, other_sampled) = results
    assert other == pytest.approx(logprobs, abs=1e-5)
    for x, y in zip(other_grads, grads, strict=True):
        assert (x - y).abs().max() <= 1e-4 * max(1e-2, y.abs().max().item())
    for x, y in zip(other_sampled, sampled, strict=True):
        assert x.completion_ids.tolist() == y.completion_ids.tolist()
        assert x.logprobs == pytest.approx(y.logprobs, abs=1e-5)
