"""Where an answer stands: what the prompt asked for, read by verifiers and by the format reward alike.

A problem that was asked carries the place in its metadata (``chat.PLACE``): in the answer tags, in a box, or nowhere
in particular. Without it both are looked at.
"""

from __future__ import annotations

from aha import chat
from aha.rewards.code import find_program
from aha.rewards.math.extract import Extraction, extract
from aha.types import Problem

TAGS_OR_BOX = Extraction(answer_tags=True)
_BOX = Extraction()
_MARKS = " \t*_>#`"


def place_of(problem: Problem) -> chat.Place | None:
    """Where the answer was asked to stand; None where the problem was not asked by a prompt yet."""
    return problem.metadata.get(chat.PLACE)


def answer_text(problem: Problem, text: str) -> str | None:
    """The part of a model's whole output that is its answer, for ``extract`` to read: the answer tags alone where the
    prompt asked for tags, the text without them where it asked for a box. None for tags that are not there."""
    place = place_of(problem)
    if place == "tags":
        answer = chat.parse(text).answer
        return None if answer is None else f"{chat.ANSWER}{answer}{chat.END_ANSWER}"
    return text


def options_of(problem: Problem) -> Extraction:
    """Where else than in a box an answer is looked for."""
    return _BOX if place_of(problem) == "boxed" else TAGS_OR_BOX


def stated(problem: Problem, text: str) -> str | None:
    """The answer's text where the prompt asked for it, without the tags or the box; None if it is not there."""
    place, tagged = place_of(problem), chat.parse(text).answer
    if place == "tags" or (place != "boxed" and tagged is not None):
        boxed = extract(tagged, _BOX) if tagged else None
        return boxed.text if boxed else tagged
    boxed = extract(text, _BOX)
    return boxed.text if boxed and boxed.text.strip() else None


def answer_line(text: str) -> str | None:
    """What stands behind "Answer:" at the beginning of a line, the last one after the thinking; None without."""
    body = chat.parse(text, require_answer=False).body
    for line in reversed(body.splitlines()):
        bare = line.strip(_MARKS)
        word = bare.lower().removeprefix("final ").removeprefix("最终")
        name = next((n for n in ("answer", "答案") if word.startswith(n)), None)
        if name is None:
            continue
        rest = bare[len(bare) - len(word) + len(name) :].lstrip(_MARKS)
        if rest[:1] in (":", "："):
            return rest[1:].strip(_MARKS + "$") or None
    return None


def choice_text(problem: Problem, text: str) -> str | None:
    """The answer to a question with options: under a box the line "Answer: LETTER" before the box."""
    line = answer_line(text) if place_of(problem) == "boxed" else None
    return line or stated(problem, text)


def violation(problem: Problem, text: str, *, opened_think: bool = False) -> str:
    """Why a completion does not keep the form that a prompt without tags asks for, in words; "" if it does.

    A thinking, where there is one, must be closed and followed by something; the answer must stand where it was asked
    for.
    """
    whole = chat.THINK + text if opened_think else text
    tags = [t.name for t in chat.find_tags(whole) if not t.quoted]
    if chat.THINK in tags or chat.END_THINK in tags:
        parsed = chat.parse(text, opened_think=opened_think, require_answer=False)
        if parsed.problem:
            return parsed.problem
    return _missing(problem, whole)


def _missing(problem: Problem, text: str) -> str:
    kind = chat.kind_of(problem)
    if kind == "program":
        return "" if find_program(text) else "no Python block after the thinking"
    if kind == "choice":
        return (
            "" if (choice_text(problem, text) or "").strip() else "no line 'Answer: LETTER' and no \\boxed{}"
        )
    if kind == "free":
        return "" if chat.parse(text, require_answer=False).body.strip() else "nothing is said"
    if (stated(problem, text) or "").strip():
        return ""
    return "no \\boxed{} after the thinking" + ("" if place_of(problem) == "boxed" else ", and no <answer>")
