"""Length rewards, in tokens: a completion's length is ``len(rollout.completion_ids)``.

All but two need to know which completions are correct. They take ``accuracy``: a reward, or scores made
earlier, by problem id. Correct is a value of ``CORRECT`` or more, so that 0/1 and -1/1 both work; where
accuracy could not be graded, neither can these.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from aha.rewards.accuracy import given_up, per_rollout
from aha.types import AhaError, Problem, Reward, Rollout, Score

CORRECT = 0.5
"""The least accuracy that counts as correct."""

Accuracy = Reward | Mapping[str, Sequence[float | None]]
"""What is correct: a reward, or for each problem id the values of its rollouts, in their order."""


def length(rollout: Rollout) -> int:
    """Tokens of the completion."""
    return len(rollout.completion_ids)


# ------------------------------------------------------------------------------------------- rewards


def soft_overlong(*, max_length: int, buffer: int) -> Reward:
    """DAPO's soft overlong punishment (arXiv 2503.14476), from 0 to -1.

    0 up to ``max_length - buffer`` tokens, falling in a straight line to -1 at ``max_length``, -1 beyond.
    """
    if not 0 <= buffer <= max_length:
        raise AhaError(f"soft_overlong needs 0 <= buffer <= max_length, not {buffer} and {max_length}")

    def grade(problem: Problem, rollout: Rollout) -> Score:
        over = length(rollout) - (max_length - buffer)
        if over <= 0:
            return Score(0.0)
        return Score(-1.0 if over >= buffer else -over / buffer, f"{over} tokens into the last {buffer}")

    return per_rollout(grade)


def kimi_length(*, accuracy: Accuracy) -> Reward:
    """Kimi k1.5's length reward (arXiv 2501.12599), from -0.5 to 0.5.

    Over one group, l = 0.5 - (length - min) / (max - min); a correct completion gets l, a wrong one
    min(0, l); all get 0 where all lengths are equal. Ungraded members do not count for min and max.
    """

    def values(problem: Problem, rollouts: Sequence[Rollout], correct: Sequence[bool | None]) -> list[Score]:
        lengths = [length(r) for r, ok in zip(rollouts, correct, strict=True) if ok is not None]
        shortest, span = min(lengths, default=0), max(lengths, default=0) - min(lengths, default=0)

        def value(rollout: Rollout, ok: bool) -> float:
            if not span:
                return 0.0
            reward = 0.5 - (length(rollout) - shortest) / span
            return reward if ok else min(0.0, reward)

        return _where_known(rollouts, correct, lambda r, ok: Score(value(r, ok)))

    return _with_accuracy(accuracy, values)


def cosine(
    *,
    accuracy: Accuracy,
    max_length: int,
    correct: tuple[float, float] = (1.0, 0.5),
    wrong: tuple[float, float] = (-1.0, -0.5),
    exceed: float | None = None,
    margin: int = 0,
    repetition: float = 0.0,
    ngram: int = 40,
) -> Reward:
    """The cosine length reward (arXiv 2502.03373): ``correct`` and ``wrong`` are (value at no length, value
    at ``max_length``), with half a cosine between. Longer completions count as ``max_length`` long.

    With ``exceed``, a completion of ``max_length - margin`` tokens or more gets that value instead. Wrong
    completions also get ``repetition`` (a negative number, or 0 for none) times their share of repeated
    n-grams of ``ngram`` tokens.
    """
    if max_length <= 0:
        raise AhaError(f"cosine needs a max_length above 0, not {max_length}")

    def grade(rollout: Rollout, ok: bool) -> Score:
        if exceed is not None and length(rollout) + margin >= max_length:
            return Score(exceed, f"{length(rollout)} tokens exceed {max_length} less {margin}")
        start, end = correct if ok else wrong
        progress = min(length(rollout), max_length) / max_length
        value = end + 0.5 * (start - end) * (1 + math.cos(math.pi * progress))
        if not ok and repetition:
            value += repetition * repeated_share(rollout.completion_ids.tolist(), ngram)
        return Score(value)

    return _with_accuracy(accuracy, lambda _, rollouts, known: _where_known(rollouts, known, grade))


def l1_exact(*, accuracy: Accuracy, target: int | str = "target_length", alpha: float = 3e-4) -> Reward:
    """L1-Exact (arXiv 2503.04697): 1 if correct, less ``alpha`` for each token off the target length.

    ``target``: tokens, or the name of the problem's metadata that holds them.
    """

    def value(ok: bool, tokens: int, goal: int) -> float:
        return float(ok) - alpha * abs(goal - tokens)

    return _to_target(accuracy, target, value)


def l1_max(
    *, accuracy: Accuracy, target: int | str = "target_length", alpha: float = 3e-4, delta: float = 0.5
) -> Reward:
    """L1-Max (arXiv 2503.04697): 0 if wrong; if correct ``alpha * (target - length) + delta``, held
    between 0 and 1: shorter is better, and a little too long still better than wrong.

    ``target``: tokens, or the name of the problem's metadata that holds them.
    """

    def value(ok: bool, tokens: int, goal: int) -> float:
        return min(1.0, max(0.0, alpha * (goal - tokens) + delta)) if ok else 0.0

    return _to_target(accuracy, target, value)


def repetition_penalty(*, ngram: int = 3, penalty: float = -1.0) -> Reward:
    """``penalty`` times the share of repeated n-grams of ``ngram`` tokens (arXiv 2502.03373), from
    0 for none to nearly ``penalty``; 0 for a completion of less than ``ngram`` tokens."""
    if ngram < 1:
        raise AhaError(f"repetition_penalty needs an ngram of 1 or more, not {ngram}")
    return per_rollout(
        lambda _, rollout: Score(penalty * repeated_share(rollout.completion_ids.tolist(), ngram))
    )


def repeated_share(tokens: Sequence[int], ngram: int) -> float:
    """1 - unique n-grams / all n-grams; 0 where there are none. Linear in ``tokens`` times ``ngram``."""
    total = len(tokens) - ngram + 1
    if total <= 0:
        return 0.0
    grams: Iterable[tuple[int, ...]] = zip(*(tokens[i : i + total] for i in range(ngram)), strict=True)
    return 1 - len(set(grams)) / total


# ------------------------------------------------------------------------------------------- accuracy


def graded_once(reward: Reward) -> Reward:
    """``reward``, but asked twice in a row about the very same rollouts it grades them once: for an accuracy
    that is both a reward of its own and part of a length reward."""
    last: tuple[tuple[Rollout, ...], Sequence[Score]] = ((), ())

    def remembered(problem: Problem, rollouts: Sequence[Rollout]) -> Sequence[Score]:
        nonlocal last
        known, scores = last  # read once: another thread may put its own here, which only costs a grading
        if len(known) == len(rollouts) > 0 and all(a is b for a, b in zip(known, rollouts, strict=True)):
            return scores
        scores = reward(problem, rollouts)
        last = (tuple(rollouts), scores)
        return scores

    return remembered


_Values = Callable[[Problem, Sequence[Rollout], Sequence[bool | None]], list[Score]]


def _with_accuracy(accuracy: Accuracy, values: _Values) -> Reward:
    def reward(problem: Problem, rollouts: Sequence[Rollout]) -> list[Score]:
        return values(problem, rollouts, _known(accuracy, problem, rollouts))

    return reward


def _known(accuracy: Accuracy, problem: Problem, rollouts: Sequence[Rollout]) -> list[bool | None]:
    """Which rollouts are correct; None where that could not be graded."""
    if isinstance(accuracy, Mapping):
        if problem.id not in accuracy:
            raise AhaError(f"no accuracy was given for problem {problem.id!r}")
        values = list(accuracy[problem.id])
    else:
        values = [score.value for score in accuracy(problem, rollouts)]
    if len(values) != len(rollouts):
        raise AhaError(f"problem {problem.id!r} has {len(rollouts)} rollouts but {len(values)} accuracies")
    return [
        None if value is None or given_up(rollout) else value >= CORRECT
        for value, rollout in zip(values, rollouts, strict=True)
    ]


def _where_known(
    rollouts: Sequence[Rollout], correct: Sequence[bool | None], grade: Callable[[Rollout, bool], Score]
) -> list[Score]:
    unknown = Score(None, "accuracy could not be graded")
    return [unknown if ok is None else grade(r, ok) for r, ok in zip(rollouts, correct, strict=True)]


def _to_target(accuracy: Accuracy, target: int | str, value: Callable[[bool, int, int], float]) -> Reward:
    def values(problem: Problem, rollouts: Sequence[Rollout], correct: Sequence[bool | None]) -> list[Score]:
        goal = _goal(problem, target)
        return _where_known(
            rollouts, correct, lambda r, ok: Score(value(ok, length(r), goal), f"target {goal} tokens")
        )

    return _with_accuracy(accuracy, values)


def _goal(problem: Problem, target: int | str) -> int:
    if isinstance(target, int):
        return target
    goal = problem.metadata.get(target)
    if not isinstance(goal, int):
        raise AhaError(f"problem {problem.id!r} has no whole number of tokens in its metadata {target!r}")
    return goal
