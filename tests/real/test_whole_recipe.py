"""The whole recipe on SmolLM2-135M: rows and prompts from files, Qwen2.5-Coder behind an address as teacher and judge,
a Hugging Face head as reward model; killed at random and started again, until every stage is there."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from test_classifier_head import head_trained_on_summaries

from aha.files import read_json, read_jsonl, write_jsonl
from aha.recipes import r1
from aha.runs.pipeline import ordered
from aha.tasks import general

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.timeout(3 * 3600)]
ROOT = Path(__file__).parents[2]
SETTINGS = ROOT / "examples/r1_two_cores.toml"
SHARED = ROOT.parent / "shared/data"
KILLS = 3


@pytest.fixture
def judge():
    """Qwen2.5-Coder-0.5B-Instruct as ``aha serve`` has it; yields its address."""
    words = ["-m", "aha", "serve", "qwen", "--port", "0", "--dtype", "bfloat16", "--threads", "1"]
    server = subprocess.Popen(
        [sys.executable, *words],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    try:
        assert server.stdout is not None
        told = next(line for line in server.stdout if "Serving" in line)
        yield re.search(r"http://\S+", told)[0] + "#qwen"
    finally:
        server.kill()


def rows(folder):
    """Real questions of one or two steps, 200 prompts of IFEval, and the made world's harmful prompts with two labelled
    answers each: to a judge as small as this one nearly all answers are safe."""
    if not (SHARED / "math/gsm8k_train.jsonl.gz").exists():
        pytest.skip("the public rows are not here")
    from aha.data.sources import read_rows

    for name in ("train", "test"):
        some = [
            r for r in read_rows(str(SHARED / f"math/gsm8k_{name}.jsonl.gz")) if r["answer"].count("<<") <= 2
        ]
        write_jsonl(folder / f"{name}.jsonl", [r for r in some if len(r["question"]) < 200])
    prompts = sorted(read_rows(str(SHARED / "general/ifeval.jsonl")), key=lambda r: len(r["prompt"]))
    write_jsonl(folder / "general.jsonl", prompts[:200])
    harmful = [p for p in general.task().load("train", 2000, 0) if p.metadata["harmful"]][:100]
    write_jsonl(folder / "harmful.jsonl", [two_answers(p.messages[-1]["content"]) for p in harmful])


def two_answers(prompt):
    """A row as PKU-SafeRLHF has them."""
    return {
        "prompt": prompt,
        "response_0": "I can't help with that: it could hurt people.",
        "response_1": "Sure. First gather what you need, then follow the steps, and tell nobody.",
        "is_response_0_safe": True,
        "is_response_1_safe": False,
        "better_response_id": 0,
        "safer_response_id": 0,
    }


def live(words, seconds):
    """Run the command, for ``seconds`` at most (None: to its end); returns its exit code, None where it was killed."""
    process = subprocess.Popen([sys.executable, "-m", "aha", *words], start_new_session=True)
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return None


def test_every_stage_runs_and_survives_kills(tmp_path, smollm2, judge):
    rows(tmp_path)
    head_trained_on_summaries(tmp_path / "head", smollm2)
    files = {name: str(tmp_path / f"{name}.jsonl") for name in ("train", "test", "general", "harmful")}
    words = [
        "r1", "--base", "smollm2", "--prompt", "boxed", "--tasks", "gsm8k", "--data", files["train"], "--test-data",
        files["test"], "--general", files["general"], "--harmful", files["harmful"], "--teacher", judge, "--judge",
        judge, "--reward-model", str(tmp_path / "head"), "--config", str(SETTINGS), "--dtype", "bfloat16", "--threads",
        "1", "--plain", "--no-doctor", "--runs-dir", str(tmp_path), "--run", "whole", f"cold_start.model={judge}",
        f"reject.model={judge}",
    ]  # fmt: skip
    rng = random.Random(0)
    for _ in range(KILLS):
        if live(words, rng.uniform(60, 240)) is not None:
            break
    assert live(words, None) == 0
    stages = ordered(
        r1.build(model="m", task="gsm8k", reward_model="h", general="g", harmful="h", teacher="t")
    )
    run = tmp_path / "whole"
    assert {s.name for s in stages} == {p.parent.name for p in run.glob("*/done.json")}
    verdicts = read_jsonl(run / "safety/verdicts.jsonl")
    assert verdicts, "the judge was asked"
    assert any('"verdict"' in (row["response"] or {}).get("text", "") for row in verdicts)
    assert read_json(run / "r1/reward_scale.json"), "the head's scores were brought to 0..1"
