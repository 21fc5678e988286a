"""Exact arithmetic on expressions written by a model: a parser of our own, never ``eval``.

The grammar is ``+ - * /``, parentheses and non-negative integers. Linear in the length of the text;
depth, length and the size of every number are bounded, so hostile text costs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

MAX_CHARS = 400
MAX_DEPTH = 40
MAX_DIGITS = 12
_SYNONYMS = str.maketrans({"×": "*", "÷": "/", "−": "-", "–": "-", "（": "(", "）": ")", "·": "*"})


@dataclass(frozen=True, slots=True)
class ExactValue:
    """An expression's exact value and the integers it uses, in the order written."""

    value: Fraction
    numbers: tuple[int, ...]
    operators: frozenset[str]


class ExpressionError(ValueError):
    """The text is not an expression of the grammar, or divides by zero."""


def evaluate(text: str) -> ExactValue:
    """Evaluate ``text`` exactly. Raises ExpressionError, with the reason, on anything else."""
    text = text.strip().translate(_SYNONYMS)
    if not text:
        raise ExpressionError("empty expression")
    if len(text) > MAX_CHARS:
        raise ExpressionError(f"longer than {MAX_CHARS} characters")
    parser = _ArithmeticParser(text)
    value = parser.sum(0)
    parser.skip_spaces()
    if parser.at < len(text):
        raise ExpressionError(f"unexpected {text[parser.at]!r}")
    return ExactValue(value, tuple(parser.numbers), frozenset(parser.operators))


class _ArithmeticParser:
    def __init__(self, text: str):
        self.text, self.at = text, 0
        self.numbers: list[int] = []
        self.operators: set[str] = set()

    def skip_spaces(self) -> None:
        while self.at < len(self.text) and self.text[self.at] in " \t\n":
            self.at += 1

    def take(self, characters: str) -> str:
        """The next character if it is one of ``characters``, else the empty string."""
        self.skip_spaces()
        if self.at < len(self.text) and self.text[self.at] in characters:
            self.at += 1
            return self.text[self.at - 1]
        return ""

    def sum(self, depth: int) -> Fraction:
        value = self.product(depth)
        while op := self.take("+-"):
            self.operators.add(op)
            right = self.product(depth)
            value = value + right if op == "+" else value - right
        return value

    def product(self, depth: int) -> Fraction:
        value = self.atom(depth)
        while op := self.take("*/"):
            self.operators.add(op)
            right = self.atom(depth)
            if op == "/" and right == 0:
                raise ExpressionError("division by zero")
            value = value * right if op == "*" else value / right
        return value

    def atom(self, depth: int) -> Fraction:
        if depth > MAX_DEPTH:
            raise ExpressionError(f"nested deeper than {MAX_DEPTH}")
        if self.take("("):
            value = self.sum(depth + 1)
            if not self.take(")"):
                raise ExpressionError("missing ')'")
            return value
        return Fraction(self.integer())

    def integer(self) -> int:
        self.skip_spaces()
        start = self.at
        while self.at < len(self.text) and self.text[self.at] in "0123456789":
            self.at += 1
        digits = self.text[start : self.at]
        if not digits:
            got = repr(self.text[start]) if start < len(self.text) else "the end"
            raise ExpressionError(f"expected a number, found {got}")
        if len(digits) > MAX_DIGITS:
            raise ExpressionError(f"number longer than {MAX_DIGITS} digits")
        self.numbers.append(int(digits))
        return int(digits)
