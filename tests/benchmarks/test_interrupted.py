"""An evaluation that is interrupted while an endpoint is at work, or whose disk is full: told, and nothing lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from aha.benchmarks import keeping
from aha.benchmarks.records import GradedProblem
from aha.cli import main
from aha.sampling.http import Programs, Server
from aha.types import AhaError

ROOT = Path(__file__).parents[2]


def started(folder, server):
    """The evaluation of rows.jsonl by what is served, as a process of its own."""
    words = ["eval", f"{server.url}#m", "--tasks", "math=rows.jsonl", "--k", "1", "--prompt", "bare"]
    return subprocess.Popen(
        [sys.executable, "-m", "aha", *words], cwd=folder, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")}, stdout=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip


@pytest.mark.parametrize("strikes", [1, 2])
def test_ctrl_c_keeps_what_is_on_its_way_and_again_ends_at_once(tmp_path, strikes):
    (tmp_path / "rows.jsonl").write_text('{"question": "1 + 1?", "answer": "2"}\n')
    asked, answer = threading.Event(), threading.Event()

    def model(messages, seed):
        asked.set()
        assert answer.wait(100)
        return "2"

    with Server(Programs({"m": model})) as server:
        process = started(tmp_path, server)
        assert asked.wait(200)
        process.send_signal(signal.SIGINT)
        said = ""
        while "is waited for" not in said and process.poll() is None:
            said += process.stderr.readline()
        if strikes == 2:
            process.send_signal(signal.SIGINT)
            assert process.wait(100) == 130
        answer.set()
        rest = process.communicate(timeout=100)[1]
    assert process.returncode == 130
    assert "Give the same command again" in said
    assert "Traceback" not in said + rest
    answers = list(tmp_path.glob("evals/*/answers.jsonl"))
    assert len(answers) == (1 if strikes == 1 else 0), "the answer was kept"


def test_after_sigterm_the_same_command_asks_only_what_is_not_answered(tmp_path):
    rows = [{"question": f"{n} + 1?", "answer": str(n + 1)} for n in range(3)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked, never, questions = threading.Event(), threading.Event(), []

    def model(messages, seed):
        questions.append(messages[-1]["content"])
        if "2 + 1" in questions[-1] and not never.is_set():
            asked.set()
            never.wait(100)
        return "2"

    with Server(Programs({"m": model})) as server:
        process = started(tmp_path, server)
        assert asked.wait(200)
        while len(questions) < 3 or "2 + 1" not in "".join(questions):
            time.sleep(0.05)
        time.sleep(0.5)  # the two answers are on their way
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 143
        said = process.communicate()[1]
        never.set()
        first = list(questions)
        assert started(tmp_path, server).wait(200) == 0
    assert "Give the same command again" in said
    assert "Traceback" not in said
    assert questions[len(first) :] == ["2 + 1?"]
    (report,) = set(tmp_path.glob("evals/*/*.jsonl")) - set(tmp_path.glob("evals/*/answers.jsonl"))
    assert len(report.read_text().splitlines()) == 3


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_told_with_the_way_out(tmp_path, monkeypatch):
    monkeypatch.setattr(keeping, "part_of", lambda file: Path("/dev/full"))
    with pytest.raises(AhaError, match="full"), keeping.kept(tmp_path / "a.jsonl", {}) as keep:
        keep(GradedProblem("a", "", ()), {"problem": "a"})


def test_conversations_on_a_full_disk_too(tmp_path, monkeypatch, capsys):
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    monkeypatch.chdir(tmp_path)
    part_of = keeping.part_of
    monkeypatch.setattr(keeping, "part_of", lambda f: Path("/dev/full") if "turns" in f.name else part_of(f))
    row = {"prompt": ["1 + 1?", "2 + 2?"], "answer": ["2", "4"]}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    with Server(Programs({"m": lambda messages, seed: "2"})) as server:
        started = time.monotonic()
        assert (
            main(["eval", f"{server.url}#m", "--tasks", "math=rows.jsonl", "--k", "1", "--prompt", "bare"])
            == 1
        )
    assert "full" in capsys.readouterr().err
    assert time.monotonic() - started < 100
