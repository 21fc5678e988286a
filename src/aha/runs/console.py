"""The live display of a training run, and how chains of thought are shown on a terminal.

On a terminal: one frame that is redrawn, with the step, a sparkline, the figures that matter and the last
right and wrong rollout. Elsewhere: plain lines for a log. The frame is drawn inside the run's own calls and
by no thread of its own, so that it takes no core from the training; and an error in the display ends the
display, never the run. Model text is shown, not obeyed: control characters are made visible and nothing is
read as markup.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self, TextIO

from aha import chat
from aha.runs.charts import at_k, clean, compare, duration, interval, number, show

if TYPE_CHECKING:
    from rich.console import Console as RichConsole
    from rich.console import RenderableType
    from rich.live import Live
    from rich.text import Text

REDRAW_SECONDS = 0.3
SAMPLE_SECONDS = 10.0  # between rollouts of one kind on a terminal
PLAIN_SAMPLE_SECONDS = 180.0  # and in a log
PLAIN_TICK_SECONDS = 60.0  # a log that was silent for so long says where the step is

_FIGURES: tuple[tuple[str, str, str], ...] = (
    ("reward", "reward", "number"),
    ("rewards/accuracy/mean", "accuracy", "rate"),
    ("rewards/format/mean", "format", "rate"),
    ("completions/mean_length", "length", "number"),
    ("completions/clipped_ratio", "cut", "rate"),
    ("reflections/mean", "reflection", "number"),
    ("rewards/accuracies", "preferred", "rate"),
    ("rewards/margins", "margin", "number"),
    ("entropy", "entropy", "number"),
    ("loss", "loss", "number"),
    ("lr", "lr", "number"),
    ("tokens_per_second", "tokens/s", "tokens"),
)
_HEADLINES = ("reward", "rewards/accuracy/mean", "loss")
_IN_LOG = ("loss", "reward", "rewards/accuracies", "rewards/margins", "rewards/accuracy/mean", "rewards/format/mean",
           "completions/mean_length", "entropy", "tokens_per_second")  # fmt: skip


# ------------------------------------------------------------------------------------------ chains


def segments(text: str, *, opened_think: bool = False) -> Iterator[tuple[str, str]]:
    """The text in pieces, each "think", "answer", "plain" or "tag". A text that closes a thinking which it
    never opened began inside it (the prompt opened it). Unfinished texts are fine."""
    tags = [tag for tag in chat.find_tags(text) if not tag.quoted]
    inside = opened_think or (bool(tags) and tags[0].name == chat.END_THINK)
    kind, at = "think" if inside else "plain", 0
    after = {chat.THINK: "think", chat.ANSWER: "answer"}
    for tag in tags:
        if text[at : tag.start]:
            yield kind, text[at : tag.start]
        yield "tag", tag.name
        # an <answer> inside the thinking is part of it: only </think> ends it
        if kind != "think" or tag.name == chat.END_THINK:
            kind = after.get(tag.name, "plain")
        at = tag.end
    if text[at:]:
        yield kind, text[at:]


def render_chain(text: str, *, opened_think: bool = False, limit: int = 0) -> Text:
    """``text`` for a terminal: the thinking dim, the answer bold, everything harmless to it. With ``limit``
    the middle of a longer text is left out."""
    from rich.text import Text

    styles = {"think": "dim", "tag": "dim cyan", "answer": "bold"}
    shown = Text()
    for kind, piece in segments(clean(text), opened_think=opened_think):
        shown.append(piece, style=styles.get(kind))
    if limit and len(shown) > limit:
        shown = Text.assemble(shown[: limit // 2], (" ... ", "cyan"), shown[len(shown) - limit // 2 :])
    return shown


# ------------------------------------------------------------------------------------------ small parts


def sparkline(values: Sequence[float], width: int = 32) -> str:
    """The whole history in ``width`` characters, from its lowest value to its highest."""
    if not values:
        return ""
    if len(values) > width:
        cuts = [i * len(values) // width for i in range(width + 1)]
        values = [sum(values[a:b]) / (b - a) for a, b in itertools.pairwise(cuts)]
    low, high = min(values), max(values)
    scale = 7.999 / (high - low) if high > low else 0.0
    return "".join("▁▂▃▄▅▆▇█"[int((value - low) * scale)] for value in values)


def eval_line(result: Mapping[str, Any]) -> str:
    """An evaluation in one line: ``pass@1 94.7% [93.5%, 95.8%]  maj@16 99.6%  format 95.5%  length 134``."""
    parts = []
    for key in (
        "pass@1",
        "lenient",
        *at_k(result, "maj@")[-1:],
        *at_k(result, "pass@")[-1:],
        "format",
        "truncated",
    ):
        value, bounds = number(result.get(key)), interval(result, key)
        if value is not None:
            ci = f" [{show(bounds[0], 'rate')}, {show(bounds[1], 'rate')}]" if bounds else ""
            parts.append(f"{key} {show(value, 'rate')}{ci}")
    for key, label in (("mean_length", "length"), ("reflections", "reflective words")):
        value = number(result.get(key))
        parts += [f"{label} {show(value)}"] if value is not None else []
    return "  ".join(parts) or "no figures"


def _one_line(text: object, limit: int) -> str:
    return " ".join(clean(text, limit).split())


def _live_possible(stream: TextIO) -> bool:
    """A frame needs a terminal that can be redrawn and that can show the blocks of a sparkline."""
    try:
        if not stream.isatty() or os.environ.get("TERM", "") in ("dumb", "unknown"):
            return False
        "▁█".encode(getattr(stream, "encoding", None) or "ascii")
    except (UnicodeEncodeError, LookupError, ValueError):
        return False
    return True


# ------------------------------------------------------------------------------------------ the display


class Console:
    """The display of one stage, used as a context manager. ``unit``: what its steps are called; "" for one job
    without steps. ``plain``: None decides by the stream."""

    def __init__(
        self,
        title: str,
        total_steps: int,
        *,
        unit: str = "step",
        stream: TextIO | None = None,
        plain: bool | None = None,
    ) -> None:
        self.title, self.total, self.unit = _one_line(title, 200), total_steps, _one_line(unit, 30)
        self.stream = stream or sys.stdout
        self.plain = not _live_possible(self.stream) if plain is None else plain
        self.done, self.progress, self.last_eval = 0, "", ""
        self.metrics: dict[str, float] = {}
        self.history: list[float] = []
        self.samples: dict[bool, tuple[str, Text, str]] = {}
        self._sampled: dict[bool, float] = {}
        self._seconds: deque[float] = deque(maxlen=20)
        self._start = self._last_step = self._last_line = self._last_frame = time.monotonic()
        self._from_zero: bool | None = None
        self._dead = False
        self._rich: RichConsole | None = None
        self._live: Live | None = None

    def __enter__(self) -> Self:
        self._start = self._last_step = self._last_line = time.monotonic()
        self._safely(self._open)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        if kind is None:
            self._safely(self._last)
        self._close()

    def step(self, metrics: Mapping[str, float], seconds: float | None = None) -> None:
        """A step is done; ``metrics`` are its figures, "step" among them if there is a choice. ``seconds``: what it
        took, where that is not the time since the last one."""
        self._safely(lambda: self._step(metrics, seconds))

    def catch_up(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Steps that were done before the display began: all but the last are counted and not shown."""
        if not rows:
            return
        for row in rows[:-1]:
            headline = next((v for key in _HEADLINES if (v := number(row.get(key))) is not None), None)
            self.history += [headline] if headline is not None else []
        took = [v for row in rows if (v := number(row.get("step_time"))) is not None]
        self._seconds.extend(took[:-1])
        self._start -= sum(took)
        self.step(rows[-1], took[-1] if took else None)

    def eval(self, result: Mapping[str, Any]) -> None:
        """An evaluation is done. It stays on the screen."""
        self._safely(lambda: self._eval(result))

    def sample(self, question: str, text: str, right: bool, note: str = "") -> None:
        """Offer a rollout; it is shown if none of its kind was for some time."""
        self._safely(lambda: self._sample(question, text, bool(right), note))

    def tick(self, done: int, total: int, what: str) -> None:
        """Progress inside a step."""
        self._safely(lambda: self._tick(done, total, what))

    def counter(self, total: int, what: str, times: int = 1) -> Callable[[int], None]:
        """A callback that is told what has just been done, and shows the sum of it, ``times`` as much."""
        done = 0

        def add(more: int) -> None:
            nonlocal done
            done += more * times
            self.tick(done, total, what)

        return add

    def note(self, text: str) -> None:
        """A line that stays."""
        self._safely(lambda: self._say(clean(text), ""))

    def warn(self, text: str) -> None:
        """A warning that stays."""
        self._safely(lambda: self._say(f"warning: {clean(text)}", "yellow"))

    # -------------------------------------------------------------------------------------- what happens

    def _step(self, metrics: Mapping[str, float], seconds: float | None) -> None:
        now = time.monotonic()
        figures = {str(k): v for k, value in metrics.items() if (v := number(_item(value))) is not None}
        self._seconds.append(now - self._last_step if seconds is None else seconds)
        self._last_step, self.progress = now, ""
        step = figures.get("step")
        if self._from_zero is None and step is not None:
            self._from_zero = step == 0
        self.done = self.done + 1 if step is None else int(step) + bool(self._from_zero)
        self.metrics |= figures
        headline = next((k for k in _HEADLINES if k in figures), None)
        self.history += [figures[headline]] if headline else []
        if not self.plain:
            return self._redraw(force=True)
        gap = min(max((now - self._start) / 100, 2.0), 10.0)
        if self.done >= self.total or len(self._seconds) == 1 or now - self._last_line >= gap:
            self._line(self._plain_step())
        return None

    def _plain_step(self) -> str:
        names = {key: (label, kind) for key, label, kind in _FIGURES}
        figures = [
            f"{names[key][0]} {show(self.metrics[key], names[key][1])}"  # type: ignore[arg-type]
            for key in _IN_LOG
            if key in self.metrics and not (key == "loss" and "reward" in self.metrics)
        ]
        left = f"left {self._left()}" if self._left() else ""
        return "  ".join(part for part in (self._place(self.done), *figures, left) if part)

    def _place(self, at: int) -> str:
        """Where it is; "" for a job without steps."""
        return f"{self.unit} {at}{f'/{self.total}' if self.total else ''}" if self.unit else ""

    def _eval(self, result: Mapping[str, Any]) -> None:
        name, split = (_one_line(result.get(key, ""), 40) for key in ("name", "split"))
        at = f" at {self.unit} {self.done}" if name not in ("before", "after") and self.unit else ""
        label = f"evaluation {name if name != 'step' else ''}".strip() + at + (f" ({split})" if split else "")
        self.last_eval = f"{label}: {eval_line(result)}"
        self._say(self.last_eval, "cyan")
        self._last_step = time.monotonic()  # its time is not the next step's

    def _sample(self, question: str, text: str, right: bool, note: str) -> None:
        now = time.monotonic()
        every = PLAIN_SAMPLE_SECONDS if self.plain else SAMPLE_SECONDS
        if right in self._sampled and now - self._sampled[right] < every:
            return
        self._sampled[right] = now
        if self.plain:
            verdict = "right" if right else "wrong"
            why = f" ({_one_line(note, 120)})" if note else ""
            self._line(f"  {verdict}{why}: {_one_line(question, 160)} | {_one_line(text, 600)}")
        else:
            width = self._rich.width if self._rich else 80
            chain = render_chain(" ".join(text.split()), limit=max(width * 4, 200))
            self.samples[right] = (_one_line(question, 160), chain, _one_line(note, 160))
            self._redraw()

    def _tick(self, done: int, total: int, what: str) -> None:
        self.progress = f"{_one_line(what, 60)} {done:,}/{total:,}" if total else _one_line(what, 60)
        if not self.plain:
            self._redraw()
        elif time.monotonic() - self._last_line >= PLAIN_TICK_SECONDS:
            self._line("  " + ": ".join(filter(None, (self._place(self.done + 1), self.progress))))

    def _left(self) -> str:
        if not self._seconds or self.done >= self.total:
            return ""
        return duration((self.total - self.done) * sum(self._seconds) / len(self._seconds))

    # -------------------------------------------------------------------------------------- plain lines

    def _line(self, text: str) -> None:
        encoding = getattr(self.stream, "encoding", None) or "utf-8"
        printable = text.replace("\t", " ").encode(encoding, "replace").decode(encoding, "replace")
        self.stream.write(printable + "\n")
        self.stream.flush()
        self._last_line = time.monotonic()

    def _say(self, text: str, style: str) -> None:
        if self.plain or self._rich is None:
            for line in text.split("\n"):
                self._line(line)
            return
        from rich.text import Text

        self._rich.print(Text(text, style=style))
        self._redraw()

    # -------------------------------------------------------------------------------------- the frame

    def _open(self) -> None:
        if self.plain:
            steps = (
                f": {self.total} {self.unit}{'' if self.total == 1 else 's'}"
                if self.unit and self.total
                else ""
            )
            self._line(self.title + steps)
            return
        from rich.live import Live

        self._rich = _terminal(self.stream)
        self._live = Live(self._frame(), console=self._rich, auto_refresh=False)
        self._live.start()

    def _redraw(self, force: bool = False) -> None:
        now = time.monotonic()
        if self._live is not None and (force or now - self._last_frame >= REDRAW_SECONDS):
            self._last_frame = now
            self._live.update(self._frame(), refresh=True)

    def _frame(self) -> RenderableType:
        from rich.console import Group
        from rich.rule import Rule
        from rich.text import Text

        parts: list[RenderableType] = [
            Rule(Text(self.title, style="bold"), align="left", style="dim"),
            self._bar(),
        ]
        if self.history:
            parts.append(Text.assemble((sparkline(self.history), "green"), "  ", self._figures()))
        parts += [self._shown(right) for right in (True, False) if right in self.samples]
        return Group(*parts)

    def _bar(self) -> Text:
        from rich.text import Text

        width = 24
        full = round(width * min(self.done / self.total, 1.0)) if self.total else 0
        left = self._left()
        parts = [
            self._place(self.done),
            duration(time.monotonic() - self._start),
            f"{left} left" if left else "",
            self.progress,
        ]
        text = "  ".join(part for part in parts if part)
        return Text.assemble(("━" * full, "green"), ("━" * (width - full), "dim"), "  ", text)

    def _figures(self) -> Text:
        from rich.text import Text

        shown = Text()
        for key, label, kind in _FIGURES:
            if key in self.metrics:
                value = show(self.metrics[key], kind)  # type: ignore[arg-type]
                shown.append(f"{label} ", style="dim").append(f"{value}  ", style="bold")
        return shown

    def _shown(self, right: bool) -> Text:
        from rich.text import Text

        question, chain, note = self.samples[right]
        mark = ("✓ right ", "bold green") if right else ("✗ wrong ", "bold red")
        reason = (f"\n  {note}", "italic dim") if note else ""
        return Text.assemble("\n", mark, question, "\n", chain, reason)

    def _last(self) -> None:
        if self._live is not None:
            self._live.update(self._frame(), refresh=True)

    def _close(self) -> None:
        """Give the terminal back, whatever happened."""
        live, self._live = self._live, None
        if live is not None:
            with contextlib.suppress(Exception):
                live.stop()

    def _safely(self, action: Callable[[], object]) -> None:
        """Do it; a display that fails becomes plain lines, and plain lines that fail become silence. Hours of
        training must not end because a terminal went away: this is the one place where all errors pass."""
        if self._dead:
            return
        try:
            action()
        except Exception as error:
            self._close()
            self._dead, self.plain = self.plain, True
            reason = f"the live display failed ({type(error).__name__}); plain lines from here on"
            if not self._dead:
                self._safely(lambda: self._line(reason))


def _terminal(stream: TextIO) -> RichConsole:
    """A rich console on ``stream`` that raises where its own would end the program."""
    from rich.console import Console as RichConsole

    class Terminal(RichConsole):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError("the terminal is gone")

    return Terminal(file=stream, force_terminal=True, highlight=False, emoji=False)


def _item(value: Any) -> Any:
    """The number in a numpy scalar or one-element tensor; anything else as it is."""
    return value.item() if hasattr(value, "item") else value


def print_table(before: Mapping[str, Any], after: Mapping[str, Any], stream: TextIO | None = None) -> None:
    """The figures before and after training, for the end of a run; plain text off a terminal."""
    out = stream or sys.stdout
    head = ("", "before", "after", "change")
    rows = [
        (row.label, show(row.before, row.kind), show(row.after, row.kind), row.change)
        for row in compare(before, after)
    ]
    if not rows:
        return
    if _live_possible(out):
        _print_rich(head, rows, out)
        return
    widths = [max(len(line[i]) for line in (head, *rows)) for i in range(4)]
    for line in (head, *rows):
        cells = [
            line[0].ljust(widths[0]),
            *(cell.rjust(w) for cell, w in zip(line[1:], widths[1:], strict=True)),
        ]
        out.write("  ".join(cells).rstrip() + "\n")
    out.flush()


def _print_rich(head: Sequence[str], rows: Sequence[Sequence[str]], out: TextIO) -> None:
    from rich.console import Console as RichConsole
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0))
    for i, name in enumerate(head):
        table.add_column(name, justify="left" if i == 0 else "right", header_style="dim")
    for row in rows:
        table.add_row(*(Text(cell, style="bold" if i == 2 else "") for i, cell in enumerate(row)))
    RichConsole(file=out, highlight=False).print(table)
