"""Reads ``<think>`` and ``<answer>`` out of completions.

One scan over the text for the four tags, without regular expressions, in time linear in the text whatever the
model wrote. A tag inside code (inline backticks on one line, or a closed fence of backticks) is quoted: it is a
word about the format and not part of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

TAGS: tuple[str, ...] = ("<think>", "</think>", "<answer>", "</answer>")
THINK, END_THINK, ANSWER, END_ANSWER = TAGS


@dataclass(frozen=True, slots=True)
class Tag:
    """One of the four tags in a text: which, where, and whether it stands in code."""

    name: str
    start: int
    quoted: bool = False

    @property
    def end(self) -> int:
        return self.start + len(self.name)


@dataclass(frozen=True, slots=True)
class Parsed:
    """A completion taken apart; every text is without the white space around it.

    ``think``: from the first ``<think>`` (or the start, where the prompt opened it) to the last
    ``</think>``, or to the end where it never closes; None without any. ``answer``: the last closed
    ``<answer>`` after the last ``</think>``; None without one, and in a thinking that never closes.
    ``body``: all that follows the last ``</think>``, the whole text where nothing was thought, and "" in a
    thinking that never closes. ``problem``: the first violation of the format in words, "" if well formed.
    """

    think: str | None
    answer: str | None
    body: str
    well_formed: bool
    problem: str

    @property
    def said(self) -> str:
        """The answer in its tags, else all that follows the thinking."""
        return self.body if self.answer is None else self.answer


def parse(text: str, *, opened_think: bool = False, require_answer: bool = True) -> Parsed:
    """Take a completion apart and say whether it keeps the format.

    Well formed is: one ``<think>...</think>`` with something visible in it and nothing before it; then one
    ``<answer>...</answer>``, not empty, with nothing between the two and nothing after but white space.
    With ``opened_think`` the completion starts inside the thinking and must not open it again. With
    ``require_answer=False`` the thinking must be followed by a summary instead, of any form.

    Tags in code are skipped. Where that breaks the format and taking every tag at its word keeps it, a
    stray backtick only looked like code, and the second reading holds. Never raises; linear in ``text``.
    """
    tags = find_tags(text)
    parsed = _read(text, [t for t in tags if not t.quoted], opened_think, require_answer)
    if not parsed.well_formed and any(t.quoted for t in tags):
        literal = _read(text, tags, opened_think, require_answer)
        return literal if literal.well_formed else parsed
    return parsed


def _read(text: str, tags: list[Tag], opened: bool, require_answer: bool) -> Parsed:
    problem = _problem(text, tags, opened, require_answer)
    opens = [t for t in tags if t.name == THINK]
    closes = [t for t in tags if t.name == END_THINK]
    start = opens[0].end if opens and not (opened and text[: opens[0].start].strip()) else 0
    if (opens and (not closes or opens[-1].start > closes[-1].start)) or (opened and not closes):
        return Parsed(text[start:].strip(), None, "", False, problem)
    if not closes:
        return Parsed(None, _last_answer(text, tags, 0), text.strip(), False, problem)
    close = closes[-1]
    think = text[min(start, close.start) : close.start].strip()
    answer = _last_answer(text, tags, close.end)
    return Parsed(think, answer, text[close.end :].strip(), not problem, problem)


def _last_answer(text: str, tags: list[Tag], after: int) -> str | None:
    answer, opened = None, None
    for tag in tags:
        if tag.start < after:
            continue
        if tag.name == ANSWER:
            opened = tag.end
        elif tag.name == END_ANSWER and opened is not None:
            answer, opened = text[opened : tag.start].strip(), None
    return answer


def _problem(text: str, tags: list[Tag], opened: bool, require_answer: bool) -> str:
    """The first violation of the format, in words; "" if there is none."""
    expected = [THINK, END_THINK] + ([ANSWER, END_ANSWER] if require_answer else [])
    if opened:
        expected = expected[1:]
    wrong = _wrong_count(tags, expected, opened)
    if wrong:
        return wrong
    places = [t for t in tags if t.name in expected]
    for tag, name in zip(places, expected, strict=True):
        if tag.name != name:
            return f"{tag.name} stands where {name} should"
    return _wrong_content(text, places, opened, require_answer)


def _wrong_count(tags: list[Tag], expected: list[str], opened: bool) -> str:
    counts = dict.fromkeys(TAGS, 0)
    for tag in tags:
        counts[tag.name] += 1
    if opened and counts[THINK]:
        return "<think> again, though the prompt already opened it"
    for name in expected:
        if counts[name] != 1:
            return f"no {name}" if not counts[name] else f"{counts[name]} times {name}"
    return ""


def _wrong_content(text: str, places: list[Tag], opened: bool, require_answer: bool) -> str:
    think_start = 0 if opened else places[0].end
    close = places[0 if opened else 1]
    if not opened and text[: places[0].start].strip():
        return "text before <think>"
    if not _visible(text[think_start : close.start]):
        return "the thinking is empty"
    if not require_answer:
        return "" if _visible(text[close.end :]) else "nothing after </think>"
    answer, end = places[-2:]
    if text[close.end : answer.start].strip():
        return "text between </think> and <answer>"
    if not _visible(text[answer.end : end.start]):
        return "the answer is empty"
    return "text after </answer>" if text[end.end :].strip() else ""


def _visible(text: str) -> bool:
    """Whether there is anything to read: zero-width and control characters do not count."""
    return any(ch.isprintable() and not ch.isspace() for ch in text)


def find_tags(text: str) -> list[Tag]:
    """Every think and answer tag of ``text`` in order, those inside code marked ``quoted``."""
    places = list(_scan(text))
    if not places or "`" not in text:
        return [Tag(name, start) for name, start in places]
    spans = code_spans(text)
    tags, i = [], 0
    for name, start in places:
        while i < len(spans) and spans[i][1] <= start:
            i += 1
        tags.append(Tag(name, start, quoted=i < len(spans) and spans[i][0] <= start))
    return tags


def _scan(text: str) -> Iterator[tuple[str, int]]:
    at = text.find("<")
    while at >= 0:
        for name in TAGS:
            if text.startswith(name, at):
                yield name, at
                break
        at = text.find("<", at + 1)


_LONGEST_INFO = 32  # characters; a bound, so that one long line of runs is not looked through for each


@dataclass(slots=True)
class _Run:
    """A run of backticks: where, and what part it can play."""

    start: int
    length: int
    line: int
    first: bool  # nothing but white space or a tag before it on its line
    opens: bool = False  # a run after which a code block may begin
    closes: bool = False  # a first run with nothing but white space or a tag after it on its line


def code_spans(text: str) -> list[tuple[int, int]]:
    """Start and end of each piece of code, in order. What never closes is no code: an open fence must not
    swallow a real ``</think>``."""
    runs = _runs(text)
    inline, longest = _next_equal(runs), _longest_closer(runs)
    spans, i = [], 0
    while i < len(runs):
        close = _fence_end(runs, i, longest) if runs[i].opens else inline[i]
        if close is None:
            i += 1
            continue
        spans.append((runs[i].start, runs[close].start + runs[close].length))
        i = close + 1
    return spans


def _runs(text: str) -> list[_Run]:
    runs: list[_Run] = []
    line, end = 0, 0  # `end`: of the run before; text left of it is never looked at again
    at = text.find("`")
    while at >= 0:
        newline = text.rfind("\n", end, at)
        fresh = newline >= 0 or not runs
        line += newline >= 0
        first = fresh and _at_edge(text[max(newline + 1, end) : at], str.endswith)
        end = at
        while text.startswith("`", end):
            end += 1
        runs.append(_Run(at, end - at, line, first))
        if end - at >= 3:
            _find_part(text, runs[-1])
        at = text.find("`", end)
    return runs


def _at_edge(rest: str, touches: Callable[[str, tuple[str, ...]], bool]) -> bool:
    """Whether only white space lies between a run and the end of its line, or a tag, on which models leave
    fences hanging: ``<think>```python`` and `` ```</think>``."""
    rest = rest.strip()
    return not rest or touches(rest, TAGS)


def _find_part(text: str, run: _Run) -> None:
    """Whether a run of three or more opens or closes a block. Inside a line only one with a language after
    it opens: "Here it is: ```python"."""
    start = run.start + run.length
    newline = text.find("\n", start, len(text) if run.first else start + _LONGEST_INFO)
    if not run.first and newline < 0:
        return
    rest = text[start : newline if newline >= 0 else len(text)]
    run.opens = "`" not in rest and "<" not in rest and (run.first or rest.strip().isalnum())
    run.closes = run.first and _at_edge(rest, str.startswith)


def _next_equal(runs: list[_Run]) -> list[int | None]:
    """For each run the next one of equal length on its line: the end of the inline code it may open."""
    partners: list[int | None] = [None] * len(runs)
    seen: dict[tuple[int, int], int] = {}
    for i in reversed(range(len(runs))):
        key = (runs[i].line, runs[i].length)
        partners[i] = seen.get(key)
        seen[key] = i
    return partners


def _longest_closer(runs: list[_Run]) -> list[int]:
    """For each run the longest run after it that can close a fence: with it, a search that would find
    nothing is never begun, which keeps the whole linear."""
    longest = [0] * (len(runs) + 1)
    for i in reversed(range(len(runs))):
        longest[i] = max(longest[i + 1], runs[i].length if runs[i].closes else 0)
    return longest[1:]


def _fence_end(runs: list[_Run], i: int, longest: list[int]) -> int | None:
    if longest[i] < runs[i].length:
        return None
    j = i + 1
    while not (runs[j].closes and runs[j].length >= runs[i].length):
        j += 1
    return j
