"""What is right. A reward is one function and one entry here."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

from aha.types import AhaError, Problem, Reward, Verdict

DESCRIPTIONS: dict[str, str] = {
    "accuracy": "1 if the task's verifier says correct, else 0",
    "format": "1 for one <think>...</think> and one <answer>...</answer>, nothing else; else 0",
    "tag_count": "the share of the four tags that stand once and in order",
    "language": "the share of words of the chain of thought in the question's language",
    "code": "the fraction of the problem's tests that the answer's program passes, in the sandbox",
    "equations": "each written equation of the thinking is a step: 1 or -1 (for process supervision)",
    "soft_overlong": "DAPO's: 0, falling to -1 in the last buffer tokens (max_length=N,buffer=N)",
    "kimi_length": "Kimi's: short right answers above long ones, within a group",
    "cosine": "right answers short, wrong ones long (max_length=N)",
    "repetition": "0 or less: the share of repeated n-grams",
    "tinyzero": "TinyZero's: 0 without an answer, 0.1 for a wrong one, 1 for a right one",
}

PROCESS_REWARDS = frozenset({"equations"})
"""Rewards of steps; under process supervision the others are rewards of the outcome."""


def get_reward(name: str, verify: Callable[[Problem, str], Verdict]) -> Reward:
    """The reward of that name for a task with that verifier.

    Options stand behind a colon: ``accuracy:wrong=-1``, ``soft_overlong:max_length=2048,buffer=512``. Raises
    AhaError for an unknown name or option.
    """
    from aha.rewards import length
    from aha.rewards.accuracy import accuracy
    from aha.rewards.code import CodeReward
    from aha.rewards.format import strict_format, tag_count
    from aha.rewards.language import language_consistency
    from aha.rewards.process import equations

    made: dict[str, Callable[..., Reward]] = {
        "accuracy": partial(accuracy, verify),
        "format": strict_format,
        "tag_count": tag_count,
        "language": language_consistency,
        "code": CodeReward,
        "tinyzero": partial(accuracy, verify, wrong=0.1),
        "equations": equations,
        "soft_overlong": length.soft_overlong,
        "kimi_length": partial(length.kimi_length, accuracy=accuracy(verify)),
        "cosine": partial(length.cosine, accuracy=accuracy(verify)),
        "repetition": length.repetition_penalty,
    }
    base, _, options = name.partition(":")
    if base not in made:
        raise AhaError(f"Unknown reward '{base}'. Known: {', '.join(made)}.")
    try:
        return made[base](**_options(name, options))
    except TypeError as error:
        raise AhaError(f"Reward '{name}': {error}. Options are written name:key=value,key=value.") from error


def _options(name: str, text: str) -> dict[str, Any]:
    found = {}
    for part in filter(None, text.split(",")):
        key, equals, value = part.partition("=")
        if not equals:
            raise AhaError(f"Reward '{name}': options are written name:key=value,key=value.")
        try:
            found[key.strip()] = json.loads(value)
        except json.JSONDecodeError:
            found[key.strip()] = value.strip()
    return found
