"""The text the embedded base learns from, made by a program: arithmetic, and puzzles mostly solved badly.

A base model is a mixture of everything that was written down. Here that is: facts and worked expressions,
and Countdown puzzles answered in many manners, most of them bad: a guess at once, a few attempts and giving
up, long searches in no order, systematic ones; in English, in Chinese, in both; with and without tags. Every
behaviour that reinforcement learning later amplifies (search, comparing with the target, "wait") is planted
here, in a minority of documents.

Two choices make such a base trainable: every attempt writes the target next to its value, so that checking
is a comparison of neighbours; and "wait" goes with persistence (a document that says it always tries again).
"""

from __future__ import annotations

import functools
import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass

from aha.chat import R1_ZERO_TEMPLATE
from aha.tasks import countdown

EOS = "<|endoftext|>"
TOO_BIG = 255  # the largest whole-number token: larger intermediate results are not written down


@dataclass(frozen=True, slots=True)
class Phrases:
    """One language's words for the moves of a search."""

    versus: str
    no: str
    yes: str
    wait: str
    openings: tuple[str, ...]
    guesses: tuple[str, ...]
    give_up: str
    check: str
    so: str


ENGLISH = Phrases(
    versus=" vs ",
    no=" no. ",
    yes=" yes! ",
    wait="wait, try again. ",
    openings=("", "", "let me try. ", "let me see. ", "first try: "),
    guesses=("I guess ", "maybe ", "it is ", ""),
    give_up="I give up. ",
    check="check: ",
    so="so ",
)
CHINESE = Phrases(
    versus="比",
    no="不对。",
    yes="对！",
    wait="等等，再试。",
    openings=("", "", "我来试试。", "看看。"),
    guesses=("我猜", "可能是", "就是", ""),
    give_up="不会。",
    check="检查：",
    so="所以",
)


@functools.lru_cache(maxsize=40_000)
def attempts(numbers: tuple[int, ...], operators: str = "+-*") -> tuple[tuple[int, str, str], ...]:
    """All expressions worth trying, in systematic order: (value, expression, the same worked out)."""
    lines = []
    for e in countdown.expressions(numbers, operators):
        steps = countdown.trace(e)
        if e.value >= 0 and all(_writable(step) for step in steps[1:]):
            lines.append((int(e.value), steps[0], "=".join(steps)))
    return tuple(lines)


def _writable(step: str) -> bool:
    """No negative and no too large number stands in this step."""
    if step.startswith("-") or "(-" in step or "--" in step or "+-" in step or "*-" in step:
        return False
    digits = "".join(c if c.isdigit() else " " for c in step)
    return all(int(n) <= TOO_BIG for n in digits.split())


class Writer:
    """Writes one document after another from one random stream."""

    def __init__(self, seed: int | str, difficulty: countdown.CountdownDifficulty = countdown.CORPUS):
        self.rng, self.difficulty = random.Random(seed), difficulty
        self.problems = countdown.generate(difficulty, "train", random.Random(f"{seed}:problems"))

    def document(self) -> str:
        """The next document, without its end-of-text mark."""
        kind = self.pick(facts=17, expressions=8, puzzle=75)
        return {"facts": self.facts, "expressions": self.worked, "puzzle": self.puzzle}[kind]()

    def pick(self, **shares: float) -> str:
        return self.rng.choices(list(shares), list(shares.values()))[0]

    # --- arithmetic ------------------------------------------------------------------------------------

    def facts(self) -> str:
        words = ENGLISH if self.rng.random() < 0.7 else CHINESE
        return "".join(self.fact(words) for _ in range(self.rng.randint(6, 14))).rstrip()

    def fact(self, words: Phrases) -> str:
        rng = self.rng
        kind = self.pick(compare=30, product=25, sum=22, difference=23)
        if kind == "compare":
            a = rng.randint(0, TOO_BIG)
            near = min(TOO_BIG, max(0, a + rng.choice((-10, -2, -1, 1, 2, 10, 20))))
            b = rng.choice((a, a, near, rng.randint(0, TOO_BIG)))
            return f"{a}{words.versus}{b}{words.yes if a == b else words.no}"
        if kind == "product":
            a = rng.randint(1, 25)
            b = rng.randint(1, min(100, 250 // a))
            a, b = rng.choice(((a, b), (b, a)))
            return f"{a}*{b}={a * b}. "
        a, b = rng.randint(0, 250), rng.randint(0, 60)
        if kind == "sum":
            a = min(a, TOO_BIG - b)
            a, b = rng.choice(((a, b), (b, a)))
            return f"{a}+{b}={a + b}. "
        a = max(a, b)
        return f"{a}-{b}={a - b}. "

    def worked(self) -> str:
        parts = []
        for _ in range(self.rng.randint(3, 7)):
            numbers = tuple(self.rng.randint(1, 25) for _ in range(self.rng.choice((2, 3, 3))))
            candidates = attempts(numbers)
            if candidates:
                parts.append(self.rng.choice(candidates)[2] + ". ")
        return "".join(parts).rstrip() or "1+1=2."

    # --- puzzles ---------------------------------------------------------------------------------------

    def puzzle(self) -> str:
        problem = next(self.problems)
        numbers, target = problem.metadata["numbers"], problem.metadata["target"]
        asked = self.pick(en=80, zh=20)
        text = countdown.question(numbers, target, self.difficulty.operators, asked)
        header = self.pick(r1_zero=40, question=30, bare=30)
        tagged = self.rng.random() < (0.40 if header == "r1_zero" else 0.12)
        prompt = {
            "r1_zero": R1_ZERO_TEMPLATE.replace("{prompt}", text),
            "question": f"Question: {text} Answer:",
            "bare": f"{text} ",
        }[header]
        return prompt + self.response(numbers, target, header == "r1_zero", tagged, asked)

    def manner(self, template: bool, tagged: bool) -> str:
        """How this one is answered. Under the template, untagged answers give up early."""
        if template and not tagged:
            return self.pick(guess=72, few=28)
        if template:
            return self.pick(guess=54, few=20, long=12, systematic=13, solve=1)
        return self.pick(guess=30, few=24, long=21, systematic=23, solve=2)

    def response(
        self, numbers: tuple[int, ...], target: int, template: bool, tagged: bool, asked: str
    ) -> str:
        lean = {"en": (70, 12, 18), "zh": (35, 47, 18)}[asked]
        language = self.pick(en=lean[0], zh=lean[1], mixed=lean[2])
        chain, answer = self.chain(numbers, target, self.manner(template, tagged), language)
        if not tagged:
            so = self.words(language).so
            return (" " + chain + (so + answer if answer and self.rng.random() < 0.7 else "")).rstrip()
        if self.rng.random() < 0.04:  # tags are not always closed either
            return f" <think>{chain}{answer}"
        return f" <think>{chain.rstrip()}</think> <answer>{answer}</answer>"

    def words(self, language: str) -> Phrases:
        if language == "mixed":
            return self.rng.choice((ENGLISH, CHINESE))
        return ENGLISH if language == "en" else CHINESE

    def chain(self, numbers: tuple[int, ...], target: int, manner: str, language: str) -> tuple[str, str]:
        """The thinking, and the expression it ends in (perhaps wrong, perhaps none)."""
        candidates = list(attempts(numbers))
        right = next((c for c in candidates if c[0] == target), None)
        if manner == "guess":
            return self.guess(numbers, candidates, language)
        if manner == "solve" and right:
            return self.search([right], target, language, persistent=True)
        if manner == "systematic":
            return self.search(candidates, target, language, persistent=self.rng.random() < 0.8)
        self.rng.shuffle(candidates)
        limit = self.rng.randint(1, 4) if manner == "few" else self.rng.randint(5, 14)
        return self.search(candidates[:limit], target, language, persistent=manner == "long")

    def guess(self, numbers: tuple[int, ...], candidates: list, language: str) -> tuple[str, str]:
        rng = self.rng
        if candidates and rng.random() < 0.5:
            expression = rng.choice(candidates)[1]
        else:  # often not even with the right numbers
            drawn = [rng.choice(numbers) for _ in numbers]
            expression = "".join(f"{n}{rng.choice('+-*')}" for n in drawn)[:-1]
        words = self.words(language)
        return f"{rng.choice(words.guesses)}{expression}{'. ' if words is ENGLISH else '。'}", expression

    def search(self, candidates: list, target: int, language: str, persistent: bool) -> tuple[str, str]:
        """Attempt after attempt until one fits; the impatient may stop after any failure."""
        rng = self.rng
        words = self.words(language)
        text, last = rng.choice(words.openings), ""
        reflective = rng.random() < 0.45
        for value, expression, worked in candidates:
            words = self.words(language)
            text += f"{worked}{words.versus}{target}"
            last = expression
            if value == target:
                text += words.yes
                if rng.random() < 0.15:
                    text += f"{words.check}{worked}. " if words is ENGLISH else f"{words.check}{worked}。"
                return text, expression
            text += words.no
            if reflective and rng.random() < 0.4:
                text += words.wait
            elif (not persistent and rng.random() < 0.25) or (persistent and rng.random() < 0.02):
                break
        return text + (words.give_up if rng.random() < 0.5 else ""), last


def documents(seed: int | str, n: int) -> Iterator[str]:
    """``n`` documents, always the same for one seed."""
    writer = Writer(seed)
    for _ in range(n):
        yield writer.document()


def corpus_hash(writer: Writer, n: int = 10_000) -> str:
    """SHA-256 over the first ``n`` documents: tells whether two programs make the same corpus."""
    digest = hashlib.sha256()
    for _ in range(n):
        digest.update(writer.document().encode() + b"\0")
    return digest.hexdigest()
