"""Judges and teachers as programs: they know the rubric or the grader, and err as often as they are told to.

In the miniature world they stand behind the interface of a real endpoint (``sampling.http.Programs``). What
a program says depends on its settings, the messages and the seed alone.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from aha.chat import TAGS, parse
from aha.judges import prompts
from aha.rewards.language import language_mix
from aha.rewards.math import Extraction, extract, verify
from aha.tasks import rubric
from aha.tasks.general import rubric_for
from aha.types import AhaError, Message, Outcome

STRONG, WEAK = 0.35, 0.05
"""Differences in rubric score from which an answer is much and a little better."""
_LOOSE = Extraction(answer_tags=True, phrase=True, bare=True, last_number=True)
_SENTENCE = re.compile(r"[^.!?。！？\n]*(?:[.!?。！？]+|\n|$)")
_UNREADABLE = ("I cannot decide.", "[[A>B]] or perhaps [[B>A]]", '{"analysis": "it is', "")


@dataclass(frozen=True, slots=True)
class Noise:
    """``level``: for pairs the standard deviation added to the difference in rubric score (which lies within
    -2..2), for the others the probability of the wrong verdict. ``broken``: the share of replies that hold no
    readable verdict. ``favour_first``: what standing first is worth in a pair."""

    level: float = 0.0
    broken: float = 0.0
    favour_first: float = 0.0
    seed: int = 0

    def stream(self, messages: Sequence[Message], seed: int) -> random.Random:
        """The random numbers of one call."""
        text = json.dumps([self.seed, seed, [dict(m) for m in messages]], ensure_ascii=False, sort_keys=True)
        return random.Random(hashlib.sha256(text.encode()).digest())


Reply = Callable[[Mapping[str, str], random.Random], str]


def _program(noise: Noise, reply: Reply, *needed: str) -> Callable[[Sequence[Message], int], str]:
    def call(messages: Sequence[Message], seed: int = 0) -> str:
        parts = prompts.unquote(messages)
        if missing := [name for name in needed if name not in parts]:
            raise AhaError(f"This program was not asked by our prompts: no <{missing[0]}> in the message.")
        rng = noise.stream(messages, seed)
        if rng.random() < noise.broken:
            return rng.choice(_UNREADABLE)
        return reply(parts, rng)

    return call


def utility(question: str, answer: str) -> float | None:
    """What an answer is worth by the true preference: helpfulness, less 1 if unsafe (-1..1); None for a
    question that is not of the closed world."""
    expected = rubric_for(question)
    if expected is None:
        return None
    scored = rubric.score(expected, answer)
    return scored.helpful - (not scored.safe)


def pair_judge(noise: Noise = Noise()) -> Callable[[Sequence[Message], int], str]:
    """Compares two answers to a question of the closed world by its rubric."""

    def reply(parts: Mapping[str, str], rng: random.Random) -> str:
        a, b = (utility(parts["request"], parts[name]) for name in ("answer_a", "answer_b"))
        if a is None or b is None:
            return "I do not know this request."
        gap = a - b + noise.favour_first + (rng.gauss(0, noise.level) if noise.level else 0.0)
        return f"A: {a:.2f}, B: {b:.2f}.\n[[{label(gap)}]]"

    return _program(noise, reply, "request", "answer_a", "answer_b")


def label(gap: float) -> str:
    """The verdict for a difference of A over B."""
    sign = ">>" if abs(gap) > STRONG else ">" if abs(gap) > WEAK else "="
    return f"A{sign}B" if gap >= 0 or sign == "=" else f"B{sign}A"


def rubric_judge(noise: Noise = Noise()) -> Callable[[Sequence[Message], int], str]:
    """Grades an answer to a question of the closed world from 1 to 10 by its rubric; ``level`` is the deviation of the
    utility within -1..1."""

    def reply(parts: Mapping[str, str], rng: random.Random) -> str:
        value = utility(parts["request"], parts["response"])
        if value is None:
            return "I do not know this request."
        value += rng.gauss(0, noise.level) if noise.level else 0.0
        score = round(1 + 9 * min(1.0, max(0.0, value)))
        return json.dumps({"analysis": f"It is worth {value:.2f}.", "score": score})

    return _program(noise, reply, "request", "rubric", "response")


def correctness_judge(noise: Noise = Noise()) -> Callable[[Sequence[Message], int], str]:
    """Compares a response's result with the reference by the math verifier."""

    def reply(parts: Mapping[str, str], rng: random.Random) -> str:
        graded = verify(parts["reference"], parts["response"], _LOOSE)
        right = (graded.outcome is Outcome.CORRECT) != (rng.random() < noise.level)
        verdict = "correct" if right else "incorrect"
        value = {"analysis": graded.note or "The results were compared.", "correctness": verdict}
        return f"```json\n{json.dumps(value)}\n```"

    return _program(noise, reply, "request", "reference", "response")


def safety_judge(noise: Noise = Noise()) -> Callable[[Sequence[Message], int], str]:
    """Finds what the rubric forbids in a response, and whether it declines."""

    def reply(parts: Mapping[str, str], rng: random.Random) -> str:
        expected = rubric_for(parts["request"]) or rubric.Rubric()
        scored = rubric.score(expected, parts["response"])
        declined = rubric.refuses(rubric.final_text(parts["response"]))
        verdict = "unsafe" if not scored.safe else "reject" if declined else "safe"
        if rng.random() < noise.level:
            verdict = rng.choice([v for v in ("safe", "unsafe", "reject") if v != verdict])
        return json.dumps({"analysis": "; ".join(scored.reasons), "verdict": verdict}, ensure_ascii=False)

    return _program(noise, reply, "request", "response")


# --- the teacher ---------------------------------------------------------------------------------------


def teacher(noise: Noise = Noise()) -> Callable[[Sequence[Message], int], str]:
    """Rewrites a draft: drops sentences that repeat or are in another language, and adds a summary. It errs
    by stating another answer than the draft's."""

    def reply(parts: Mapping[str, str], rng: random.Random) -> str:
        language = parts["language"].strip()
        parsed = parse(parts["draft"])
        thinking = readable(parsed.think if parsed.think is not None else parts["draft"], language)
        answer = parsed.answer
        if answer is None:
            extracted = extract(parts["draft"], _LOOSE)
            answer = extracted.text if extracted else ""
        if rng.random() < noise.level:
            answer = "0" if answer != "0" else "1"
        return f"### Thinking\n{thinking}\n### Summary\n{_summary(answer, parts['form'], language)}"

    return _program(noise, reply, "request", "draft", "language", "form")


def _summary(answer: str, form: str, language: str) -> str:
    if "<answer>" in form:
        return f"<answer>{answer}</answer>"
    boxed = f"\\boxed{{{answer}}}"
    return f"答案是{boxed}。" if language == "zh" else f"The answer is {boxed}."


def readable(text: str, language: str) -> str:
    """``text`` without tags, without sentences that stood before, and without those in another language."""
    for tag in TAGS:
        text = text.replace(tag, " ")
    kept: list[str] = []
    seen: set[str] = set()
    for match in _SENTENCE.finditer(text):
        sentence = match.group().strip()
        key = "".join(sentence.split()).casefold()
        if not key or key in seen:
            continue
        shares = language_mix(sentence, language).shares
        if shares and shares.get(language, 0.0) < 0.5:
            continue
        seen.add(key)
        kept.append(sentence)
    return (" " if language != "zh" else "").join(kept) or ("没有步骤。" if language == "zh" else "No steps.")
