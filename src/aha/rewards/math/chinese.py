"""Chinese numerals and characters, as far as answers use them."""

from __future__ import annotations

from fractions import Fraction

_DIGITS = {c: i for i, c in enumerate("零一二三四五六七八九")} | {"〇": 0, "两": 2}
_PLACES = {"十": 10, "百": 100, "千": 1000}
MULTIPLIERS = {"万": 10**4, "亿": 10**8, "千": 10**3, "百": 100}


_UNITS_OF_THOUSANDS = ("千米", "千克", "千瓦", "千卡", "千焦", "千帕", "千赫", "百分")


def is_han(character: str) -> bool:
    """Whether it is a Chinese character."""
    return "一" <= character[0] <= "鿿" or character == "〇"


def multiplies(word: str) -> bool:
    """Whether a word behind a numeral begins with a power of ten (万, 千) and is no unit that does (千米)."""
    return word[0] in MULTIPLIERS and not word.startswith(_UNITS_OF_THOUSANDS)


def number(word: str) -> Fraction | None:
    """The value of a Chinese numeral such as 二十一, 三分之二, 百分之五 or 一点五; None if it is not one."""
    if len(word) > 30:
        return None
    if word.startswith("负"):
        value = number(word[1:])
        return None if value is None else -value
    if "分之" in word:
        below, _, above = word.partition("分之")
        denominator, numerator = _whole(below), number(above)
        return numerator / denominator if numerator is not None and denominator else None
    if "点" in word:
        whole, _, decimals = word.partition("点")
        front = _whole(whole)
        if front is None or not decimals or any(c not in _DIGITS for c in decimals):
            return None
        return front + Fraction(int("".join(str(_DIGITS[c]) for c in decimals)), 10 ** len(decimals))
    value = _whole(word)
    return None if value is None else Fraction(value)


def _whole(word: str) -> int | None:
    if not word or any(c not in _DIGITS and c not in _PLACES and c not in "万亿" for c in word):
        return None
    if all(c in _DIGITS for c in word):
        return int("".join(str(_DIGITS[c]) for c in word))
    total, section, digit = 0, 0, None
    for c in word:
        if c in _DIGITS:
            digit = _DIGITS[c]
        elif c in _PLACES:
            section += (1 if digit is None else digit) * _PLACES[c]
            digit = None
        else:
            section += digit or 0
            digit = None
            total = (total + section) * MULTIPLIERS[c] if c == "亿" else total + section * MULTIPLIERS[c]
            section = 0
    return total + section + (digit or 0)
