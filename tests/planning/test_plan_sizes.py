"""What a run would take is counted for the size of its own model, wherever the speeds are from."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file

from aha.planning import dry_run as plan
from aha.planning import throughput as plan_time
from aha.planning.throughput import Speeds
from aha.recipes import get_recipe
from aha.stages.rl import RL

BIG = "Qwen/Qwen2.5-1.5B"


def earlier(folder, name, size, speed):
    stage = folder / name / "rl"
    (stage / "final").mkdir(parents=True)
    save_file({"x": torch.zeros(size)}, stage / "final" / "model.safetensors")
    row = {"reward": 1, "tokens_per_second": speed, "step_time": 2, "time/sampling": 1, "time/training": 1}
    row |= {"completions/mean_length": 50, "max_tokens": 100}
    (stage / "metrics.jsonl").write_text(json.dumps(row) + "\n")


def test_a_model_that_is_not_here_is_counted_by_its_published_shape():
    assert plan_time.parameters_of(BIG) == 1_543_714_304
    assert plan_time.parameters_of("nobody/no-such") is None


def test_time_and_size_are_of_the_model_asked_for(tmp_path):
    earlier(tmp_path, "before", 1_000_000, 500.0)
    known = plan_time.of_runs(tmp_path)
    assert (known.sampling, known.training, known.parameters) == (1000, 1000, 1e6)
    (stage,) = get_recipe("r1_zero").build(model=BIG)
    text = plan.plan([stage], tmp_path / "new")
    work = stage.work()
    hours = (work["sampled"] + work["trained"]) / 1000 * 1543.714304 / 3600
    assert f"at most {hours:.1f} h" in text
    assert "0 B of checkpoints" not in text
    memory, disk = plan.bytes_of(stage)
    assert disk == pytest.approx(36 * 1_543_714_304)
    assert memory == pytest.approx(24 * 1_543_714_304)
    assert "of 1,000,000 parameters" in text


def test_runs_of_other_sizes_are_brought_to_one(tmp_path):
    earlier(tmp_path, "small", 1000, 400.0)
    earlier(tmp_path, "large", 3000, 100.0)
    known = plan_time.of_runs(tmp_path)
    assert known.parameters == 2000
    assert known.sampling == 2 * (0.5 * 400 + 1.5 * 100) / 2


def test_seconds_grow_with_the_model():
    speeds = Speeds(80, 40, 0.25, parameters=100)
    work = {"sampled": 800.0, "trained": 400.0}
    assert speeds.seconds(work) == speeds.seconds(work, 100) == (5, 20)
    assert speeds.seconds(work, 300) == (15, 60)
    assert Speeds(80, 40, 0.25).seconds(work, 300) == (5, 20)


def test_a_stage_counts_through_to_its_base():
    assert plan_time.parameters_of(RL(name="rl", model=BIG)) == 1_543_714_304
