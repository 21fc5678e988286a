"""The display is driven as a stage would drive it: into a string, a real pseudo-terminal, a broken stream."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from aha.runs import console
from aha.runs.console import Console, eval_line, print_table, render_chain, segments, sparkline

HOSTILE = "[bold red]x[/bold red] \x1b[2J\x1b]0;title\x07 \x9b31m \u202egnp\r\nlast [/] :smile: \ud800"
STEP = {
    "reward": 0.71,
    "rewards/accuracy/mean": 0.668,
    "rewards/format/mean": 0.879,
    "entropy": 0.31,
    "completions/mean_length": 133.2,
    "tokens_per_second": 13_400.0,
    "reflections/mean": 1.76,
    "new/one": 1.0,
}
EVAL = {
    "name": "after",
    "split": "test",
    "pass@1": 0.947,
    "pass@1_ci": [0.93, 0.96],
    "maj@16": 0.996,
    "pass@16": 1.0,
    "format": 0.963,
    "mean_length": 134.0,
    "reflections": 1.1,
    "truncated": 0.03,
}


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    moved = Clock()
    monkeypatch.setattr(console, "time", moved)
    return moved


def drive(shown: Console, clock: Clock, steps: int = 3, seconds: float = 5.0) -> None:
    with shown:
        shown.eval(EVAL | {"name": "before"})
        for step in range(1, steps + 1):
            shown.tick(128, 512, "sampling")
            shown.sample(
                "Make 20 of 3, 7, 2.", "<think> try [1] wait </think> <answer> 3*7-1 </answer>", True, "= 20"
            )
            shown.sample("Make 9.", HOSTILE, False, HOSTILE)
            clock.now += seconds
            shown.step({"step": step, **STEP})
        shown.warn("entropy is low")
        shown.eval(EVAL)


# ------------------------------------------------------------------------------------------ plain lines


def test_plain_lines_have_no_control_characters(clock: Clock) -> None:
    out = io.StringIO()
    shown = Console("zero: tiny on countdown", 3, stream=out)
    assert shown.plain
    drive(shown, clock)
    shown.note(HOSTILE)
    text = out.getvalue()
    assert all(ch == "\n" or ch.isprintable() for ch in text)
    assert "step 2/3  reward 0.710  accuracy 66.8%  format 87.9%  length 133" in text
    assert "tokens/s 13.4k  left 5 s" in text
    assert "evaluation after (test): pass@1 94.7% [93.0%, 96.0%]  maj@16 99.6%" in text
    assert "warning: entropy is low" in text
    assert "right (= 20): Make 20 of 3, 7, 2. | <think> try [1] wait </think>" in text
    assert "[bold red]x[/bold red]" in text


def test_fast_steps_share_lines_and_the_last_is_shown(clock: Clock) -> None:
    out = io.StringIO()
    with Console("pretraining", 1000, stream=out) as shown:
        for step in range(1000):
            clock.now += 0.1
            shown.step({"step": step, "loss": 2.0, "lr": 1e-3})
    lines = [line for line in out.getvalue().splitlines() if "loss" in line]
    assert lines[0].startswith("step 1/1000  loss 2")
    assert lines[-1].startswith("step 1000/1000")
    assert 40 <= len(lines) <= 60


def test_samples_are_rare_in_a_log(clock: Clock) -> None:
    out = io.StringIO()
    with Console("x", 100, stream=out) as shown:
        for _ in range(100):
            clock.now += 10
            shown.sample("q", "right text", True, "")
            shown.sample("q", "wrong text", False, "")
    assert 5 <= out.getvalue().count("right text") == out.getvalue().count("wrong text") <= 7


def test_a_silent_log_says_where_the_step_is(clock: Clock) -> None:
    out = io.StringIO()
    with Console("x", 10, stream=out) as shown:
        for done in range(100):
            clock.now += 2
            shown.tick(done, 100, "sampling")
    assert out.getvalue().count("sampling") == 3
    assert "step 1/10: sampling 29/100" in out.getvalue()


def test_a_counter_adds_up_what_it_is_told_for_all_who_do_the_same(clock: Clock) -> None:
    out = io.StringIO()
    with Console("x", 10, stream=out) as shown:
        add = shown.counter(100, "sampling", times=2)
        for tokens in (7, 8):
            clock.now += 61
            add(tokens)
    assert "sampling 14/100" in out.getvalue()
    assert "sampling 30/100" in out.getvalue()


def test_a_job_without_steps_counts_none(clock: Clock) -> None:
    for plain in (True, False):
        out = io.StringIO()
        with Console("evaluating tiny on countdown", 1, unit="", stream=out, plain=plain) as shown:
            clock.now += 61
            shown.tick(5, 100, "sampling")
        assert "evaluating tiny on countdown" in out.getvalue()
        assert "sampling 5/100" in out.getvalue()
        assert "step" not in out.getvalue()
        assert "0/1" not in out.getvalue()
    out = io.StringIO()
    with Console("rl", 1, stream=out):
        pass
    assert out.getvalue() == "rl: 1 step\n"


def test_plain_text_fits_any_encoding() -> None:
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding="ascii")
    with Console("等等", 1, stream=out) as shown:
        shown.sample("等等", "é", True, "")
        shown.step({"loss": 1.0})
    assert b"step 1/1  loss 1" in raw.getvalue()


def test_odd_metrics_are_no_problem(clock: Clock) -> None:
    np = pytest.importorskip("numpy")
    out = io.StringIO()
    with Console("x", 0, stream=out) as shown:
        shown.step({"step": None, "reward": float("nan"), "loss": np.float32(1.5), 3: "x"})  # type: ignore[dict-item]
        shown.step({})
        shown.eval({})
        shown.eval({"pass@1": "high", "pass@1_ci": 3, "maj@x": 1})
        shown.tick(1, 0, "waiting")
    assert "step 1  loss 1.50" in out.getvalue()
    assert "no figures" in out.getvalue()
    assert "failed" not in out.getvalue()


# ------------------------------------------------------------------------------------------ the frame


def test_live_frame_shows_the_run_and_obeys_nothing(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("LINES", "60")
    out = io.StringIO()
    drive(Console("zero: tiny on countdown", 3, stream=out, plain=False), clock)
    text = out.getvalue()
    for words in (
        "zero: tiny on countdown",
        "step 3/3",
        "66.8%",
        "13.4k",
        "✓ right",
        "✗ wrong",
        "▁",
        "maj@16 99.6%",
    ):
        assert words in text, words
    assert "[bold red]x[/bold red]" in text
    assert "\x1b[2J" not in text
    assert "\x1b]0;" not in text
    assert "\x9b" not in text
    assert "\u202e" not in text
    assert text.rstrip("\n").endswith("\x1b[?25h")  # the cursor is given back


def test_samples_come_every_ten_seconds_on_a_terminal(clock: Clock) -> None:
    with Console("x", 9, stream=io.StringIO(), plain=False) as shown:
        shown.sample("first", "a", True)
        clock.now += 9
        shown.sample("second", "a", True)
        assert shown.samples[True][0] == "first"
        shown.sample("other", "a", False)
        assert shown.samples[False][0] == "other"
        clock.now += 2
        shown.sample("third", "a", True)
        assert shown.samples[True][0] == "third"


def test_small_terminals(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    for columns, lines in ((20, 5), (1, 1), (300, 100)):
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setenv("LINES", str(lines))
        out = io.StringIO()
        drive(Console("zero", 3, stream=out, plain=False), clock)
        assert "failed" not in out.getvalue()


class Breaking(io.StringIO):
    """A terminal that goes away."""

    def __init__(self, writes: int) -> None:
        super().__init__()
        self.left = writes

    def write(self, s: str) -> int:
        self.left -= 1
        if self.left < 0:
            raise BrokenPipeError("gone")
        return super().write(s)


@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize("writes", [0, 1, 4, 9])
def test_a_display_that_breaks_does_not_stop_the_run(clock: Clock, plain: bool, writes: int) -> None:
    drive(Console("x", 3, stream=Breaking(writes), plain=plain), clock)


def test_a_frame_that_fails_becomes_plain_lines(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    shown = Console("x", 3, stream=out, plain=False)
    with shown:
        monkeypatch.setattr(shown, "_frame", lambda: 1 / 0)
        shown.step({"loss": 1.0})
        clock.now += 3
        shown.step({"loss": 0.5})
    assert "the live display failed (ZeroDivisionError); plain lines from here on" in out.getvalue()
    assert "step 2/3  loss 0.500" in out.getvalue()
    assert "\x1b[?25h" in out.getvalue()


def test_errors_of_the_run_pass_through(clock: Clock) -> None:
    out = io.StringIO()
    with pytest.raises(KeyboardInterrupt), Console("x", 3, stream=out, plain=False):
        raise KeyboardInterrupt
    assert out.getvalue().rstrip("\n").endswith("\x1b[?25h")


SCRIPT = """
import signal, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in children of background jobs
from aha.runs.console import Console
with Console("live", 10_000) as shown:
    for i in range(10_000):  # ended long before
        shown.step({"reward": i / 10_000})
        shown.sample("q", "<think>hm</think> yes", True, "")
        time.sleep(0.05)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are a Unix thing")
def test_ctrl_c_gives_a_real_terminal_back(tmp_path: Path) -> None:
    import pty

    master, slave = pty.openpty()
    env = {
        **os.environ,
        "TERM": "xterm-256color",
        "PYTHONIOENCODING": "utf-8",
        "COLUMNS": "80",
        "LINES": "24",
    }
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT], stdout=slave, stderr=subprocess.PIPE, env=env
    ) as child:
        os.close(slave)
        text = b""
        while b"right" not in text:
            text += os.read(master, 65536)
        child.send_signal(signal.SIGINT)
        while True:
            try:
                piece = os.read(master, 65536)
            except OSError:  # the other end is closed
                break
            if not piece:
                break
            text += piece
        assert child.wait(120) != 0
    os.close(master)
    assert b"\x1b[?25l" in text
    assert text.rindex(b"\x1b[?25h") > text.rindex(b"\x1b[?25l")


def test_terminal_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    class Tty(io.TextIOWrapper):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm")
    assert not Console("x", 1, stream=Tty(io.BytesIO(), encoding="utf-8")).plain
    assert Console("x", 1, stream=Tty(io.BytesIO(), encoding="latin-1")).plain
    monkeypatch.setenv("TERM", "dumb")
    assert Console("x", 1, stream=Tty(io.BytesIO(), encoding="utf-8")).plain


def test_rich_is_imported_only_when_used() -> None:
    code = textwrap.dedent("""
        import sys, io
        from aha.runs.console import Console, print_table
        import aha.runs.report.page
        with Console("x", 1, stream=io.StringIO()) as shown:
            shown.step({"loss": 1.0})
        print_table({"pass@1": 0.1}, {"pass@1": 0.2}, io.StringIO())
        heavy = [name for name in ("rich", "torch", "numpy") if name in sys.modules and name != "numpy"]
        sys.exit(str(heavy) if heavy else 0)
    """)
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)


# ------------------------------------------------------------------------------------------ parts


def test_time_left_follows_the_recent_steps(clock: Clock) -> None:
    shown = Console("x", 100, stream=io.StringIO())
    with shown:
        for step in range(40):
            clock.now += 2 if step < 20 else 6
            shown.step({"step": step})
        assert shown.done == 40  # steps that count from 0
        assert shown._left() == "6 min 0 s"
        clock.now += 60
        shown.eval(EVAL)  # an evaluation is not a step
        clock.now += 6
        shown.step({"step": 40})
        assert shown._left() == "5 min 54 s"


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("<think>a</think> <answer>b</answer>", "think:a plain:  answer:b"),
        ("a</think>b", "think:a plain:b"),
        ("<think>a", "think:a"),
        ("<think>a <answer>x</answer> b</think>c", "think:a  answer-inside think:  b plain:c"),
        ("no tags", "plain:no tags"),
        ("", ""),
    ],
)
def test_segments(text: str, pieces: str) -> None:
    parts = list(segments(text))
    assert "".join(piece for _, piece in parts) == text
    kinds = {kind for kind, _ in parts if kind != "tag"}
    assert kinds == {part.split(":")[0] for part in pieces.split(" ") if ":" in part}


def test_segments_of_a_prompt_that_opened_the_thinking() -> None:
    assert list(segments("still going", opened_think=True)) == [("think", "still going")]


def test_render_chain_dims_the_thinking_and_is_harmless() -> None:
    chain = render_chain("<think>why [bold]</think> because \x1b[31m")
    assert chain.plain == "<think>why [bold]</think> because ␛[31m"
    assert [str(span.style) for span in chain.spans] == ["dim cyan", "dim", "dim cyan"]
    assert len(render_chain("x" * 1000, limit=100).plain) == 105


def test_render_chain_is_quick_on_hostile_text() -> None:
    start = time.process_time()
    render_chain("<think>`<answer>" * 20_000, limit=400)
    assert time.process_time() - start < 5


def test_sparkline() -> None:
    assert sparkline([]) == ""
    assert sparkline([1.0]) == "▁"
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7]) == "▁▂▃▄▅▆▇█"
    assert len(sparkline([float(i % 7) for i in range(1000)])) == 32


def test_eval_line() -> None:
    assert (
        eval_line({"pass@1": 0.5, "pass@4": 0.75, "mean_length": 61})
        == "pass@1 50.0%  pass@4 75.0%  length 61"
    )


def test_print_table_plain() -> None:
    out = io.StringIO()
    print_table({"pass@1": 0.107, "mean_length": 61}, EVAL, out)
    lines = out.getvalue().splitlines()
    assert lines[0].split() == ["before", "after", "change"]
    assert lines[1].split() == ["pass@1", "10.7%", "94.7%", "+84.0", "points"]
    assert any(line.split()[-3:] == ["61", "134", "x2.20"] for line in lines)
    print_table({}, {}, out)


def test_print_table_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "_live_possible", lambda stream: True)
    out = io.StringIO()
    print_table({"pass@1": 0.107}, {"pass@1": 0.947}, out)
    assert "94.7%" in out.getvalue()
