"""Knights and knaves: who tells the truth? Puzzles with exactly one solution, made by a program.

The puzzles of Logic-RL (arXiv 2502.14768) with knobs for their difficulty. Every person is a knight, who
always tells the truth, or a knave, who always lies, and says one thing. Uniqueness is proved by trying all
2^n assignments. Splits are disjoint by what is said, whatever the people are called, in whatever order they
stand and in which language they speak.
"""

from __future__ import annotations

import functools
import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from aha.tasks.base import Task
from aha.tasks.logic_answers import ROLES, grade_assignment, verify, verify_lenient, vote
from aha.tasks.splits import check_split, collect, short_hash, split_of
from aha.types import Problem

__all__ = ["FULL", "TINY", "LogicDifficulty", "Statement", "grade_assignment", "load", "make_problem", "task"]

LETTERS = ("A", "B", "C", "D", "E")
NAMES = ("Tom", "Ann", "Ben", "Mia", "Sam", "Zoe", "Leo", "Eva")
SINGLE = ("knave", "knight", "same", "different")
MAX_MISSES = 5_000
PAIR = ("both_knights", "both_knaves", "some_knave", "some_knight", "iff")


@dataclass(frozen=True, slots=True)
class LogicDifficulty:
    """How many people (at most 5), what they are called, what they may say, and how many ask in Chinese."""

    people: tuple[int, ...] = (2, 3)
    names: tuple[str, ...] = LETTERS
    kinds: tuple[str, ...] = (*SINGLE, *PAIR)
    chinese: float = 0.2


TINY = LogicDifficulty()
"""For a model of a few million parameters."""
FULL = LogicDifficulty(people=(3, 4, 5), names=NAMES)
"""For real models."""


@dataclass(frozen=True, slots=True)
class Statement:
    """What one person says about one or two people, by index; a pair may hold the speaker."""

    kind: str
    about: tuple[int, ...]

    def holds(self, speaker: int, knights: Sequence[bool]) -> bool:
        """Whether it is true, given who is a knight."""
        first, second = knights[self.about[0]], knights[self.about[-1]]
        match self.kind:
            case "knave":
                return not first
            case "knight":
                return first
            case "same":
                return first == knights[speaker]
            case "different":
                return first != knights[speaker]
            case "both_knights":
                return first and second
            case "both_knaves":
                return not (first or second)
            case "some_knave":
                return not (first and second)
            case "some_knight":
                return first or second
            case "iff":
                return first == second
        raise ValueError(f"no kind of statement {self.kind!r}")


def solutions(statements: Sequence[Statement]) -> list[tuple[bool, ...]]:
    """Every assignment (True = knight) under which knights' statements are true and knaves' are false."""
    return [
        knights
        for knights in itertools.product((True, False), repeat=len(statements))
        if all(s.holds(i, knights) == knights[i] for i, s in enumerate(statements))
    ]


def content_key(statements: Sequence[Statement]) -> str:
    """Equal for puzzles that differ only in the order of the people."""
    forms = []
    for order in itertools.permutations(range(len(statements))):
        moved = [""] * len(statements)
        for i, statement in enumerate(statements):
            about = sorted(order[j] for j in statement.about)
            moved[order[i]] = f"{statement.kind}{about}"
        forms.append("|".join(moved))
    return "logic:" + min(forms)


@functools.lru_cache(maxsize=50_000)
def examine(statements: tuple[Statement, ...]) -> str | None:
    """The split of a puzzle with exactly one solution; None for any other."""
    return split_of(content_key(statements)) if len(solutions(statements)) == 1 else None


# --- in words ------------------------------------------------------------------------------------------

_ENGLISH = {
    "knave": "{0} is a knave",
    "knight": "{0} is a knight",
    "same": "{0} and I are the same kind",
    "different": "{0} and I are not the same kind",
    "both_knights": "{0} and {1} are both knights",
    "both_knaves": "{0} and {1} are both knaves",
    "some_knave": "at least one of {0} and {1} is a knave",
    "some_knight": "at least one of {0} and {1} is a knight",
    "iff": "{0} is a knight if and only if {1} is a knight",
}
_CHINESE = {
    "knave": "{0}是无赖",
    "knight": "{0}是骑士",
    "same": "{0}和我是同类",
    "different": "{0}和我不是同类",
    "both_knights": "{0}和{1}都是骑士",
    "both_knaves": "{0}和{1}都是无赖",
    "some_knave": "{0}和{1}至少有一个是无赖",
    "some_knight": "{0}和{1}至少有一个是骑士",
    "iff": "当且仅当{1}是骑士时，{0}是骑士",
}


def say(statement: Statement, speaker: int, names: Sequence[str], language: str = "en") -> str:
    """The statement in words; whoever speaks of themselves says "I"."""
    about = [i for i in statement.about if i != speaker] + [i for i in statement.about if i == speaker]
    if language == "zh":
        return _CHINESE[statement.kind].format(*("我" if i == speaker else names[i] for i in about))
    me = "me" if statement.kind in ("some_knave", "some_knight") else "I"
    text = _ENGLISH[statement.kind].format(*(me if i == speaker else names[i] for i in about))
    return text.replace("only if I is", "only if I am")


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"


def question(statements: Sequence[Statement], names: Sequence[str], language: str = "en") -> str:
    """The puzzle in words."""
    said = [say(s, i, names, language) for i, s in enumerate(statements)]
    if language == "zh":
        lines = "".join(f"{name}说：{text}。" for name, text in zip(names, said, strict=True))
        return (
            f"{'、'.join(names)}各是骑士或无赖。骑士只说真话，无赖只说假话。{lines}写出每个人是骑士还是无赖。"
        )
    lines = " ".join(f"{name} says: {text}." for name, text in zip(names, said, strict=True))
    return (
        f"{_listed(names)} are each a knight or a knave. Knights tell the truth, knaves lie. {lines} "
        "Answer with each name and knight or knave."
    )


def write_answer(knights: Sequence[bool], names: Sequence[str], language: str = "en") -> str:
    """The canonical answer: ``A knight, B knave``."""
    knave, knight = ROLES[language]
    between, gap = ("，", "") if language == "zh" else (", ", " ")
    return between.join(
        f"{name}{gap}{knight if k else knave}" for name, k in zip(names, knights, strict=True)
    )


def make_problem(statements: Sequence[Statement], names: Sequence[str], language: str = "en") -> Problem:
    """A Problem whose metadata hold the people, the statements and the solution.

    Raises ValueError if the statements do not have exactly one solution.
    """
    solved = solutions(statements)
    if len(solved) != 1:
        raise ValueError(f"{len(solved)} solutions instead of one")
    text = question(statements, names, language)
    return Problem(
        id=f"logic-{short_hash(text)}",
        task="logic",
        messages=({"role": "user", "content": text},),
        answer=write_answer(solved[0], names, language),
        language=language,
        metadata={
            "people": tuple(names),
            "knights": solved[0],
            "statements": tuple((s.kind, s.about) for s in statements),
        },
    )


def worked(problem: Problem) -> str:
    """The puzzle solved by trying one assignment after another, in words: text for a corpus to learn from."""
    names, language = problem.metadata["people"], problem.language
    statements = [Statement(kind, tuple(about)) for kind, about in problem.metadata["statements"]]
    yes, no, colon = ("对！", "不对。", "：") if language == "zh" else (" yes! ", " no. ", ": ")
    text = ""
    for knights in itertools.product((True, False), repeat=len(names)):
        text += write_answer(knights, names, language) + colon
        wrong = next((i for i, s in enumerate(statements) if s.holds(i, knights) != knights[i]), None)
        if wrong is None:
            return text + yes.strip()
        text += say(statements[wrong], wrong, names, language) + no
    raise ValueError("a puzzle without a solution")


# --- making them ---------------------------------------------------------------------------------------


def random_statement(rng: random.Random, speaker: int, n: int, kinds: Sequence[str]) -> Statement:
    """Something for one of ``n`` people to say: never about the speaker alone."""
    kind = rng.choice(kinds)
    others = [i for i in range(n) if i != speaker]
    if kind in SINGLE:
        return Statement(kind, (rng.choice(others),))
    return Statement(kind, tuple(sorted(rng.sample(range(n), 2))))


def generate(difficulty: LogicDifficulty, split: str, rng: random.Random) -> Iterator[Problem]:
    """Different puzzles of a split; ends after ``MAX_MISSES`` draws in a row that gave nothing new."""
    seen: set[tuple] = set()
    misses = 0
    while misses < MAX_MISSES:
        misses += 1
        n = rng.choice(difficulty.people)
        statements = tuple(random_statement(rng, i, n, difficulty.kinds) for i in range(n))
        language = "zh" if rng.random() < difficulty.chinese else "en"
        lettered = difficulty.names == LETTERS
        names = tuple(difficulty.names[:n] if lettered else rng.sample(difficulty.names, n))
        if examine(statements) == split and (statements, names, language) not in seen:
            misses = 0
            seen.add((statements, names, language))
            yield make_problem(statements, names, language)


def load(difficulty: LogicDifficulty, split: str, n: int, seed: int) -> list[Problem]:
    """At most ``n`` different puzzles of a split, the same for one seed; fewer where there are no more."""
    check_split("logic", split)
    rng = random.Random(f"logic:{split}:{seed}")
    return collect("logic", generate(difficulty, split, rng), split, n)


def task(difficulty: LogicDifficulty = TINY, name: str = "logic") -> Task:
    """Knights and knaves at a difficulty."""

    def load_split(split: str, n: int, seed: int) -> list[Problem]:
        return load(difficulty, split, n, seed)

    return Task(
        name, load_split, verify, verify_lenient, vote, lambda p: f"{len(p.metadata['people'])} people"
    )
