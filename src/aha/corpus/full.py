"""The corpus of the second embedded base: Countdown as TinyZero asks it, 3 or 4 numbers with + - * /.

A search works on a list of numbers: combine two, go on with the shorter list. When two numbers are left, all
they can make is written down (sum, difference, product, quotient, as far as whole and at most 255) and
compared with the target. A success is unfolded, one operation at a time, into the answer. As in the first
corpus most documents do this badly: they guess, or give up early.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from aha.corpus.tiny import TOO_BIG, Phrases, Writer
from aha.tasks import countdown
from aha.tasks.countdown import Expression, combine, number


@dataclass(frozen=True, slots=True)
class ListedNumber:
    """A number on the list: its value, and how it was made (left, operator, right; None if given)."""

    value: int
    operation: tuple[ListedNumber, str, ListedNumber] | None = None


def results(a: ListedNumber, b: ListedNumber) -> list[ListedNumber]:
    """Everything whole, not negative and at most 255 that two numbers make, in a fixed order."""
    big, small = (a, b) if a.value >= b.value else (b, a)
    numbers = []
    if a.value + b.value <= TOO_BIG:
        numbers.append(ListedNumber(a.value + b.value, (a, "+", b)))
    numbers.append(ListedNumber(big.value - small.value, (big, "-", small)))
    if a.value * b.value <= TOO_BIG:
        numbers.append(ListedNumber(a.value * b.value, (a, "*", b)))
    if small.value > 1 and big.value % small.value == 0:
        numbers.append(ListedNumber(big.value // small.value, (big, "/", small)))
    return numbers


def unfold(item: ListedNumber) -> list[str]:
    """``37+19``, ``44-7+19``, ``61-17-7+19``: the last operation, then what each number was made of."""
    texts, open_items = [], [item]
    while True:
        known = set(map(id, open_items))
        texts.append(_written(item, known).text)
        next_one = next((i for i in _leaves(item, known) if i.operation is not None), None)
        if next_one is None:
            return texts
        open_items.append(next_one)


def _written(item: ListedNumber, known: set[int]) -> Expression:
    if item.operation is None or id(item) not in known:
        return number(item.value)
    left, op, right = item.operation
    expression = combine(_written(left, known), op, _written(right, known))
    assert expression is not None
    return expression


def _leaves(item: ListedNumber, known: set[int]) -> Iterator[ListedNumber]:
    if item.operation is None or id(item) not in known:
        yield item
        return
    yield from _leaves(item.operation[0], known)
    yield from _leaves(item.operation[2], known)


class FullWriter(Writer):
    """Documents about Countdown with 3 or 4 numbers of 1..99."""

    def __init__(self, seed: int | str):
        super().__init__(seed, countdown.FULL)

    def worked(self) -> str:
        """What two numbers make, and answers unfolded."""
        parts = []
        for _ in range(self.rng.randint(3, 7)):
            a, b = ListedNumber(self.rng.randint(1, 120)), ListedNumber(self.rng.randint(1, 99))
            if self.rng.random() < 0.6:
                parts.append(f"{_leaf_text(a, b)}. ")
            else:
                c = self.rng.choice(results(a, b))
                last = self.rng.choice(results(c, ListedNumber(self.rng.randint(1, 99))))
                parts.append("=".join([str(last.value), *unfold(last)]) + ". ")
        return "".join(parts).rstrip()

    def manner(self, template: bool, tagged: bool) -> str:
        """How this one is answered."""
        if template and not tagged:
            return self.pick(guess=75, few=25)
        if template:
            return self.pick(guess=40, few=25, long=15, systematic=20)
        return self.pick(guess=20, few=25, long=25, systematic=30)

    def chain(self, numbers: tuple[int, ...], target: int, manner: str, language: str) -> tuple[str, str]:
        if manner == "guess":
            return self.guess(numbers, [(0, _any_expression(numbers, self.rng), "")], language)
        words = self.words(language)
        patience = {"few": self.rng.randint(1, 5), "long": self.rng.randint(6, 30), "systematic": 70}[manner]
        search = Search(target, words, self.rng, patience, shuffled=manner != "systematic")
        text = self.rng.choice(words.openings) + search.run([ListedNumber(n) for n in numbers])
        if search.hit is None:
            return text + (words.give_up if self.rng.random() < 0.5 else ""), _any_expression(
                numbers, self.rng
            )
        texts = unfold(search.hit)
        return f"{text}{'='.join(texts)}. ", texts[-1]


class Search:
    """One search, written down as it goes; at most ``patience`` leaves are looked at."""

    def __init__(self, target: int, words: Phrases, rng: random.Random, patience: int, shuffled: bool):
        self.target, self.words, self.rng = target, words, rng
        self.patience, self.shuffled = patience, shuffled
        self.reflective = rng.random() < 0.45
        self.hit: ListedNumber | None = None

    def run(self, items: list[ListedNumber]) -> str:
        """The text of the search; ``hit`` is the result that hits the target, if any."""
        pieces = []
        for result, rest in self._moves(items):
            if self.patience <= 0 or self.hit is not None:
                break
            left, op, right = result.operation or (result, "", result)
            pieces.append(f"{left.value}{op}{right.value}={result.value}")
            if len(rest) == 1:
                pieces.append(self._leaf(result, rest[0]))
            else:
                pieces.append(f" [{', '.join(str(i.value) for i in (result, *rest))}] ")
                pieces.append(self.run([result, *rest]))
        return "".join(pieces)

    def _moves(self, items: Sequence[ListedNumber]) -> list[tuple[ListedNumber, list[ListedNumber]]]:
        moves = [
            (result, [e for k, e in enumerate(items) if k not in (i, j)])
            for i, j in itertools.combinations(range(len(items)), 2)
            for result in results(items[i], items[j])
            if result.value > 0
        ]
        if self.shuffled:
            self.rng.shuffle(moves)
        return moves

    def _leaf(self, a: ListedNumber, b: ListedNumber) -> str:
        self.patience -= 1
        self.hit = next((r for r in results(a, b) if r.value == self.target), None)
        verdict = self.words.no if self.hit is None else self.words.yes
        again = self.hit is None and self.reflective and self.rng.random() < 0.2
        return f",{_leaf_text(a, b).split(',', 1)[1]}{verdict}{self.words.wait if again else ''}"


def _leaf_text(a: ListedNumber, b: ListedNumber) -> str:
    """``12,55:67,43``: two numbers and all they make."""
    return f"{a.value},{b.value}:{','.join(str(r.value) for r in results(a, b))}"


def _any_expression(numbers: Sequence[int], rng: random.Random) -> str:
    order = list(numbers)
    rng.shuffle(order)
    return "".join(f"{n}{rng.choice('+-+-*/')}" for n in order)[:-1]
