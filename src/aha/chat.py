"""The only place that renders prompts and reads ``<think>`` and ``<answer>`` out of completions.

Rendering: a base model gets the template of the DeepSeek-R1 paper, an instruct model its own. Whether the
prompt already opens ``<think>`` is read off the rendered text, never configured.

Parsing: one scan over the text for the four tags, without regular expressions, in time linear in the text
whatever the model wrote. A tag inside code (inline backticks on one line, or a closed fence of backticks) is
quoted: it is a word about the format and not part of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from aha.types import AhaError, Message

R1_ZERO_TEMPLATE = (
    "A conversation between User and Assistant. The user asks a question, and the Assistant solves it. "
    "The assistant first thinks about the reasoning process in the mind and then provides the user with the "
    "answer. The reasoning process and answer are enclosed within <think>...</think> and "
    "<answer>...</answer> tags, respectively, i.e., <think> reasoning process here </think> "
    "<answer> answer here </answer>. User: {prompt} Assistant:"
)
"""The template of DeepSeek-R1-Zero (arXiv 2501.12948, Table 1); ``{prompt}`` stands for the question."""

TAGS: tuple[str, ...] = ("<think>", "</think>", "<answer>", "</answer>")
THINK, END_THINK, ANSWER, END_ANSWER = TAGS

Template = Literal["auto", "r1_zero", "chat", "none"]


# ---------------------------------------------------------------------------------------- rendering


@dataclass(frozen=True, slots=True)
class Rendered:
    """A prompt as the model will read it."""

    text: str
    opened_think: bool  # the text itself ends in "<think>": the completion starts inside the thinking
    template: str  # the template used: "r1_zero", "chat" or "none", never "auto"


def render(
    messages: Sequence[Message],
    tokenizer: Any = None,
    *,
    template: Template = "auto",
    chat_options: Mapping[str, Any] | None = None,
) -> Rendered:
    """The prompt text for ``messages``, ready for the model to continue.

    ``auto``: the tokenizer's own chat template if it has one, else ``r1_zero``. ``r1_zero``: the paper's
    template around the last user message. ``chat``: the tokenizer's chat template, with ``chat_options``
    handed to it (``enable_thinking`` and the like). ``none``: the contents alone, blank lines between.

    Raises AhaError where the template cannot be applied.
    """
    chosen = _choose(template, tokenizer)
    if chosen == "r1_zero":
        text = R1_ZERO_TEMPLATE.replace("{prompt}", _last_user(messages))
    elif chosen == "chat":
        text = _apply_chat_template(messages, tokenizer, chat_options or {})
    else:
        text = "\n\n".join(_content(message) for message in messages)
    return Rendered(text, opened_think=text.rstrip().endswith(THINK), template=chosen)


def _choose(template: str, tokenizer: Any) -> str:
    has_chat = bool(getattr(tokenizer, "chat_template", None))
    if template == "auto":
        return "chat" if has_chat else "r1_zero"
    if template not in ("r1_zero", "chat", "none"):
        raise AhaError(f"unknown prompt template {template!r}; use auto, r1_zero, chat or none")
    if template == "chat" and not has_chat:
        raise AhaError("template=chat, but the tokenizer has no chat template; use r1_zero for a base model")
    return template


def _content(message: Message) -> str:
    content = message.get("content")
    if not isinstance(content, str):
        role = message.get("role", "?")
        raise AhaError(f"the {role} message's content is {type(content).__name__}, not text")
    return content


def _last_user(messages: Sequence[Message]) -> str:
    for message in reversed(messages):
        if message.get("role") == "user":
            return _content(message)
    raise AhaError("the r1_zero template needs a user message, and there is none")


def _apply_chat_template(messages: Sequence[Message], tokenizer: Any, options: Mapping[str, Any]) -> str:
    try:
        text = tokenizer.apply_chat_template(
            [dict(message) for message in messages], tokenize=False, add_generation_prompt=True, **options
        )
    except Exception as error:  # the template is the model's own program and may raise anything
        raise AhaError(f"the tokenizer's chat template refused the messages: {error}") from error
    return str(text)


def render_completion(message: Message, rendered: Rendered) -> str:
    """What an assistant's message adds after a rendered prompt, without the end-of-text mark.

    A ``reasoning`` field stands in front between think tags. A thinking that the prompt opened is not opened
    again, and is closed at once where the message has none. A space parts prompt and completion where no
    chat template does, as base models continue ``Assistant:``.
    """
    text, reasoning = _content(message), message.get("reasoning")
    if reasoning:
        text = f"{THINK}{reasoning}{END_THINK}{text}"
    if rendered.opened_think:
        bare = text.strip()
        return bare.removeprefix(THINK) if END_THINK in bare else f"\n{END_THINK}\n\n{bare}"
    spaced = rendered.template != "chat" and not rendered.text[-1:].isspace()
    return f" {text.lstrip()}" if spaced else text


def encode_prompt(rendered: Rendered, tokenizer: Any) -> list[int]:
    """Token ids of a rendered prompt: special tokens that the tokenizer puts in front (BOS) appear once,
    whether or not the template wrote them too; those it puts behind (EOS) are left off, since the
    completion follows here."""
    bare = _ids(tokenizer, rendered.text, special=False)
    prefix = _prefix(_ids(tokenizer, rendered.text, special=True), bare)
    return bare if bare[: len(prefix)] == prefix else prefix + bare


def _ids(tokenizer: Any, text: str, *, special: bool) -> list[int]:
    return [int(i) for i in tokenizer.encode(text, add_special_tokens=special)]


def _prefix(full: list[int], bare: list[int]) -> list[int]:
    for start in range(len(full) - len(bare) + 1):
        if full[start : start + len(bare)] == bare:
            return full[:start]
    return []


_BASE_NAMES = ("base", "pt", "pretrain", "pretrained")
_INSTRUCT_NAMES = ("instruct", "chat", "it", "sft", "dpo", "rlhf", "distill", "thinking", "assistant")


def warn_template(rendered: Rendered, tokenizer: Any, *, model_name: str = "") -> str:
    """A warning in words where a base model got a chat template, or an instruct model did not; else "".

    The kind of the model is a guess. A part of ``model_name`` decides if it can ("base", "instruct", "chat",
    "it", ...). Otherwise the tokenizer does: a chat-tuned model stops at the token with which its template
    ends a turn, so an EOS token that the template never writes (as in base models that ship their instruct
    sibling's template) speaks for a base model.
    """
    kind = _kind_of(tokenizer, model_name)
    shown = model_name or "this model"
    if kind == "base" and rendered.template == "chat":
        return (
            f"{shown} looks like a base model, but its prompts use a chat template that it may never have "
            "been trained on; template=r1_zero is the paper's template for base models"
        )
    if kind == "instruct" and rendered.template != "chat":
        return (
            f"{shown} looks like an instruct model, but its prompts use the template {rendered.template!r}; "
            "template=chat uses the model's own"
        )
    return ""


def _kind_of(tokenizer: Any, model_name: str) -> Literal["base", "instruct", "unknown"]:
    name = model_name.rstrip("/").rsplit("/", 1)[-1].lower()
    parts = set(name.replace("_", "-").replace(".", "-").split("-"))
    if parts & set(_INSTRUCT_NAMES):  # first: "base" also occurs in names such as "v3-base-instruct"
        return "instruct"
    if parts & set(_BASE_NAMES):
        return "base"
    template = getattr(tokenizer, "chat_template", None)
    if not template:
        return "base" if tokenizer is not None else "unknown"
    eos = getattr(tokenizer, "eos_token", None)
    if not eos:
        return "unknown"
    return "instruct" if "eos_token" in str(template) or str(eos) in str(template) else "base"


# ---------------------------------------------------------------------------------------- parsing


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
    found: list[int | None] = [None] * len(runs)
    seen: dict[tuple[int, int], int] = {}
    for i in reversed(range(len(runs))):
        key = (runs[i].line, runs[i].length)
        found[i] = seen.get(key)
        seen[key] = i
    return found


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
