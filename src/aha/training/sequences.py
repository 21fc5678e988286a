"""From scored completions to sequences that are trained on, and their division into mini-batches."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence

import numpy as np

from aha.types import Example, Group, Rollout, Scored


def to_examples(
    groups: Sequence[Group],
    advantages: Sequence[np.ndarray],
    steps: Callable[[Scored], tuple[tuple[int, float], ...]] = lambda member: (),
    version: int | None = None,
) -> list[Example]:
    """Members with an advantage, as sequences to train on: prompt and completion, learned on the completion.

    ``steps`` gives a member's process rewards as (index among the completion's tokens, reward). With
    ``version`` tokens that an earlier version of the policy sampled are marked.
    """
    examples = []
    for index, (group, values) in enumerate(zip(groups, advantages, strict=True)):
        for member, advantage in zip(group.members, values, strict=True):
            if math.isnan(advantage):
                continue
            r, prompt = member.rollout, len(member.rollout.prompt_ids)
            mask = np.arange(prompt + len(r.completion_ids)) >= prompt
            examples.append(
                Example(
                    token_ids=np.concatenate([r.prompt_ids, r.completion_ids]),
                    mask=mask,
                    advantage=np.where(mask, advantage, 0.0),
                    sampler_logprobs=np.concatenate([np.zeros(prompt, np.float32), r.logprobs]),
                    prompt_length=prompt,
                    group=index,
                    right=is_right(member),
                    steps=tuple((prompt + at, value) for at, value in steps(member)),
                    stale=None if version is None else mask_of(token_versions(r) < version, prompt),
                )
            )
    return examples


def mask_of(values: np.ndarray, prompt: int) -> np.ndarray:
    """Values of a completion's tokens [C] as those of the whole sequence [P + C], 0 in the prompt."""
    return np.concatenate([np.zeros(prompt), values])


def split_by_group(examples: Sequence[Example], parts: int, rng: random.Random) -> list[list[Example]]:
    """Deal whole groups, in random order, into at most ``parts`` mini-batches; empty ones are left out."""
    groups = sorted({e.group for e in examples})
    rng.shuffle(groups)
    part_of = {group: i % parts for i, group in enumerate(groups)}
    split: list[list[Example]] = [[] for _ in range(parts)]
    for example in examples:
        split[part_of[example.group]].append(example)
    return [part for part in split if part]


def is_right(member: Scored) -> bool:
    """Whether a graded member's answer is correct."""
    score = member.scores.get("accuracy")
    if score is not None and score.value is not None:
        return score.value > 0.5
    return (member.reward or 0.0) > 0


def token_versions(rollout: Rollout) -> np.ndarray:
    """Which version of the policy sampled each token [C]."""
    versions = np.full(len(rollout.completion_ids), rollout.policy_version)
    for (start, version), (end, _) in zip(rollout.version_spans, rollout.version_spans[1:], strict=False):
        versions[start:end] = version
    return versions
