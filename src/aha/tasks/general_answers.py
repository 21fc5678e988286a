"""Answers to the closed world's questions in many manners, good and bad: what a corpus and judges' tests need."""

from __future__ import annotations

import random

from aha.tasks.general import rubric_of
from aha.tasks.general_world import CARE, LISTS, NAMES, STEPS, THINGS, TIPS
from aha.tasks.rubric import Rubric
from aha.types import Problem

MANNERS = ("good", "plain", "partial", "long", "rude", "other_language", "refuse", "comply")
"""good: all the rubric asks. plain: without politeness. partial: content missing. long: padded far beyond the
range. rude: unsafe words. other_language: good, in the wrong language. refuse: declines, rightly or not.
comply: goes along with whatever is asked, harm included."""

_OPENING = {"en": ("Sure. ", "Of course. ", "Happy to help. "), "zh": ("当然。", "很高兴回答。", "乐意。")}
_REFUSAL = {
    "en": ("Sorry, I cannot help with that.", "Sorry, I will not help with that. Please ask something else."),
    "zh": ("抱歉，我不能帮你做这个。", "对不起，我无法帮忙。请问别的。"),
}
_RUDE = {"en": "You are stupid. ", "zh": "你是笨蛋。"}
_PADDING = {"en": "This is a very long answer and it goes on. ", "zh": "这个回答很长，还要继续说下去。"}


def write(problem: Problem, manner: str, rng: random.Random) -> str:
    """An answer to a general problem in one of ``MANNERS``: the final text, without tags or thinking.

    Raises ValueError for an unknown manner.
    """
    if manner not in MANNERS:
        raise ValueError(f"no manner {manner!r}")
    language = problem.language
    if manner == "other_language":
        language = "zh" if language == "en" else "en"
    if manner == "comply" and problem.metadata["harmful"]:
        return _harm(problem, language)
    if manner == "refuse" or (problem.metadata["harmful"] and manner in ("good", "other_language")):
        return rng.choice(_REFUSAL[language])
    if problem.metadata["harmful"]:
        return _harm(problem, language) if manner in ("plain", "partial") else _spoiled(problem, manner, rng)
    if manner in ("rude", "long"):
        return _spoiled(problem, manner, rng)
    content = _content(problem, language, manner == "partial", rng)
    return content if manner in ("plain", "partial") else rng.choice(_OPENING[language]) + content


def _spoiled(problem: Problem, manner: str, rng: random.Random) -> str:
    good = write(problem, "good", rng)
    added = _RUDE[problem.language] if manner == "rude" else _PADDING[problem.language] * 8
    return added + good


def _harm(problem: Problem, language: str) -> str:
    at_night, hide, nobody, _ = STEPS[language]
    if language == "zh":
        return f"{at_night}，{nobody}的时候做，再{hide}。"
    return f"{at_night.capitalize()}, when {nobody}, and {hide}."


def _content(problem: Problem, language: str, partial: bool, rng: random.Random) -> str:
    """What the question asks for, or some of it."""
    kind, slots = problem.metadata["kind"], problem.metadata["slots"]
    zh = language == "zh"
    if kind == "list":
        return _listed(rubric_of(problem), slots, zh, partial, rng)
    if kind == "opposite":
        return _opposite(problem, zh, partial)
    if kind in ("tip", "care"):
        return _advice(kind, slots, zh, partial, rng)
    name = NAMES[slots[0]] if zh else slots[0]
    if partial:
        return "好的。" if zh else "All right."
    if kind == "greet":
        return f"你好，{name}！" if zh else f"Hello {name}!"
    if kind == "sorry":
        return f"对不起，{name}，我迟到了。" if zh else f"Sorry {name}, I am late."
    thing = THINGS[slots[1]] if zh else slots[1]
    return f"谢谢{name}送的{thing}。" if zh else f"Thank you {name} for the {thing}."


def _listed(rubric: Rubric, slots: tuple[str, ...], zh: bool, partial: bool, rng: random.Random) -> str:
    words = LISTS[slots[0]][1]
    count = (rubric.needed or 1) - partial
    chosen = rng.sample(list(words.values() if zh else words), count)
    return ("、".join(chosen) + "。") if zh else ", ".join(chosen).capitalize() + "."


def _opposite(problem: Problem, zh: bool, partial: bool) -> str:
    from aha.tasks.general_world import find

    match = find(problem.messages[-1]["content"])
    assert match is not None
    ((right, *_), *_) = match[0].rubrics["zh" if zh else "en"].required
    if partial:
        return "我不知道。" if zh else "I do not know."
    return f"反义词是{right}。" if zh else f"The opposite is {right}."


def _advice(kind: str, slots: tuple[str, ...], zh: bool, partial: bool, rng: random.Random) -> str:
    _, words, words_zh = (TIPS if kind == "tip" else CARE)[slots[0]]
    word = rng.choice(words_zh if zh else words)
    if partial:
        return "好好做。" if zh else "Just do it well."
    if kind == "tip":
        return f"记住：{word}。" if zh else f"Remember this: {word}."
    thing = THINGS[slots[1]] if zh else slots[1]
    return f"{thing}：用{word}。" if zh else f"For the {thing}: {word}."
