"""The accuracy reward: what the task's verifier says."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from aha.types import AhaError, Finish, Outcome, Problem, Reward, Rollout, Score, Verdict


def per_rollout(grade: Callable[[Problem, Rollout], Score]) -> Reward:
    """A reward that looks at each rollout alone. A rollout that the engine gave up on has no score."""

    def reward(problem: Problem, rollouts: Sequence[Rollout]) -> list[Score]:
        return [given_up(rollout) or grade(problem, rollout) for rollout in rollouts]

    return reward


def given_up(rollout: Rollout) -> Score | None:
    """The score of a rollout that the engine aborted or failed on: none, it cannot be graded. Else None."""
    if rollout.finish in (Finish.ABORT, Finish.ERROR):
        return Score(None, f"the completion ended in {rollout.finish.value}")
    return None


def full_text(rollout: Rollout) -> str:
    """What the assistant said, with the ``<think>`` that the prompt may have opened for it."""
    return "<think>" + rollout.text if rollout.opened_think else rollout.text


def accuracy(
    verify: Callable[[Problem, str], Verdict],
    *,
    correct: float = 1.0,
    wrong: float = 0.0,
    no_answer: float = 0.0,
    parts: bool = True,
) -> Reward:
    """``correct``, ``wrong`` or ``no_answer`` by ``verify``, or what the task itself says that an answer is worth; an
    answer that could not be graded has none. Without ``parts`` an answer is right or not, as evaluations count.

    A verifier that raises has not graded: the answer has no score, and the note says what it raised. AhaError
    goes through, since it says what is wrong with the task itself.
    """

    def grade(problem: Problem, rollout: Rollout) -> Score:
        try:
            verdict = verify(problem, full_text(rollout))
        except AhaError:
            raise
        except Exception as cause:  # one answer must not end a training run
            return Score(None, f"the verifier failed: {cause!r}")
        if verdict.outcome is Outcome.UNKNOWN:
            return Score(None, verdict.note or "could not be graded")
        value = {Outcome.CORRECT: correct, Outcome.WRONG: wrong, Outcome.NO_ANSWER: no_answer}[
            verdict.outcome
        ]
        return Score(verdict.value if parts and verdict.value is not None else value, verdict.note)

    return per_rollout(grade)
