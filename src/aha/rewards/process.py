"""Process rewards: every step of a chain of thought graded by itself, by rule."""

from __future__ import annotations

import re

from aha import chat
from aha.rewards.accuracy import full_text, per_rollout
from aha.rewards.arithmetic import ExpressionError, evaluate
from aha.types import Problem, Reward, Rollout, Score

MAX_STEPS = 200
_RUN = re.compile(r"[0-9+\-*/×÷−() =]+")
_LEADING, _TRAILING = "+-*/×÷−) =", " ="


def equations(*, right: float = 1.0, wrong: float = -1.0) -> Reward:
    """Each written equation of the thinking is a step: ``right`` if all its sides are equal, else ``wrong``.

    ``12*3=36``, ``7+5*2=7+10=17``. What is not an equation of ``+ - * /`` and whole numbers is no step.
    The value is the mean over the steps, 0 without any; ``Score.steps`` holds (end in the text, reward).
    """

    def grade(problem: Problem, rollout: Rollout) -> Score:
        text = full_text(rollout)
        shift = len(text) - len(rollout.text)
        thinking_ends = text.find(chat.END_THINK)
        steps = []
        for match in _RUN.finditer(text, 0, thinking_ends if thinking_ends >= 0 else len(text)):
            written = match.group().rstrip(_TRAILING)
            true = _holds(written.lstrip(_LEADING))
            if true is not None and len(steps) < MAX_STEPS:
                steps.append((match.start() + len(written) - shift, right if true else wrong))
        value = sum(v for _, v in steps) / len(steps) if steps else 0.0
        return Score(
            value, f"{sum(v == right for _, v in steps)} of {len(steps)} equations hold", tuple(steps)
        )

    return per_rollout(grade)


def _holds(text: str) -> bool | None:
    """Whether all sides are equal; None if fewer than two of them can be evaluated."""
    sides = text.split("=")
    if len(sides) < 2:
        return None
    try:
        return len({evaluate(side).value for side in sides}) == 1
    except ExpressionError:
        return None
