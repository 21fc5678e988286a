"""Runs that were stopped and go on give the numbers of runs that were not; what is damaged is told."""

from __future__ import annotations

import os
import shutil
import signal
import stat

import pytest

from aha.cli import main
from aha.files import new_folder, read_jsonl
from aha.runs import folders, pipeline
from aha.runs.interrupts import Interrupted
from aha.runs.pipeline import Context, reached
from aha.stages.rl import RL
from aha.stages.rl.session import RLSession
from aha.types import AhaError

TIMED = ("time", "tokens_per_second", "seconds")


SETTINGS = {
    "name": "rl", "model": "tiny", "task": "countdown", "prompt": "r1_zero", "algorithm": "grpo_no_kl",
    "steps": 4, "prompts_per_step": 6, "group_size": 4, "max_tokens": 72, "lr": 1e-4, "train_problems": 64,
    "test_problems": 2, "test_samples": 1, "eval_every": 0, "save_every": 2, "dtype": "float32",
    "rewards": {"accuracy": 1.0, "format": 0.2},
}  # fmt: skip


def train(folder, **changes):
    folder.mkdir(parents=True, exist_ok=True)
    context = Context(folder=folder, device="cpu", threads=1, plain=True)
    return RL.model_validate(SETTINGS | changes).run(context)


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
        ({"preset": "grpo_no_kl", "replay_ratio": 0.5, "nll_coef": 0.1}, {"accuracy": 1.0, "format": 0.2}),
        ({"preset": "grpo_no_kl", "replay_ratio": 0.5, "process": True}, {"accuracy": 1.0, "equations": 0.3}),
    ],
    ids=["imitation", "process rewards"],
)
def test_what_is_replayed_is_all_there_after_a_resume(tmp_path, monkeypatch, algorithm, rewards):
    options = {"algorithm": algorithm, "rewards": rewards}
    train(tmp_path / "whole", **options)
    go_on = stop_at(monkeypatch, 4)
    with pytest.raises(AhaError, match="stopped"):
        train(tmp_path / "stopped", **options)
    go_on()
    train(tmp_path / "stopped", **options)
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


# --- Ctrl-C ------------------------------------------------------------------------------------------------


def strike(monkeypatch, step, *numbers):
    """The signals come while the policy is updated in a step."""
    update = RL._update

    def struck(self, s, at, examples):
        if at == step:
            for number in numbers:
                signal.raise_signal(number)
        return update(self, s, at, examples)

    monkeypatch.setattr(RL, "_update", struck)
    return lambda: monkeypatch.setattr(RL, "_update", update)


@pytest.fixture
def handlers():
    """Those of a program that a shell started, in the foreground."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    after = {number: signal.getsignal(number) for number in before}
    for number, handler in before.items():
        signal.signal(number, handler)
    assert after == {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}, "given back"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    train(folder, save_every=100)
    return folder


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_step_that_is_interrupted_is_saved(whole, tmp_path, monkeypatch, capfd, handlers, number, code):
    go_on = strike(monkeypatch, 3, number)
    with pytest.raises(
        Interrupted, match=r"after step 3, which is saved\. Give the same command again"
    ) as stopped:
        train(tmp_path / "stopped", save_every=100)
    assert stopped.value.code == code
    assert "step 3 is finished and saved first" in capfd.readouterr().err
    assert reached(tmp_path / "stopped") == 3
    go_on()
    train(tmp_path / "stopped", save_every=100)
    assert figures(tmp_path / "stopped") == figures(whole)


def test_a_second_time_it_ends_at_once_and_says_what_will_be_repeated(tmp_path, monkeypatch, handlers):
    strike(monkeypatch, 4, signal.SIGINT, signal.SIGINT)
    with pytest.raises(Interrupted, match="at once: steps 3 to 4 will be done again") as stopped:
        train(tmp_path, save_every=2)
    assert stopped.value.code == 130
    assert reached(tmp_path) == 2


def test_an_evaluation_begins_from_a_checkpoint(tmp_path, monkeypatch, handlers):
    evaluation = RLSession.evaluation

    def interrupted(self, name, step):
        if (name, step) == ("step", 2):
            signal.raise_signal(signal.SIGINT)
        return evaluation(self, name, step)

    monkeypatch.setattr(RLSession, "evaluation", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, save_every=100, eval_every=2, eval_problems=2, eval_samples=1)
    assert reached(tmp_path) == 2


def test_the_command_says_what_is_saved(monkeypatch, capsys):
    def ends(args):
        raise Interrupted("Interrupted after step 3, which is saved.", signal.SIGTERM)

    monkeypatch.setattr("aha.commands.list.run", ends)
    assert main(["list"]) == 143
    assert "after step 3, which is saved" in capsys.readouterr().err


# --- more steps --------------------------------------------------------------------------------------------


def finish(folder, **changes):
    stage = RL.model_validate(SETTINGS | changes)
    context = Context(folder=folder, device="cpu", threads=1, plain=True)
    said = []
    pipeline.run([stage], folder, context, config={"stages": {"rl": stage.settings()}}, say=said.append)
    return said


def test_more_steps_go_on_from_a_finished_run(tmp_path):
    whole, longer = tmp_path / "whole", tmp_path / "longer"
    finish(whole, steps=4)
    finish(longer, steps=2)
    short = (longer / "rl/final/model.safetensors").read_bytes()
    stage = RL.model_validate(SETTINGS | {"steps": 4})
    assert folders.choose(longer, [stage]) == (longer, "")
    said = finish(longer, steps=4)
    assert "rl: going on from step 2." in said
    assert figures(longer / "rl") == figures(whole / "rl")
    assert (longer / "rl/final/model.safetensors").read_bytes() == (
        whole / "rl/final/model.safetensors"
    ).read_bytes()
    assert (longer / "rl/final-000002/model.safetensors").read_bytes() == short
    assert finish(longer, steps=4) == ["rl: finished before, not run again."]
    fewer = RL.model_validate(SETTINGS | {"steps": 3})
    place, why = folders.choose(longer, [fewer])
    assert place.name == "longer-2"
    assert "rl.steps 4, now 3" in why


@pytest.mark.parametrize("change", [{"min_lr_ratio": 0.5}, {"algorithm": {"curriculum": "easy_to_hard"}}])
def test_where_steps_depend_on_their_number_more_of_them_are_another_run(tmp_path, change):
    before = RL.model_validate(SETTINGS | change)
    more = RL.model_validate(SETTINGS | change | {"steps": 9})
    assert not more.goes_on_from(before.settings(), 4)
    assert RL.model_validate(SETTINGS | {"steps": 9}).goes_on_from(RL.model_validate(SETTINGS).settings(), 4)


def test_how_it_is_evaluated_leaves_a_run_as_it_is(tmp_path):
    finish(tmp_path, steps=1, prompts_per_step=2, max_tokens=8)
    asked = {"test_problems": 3, "eval_every": 1, "eval_temperature": 0.6, "require_format": False}
    stage = RL.model_validate(SETTINGS | {"steps": 1, "prompts_per_step": 2, "max_tokens": 8} | asked)
    assert folders.choose(tmp_path, [stage]) == (tmp_path, "")
    (said,) = finish(tmp_path, steps=1, prompts_per_step=2, max_tokens=8, **asked)
    assert "finished before, not run again. Its figures were measured with eval_every=0" in said
    assert "test_problems=2; aha eval" in said
