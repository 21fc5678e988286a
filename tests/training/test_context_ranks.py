"""Ranks that share every micro-batch compute what one process computes, each with a part of the activations."""

from __future__ import annotations

from dataclasses import replace

import context_jobs
import numpy as np
import pytest
import rank_jobs
import torch
from forked import ended, start_ranks
from test_ranks import HERE, aha, rl_rows, same_run

from aha import ranks
from aha.attention.context_parallel import divided
from aha.attention.layout import make_plan
from aha.attention.packed import PLAIN, Packed, Variant, _PackedAttention
from aha.files import read_jsonl
from aha.planning import measure, passes
from aha.planning.shapes import from_config
from aha.training.policy import OptimizerConfig, Policy
from aha.types import AhaError

SMALL = from_config(measure._config(measure.Case("small")).to_dict(), "small")


@pytest.fixture(scope="module")
def tok():
    return rank_jobs.make_tokenizer()


def several(folder, size, groups, names):
    """What each of ``size`` ranks found."""
    ends = ended(start_ranks(HERE / "context_jobs.py", folder, groups, *names, folder=folder, size=size))
    assert [code for code, _ in ends] == [0] * size, ends
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(size)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tok):
    """Where two ranks work, a model to fine-tune in it."""
    place = tmp_path_factory.mktemp("two")
    rank_jobs.make_model(tok).save_pretrained(place / "base")
    tok.save_pretrained(place / "base")
    return place


@pytest.fixture(scope="module")
def two(folder):
    return several(folder, 2, "2", context_jobs.CASES)


@pytest.fixture(scope="module")
def four(tmp_path_factory):
    return several(tmp_path_factory.mktemp("four"), 4, "2,4", context_jobs.FOUR)


@pytest.fixture(scope="module")
def alone(tok):
    """What one process finds, by case."""
    known = {}

    def find(name):
        if name not in known:
            known[name] = context_jobs.computed(tok, replace(context_jobs.CASES[name], sharded=False))
        return known[name]

    return find


def near(result, expected, rounding=2e-5):
    """Equal to the rounding of float32 sums."""
    assert result.shape == expected.shape
    assert (result - expected).abs().max() <= rounding * max(1e-3, expected.abs().max().item())


def same(result, expected):
    near(result["logprobs"], expected["logprobs"])
    assert result["norms"] == pytest.approx(expected["norms"], rel=1e-4)
    for a, b in zip(result["sums"], expected["sums"], strict=True):
        assert a == pytest.approx(b, rel=1e-4, abs=1e-6)
    for key in ("seen", "gradients"):
        for a, b in zip(result[key], expected[key], strict=True):
            near(a, b, 1e-4)
    assert (result["weights"] - expected["weights"]).abs().max() < 1e-4
    assert expected["gradients"][0].abs().max() > 1e-3  # else nothing was shown


@pytest.mark.parametrize("name", context_jobs.CASES)
def test_two_ranks_find_what_one_process_finds(two, alone, name):
    for rank, result in enumerate(two):
        assert result["world"] == (rank, 2)
        same(result[2, name], alone(name))
    assert torch.equal(two[0][2, name]["weights"], two[1][2, name]["weights"])


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize("name", context_jobs.FOUR)
def test_four_ranks_in_pairs_and_together(four, alone, name, size):
    for result in four:
        same(result[size, name], alone(name))


def test_working_weights_in_bfloat16(two, tok):
    expected = context_jobs.computed(tok, context_jobs.CASES["prompts"], dtype=torch.bfloat16)
    for result in two:
        assert result["bfloat16"]["norms"] == pytest.approx(expected["norms"], rel=0.05)
        gap = result["bfloat16"]["gradients"][0] - expected["gradients"][0]
        assert gap.norm() < 0.05 * expected["gradients"][0].norm()


@pytest.fixture(scope="module")
def critic(tok):
    return context_jobs.critic(tok, False, 1)


@pytest.mark.parametrize("sharded", [False, True])
@pytest.mark.parametrize(
    ("there", "size"),
    [("two", 2), *(pytest.param("four", size, marks=pytest.mark.slow) for size in (2, 4))],
)
def test_critics_and_reward_models(request, critic, there, size, sharded):
    for result in (run[size, "critic", sharded] for run in request.getfixturevalue(there)):
        assert result["sums"] == [pytest.approx(s, rel=1e-4) for s in critic["sums"]]
        assert result["norm"] == pytest.approx(critic["norm"], rel=1e-4)
        assert result["learned"][0] == pytest.approx(critic["learned"][0], rel=1e-4)
        for key in ("gradient", "values", "scores"):
            near(result[key], critic[key], 1e-3)


@pytest.mark.parametrize("recompute", context_jobs.WORK)
@pytest.mark.parametrize(("there", "size"), [("two", 2), pytest.param("four", 4, marks=pytest.mark.slow)])
def test_a_rank_holds_its_share_of_the_activations(request, there, size, recompute):
    """Keys and values of the layer at hand are whole; all else falls with the ranks."""
    alone = context_jobs.memory(recompute, 1)
    for rank in request.getfixturevalue(there):
        used = rank["memory", recompute]
        assert used["saved"] < 1.05 / size * alone["saved"]
        assert used["peak"] < (1 / size + 0.1) * alone["peak"]
        work = replace(context_jobs.WORK[recompute], context=size)
        planned = sum(passes.added(SMALL, work).values())
        assert 0.95 <= planned / used["peak"] <= 1.2  # what `aha plan` says


# --- the division of a batch -----------------------------------------------------------------------------

SEGMENTS = {
    "one": [(0, 1000, 0, 0)],
    "long and short": [(0, 800, 0, 0), *((800 + 20 * i, 20, 0, 0) for i in range(10))],
    "prompt": [(0, 300, 0, 0), *((300 + 50 * i, 50, 0, 300) for i in range(8))],
    "even": [(100 * i, 100, 0, 0) for i in range(9)],
    "uneven": [(0, 3, 0, 0), (3, 1, 0, 0), (4, 1, 0, 3), (5, 40, 0, 3), (45, 6, 45, 0)],
    "less than ranks": [(0, 2, 0, 0)],
}


def work_of(pieces):
    """Pairs of a query and a key that it sees."""
    return sum(n * (prefix + before) + n * (n + 1) // 2 for _, n, _, prefix, before in pieces.tolist())


@pytest.mark.parametrize("size", [2, 3, 8])
@pytest.mark.parametrize("name", SEGMENTS)
def test_tokens_are_divided_once_and_evenly(name, size):
    segments = np.array(SEGMENTS[name])
    parts = divided(segments, size)
    tokens = [np.concatenate([np.arange(s, s + n) for s, n, *_ in part.tolist()] or [[]]) for part in parts]
    total = int(segments[:, 1].sum())
    assert sorted(np.concatenate(tokens).tolist()) == list(range(total))
    if total >= 400:
        assert max(map(len, tokens)) <= 1.2 * total / size
        work = [work_of(part) for part in parts]
        assert max(work) <= 1.25 * sum(work) / size


@pytest.mark.parametrize("variant", [PLAIN, Variant(window=7, softcap=2.0)], ids=["plain", "window"])
@pytest.mark.parametrize("name", SEGMENTS)
def test_the_parts_of_attention_are_those_of_the_whole(name, variant):
    segments = np.array(SEGMENTS[name])
    total, g = int(segments[:, 1].sum()), torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, h, total, 4, generator=g).requires_grad_() for h in (4, 2, 2))
    aim = torch.randn(1, total, 4, 4, generator=g)
    whole = Packed(make_plan(segments)).attend(0, q, k, v, 0.5, variant)
    expected = torch.autograd.grad((whole * aim).sum(), (q, k, v))
    sums = [torch.zeros_like(x) for x in (q, k, v)]
    for pieces in divided(segments, 3):
        if not len(pieces):
            continue
        plan = make_plan(segments, pieces=pieces)
        heads = [x[0].transpose(0, 1) for x in (q[:, :, plan.own], k, v)]
        out = _PackedAttention.apply(*heads, None, plan, 0.5, variant, None)
        near(out, whole[0, plan.own])
        parts = torch.autograd.grad((out * aim[0, plan.own]).sum(), (q, k, v))
        sums = [a + b for a, b in zip(sums, parts, strict=True)]
    for a, b in zip(sums, expected, strict=True):
        near(a, b)


# --- settings --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "asked"), [(1, 2), (4, 3), (2, 4)])
def test_context_ranks_that_do_not_divide_are_refused(tok, monkeypatch, size, asked):
    monkeypatch.setattr(ranks, "real_world", lambda: (0, size))
    with pytest.raises(AhaError, match=f"context_parallel_size={asked}.*{size} rank.*torchrun"):
        Policy(rank_jobs.make_model(tok), OptimizerConfig(context_parallel_size=asked))


# --- stages ----------------------------------------------------------------------------------------------

TINY = [
    "rl.steps=2", "rl.prompts_per_step=4", "rl.group_size=4", "rl.max_tokens=48", "rl.test_problems=2",
    "rl.test_samples=2", "rl.eval_every=0", "rl.train_problems=16", "rl.dtype=float32",
    "rl.algorithm=ppo", "rl.algorithm.kl=k3", "rl.algorithm.kl_coef=0.05", "rl.algorithm.reference_every=1",
    "rl.max_tokens_per_batch=600", "--no-doctor",
]  # fmt: skip


@pytest.fixture(scope="module")
def one_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("one-run")
    [(code, out)] = ended(aha(folder, *TINY, size=1))
    assert code == 0, out
    return folder


@pytest.mark.parametrize("layout", ["replicated", pytest.param("sharded", marks=pytest.mark.slow)])
def test_reinforcement_learning_with_a_critic_and_a_reference(one_run, tmp_path, layout):
    ends = ended(aha(tmp_path, *TINY, "rl.context_parallel_size=2", "--parallel", layout))
    assert [code for code, _ in ends] == [0, 0], ends
    same_run(tmp_path, one_run)
    one, two = rl_rows(one_run), rl_rows(tmp_path)
    assert one[0]["grad_norm"] > 1e-3
    for key in ("critic/loss", "entropy", "kl", "sampler_mismatch/mean"):
        assert two[0][key] == pytest.approx(one[0][key], rel=1e-3, abs=1e-5), key
    assert two[1]["loss"] == pytest.approx(one[1]["loss"], rel=0.02, abs=1e-3)


@pytest.mark.usefixtures("two")
def test_fine_tuning(folder):
    context_jobs.fine_tuned(folder, 1)
    one, two = (read_jsonl(folder / name / "tuned/metrics.jsonl") for name in "12")
    assert len(one) == len(two) == 4
    for a, b in zip(one, two, strict=True):
        for key in {"loss", "entropy", "grad_norm", "validation_loss"} & a.keys():
            assert b[key] == pytest.approx(a[key], rel=2e-3), key
