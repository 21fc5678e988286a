"""Talking to a model: it remembers, forgets from the front, is asked as it was trained, and ends quietly."""

from __future__ import annotations

import argparse
import builtins
import sys

import pytest

from aha import chat
from aha.cli import main
from aha.commands.chat import COMMANDS, Talk
from aha.commands.talking import lines
from aha.types import Finish, Rollout, Terminated


class Echo:
    """An engine that says how many tokens it was asked with."""

    def __init__(self, tokenizer):
        self.tokenizer, self.prompts = tokenizer, []

    def generate(self, requests, params, *, seed=0):
        import numpy as np

        (request,) = requests
        self.prompts.append(self.tokenizer.decode(request.prompt_ids))
        text = f"answer {len(self.prompts)}"
        yield 0, (Rollout(np.array(request.prompt_ids), np.arange(2), np.zeros(2), text, Finish.STOP),)


def talk(tokenizer, prompt="r1_zero", context=2000, **options):
    arguments = {"temperature": 0.0, "top_p": 1.0, "max_tokens": 10, "seed": 0, "system": None, "fold": False}
    args = argparse.Namespace(**arguments | {"think_budget": None} | options)
    return Talk(Echo(tokenizer), tokenizer, chat.choose(prompt, tokenizer), args, context)


def typed(monkeypatch, *lines):
    """What ``input`` gives, an exception where one stands among the lines, then the end of the input."""
    left = iter(lines)

    def answer(prompt=""):
        line = next(left, EOFError())
        if isinstance(line, BaseException | type):
            raise line
        return line

    monkeypatch.setattr(builtins, "input", answer)


def test_the_second_turn_remembers_the_first(tokenizer, monkeypatch, capsys):
    typed(monkeypatch, "first", "second", "/new", "third")
    session = talk(tokenizer)
    session.listen()
    first, second, third = session.engine.prompts
    assert "User: first Assistant:" in first
    assert "User: first Assistant: answer 1" in second
    assert "User: second Assistant:" in second
    assert "User: first" not in third
    assert "answer 3" in capsys.readouterr().out


def test_what_no_longer_fits_is_forgotten_from_the_front_and_said(tokenizer, monkeypatch, capsys):
    session = talk(tokenizer)
    session.answer("one " * 20)
    session.answer("two")
    session.room = len(tokenizer.encode(session.engine.prompts[-1])) + 4
    session.answer("three")
    assert "one one" not in session.engine.prompts[-1]
    assert "two" in session.engine.prompts[-1]
    assert "the oldest turn is forgotten" in capsys.readouterr().err


@pytest.mark.parametrize("end", [KeyboardInterrupt, EOFError, ""])
def test_it_ends_quietly(tokenizer, monkeypatch, capsys, end):
    typed(monkeypatch, "hello", end, "never")
    session = talk(tokenizer)
    session.listen()
    assert len(session.engine.prompts) == 1
    assert not capsys.readouterr().err


@pytest.mark.parametrize("asked", [True, False])
def test_whoever_ends_the_process_is_heard_within_an_answer_too(tokenizer, monkeypatch, asked):
    """SIGTERM is no Ctrl-C, which stops an answer and no more."""
    there = talk(tokenizer)
    if asked:
        monkeypatch.setattr(
            there.engine, "generate", lambda *inputs, **more: (_ for _ in ()).throw(Terminated)
        )
    typed(monkeypatch, "hello" if asked else Terminated, "never")
    with pytest.raises(Terminated):
        there.listen()
    assert there.engine.prompts == []


def test_a_long_question_in_the_prompts_place_is_a_question(monkeypatch):
    from aha.commands import chat as command

    asked = []
    monkeypatch.setattr(command, "opened", lambda name, args: argparse.Namespace(answer=asked.append))
    assert main(["chat", "tiny", "--prompt", question := "why " * 200]) == 0
    assert asked == [question]


def test_a_question_is_asked_again_in_the_place_of_its_answer(tokenizer, monkeypatch, capsys):
    typed(monkeypatch, "/retry", "first", "second", "/retry")
    session = talk(tokenizer)
    session.listen()
    assert "nothing to try again" in capsys.readouterr().err
    *_, second, again = session.engine.prompts
    assert again == second, "the answer before is not part of what is asked"
    assert [m["content"] for m in session.messages] == ["first", "answer 1", "second", "answer 3"]


def test_settings_change_on_the_way(tokenizer, monkeypatch, capsys):
    lines = (
        "first",
        "/system Be brief.",
        "/temperature 0.3",
        "second",
        "/temperature hot",
        "/budget 5",
        "/sistem",
        "/help",
    )
    typed(monkeypatch, *lines)
    session = talk(tokenizer, prompt="bare")
    session.listen()
    assert session.messages[0] == {"role": "system", "content": "Be brief."}
    assert "first" in session.engine.prompts[1], "the conversation goes on"
    assert (session.args.temperature, session.args.think_budget) == (0.3, 5)
    shown = capsys.readouterr()
    assert "'hot'" in shown.err
    assert "There is no /sistem. Did you mean 'system'?" in shown.err
    assert "/temperature" in shown.out


def test_thinking_is_folded_and_can_be_unfolded(tokenizer, monkeypatch, capsys):
    from dataclasses import replace as changed

    session = talk(tokenizer, fold=True)
    real = session.engine.generate

    def thinks(*args, **options):
        for index, (rollout,) in real(*args, **options):
            yield index, (changed(rollout, text="<think>long thoughts</think> <answer>7</answer>"),)

    session.engine.generate = thinks
    typed(monkeypatch, "ask", "/thought", "/fold", "again")
    session.listen()
    first, rest = capsys.readouterr().out.split("7", 1)
    assert "thought for" in first
    assert "long thoughts" not in first
    assert rest.count("long thoughts") == 2


def test_thinking_ends_at_its_budget_and_the_answer_goes_on(capsys):
    """The embedded base, whose chains are longer than four tokens: every text has its thinking closed after them."""
    from aha import modeling
    from aha.sampling.local.engine import LocalEngine

    tokenizer, model = modeling.load_tokenizer("tiny"), modeling.load_model("tiny")
    session = talk(tokenizer, temperature=1.0, max_tokens=60, think_budget=6)
    session.engine = LocalEngine(model, tokenizer)
    closed = 0
    for _ in range(8):
        said = session.answer("24 7 3 -> 171")
        thought = said.partition("<think>")[2].partition("</think>")[0]
        assert len(tokenizer.encode(thought, add_special_tokens=False)) <= 7
        closed += "</think>" in said
        session.forget()
    assert closed >= 2, "half of this base's texts begin to think"


def test_an_interrupted_answer_leaves_the_conversation(tokenizer, monkeypatch, capsys):
    session = talk(tokenizer)
    real = session.engine.generate

    def interrupted(*args, **options):
        session.engine.generate = real
        raise KeyboardInterrupt

    session.engine.generate = interrupted
    typed(monkeypatch, "long", "short")
    session.listen()
    assert "(stopped)" in capsys.readouterr().out
    assert "long" not in session.engine.prompts[0]


def test_one_question_through_the_command(capsys):
    assert main(["chat", "tiny", "--ask", "24 7 3 -> 171", "--max-tokens", "12", "--threads", "1"]) == 0
    assert capsys.readouterr().out.strip()
    assert main(["chat", "tiny", "--ask", "x", "--prompt", "r1_zeroo"]) == 1
    assert "Did you mean 'r1_zero'?" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="terminals of POSIX")
def test_the_up_key_brings_back_the_line_before(tmp_path):
    """On a terminal: two lines, then Up and Enter ask the second one again; Ctrl-C ends with code 0."""
    import os
    import pty
    import select
    import signal
    import subprocess
    import time

    code = (
        "import argparse, signal, sys; sys.path.insert(0, sys.argv[1])\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a background job ignores Ctrl-C
        "sys.modules['prompt_toolkit'] = None\n"  # as where it is not installed
        "import aha.commands.chat as c\n"
        "from aha.commands.talking import lines\n"
        "t = c.Talk.__new__(c.Talk); t.messages = []; t.second = None; t.forget = lambda: None\n"
        "t.answer = lambda text: print('GOT', text, flush=True)\n"
        "with lines.reader(c.COMMANDS) as t.line: t.listen()\n"
        "print('DONE', flush=True)"
    )
    main, other = pty.openpty()
    env = os.environ | {"HOME": str(tmp_path), "TERM": "xterm"}
    run = subprocess.Popen(
        [sys.executable, "-c", code, "src"], stdin=other, stdout=other, stderr=other, env=env
    )
    seen = b""

    def until(mark, count=1):
        nonlocal seen
        limit = time.monotonic() + 240
        while seen.count(mark) < count and time.monotonic() < limit:
            if select.select([main], [], [], 1)[0]:
                seen += os.read(main, 4096)
        assert seen.count(mark) >= count, seen

    until(b"> ")
    os.write(main, b"alpha\n")
    until(b"GOT alpha")
    until(b"> ", 2)  # what is typed before the prompt is there goes past readline
    os.write(main, b"beta\n")
    until(b"GOT beta")
    until(b"> ", 3)
    os.write(main, b"\x1b[A\x1b[A\n")
    until(b"GOT alpha", 2)
    until(b"GOT alpha\r\n> ", 2)  # Ctrl-C before the prompt would stop the answer, not the talk
    for _ in range(10):  # the prompt is written a moment before the line is read
        time.sleep(0.2)
        run.send_signal(signal.SIGINT)
        until(b"\n", seen.count(b"\n") + 1)
        if not seen.rstrip(b"> ").endswith(b"(stopped)\r\n"):
            break
    until(b"DONE")
    assert run.wait(120) == 0
    assert (tmp_path / ".cache" / "aha" / "chat_history").exists()
    os.close(main)
    os.close(other)


def test_earlier_lines_are_kept_in_the_programs_own_cache(tmp_path, monkeypatch):
    readline = pytest.importorskip("readline")
    monkeypatch.setenv("AHA_CACHE", str(tmp_path))
    monkeypatch.setattr(sys, "stdin", argparse.Namespace(isatty=lambda: True))
    monkeypatch.setitem(sys.modules, "prompt_toolkit", None)
    with lines.reader(COMMANDS):
        readline.add_history("24 7 3 -> 171")
    assert "24 7 3 -> 171" in (tmp_path / "chat_history").read_text()
