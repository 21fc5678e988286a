"""What holds for every answer: reflexive, indifferent to formatting, never raising, never slow."""

from __future__ import annotations

import time

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aha.rewards.math import Extraction, Outcome, Verdict, verify

QUICK = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])

integers = st.integers(-(10**6), 10**6)
fractions = st.tuples(integers, st.integers(1, 999)).map(lambda p: f"\\frac{{{p[0]}}}{{{p[1]}}}")
surds = st.tuples(st.integers(1, 99), st.integers(2, 99)).map(lambda p: f"{p[0]}\\sqrt{{{p[1]}}}")
scalars = st.one_of(integers.map(str), fractions, surds, st.just("2\\pi"), st.just("x^2+3x"))
tuples = st.lists(scalars, min_size=2, max_size=4).map(lambda items: "(" + ", ".join(items) + ")")
sets = st.lists(scalars, min_size=2, max_size=4).map(lambda items: "\\{" + ", ".join(items) + "\\}")
words = st.sampled_from(["\\text{even}", "B", "\\text{Tuesday}", "周二"])
answers = st.one_of(scalars, tuples, sets, words)

PIECES = [
    "\\frac", "{", "}", "(", ")", "[", "]", "\\{", "\\}", "1", "23", ".", ",", "x", "+", "-", "^",
    "_", "=", "<", "\\sqrt", "\\text{", "\\boxed{", "\\begin{pmatrix}", "&", "\\\\",
    "\\end{pmatrix}", "\\cup", "|", "!", "%", "\\sin", "\\pm", "\\infty", "$", " ", "或", "\\sum",
    "\\int", "e", "i", "\\overline", "\\dot", ":", "'", "or",
]  # fmt: skip
garbage = st.one_of(st.text(max_size=80), st.lists(st.sampled_from(PIECES), max_size=30).map("".join))


@QUICK
@given(answers)
def test_reflexive(answer: str) -> None:
    assert verify(answer, f"\\boxed{{{answer}}}").outcome is Outcome.CORRECT


def formatted(answer: str, style: int) -> str:
    """One of several typographic variants of the same answer."""
    variants = [
        f"${answer}$",
        f" {answer} ",
        f"\\displaystyle {answer}",
        answer.replace("\\frac", "\\dfrac"),
        answer.replace("(", "\\left(").replace(")", "\\right)"),
        answer.replace(", ", ",\\ "),
        f"{answer}.",
        answer.replace("-", "−"),
        "".join(chr(ord(c) + 0xFEE0) if c in "0123456789(),+" else c for c in answer),
    ]
    return variants[style % len(variants)]


@QUICK
@given(answers, st.integers(0, 8))
def test_formatting_does_not_matter(answer: str, style: int) -> None:
    shown = formatted(answer, style)
    assert verify(answer, f"\\boxed{{{shown}}}").outcome is Outcome.CORRECT


@QUICK
@given(integers, integers)
def test_different_numbers_differ(a: int, b: int) -> None:
    assert (verify(str(a), f"\\boxed{{{b}}}").outcome is Outcome.CORRECT) == (a == b)


class NoPool:
    """Stands for the workers, which have tests of their own."""

    def compare(self, gold: str, answer: str) -> Verdict:
        return Verdict(Outcome.UNKNOWN, "")


@QUICK
@given(garbage, garbage)
def test_never_raises(gold: str, prediction: str) -> None:
    everything = Extraction(True, True, True, True, True)
    for text in (prediction, f"\\boxed{{{prediction}}}"):
        assert isinstance(verify(gold, text, everything, NoPool()), Verdict)  # type: ignore[arg-type]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=6).map("".join))
def test_linear_on_100_kb_of_garbage(piece: str) -> None:
    text = (piece * (100_000 // len(piece) + 1))[:100_000]
    for prediction in (text, f"\\boxed{{{text}}}", f"\\boxed{{{text[:9_000]}}}"):
        started = time.thread_time()
        verify("\\frac{1}{2}", prediction, pool=NoPool())  # type: ignore[arg-type]
        assert time.thread_time() - started < 1.0
