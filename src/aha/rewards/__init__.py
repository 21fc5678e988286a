"""What is right. A reward is one function and one entry here."""

from __future__ import annotations

from collections.abc import Callable

from aha.types import AhaError, Problem, Reward, Verdict

DESCRIPTIONS: dict[str, str] = {
    "accuracy": "1 if the task's verifier says correct, else 0",
    "format": "1 for one <think>...</think> and one <answer>...</answer>, nothing else; else 0",
    "tag_count": "the share of the four tags that stand once and in order",
    "language": "the share of words of the chain of thought in the question's language",
    "code": "the fraction of the problem's tests that the answer's program passes, in the sandbox",
    "tinyzero": "TinyZero's: 0 without an answer, 0.1 for a wrong one, 1 for a right one",
}


def get_reward(name: str, verify: Callable[[Problem, str], Verdict]) -> Reward:
    """The reward of that name for a task with that verifier. Raises AhaError for an unknown name."""
    from aha.rewards.accuracy import accuracy
    from aha.rewards.code import CodeReward
    from aha.rewards.format import strict_format, tag_count
    from aha.rewards.language import language_consistency

    made: dict[str, Callable[[], Reward]] = {
        "accuracy": lambda: accuracy(verify),
        "format": strict_format,
        "tag_count": tag_count,
        "language": language_consistency,
        "code": CodeReward,
        "tinyzero": lambda: accuracy(verify, wrong=0.1),
    }
    if name not in made:
        raise AhaError(f"Unknown reward '{name}'. Known: {', '.join(made)}.")
    return made[name]()
