"""Finds the answer in a model's whole output, in one pass over it.

The answer stands after the last ``</think>``, in the last balanced ``\\boxed{...}``. Boxes that follow
each other with nothing but a connective between them ("``\\boxed{1}`` or ``\\boxed{2}``") are one answer.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from aha.chat import parse

# Every alternative consumes a bounded number of characters, so the scan is linear whatever the text is.
# A doubled backslash is a line break, except before "boxed", where it is text that was escaped twice.
_BRACES = re.compile(r"\\boxed(?![A-Za-z])|\\\\(?!boxed)|\\[{}]|[{}]")
_CONNECTIVE = re.compile(
    r"\\(?:quad|qquad|text|mathrm|textbf|mbox|or|lor|vee|[,;:!()\[\] ])|or|and|either|maybe|possibly|perhaps|"
    r"the|answer|is|also|as well as|then|both|respectively|\(?(?:[a-h]|[1-9]|i{1,3}|iv|vi{0,3})\)|"
    r"[Pp]art(?: [a-h1-9](?![A-Za-z0-9]))?|[①-⑨]|又|和|或者?|以及|与|"
    r"[A-Za-z](?:_\{?[A-Za-z0-9]{1,3}\}?)?'?(?:\([A-Za-z0-9]\))?\s*=|[\s$,;:.、，；：{}()&\\]"
)
_NAME = re.compile(r"(?<![A-Za-z\\])([A-Za-z](?:_\{?[A-Za-z0-9]{1,3}\}?)?'?(?:\([A-Za-z0-9]\))?)\s*=[\s$]*\Z")
_PROSE = re.compile(r"(?<![A-Za-z\\])[A-Za-z]{2,15} [A-Za-z$]|[A-Za-z] : ")
_PRICE = re.compile(r"^[\d.,]+ (?:so|and|for|plus|each|is|per|to|on|an?)\b|–")
_FINAL_LINE = re.compile(r"[A-Za-z]{0,12}:? ?-?\$?\d[\d,.]*$")
_HTML = re.compile(r"<(b|strong|i|em|code|u|mark|span|font|p|div|big)(?: [^<>]{0,200})?>(.*)</\1>", re.DOTALL)
_MARKS = ("***", "**", "__", "``", "`", "*", "_", '"')
_STRUCK = re.compile(r"~~[^~\n\\]{1,200}~~")  # taken back by who wrote it
_FENCE = re.compile(r"```[a-z]{0,12}\n(.*)```\Z", re.DOTALL)
_HEADING = re.compile(r"#{1,6} (?=[^\n]*\Z)")
_EMPHASIS = re.compile(r"(?<![\w)}\]`*])\*\*([^*\n]+)\*\*(?![\w({\[*])|(?<!`)`([^`\n]+)`(?!`)")
_LONGEST_CONNECTIVE = 80
_PHRASES = (
    "the answer is",
    "answer is",
    "final answer:",
    "answer:",
    "answer**",
    "答案是",
    "答案为",
    "答案：",
    "答案:",
    "####",
)
_NUMBER = re.compile(r"-?\$?\d+(?:,\d\d\d)*(?:\.\d+)?(?:/\d+)?%?")


@dataclass(frozen=True, slots=True)
class Extraction:
    """Where else to look for an answer when there is no box. All off by default; tried in this order.

    ``opened_think`` says that the prompt itself ended in ``<think>``: then a text without ``</think>``
    is an unfinished thought. Without it, a text with neither tag is a plain answer.
    """

    answer_tags: bool = False  # <answer>...</answer>
    phrase: bool = False  # "the answer is ..."
    bare: bool = False  # the whole output, if it is one short line
    last_formula: bool = False  # the last $...$, \(...\) or \[...\]
    last_number: bool = False
    opened_think: bool = False


DEFAULT = Extraction()


@dataclass(frozen=True, slots=True)
class ExtractedAnswer:
    """An answer's text; ``alternatives`` are further answers given beside it with "or" or "and"."""

    text: str
    alternatives: tuple[str, ...] = ()
    joined_by_or: bool = False


def extract(prediction: str, options: Extraction = DEFAULT) -> ExtractedAnswer | None:
    """The answer in a model's output, or None. Never raises; time linear in the output's length."""
    text = after_thinking(prediction, options.opened_think)
    if text is None:
        return None
    extracted = boxed(text)
    if extracted is not None:
        return ExtractedAnswer(
            _plain(extracted.text), tuple(map(_plain, extracted.alternatives)), extracted.joined_by_or
        )
    for option, look in _FALLBACKS:
        if getattr(options, option):
            answer = _plain(look(text) or "")
            if answer:
                return ExtractedAnswer(answer)
    return None


def after_thinking(text: str, opened_think: bool = False) -> str | None:
    """What stands after the last ``</think>``, as ``aha.chat.parse`` reads it; None for a thought that was
    never closed."""
    if "think>" not in text:
        return None if opened_think else text
    return parse(text, opened_think=opened_think, require_answer=False).body or None


def _plain(text: str) -> str:
    """The text without the Markdown and HTML that only makes it stand out: ``**73**``, `` `73` ``."""
    text = _STRUCK.sub("", text) if "~~" in text else text
    fence = _FENCE.match(text.strip())
    text = fence.group(1) if fence else text
    if "`" in text or "**" in text:
        text = _EMPHASIS.sub(r"\1\2", text)
    for _ in range(4):
        stripped = _HEADING.sub("", text.strip(), count=1) if text.strip().startswith("#") else text.strip()
        if stripped.startswith("```") and stripped.endswith("```"):
            stripped = stripped[3:-3].strip()
        tags = _HTML.fullmatch(stripped)
        if tags is not None:
            stripped = tags.group(2)
        for mark in _MARKS:
            inside = stripped[len(mark) : -len(mark)]
            if len(stripped) > 2 * len(mark) and stripped == f"{mark}{inside}{mark}" and mark not in inside:
                stripped = inside
                break
        if stripped == text:
            break
        text = stripped
    return text


def boxes(text: str) -> list[tuple[int, int, str]]:
    """All balanced boxes that no other balanced box holds: (start, end, content), in order."""
    spans: list[tuple[int, int, int]] = []  # of the box, and where its content begins
    stack: list[tuple[int, int] | None] = []
    pending = -1  # a \boxed whose brace may follow
    pending_end = -1
    for match in _BRACES.finditer(text):
        token = match.group()
        if token == "\\boxed":
            _unbraced(text, pending, pending_end, spans, match.start())
            pending, pending_end = match.start(), match.end()
        elif token == "{":
            if pending >= 0 and not text[pending_end : match.start()].strip():
                stack.append((pending, match.end()))
                pending = -1
            else:
                stack.append(None)
        elif token == "}" and stack:
            opened = stack.pop()
            if opened is not None:
                spans.append((opened[0], match.end(), opened[1]))
    _unbraced(text, pending, pending_end, spans, len(text))
    return _outermost(text, spans)


def _unbraced(text: str, start: int, end: int, spans: list[tuple[int, int, int]], limit: int) -> None:
    r"""``\boxed 5``: one token without braces."""
    if start < 0:
        return
    begin = end
    while begin < min(limit, end + 8) and text[begin].isspace():
        begin += 1
    stop = begin
    while stop < min(limit, begin + 64) and (text[stop].isalnum() or text[stop] in ".-"):
        stop += 1
    while stop > begin and text[stop - 1] in ".-":
        stop -= 1
    if stop > begin:
        spans.append((start, stop, begin))


def _outermost(text: str, spans: list[tuple[int, int, int]]) -> list[tuple[int, int, str]]:
    spans.sort()
    kept: list[tuple[int, int, str]] = []
    for start, end, begin in spans:
        if kept and start < kept[-1][1]:
            continue
        stop = end - 1 if text[begin - 1] == "{" else end
        kept.append((start, end, text[begin:stop]))
    return kept


def boxed(text: str) -> ExtractedAnswer | None:
    """The last balanced box, and those before it with nothing but a connective between."""
    contents = boxes(text)
    if not contents:
        return None
    last = contents[-1]
    chosen = [last]
    by_or = False
    for previous in reversed(contents[:-1]):
        between = text[previous[1] : chosen[-1][0]]
        if not _is_connective(between):
            break
        by_or = by_or or "or" in between or "或" in between
        chosen.append(previous)
    chosen.reverse()
    others = [other for _, _, other in chosen[:-1]]
    trailing = _trailing_alternative(text[last[1] : last[1] + 200])
    if trailing:
        others.append(trailing)
        by_or = True
    if all(other.strip() == last[2].strip() for other in others):
        return ExtractedAnswer(last[2])
    named = [_with_name(text, box) for box in chosen]
    if not trailing and all(name for name, _ in named):
        *others, answer = [content for _, content in named]
        return ExtractedAnswer(answer, tuple(others), by_or)
    return ExtractedAnswer(
        last[2], tuple(other for other in others if other.strip() != last[2].strip()), by_or
    )


def _with_name(text: str, box: tuple[int, int, str]) -> tuple[str, str]:
    """The name that stands before a box with an equals sign, and the box's content with it."""
    start, _, content = box
    match = _NAME.search(text, max(0, start - 24), start)
    if match is None or "=" in content:
        return "", content
    return match.group(1), f"{match.group(1)}={content}"


def _is_connective(between: str) -> bool:
    if len(between) > _LONGEST_CONNECTIVE:
        return False
    position = 0
    while position < len(between):
        match = _CONNECTIVE.match(between, position)
        if match is None:
            return False
        position = match.end()
    return True


def _trailing_alternative(after: str) -> str | None:
    """``\\boxed{1}$ or $2$``: a second answer that is not in a box."""
    rest = after.lstrip(" \t$,")
    if rest.startswith("\\)"):
        rest = rest[2:].lstrip(" ,")
    word = next((w for w in ("or ", "或者", "或") if rest.startswith(w)), None)
    if word is None:
        return None
    rest = rest[len(word) :].lstrip()
    for maybe in ("maybe ", "possibly ", "perhaps ", "else "):
        rest = rest.removeprefix(maybe)
    if rest.startswith("$"):
        end = rest.find("$", 1)
        return rest[1:end] if end > 0 else None
    match = _NUMBER.match(rest)
    return match.group() if match else None


def _answer_tags(text: str) -> str | None:
    return parse(text).answer if "answer>" in text else None


def _phrase(text: str) -> str | None:
    lowered = text.lower()
    if len(lowered) != len(text):  # some capitals grow when lowered; positions would shift
        lowered = text
    at, phrase = max((lowered.rfind(phrase), phrase) for phrase in _PHRASES)
    if at < 0:
        return None
    start = at + len(phrase)
    while start < len(text) and text[start] in " :：\t":
        start += 1
    rest = text[start : start + 1100]
    if rest.startswith("**") and rest.lstrip("*").split("\n", 1)[0].count("**") % 2 == 0:
        rest = rest[2:]  # "**Answer:** 73": the mark that closes the phrase
    line = rest.lstrip(" :：\n").split("\n", 1)[0][:1000]
    line = line.split(". ", 1)[0].split("。", 1)[0].strip().rstrip(".")
    if line.endswith("**") and line.count("**") == 1:
        line = line[:-2].rstrip(". ")  # "**The answer is 73.**"
    if _PROSE.search(line):
        line = line[line.rfind(" is ") + 4 :] if " is " in line else line
    if line.endswith(("$", "\\)", "\\]")):
        line = _last_formula(line) or line
    return line


def _bare(text: str) -> str | None:
    stripped = _plain(text.strip())
    if len(stripped) > 300 or "\n" in stripped or _PROSE.search(stripped) or "$" in stripped.strip("$"):
        return None
    return stripped


def _last_formula(text: str) -> str | None:
    if _FINAL_LINE.match(text.rstrip().rsplit("\n", 1)[-1][-200:]):
        return None  # "A: 42" on a line of its own: the last number, not the last formula
    best: tuple[int, str] | None = None
    text = text.replace("$$", "$")
    for opening, closing in (("\\[", "\\]"), ("\\(", "\\)")):
        end = text.rfind(closing)
        start = text.rfind(opening, 0, end) if end >= 0 else -1
        if start >= 0 and (best is None or end > best[0]):
            best = (end, text[start + 2 : end])
    pieces = text.split("$")
    for index in range(len(pieces) - 2, 0, -1):
        if index % 2 == 1 and _is_formula(pieces[index]):
            end = sum(map(len, pieces[: index + 1])) + index
            if best is None or end > best[0]:
                best = (end, pieces[index])
            break
    return best[1].strip() if best else None


def _is_formula(text: str) -> bool:
    """Whether what stands between two dollar signs is not just text between two prices."""
    text = text.strip()
    if not text or len(text) > 1000 or "<<" in text or "\n\n" in text or text[-1] in "=+-*/(":
        return False
    return (_PROSE.search(text) is None and _PRICE.search(text) is None) or "\\text" in text


def _last_number(text: str) -> str | None:
    last = None
    for match in _NUMBER.finditer(text):
        last = match.group()
    return last.replace("$", "") if last else None


_FALLBACKS = (
    ("answer_tags", _answer_tags),
    ("phrase", _phrase),
    ("bare", _bare),
    ("last_formula", _last_formula),
    ("last_number", _last_number),
)
