"""``aha doctor`` as a user runs it, and the part of it that every run goes through."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time

import pytest

from aha import cli
from aha.doctor import weight_checks
from aha.doctor.finding import Check, Finding
from aha.doctor.full import checkup, suite
from aha.runs.pipeline import Context
from aha.stages import rl
from aha.stages.rl import setup, state
from aha.types import AhaError

SMALL = ["rl.max_tokens=24", "rl.max_tokens_schedule=[]", "rl.train_problems=8", "--threads", "1"]


def doctor(*words, capsys):
    code = cli.main(["doctor", *SMALL, *words])
    return code, capsys.readouterr()


def test_quick_as_lines_without_colour(checkpoint, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, said = doctor("--model", str(checkpoint), "--quick", capsys=capsys)
    assert code == 0, said.out
    assert "\x1b" not in said.out
    assert "logprobs: the sampler's logprobs equal the policy's" in said.out
    assert "all well" in said.out.splitlines()[-1]
    assert not list(tmp_path.glob("**/.doctor-*")), "nothing is left behind"


def test_ended_by_sigterm_nothing_is_left(checkpoint, tmp_path):
    words = ["-m", "aha", "doctor", *SMALL, "--model", str(checkpoint), "--only", "stage_resume"]
    started = subprocess.Popen([sys.executable, *words], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    while started.poll() is None and not list(tmp_path.glob("**/.doctor-*/base")):
        time.sleep(0.02)
    started.terminate()
    said = started.communicate(timeout=300)[1]
    assert started.returncode == 143, said
    assert "Ended by SIGTERM" in said
    assert not list(tmp_path.glob("**/.doctor-*"))


def test_json_holds_every_finding(checkpoint, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, said = doctor(
        "--model", str(checkpoint), "--only", "losses", "--only", "masks", "--json", capsys=capsys
    )
    result = json.loads(said.out)
    assert code == 0
    assert result["ok"]
    assert {f["name"] for f in result["findings"]} == {"losses", "masks"}
    for finding in result["findings"]:
        assert {"ok", "compared", "figure", "threshold", "cause", "fix", "seconds"} <= set(finding)


def test_a_failed_check_ends_with_1_and_says_why(checkpoint, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def sick(subject):
        yield Finding("", False, "this and that", "3", "at most 2", "a [cause]", "a fix")

    monkeypatch.setattr(suite, "CHECKS", (Check("sick", "a sick one", sick),))
    code, said = doctor("--model", str(checkpoint), capsys=capsys)
    assert code == 1
    for part in (
        "FAIL  this and that: 3  [at most 2]",
        "likely cause: a [cause]",
        "fix: a fix",
        "sick FAILED",
    ):
        assert part in said.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--only", "logprob"], "Did you mean 'logprobs'"),
        (["--engine", "warp"], "Unknown engine 'warp'"),
        (["--model", "./nowhere"], "there is no such folder"),
        (["--recipe", "tiny_base"], "no stage of reinforcement learning"),
    ],
)
def test_bad_input_is_explained(words, message, capsys):
    code = cli.main(["doctor", *words])
    assert code == 1
    assert message in capsys.readouterr().err


def settings(checkpoint, **changes):
    small = {
        "name": "rl", "model": str(checkpoint), "algorithm": "grpo_no_kl", "steps": 2, "prompts_per_step": 2,
        "group_size": 2, "max_tokens": 12, "test_problems": 1, "test_samples": 1, "train_problems": 8,
        "eval_every": 0, "lr": 1e-3,
    }  # fmt: skip
    return rl.RL.model_validate(small | changes)


def test_a_run_is_examined_as_it_starts_and_its_numbers_stay(checkpoint, tmp_path, capsys):
    states = []
    for examined in (True, False):
        place = tmp_path / str(examined)
        settings(checkpoint).run(
            Context(place, "cpu", threads=1, plain=True, examine=checkup.examine if examined else None)
        )
        assert ("quick checks passed" in capsys.readouterr().out) == examined
        rollouts = {p.name: p.read_bytes() for p in sorted((place / "rollouts").iterdir())}
        states.append((rollouts, (place / "final" / "model.safetensors").read_bytes()))
    assert states[0] == states[1]


def test_a_run_that_fails_the_examination_does_not_start(checkpoint, tmp_path, monkeypatch):
    different = itertools.count()
    monkeypatch.setattr(weight_checks, "digest", lambda tensors: str(next(different)))
    with pytest.raises(AhaError, match="The doctor stopped the run: weights failed"):
        setup.prepare(
            settings(checkpoint),
            Context(tmp_path / "run", "cpu", threads=1, plain=True, examine=checkup.examine),
        )
    setup.prepare(settings(checkpoint), Context(tmp_path / "run", "cpu", threads=1, plain=True))


def test_warnings_of_live_figures_are_written_down_and_taken_back(checkpoint, tmp_path, capsys):
    place = tmp_path / "run"
    # every completion is cut, and random ones earn nothing: both for more steps than patience asks
    settings(checkpoint, steps=4, save_every=3).run(Context(place, "cpu", threads=1, plain=True))
    path = place / "warnings.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert "completions/clipped_ratio" in {r["key"] for r in rows}
    assert {r["step"] for r in rows if r["key"] == "completions/clipped_ratio"} == {3}
    assert "warning: step 3: share of completions cut by max_tokens is 1" in capsys.readouterr().out
    session = setup.prepare(settings(checkpoint, steps=4), Context(place, "cpu", threads=1, plain=True))
    state.take_back(session.folder, 2)
    assert [json.loads(line)["key"] for line in path.read_text().splitlines()] == ["flat_reward"], "of step 0"


def test_the_patient_of_a_session_is_the_session(checkpoint, tmp_path):
    where = Context(tmp_path / "run", "cpu", threads=1, plain=True)
    session = setup.prepare(settings(checkpoint, temperature=0.8), where)
    subject = checkup.patient(session, "x", session.policy)
    assert subject.engine is session.engine
    assert subject.policy is session.policy
    assert subject.plan.temperature == 0.8
    assert subject.plan.max_tokens == 12


@pytest.mark.slow
def test_the_embedded_base_is_well(tmp_path):
    """All checks, networks and sandbox among them, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "aha", "doctor", "--json"], cwd=tmp_path, capture_output=True, text=True,
        env=os.environ | {"NO_COLOR": "1"}, timeout=580, check=False,
    )  # fmt: skip
    result = json.loads(done.stdout)
    assert done.returncode == 0, [f for f in result["findings"] if f["ok"] is False]
    assert {f["name"] for f in result["findings"] if f["ok"]} >= {
        "packing",
        "network",
        "stage_resume",
        "sandbox",
    }
