"""An evaluation that waits for a slow endpoint, or a slow judge, says without a terminal that it goes on."""

from __future__ import annotations

import json
import re
import threading

import pytest

from aha.benchmarks.judging import beside
from aha.cli import main
from aha.runs import console
from aha.sampling.client import engine as remote
from aha.sampling.http import Programs, Server

LINE = re.compile(r"^ +([\d,]+) tokens, (\d+) of 3 problems, \d+ s$", re.MULTILINE)


@pytest.fixture
def impatient(monkeypatch):
    """What is told every minute is told at once."""
    monkeypatch.setattr(remote, "IDLE_SECONDS", 0.05)
    monkeypatch.setattr(beside, "IDLE_SECONDS", 0.05)
    monkeypatch.setattr(console, "PLAIN_TICK_SECONDS", 0.1)


def rows(tmp_path, task):
    kinds = {
        "math": [{"question": f"{i} + 1?", "answer": str(i + 1)} for i in range(3)],
        "simpleqa": [{"problem": f"Who {i}?", "answer": str(i)} for i in range(3)],
        "mtbench": [{"turns": [f"a {i}", "b"], "category": "stem"} for i in range(3)],
    }
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in kinds[task]))
    return f"{task}={file}"


@pytest.mark.parametrize(
    ("task", "slow", "as_json"),
    [
        ("math", "m", False),
        ("math", "m", True),
        ("simpleqa", "judge", False),
        ("mtbench", "m", False),
        ("mtbench", "judge", False),
    ],
)
def test_who_waits_says_so_with_counts(task, slow, as_json, tmp_path, capsys, impatient):
    waited = threading.Event()

    def says(name, text):
        def answer(messages, seed):
            if name == slow:
                waited.wait(0.4)
            return text

        return answer

    programs = {
        "m": says("m", "4"),
        "judge": says("judge", '{"analysis": "", "score": 5, "verdict": "correct"}'),
    }
    with Server(Programs(programs)) as server:
        words = ["eval", f"{server.url}#m", "--tasks", rows(tmp_path, task), "--judge", f"{server.url}#judge"]
        words += ["--k", "1", "--prompt", "bare", "--results", str(tmp_path / "evals")]
        assert main(words + ["--json"] * as_json) == 0
    out, err = capsys.readouterr()
    told = LINE.findall(err if as_json else out)
    assert told, "it was silent"
    if as_json:
        assert json.loads(out)
    if slow == "m":
        assert ("0", "0") in told, "before anything was answered"
