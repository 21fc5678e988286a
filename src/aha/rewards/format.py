"""Rewards for keeping the format: thinking inside ``<think>``, the answer inside ``<answer>``.

``strict_format`` is the paper's format reward (all or nothing); ``tag_count`` is a smoother one for models
that do not yet know the format. Both read text through ``aha.chat`` and so in linear time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aha.chat import ANSWER, END_ANSWER, END_THINK, TAGS, THINK, Tag, find_tags, parse
from aha.rewards.accuracy import per_rollout
from aha.rewards.places import place_of, violation
from aha.rewards.ritual import question_of, ritual
from aha.types import Problem, Reward, Rollout, Score


def strict_format(
    *,
    require_answer: bool = True,
    token_ids: Mapping[str, int] | None = None,
    right: float = 1.0,
    wrong: float = 0.0,
) -> Reward:
    """``right`` for a completion that keeps the format in everything (``aha.chat.parse`` says what that is; under a
    prompt that asks for no tags, ``aha.rewards.places``), ``wrong`` with the first violation in the note otherwise.

    A chain that only repeats the prompt's placeholder, an empty phrase or the question keeps no format
    (``aha.rewards.ritual``). ``token_ids`` (from ``tag_token_ids``) additionally asks that each tag was sampled as
    its own token as often as the text shows it, and not spelled out of ordinary tokens.
    """

    def grade(problem: Problem, rollout: Rollout) -> Score:
        parsed = parse(rollout.text, opened_think=rollout.opened_think, require_answer=require_answer)
        fault = parsed.problem
        if place_of(problem) in ("boxed", "any"):
            fault = violation(problem, rollout.text, opened_think=rollout.opened_think)
        fault = fault or ritual(parsed, question_of(problem)) or spelled_out(rollout, token_ids or {})
        return Score(wrong, fault) if fault else Score(right)

    return per_rollout(grade)


def tag_count(*, require_answer: bool = True) -> Reward:
    """The share of the tags that occur exactly once and in order, 0 to 1. A ``<think>`` that the prompt
    opened is not the model's to write: it is left out, or counted as wrong if written again. A chain that holds no
    thought has 0 (``aha.rewards.ritual``)."""

    def grade(problem: Problem, rollout: Rollout) -> Score:
        parsed = parse(rollout.text, opened_think=rollout.opened_think, require_answer=require_answer)
        hollow = parsed.think is not None and ritual(parsed, question_of(problem))
        if hollow:
            return Score(0.0, hollow)
        if place_of(problem) in ("boxed", "any"):  # no tags were asked for: all or nothing
            fault = violation(problem, rollout.text, opened_think=rollout.opened_think)
            return Score(float(not fault), fault)
        tags = [tag for tag in find_tags(rollout.text) if not tag.quoted]
        expected = (THINK, END_THINK, ANSWER, END_ANSWER) if require_answer else (THINK, END_THINK)
        if rollout.opened_think:
            expected = expected[1:]
        bad = _misplaced(tags, expected)
        repeated = rollout.opened_think and any(tag.name == THINK for tag in tags)
        total = len(expected) + repeated
        note = ", ".join(bad + [THINK] * repeated)
        return Score((len(expected) - len(bad)) / total, f"not once or not in order: {note}" if note else "")

    return per_rollout(grade)


def _misplaced(tags: list[Tag], expected: Sequence[str]) -> list[str]:
    bad, last = [], -1
    for name in expected:
        starts = [tag.start for tag in tags if tag.name == name]
        if len(starts) == 1 and starts[0] > last:
            last = starts[0]
        else:
            bad.append(name)
    return bad


def tag_token_ids(tokenizer: Any) -> dict[str, int]:
    """The id of each tag that is a single token of the tokenizer; a tag that is not is left out."""
    ids = {}
    for tag in TAGS:
        pieces = tokenizer.encode(tag, add_special_tokens=False)
        if len(pieces) == 1 and tokenizer.convert_ids_to_tokens(pieces[0]) == tag:
            ids[tag] = int(pieces[0])
    return ids


def spelled_out(rollout: Rollout, token_ids: Mapping[str, int]) -> str:
    """Which tag the text has more or less often than its token was sampled, in words; "" if none."""
    for tag, token in token_ids.items():
        written = rollout.text.count(tag)
        sampled = int((rollout.completion_ids == token).sum())
        if sampled != written:
            return f"{tag} stands {written} times in the text but was sampled {sampled} times as a token"
    return ""
