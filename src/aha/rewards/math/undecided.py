"""What becomes of an answer that could not be compared: could it be the reference at all?

"Could not be graded" costs a model nothing, so it must not be for sale: an answer is left undecided only if
the numerals and the variables of the reference stand in it, and of other numerals none (beside a number) or
few. A model that does not know the answer cannot write such a one; what lacks them is wrong.
"""

from __future__ import annotations

import re
from fractions import Fraction

from aha.rewards.math.exact import rational_or_none
from aha.rewards.math.tokens import Unreadable, normalize, tokenize
from aha.rewards.math.values import Scalar, Value

_NUMERAL = re.compile(r"\d+(?:\.\d+)?")
_LONGEST_NUMERAL = 60
_MORE = 6  # numerals that an answer may have besides those of the reference
_DEEPER_IN_TEXT = 4_000  # characters of the answer that are looked through


def could_be(text: str, value: Value, answer: str) -> bool:
    """Whether an answer that could not be compared may be the reference ``text`` all the same."""
    answer = normalize(answer[:_DEEPER_IN_TEXT])
    numerals = _numerals(answer)
    exact = _exact(value)
    if exact is not None:
        parts = {Fraction(abs(exact.numerator)), Fraction(exact.denominator)} - {Fraction(1)}
        expected = ({abs(exact)}, parts or {Fraction(1)}, _numerals(text))
        return any(one <= numerals for one in expected) and numerals <= set().union(*expected, {Fraction(1)})
    expected = _numerals(text)
    if not expected and not _letters(text):
        return False  # nothing to know it by
    if not expected <= numerals or len(numerals) > 2 * len(expected) + _MORE:
        return False
    return _letters(text) <= _letters(answer)


_SIGNS = frozenset(
    [
        "cup",
        "cap",
        "setminus",
        "subset",
        "supset",
        "nsubset",
        "parallel",
        "nparallel",
        "perp",
        "cong",
        "ncong",
        "sim",
        "equiv",
        "|",
        "nmid",
        "in",
        "notin",
        "neg",
        "or",
        "and",
        "not",
        "implies",
        "to",
        "forall",
        "exists",
        "<",
        ">",
        "<=",
        ">=",
        "!=",
        "=",
    ]
)
_ONE_WAY = frozenset(
    [
        "setminus",
        "subset",
        "supset",
        "nsubset",
        "|",
        "nmid",
        "in",
        "notin",
        "implies",
        "to",
        "<",
        ">",
        "<=",
        ">=",
    ]
)
_BRACKETS = frozenset("(){}[]")


def contradicts(text: str, answer: str) -> bool:
    """Whether an answer has all that the reference has but one sign, or the two sides of a sign exchanged."""
    try:
        gold, other = ([t.text for t in tokenize(each) if t.text not in _BRACKETS] for each in (text, answer))
    except Unreadable:
        return False
    if "dots" in other and "dots" not in gold:
        return True
    signs, others = ([t for t in each if t in _SIGNS] for each in (gold, other))
    if signs != others:
        return [t for t in gold if t not in _SIGNS] == [t for t in other if t not in _SIGNS]
    if len(signs) != 1 or signs[0] not in _ONE_WAY or gold == other:
        return False
    at = gold.index(signs[0])
    return other == [*gold[at + 1 :], signs[0], *gold[:at]]


def _exact(value: Value) -> Fraction | None:
    return rational_or_none(value.expr) if isinstance(value, Scalar) else None


def _numerals(text: str) -> set[Fraction]:
    text = normalize(text).replace("{,}", "").replace("\\!", "").replace("\\,", "")
    return {Fraction(run) for run in _NUMERAL.findall(text) if len(run) <= _LONGEST_NUMERAL}


def _letters(text: str) -> set[str]:
    """Variables, constants and words; an answer that cannot even be cut into tokens has none."""
    try:
        tokens = tokenize(text)
    except Unreadable:
        return set()
    return {t.text.lower() for t in tokens if t.kind in ("id", "func", "word") or t.text in ("inf", "empty")}
