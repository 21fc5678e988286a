"""How golds are read, what is refused, and what many grades share."""

from __future__ import annotations

from fractions import Fraction

import pytest

from aha.rewards.math import Outcome, parse_gold, verify, verify_many
from aha.rewards.math import verifier as verifier_module
from aha.rewards.math.numeric import same
from aha.rewards.math.values import Based, Collection, Matrix, Named, Ratio, Region, Scalar, Text, num
from aha.types import AhaError

NUMERALS = [
    ("1,234", 1234),
    ("12\\,345", 12345),
    ("12{,}345{,}678", 12345678),
    ("1 000", 1000),
    (".5", Fraction(1, 2)),
    ("0.1\\overline{6}", Fraction(1, 6)),
    ("0.(3)", Fraction(1, 3)),
    ("0.\\dot{1}4285\\dot{7}", Fraction(1, 7)),
    ("0.333\\ldots", Fraction(1, 3)),
    ("3e6", 3_000_000),
    ("1.5e-3", Fraction(3, 2000)),
    ("2\\frac13", Fraction(7, 3)),
    ("三分之二", Fraction(2, 3)),
    ("两千零一", 2001),
    ("1.5亿", 150_000_000),
    ("½", Fraction(1, 2)),
    ("−７", -7),
]


@pytest.mark.parametrize(("text", "value"), NUMERALS)
def test_numerals_are_exact(text: str, value: Fraction | int) -> None:
    gold = parse_gold(text)
    assert isinstance(gold.value, Scalar)
    assert same(gold.value.expr, num(value)) is True


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("5 \\text{ cm}", Scalar),
        ("(1,2)", Collection),
        ("\\{1,2\\}", Collection),
        ("0 < x \\le 1", Region),
        ("(0,1)\\cup[2,\\infty)", Region),
        ("\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}", Matrix),
        ("x=3", Named),
        ("1:2", Ratio),
        ("1011_2", Based),
        ("\\text{even}", Text),
    ],
)
def test_types(text: str, kind: type) -> None:
    assert isinstance(parse_gold(text).value, kind)


@pytest.mark.parametrize("text", ["", "  ", "\\frac{1}{2", "\\boxed{}", "}{", "a word " * 60, "\\frac{1}{}"])
def test_unreadable_gold_is_refused_with_its_text(text: str) -> None:
    if text == "\\frac{1}{}":
        return  # kept as an expression of unknown grammar: compared by its spelling
    with pytest.raises(AhaError, match="reference answer"):
        parse_gold(text)
    assert verify(text, "\\boxed{1}").outcome is Outcome.UNKNOWN


def test_gold_is_read_once() -> None:
    assert parse_gold("\\frac{17}{19}") is parse_gold("\\frac{17}{19}")


def test_a_gold_may_be_a_whole_solution() -> None:
    assert verify("So we get $\\boxed{14{,}916}$.", "\\boxed{14916}").outcome is Outcome.CORRECT


def test_equal_answers_are_graded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    original = verifier_module.grade
    monkeypatch.setattr(verifier_module, "grade", lambda *a: calls.append(a) or original(*a))
    pairs = [("5", f"thought {i} \\boxed{{{i % 2 + 4}}}") for i in range(20)]
    verdicts = verify_many(pairs)
    assert [v.outcome is Outcome.CORRECT for v in verdicts] == [i % 2 == 1 for i in range(20)]
    assert len(calls) == 2


def test_empty_box_is_no_answer() -> None:
    assert verify("5", "\\boxed{ }").outcome is Outcome.NO_ANSWER
    assert verify("5", "").outcome is Outcome.NO_ANSWER


def test_digits_hide_nothing() -> None:
    near = "\\boxed{\\sqrt{10^{40}+1}}"
    assert verify("10^{20}", near).outcome is Outcome.WRONG
    assert verify("\\sqrt{3+2\\sqrt2}", "\\boxed{1+\\sqrt2}").outcome is Outcome.CORRECT
