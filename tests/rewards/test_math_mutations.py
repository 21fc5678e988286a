"""The verifier never raises: mutated answers, golds and real outputs. No fault may even be caught inside."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import test_math_kinds
import test_math_policy

from aha.bench.grade import read_pairs
from aha.rewards.math import Extraction, Gold, Outcome, Verdict, parse_gold, verify
from aha.types import AhaError

OUTPUTS = Path(__file__).resolve().parents[3] / "shared" / "data" / "outputs"
LENIENT = Extraction(answer_tags=True, phrase=True, bare=True, last_formula=True, last_number=True)
_PIECES = r"""
\frac \dfrac \sqrt \boxed{ \text{ \pmod \begin{cases} \end{cases} \begin{pmatrix} \end{pmatrix} \\ \left( \right)
\{ \} { } ( ) [ ] , ; : . = < > \le \ne + - * / ^ _ ! % \% $ ^\circ \circ ' | \cup \in \infty \pm \sin \log_ \binom
\over \choose \sum_{i=1}^ \int_0^ e i x y A V m kg 元 万 点 分之 三 0 1 7 12 1,234 0.\overline{3} 1e5 9^{9^9} 5000! or
and to mod pm am \overline \dot \angle <think> </think> <answer> ` ** 😀 ² ½ ∞ √ ≤ \
"""
PIECES = _PIECES.split()
READERS_OWN = (KeyError, IndexError, TypeError, AttributeError, AssertionError)


class NoWorkers:
    """Stands in the worker pool's place, so that only our own code is tried."""

    def compare(self, gold: str, answer: str) -> Verdict:
        return Verdict(Outcome.UNKNOWN, "not asked")


def seeds() -> list[tuple[str, str]]:
    cases = [(gold, f"\\boxed{{{answer}}}") for gold, answer, _ in test_math_kinds.ALL]
    cases += [(gold, text) for gold, text, _ in test_math_policy.ALL]
    for path in sorted(OUTPUTS.glob("*.jsonl.gz")) if OUTPUTS.exists() else ():
        cases += [(pair.gold, pair.prediction[-600:]) for pair in read_pairs(path)[:800]]
    return cases


def mutated(text: str, other: str, generator: random.Random) -> str:
    for _ in range(generator.randrange(1, 4)):
        at, end = sorted((generator.randrange(len(text) + 1), generator.randrange(len(text) + 1)))
        end = min(end, at + 12)
        piece = generator.choice(
            ("", generator.choice(PIECES), text[at:end] * 2, text[at:end][::-1], other[at : at + 20])
        )
        text = text[:at] + piece + text[end:]
    return text


def cases(count: int, seed: int) -> Iterator[tuple[str, str]]:
    generator = random.Random(seed)
    pool = seeds()
    for _ in range(count):
        gold, text = generator.choice(pool)
        other = generator.choice(pool)
        if generator.random() < 0.3:
            gold = mutated(gold, other[0], generator)
        yield gold, mutated(text, other[1], generator)


def read(gold: str) -> Gold | None:
    """The reference answer, or None where it is refused; a fault of the reader's own goes through."""
    try:
        return parse_gold(gold)
    except AhaError as refusal:
        if isinstance(refusal.__cause__, READERS_OWN):
            raise refusal.__cause__ from refusal
        return None


def check(count: int, seed: int) -> None:
    slowest = 0.0
    for gold, text in cases(count, seed):
        started = time.thread_time()
        known = read(gold)
        if known is None:
            continue
        verdict = verify(known, text, LENIENT, NoWorkers())  # type: ignore[arg-type]
        slowest = max(slowest, time.thread_time() - started)
        assert "the verifier failed" not in verdict.note, (gold, text, verdict)
    assert slowest < 2.5


def test_two_thousand_mutations() -> None:
    check(2_000, seed=1)


@pytest.mark.parametrize("answer", ["1,3", "\\{1,3\\}", "1,3}}{any number}", "0,5", "(1,3)", "1.3", "7"])
def test_a_value_too_big_to_be_made_is_no_fault(answer: str) -> None:
    known = read("5000!")
    assert known is not None
    verdict = verify(known, f"\\boxed{{{answer}}}", LENIENT, NoWorkers())  # type: ignore[arg-type]
    assert "the verifier failed" not in verdict.note
    assert verdict.outcome is not Outcome.CORRECT


@pytest.mark.slow
def test_a_hundred_thousand_mutations() -> None:
    check(100_000, seed=2)
