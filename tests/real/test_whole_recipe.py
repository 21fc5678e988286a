"""The whole recipe on SmolLM2-135M: rows and prompts from files, Qwen2.5-Coder behind an address as teacher and judge,
a Hugging Face head as reward model; killed in every stage and started again, until all are there."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from test_classifier_head import head_trained_on_summaries

from aha import hardware
from aha.files import read_json, read_jsonl, write_jsonl
from aha.recipes import r1
from aha.runs.pipeline import ordered
from aha.tasks import general

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.timeout(3 * 3600)]
ROOT = Path(__file__).parents[2]
SETTINGS = ROOT / "examples/r1_two_cores.toml"
SHARED = ROOT.parent / "shared/data"


@pytest.fixture
def judge():
    """Qwen2.5-Coder-0.5B-Instruct as ``aha serve`` has it; yields its address."""
    words = ["-m", "aha", "serve", "qwen", "--port", "0", "--threads", "1"]
    server = subprocess.Popen(
        [sys.executable, *words],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    try:
        assert server.stdout is not None
        lines: list[str] = []
        while not (lines and "Serving" in lines[-1]):
            lines.append(next(server.stdout))
        faster = hardware.products().best
        assert any(line.startswith(f"Type     {faster} ") for line in lines), "the faster type here, unasked"
        yield re.search(r"http://\S+", lines[-1])[0] + "#qwen"
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


def start(words):
    return subprocess.Popen([sys.executable, "-m", "aha", *words], start_new_session=True)


def worked(folder):
    """Whether a stage has stored something of its work."""
    files = [p for p in folder.rglob("*") if p.is_file() and p.name not in ("settings.json", ".lock")]
    return any(p.stat().st_size for p in files)


def die_in(words, stage, rng):
    """Run the command until the stage is at work and a moment longer; SIGKILL to all of its processes. Returns whether
    it came to that: False where the stage was finished sooner."""
    process = start(words)
    while process.poll() is None and not worked(stage) and not (stage / "done.json").exists():
        time.sleep(0.2)
    time.sleep(rng.uniform(0, 4))
    finished = (stage / "done.json").exists()
    assert process.poll() in (None, 0), "it ended by itself"
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return not finished


def told(run, names):
    """What each stage says of itself, and what judge and reward model gave."""
    for name in names:
        done = read_json(run / name / "done.json")
        print(json.dumps({name: {"seconds": done["seconds"], **done["summary"]}}, ensure_ascii=False))
    for file in sorted(run.glob("*/verdicts.jsonl")):
        said = Counter(_verdict((row["response"] or {}).get("text", "")) for row in read_jsonl(file))
        print(json.dumps({f"verdicts of {file.parent.name}": said}))
    scores = [
        row["scores"]["preference"]["value"]
        for file in sorted((run / "r1/rollouts").glob("step_*.jsonl"))
        for row in read_jsonl(file)
        if row["scores"].get("preference")
    ]
    print(
        json.dumps({"reward models' scores in r1": scores, "scale": read_json(run / "r1/reward_scale.json")})
    )
    for page in ("compare/compare.md", "safety/safety.md"):
        print((run / page).read_text() if (run / page).exists() else f"no {page}")


def _verdict(text):
    """The word of a verdict, or its beginning where it has none."""
    word = re.search(r'"(?:verdict|correctness|correct|winner|score)"\s*:\s*("?[\w.>=<]+"?)', text)
    return word[1] if word else text[:30]


def test_every_stage_runs_and_survives_kills(tmp_path, smollm2, judge, capsys):
    rows(tmp_path)
    head_trained_on_summaries(tmp_path / "head", smollm2)
    files = {name: str(tmp_path / f"{name}.jsonl") for name in ("train", "test", "general", "harmful")}
    words = [
        "r1", "--base", "smollm2", "--prompt", "boxed", "--tasks", "gsm8k", "--data", files["train"], "--test-data",
        files["test"], "--general", files["general"], "--harmful", files["harmful"], "--teacher", judge, "--judge",
        judge, "--reward-model", str(tmp_path / "head"), "--config", str(SETTINGS), "--threads",
        "1", "--plain", "--no-doctor", "--runs-dir", str(tmp_path), "--run", "whole", f"cold_start.model={judge}",
        f"reject.model={judge}",
    ]  # fmt: skip
    stages = ordered(
        r1.build(model="m", task="gsm8k", reward_model="h", general="g", harmful="h", teacher="t")
    )
    names, run, rng = [stage.name for stage in stages], tmp_path / "whole", random.Random(0)
    killed = [name for name in names if die_in(words, run / name, rng)]
    assert start(words).wait() == 0
    with capsys.disabled():
        print(json.dumps({"killed at work in": killed}))
        told(run, names)
    assert set(names) == {p.parent.name for p in run.glob("*/done.json")}
    assert len(killed) > len(names) // 2
    verdicts = read_jsonl(run / "safety/verdicts.jsonl")
    assert verdicts, "the judge was asked"
    assert any('"verdict"' in (row["response"] or {}).get("text", "") for row in verdicts)
    assert read_json(run / "r1/reward_scale.json"), "the head's scores were brought to 0..1"
