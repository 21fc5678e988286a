"""Sums, differences, products and short word problems, made by the program: what a small pretrained model can begin to
answer, so that reinforcement learning has something to amplify.

Splits are disjoint by the numbers of a question, whatever its words are.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from aha.tasks import math_word
from aha.tasks.base import Task
from aha.tasks.splits import check_split, collect, short_hash, split_of
from aha.types import Problem

NAMES = ("Anna", "Ben", "Carla", "David", "Emma", "Felix", "Grace", "Hugo", "Ines", "Jack", "Lena", "Omar")
THINGS = ("apples", "books", "coins", "eggs", "marbles", "pencils", "stamps", "stickers", "cards", "shells")
PLACES = ("box", "bag", "basket", "drawer", "jar")


@dataclass(frozen=True, slots=True)
class QuestionKind:
    """One kind of question: how many numbers it draws, from what ranges, its answer, and its wordings."""

    name: str
    ranges: tuple[tuple[int, int], ...]
    answer: Callable[..., int]
    wordings: tuple[str, ...]  # {0}, {1}, ... are the numbers, {name}, {other}, {things}, {place} words


KINDS: tuple[QuestionKind, ...] = (
    QuestionKind("sum", ((10, 99), (10, 99)), lambda a, b: a + b,
         ("What is {0} + {1}?", "Calculate {0} + {1}.", "Add {0} and {1}.")),
    QuestionKind("difference", ((10, 99), (10, 99)), lambda a, b: a - b,
         ("What is {0} - {1}?", "Calculate {0} - {1}.", "Subtract {1} from {0}.")),
    QuestionKind("product", ((11, 99), (2, 9)), lambda a, b: a * b,
         ("What is {0} * {1}?", "Calculate {0} * {1}.", "Multiply {0} by {1}.")),
    QuestionKind("word, one step", ((5, 60), (5, 60)), lambda a, b: a + b,
         ("{name} has {0} {things} and gets {1} more. How many {things} does {name} have now?",
          "There are {0} {things} in a {place} and {1} {things} on the table. How many {things} are there in all?",
          "{name} found {0} {things} and {other} found {1}. How many {things} did they find together?")),
    QuestionKind("word, one step", ((20, 90), (5, 60)), lambda a, b: a - b,
         ("{name} had {0} {things} and gave {1} to {other}. How many {things} are left?",
          "A {place} held {0} {things}. {name} took out {1}. How many {things} are still in the {place}?",
          "{name} has {0} {things}, {other} has {1}. How many more does {name} have?")),
    QuestionKind("word, one step", ((3, 20), (2, 9)), lambda a, b: a * b,
         ("Each pack holds {0} {things}. How many {things} are in {1} packs?",
          "{name} buys {0} {things} a day. How many {things} does {name} buy in {1} days?")),
    QuestionKind("word, two steps", ((5, 60), (5, 40), (3, 30)), lambda a, b, c: a + b - c,
         ("{name} has {0} {things}, buys {1} more and gives {2} to {other}. How many {things} does {name} have left?",
          "A {place} holds {0} {things}. {name} puts in {1} and takes out {2}. How many {things} are in it now?")),
    QuestionKind("word, two steps", ((3, 20), (2, 9), (3, 30)), lambda a, b, c: a * b + c,
         ("{name} buys {1} packs of {0} {things} and already has {2}. How many {things} does {name} have in all?",
          "Each of {1} children brings {0} {things}, and the teacher brings {2}. How many {things} are there?")),
)  # fmt: skip
"""Equal names are one kind in evaluations."""


def make_problem(kind: QuestionKind, numbers: tuple[int, ...], rng: random.Random) -> Problem:
    """A question of a kind about these numbers, in one of its wordings."""
    name, other = rng.sample(NAMES, 2)
    wording = rng.choice(kind.wordings)
    text = wording.format(
        *numbers, name=name, other=other, things=rng.choice(THINGS), place=rng.choice(PLACES)
    )
    return Problem(
        id=f"arithmetic-{short_hash(text)}",
        task="arithmetic",
        messages=({"role": "user", "content": text},),
        answer=str(kind.answer(*numbers)),
        metadata={"kind": kind.name, "numbers": numbers},
    )


def generate(split: str, rng: random.Random) -> Iterator[Problem]:
    """Questions of a split without end, each kind as often as the others; answers are at least 0."""
    while True:
        kind = rng.choice(KINDS)
        numbers = tuple(rng.randint(low, high) for low, high in kind.ranges)
        if split_of(",".join(map(str, sorted(numbers)))) == split and kind.answer(*numbers) >= 0:
            yield make_problem(kind, numbers, rng)


def task() -> Task:
    """Arithmetic with short answers, graded by the math verifier."""

    def load(split: str, n: int, seed: int) -> list[Problem]:
        check_split("arithmetic", split)
        return collect("arithmetic", generate(split, random.Random(f"arithmetic:{split}:{seed}")), split, n)

    return Task(
        "arithmetic", load, math_word.verify, math_word.verify_lenient,
        math_word.vote, lambda problem: problem.metadata["kind"],
    )  # fmt: skip
