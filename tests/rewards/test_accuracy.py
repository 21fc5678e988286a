"""The accuracy reward beside a verifier that fails."""

from __future__ import annotations

import numpy as np
import pytest

from aha.rewards.accuracy import accuracy
from aha.types import AhaError, Finish, Outcome, Problem, Rollout, Verdict

PROBLEM = Problem("p", "math", ({"role": "user", "content": "q"},), "12")
EMPTY = np.zeros(0)


def test_a_verifier_that_raises_costs_one_score_and_is_named() -> None:
    def verify(problem: Problem, text: str) -> Verdict:
        if text == "bad":
            raise KeyError("V")
        return Verdict(Outcome.CORRECT)

    rollouts = [Rollout(EMPTY, EMPTY, EMPTY, text, Finish.STOP) for text in ("good", "bad", "good")]
    scores = accuracy(verify)(PROBLEM, rollouts)
    assert [score.value for score in scores] == [1.0, None, 1.0]
    assert "KeyError('V')" in scores[1].note


def test_a_broken_task_is_told_and_not_counted() -> None:
    def verify(problem: Problem, text: str) -> Verdict:
        raise AhaError("no reference answer")

    with pytest.raises(AhaError):
        accuracy(verify)(PROBLEM, [Rollout(EMPTY, EMPTY, EMPTY, "text", Finish.STOP)])
