"""What is planned of vLLM as the sampler, by hand and by published figures."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from aha.cli import main
from aha.planning import advice, colocated, machines, memory, published, report, table, timing
from aha.planning.shapes import from_config
from aha.planning.workload import from_stage, sample_workload
from aha.sampling.colocated import Colocated


def shape(name):
    return from_config(published.PUBLISHED[name], name)


QWEN7, QWEN32 = shape("Qwen/Qwen2.5-7B"), shape("Qwen/Qwen2.5-32B")
LLAMA70, DEEPSEEK = shape("meta-llama/Llama-3.1-70B"), shape("deepseek-ai/DeepSeek-V3-Base")
NODES = machines.machine("h100", 32)


def engine(**changes):
    """vLLM, as far as a plan depends on it."""
    return Colocated("vllm", "vLLM", **changes)


def sampled(**changes):
    """The table's work, sampled by vLLM over eight GPUs."""
    return sample_workload("rl", colocated=engine(**{"ranks": 8, **changes}), policy_again=True, name="rl")


def test_a_stage_says_how_vllm_is_run():
    from aha.stages.rl import RL

    local = from_stage(RL.model_validate({"name": "rl"}))
    assert local is not None
    assert local.colocated is None
    settings = {
        "tensor_parallel_size": 4,
        "gpu_memory_utilization": 0.3,
        "kv_cache_gib": 5,
        "enable_sleep_mode": True,
        "enforce_eager": True,
    }
    work = from_stage(RL.model_validate({"name": "rl", "engine": "vllm", "vllm": settings}))
    assert work is not None
    assert work.colocated is not None
    assert replace(work.colocated, parcel=True) == engine(
        ranks=4, share=0.3, cache=5 * 2**30, sleep=True, eager=True
    )
    assert work.policy_again, "importance is corrected for"
    plain = from_stage(RL.model_validate({"name": "rl", "engine": "vllm"}))
    assert plain is not None
    assert plain.colocated == engine(parcel=False), "the settings' defaults are those of what is planned"
    assert list(colocated.unset_engines()) == [("vllm", plain.colocated)]


# --- memory --------------------------------------------------------------------------------------------------


def test_no_gpu_holds_all_weights_to_sample():
    local, beside = (
        memory.estimate(QWEN32, work, 80e9, 32, sharded=True) for work in (sample_workload("rl"), sampled())
    )
    assert local.sampling["whole weights"] == 2 * QWEN32.parameters
    assert sum(beside.resident.values()) == 16 * QWEN32.parameters / 32
    assert beside.sampling == {"weights on their way": 2 * QWEN32.embedding}


def test_what_sleeps_is_not_there_while_the_policy_is_trained():
    awake, sleeping = (
        memory.estimate(QWEN32, sampled(sleep=sleep), 80e9, 32, sharded=True) for sleep in (False, True)
    )
    ours = {name: size * (1 + memory.SLACK) + awake.overhead for name, size in awake.phases().items()}
    assert awake.peak == max(ours["training"] + 32e9, ours["sampling"] + 32e9, ours["starting"])
    left = colocated.asleep(engine(ranks=8))
    assert 0 < left < 32e9
    assert sleeping.peak == max(ours["training"] + left, ours["sampling"] + 32e9, ours["starting"])
    assert sleeping.peak < awake.peak


def test_what_vllm_needs_of_a_gpu_by_hand():
    needed = colocated.needed(QWEN7, sampled(), engine(ranks=4, cache=3e9))
    assert needed["weights"] == 2 * QWEN7.parameters / 4
    assert needed["KV cache"] == 3e9
    # 512 rows of 152,064 float32 logits, four times.
    assert needed["activations"] >= 16 * 512 * 152_064
    # Four heads of keys and values over four GPUs, one on each; over eight not fewer.
    assert (
        colocated.cache_token_bytes(QWEN7, sampled(), 4)
        == 57_344 / 4
        == colocated.cache_token_bytes(QWEN7, sampled(), 8)
    )


def test_the_largest_model_by_published_figures():
    """671 billion parameters; the DeepSeek-V3 report's cache of 70.272 KB a token (arXiv 2505.09343, table 1)."""
    assert colocated.cache_token_bytes(DEEPSEEK, sampled(), 8) == 70_272
    assert DEEPSEEK.parameters == pytest.approx(671e9, rel=0.001)
    (said,) = colocated.lacks(DEEPSEEK, sampled(), machines.machine("h200", 512))
    assert "weights 167.8 GB" in said
    assert "one machine" in said
    assert not list(colocated.choices(DEEPSEEK, sampled(), machines.machine("h200", 512)))


@pytest.mark.parametrize(
    ("of", "settings", "machine", "said"),
    [
        (QWEN7, {"ranks": 8}, NODES, "28 heads can be dealt evenly: give 4"),
        (QWEN32, {"ranks": 16}, NODES, r"of one machine \(8\)"),
        (QWEN32, {"ranks": 8}, machines.machine("h100", 4), r"of one machine \(4\)"),
        (
            LLAMA70,
            {"ranks": 4},
            NODES,
            r"rl.vllm.gpu_memory_utilization=0.55 or rl.vllm.tensor_parallel_size=8",
        ),
        (QWEN7, {"ranks": 1, "cache": 1e8}, NODES, r"rl.vllm.kv_cache_gib=1 "),
    ],
)
def test_what_is_lacking_is_said_with_the_way_out(of, settings, machine, said):
    work = sampled(**settings)
    (lack,) = colocated.lacks(of, work, machine)
    assert re.search(said, lack)
    assert not advice.judge(of, work, machine).fits
    assert lack in report.figures(of, work, machine)["refused"]


@pytest.mark.parametrize("changed", [{"share": 0.55, "ranks": 4}, {"ranks": 8}])
def test_the_way_out_is_one(changed):
    """Those that are named for 70B over four GPUs, above."""
    assert not colocated.lacks(LLAMA70, sampled(**changed), NODES)


def test_vllm_is_suggested_where_sampling_is_what_does_not_fit(capsys):
    words = ("--base", "Qwen/Qwen2.5-32B", "--gpus", "32", "--json", "rl.algorithm.kl_coef=0")
    words += ("--gradient-checkpointing",)
    code = main(["plan", *words])
    (row,) = json.loads(capsys.readouterr().out)
    assert code == 1
    change = next(c for c in row["change"] if "engine=vllm" in c)
    assert change.startswith("rl.engine=vllm rl.vllm.tensor_parallel_size=")
    assert "rl.vllm.enable_sleep_mode=true" in change
    assert main(["plan", *words, *change.split()]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["engine_bytes"]["sampling"] > row["engine_bytes"]["training"]
    assert main(["plan", *(w for w in words if w != "--json"), *change.split()]) == 0
    out = capsys.readouterr().out
    assert "completions of full length at once" in out
    assert "host" in out


def test_where_training_alone_is_too_large_vllm_is_no_way_out():
    assert not any(
        "vllm" in c for c in advice.suggestions(LLAMA70, sample_workload("rl"), machines.machine("h100", 8))
    )


def test_every_rank_reads_the_whole_model_as_it_starts():
    """70B over 32 GPUs of 80 GB could be trained, if it came so far."""
    estimate = memory.estimate(LLAMA70, sample_workload("sft"), 80e9, 32, sharded=True)
    assert estimate.phases()["training"] < 80e9 < estimate.phases()["starting"]
    assert estimate.starting["weights as they are read"] == 2 * LLAMA70.parameters
    assert memory.estimate(LLAMA70, sample_workload("sft"), 80e9).starting == {}
    again = memory.estimate(QWEN32, sampled(sleep=True), 80e9, 32, sharded=True)
    copied = memory.estimate(QWEN32, replace(sampled(sleep=True), reference=True), 80e9, 32, sharded=True)
    assert copied.peak > again.peak + 2 * QWEN32.parameters


def test_the_hosts_memory():
    whole = 2.0 * QWEN32.parameters
    for changes, sharded, times in (
        ({}, True, 2),
        ({"sleep": True}, True, 3),
        ({"parcel": False}, True, 1),
        ({}, False, 1),
    ):
        colocated_bytes = colocated.host_bytes(QWEN32, sampled(), engine(ranks=8, **changes), sharded)
        assert sum(colocated_bytes.values()) == times * whole
    colocated_bytes = report.host_bytes(QWEN32, sampled(), NODES, sharded=True)
    assert colocated_bytes["8 ranks reading the model, at the start"] == 8 * whole


# --- time ------------------------------------------------------------------------------------------------


def seconds(work, count=32, of=QWEN32):
    return timing.estimate(of, work, machines.machine("h100", count), sharded=True).parts


def test_only_the_first_machine_samples():
    assert seconds(sampled())["sampling"] == seconds(sampled(), 512)["sampling"]
    local = sample_workload("rl")
    assert seconds(local, 512)["sampling"] < seconds(local)["sampling"]


def test_more_ranks_and_more_cache_sample_faster():
    slow, more, faster = (
        seconds(sampled(**s))["sampling"]
        for s in ({"ranks": 2}, {"ranks": 8}, {"ranks": 8, "cache": 20 * 2**30})
    )
    assert faster < more < slow
    assert colocated.rows(QWEN32, sampled(), engine(ranks=8, cache=20 * 2**30)) > colocated.rows(
        QWEN32, sampled(), engine(ranks=8)
    )


def test_weights_reach_vllm_over_pcie():
    """65.5 GB to the first machine's memory and out of it, at 16 GB/s each, after a gathering at 25 GB/s."""
    whole = 2 * QWEN32.parameters / 1e9
    assert seconds(sampled())["weights to vLLM"] == pytest.approx(whole * (2 / 16 + 1 / 25))
    assert "weights to vLLM" not in seconds(sample_workload("rl"))


def test_the_table_has_a_letter_for_it():
    cells = {count: table.cell(QWEN32, machines.machine("h100", count)) for count in (8, 32)}
    assert cells == {8: "-", 32: "v s"}
    assert "V" in table.cell(shape("Qwen/Qwen2.5-1.5B"), NODES)
    assert table.cell(DEEPSEEK, machines.machine("h800", 512)) == "-"
