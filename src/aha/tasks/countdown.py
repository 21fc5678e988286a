"""Countdown: reach a target with given numbers, each used once. Problems are made, never downloaded.

The task of TinyZero and Mini-R1, with knobs for its difficulty. Splits are disjoint by the sorted numbers:
no problem of the test split shares its numbers with one that is trained on.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from aha import chat
from aha.rewards.arithmetic import ExpressionError, evaluate
from aha.rewards.places import place_of, stated
from aha.tasks.base import SPLITS, Task
from aha.types import AhaError, Outcome, Problem, Verdict

SPLIT_PARTS = {"test": (0,), "validation": (1,), "train": tuple(range(2, 20))}
"""Twentieths of the sets of numbers: 5% test, 5% validation, 90% train."""
MAX_MISSES = 20_000


@dataclass(frozen=True, slots=True)
class CountdownDifficulty:
    """How many numbers of which range, which targets and operators, and whether one solution only."""

    counts: tuple[int, ...] = (3,)
    low: int = 1
    high: int = 25
    target_low: int = 1
    target_high: int = 199
    operators: str = "+-*"
    unique: bool = True  # exactly one solution, up to commuting and regrouping
    largest: int | None = None  # a solution written in the numbers' order meets nothing negative or larger


CORPUS = CountdownDifficulty()
"""What the embedded base's corpus is about."""
TINY = CountdownDifficulty(largest=255)
"""The task of the embedded base: what whole-number tokens, which end at 255, can work out."""
FULL = CountdownDifficulty((3, 4), 1, 99, 10, 100, "+-*/", unique=False)
"""The range of the public data set Countdown-Tasks-3to4, which TinyZero and nano-aha-moment train on."""


# --- expressions ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Expression:
    """A value with how it is written, and a key equal for expressions alike up to commuting/regrouping."""

    value: Fraction
    text: str
    kind: str  # "n" number, "s" sum, "p" product
    key: tuple
    parts: tuple[Expression, str, Expression] | None = None  # left, operator, right


def _key_terms(e: Expression, kind: str) -> tuple:
    return e.key[1] if e.kind == kind else ((1, e.key),)


def _flip(terms: tuple) -> tuple:
    return tuple((-sign, key) for sign, key in terms)


def number(n: int) -> Expression:
    """A leaf."""
    return Expression(Fraction(n), str(n), "n", ("n", n))


def combine(a: Expression, op: str, b: Expression) -> Expression | None:
    """``a op b`` with the parentheses it needs, or None for a division by zero."""
    if op == "/" and b.value == 0:
        return None
    kind = "s" if op in "+-" else "p"
    right = _key_terms(b, kind)
    terms = _key_terms(a, kind) + (right if op in "+*" else _flip(right))
    left_text = f"({a.text})" if kind == "p" and a.kind == "s" else a.text
    wrap = (kind == "p" and b.kind == "s") or (op == "-" and b.kind == "s") or (op == "/" and b.kind == "p")
    right_text = f"({b.text})" if wrap else b.text
    values = {"+": a.value + b.value, "-": a.value - b.value, "*": a.value * b.value}
    value = a.value / b.value if op == "/" else values[op]
    key = (kind, tuple(sorted(terms)))
    return Expression(value, left_text + op + right_text, kind, key, (a, op, b))


def trace(e: Expression) -> list[str]:
    """The expression worked out one operation at a time: ``13*4+22``, ``52+22``, ``74``."""
    steps = [e.text]
    while e.parts is not None:
        e = _reduce_once(e)
        steps.append(e.text)
    return steps


def _reduce_once(e: Expression) -> Expression:
    """Replace the first operation between two numbers by its value."""
    assert e.parts is not None
    left, op, right = e.parts
    if left.parts is None and right.parts is None:
        return Expression(e.value, str(e.value), "n", ("n", e.value))
    if left.parts is not None:
        left = _reduce_once(left)
    else:
        right = _reduce_once(right)
    expression = combine(left, op, right)
    assert expression is not None
    return expression


def expressions(numbers: Sequence[int], operators: str) -> list[Expression]:
    """Every expression that uses all the numbers once, one for each key."""
    by_key: dict[tuple, Expression] = {}
    for e in _grow([number(n) for n in numbers], operators):
        by_key.setdefault(e.key, e)
    return list(by_key.values())


def _grow(items: list[Expression], operators: str) -> Iterator[Expression]:
    if len(items) == 1:
        yield items[0]
        return
    for i, j in itertools.combinations(range(len(items)), 2):
        rest = [e for k, e in enumerate(items) if k not in (i, j)]
        for op in operators:
            pairs = [(items[i], items[j])] if op in "+*" else [(items[i], items[j]), (items[j], items[i])]
            for a, b in pairs:
                expression = combine(a, op, b)
                if expression is not None:
                    yield from _grow([expression, *rest], operators)


# --- problems ------------------------------------------------------------------------------------------


def split_of(numbers: Sequence[int]) -> str:
    """Which split these numbers belong to, in whatever order and with whatever target."""
    key = "countdown:" + ",".join(map(str, sorted(numbers)))
    part = int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big") % 20
    return next(split for split, parts in SPLIT_PARTS.items() if part in parts)


def question(numbers: Sequence[int], target: int, operators: str = "+-*/", language: str = "en") -> str:
    """The problem in words."""
    listed, ops = ", ".join(map(str, numbers)), ", ".join(operators)
    if language == "zh":
        return f"用数字 [{listed}] 写一个等于 {target} 的算式。可以用基本运算 ({ops})，每个数字只能用一次。"
    return (
        f"Using the numbers [{listed}], create an equation that equals {target}. You can use basic "
        f"arithmetic operations ({ops}) and each number can only be used once."
    )


LONGEST = 12
"""Digits from which a text is no number of a game."""


def spelled_out(text: str) -> str:
    """``24 7 3 -> 171`` as a question; any other text as it is."""
    left, arrow, right = text.partition("->")
    numbers = left.replace(",", " ").split()
    if arrow and numbers and all(n.isdecimal() and len(n) < LONGEST for n in (*numbers, right.strip())):
        return question([int(n) for n in numbers], int(right), TINY.operators)
    return text


def make_problem(
    numbers: Sequence[int], target: int, difficulty: CountdownDifficulty, language: str = "en"
) -> Problem:
    """A Problem whose metadata hold ``numbers`` and ``target``."""
    text = question(numbers, target, difficulty.operators, language)
    return Problem(
        id=f"countdown-{'-'.join(map(str, numbers))}-{target}",
        task="countdown",
        messages=({"role": "user", "content": text},),
        answer=str(target),
        language=language,
        metadata={"numbers": tuple(numbers), "target": target},
    )


@functools.lru_cache(maxsize=20_000)
def targets(numbers: tuple[int, ...], difficulty: CountdownDifficulty) -> list[int]:
    """The targets these numbers can reach, within the difficulty's range (and in one way, if asked)."""
    ways: dict[int, list[Expression]] = {}
    for e in expressions(numbers, difficulty.operators):
        if e.value.denominator == 1 and difficulty.target_low <= e.value <= difficulty.target_high:
            ways.setdefault(int(e.value), []).append(e)
    largest = difficulty.largest
    return sorted(
        target
        for target, solutions in ways.items()
        if (len(solutions) == 1 or not difficulty.unique)
        and (largest is None or any(stays_within(e, largest) for e in solutions))
    )


def stays_within(e: Expression, largest: int) -> bool:
    """Whether no step of the expression is negative or larger than ``largest``."""
    if not 0 <= e.value <= largest:
        return False
    return e.parts is None or all(stays_within(part, largest) for part in (e.parts[0], e.parts[2]))


def generate(difficulty: CountdownDifficulty, split: str, rng: random.Random) -> Iterator[Problem]:
    """Problems of a split without end; numbers are drawn first, then one of their reachable targets.
    Ends after ``MAX_MISSES`` draws in a row that gave none: the split is empty at this difficulty."""
    misses = 0
    while misses < MAX_MISSES:
        misses += 1
        if not (difficulty.unique or difficulty.largest):
            # Which targets there are need not be known: a random solution gives one, as in the public set.
            problem = random_problem(difficulty, rng)
            if problem is not None and split_of(problem.metadata["numbers"]) == split:
                misses = 0
                yield problem
            continue
        count = rng.choice(difficulty.counts)
        numbers = tuple(rng.randint(difficulty.low, difficulty.high) for _ in range(count))
        if split_of(numbers) != split:
            continue
        # Only with ``largest`` does the order matter; sorted, the cache serves every order.
        reachable = targets(numbers if difficulty.largest else tuple(sorted(numbers)), difficulty)
        if reachable:
            misses = 0
            yield make_problem(numbers, rng.choice(reachable), difficulty)


def random_problem(difficulty: CountdownDifficulty, rng: random.Random) -> Problem | None:
    """Numbers and a target reached by combining them at random; None if the draw missed the range."""
    numbers = tuple(
        rng.randint(difficulty.low, difficulty.high) for _ in range(rng.choice(difficulty.counts))
    )
    values = rng.sample(numbers, len(numbers))
    while len(values) > 1:
        a, b = values.pop(rng.randrange(len(values))), values.pop(rng.randrange(len(values)))
        op = rng.choice(difficulty.operators)
        if op == "/" and (b == 0 or a % b):
            return None
        values.append({"+": a + b, "-": a - b, "*": a * b}[op] if op != "/" else a // b)
    if not difficulty.target_low <= values[0] <= difficulty.target_high:
        return None
    return make_problem(numbers, values[0], difficulty)


def load(difficulty: CountdownDifficulty, split: str, n: int, seed: int) -> list[Problem]:
    """``n`` different problems of a split, the same for one seed."""
    if split not in SPLITS:
        raise AhaError(f"Countdown has no split '{split}'. Use one of {', '.join(SPLITS)}.")
    rng, seen, problems = random.Random(f"{split}:{seed}"), set(), []
    patience = 200 * n + 10_000
    for problem in itertools.islice(generate(difficulty, split, rng), patience):
        if problem.id not in seen:
            seen.add(problem.id)
            problems.append(problem)
            if len(problems) == n:
                return problems
    raise AhaError(
        f"Countdown's {split} split has no {n} different problems at this difficulty (found {len(problems)}). "
        "Ask for fewer, or widen the range of numbers."
    )


# --- grading -------------------------------------------------------------------------------------------


def grade_expression(problem: Problem, text: str) -> Verdict:
    """Is ``text`` an expression that uses each number exactly once and equals the target?"""
    try:
        evaluated = evaluate(text)
    except ExpressionError as error:
        return Verdict(Outcome.WRONG, f"not an expression: {error}")
    numbers, target = problem.metadata["numbers"], problem.metadata["target"]
    if sorted(evaluated.numbers) != sorted(numbers):
        return Verdict(Outcome.WRONG, f"uses {sorted(evaluated.numbers)} instead of {sorted(numbers)}")
    if evaluated.value != target:
        return Verdict(Outcome.WRONG, f"equals {evaluated.value}, not {target}")
    return Verdict(Outcome.CORRECT, "")


_LATEX = (("\\times", "*"), ("\\cdot", "*"), ("\\div", "/"), ("\\left", ""), ("\\right", ""))


def _answer(problem: Problem, text: str) -> str | None:
    """The expression where it was asked for; in a box its LaTeX signs are read, and "= 24" behind it is left off."""
    if place_of(problem) in (None, "tags"):
        return chat.parse(text, opened_think=False).answer
    answer = stated(problem, text)
    if answer is None:
        return None
    for sign, plain in _LATEX:
        answer = answer.replace(sign, plain)
    left, equals, right = answer.partition("=")
    return left if equals and right.strip() == str(problem.metadata["target"]) else answer


def verify(problem: Problem, text: str) -> Verdict:
    """Grade what stands where the prompt asked for the answer: in the tags, or in a box."""
    answer = _answer(problem, text)
    if answer is None:
        return Verdict(Outcome.NO_ANSWER, "no \\boxed{}" if place_of(problem) == "boxed" else "no <answer>")
    return grade_expression(problem, answer)


def vote(problem: Problem, text: str) -> str | None:
    """Expressions that use the same numbers and have the same value vote together."""
    answer = _answer(problem, text)
    if answer is None:
        return None
    try:
        evaluated = evaluate(answer)
    except ExpressionError:
        return f"invalid:{answer}"
    return f"{evaluated.value}:{sorted(evaluated.numbers)}"


_EXPRESSION_CHARS = frozenset("0123456789+-*/()")


def verify_lenient(problem: Problem, text: str) -> Verdict:
    """Grade the answer tags' content if there are any, else the last thing that looks like an expression."""
    answer = _answer(problem, text)
    if answer is None:
        answer = _last_expression(text)
    if answer is None:
        return Verdict(Outcome.NO_ANSWER, "no expression")
    return grade_expression(problem, answer)


def _last_expression(text: str) -> str | None:
    """The last run of expression characters that holds an operator between numbers. Linear."""
    end = len(text)
    while end > 0:
        if text[end - 1] not in _EXPRESSION_CHARS:
            end -= 1
            continue
        start = end
        while start > 0 and text[start - 1] in _EXPRESSION_CHARS:
            start -= 1
        run = text[start:end]
        if any(op in run[1:] for op in "+-*/"):
            return run
        end = start
    return None


def task(difficulty: CountdownDifficulty = TINY, name: str = "countdown") -> Task:
    """Countdown at a difficulty."""

    def load_split(split: str, n: int, seed: int) -> list[Problem]:
        return load(difficulty, split, n, seed)

    return Task(name, load_split, verify, verify_lenient, vote, _operands)


def _operands(problem: Problem) -> str:
    return f"{len(problem.metadata['numbers'])} numbers"
