"""Numerals with the base they are written in: ``1011_2``, ``2B_{\\text{hex}}``, ``1011 (base 2)``, ``0x2B``."""

from __future__ import annotations

import re
from fractions import Fraction

from aha.rewards.math.exact import rational_or_none
from aha.rewards.math.tokens import Token
from aha.rewards.math.values import Based, Node, Scalar
from aha.rewards.math.words import number_in_words

_NAMED = {
    "bin": 2, "binary": 2, "oct": 8, "octal": 8, "dec": 10, "decimal": 10, "hex": 16, "hexadecimal": 16,
    "ternary": 3, "二": 2, "三": 3, "八": 8, "十": 10, "十六": 16,
}  # fmt: skip
_PREFIXED = re.compile(r"0(?:x([0-9A-Fa-f]{1,99})|b([01]{1,99})|o([0-7]{1,99}))\Z")
_DIGITS = re.compile(r"(-?)([0-9A-Z]{1,300}(?:\.[0-9A-Z]{1,300})?)\Z")
_MOST_TOKENS = 40
_SILENT = frozenset(("(", ")", "{", "}", "overline"))


def based(tokens: list[Token]) -> Based | None:
    """The numeral with a base that the tokens spell, or None."""
    if len(tokens) > _MOST_TOKENS:
        return None
    at = next((i for i, t in enumerate(tokens) if _begins_base(t)), 0)
    if at > 1 and tokens[at].text == "进制" and tokens[at - 1].kind == "num":
        at -= 1
    if not at:
        return _prefixed("".join(t.text for t in tokens))
    digits = _DIGITS.match("".join(t.text for t in tokens[:at] if t.text not in _SILENT))
    if digits is None:
        return None
    base = _base([t.text.lower() for t in tokens[at:] if t.text not in _SILENT])
    if base is None or not 2 <= abs(base) <= 36:
        return None
    plain = digits[2].replace(".", "").isdecimal()
    return Based(digits[1] + digits[2], base) if plain or _in_base(digits[2], base) else None


def _begins_base(token: Token) -> bool:
    word = token.text.lower()
    named = token.kind == "word" and ((word in _NAMED and word.isascii()) or word.endswith("进制"))
    return token.text == "_" or word in ("base", "in") or named


def same_digits(one: str, other: str) -> bool:
    """Whether two numerals of one base have the same digits, but for zeros at their ends."""
    return _stripped(one) == _stripped(other)


def _stripped(digits: str) -> str:
    sign = "-" if digits.startswith("-") else ""
    digits = digits.removeprefix("-").lstrip("0")
    return sign + (digits.rstrip("0").rstrip(".") if "." in digits else digits)


def _prefixed(text: str) -> Based | None:
    match = _PREFIXED.match(text)
    if match is None:
        return None
    base = 16 if match[1] else 2 if match[2] else 8
    return Based((match[1] or match[2] or match[3]).upper(), base)


def _base(words: list[str]) -> int | None:
    """The base that stands behind the digits: ``_ 2``, ``_ base two``, ``in base 2``, ``base two``."""
    by_index = words[0] == "_"
    rest = words[1:] if by_index or words[0] == "in" else words
    if rest[:1] == ["base"]:
        rest = rest[1:]
    elif not by_index and not (
        (rest and rest[-1].endswith("进制")) or (len(rest) == 1 and rest[0] in _NAMED)
    ):
        return None
    name = "".join(rest).removesuffix("进制")
    if name.removeprefix("-").isdecimal():
        return int(name) if len(name) <= 3 else None
    value = _NAMED.get(name, number_in_words(name))
    return value if isinstance(value, int) else None


def _in_base(digits: str, base: int) -> bool:
    whole, _, rest = digits.partition(".")
    try:
        int(whole + rest, abs(base))
    except ValueError:
        return False
    return True


def is_spelled(gold: Scalar, answer: Based) -> bool:
    """Whether a number in base ten has the digits of a numeral, whatever that numeral's base is."""
    if "." in answer.digits:
        is_plain = answer.digits.replace(".", "").removeprefix("-").isdecimal()
        return is_plain and rational_or_none(gold.expr) == Fraction(answer.digits)
    value = _whole(gold.expr)
    if value is None:
        return False
    return _has_digits(value, answer.digits)


def _has_digits(value: int, digits: str) -> bool:
    """Whether a number is printed with these digits. Huge ones are never printed."""
    digits = digits.lstrip("0") or "0"
    return value.bit_length() <= 4 * len(digits) and str(value) == digits


def _whole(expr: Node) -> int | None:
    value = rational_or_none(expr)
    return int(value) if value is not None and value.denominator == 1 else None
