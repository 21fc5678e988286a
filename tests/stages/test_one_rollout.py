"""The files that docs/design.md tells a newcomer to open are those that a rollout goes through, in that order."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import aha
from aha.runs.pipeline import Context
from aha.stages.rl import RL

SOURCE = Path(aha.__file__).parent
DESIGN = Path(__file__).parents[2] / "docs" / "design.md"
ROW = re.compile(r"^\| \d+ \| `([\w/.]+)` \|", re.MULTILINE)
MOMENTS = {
    ("sampling/sampler.py", "sample"),
    ("rewards/arithmetic.py", "evaluate"),
    ("training/losses.py", "loss"),
}
"""A token is drawn, an answer is graded, a token's loss is computed."""
AROUND = {"attention", "chat", "kernels", "modeling.py", "plugins", "ranks.py", "runs"}
"""Rooms that are called on the way and can be read on their own."""
SMALL = {
    "name": "rl", "steps": 1, "prompts_per_step": 2, "group_size": 4, "mini_batches": 1, "max_tokens": 32,
    "test_problems": 2, "test_samples": 1, "eval_every": 0, "train_problems": 16, "algorithm": "grpo",
    "rewards": {"accuracy": 1.0},
}  # fmt: skip


def listed():
    """The files of the page's table, in order."""
    return ROW.findall(DESIGN.read_text(encoding="utf-8").partition("## Follow one rollout")[2])


def place(code):
    """A function's file below the package, "" for all others."""
    file = Path(code.co_filename)
    return file.relative_to(SOURCE).as_posix() if file.is_relative_to(SOURCE) else ""


def traced(monkeypatch, folder):
    """(files that a step enters, the files on the call stack at each of ``MOMENTS``, outermost first)."""
    entered, stacks, step = [], {}, RL._step

    def note(frame, event, _):
        here = place(frame.f_code) if event == "call" else ""
        if here and here not in entered:
            entered.append(here)
        if (here, frame.f_code.co_name) in MOMENTS:
            files = []
            while frame is not None:
                files.append(place(frame.f_code))
                frame = (
                    None
                    if files[-1] == "stages/rl/loop.py" and frame.f_code.co_name == "_step"
                    else frame.f_back
                )
            stacks.setdefault(here, [*dict.fromkeys(filter(None, reversed(files)))])

    def profiled(*arguments):
        sys.setprofile(note)
        try:
            step(*arguments)
        finally:
            sys.setprofile(None)

    monkeypatch.setattr(RL, "_step", profiled)
    monkeypatch.setenv("AHA_KERNELS", "0")  # the way around kernels is the one to read
    RL.model_validate(SMALL).run(Context(folder=folder, device="cpu", threads=1, plain=True))
    return entered, stacks


def test_the_files_to_open_are_those_that_a_rollout_goes_through(monkeypatch, tmp_path):
    files = listed()
    assert 10 < len(files) <= 18
    entered, stacks = traced(monkeypatch, tmp_path)
    assert set(files) <= {*entered, "types.py"}
    assert len(stacks) == len(MOMENTS)
    for stack in stacks.values():
        way = [file for file in stack if file.partition("/")[0] not in AROUND]
        assert set(way) <= set(files), "a file stands on the way that is not listed"
        assert sorted(way, key=files.index) == way, "in another order"
