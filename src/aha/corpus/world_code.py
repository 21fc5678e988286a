"""Small functions in the corpus: an expression is tried on the examples, and its values stand beside theirs.

``try x+3: 5+3=8 vs 12 no.`` The arithmetic and the comparison are written as in Countdown, so what is known
there serves here. What a chain claims is always so; answers are bad because most of them try nothing, or take
an expression that was refuted.
"""

from __future__ import annotations

import ast
import operator
import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from aha.corpus.tiny import CHINESE, ENGLISH, TOO_BIG
from aha.corpus.world_frame import Asked, Manners, Patience, language_of
from aha.tasks import code
from aha.tasks.code_families import BY_NAME, FAMILIES, Family, draw_tests
from aha.tasks.splits import split_of
from aha.types import Problem

WORDS = {"en": ENGLISH, "zh": CHINESE}
TRY = {"en": "try ", "zh": "试试"}
OPENINGS = {"en": ("", "", "let me see. "), "zh": ("", "", "看看。")}
MANNERS = Manners(
    tagged={"guess": 48, "few": 22, "long": 12, "systematic": 12, "solve": 6},
    untagged={"guess": 72, "few": 28},
    elsewhere={"guess": 26, "few": 24, "long": 20, "systematic": 18, "solve": 12},
)
RIGHT_GUESS = 0.15
"""How often a guess happens to be right."""
_SPACES = re.compile(r" *([-+*/%<>=]+) *")


def compact(expression: str) -> str:
    """Without spaces around operators, as Countdown writes them."""
    return _SPACES.sub(r"\1", expression)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A family with its parameters: something to try."""

    family: Family
    parameters: dict[str, int]

    @property
    def expression(self) -> str:
        return compact(self.family.solution.format(**self.parameters))

    @property
    def program(self) -> str:
        return f"def f({self.family.arguments}):\n    return {self.expression}"

    @property
    def known(self) -> bool:
        """Whether it may be written down: it belongs to the training split."""
        return split_of(code.content_key(self.family, self.parameters)) == "train"

    def value(self, arguments: Sequence[Any]) -> Any:
        return self.family.reference(*arguments, **self.parameters)

    def worked(self, arguments: Sequence[Any]) -> str:
        """``4*5+2=20+2=22``: the expression with these arguments, worked out."""
        value = self.value(arguments)
        equals = " is " if isinstance(value, bool) else "="
        return equals.join([*steps(self, arguments), repr(value)])


def steps(candidate: Candidate, arguments: Sequence[Any]) -> list[str]:
    """The expression with its arguments put in; then, if it has two parts, the parts worked out."""
    text = candidate.expression
    for name, value in zip(candidate.family.arguments.split(", "), arguments, strict=True):
        shown = f"({value})" if isinstance(value, int) and value < 0 and "abs" not in text else repr(value)
        text = re.sub(rf"\b{name}\b", lambda _, shown=shown: shown, text)
    if candidate.family.name == "sum":
        return [text, *_partial_sums([*arguments[0], candidate.parameters["a"]])]
    tree = ast.parse(text, mode="eval").body
    if not isinstance(tree, ast.BinOp) or all(map(_is_leaf, (tree.left, tree.right))):
        return [text]
    return [text, f"{_worth(tree.left)!r}{_SIGNS[type(tree.op)][0]}{_worth(tree.right)!r}"]


def _partial_sums(numbers: list[int]) -> list[str]:
    """``3+14+9``, ``17+9``: a sum from the left, one addition at a time."""
    sums = []
    while len(numbers) > 1:
        sums.append("+".join(map(str, numbers)))
        numbers = [numbers[0] + numbers[1], *numbers[2:]]
    return sums


def _is_leaf(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant | ast.List)


_CALLS = {"abs": abs, "max": max, "min": min, "sum": sum, "len": len}
_SIGNS: dict[type, tuple[str, Callable[[Any, Any], Any]]] = {
    ast.Add: ("+", operator.add),
    ast.Sub: ("-", operator.sub),
    ast.Mult: ("*", operator.mul),
    ast.Mod: ("%", operator.mod),
    ast.FloorDiv: ("//", operator.floordiv),
    ast.Gt: (">", operator.gt),
    ast.Lt: ("<", operator.lt),
}


def _worth(node: ast.AST) -> Any:
    """The value of a part of a solution: numbers, lists, the functions and signs that families use."""
    match node:
        case ast.Constant(value):
            return value
        case ast.List(items):
            return [_worth(item) for item in items]
        case ast.UnaryOp(ast.USub(), inner):
            return -_worth(inner)
        case ast.BinOp(left, sign, right) | ast.Compare(left, [sign], [right]):
            return _SIGNS[type(sign)][1](_worth(left), _worth(right))
        case ast.Call(ast.Name(name), arguments):
            return _CALLS[name](*map(_worth, arguments))
    raise ValueError(f"cannot work out {ast.dump(node)}")


def fits_tokens(value: Any) -> bool:
    """Whether no number in a value is too large for one token."""
    if isinstance(value, list):
        return all(map(fits_tokens, value))
    return not isinstance(value, int) or -TOO_BIG <= value <= TOO_BIG


class CodeWriter:
    """Functions of the training split asked for, tried and written."""

    manners = MANNERS

    def __init__(self, seed: int | str, rng: random.Random):
        self.rng = rng
        self.problems = code.generate(_CORPUS, "train", random.Random(f"{seed}:code"))

    def ask(self) -> Asked:
        """A function to write; seldom about texts, which cost many tokens and teach nothing beside."""
        problem = next(self.problems)
        while BY_NAME[problem.metadata["family"]].arguments == "s" and self.rng.random() < 0.7:
            problem = next(self.problems)
        return Asked(problem.messages[0]["content"], problem.language, problem)

    def draw(self, family: Family | None = None) -> Candidate:
        """Some function of the training split."""
        while True:
            chosen = family or self.rng.choice(FAMILIES)
            candidate = Candidate(chosen, chosen.parameters(self.rng))
            if candidate.known:
                return candidate
            family = family if family and family.ranges else None

    def facts(self) -> str:
        """What sentences mean as expressions, and expressions worked out."""
        language = "en" if self.rng.random() < 0.75 else "zh"
        return "".join(self._fact(language) for _ in range(self.rng.randint(4, 9))).rstrip() or "1+1=2."

    def _fact(self, language: str) -> str:
        candidate = self.draw()
        if self.rng.random() < 0.4:
            family = candidate.family
            text = (family.chinese if language == "zh" else family.english).format(**candidate.parameters)
            return f"{text}{'：' if language == 'zh' else ': '}{candidate.expression}. "
        tests = draw_tests(candidate.family, candidate.parameters, self.rng, 2, 20, TOO_BIG) or []
        return "".join(f"{candidate.worked(arguments)}. " for arguments, _ in tests[:1])

    # --- answers -------------------------------------------------------------------------------------------

    def chain(self, asked: Asked, manner: str, language: str) -> tuple[str, str]:
        """The thinking, and the program it ends in (mostly wrong)."""
        problem = asked.problem
        right = Candidate(BY_NAME[problem.metadata["family"]], dict(problem.metadata["parameters"]))
        examples = examples_of(problem)
        if manner == "guess":
            return self._guess(right, language)
        if manner == "solve":
            return self._search([right], examples, language, persistent=True)
        wrong = list(self._wrong(right, {"few": 2, "long": 4, "systematic": 1}[manner]))
        tried = [*wrong, right]
        if manner == "few" and self.rng.random() < 0.6:
            tried = wrong or [right]
        elif manner == "long":
            self.rng.shuffle(tried)
        return self._search(tried, examples, language, persistent=manner != "few")

    def _wrong(self, right: Candidate, most: int) -> Iterator[Candidate]:
        """Other functions of the same arguments; often the right one with other numbers."""
        seen = {right.expression}
        alike = [f for f in FAMILIES if f.arguments == right.family.arguments]
        for _ in range(self.rng.randint(1, most)):
            same = self.rng.random() < 0.5 and bool(right.family.ranges)
            candidate = self.draw(right.family if same else self.rng.choice(alike))
            fair = candidate.family.arguments == right.family.arguments
            if fair and candidate.expression not in seen:
                seen.add(candidate.expression)
                yield candidate

    def _guess(self, right: Candidate, language: str) -> tuple[str, str]:
        rng, words = self.rng, WORDS[language_of(language, self.rng)]
        wrong = [] if rng.random() < RIGHT_GUESS else list(self._wrong(right, 1))
        chosen = wrong[0] if wrong else right
        if wrong and rng.random() < 0.2:  # and some do not even take the right arguments
            chosen = self.draw()
        text = f"{rng.choice(words.guesses)}{chosen.expression}{'. ' if words is ENGLISH else '。'}"
        return text, chosen.program

    def _search(
        self, tried: list[Candidate], examples: list, language: str, persistent: bool
    ) -> tuple[str, str]:
        rng = self.rng
        tongue = language_of(language, rng)
        text, last = rng.choice(OPENINGS[tongue]), tried[0]
        patience = Patience(rng, persistent)
        for candidate in tried:
            tongue = language_of(language, rng)
            attempt, fits = self.attempt(candidate, examples, tongue)
            if not attempt:
                continue
            text, last = text + attempt, candidate
            if fits:
                return text, candidate.program
            again, stop = patience.after_failure()
            again = again and candidate is not tried[-1]
            text += WORDS[tongue].wait if again else ""
            if stop:
                break
        return text + (WORDS[tongue].give_up if rng.random() < 0.5 else ""), last.program

    def attempt(self, candidate: Candidate, examples: list, language: str) -> tuple[str, bool]:
        """One expression on one example after another, to the first that it misses; "" where that cannot be
        written down (too large a number, an error)."""
        words = WORDS[language]
        text = f"{TRY[language]}{candidate.expression}{': ' if language == 'en' else '：'}"
        for arguments, expected in examples:
            try:
                value = candidate.value(arguments)
            except (ValueError, TypeError):  # the largest of an empty list
                return "", False
            if not fits_tokens(value):
                return "", False
            same = value == expected and type(value) is type(expected)
            text += (
                f"{candidate.worked(arguments)}{words.versus}{expected!r}{words.yes if same else words.no}"
            )
            if not same:
                return text, False
        return text, True


def examples_of(problem: Problem) -> list[tuple[Any, Any]]:
    """(arguments, result) as the question shows them."""
    shown: Any = problem.answer
    return [(test.input, test.expected) for test in shown[: problem.metadata["shown"]]]


_CORPUS = code.CodeDifficulty(tests=1)
"""The task's own questions; their hidden tests are not needed here."""
