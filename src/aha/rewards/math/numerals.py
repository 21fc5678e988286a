"""Roman numerals and ordinal numbers, as answers.

``IV`` could be a product of two letters, so it is a numeral only where the reference is one beyond doubt.
"""

from __future__ import annotations

import re

from aha.rewards.math import chinese
from aha.rewards.math.words import ordinal_in_words

_LONGEST = 80
_ROMAN = re.compile(r"(?=.)M{0,3}(CM|CD|D?C{0,3})(XC|XL|L?X{0,3})(IX|IV|V?I{0,3})\Z")
_VALUES = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100, "D": 500, "M": 1000}
_MARKUP = re.compile(
    r"\\(?:text(?:bf|rm|it|normal|up)?|math(?:rm|bf|it|sf)|mbox|rm|left|right)(?![A-Za-z])|\\[,;! ]|[{}$~]"
)
_BETWEEN = re.compile(r"\s*(?:,\s*(?:and|or)\b|[,;&、和与]|\\&|\band\b|\bor\b|或)\s*")
_LABEL = re.compile(
    r"(?:quadrants?|statements?|cases?|chapters?|types?|class(?:es)?|parts?|items?|propositions?|phases?)\Z"
)
_ORDINAL = re.compile(r"(?:the )?([0-9]{1,9})\s*(?:\^\s*)?(st|nd|rd|th)\Z")
_HAN_ORDINAL = re.compile(
    r"第\s?([0-9]{1,9}|[零一二两三四五六七八九十百千]{1,9})\s?([名个位次天行项章组排]?)\Z"
)


def roman(text: str) -> int | None:
    """The value of a Roman numeral in capitals; None for anything else."""
    if len(text) > 15 or _ROMAN.match(text) is None:
        return None
    values = [_VALUES[letter] for letter in text]
    return sum(-a if a < b else a for a, b in zip(values, [*values[1:], 0], strict=True))


def is_roman(reference: str) -> bool:
    """Whether a reference consists of Roman numerals that could hardly be products of variables.

    One of them must hold two of I, V and X, or three letters of which one is repeated, or a word as
    "quadrant" must stand before them.
    """
    read = _members(reference)
    if read is None:
        return False
    members, _, labelled = read
    if not all(roman(member) for member in members):
        return False
    small = labelled and all(set(member) <= set("IVX") for member in members)  # "type C" is no hundred
    return small or any(map(_is_no_product, members))


def same_numerals(reference: str, answer: str) -> bool | None:
    """Whether an answer tells the numbers of a Roman reference; None where the texts are none."""
    if not is_roman(reference):
        return same_ordinal(reference, answer)
    one, other = _members(reference), _members(answer)
    if one is None or other is None:
        return None
    expected = sorted(roman(member) or 0 for member in one[0])
    numbers = [_number(member, one[2] or other[2]) for member in other[0]]
    if None in numbers:
        return None
    return expected == sorted(n for n in numbers if n is not None) and one[1] == other[1]


def same_ordinal(reference: str, answer: str) -> bool | None:
    """Whether two texts are one place in an order (``third``, ``3^{\\text{rd}}``, ``第三``), or one is its number."""
    one, other = ordinal(reference), ordinal(answer)
    if one is not None and other is not None:
        return one == other
    in_digits = any(c.isdecimal() or c == "第" for c in answer)  # "fifth" could be a part of one
    if other is not None and in_digits and reference.strip().isdecimal() and len(reference) < 10:
        return int(reference) == other or None
    is_told = one is not None and (
        "第" in reference or "\\" in reference or not reference.strip()[:1].isdigit()
    )
    if is_told and answer.strip().isdecimal() and len(answer) < 10:
        return int(answer) == one
    return None


def ordinal(text: str) -> int | None:
    """The number of an ordinal; None for other texts."""
    if len(text) > _LONGEST:
        return None
    words = " ".join(_MARKUP.sub(" ", text).split()).strip(" .,").lower()
    match = _ORDINAL.match(words)
    if match is not None:
        value = int(match[1])
        return value if match[2] == _suffix(value) else None
    match = _HAN_ORDINAL.match(words)
    if match is not None:
        number = chinese.number(match[1]) if not match[1].isdecimal() else int(match[1])
        return None if number is None else int(number)
    return ordinal_in_words(words.removeprefix("the "))


def _suffix(value: int) -> str:
    return "th" if value % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(value % 10, "th")


def _members(text: str) -> tuple[list[str], bool, bool] | None:
    """The numerals of a text, whether "or" joins them, and whether a label stands before or behind them."""
    if len(text) > _LONGEST:
        return None
    words = (
        " ".join(_MARKUP.sub(" ", text).split())
        .strip(" .,()")
        .removesuffix(" only")
        .removeprefix("Only ")
        .split()
    )
    labelled = False
    if words and words[0].lower() == "the":
        words = words[1:]
    for at in (0, -1):
        if len(words) > 1 and _LABEL.match(words[at].lower()):
            words.pop(at)
            labelled = True
    plain = " ".join(words)
    members = [member.strip(" ()") for member in _BETWEEN.split(plain)]
    by_or = re.search(r"\bor\b|或", plain) is not None
    return (members, by_or, labelled) if members and all(members) else None


def _number(member: str, labelled: bool) -> int | None:
    """The number that a member of an answer tells."""
    if member.isdecimal() and len(member) < 6:
        return int(member)
    in_words = ordinal(member) if labelled else None
    return in_words if in_words is not None else roman(member.upper())


def _is_no_product(numeral: str) -> bool:
    few = sum(numeral.count(letter) for letter in "IVX")
    return few >= 2 or (len(numeral) >= 3 and len(set(numeral)) < len(numeral))
