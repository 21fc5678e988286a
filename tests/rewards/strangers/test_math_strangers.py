"""What a stranger would try: 1,500 references and answers of many kinds, each judged by its mathematics.

``triples.tsv`` holds a reference, what stands in the box, and "right" or "wrong"; a line that begins with # is the kind
of those below it. No worker is asked: an answer that our own reader cannot decide is not a right one.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from aha.rewards.math import Outcome, Verdict, verify

TABLE = Path(__file__).with_name("triples.tsv")


class NoWorkers:
    """Stands in the worker pool's place."""

    def compare(self, gold: str, answer: str) -> Verdict:
        return Verdict(Outcome.UNKNOWN, "not asked")


def kinds() -> dict[str, list[tuple[str, str, bool]]]:
    """The triples of each kind."""
    triples: dict[str, list[tuple[str, str, bool]]] = {}
    kind = ""
    for line in TABLE.read_text(encoding="utf-8").split("\n"):
        if line.startswith("#"):
            kind = line.removeprefix("#").strip()
        elif line:
            gold, answer, right = line.split("\t")
            triples.setdefault(kind, []).append((gold, answer, {"right": True, "wrong": False}[right]))
    return triples


KINDS = kinds()


@pytest.mark.parametrize("kind", KINDS)
def test_kind(kind: str) -> None:
    failed = []
    for gold, answer, right in KINDS[kind]:
        verdict = verify(gold, f"\\boxed{{{answer}}}", pool=NoWorkers())  # type: ignore[arg-type]
        if (verdict.outcome is Outcome.CORRECT) != right or "the verifier failed" in verdict.note:
            failed.append((gold, answer, right, verdict))
    assert failed == []


def test_the_table_is_large_and_has_both_sides() -> None:
    answers = [right for triples in KINDS.values() for _, _, right in triples]
    assert len(answers) > 1_500
    assert min(answers.count(True), answers.count(False)) > 600
