"""``--ranks N``: one command is N processes, and ends as one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from aha import cli

SMALL = [
    "rl.steps=2", "rl.prompts_per_step=4", "rl.group_size=4", "rl.max_tokens=24", "rl.max_tokens_schedule=[]",
    "rl.test_problems=4", "rl.test_samples=1", "rl.eval_every=0", "rl.save_every=1", "rl.train_problems=32",
    "rl.algorithm=grpo_no_kl", "rl.dtype=float32", "--device", "cpu", "--no-doctor",
]  # fmt: skip
TIMES = ("step_time", "time/sampling", "time/training", "tokens_per_second")
DEAD = """
import os
if os.environ.get("RANK") == "1":
    os._exit(3)
"""


def start(folder, *words, sigint=signal.SIG_DFL, **env):
    command = [sys.executable, "-m", "aha", "zero", "--plain", *SMALL, *words]
    # Started by a script in the background, this process may have inherited an ignored Ctrl-C.
    return subprocess.Popen(
        command, cwd=folder, env=os.environ | env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        start_new_session=True, preexec_fn=lambda: signal.signal(signal.SIGINT, sigint),
    )  # fmt: skip


def gone(group):
    """Whether no process of a process group is left, waiting for it a little."""
    for _ in range(1200):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


def test_one_command_is_two_ranks(checkpoint, tmp_path):
    process = start(tmp_path, "--model", checkpoint, "--ranks", "2", "rl.steps=100")
    saved = tmp_path / "runs/zero/rl/checkpoints"
    while not list(saved.glob("step-*")) and process.poll() is None:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal's Ctrl-C reaches all of them
    out, said = process.communicate(timeout=900)
    assert process.returncode == 130, (out, said)
    assert said.count("Interrupted") == 1
    assert "Traceback" not in said
    assert gone(process.pid)
    assert json.loads((tmp_path / "runs/zero/config.json").read_text())["ranks"] == 2


FOUR_STEPS = ("--ranks", "2", "--threads", "1", "rl.steps=4", "rl.lr=1e-3")


@pytest.fixture(scope="module")
def in_the_background(checkpoint, tmp_path_factory):
    """A run that a script started with Ctrl-C ignored, and that gets one: its folder, exit code and words."""
    place = tmp_path_factory.mktemp("background")
    process = start(place, "--model", checkpoint, *FOUR_STEPS, sigint=signal.SIG_IGN)
    while process.poll() is None and not _rows(place):
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    said = process.communicate(timeout=900)
    assert gone(process.pid), "the others end with the first"
    return place, process.returncode, said


def test_in_the_background_no_rank_hears_ctrl_c(in_the_background):
    _, code, said = in_the_background
    assert code == 0, said


def test_killed_and_continued_it_ends_with_the_same_bits(checkpoint, in_the_background, tmp_path):
    process = start(tmp_path, "--model", checkpoint, *FOUR_STEPS)
    while process.poll() is None:
        if list((tmp_path / "runs/zero/rl/checkpoints").glob("step-*")):
            process.kill()
        time.sleep(0.01)
    process.communicate(timeout=900)
    assert gone(process.pid), "the others end with the first, however it ends"
    assert process.returncode == -signal.SIGKILL
    out, said = start(tmp_path, "--model", checkpoint, *FOUR_STEPS).communicate(timeout=900)
    assert "Continuing after step" in out, said
    assert _end(tmp_path) == _end(in_the_background[0])


def _end(folder):
    """Figures of every step without clocks, and the weights."""
    rows = [{k: v for k, v in row.items() if k not in TIMES} for row in _rows(folder)]
    assert len(rows) == 4
    return rows, (folder / "runs/zero/rl/final/model.safetensors").read_bytes()


def _rows(folder):
    path = folder / "runs/zero/rl/metrics.jsonl"
    whole = path.read_text().rpartition("\n")[0] if path.exists() else ""
    return [json.loads(line) for line in whole.splitlines()]


def test_a_rank_that_never_comes_is_told(checkpoint, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(DEAD)
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    process = start(tmp_path, "--model", checkpoint, "--ranks", "2", PYTHONPATH=path)
    _, said = process.communicate(timeout=900)
    assert process.returncode == 1
    assert "Rank 1 ended with exit code 3" in said


@pytest.mark.parametrize(
    ("words", "env", "told"),
    [
        (["--ranks", "none"], {}, "a number from 1, or auto"),
        (["--ranks", "3"], {"WORLD_SIZE": "2"}, "without torchrun"),
        (["--ranks", "2", "--ray-ranks", "2"], {}, "without --ray-ranks"),
    ],
)
def test_what_cannot_be_is_refused(words, env, told, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert cli.main(["zero", *words]) == 1
    assert told in capsys.readouterr().err
