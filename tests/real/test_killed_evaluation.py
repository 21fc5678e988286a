"""An evaluation of a pretrained model that SIGKILL ends twice goes on and comes to what an undisturbed one comes to:
the same figures, and every problem's row once, with the same texts."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time

import pytest

pytestmark = [pytest.mark.real, pytest.mark.slow]
PATIENCE = 300
"""Seconds until a process has done what it is waited for."""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Two benchmarks of six questions each."""
    folder = tmp_path_factory.mktemp("rows")
    sums = [{"question": f"What is {a} + {a + 3}?", "answer": f"#### {2 * a + 3}"} for a in range(6)]
    options = [
        {"question": f"Which is {a}?", "choices": [str(a), str(a + 1), str(a + 2)], "answer": 0}
        for a in range(6)
    ]
    for name, rows in (("gsm8k", sums), ("mmlu", options)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def command(files, results, how):
    words = [
        "eval",
        "smollm2",
        "--tasks",
        "gsm8k,mmlu",
        "--data-dir",
        str(files),
        "--k",
        "2",
        "--max-tokens",
        "24",
    ]
    words += ["--threads", "1", "--device", "cpu", "--results", str(results), "--json", *how]
    return [sys.executable, "-m", "aha", *words]


def lines(results):
    """Of each file of graded problems its lines, in order of the problems."""
    return {f.name: sorted(f.read_text().splitlines()) for f in sorted(results.glob("*/*.jsonl"))}


def killed(words, is_under_way, after):
    """End a process by SIGKILL so many seconds after ``is_under_way`` is true."""
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + PATIENCE
    while not is_under_way() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(after)
    process.kill()
    process.wait()


@pytest.mark.parametrize(
    "how",
    [
        ["--temperature", "0", "--dtype", "float32"],
        ["--temperature", "0.7", "--top-p", "0.95", "--dtype", "bfloat16"],
    ],
    ids=["greedy", "sampled"],
)
def test_it_goes_on_to_the_same_figures_and_rows(smollm2, files, tmp_path, how):
    rng = random.Random(str(tmp_path))  # another moment at each run
    words = command(files, tmp_path / "killed", how)
    killed(words, lambda: bool(lines(tmp_path / "killed")), rng.uniform(0, 2))
    killed(words, lambda: any(lines(tmp_path / "killed").values()), rng.uniform(0, 2))
    went_on = subprocess.run(words, capture_output=True, text=True, check=True)
    whole = subprocess.run(
        command(files, tmp_path / "whole", how), capture_output=True, text=True, check=True
    )
    assert json.loads(went_on.stdout) == json.loads(whole.stdout)
    assert lines(tmp_path / "killed") == lines(tmp_path / "whole")
    for rows in lines(tmp_path / "killed").values():
        problems = [json.loads(row)["problem"] for row in rows]
        assert len(problems) == len(set(problems)) == 6
