"""Families of small functions to ask for: a sentence, a solution, a reference and inputs, by parameters.

The reference is a function of ours; the solution is text, for tests and for a corpus to learn from. A family
without parameters is one problem; its examples differ, its content does not.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

Inputs = Callable[[random.Random, int], list[Any]]
"""Draws one list of arguments; the second argument is the largest number to use."""


@dataclass(frozen=True, slots=True)
class Family:
    """``english`` and ``chinese`` say what f returns, ``solution`` is an expression; all three are formatted
    with the parameters a and b. ``reference(arguments, a, b)`` is what f must return."""

    name: str
    arguments: str  # f's parameters as written in its definition
    english: str
    chinese: str
    solution: str
    reference: Callable[..., Any]
    inputs: Inputs
    ranges: tuple[tuple[int, int], ...] = ()  # of the parameters, inclusive

    def parameters(self, rng: random.Random) -> dict[str, int]:
        """Random parameters: none, a, or a and b."""
        return {key: rng.randint(*limits) for key, limits in zip("ab", self.ranges, strict=False)}

    def program(self, parameters: dict[str, int]) -> str:
        """A right program."""
        return f"def f({self.arguments}):\n    return {self.solution.format(**parameters)}\n"


def _number(rng: random.Random, high: int) -> list[Any]:
    return [rng.randint(0, high)]


def _signed(rng: random.Random, high: int) -> list[Any]:
    return [rng.choice((0, 1, -1, 1, -1)) * rng.randint(1, high)]


def _two(rng: random.Random, high: int) -> list[Any]:
    a = rng.randint(0, high)
    return [a, rng.choice((a, rng.randint(0, high), rng.randint(0, high), rng.randint(0, high)))]


def _numbers(rng: random.Random, high: int) -> list[Any]:
    return [[rng.randint(0, high) for _ in range(rng.randint(0, 5))]]


def _some_numbers(rng: random.Random, high: int) -> list[Any]:
    return [[rng.randint(0, high) for _ in range(rng.randint(1, 5))]]


def _word(rng: random.Random, high: int) -> list[Any]:
    return ["".join(rng.choice("abcde") for _ in range(rng.randint(0, 6)))]


FAMILIES: tuple[Family, ...] = (
    Family("add", "x", "x plus {a}", "x加{a}", "x + {a}", lambda x, a: x + a, _number, ((1, 20),)),
    Family("subtract", "x", "x minus {a}", "x减{a}", "x - {a}", lambda x, a: x - a, _number, ((1, 20),)),
    Family("times", "x", "{a} times x", "x的{a}倍", "{a} * x", lambda x, a: a * x, _number, ((2, 10),)),
    Family(
        "linear", "x", "{a} times x, plus {b}", "x的{a}倍加{b}", "{a} * x + {b}",
        lambda x, a, b: a * x + b, _number, ((2, 9), (1, 9)),
    ),
    Family(
        "remainder", "x", "the remainder of x divided by {a}", "x除以{a}的余数", "x % {a}",
        lambda x, a: x % a, _number, ((2, 12),),
    ),
    Family(
        "quotient", "x", "x divided by {a}, rounded down", "x除以{a}取整", "x // {a}",
        lambda x, a: x // a, _number, ((2, 9),),
    ),
    Family("square", "x", "x times x, plus {a}", "x乘x加{a}", "x * x + {a}",
           lambda x, a: x * x + a, lambda rng, high: [rng.randint(0, min(high, 12))], ((0, 9),)),
    Family("absolute", "x", "the absolute value of x, plus {a}", "x的绝对值加{a}", "abs(x) + {a}",
           lambda x, a: abs(x) + a, _signed, ((0, 9),)),
    Family("sign", "x", "1 if x is above {a}, -1 if it is below, else 0", "x大于{a}为1，小于为-1，否则为0",
           "(x > {a}) - (x < {a})", lambda x, a: (x > a) - (x < a),
           lambda rng, high: [rng.choice((rng.randint(0, high), rng.randint(0, 9)))], ((0, 9),)),
    Family("even", "x", "True if x plus {a} is even, else False", "x加{a}是偶数为True，否则为False",
           "(x + {a}) % 2 == 0", lambda x, a: (x + a) % 2 == 0, _number, ((0, 9),)),
    Family("maximum", "x, y", "the larger of x and y, plus {a}", "x和y中大的数加{a}", "max(x, y) + {a}",
           lambda x, y, a: max(x, y) + a, _two, ((0, 9),)),
    Family("minimum", "x, y", "the smaller of x and y, plus {a}", "x和y中小的数加{a}", "min(x, y) + {a}",
           lambda x, y, a: min(x, y) + a, _two, ((0, 9),)),
    Family("weighted", "x, y", "{a} times x, plus {b} times y", "x的{a}倍加y的{b}倍", "{a} * x + {b} * y",
           lambda x, y, a, b: a * x + b * y, lambda rng, high: [rng.randint(0, 9), rng.randint(0, 9)],
           ((1, 9), (1, 9))),
    Family("difference", "x, y", "the difference of x and y, without sign, plus {a}", "x和y的差的绝对值加{a}",
           "abs(x - y) + {a}", lambda x, y, a: abs(x - y) + a, _two, ((0, 9),)),
    Family("sum", "xs", "the sum of the list xs, plus {a}", "列表xs的和加{a}", "sum(xs) + {a}",
           lambda xs, a: sum(xs) + a, _numbers, ((0, 9),)),
    Family("length", "xs", "{a} times the length of the list xs", "列表xs的长度的{a}倍", "{a} * len(xs)",
           lambda xs, a: a * len(xs), _numbers, ((1, 9),)),
    Family("first", "xs", "the first {a} of the list xs", "列表xs的前{a}个", "xs[:{a}]",
           lambda xs, a: xs[:a], _numbers, ((1, 4),)),
    Family("drop", "xs", "the list xs without its first {a}", "列表xs去掉前{a}个", "xs[{a}:]",
           lambda xs, a: xs[a:], _numbers, ((1, 4),)),
    Family("above", "xs", "the numbers of the list xs above {a}", "列表xs中大于{a}的数",
           "[x for x in xs if x > {a}]", lambda xs, a: [x for x in xs if x > a], _numbers, ((1, 9),)),
    Family("count_above", "xs", "how many of the list xs are above {a}", "列表xs中有几个大于{a}",
           "sum(x > {a} for x in xs)", lambda xs, a: sum(x > a for x in xs), _numbers, ((1, 9),)),
    Family("count_multiples", "xs", "how many of the list xs are multiples of {a}", "列表xs中有几个是{a}的倍数",
           "sum(x % {a} == 0 for x in xs)", lambda xs, a: sum(x % a == 0 for x in xs), _numbers, ((2, 5),)),
    Family("each_plus", "xs", "the list xs with {a} added to each", "列表xs每个数加{a}", "[x + {a} for x in xs]",
           lambda xs, a: [x + a for x in xs], _numbers, ((1, 9),)),
    Family("largest", "xs", "the largest of the list xs, plus {a}", "列表xs中最大的数加{a}", "max(xs) + {a}",
           lambda xs, a: max(xs) + a, _some_numbers, ((0, 9),)),
    Family("reverse", "xs", "the list xs in reverse", "列表xs倒过来", "xs[::-1]", lambda xs: xs[::-1], _numbers),
    Family("ordered", "xs", "the list xs in order, the smallest first", "列表xs从小到大", "sorted(xs)",
           lambda xs: sorted(xs), _numbers),
    Family("repeat", "s", "the text s written {a} times", "文本s重复{a}次", "s * {a}",
           lambda s, a: s * a, _word, ((2, 5),)),
    Family("prefix", "s", "the first {a} letters of the text s", "文本s的前{a}个字母", "s[:{a}]",
           lambda s, a: s[:a], _word, ((1, 4),)),
)  # fmt: skip

BY_NAME = {family.name: family for family in FAMILIES}


def draw_tests(
    family: Family, parameters: dict[str, int], rng: random.Random, n: int, high: int, bound: int | None
) -> list[tuple[list[Any], Any]] | None:
    """``n`` different (arguments, result) pairs whose numbers stay within ``bound``; None if they are not
    to be had. At least two results differ, so that a constant does not pass."""
    distinct: dict[str, tuple[list[Any], Any]] = {}
    for _ in range(20 * n):
        arguments = family.inputs(rng, high)
        result = family.reference(*arguments, **parameters)
        if bound is None or _largest([arguments, result]) <= bound:
            distinct.setdefault(repr(arguments), (arguments, result))
        if len(distinct) == n:
            break
    tests = list(distinct.values())
    return tests if len(tests) == n and len({repr(result) for _, result in tests}) > 1 else None


def _largest(value: Any) -> int:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return max(map(_largest, value), default=0)
    return abs(value) if isinstance(value, int) else 0
