"""Grades mathematical answers: ``verify(gold, prediction) -> Verdict``.

Usable on its own: ``from aha.rewards.math import verify``. See docs/verifier.md.
"""

from aha.rewards.math.extract import ExtractedAnswer, Extraction, extract
from aha.rewards.math.verifier import Gold, grade, parse_gold, verify, verify_many
from aha.rewards.math.workers import Pool
from aha.types import AhaError, Outcome, Verdict

__all__ = [
    "AhaError",
    "ExtractedAnswer",
    "Extraction",
    "Gold",
    "Outcome",
    "Pool",
    "Verdict",
    "extract",
    "grade",
    "parse_gold",
    "verify",
    "verify_many",
]
