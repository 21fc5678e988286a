"""The memory model beside what a training step and a rollout really take."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from shrunk import shrunk

from aha import kernels
from aha.planning import advice, limits, machines, measure, memory, passes, published
from aha.planning.shapes import FAMILIES, from_config
from aha.planning.workload import Workload, sample_workload
from aha.training.batching import pack, token_mean
from aha.training.policy import OptimizerConfig, Policy
from aha.types import Example

QWEN = from_config(published.PUBLISHED["Qwen/Qwen2.5-7B"], "Qwen/Qwen2.5-7B")
ROOM = 80e9


def test_limits_are_those_of_the_modules_they_belong_to():
    from aha.attention import layout, packed
    from aha.sampling.local import engine as local
    from aha.sampling.local import kv_cache
    from aha.sampling.local import scheduler as in_flight
    from aha.training import policy

    assert limits.KEEP_PROBABILITIES_UP_TO == packed._KEEP_PROBABILITIES_UP_TO
    assert limits.MAX_BUCKET_SCORES == layout.MAX_BUCKET_SCORES
    assert limits.HEAD_CHUNK_ELEMENTS == policy.HEAD_CHUNK_ELEMENTS
    assert limits.LASTING_SCORES == layout.LASTING_SCORES
    assert all(limits.piece_length(n) == layout.piece_length(n) for n in (1, 1000, 30_000, 10**6))
    assert (limits.CACHE_SHARE, limits.PREFILL_TOKENS) == (local.CACHE_SHARE, in_flight.PREFILL_TOKENS)
    assert limits.CACHE_GROWTH == kv_cache.GROWTH


@pytest.mark.parametrize(
    "case",
    [
        measure.Case("small"),
        pytest.param(measure.Case("small", recompute=True, factor=4), marks=pytest.mark.slow),
        pytest.param(measure.Case("medium"), marks=pytest.mark.slow),
    ],
    ids=lambda case: f"{case.size}-{case.factor}x-{case.recompute}",
)
def test_predictions_are_near_measurements(case):
    checked = measure.check(case)
    parts = {name: values["ratio"] for name, values in checked["parts"].items()}
    assert 1 / measure.FACTOR <= parts["peak"] <= measure.FACTOR, parts
    assert parts["resident"] == pytest.approx(1, abs=0.005)
    assert 0.95 <= parts["training"] <= 1.2, "an estimate errs on the safe side"
    assert 0.95 <= parts["sampling"] <= 1.1
    assert checked["process_bytes"] > checked["parts"]["peak"]["measured"]


def test_completions_whose_attention_goes_in_pieces():
    """3,072 tokens each, layers computed again: the fullest moment is one bucket of attention going backward, when
    what the feed-forward part kept is gone."""
    case = measure.long_case()
    assert "attention backward" in passes.added(measure.shape_of(case), case.work())
    parts = {name: values["ratio"] for name, values in measure.check(case)["parts"].items()}
    assert set(parts) == {"resident", "training", "peak"}
    assert 0.95 <= parts["training"] <= 1.06, parts
    assert parts["resident"] == pytest.approx(1, abs=0.005)


def test_a_measurement_that_fails_says_why():
    from aha.types import AhaError

    with pytest.raises(AhaError, match=r"failed: .*(cuda|CUDA|NVIDIA)"):
        measure.in_subprocess(measure.Case("small", device="cuda:63"))


# --- what autograd keeps ----------------------------------------------------------------------------------


def batch_of(tokens, sequences):
    """``sequences`` of equal length without shared prompts, ``tokens`` in all."""
    rng = np.random.default_rng(0)
    groups = [
        Example(ids, np.arange(len(ids)) >= 1, np.ones(len(ids), np.float32), None, 1, -1)
        for ids in rng.integers(2, 300, (sequences, tokens // sequences))
    ]
    (batch,) = pack(groups, token_mean, tokens)
    return batch


def kept_bytes(model, batch):
    """Bytes in distinct storages that autograd holds between the passes, weights aside."""
    policy = Policy(model, OptimizerConfig())
    weights, activations = {p.untyped_storage().data_ptr() for p in model.parameters()}, {}

    def keep(x):
        storage = x.untyped_storage()
        if storage.data_ptr() not in weights and x.is_floating_point():
            activations[storage.data_ptr()] = (storage.nbytes(), x)  # kept, so that no address comes again
        return x

    with kernels.without(), torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        hidden = policy._hidden(batch, np.flatnonzero(batch.predictor >= 0))
    del hidden
    return sum(size for size, _ in activations.values())


@pytest.mark.parametrize("family", FAMILIES)
def test_what_a_layer_keeps(family):
    """The difference that two layers more make, whatever the ends keep."""
    tokens, sequences = 512, 8
    batch = batch_of(tokens, sequences)
    few, many = (shrunk(family, layers) for layers in (2, 4))
    measured = (kept_bytes(many[0], batch) - kept_bytes(few[0], batch)) / 2
    shape = few[1]
    length = tokens // sequences
    predicted = tokens * passes.saved_per_token(shape, 4) + 4 * shape.heads * tokens * length
    assert predicted == pytest.approx(measured, rel=0.1)


# --- what must hold whatever the numbers are ----------------------------------------------------------------


def test_what_saves_memory_saves_memory():
    work = sample_workload("rl", recompute=False, reference=True)
    peak = memory.estimate(QWEN, work, ROOM).peak
    for saving in ({"recompute": True}, {"reference": False}, {"lora": 16}, {"batch_tokens": 4096}):
        assert memory.estimate(QWEN, replace(work, **saving), ROOM).peak < peak, saving
    assert memory.estimate(QWEN, work, ROOM, 8, sharded=True).peak < memory.estimate(QWEN, work, ROOM, 8).peak
    assert memory.estimate(QWEN, replace(work, critic=True), ROOM).peak > peak
    whole, shared = (memory.estimate(QWEN, replace(work, context=n), ROOM, 8) for n in (1, 4))
    assert shared.resident == whole.resident
    assert sum(shared.training.values()) < 0.4 * sum(whole.training.values())
    assert memory.estimate(QWEN, replace(work, completion=4096), ROOM).peak > peak


def test_parts_of_a_7b_by_hand():
    """7,615,616,512 parameters: 2 bytes of weights, 4 of masters, 4 of gradient sums, 8 of moments."""
    estimate = memory.estimate(QWEN, sample_workload("rl"), ROOM)
    assert sum(estimate.resident.values()) - estimate.resident["sampler's cache"] == 18 * QWEN.parameters
    sharded = memory.estimate(QWEN, sample_workload("rl"), ROOM, 8, sharded=True)
    resident = sum(sharded.resident.values()) - sharded.resident["sampler's cache"]
    assert resident == 16 * QWEN.parameters / 8
    assert sharded.sampling["whole weights"] == 2 * QWEN.parameters


def test_rows_are_those_that_the_cache_has_room_for():
    """57,344 bytes a token, and one spare buffer of 56 like it."""
    work, each = sample_workload("rl"), 57_344 * 57 // 56
    assert memory.cache_token_bytes(QWEN, work) == each
    assert memory.rows_of(QWEN, work, ROOM) == int(0.125 * ROOM / each) // (2304 + 16)
    assert memory.rows_of(QWEN, replace(work, sequences=64), ROOM, gpus=8) == 8


@pytest.mark.parametrize(
    ("gpu", "count"),
    [("rtx-4090", 1), ("rtx-4090", 8), ("h100", 1), ("a100-40", 8)],
)
def test_settings_that_are_suggested_do_fit(gpu, count):
    work = Workload("rl", 10, 512, 8, 256, 65_536, 131_072, 2, reference=True, max_num_seqs=512, name="rl")
    machine = machines.machine(gpu, count)
    options = dict(advice.settings(QWEN, work, machine))
    advised = advice.suggestions(QWEN, work, machine)
    for words in advised:
        parts = words.split(" with ")[-1].split()
        if all(part in options for part in parts) and " with " not in words:
            changes = {k: v for part in parts for k, v in options[part].items()}
            assert advice.judge(QWEN, replace(work, **changes), machine).fits
            for left_out in parts:
                fewer = {k: v for part in parts if part != left_out for k, v in options[part].items()}
                assert not advice.judge(QWEN, replace(work, **fewer), machine).fits, "and all of it is needed"
    assert advised
    assert not advice.judge(QWEN, work, machine).fits


def test_a_pass_is_laid_out_once_whatever_samples_beside_it(monkeypatch):
    """Advice tries thousands of combinations of a few passes."""
    laid_out, real = [], passes.layout
    monkeypatch.setattr(passes, "layout", lambda work: laid_out.append(1) or real(work))
    work = Workload("rl", 10, 500, 8, 250, 65_500, 131_000, 2, reference=True, max_num_seqs=512, name="rl")
    assert advice.suggestions(QWEN, work, machines.machine("rtx-4090", 1))
    assert 1 <= len(laid_out) <= 200
    few, many = (passes.added(QWEN, replace(work, max_num_seqs=n)) for n in (16, 512))
    few.clear()
    assert many == passes.added(QWEN, work) != {}


def test_ranks_that_share_a_pass_are_suggested_where_one_sequence_is_too_long():
    fields = frozenset({"gradient_checkpointing", "context_parallel_size"})
    work = Workload("sft", 10, 64, 1, 256, 250_000, 250_256, name="sft", fields=fields)
    machine = machines.machine("h100", 8)
    assert not advice.judge(QWEN, work, machine).fits
    words = next(w for w in advice.suggestions(QWEN, work, machine) if "context_parallel_size" in w)
    assert words.count("context_parallel_size") == 1
    changes = {
        k: v for part in words.split() for k, v in dict(advice.settings(QWEN, work, machine))[part].items()
    }
    assert machine.count % changes["context"] == 0
    assert advice.judge(QWEN, replace(work, **changes), machine).fits


def test_scores_held_at_once_do_not_grow_with_length():
    """Long sequences go in pieces: what is computed grows with the square, what is held does not."""
    short, long = (passes.layout(sample_workload("sft", completion=n, batch_tokens=n)) for n in (8192, 32768))
    assert long.scores > 10 * short.scores
    assert long.bucket <= limits.MAX_BUCKET_SCORES


@pytest.mark.parametrize(("length", "prefix"), [(100, 0), (5000, 300), (20_000, 0)])
def test_pieces_are_those_of_the_plan(length, prefix):
    from aha.attention import make_plan

    segments = [(0, prefix, 0, 0)] if prefix else []
    plan = make_plan(np.array([*segments, (prefix, length, 0, prefix)]))
    laid_out = sum(b.rows * b.q_len * b.kv_len for b in plan.buckets)
    pieces = passes.in_pieces(length, prefix, 1) + passes.in_pieces(prefix, 0, 1)
    predicted = sum(q * k * rows for q, k, rows in pieces)
    # Pieces of one bucket are padded to the longest past among them, which is not followed here.
    assert predicted <= laid_out <= 1.15 * predicted
    largest = max(b.rows * b.q_len * b.kv_len for b in plan.buckets)
    assert largest <= max(b.scores for b in passes.in_buckets(pieces)) <= 1.15 * largest
