"""The scripts in examples/ run as they are given to people, with small sizes as further words."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest
from r1_teacher import general_answer, in_a_role
from smallest import flat

from aha.files import write_jsonl
from aha.sampling.http import Programs, Server

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
MACHINE = ["--no-doctor", "--plain", "--threads", "1"]
RL = ["prompts_per_step=2", "group_size=2", "max_tokens=16", "test_problems=2", "test_samples=1", "steps=1"]


@pytest.fixture
def aha(tmp_path):
    """The environment of a script: an ``aha`` on the PATH that is the one of the tests."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "aha").write_text(f'#!/bin/sh\nexec {sys.executable} -m aha.cli "$@"\n')
    (programs / "aha").chmod(0o755)
    return os.environ | {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}


@pytest.fixture
def rows(tmp_path):
    """Files of sums, for training and for the test."""
    rng = random.Random(0)
    for name, count in (("train", 48), ("test", 8)):
        pairs = [(rng.randint(10, 99), rng.randint(10, 99)) for _ in range(count)]
        write_jsonl(
            tmp_path / f"{name}.jsonl",
            [{"question": f"How much is {a} + {b}?", "answer": f"{a + b}"} for a, b in pairs],
        )
    return tmp_path / "train.jsonl", tmp_path / "test.jsonl"


def run(script, *words, cwd, env):
    done = subprocess.run(
        [str(EXAMPLES / script), *map(str, words)],
        cwd=cwd,
        env=env,
        capture_output=True,
        text=True,
        timeout=800,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def right(messages, seed):
    """A teacher that adds."""
    a, b = map(int, re.findall(r"(\d+) \+ (\d+)", messages[-1]["content"])[-1])
    return f"<think>I add {a} and {b}: {a} + {b} = {a + b}.</think> The sum is \\boxed{{{a + b}}}."


def test_grpo_on_an_instruct_model(aha, rows, tmp_path):
    env = aha | {"MODEL": "tiny", "DATA": str(rows[0])}
    more = [f"rl.{word}" for word in RL] + ["rl.eval_every=0", *MACHINE]
    said = run("qwen_grpo.sh", *more, cwd=tmp_path, env=env)
    assert (tmp_path / "runs/qwen-grpo/rl/final/model.safetensors").exists()
    assert "aha chat runs/qwen-grpo/rl/final" in said
    kept = json.loads((tmp_path / "runs/qwen-grpo/rl/settings.json").read_text())["settings"]
    assert (kept["prompt"], kept["lr"], kept["algorithm"]["kl_coef"]) == ("think", 1e-6, 0.001)


def test_distillation_from_an_endpoint(aha, rows, tmp_path):
    with Server(Programs({"adds": right})) as server:
        env = aha | {"TEACHER": f"{server.url}#adds", "STUDENT": "tiny"}
        small = ["reject.problems=16", "reject.samples=1", "reject.max_tokens=64", "distilled.epochs=1"]
        more = ["distilled.batch_size=8", "compare.problems=2", "compare.samples=1", "compare.max_tokens=16"]
        run(
            "distill_from_endpoint.sh",
            rows[0],
            "--test-data",
            rows[1],
            *small,
            *more,
            *MACHINE,
            cwd=tmp_path,
            env=env,
        )
    learned = (tmp_path / "runs/distill/reject/data.jsonl").read_text().splitlines()
    assert len(learned) >= 8
    assert "I add" in learned[0]
    assert (tmp_path / "runs/distill/distilled/final/model.safetensors").exists()


def test_r1_on_rows_shows_its_plan(aha, rows, tmp_path):
    env = aha | {"BASE": "tiny", "TEACHER": "http://127.0.0.1:9/v1#none"}
    said = run("r1_on_your_rows.sh", *rows, "--dry-run", cwd=tmp_path, env=env)
    for stage in ("zero", "cold_start", "dev1", "dev2", "reject", "dev3", "r1", "compare"):
        assert f"{stage} (" in said
    assert not (tmp_path / "runs").exists()


def whole_teacher(messages, seed):
    """A teacher for the whole recipe, by what it is asked: it rewrites, judges, adds, and answers general questions."""
    said = in_a_role(messages, seed)
    if said is not None:
        return said
    if re.search(r"\d+ \+ \d+", messages[-1]["content"]):
        return right(messages, seed)
    return general_answer(messages, seed)


def recipe_settings(address):
    """The whole recipe at the smallest sizes; the teacher's own answers stand in for those of a model that can add."""
    more = {
        "cold_start.model": address,
        "reject.model": address,
        "cold_start.max_tokens": 96,
        "reject.max_tokens": 96,
    }
    more |= {"cold_start.samples": 2, "reject.samples": 2, "reject.decontaminate_problems": 0}
    changes = flat() | more
    return [f"{k}={v if isinstance(v, str) else json.dumps(v)}" for k, v in changes.items() if v is not None]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_r1_on_rows_runs_to_its_end(aha, rows, tmp_path):
    with Server(Programs({"all": whole_teacher})) as server:
        address = f"{server.url}#all"
        env = aha | {"BASE": "tiny", "TEACHER": address}
        run("r1_on_your_rows.sh", *rows, *recipe_settings(address), *MACHINE, cwd=tmp_path, env=env)
    folder = tmp_path / "runs/r1"
    learned = (folder / "dev3/final/model.safetensors", folder / "r1/final/model.safetensors")
    assert all(path.exists() for path in learned)
    rows_kept = (folder / "reject/data.jsonl").read_text()
    assert "I add" in rows_kept
    tables = re.findall(r"^## (\w+)", (folder / "compare/compare.md").read_text(), re.MULTILINE)
    assert tables == ["math", "general"]
    assert (folder / "report.html").exists()


def test_every_script_is_run_here():
    assert {path.name for path in EXAMPLES.glob("*.sh")} == {
        "qwen_grpo.sh", "distill_from_endpoint.sh", "r1_on_your_rows.sh",
    }  # fmt: skip
