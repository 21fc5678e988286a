"""A stage takes up what its settings ask for as far as there is memory, says so, and is examined by the same rule."""

from __future__ import annotations

import contextlib
import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import make_model
from transformers import AutoModelForCausalLM

from aha import hardware, modeling
from aha.checkpoints import room as in_folder
from aha.doctor import memory as doctors
from aha.doctor.full.checkup import plan_of
from aha.planning import configs, fit, memory, published
from aha.planning import fitted as room
from aha.planning.shapes import from_config
from aha.planning.workload import from_stage
from aha.runs.pipeline import Context
from aha.stages.rl import RL
from aha.training import checkpoint
from aha.training.batching import pack, token_mean
from aha.training.frozen import frozen_copy
from aha.training.lora import Adapters, LoraSettings
from aha.training.losses import negative_log_likelihood
from aha.training.policy import OptimizerConfig, Policy
from aha.types import AhaError, Example


def stage(**changes):
    common = {
        "name": "rl",
        "max_tokens": 128,
        "max_prompt_tokens": 64,
        "max_tokens_per_batch": 8192,
        "dtype": "float32",
    }
    return RL.model_validate(common | changes)


def fitted(config, model, free, tmp_path):
    """The settings that are taken, and what was told: by the console, or at once where it does not fit."""
    told, at_once = [], io.StringIO()

    class Console:
        note = told.append

    with contextlib.redirect_stderr(at_once):
        taken, tell = room.fitted(config, Context(tmp_path), model, free, "here")
    tell(Console())
    return taken, (told or [at_once.getvalue()])[0]


def held(config, model):
    """Bytes that are held for each parameter, whatever the passes take."""
    weights = memory.held_weights(
        configs.shape_of_model(model, ""), replace(from_stage(config), number_bytes=4)
    )
    return sum(weights.values())


def peak(config, model, whole):
    return fit.fit(
        configs.shape_of_model(model, ""), from_stage(config), 1e18, whole=whole, tensors_only=True
    ).memory.peak


@pytest.fixture
def whole(monkeypatch):
    """A machine of 1 GB."""
    monkeypatch.setattr(hardware, "memory_bytes", lambda device: 10**9)
    return 10**9


def test_with_room_the_settings_stay(model, tmp_path, whole):
    config = stage()
    taken, told = fitted(config, model, 1e12, tmp_path)
    assert taken == config
    assert "passes of up to 8,192 tokens" in told


def test_the_first_that_fits_is_taken_and_told(model, tmp_path, whole):
    config, again = stage(), {"gradient_checkpointing": True}
    asked, half, recomputed = (
        peak(config.model_copy(update=more), model, whole)
        for more in ({}, {"max_tokens_per_batch": 4096}, again)
    )
    assert half < asked
    taken, told = fitted(config, model, (half + asked) / 2, tmp_path)
    assert (taken.max_tokens_per_batch, taken.gradient_checkpointing, taken.max_num_seqs) == (
        4096,
        False,
        512,
    )
    assert "passes of 4,096 tokens (at most 8,192 asked for)" in told
    assert config.max_tokens_per_batch == 8192, "the stage itself stays what it is"
    small = peak(config.model_copy(update=again | {"max_tokens_per_batch": 192}), model, whole)
    taken, told = fitted(config, model, 1.001 * small, tmp_path)
    assert taken.gradient_checkpointing
    assert "layers computed again" in told
    assert recomputed > small


def test_too_little_is_said_and_goes_on_with_the_least(model, tmp_path, whole):
    taken, told = fitted(stage(), model, held(stage(), model), tmp_path)
    assert told.startswith("warning: ")
    assert "the system may end this run" in told
    assert (taken.max_tokens_per_batch, taken.max_num_seqs, taken.gradient_checkpointing) == (
        128 + 64,
        fit.FEW_ROWS,
        True,
    )


def test_what_cannot_be_is_refused_with_what_would_be_enough(model, tmp_path, whole, monkeypatch):
    monkeypatch.setattr(hardware, "swap_bytes", lambda device: 0)
    config = stage(algorithm={"preset": "grpo"})
    with pytest.raises(AhaError, match=r"before the first step \(weights .*Adam moments .*reference model"):
        room.fitted(config, Context(tmp_path), model, 0.89 * held(config, model), "here")
    with pytest.raises(AhaError, match="smaller model"):
        room.fitted(config, Context(tmp_path), model, 1000, "here")


@pytest.mark.parametrize(
    ("free", "way"),
    [
        (8e9, r"With rl\.lora_rank=16 it takes"),
        (1e9, "smaller"),
    ],
)
def test_the_first_change_that_is_enough_is_named(free, way, model, tmp_path, monkeypatch):
    shape = from_config(published.PUBLISHED["Qwen/Qwen2.5-0.5B"], "Qwen/Qwen2.5-0.5B")
    monkeypatch.setattr(configs, "shape_of_model", lambda model, name: shape)
    monkeypatch.setattr(hardware, "memory_bytes", lambda device: int(free))
    monkeypatch.setattr(hardware, "swap_bytes", lambda device: 0)
    with pytest.raises(AhaError, match=way):
        room.fitted(stage(algorithm={"preset": "grpo"}), Context(tmp_path), model, free, "here")


@pytest.mark.parametrize(
    ("dtype", "way"), [(torch.float32, "--dtype bfloat16"), (torch.bfloat16, "End what else")]
)
def test_weights_without_memory_for_them_are_refused_before_they_are_read(dtype, way, monkeypatch):
    count = in_folder.numbers(modeling.EMBEDDED["tiny"])
    assert count == sum(p.numel() for p in modeling.load_model("tiny").parameters())
    monkeypatch.setattr(hardware, "free_bytes", lambda device: dtype.itemsize * count - 1)
    monkeypatch.setattr(hardware, "swap_bytes", lambda device: 0)
    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", None)  # nothing is read
    with pytest.raises(AhaError, match=r"The weights of 'tiny' take 0\.0 GB, and .*" + way):
        modeling.load_model("tiny", "cpu", dtype)


def test_the_examination_counts_as_the_stage_did(model, tmp_path, whole):
    """What was fitted into the room needs no more than it, weights and masters included."""
    config = stage(algorithm={"preset": "grpo"})
    for free in (held(config, model), 3e7, 6e7, 2e8, 1e9):
        taken, told = fitted(config, model, free, tmp_path)
        work = from_stage(taken)
        asked = doctors.needs(model, work, built=False).memory
        present = 8 * sum(p.numel() for p in model.parameters())  # weights and masters
        estimate = fit.fit(
            configs.shape_of_model(model, ""), work, 1e18, whole=whole, tensors_only=True
        ).memory
        assert sum(asked.values()) + present == pytest.approx(estimate.peak, rel=0.001)
        assert (sum(asked.values()) + present <= free) == (not told.startswith("warning"))
        assert plan_of(taken).gradient_checkpointing == taken.gradient_checkpointing


def test_a_run_that_continues_asks_for_no_second_optimizer(model, tmp_path):
    """Its moments came with the checkpoint, and took their memory before anybody counted."""
    policy = Policy(model, OptimizerConfig(lr=1e-4))
    assert Policy(model).optimizer_bytes() == 0, "one that is not trained has no optimizer"
    work, count = from_stage(stage()), sum(p.numel() for p in model.parameters())
    asked = [doctors.needs(model, work, optimizer=policy.optimizer_bytes()).memory]
    policy.zero_grad()
    policy.step()
    continued = Policy(model, OptimizerConfig(lr=1e-4))
    continued.load_state(policy.state())
    asked.append(doctors.needs(model, work, optimizer=continued.optimizer_bytes()).memory)
    assert [parts["Adam moments"] for parts in asked] == [8 * count, 0]
    assert sum(asked[0].values()) - sum(asked[1].values()) == 8 * count


def test_checkpoints_of_adapters_hold_their_state_alone(tokenizer, tmp_path):
    pytest.importorskip("peft")
    asked = {}
    for rank in (0, 2):
        model = make_model(tokenizer)
        config = stage(lora_rank=rank, algorithm={"preset": "grpo"})
        adapters = Adapters(model, LoraSettings(rank), 0) if rank else None
        policy = Policy(model, OptimizerConfig(lr=1e-4), adapters)
        policy.zero_grad()
        policy.step()
        reference = frozen_copy(policy)
        weights = reference.weights()
        extra = {"reference": reference.model.state_dict() if weights is None else weights}
        folder = checkpoint.save(tmp_path / str(rank), 1, policy, tokenizer, {}, extra)
        written = sum(f.stat().st_size for f in folder.iterdir() if f.suffix in (".safetensors", ".pt"))
        asked[rank] = doctors.needs(model, from_stage(config)).disk["checkpoints"] / (checkpoint.KEEP + 1)
        assert written == pytest.approx(asked[rank], rel=0.1 if rank == 0 else 0.5)
    assert asked[2] < 0.6 * asked[0]


def test_a_shape_that_nobody_can_tell_keeps_its_settings(model, tmp_path):
    class Odd:
        def get_text_config(self, decoder):
            raise AttributeError

    model.config = Odd()
    config = stage()
    taken, tell = room.fitted(config, Context(tmp_path), model, 1000, "here")
    assert taken is config
    tell(None)


def test_cpus_leave_something_to_others(monkeypatch):
    monkeypatch.setattr(hardware, "free_bytes", lambda device: 1000)
    assert room.free(torch.device("cpu")) == 900
    assert room.free(torch.device("cuda")) == 1000


def test_a_reference_beside_adapters_shares_the_model(tokenizer):
    pytest.importorskip("peft")
    model = make_model(tokenizer)
    policy = Policy(model, OptimizerConfig(lr=0.05), Adapters(model, LoraSettings(4), 0))
    ids = np.random.default_rng(0).integers(2, len(tokenizer), (3, 12))
    (batch,) = pack([Example(i, np.arange(12) > 0, np.ones(12)) for i in ids], token_mean, 64)
    before = policy.logprobs(batch)
    reference = frozen_copy(policy)
    assert reference.model is policy.model
    kept = {name: value.clone() for name, value in reference.weights().items()}
    assert kept
    assert all("lora" in name for name in kept)
    for _ in range(3):
        policy.backward(batch, negative_log_likelihood)
        policy.step(0.05)
    after = policy.logprobs(batch)
    assert np.abs(after - before).max() > 0.01
    assert (reference.logprobs(batch) == before).all()
    assert (policy.logprobs(batch) == after).all(), "and the policy is as it was"
    later = frozen_copy(policy)
    later.load_weights(kept)
    assert (later.logprobs(batch) == before).all()
