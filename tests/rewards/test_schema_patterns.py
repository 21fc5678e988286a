"""Regular expressions of schemas against Python's own, and that no text makes them slow."""

# ruff: noqa: E501
from __future__ import annotations

import itertools
import re
import time

import pytest

from aha.rewards.json_schema.automaton import TooMuchError, found
from aha.types import AhaError

PATTERNS = [
    "", "a", "^a", "b$", "^ab?$", "a*b", "^(ab|ba)+$", "a{2}", "^a{2,}$", "^a{1,3}b{0,1}$", "[ab]c", "[^ab]", "^[a-c]*$",
    "a.c", r"\bab\b", r"\Bb", "(?:ab)+c", "(?=ab)a", "^(?!.*c).*$", "(?<=a)b", "(?<!a)b", r"^\w+-\w+$", "a{,2}", "a{b", "[]a]",
    "x|", "(?!)", "(?=(?!ab)a)a", "(a*)*b", "(|a)+c", r"[\w-]c", r"^[^\W_]+$", "a*?b", "(?P<x>a)b", "^(?=.*a)(?=.*b).{2,3}$",
]  # fmt: skip
TEXTS = ["".join(t) for n in range(5) for t in itertools.product("abc", repeat=n)] + [
    "a-b",
    "ab ab",
    "x\ny",
    "]",
    "a{b",
    "_",
]


@pytest.mark.parametrize("pattern", [p for p in PATTERNS if p not in ("a{,2}", "[]a]")])
def test_texts_are_found_as_pythons_own_finds_them(pattern):
    theirs = re.compile(pattern, re.ASCII)
    assert [found(pattern, text) for text in TEXTS] == [bool(theirs.search(text)) for text in TEXTS]


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("^a$", "a", "a\n"),  # Python's $ stands before a last line's end, too
        (r"^\d$", "7", "\u0667"),  # an Arabic seven
        (r"^\w$", "_", "\u00e9"),
        (r"^\s$", "\ufeff", "\u200b"),
        (r"^\p{L}+$", "Stra\u00dfe\u4e2d", "a1"),
        (r"^\P{Lu}$", "a", "A"),
        (r"^[\p{Nd}\-]+$", "1-2", "a"),
        (r"^\p{gc=Lu}$", "A", "a"),
        (r"^\p{Letter}$", "\u00e9", "1"),
        (r"^\u00e9\x41\cJ$", "\u00e9A\n", "eA\n"),
        (r"^\u{1F600}\uD83D\uDE00$", "\U0001f600\U0001f600", "\U0001f600"),
        (r"^[\u4e00-\u9fff]{2}$", "\u4e2d\u6587", "ab"),
        (r"^\/\-\.$", "/-.", "/-x"),
        (r"^[]$|^x$", "x", "y"),
        (r"^[^]$", "\n", ""),
        (r"^(?<year>\d{4})-(?:0[1-9]|1[0-2])$", "2024-12", "2024-13"),
        (r"^(?!.*\.\.)[a-z.]+$", "a.b", "a..b"),
        (r"(?<=\$)\d+", "$5", "5"),
        (r"(?i)^ab[c-d]$", "aBD", "aBE"),
        (r"^[\d-x]$", "-", "y"),
        (r"^[\b]$", "\b", "b"),
        (r"^\0$", "\0", "0"),
        (r"^{a}$", "{a}", "a"),
        (r"^a{,2}$", "a{,2}", "aa"),
    ],
)
def test_they_are_those_of_ecmascript(pattern, yes, no):
    assert found(pattern, yes)
    assert not found(pattern, no)


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        (r"(a)\1", "refers back"), (r"(?<n>a)\k<n>", "refers back"), ("(a", "not closed"), ("a)", "unopened"),
        ("[a", "ends too early"), ("a\\", "ends too early"), ("*a", "nothing to repeat"), ("a**", "nothing to repeat"),
        ("[z-a]", "ends before it begins"), ("a{3,2}", "ends before it begins"), ("a{2000}", "more than 1000"),
        (r"\p{Klingon}", "not known"), ("(?x:a)", "not known"), ("(" * 200 + ")" * 200, "100 deep"),
        ("(a{1000}){1000}", "states"), (r"\u{110000}", "no character"),
    ],
)  # fmt: skip
def test_what_cannot_be_matched_is_named(pattern, words):
    with pytest.raises(AhaError, match=words):
        found(pattern, "aaa")


@pytest.mark.parametrize("pattern", [r"^(a+)+$", r"^(a|a)*$", r"(a*)*$b", r"^(?=(a+)+$)x", r"(?<=(a+)+b)c"])
def test_no_text_makes_it_slow(pattern):
    started = time.perf_counter()
    assert found(pattern, "a" * 3000 + "!") is False
    assert time.perf_counter() - started < 5


def test_too_much_together_is_said():
    with pytest.raises(TooMuchError, match="too large together"):
        found("(a?){1000}b", "a" * 40_000)
