"""Chains of thought that think nothing: the prompt's own placeholder, a phrase without content, the question again.

A format reward that pays for tags alone is learned in a few updates by writing the template's own example,
``<think> reasoning process here </think>``. What stands here tells such a chain from a short one: it works by the
words of the chain, in time linear in it. A chain that calculates is never a ritual, however short.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import cache

from aha.chat import R1_ZERO_TEMPLATE, TAGS, Parsed, parse
from aha.rewards.ritual_words import names_an_answer, says_nothing
from aha.types import Problem, Rollout

_TAG = re.compile("|".join(TAGS))
_MARKS = "\u0300-\u036f\u064b-\u0652\u0900-\u0903\u093a-\u094f\u0e31\u0e34-\u0e3a\u0e47-\u0e4e"  # vowels and accents
_WORD = re.compile(rf"[^\W\d_](?:[^\W\d_]|[{_MARKS}])*|\d+")
_WORK = re.compile(r"\d\s*[-+*/×÷=<>^%!−·∙]\s*\(*\s*\d|\d\s*[-+*/×÷=^−]\s*\(|\)\s*[-+*/×÷=^−]")
"""Arithmetic: an operator between two numbers, or at a bracket."""
_COUNTING = re.compile(
    r"(?i)\bsteps?\s*\d+\b|(?:^|(?<=[.!?。)]\s))\s*\d{1,2}\s*[.):、](?!\d)|"
    r"第\s*[\d一二三四五六七八九十]+\s*步|\bn/a\b",
    re.MULTILINE,
)
"""The number of a step, which counts nothing of the question."""
COPIED_WORDS = 8  # from so many words on a chain that stands in the question as it is, is a copy of it


@cache
def _template_words() -> frozenset[str]:
    return frozenset(words(R1_ZERO_TEMPLATE))


def words(text: str) -> list[str]:
    """The words and numbers of a text, in small letters."""
    return _WORD.findall(text.casefold())


def ritual(parsed: Parsed, question: str = "") -> str:
    """Why a well-formed completion holds no thought, in words; "" where it holds one.

    ``question`` is what was asked. Placeholders left standing in the answer count as well.
    """
    if parsed.answer is not None and _placeholder(parsed.answer):
        return "the answer is the placeholder of the prompt"
    return empty_chain(parsed.think or "", parsed.answer or "", question)


def empty_chain(chain: str, answer: str = "", question: str = "") -> str:
    """Why a chain of thought is empty, in words; "" where it is not, and for a chain that is not there."""
    said = words(_COUNTING.sub(" ", _TAG.sub(" ", chain)))
    if not chain.strip() or _copies(said, words(question)):
        return "the thinking is the question again" if chain.strip() else ""
    if _WORK.search(chain):
        return ""
    if not said:
        return "the thinking has no words"
    numbers, rest = [w for w in said if w.isdigit()], [w for w in said if not w.isdigit()]
    if [len(w) for w in rest] == [1]:
        return ""  # one letter may be what was asked for
    if all(map(_says_nothing, rest)) and set(numbers) <= set(words(answer)):
        return "the thinking holds no thought" + (
            ": only words of the prompt" if rest else ", only the answer"
        )
    return ""


def _says_nothing(word: str) -> bool:
    return word in _template_words() or says_nothing(word)


def _placeholder(answer: str) -> bool:
    said = words(answer)
    return names_an_answer(answer.casefold()) and all(map(_says_nothing, said))


def _copies(said: Sequence[str], asked: Sequence[str]) -> bool:
    """Whether all that is said stands in the question word for word."""
    if not said or (len(said) < COPIED_WORDS and list(said) != list(asked)):
        return False
    return f" {' '.join(said)} " in f" {' '.join(asked)} "


def chain_figures(problems: Sequence[Problem], rollouts: Sequence[Rollout]) -> dict[str, float]:
    """Of completions to ``problems`` [n]: ``chains/empty``, the share whose thinking is empty in the sense above, and
    ``chains/repeated``, the share that has the most common chain among those written for several questions."""
    asked: dict[str, set[str]] = {}
    counts: Counter[str] = Counter()
    empty = 0
    for problem, rollout in zip(problems, rollouts, strict=True):
        parsed = parse(rollout.text, opened_think=rollout.opened_think)
        chain = parsed.think if parsed.think is not None else parsed.body
        empty += bool(parsed.think is not None and ritual(parsed, question_of(problem)))
        key = " ".join(chain.split()).casefold()
        asked.setdefault(key, set()).add(question_of(problem))
        counts[key] += 1
    common = [n for key, n in counts.items() if key and len(asked[key]) > 1]
    total = max(1, len(rollouts))
    return {"chains/empty": empty / total, "chains/repeated": max(common, default=0) / total}


def question_of(problem: Problem) -> str:
    """The text of the last message, which is what was asked."""
    content = problem.messages[-1].get("content", "") if problem.messages else ""
    return content if isinstance(content, str) else ""
