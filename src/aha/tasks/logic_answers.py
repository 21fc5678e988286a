"""Reading who is a knight and who a knave out of what a model wrote: in any order, case and language."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aha.rewards.places import stated
from aha.types import Outcome, Problem, Verdict

ROLES = {"en": ("knave", "knight"), "zh": ("无赖", "骑士")}
"""By language: (knave, knight)."""
_KNIGHT = r"knights?|骑士|truth[- ]?tellers?"
_KNAVE = r"knaves?|无赖|liars?|骗子"
_NEGATION = r"not|isn't|aren't|neither|nor|不是|并非|非"
MAX_CHARS = 2000
"""An answer is a short list; longer ones are read from their end."""


@dataclass(slots=True)
class _Reading:
    """The state of reading an answer from left to right."""

    pending: list[str]
    roles: dict[str, bool]
    role: bool | None = None  # of a list that names the role first ("knights: A, C")
    problem: str = ""

    def assign(self, name: str, knight: bool) -> None:
        if self.roles.setdefault(name, knight) != knight:
            self.problem = self.problem or f"{name} is called both"


def read_assignment(text: str, people: Sequence[str]) -> tuple[dict[str, bool], str]:
    """(who is a knight by name, what is wrong with the answer in words or "").

    Reads "A knight, B knave", "A and C are knights; B is a knave", "Knights: A, C. Knaves: B", the same in
    Chinese, all in any case. "Not a knight" is refused: the answer is to say what each person is. A lone "a"
    before a role is an article if somebody still waits for a role, and the person A if not. Linear in
    ``text``.
    """
    by_folded = {name.casefold(): name for name in people}
    names = "|".join(re.escape(name) for name in sorted(people, key=len, reverse=True))
    tokens = re.compile(
        rf"(?P<knight>{_KNIGHT})|(?P<knave>{_KNAVE})|(?P<not>(?<![a-z])(?:{_NEGATION})(?![a-z]))"
        rf"|(?<![a-z])(?P<name>{names})(?![a-z])",
        re.IGNORECASE | re.ASCII,
    )
    matches = list(tokens.finditer(text))
    reading = _Reading([], {})
    for i, match in enumerate(matches):
        kind, word = match.lastgroup, match.group()
        if kind == "not":
            return reading.roles, "says what somebody is not"
        if kind == "name":
            following = matches[i + 1] if i + 1 < len(matches) else None
            if not _is_article(text, match, following, reading):
                _name(reading, by_folded[word.casefold()], text, match)
            continue
        _role(reading, kind == "knight", text, match)
    if not reading.problem and reading.pending:
        reading.problem = f"nothing is said of {', '.join(reading.pending)}"
    return reading.roles, reading.problem


def _is_article(text: str, match: re.Match, following: re.Match | None, reading: _Reading) -> bool:
    if match.group() not in ("a", "A") or following is None or following.lastgroup == "name":
        return False
    waiting = bool(reading.pending) and text[match.end() : following.start()].isspace()
    return waiting and (match.group() == "a" or following.group().isupper())


def _name(reading: _Reading, name: str, text: str, match: re.Match) -> None:
    if reading.role is None:
        reading.pending.append(name)
    else:
        reading.assign(name, reading.role)


def _role(reading: _Reading, knight: bool, text: str, match: re.Match) -> None:
    if reading.pending:
        for name in reading.pending:
            reading.assign(name, knight)
        reading.pending.clear()
    elif text[match.end() : match.end() + 8].lstrip(" *").startswith((":", "：", "=", "是", "are ", "is ")):
        reading.role = knight  # the names follow
    elif reading.role is None:
        reading.problem = reading.problem or "a role without a name"


def grade_assignment(problem: Problem, text: str) -> Verdict:
    """Does ``text`` say of every person what they are, without contradiction, and rightly?"""
    people: Sequence[str] = problem.metadata["people"]
    assignment, trouble = read_assignment(text[-MAX_CHARS:], people)
    if trouble:
        return Verdict(Outcome.WRONG, trouble)
    if missing := [name for name in people if name not in assignment]:
        return Verdict(Outcome.WRONG, f"nothing is said of {', '.join(missing)}")
    right: Mapping[str, bool] = dict(zip(people, problem.metadata["knights"], strict=True))
    wrong = [name for name in people if assignment[name] != right[name]]
    return Verdict(Outcome.WRONG, f"wrong about {', '.join(wrong)}") if wrong else Verdict(Outcome.CORRECT)


def _answer(problem: Problem, text: str) -> str | None:
    """What stands where the prompt asked for the answer."""
    answer = stated(problem, text)
    return None if answer is None else answer.replace("\\text", " ")


def verify(problem: Problem, text: str) -> Verdict:
    """Grade the answer tags' content, or the last box."""
    answer = _answer(problem, text)
    if answer is None:
        return Verdict(Outcome.NO_ANSWER, "no <answer> and no box")
    return grade_assignment(problem, answer)


def verify_lenient(problem: Problem, text: str) -> Verdict:
    """Grade the answer where it should stand, else the last line that says something of everybody."""
    answer = _answer(problem, text)
    if answer is None:
        people: Sequence[str] = problem.metadata["people"]
        for line in reversed(text[-MAX_CHARS:].splitlines()):
            if set(read_assignment(line, people)[0]) == set(people):
                return grade_assignment(problem, line)
        return Verdict(Outcome.NO_ANSWER, "no line says what everybody is")
    return grade_assignment(problem, answer)


def vote(problem: Problem, text: str) -> str | None:
    """Equal assignments vote together; what cannot be read votes by its words."""
    answer = _answer(problem, text)
    if answer is None:
        return None
    people: Sequence[str] = problem.metadata["people"]
    assignment, trouble = read_assignment(answer[-MAX_CHARS:], people)
    if trouble or len(assignment) != len(people):
        return "unread:" + " ".join(answer.split()).casefold()
    return ",".join(f"{name}={'knight' if assignment[name] else 'knave'}" for name in people)
