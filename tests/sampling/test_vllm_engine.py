"""vLLM for real, in its own environment: `pytest -m peers` where one is installed (aha bench peers install vllm)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import make_model
from torch.multiprocessing.reductions import rebuild_cuda_tensor

from aha import modeling
from aha.doctor import ground_truth
from aha.sampling.engine import Request
from aha.sampling.local.engine import LocalEngine
from aha.sampling.sampler import SamplingParams
from aha.sampling.vllm import process as vllm_process
from aha.sampling.vllm import senders as vllm_senders
from aha.sampling.vllm.engine import VllmEngine, checkpoint_weights
from aha.sampling.vllm.process import find_python
from aha.sampling.vllm.settings import VllmSettings
from aha.sampling.vllm.transfer import described, pieces, plain_handle
from aha.sampling.vllm.weights import WeightFile
from aha.sampling.vllm.wire import Join, WeightPiece
from aha.types import AhaError, Finish

pytestmark = pytest.mark.peers
SETTINGS = VllmSettings(kv_cache_gib=0.25)


def python():
    try:
        path = find_python()
    except AhaError as error:
        pytest.skip(str(error))
    return path


def start(model, tokenizer, **options):
    python()
    return VllmEngine(model, tokenizer, SETTINGS, max_rows=64, max_len=512, threads=1, **options)


@pytest.fixture(scope="module")
def tiny():
    return modeling.load_model("tiny", "cpu", torch.float32), modeling.load_tokenizer("tiny")


@pytest.fixture(scope="module")
def engine(tiny):
    with start(*tiny) as started:
        started.load_weights(checkpoint_weights(tiny[0]), 5)
        yield started


def requests(tokenizer, n=3, prompts=3):
    text = "User: use 24 7 3 to make 171. Assistant: <think> "
    return [Request(tokenizer.encode(text * 2)[i:], n, i) for i in range(prompts)]


def sample(engine, asked, seed=1, **params):
    sampled = dict(engine.generate(asked, SamplingParams(**({"max_tokens": 24} | params)), seed=seed))
    return [r for i in range(len(asked)) for r in sampled[i]]


def ids(rollouts):
    return [r.completion_ids.tolist() for r in rollouts]


def gap(model, rollouts, temperature=1.0):
    with ground_truth.own_attention(model):
        return np.concatenate(
            [ground_truth.completion_logprobs(model, r, temperature) - r.logprobs for r in rollouts]
        )


@pytest.mark.parametrize("temperature", [1.0, 0.7, 1.3])
def test_logprobs_are_those_of_the_distribution_that_was_sampled(engine, tiny, temperature):
    rollouts = sample(engine, requests(tiny[1]), temperature=temperature)
    assert np.abs(gap(tiny[0], rollouts, temperature)).max() < 1e-3
    assert {r.policy_version for r in rollouts} == {5}


def test_greedy_takes_the_likeliest_token(engine, tiny):
    asked = requests(tiny[1], n=1)
    rollouts = sample(engine, asked, temperature=0.0)
    assert np.abs(gap(tiny[0], rollouts)).max() < 1e-3
    assert ids(rollouts) == ids(sample(LocalEngine(*tiny), asked, temperature=0.0))


@pytest.mark.parametrize("cut", [{"top_p": 0.7}, {"top_k": 4}, {"min_p": 0.1}, {"top_k": 6, "top_p": 0.8}])
def test_truncated_distributions_are_renormalised(engine, tiny, cut):
    off = total = 0
    with ground_truth.own_attention(tiny[0]), torch.no_grad():
        for r in sample(engine, requests(tiny[1]), temperature=1.3, **cut):
            rows = ground_truth.logits(tiny[0], np.concatenate([r.prompt_ids, r.completion_ids]))
            for row, token, logprob in zip(
                rows[len(r.prompt_ids) - 1 : -1].numpy(), r.completion_ids, r.logprobs, strict=True
            ):
                off += not abs(ground_truth.restricted(row, 1.3, **cut)[token] - logprob) < 1e-3
                total += 1
    assert off <= 0.01 * total, (off, total)


def test_seeds_repeat_and_streams_differ(engine, tiny):
    asked = [Request(requests(tiny[1])[0].prompt_ids, 4, key) for key in (0, 1)]
    first = sample(engine, asked, seed=1, temperature=2.0, max_tokens=40)
    assert ids(first) == ids(sample(engine, asked, seed=1, temperature=2.0, max_tokens=40))
    other = sample(engine, asked, seed=2, temperature=2.0, max_tokens=40)
    with pytest.raises(AhaError, match="up to 2, not 20"):
        sample(engine, asked, temperature=20.0)
    assert len({tuple(i) for i in ids(first) + ids(other)}) == 16


def test_ends_and_texts_are_those_of_the_local_engine(engine, tiny):
    eos = tiny[1].eos_token_id
    rollouts = sample(engine, requests(tiny[1], n=8), max_tokens=48)
    assert {r.finish for r in rollouts} == {Finish.STOP, Finish.LENGTH}
    for r in rollouts:
        assert len(r.logprobs) == len(r.completion_ids) <= 48
        assert (r.completion_ids[-1] == eos) == (r.finish is Finish.STOP)
        assert eos not in r.completion_ids[:-1]
        body = r.completion_ids[:-1] if r.finish is Finish.STOP else r.completion_ids
        assert r.text == tiny[1].decode(body.tolist(), skip_special_tokens=False)
        assert (r.finish is Finish.STOP) or len(r.completion_ids) == 48


def test_stop_strings_cut_the_text_and_end_the_completion(engine, tiny):
    asked = requests(tiny[1], n=4)
    free = sample(engine, asked, max_tokens=48)
    cut = sample(engine, asked, max_tokens=48, stop=("=",))
    assert any("=" in r.text for r in free)
    for a, b in zip(free, cut, strict=True):
        assert "=" not in b.text
        assert b.text == a.text.partition("=")[0]
        if "=" in a.text:
            assert b.finish is Finish.STOP
            assert "=" in tiny[1].decode(b.completion_ids.tolist())
            assert len(b.completion_ids) <= len(a.completion_ids)


def test_groups_come_as_they_finish_and_closing_cancels_the_rest(engine, tiny):
    asked = [*requests(tiny[1], n=2, prompts=1), *requests(tiny[1], n=40, prompts=3)[1:]]
    told = []
    stream = engine.generate(asked, SamplingParams(max_tokens=300), seed=3, progress=told.append)
    index, group = next(stream)
    assert (index, len(group)) == (0, 2)
    assert told == [sum(len(r.completion_ids) for r in group)]
    started = time.perf_counter()
    stream.close()
    assert time.perf_counter() - started < 60
    again = sample(engine, asked[:1], seed=3, max_tokens=300)
    assert len(ids(again)) == 2  # the next call finds nothing of the one before
    assert engine.version == 5


def test_a_later_call_ends_the_one_before(engine, tiny):
    asked = requests(tiny[1], n=8)
    first = engine.generate(asked, SamplingParams(max_tokens=200), seed=3)
    next(first)
    assert len(sample(engine, asked)) == 24
    with pytest.raises(AhaError, match="one call at a time"):
        next(first)


def test_new_weights_are_sampled_from_and_old_prefixes_forgotten(engine, tiny):
    model, tokenizer = tiny
    changed = modeling.load_model("tiny", "cpu", torch.float32)
    torch.manual_seed(0)
    with torch.no_grad():
        for p in changed.parameters():
            if p.dim() > 1:
                p.add_(torch.randn_like(p) * 0.2 * p.abs().mean())
    asked = requests(tokenizer)
    assert min(len(r.prompt_ids) for r in asked) > 33  # more than a block: the prefix cache has it
    sample(engine, asked)
    proof = engine.load_weights(checkpoint_weights(changed), 6)
    assert proof.tensors == len(checkpoint_weights(changed))
    assert proof.hidden == 0
    rollouts = sample(engine, asked)
    assert np.abs(gap(changed, rollouts)).max() < 1e-3
    assert np.abs(gap(model, rollouts)).mean() > 0.02
    assert {r.policy_version for r in rollouts} == {6}
    back = engine.load_weights(checkpoint_weights(model), 5)
    assert back.hash != proof.hash
    assert np.abs(gap(model, sample(engine, asked))).max() < 1e-3


def test_every_altered_tensor_is_noticed_where_it_is_held(engine, tiny):
    sound = checkpoint_weights(tiny[0])
    try:
        for name in ("model.embed_tokens.weight", "model.layers.1.self_attn.k_proj.weight",
                     "model.layers.2.mlp.up_proj.weight", "model.norm.weight"):  # fmt: skip
            altered = sound[name].detach().clone()
            altered.view(-1)[7] = torch.nextafter(altered.view(-1)[7], torch.tensor(9.0))
            engine.deliver(sound | {name: altered}, 6)
            with pytest.raises(AhaError, match=f"1 of {len(sound)} tensors differ, first '{name}'"):
                engine.prove(sound)  # asks the model itself
            with pytest.raises(AhaError, match="no weights that were proven"):
                sample(engine, requests(tiny[1]))
    finally:
        engine.load_weights(sound, 5)
    assert engine.prove(sound).version == 5


def test_missing_and_unknown_tensors_are_noticed(engine, tiny):
    sound = checkpoint_weights(tiny[0])
    hashes = engine.deliver(sound, 5)
    with pytest.raises(AhaError, match="'another'"):
        engine.compare(sound | {"another": torch.zeros(2)}, hashes)
    engine.load_weights(sound, 5)


class Broken(vllm_senders.HostSender):
    """A way to the GPU that breaks: here, or at the other side, after some of the weights."""

    def __init__(self, here):
        super().__init__()
        self.here, self.closed = here, False

    def pieces(self, tensors):
        names = list(tensors)
        yield from super().pieces({name: tensors[name] for name in names[: len(names) // 2]})
        if self.here:
            raise RuntimeError("CUDA error: out of memory")
        yield WeightPiece([], [], [], [], "/nowhere", [])

    def close(self):
        self.closed = True
        super().close()


@pytest.mark.parametrize("here", [True, False])
def test_what_breaks_half_way_goes_through_host_memory_then(engine, tiny, here, caplog, monkeypatch):
    sound, broken = checkpoint_weights(tiny[0]), Broken(here)
    noisy = {name: t.detach() + 1 for name, t in sound.items()}
    engine._sender, engine.transfer = broken, "ipc"
    assert engine.load_weights(noisy, 8).tensors == len(sound)
    assert engine.transfer == "host"
    assert broken.closed
    assert f"By ipc: {'RuntimeError: CUDA' if here else 'FileNotFoundError'}" in caplog.text
    engine._sender = Broken(here)  # and where that was host memory itself nothing is left
    monkeypatch.setattr(engine, "close", lambda: None)
    with pytest.raises(AhaError, match="could not be given the weights by host"):
        engine.deliver(sound, 9)
    with pytest.raises(AhaError, match="no weights that were proven"):
        sample(engine, requests(tiny[1]))
    engine._sender = None
    engine.load_weights(sound, 5)
    assert np.abs(gap(tiny[0], sample(engine, requests(tiny[1])))).max() < 1e-3


class WithoutGpu(vllm_senders.HostSender):
    """vLLM's own engine for IPC, where there is no GPU to open anything on."""

    def join(self, process):
        vllm_senders.ask(process, Join("ipc", "", 0))

    def pieces(self, tensors):
        tensor, kind = torch.zeros(8, dtype=torch.uint8), (None, torch.uint8, 0)
        handle = (torch.Tensor, (64,), (1,), 0, *kind, b"h", 64, 0, False, b"c", 0, b"e", True)
        yield described({"x": tensor}, [plain_handle("gpu", (rebuild_cuda_tensor, handle))])


def test_vllms_own_ipc_is_taken_up_fails_without_a_gpu_and_is_left_again(engine, tiny, caplog, monkeypatch):
    sound, make = checkpoint_weights(tiny[0]), vllm_senders.make
    engine._sender, engine.transfer = None, "ipc"
    monkeypatch.setattr(vllm_senders, "make", lambda way, *a: WithoutGpu() if way == "ipc" else make(way, *a))
    noisy = {name: t.detach() + 1 for name, t in sound.items()}
    assert engine.load_weights(noisy, 8).tensors == len(sound)
    assert engine.transfer == "host"
    assert "through host memory. By ipc:" in caplog.text
    assert "CUDA" in caplog.text
    engine.load_weights(sound, 5)
    assert np.abs(gap(tiny[0], sample(engine, requests(tiny[1])))).max() < 1e-3


class Parts(vllm_senders.HostSender):
    """A file for each layer or so. vLLM keeps what it was given of a layer until all of it has come."""

    def pieces(self, tensors):
        self.parcels = []
        for piece in pieces(tensors, 1 << 16):
            self.parcels.append(WeightFile())
            self.parcels[-1].write(piece)
            yield WeightPiece([], [], [], [], self.parcels[-1].path, [])


def test_weights_come_in_pieces(engine, tiny):
    sound = checkpoint_weights(tiny[0])
    engine._sender.close()
    engine._sender = Parts()
    changed = {name: t.detach() * 1.01 for name, t in sound.items()}
    for weights, version in ((changed, 6), (sound, 5)):
        proof = engine.load_weights(weights, version)
        assert len(engine._sender.parcels) > 3
        assert (proof.tensors, proof.hidden) == (len(sound), 0)
    assert np.abs(gap(tiny[0], sample(engine, requests(tiny[1])))).max() < 1e-3


def test_a_way_that_cannot_be_is_refused_before_the_model_is_made(tiny):
    python()
    engine = VllmEngine(*tiny, VllmSettings(weight_transfer="ipc"), threads=1)
    with engine, pytest.raises(AhaError, match=r"vllm\.transfer=ipc: the policy is on a CPU"):
        engine.wait()


def test_vllms_own_engines_take_what_we_send(tmp_path):
    (tmp_path / "aha").symlink_to(vllm_process.PACKAGE, target_is_directory=True)
    job = Path(__file__).parent / "vllm_own_engines.py"
    env = vllm_process.environment(tmp_path, 1)
    done = subprocess.run([python(), "-P", job], env=env, capture_output=True, text=True, timeout=300)
    assert "both took everything" in done.stdout, done.stderr


def test_prompts_without_room_are_refused(engine, tiny):
    with pytest.raises(AhaError, match="exceeds the model's context of 512"):
        sample(engine, [Request([5] * 500, 1, 0)], max_tokens=64)
    with pytest.raises(AhaError, match="is empty"):
        sample(engine, [Request([], 1, 0)])


def test_a_death_in_the_middle_is_reported(tiny):
    with start(*tiny) as engine:
        with pytest.raises(AhaError, match="no weights that were proven"):
            sample(engine, requests(tiny[1]))
        engine.load_weights(checkpoint_weights(tiny[0]), 0)
        stream = engine.generate(requests(tiny[1], n=32), SamplingParams(max_tokens=400), seed=1)
        os.kill(engine.pid, signal.SIGKILL)
        with pytest.raises(AhaError, match="killed by SIGKILL") as caught:
            list(stream)
        assert "The end of its log" in str(caught.value)


@pytest.mark.parametrize("family", ["qwen2", "qwen3"])
def test_fused_and_packed_layouts_are_read_back_in_bf16(family, tokenizer):
    shape = {"hidden_size": 64, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 32,
             "tie_word_embeddings": False, "initializer_range": 0.05}  # fmt: skip
    model = make_model(tokenizer, dtype=torch.bfloat16, family=family, **shape)
    with start(model, tokenizer) as engine:
        proof = engine.load_weights(checkpoint_weights(model), 1)
        assert proof.hidden == 0
        rollouts = sample(engine, requests(tokenizer))
        assert np.abs(gap(model, rollouts)).mean() < 0.03


# --- whole runs -----------------------------------------------------------------------------------------------

SMALL = [
    "rl.engine=vllm", "rl.vllm.kv_cache_gib=0.25", "rl.steps=3", "rl.prompts_per_step=4", "rl.group_size=4",
    "rl.max_tokens=48", "rl.max_tokens_schedule=[]", "rl.mini_batches=2", "rl.test_problems=4",
    "rl.test_samples=2", "rl.eval_every=0", "rl.save_every=1", "rl.train_problems=64",
]  # fmt: skip


def run(folder, *words):
    python()
    command = [sys.executable, "-m", "aha.cli", "zero", "--plain", "--threads", "1", *SMALL, *words]
    return subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip


def test_a_run_trains_is_interrupted_and_continues(tmp_path):
    process = run(tmp_path)
    metrics = tmp_path / "runs/zero/rl/metrics.jsonl"
    while process.poll() is None and not metrics.exists():
        time.sleep(0.05)
    assert process.poll() is None, process.communicate()[0].decode()
    workers = _workers_of(process.pid)
    assert len(workers) == 1
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=300)
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{pid}").exists() for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)
    process = run(tmp_path)
    output = process.communicate(timeout=900)[0].decode()
    assert process.returncode == 0, output
    rows = [json.loads(line) for line in metrics.read_text().splitlines()]
    assert [r["step"] for r in rows] == [1, 2, 3]
    for row in rows:
        assert row["sampler_mismatch/mean"] < 0.03
        assert row["time/weight_sync"] >= 0
        assert row["sampling/tokens_per_second"] > 0
        assert 0.9 < row["importance/mean"] <= 1.1
    settings = json.loads((tmp_path / "runs/zero/config.json").read_text())["stages"]["rl"]
    assert settings["algorithm"]["importance"] == "truncated"


def test_two_ranks_with_parts_of_the_weights_have_one_vllm(tmp_path):
    process = run(tmp_path, "--ranks", "2", "--parallel", "sharded", "rl.steps=2")
    output = process.communicate(timeout=900)[0].decode()
    assert process.returncode == 0, output
    assert "quick checks passed" in output
    metrics = tmp_path / "runs/zero/rl/metrics.jsonl"
    rows = [json.loads(line) for line in metrics.read_text().splitlines()]
    assert [r["step"] for r in rows] == [1, 2]
    for row in rows:
        assert 0 < row["sampler_mismatch/mean"] < 0.03
        assert row["time/weight_sync"] > 0


def _workers_of(pid):
    weights = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid and b"vllm.worker" in (status.parent / "cmdline").read_bytes():
            weights.append(int(status.parent.name))
    return weights


def test_the_doctor_examines_the_engine(tmp_path, capsys):
    python()
    from aha.cli import main

    only = [f"--only={name}" for name in ("logprobs", "weights", "seeds", "engine_update", "engine_proof")]
    words = ["doctor", "--engine", "vllm", "--json", "--threads", "1", "--runs-dir", str(tmp_path), *only]
    assert main([*words, "rl.vllm.kv_cache_gib=0.25"]) == 0, capsys.readouterr().out
    findings = json.loads(capsys.readouterr().out)["findings"]
    assert {f["name"] for f in findings if f["ok"]} == {o.partition("=")[2] for o in only}
