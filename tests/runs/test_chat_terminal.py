"""`aha chat` on a terminal: answers stream, lines are edited, two models stand side by side."""

from __future__ import annotations

import io
import os
import re
import select
import signal
import subprocess
import sys
import time

import pytest
from rich.console import Console
from test_chat_command import talk, typed

from aha import modeling
from aha.commands.talking import comparing
from aha.commands.talking.streaming import Screen, StreamingEngine
from aha.sampling.engine import Request
from aha.sampling.local.engine import LocalEngine
from aha.sampling.sampler import SamplingParams

QUESTION = "24 7 3 -> 171"


@pytest.fixture(scope="module")
def tiny():
    return modeling.load_model("tiny"), modeling.load_tokenizer("tiny")


def screen(opened=False, fold=False):
    shown = Screen(opened, fold)
    shown.console = Console(file=io.StringIO(), highlight=False, width=80)
    return shown


def test_an_answer_is_told_in_pieces_which_are_the_whole(tiny):
    model, tokenizer = tiny
    engine, pieces = StreamingEngine(LocalEngine(model, tokenizer), tokenizer), []
    ids = tokenizer.encode("Using the numbers [24, 7, 3], create an equation that equals 171. Assistant:")
    params = SamplingParams(1.0, 1.0, max_tokens=40)
    rollout = engine.answer(Request(ids, 1, 3), params, 0, lambda text, n: pieces.append((text, n)))
    assert "".join(text for text, _ in pieces) == rollout.text
    assert sum(bool(text) for text, _ in pieces) > 3
    assert [n for _, n in pieces] == sorted(n for _, n in pieces)
    again = engine.answer(Request(ids, 1, 3), params, 0, lambda text, n: None)
    assert again.text == rollout.text, "a seed and a turn are one answer"


def test_a_conversation_streams_within_its_budget(tiny):
    model, tokenizer = tiny
    session = talk(tokenizer, temperature=1.0, max_tokens=60, think_budget=6)
    session.streaming = StreamingEngine(LocalEngine(model, tokenizer), tokenizer)
    shown = []
    session._screen = lambda opened: shown.append(screen(opened)) or shown[-1]
    closed = 0
    for _ in range(8):
        said = session.answer(QUESTION)
        text = shown[-1].console.file.getvalue()
        plain = "".join(re.sub(r"</?think>", "", said).split())
        assert "".join(text.split()) == plain
        closed += "</think>" in said
        session.forget()
    assert closed >= 2


@pytest.mark.parametrize("cut", [1, 3, 1000])
def test_thinking_is_counted_where_it_is_folded(cut):
    text = "<think>long thoughts about it</think> <answer>7</answer>"
    window = screen(fold=True)
    for n, at in enumerate(range(0, len(text), cut), 1):
        window.tell(text[at : at + cut], n)
    window.end()
    shown = window.console.file.getvalue()
    assert "long thoughts" not in shown
    assert "thought for" in shown
    assert "<answer>7</answer>" in shown


def test_control_codes_of_a_model_do_not_reach_the_terminal():
    shown = screen()
    shown.tell("a\x1b[2Jb", 1)
    shown.end()
    assert "\x1b" not in shown.console.file.getvalue()


def test_two_models_are_asked_the_same(tokenizer, monkeypatch, capsys):
    session, other = talk(tokenizer, model="one"), talk(tokenizer)
    monkeypatch.setattr("aha.commands.chat.opened", lambda name, args: other)
    typed(monkeypatch, "first", "/compare two", "second", "/retry", "/new", "third", "/compare", "fourth")
    session.listen()
    shown = capsys.readouterr().out
    assert len(other.engine.prompts) == 3, "second, its retry, third"
    assert "User: first" not in other.engine.prompts[0]
    assert other.engine.prompts[0] == other.engine.prompts[1]
    assert "User: second" not in other.engine.prompts[2]
    assert re.search(r"one .*two", shown)
    assert len(session.engine.prompts) == 5


def test_a_retry_takes_nothing_from_a_second_model_that_has_not_heard_it(tokenizer, monkeypatch, capsys):
    session, other = talk(tokenizer, "think", model="one"), talk(tokenizer, "think", system="Be terse.")
    session.answer("first")
    session.second = ("two", other)
    session.command("retry", "")
    assert [m["role"] for m in other.messages] == ["system", "user", "assistant"]
    assert len(session.messages) == 2


def test_a_second_model_that_fails_leaves_both_conversations(tokenizer, monkeypatch, capsys):
    session, other = talk(tokenizer, model="one"), talk(tokenizer)
    session.second = ("two", other)
    monkeypatch.setattr(other, "_fitting", lambda asked: (_ for _ in ()).throw(KeyboardInterrupt))
    typed(monkeypatch, "first")
    session.listen()
    assert session.messages == other.messages == []


def test_names_of_models_fit_a_column():
    assert comparing.plain_name("HuggingFaceTB/SmolLM2-135M") == "HuggingFaceTB/SmolLM2-135M"
    assert comparing.plain_name("/a/b/runs/zero/rl/final") == "zero/rl/final"


class Terminal:
    """A process on a pseudo-terminal."""

    def __init__(self, words, home):
        import pty

        self.main, other = pty.openpty()
        env = os.environ | {
            "HOME": str(home),
            "AHA_CACHE": str(home),
            "TERM": "xterm",
            "PROMPT_TOOLKIT_NO_CPR": "1",
        }
        env |= {"PYTHONPATH": "src", "COLUMNS": "100", "LINES": "40"}
        self.run = subprocess.Popen(
            words, stdin=other, stdout=other, stderr=other, env=env,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background job ignores Ctrl-C
        )  # fmt: skip
        os.close(other)
        self.seen, self.at = "", 0

    def until(self, mark, seconds=90):
        """Wait until ``mark`` comes behind what was waited for before; returns what stands between."""
        limit = time.monotonic() + seconds
        while mark not in self.seen[self.at :] and time.monotonic() < limit:
            if select.select([self.main], [], [], 0.5)[0]:
                try:
                    self.seen += os.read(self.main, 65536).decode(errors="replace")
                except OSError:
                    break
        assert mark in self.seen[self.at :], self.seen
        start, self.at = self.at, self.seen.index(mark, self.at) + len(mark)
        return self.seen[start : self.at]

    def type(self, text):
        os.write(self.main, text.encode())


READY = "\x1b[?2004h"
"""What prompt_toolkit writes when a line is read: pasted text is marked from here on."""


def conversed(model, home, other, tokens):
    """A talk with a model in which everything is tried; ends with Ctrl-D."""
    words = [sys.executable, "-m", "aha", "chat", model, "--threads", "1", "--max-tokens", str(tokens)]
    there = Terminal(words, home)
    there.until("/help names")
    there.until(READY)
    for line in (QUESTION, "/temperature 0"):
        there.type(f"{line}\r")
        there.until(READY)
    there.type(f"/compare {other}\r")
    there.until("has heard nothing")
    there.until(READY)
    there.type("2 3 4 -> 24\r")
    table = there.until("tokens, ")
    there.until(READY)
    there.type("\x1b[A\x1b[A\r")  # Up to the line before, which is asked again
    there.until("has heard nothing")
    there.until(READY)
    there.type("\x04")  # Ctrl-D
    there.until("Next     aha eval")
    assert there.run.wait(120) == 0
    os.close(there.main)
    return table


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="terminals of POSIX")
def test_a_talk_on_a_terminal(tmp_path):
    pytest.importorskip("prompt_toolkit")
    assert "tiny" in conversed("tiny", tmp_path, "tiny", 30)
    assert "24 7 3 -> 171" in (tmp_path / "chat_lines").read_text()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="terminals of POSIX")
def test_a_talk_with_a_pretrained_model_on_a_terminal(tmp_path, smollm2):
    pytest.importorskip("prompt_toolkit")
    assert "tiny" in conversed(str(smollm2), tmp_path, "tiny", 24)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="terminals of POSIX")
def test_ctrl_c_stops_an_answer_and_the_talk_goes_on(tmp_path, smollm2):
    """While text streams; what was begun is forgotten, and the next question is answered."""
    pytest.importorskip("prompt_toolkit")
    words = [sys.executable, "-m", "aha", "chat", str(smollm2), "--threads", "1", "--max-tokens", "1500"]
    there = Terminal([*words, "--temperature", "1.2"], tmp_path)
    there.until(READY)
    there.type("Count from one to five hundred in words, then tell a very long story.\r")
    there.until("\x1b[1m", 120)  # an answer is bold
    there.run.send_signal(signal.SIGINT)
    there.until("(stopped)")
    there.until(READY)
    there.type("/budget 5\r")
    there.until(READY)
    there.type("\x04")
    there.until("Next     aha eval")
    assert there.run.wait(120) == 0
    os.close(there.main)
