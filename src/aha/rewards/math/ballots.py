"""Answers as ballots of a majority vote, which counts values and not spellings."""

from __future__ import annotations

import re

from aha.rewards.math.extract import ExtractedAnswer
from aha.rewards.math.verifier import joined, same_answer

_FRACTION = re.compile(r"\\[dtc]frac(?![a-z])")


class Ballot(str):
    """An answer's text, equal to every other spelling of the same value: ``1/2`` and ``0.5``.

    Spellings that differ only in markup are told equal at once; others are compared as values, without
    worker processes. All ballots have one hash, so a ``Counter`` of them compares each with the different
    ones before it.
    """

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, str):
            return NotImplemented
        return str.__eq__(self, other) or same_answer(str(self), str(other))

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return 0


def ballot(extracted: ExtractedAnswer) -> Ballot:
    """The ballot of an extracted answer."""
    text = " ".join(joined(extracted).split()).strip("$ ")
    return Ballot(_FRACTION.sub(r"\\frac", text))
