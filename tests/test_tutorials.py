"""The commands of the tutorials run as they are printed, one after the other, at small sizes."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from smallest import flat

from aha.cli import main

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
RL = {
    "steps": 2, "prompts_per_step": 2, "group_size": 2, "max_tokens": 16, "test_problems": 2, "test_samples": 1,
    "eval_every": 0, "train_problems": 16,
}  # fmt: skip
MACHINE = ["--plain", "--no-doctor", "--threads", "1"]


def words_of(settings, stage="rl"):
    return [word(f"{stage}.{name}", value) for name, value in settings.items()]


def word(name, value):
    """One setting as it is typed: lists and numbers are JSON, text is itself."""
    return f"{name}={value if isinstance(value, str) else json.dumps(value)}"


def small_recipe():
    """The whole recipe at the smallest sizes."""
    return [word(key, value) for key, value in flat().items() if value is not None]


SMALL = {
    "zero": lambda: [*words_of(RL), *MACHINE],
    "r1": lambda: [*small_recipe(), *MACHINE],
    "eval": lambda: ["--problems", "2", "--samples", "2", "--max-tokens", "16", "--threads", "1"],
    "chat": lambda: ["--max-tokens", "16", "--threads", "1"],
}
"""What a command is given besides what is printed, so that it takes seconds."""


def commands(page):
    """The commands of a page in order; what a heredoc or a backslash spans is one."""
    waiting, end = "", None
    for line in "".join(BLOCK.findall(page.read_text(encoding="utf-8"))).splitlines():
        waiting += line + "\n"
        if end is None and (here := re.search(r"<<'(\w+)'$", line)):
            end = here[1]
        elif line == end or (end is None and not line.endswith("\\")):
            end = None
            if waiting.strip():
                yield waiting.strip()
            waiting = ""


def run(command, environment):
    """Run a command: aha's own in this process, any other in a shell, which knows the program ``aha``."""
    words = shlex.split(command) if command.startswith("aha ") else []
    if not words or words[-1] == "&":
        return shell(command, environment)
    words, target = (words[:-2], words[-1]) if ">" in words else (words, None)
    more = SMALL.get(words[1], list)()
    if words[1] == "r1":  # what is printed stays as it is
        more = [
            small for small in more if small.partition("=")[0] not in {w.partition("=")[0] for w in words}
        ]
    with contextlib.ExitStack() as redirected:
        if target is not None:
            redirected.enter_context(contextlib.redirect_stdout(redirected.enter_context(open(target, "w"))))
        try:
            return main([*words[1:], *more])
        except SystemExit as end:
            return end.code


PATIENCE = 180
"""Seconds within which a command of the shell ends; what has not ended by then is asked where it stands."""


def shell(command, environment):
    """Run it in the one shell of the page, so that what was begun in the background is known to the next."""
    process, lines = environment["shell"], environment["lines"]
    end = f"ended-{time.monotonic_ns()}-"
    process.stdin.write(f"{command}\nstatus=$?; echo; echo {end}$status\n")
    process.stdin.flush()
    deadline, printed = time.monotonic() + PATIENCE, []
    while True:
        try:
            line = lines.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            pytest.fail(
                f"{command}\nhas not ended after {PATIENCE} s:\n{''.join(printed)}{where_it_stands(process, lines)}"
            )
        if line is None:
            return 1
        printed.append(line)
        if end in line:  # what runs in the background may have begun the line
            print("".join(printed))
            return int(line.rpartition("-")[2])


def where_it_stands(process, lines):
    """The stacks of all threads of the programs that the shell began, as faulthandler prints them."""
    for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
        os.kill(int(child), signal.SIGABRT)
    printed = []
    with contextlib.suppress(queue.Empty):
        while (line := lines.get(timeout=5)) is not None:
            printed.append(line)
    return "".join(printed)


def read_all(stream, lines):
    """Every line as it comes, and None at the end."""
    for line in stream:
        lines.put(line)
    lines.put(None)


@pytest.fixture
def environment(tmp_path, monkeypatch):
    """A shell in an empty folder, in which ``aha`` and ``python`` are those of the tests."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, words in (("aha", "-m aha.cli"), ("python", "")):
        (programs / name).write_text(f'#!/bin/sh\nexec {sys.executable} {words} "$@"\n')
        (programs / name).chmod(0o755)
    place = tmp_path / "project"
    place.mkdir()
    monkeypatch.chdir(place)
    env = os.environ | {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "PYTHONFAULTHANDLER": "1"}
    process = subprocess.Popen(
        ["bash"],
        cwd=place,
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    lines = queue.SimpleQueue()
    threading.Thread(target=read_all, args=(process.stdout, lines), daemon=True).start()
    yield {"shell": process, "lines": lines}
    process.stdin.close()
    process.wait(60)


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "page",
    [
        "start.md",
        "tutorials/r1_zero.md",
        "tutorials/own_data.md",
        "tutorials/r1.md",
        "tutorials/serving.md",
    ],
)
def test_its_commands_run_as_printed(page, environment, request):
    text = ROOT / "docs" / page
    printed = list(commands(text))
    assert len(printed) >= 3
    if "smollm2" in text.read_text(encoding="utf-8"):
        request.getfixturevalue("smollm2")
    for command in printed:
        assert run(command, environment) in (0, None), command


def test_every_tutorial_is_run():
    run_here = {"own_data.md", "r1.md", "r1_zero.md", "serving.md"}
    assert {path.name for path in (ROOT / "docs" / "tutorials").glob("*.md")} == run_here
