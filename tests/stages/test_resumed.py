"""Runs that were stopped and go on give the numbers of runs that were not; what is damaged is told."""

from __future__ import annotations

import os
import shutil
import stat

import pytest

from aha.files import new_folder, read_jsonl
from aha.runs.pipeline import Context
from aha.stages.rl import RL
from aha.types import AhaError

TIMED = ("time", "tokens_per_second", "seconds")


def train(folder, **changes):
    settings = {
        "name": "rl", "model": "tiny", "task": "countdown", "template": "r1_zero", "algorithm": "grpo_no_kl",
        "steps": 4, "prompts_per_step": 6, "group_size": 4, "max_tokens": 72, "lr": 1e-4, "train_problems": 64,
        "test_problems": 2, "test_samples": 1, "eval_every": 0, "save_every": 2, "precision": "float32",
        "rewards": {"accuracy": 1.0, "format": 0.2},
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    context = Context(folder=folder, device="cpu", threads=1, plain=True, doctor=False)
    return RL.model_validate(settings | changes).run(context)


def figures(folder):
    return [
        {k: v for k, v in row.items() if not any(word in k for word in TIMED)}
        for row in read_jsonl(folder / "metrics.jsonl")
    ]


def stop_at(monkeypatch, step):
    update = RL._update

    def fails(self, s, at, examples):
        if at == step:
            raise AhaError("stopped")
        return update(self, s, at, examples)

    monkeypatch.setattr(RL, "_update", fails)
    return lambda: monkeypatch.setattr(RL, "_update", update)


@pytest.mark.parametrize(
    ("algorithm", "rewards"),
    [
        ({"preset": "grpo_no_kl", "replay_share": 0.5, "imitation": 0.1}, {"accuracy": 1.0, "format": 0.2}),
        ({"preset": "grpo_no_kl", "replay_share": 0.5, "process": True}, {"accuracy": 1.0, "equations": 0.3}),
    ],
    ids=["imitation", "process rewards"],
)
def test_what_is_replayed_is_all_there_after_a_resume(tmp_path, monkeypatch, algorithm, rewards):
    given = {"algorithm": algorithm, "rewards": rewards}
    train(tmp_path / "whole", **given)
    go_on = stop_at(monkeypatch, 4)
    with pytest.raises(AhaError, match="stopped"):
        train(tmp_path / "stopped", **given)
    go_on()
    train(tmp_path / "stopped", **given)
    assert figures(tmp_path / "stopped") == figures(tmp_path / "whole")
    assert len({row["loss"] for row in figures(tmp_path / "whole")}) > 1
    weights = [(tmp_path / name / "final/model.safetensors").read_bytes() for name in ("whole", "stopped")]
    assert weights[0] == weights[1]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    train(folder, steps=1, max_tokens=8, prompts_per_step=2)
    return folder


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "state.pt is empty"),
        (b"no checkpoint\n", "state.pt is damaged"),
        (b"\x80\x02}q\x00.", "state.pt is damaged"),
    ],
    ids=["empty", "text", "another pickle"],
)
def test_a_damaged_checkpoint_is_named_with_the_way_out(saved, tmp_path, content, said):
    folder = tmp_path / "rl"
    shutil.copytree(saved, folder)
    (folder / "checkpoints/step-000001/state.pt").write_bytes(content)
    with pytest.raises(
        AhaError, match=rf"step-000001 cannot be continued: {said}.*from the stage's beginning"
    ):
        train(folder, steps=2, max_tokens=8, prompts_per_step=2)


def test_files_have_the_modes_of_the_umask(saved, tmp_path):
    known = os.umask(0o022)
    os.umask(known)
    for file in saved.rglob("*"):
        if file.is_file():
            assert stat.S_IMODE(file.stat().st_mode) == 0o666 & ~known, file
    before = os.umask(0o027)
    try:
        with new_folder(tmp_path / "made") as place:
            (place / "weights").write_bytes(b"0")
            (place / "weights").chmod(0o600)
            (place / "tool").write_text("")
            (place / "tool").chmod(0o700)
    finally:
        os.umask(before)
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in (tmp_path / "made").iterdir()}
    assert modes == {"weights": 0o640, "tool": 0o740}
