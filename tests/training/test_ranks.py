"""Two processes, with whole weights each or with parts of them, compute what one process computes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import rank_jobs
import torch
from forked import ended, start_ranks

from aha import ranks
from aha.training import offload, parallel, trainer
from aha.training.batching import pack, sequence_mean
from aha.training.losses import clipped_loss
from aha.types import AhaError

HERE = Path(__file__).parent
CLOSE = 2e-5
"""Sums in another order differ by so much in weights that a step moves by 1e-3."""


@pytest.fixture(scope="module")
def tok():
    return rank_jobs.make_tokenizer()


@pytest.fixture(scope="module")
def two(tmp_path_factory, tok):
    """(folder, what the first of two ranks found, what the second found)."""
    folder = tmp_path_factory.mktemp("ranks")
    rank_jobs.saved(tok, folder / "one", sharded=False)
    ends = ended(start_ranks(HERE / "rank_jobs.py", folder, folder=folder))
    assert [code for code, _ in ends] == [0, 0], ends
    return folder, *(torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(2))


@pytest.fixture(scope="module")
def alone(tok):
    """What one process comes to."""
    return rank_jobs.trained(tok, sharded=False)


def close(result, expected, limit=CLOSE):
    assert result["curve"] == [pytest.approx(row, rel=2e-4, abs=1e-6) for row in expected["curve"]]
    assert (result["weights"] - expected["weights"]).abs().max() < limit


@pytest.mark.parametrize("layout", rank_jobs.LAYOUTS)
@pytest.mark.parametrize("variant", rank_jobs.VARIANTS)
def test_losses_gradients_and_weights_are_those_of_one_process(two, alone, tok, layout, variant):
    _, first, second = two
    assert (first["world"], second["world"]) == ((0, 2), (1, 2))
    expected = alone
    result = first[layout, variant]
    close(result, expected)
    assert (result["logprobs"] - expected["logprobs"]).abs().max() < 1e-3
    assert torch.equal(result["weights"], second[layout, variant]["weights"])
    start = rank_jobs.weights(rank_jobs.new_policy(tok, sharded=False))
    assert (expected["weights"] - start).abs().max() > 50 * CLOSE  # else nothing was shown


@pytest.mark.parametrize("layout", rank_jobs.LAYOUTS)
def test_working_weights_in_bfloat16(two, tok, layout):
    expected = rank_jobs.trained(tok, False, torch.bfloat16)
    result = two[1][layout, "bfloat16"]
    assert result["curve"] == [pytest.approx(row, rel=0.05) for row in expected["curve"]]
    assert (result["weights"] - expected["weights"]).abs().mean() < 2e-4
    assert torch.equal(result["weights"], result["weights"].bfloat16().float())  # what is sampled with


@pytest.mark.parametrize("layout", rank_jobs.LAYOUTS)
def test_muon(two, tok, layout):  # its products are bfloat16
    expected = rank_jobs.trained(tok, False, muon_lr=0.01)
    close(two[1][layout, "muon"] | {"curve": expected["curve"]}, expected, limit=2e-3)


@pytest.mark.parametrize("layout", rank_jobs.LAYOUTS)
def test_samples_do_not_depend_on_ranks(two, tok, layout):
    expected = rank_jobs.sampled(tok, rank_jobs.new_policy(tok, sharded=False))
    for result in (run[layout, "sampled"] for run in two[1:]):
        assert result["ids"] == expected["ids"]
        assert (result["problems"], result["rewards"]) == (expected["problems"], expected["rewards"])
        assert torch.allclose(result["logprobs"], expected["logprobs"], atol=1e-4)


@pytest.mark.parametrize("layout", rank_jobs.LAYOUTS)
def test_reward_models(two, tok, layout):
    expected, result = rank_jobs.scalar(tok, sharded=False), two[1][layout, "scalar"]
    assert result["curve"] == [pytest.approx(row, rel=2e-4) for row in expected["curve"]]
    for key in ("dealt", "each", "head"):
        assert torch.allclose(result[key], expected[key], rtol=1e-3, atol=2e-4), key
    assert expected["head"].abs().max() > 1e-3


@pytest.mark.parametrize("layout", rank_jobs.LAYOUTS)
@pytest.mark.parametrize("loss", rank_jobs.PREFERENCES)
def test_preferences(two, tok, layout, loss):
    expected, result = rank_jobs.preferences(tok, False, loss), two[1][layout, loss]
    close(result, expected)
    assert torch.allclose(result["reference"], expected["reference"], atol=1e-3)
    assert expected["curve"][-1][0] < expected["curve"][0][0] - 1e-3
    assert torch.equal(result["weights"], two[2][layout, loss]["weights"])


# --- memory of activations -------------------------------------------------------------------------------


@pytest.mark.parametrize("recomputed", [False, True])
def test_offloading_changes_no_gradient(tok, monkeypatch, recomputed):
    monkeypatch.setattr(offload, "LEAST_ELEMENTS", 1)
    used = []
    monkeypatch.setattr(trainer, "Offloaded", lambda: used.append(offload.Offloaded()) or used[-1])
    grads = []
    for away in (False, True):
        policy = rank_jobs.new_policy(tok, False, gradient_checkpointing=recomputed, activation_offload=away)
        batch = pack(rank_jobs.examples(2), sequence_mean, 200)[0]
        policy.backward(batch, clipped_loss())
        grads.append([m.grad for m in policy.masters])
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))
    assert len(used) == 1
    inputs = (
        policy.model.config.num_hidden_layers * len(batch.token_ids) * policy.model.config.hidden_size * 4
    )
    assert used[0].moved > inputs
    assert used[0].moved < (4 if recomputed else 100) * inputs  # with layers computed again, little else


def test_offloading_leaves_weights_where_they_are(monkeypatch):
    monkeypatch.setattr(offload, "LEAST_ELEMENTS", 1)
    layer, x = torch.nn.Linear(64, 32), torch.randn(8, 64, requires_grad=True)
    hooks = offload.Offloaded()
    with hooks:
        y = layer(x).tanh()
    assert hooks.moved == x.nbytes + y.nbytes
    y.sum().backward()
    assert torch.allclose(layer.weight.grad, (1 - y.detach() ** 2).T @ x.detach(), atol=1e-5)


# --- checkpoints -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["one", *rank_jobs.LAYOUTS])
@pytest.mark.parametrize("layout", [*rank_jobs.LAYOUTS, "one"])
def test_a_checkpoint_continues_on_any_number_of_ranks(two, alone, tok, source, layout):
    expected = alone | {"curve": alone["curve"][-1:]}
    folder, first, _ = two
    if layout == "one":
        close(rank_jobs.continued(tok, folder / source, sharded=False), expected)
    else:
        close(first["continued", source, layout], expected)


def test_sharded_state_is_written_once_and_in_parts(two):
    folder = two[0]
    step = f"step-{rank_jobs.STEPS - 1:06d}"
    parts = folder / "sharded" / step / "parts"
    assert len(list(parts.glob("*.distcp"))) == 2
    assert not (folder / "replicated" / step / "parts").exists()
    whole = (folder / "replicated" / step / "state.pt").stat().st_size
    assert (folder / "sharded" / step / "state.pt").stat().st_size < whole / 4


def test_the_final_model_of_shards_loads_in_transformers(two, tok):
    from transformers import AutoModelForCausalLM, LlamaForCausalLM

    policy = rank_jobs.new_policy(tok, sharded=False)
    rank_jobs.steps(policy, 1, rank_jobs.STEPS - 1)
    for layout in rank_jobs.LAYOUTS:
        model = AutoModelForCausalLM.from_pretrained(two[0] / f"{layout}-final")
        assert type(model) is LlamaForCausalLM
        assert model.lm_head.weight is model.model.embed_tokens.weight
        for loaded, trained in zip(model.parameters(), policy.model.parameters(), strict=True):
            assert (loaded - trained).abs().max() < CLOSE


def test_a_damaged_part_is_explained(two, tok, tmp_path):
    import shutil

    root = tmp_path / "sharded"
    shutil.copytree(two[0] / "sharded", root)
    next(root.glob("*/parts/*.distcp")).unlink()
    with pytest.raises(AhaError, match="cannot be continued"):
        rank_jobs.continued(tok, root, sharded=False)


# --- dealing ---------------------------------------------------------------------------------------------


def test_chunks_are_cut_evenly(monkeypatch):
    rows = rank_jobs.examples()
    packed = lambda tokens: pack(rows, sequence_mean, tokens)  # noqa: E731
    whole = packed(60)
    for size in (2, 3, 5):
        monkeypatch.setattr(parallel, "world", lambda size=size: (0, size))
        batches = parallel.balance(packed, 60)
        assert max(len(b.token_ids) for b in batches) <= 60
        assert sum(b.weights.sum() for b in batches) == pytest.approx(sum(b.weights.sum() for b in whole))
        assert len(batches) % size == 0
        shares = [sum(len(b.token_ids) for b in parallel.deal(batches, r, size)) for r in range(size)]
        assert max(shares) < 1.15 * sum(shares) / size, shares


def test_one_large_chunk_is_divided_evenly(monkeypatch):
    """What fits one chunk with little left over must not leave the second rank with that little."""
    rows = rank_jobs.examples(groups=20)
    packed = lambda tokens: pack(rows, sequence_mean, tokens)  # noqa: E731
    total = sum(len(b.token_ids) for b in packed(10**6))
    for room in (total + 1, int(0.9 * total)):
        monkeypatch.setattr(parallel, "world", lambda: (0, 2))
        first, second = (len(b.token_ids) for b in parallel.balance(packed, room))
        assert abs(first - second) < 0.1 * total
    monkeypatch.setattr(parallel, "world", lambda: (0, 1))
    assert len(parallel.balance(packed, total)) == 1


def test_alone_is_a_world_of_one():
    with ranks.alone():
        assert ranks.world() == parallel.world() == (0, 1)
        assert list(ranks.share(3)) == [0, 1, 2]
    assert ranks.all_gather({1: "b", 0: "a"}) == {1: "b", 0: "a"}
    assert ranks.broadcast_object(lambda: 5) == 5


END = """
import atexit, os, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
from aha import ranks
class TakenApart:
    def __del__(self, write=os.write):
        write(2, b"taken apart")
kept = TakenApart()
pool = ThreadPoolExecutor(1)  # whose thread waits for more work until it is told that the end has come
pool.submit(int, "1").result()
atexit.register(print, "cleared away")
print("work")
threading.Thread(target=lambda: (time.sleep(0.2), print("thread"))).start()
ranks.end(3)
"""


@pytest.mark.parametrize("size", [1, 2])
def test_a_process_ends_with_its_code_and_nothing_lost(size):
    """One of several ranks leaves the interpreter as it is: gloo's threads may still be in it."""
    ended = subprocess.run(
        [sys.executable, "-c", END],
        env=os.environ | {"WORLD_SIZE": str(size)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == 3, ended
    assert ended.stdout.split("\n")[:3] == ["work", "thread", "cleared away"]
    assert ("taken apart" in ended.stderr) == (size == 1)


# --- failures --------------------------------------------------------------------------------------------

MEET = """
import os, sys, time
from aha import ranks
from aha.cli import main
from aha.types import AhaError
try:
    with ranks.joined("cpu"):
        rank = ranks.world()[0]
        {body}
        print("unreachable")
except AhaError as error:
    sys.exit(f"aha: {{error}}")
"""


def test_a_killed_rank_ends_the_others():
    body = "os.kill(os.getpid(), 9) if rank else ranks.gather(1)"
    (code, out), (killed, _) = ended(start_ranks("-c", MEET.format(body=body), folder=HERE))
    assert killed == -signal.SIGKILL
    assert code == 1, out
    assert "Rank 0 of 2 lost another rank" in out


def test_an_error_of_the_first_rank_ends_all_and_is_said_once():
    body = "ranks.broadcast_object(lambda: (_ for _ in ()).throw(AhaError('no such data')))"
    (code, out), (other, said) = ended(start_ranks("-c", MEET.format(body=body), folder=HERE))
    assert (code, other) == (1, 1)
    assert "aha: no such data" in out
    assert "no such data" not in said


def test_only_the_first_rank_speaks_and_writes(tmp_path):
    body = (
        "from aha.files import write_json; from pathlib import Path; print('hello from', rank); "
        f"write_json(Path({str(tmp_path)!r}) / f'{{rank}}.json', 1); ranks.barrier(); sys.exit(0)"
    )
    (code, out), (other, said) = ended(start_ranks("-c", MEET.format(body=body), folder=HERE))
    assert (code, other) == (0, 0), (out, said)
    assert "hello from 0" in out
    assert "hello" not in said
    assert [p.name for p in tmp_path.iterdir()] == ["0.json"]


def test_ranks_without_an_address_are_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(AhaError, match="torchrun --nproc-per-node"), ranks.joined("cpu"):
        raise AssertionError("there is nobody to meet")


# --- whole runs ------------------------------------------------------------------------------------------

SMALL = [
    "rl.steps=4", "rl.prompts_per_step=6", "rl.group_size=4", "rl.max_tokens=64", "rl.mini_batches=2",
    "rl.test_problems=6", "rl.test_samples=2", "rl.eval_every=2", "rl.eval_problems=4", "rl.eval_samples=2",
    "rl.save_every=2", "rl.train_problems=64", "rl.algorithm=grpo", "rl.algorithm.reference_every=2",
    "rl.dtype=float32",
]  # fmt: skip


def aha(folder, *words, size=2):
    command = ("-m", "aha", "run", "r1_zero", "--device", "cpu", "--plain", "--threads", "1", *words)
    return start_ranks(*command, size=size, folder=folder)


def rl_rows(folder):
    from aha.files import read_jsonl

    return read_jsonl(folder / "runs" / "zero" / "rl" / "metrics.jsonl")


def same_run(folder, other, steps=None):
    """The rollouts of the first step are the same; figures agree to rounding, as far as rounding lets them."""
    first = "runs/zero/rl/rollouts/step_00001.jsonl"
    texts = [[(r["text"], r["reward"]) for r in _read(place / first)] for place in (folder, other)]
    assert texts[0] == texts[1]
    for key in ("loss", "grad_norm", "reward"):
        assert rl_rows(folder)[0][key] == pytest.approx(rl_rows(other)[0][key], rel=1e-3, abs=1e-4)
    assert len(rl_rows(folder)) == len(rl_rows(other))


def _read(path):
    from aha.files import read_jsonl

    return read_jsonl(path)


@pytest.fixture(scope="module")
def one_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("one-run")
    [(code, out)] = ended(aha(folder, *SMALL, size=1))
    assert code == 0, out
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("layout", rank_jobs.LAYOUTS)
def test_a_run_on_two_ranks_and_its_resumption_on_one(one_run, tmp_path, layout):
    processes = aha(tmp_path, *SMALL, "--parallel", layout)
    steps = tmp_path / "runs/zero/rl/checkpoints/step-000002"
    while not steps.exists() and all(p.poll() is None for p in processes):
        time.sleep(0.05)
    processes[1].kill()
    (code, out), _ = ended(processes)
    assert code == 1, out
    assert "lost another rank" in out
    [(code, out)] = ended(aha(tmp_path, *SMALL, size=1))
    assert code == 0, out
    assert "Continuing after step 2" in out
    same_run(tmp_path, one_run)


@pytest.fixture(scope="module")
def one_pipeline(tmp_path_factory):
    folder = tmp_path_factory.mktemp("one-pipeline")
    return folder, rank_jobs.run_stages(folder, "auto")


@pytest.mark.slow
@pytest.mark.parametrize("layout", rank_jobs.LAYOUTS)
def test_pretraining_tuning_and_reward_models_on_two_ranks(one_pipeline, tmp_path, layout):
    ends = ended(start_ranks(HERE / "rank_jobs.py", tmp_path, layout, folder=tmp_path))
    assert [code for code, _ in ends] == [0, 0], ends
    one, summaries = one_pipeline
    check_stages(tmp_path, one, summaries)


def check_stages(folder, other, summaries):
    """Every stage's figures are those of one process to rounding, and its model is there."""
    for name, limit in {"base": 0.02, "tuned": 0.02, "scorer": 0.02}.items():
        here, there = (_read(place / "run" / name / "metrics.jsonl") for place in (folder, other))
        assert [row["step"] for row in here] == [row["step"] for row in there]
        for a, b in zip(here, there, strict=True):
            for key in {"loss", "validation_loss"} & b.keys():
                assert a[key] == pytest.approx(b[key], rel=limit), (name, a, b)
        assert (folder / "run" / name / "final" / "model.safetensors").exists()
        assert (
            json.loads((folder / "run" / name / "done.json").read_text())["summary"].keys()
            == summaries[name].keys()
        )


@pytest.mark.slow
def test_learning_on_two_ranks(tmp_path):
    """A short run on the embedded base: reward rises on two ranks as it does on one."""
    words = ("rl.steps=10", "rl.eval_every=0", "rl.test_problems=64", "rl.test_samples=4")
    curves = []
    for size in (1, 2):
        place = tmp_path / str(size)
        place.mkdir()
        ends = ended(aha(place, *words, size=size), timeout=3000)
        assert [code for code, _ in ends] == [0] * size, ends
        curves.append([row["reward"] for row in rl_rows(place)])
    one, two = curves
    assert two[0] == pytest.approx(one[0], abs=1e-6)
    gains = [sum(curve[-3:]) / 3 - sum(curve[:2]) / 2 for curve in curves]
    assert min(gains) > 0.1, curves
    assert abs(gains[0] - gains[1]) < 0.15, curves
