"""What is right. A reward is one function and one entry here, or a function of your own (``aha.rewards.own``)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial

from aha import plugins
from aha.hints import nearest
from aha.types import AhaError, Problem, Reward, Verdict

DESCRIPTIONS: dict[str, str] = {
    "accuracy": "1 if the task's verifier says correct, else 0",
    "lenient": '1 if the right answer stands anywhere: in tags, in a box, after "the answer is", as the last number',
    "format": "1 for one <think>...</think> and one <answer>...</answer>, nothing else; else 0",
    "tag_count": "the share of the four tags that stand once and in order",
    "language": "the share of words of the chain of thought in the question's language",
    "code": "the fraction of the problem's tests that the answer's program passes, in the sandbox",
    "equations": "each written equation of the thinking is a step: 1 or -1 (for process supervision)",
    "soft_overlong": "DAPO's: 0, falling to -1 in the last buffer tokens (max_length=N,buffer=N)",
    "kimi_length": "Kimi's: short right answers above long ones, within a group",
    "constraints": "the share of a prompt's instructions, JSON schema and tool format that the final text keeps",
    "cosine": "right answers short, wrong ones long (max_length=N)",
    "repetition": "0 or less: the share of repeated n-grams",
    "tinyzero": "TinyZero's: 0 without an answer, 0.1 for a wrong one, 1 for a right one",
}

PROCESS_REWARDS = frozenset({"equations"})
"""Rewards of steps; under process supervision the others are rewards of the outcome."""


Verify = Callable[[Problem, str], Verdict]


def get_reward(name: str, verify: Verify, verify_lenient: Verify | None = None) -> Reward:
    """The reward of that name for a task with that verifier (``verify_lenient``: its lenient one, else the same).

    Options stand behind a colon: ``accuracy:wrong=-1``, ``soft_overlong:max_length=2048,buffer=512``. One's own
    is ``file.py:name`` or ``package.module:name``, or a name from an installed package's entry points. Raises
    AhaError for an unknown name or option.
    """
    if (own := _own(name)) is not None:
        from aha.rewards.own import OwnReward

        return OwnReward(own)
    from aha.rewards import length
    from aha.rewards.accuracy import accuracy
    from aha.rewards.code import CodeReward
    from aha.rewards.constraints import constraints
    from aha.rewards.format import strict_format, tag_count
    from aha.rewards.language import language_consistency
    from aha.rewards.process import equations

    makers: dict[str, Callable[..., Reward]] = {
        "accuracy": partial(accuracy, verify),
        "lenient": partial(accuracy, verify_lenient or verify),
        "format": strict_format,
        "tag_count": tag_count,
        "language": language_consistency,
        "code": CodeReward,
        "tinyzero": partial(accuracy, verify, wrong=0.1),
        "constraints": constraints,
        "equations": equations,
        "soft_overlong": length.soft_overlong,
        "kimi_length": partial(length.kimi_length, accuracy=accuracy(verify)),
        "cosine": partial(length.cosine, accuracy=accuracy(verify)),
        "repetition": length.repetition_penalty,
    }
    base, _, options = name.partition(":")
    if base not in makers:
        hint = plugins.of_file(name) or nearest(base, [*makers, *plugins.entry_names("rewards")])
        raise AhaError(
            f"Unknown reward '{base}'. {hint} One of your own is FILE.py:NAME or PACKAGE.MODULE:NAME."
        )
    try:
        return makers[base](**plugins.options(name, options))
    except TypeError as error:
        raise AhaError(f"Reward '{name}': {error}. Options are written name:key=value,key=value.") from error


def get_rewards(
    weights: Mapping[str, float], verify: Verify, verify_lenient: Verify | None = None
) -> dict[str, tuple[float, Reward]]:
    """Name -> (weight, reward). One's own are called by their function's name, as long as that is nobody else's."""
    named = zip(reward_names(weights), weights.items(), strict=True)
    return {shown: (weight, get_reward(name, verify, verify_lenient)) for shown, (name, weight) in named}


def reward_names(rewards: Iterable[str]) -> list[str]:
    """How rewards are called in figures: one's own by their function's name, where that is nobody else's."""
    names = list(rewards)
    labels = [plugins.label(name) for name in names]
    taken = {label for label in labels if labels.count(label) > 1} | DESCRIPTIONS.keys()
    return [name if label in taken else label for name, label in zip(names, labels, strict=True)]


def check_columns(rewards: Mapping[str, tuple[float, Reward]], problem: Problem) -> None:
    """Raise AhaError for an own reward that cannot do without a column which problems like this one have not."""
    from aha.rewards.own import OwnReward, columns

    for _, reward in rewards.values():
        if not isinstance(reward, OwnReward) or not (missing := reward.missing(problem)):
            continue
        raise AhaError(
            f"The reward {reward.name} ({reward.where}) asks for '{missing[0]}', which the problems do not have. "
            f"They have: {', '.join(sorted(columns(problem)))}. Give it a default, or rows with that column."
        )


def _own(name: str) -> str | None:
    """The reference that a name stands for; None where it is one of the package's."""
    base, _, options = name.partition(":")
    if base in DESCRIPTIONS:
        return None
    if plugins.is_reference(name):
        return name
    reference = plugins.entry("rewards", base)
    return f"{reference}:{options}" if reference and options else reference
