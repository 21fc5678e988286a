"""Whether a row's tests can be passed: by its own reference solution, and not by a program that does nothing."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from aha.data.sources import Row
from aha.rewards.code import CodeReward, missing_imports, not_importable
from aha.types import AhaError, Problem, Score, TestCase

_COLUMNS = (
    "canonical_solution",
    "completion",
    "solution",
    "code",
    "solutions",
    "reference_solution",
    "gold_solution",
    "gold_standard_solution",
)
_BEGUN = ("prompt", "code_prompt", "complete_prompt")  # what a solution may continue
_MOST_TESTS = 20  # of a row; some have hundreds
_MOST_REFERENCES = 4  # people's programs, of which a few are wrong
_PYTHON_3 = 3  # in CodeContests


def prove(problem: Problem, row: Row, reward: CodeReward) -> str:
    """Why a row cannot be used; "" for one whose reference passes and whose tests a program that does nothing fails.

    A row without a reference is asked the second alone. Where no sandbox can be had, nothing is said.
    """
    tests = problem.answer
    if not isinstance(tests, tuple):
        return ""
    tests = tests[:_MOST_TESTS]
    references = list(_references(row))[:_MOST_REFERENCES]
    try:
        if reward.grade(_idle(tests, references), tests).value == 1:
            return "a program that does nothing passes its tests"
        scores = []
        for program in references:
            scores.append(reward.grade(program, tests))
            if scores[-1].value == 1:
                return ""
    except AhaError:
        return ""
    return _failure(references, scores) if scores else ""


def _failure(references: Sequence[str], scores: Sequence[Score]) -> str:
    """Why no reference passes: a package that one needs and the sandbox does not have, else how the first one fails."""
    for program in references:
        if missing := missing_imports(program):
            return f"its own solution must {not_importable(missing)}"
    return f"its own solution does not pass its tests: {scores[0].note}"


def _references(row: Row) -> Iterator[str]:
    """The row's own Python programs."""
    for column in _COLUMNS:
        for text in _programs(row.get(column)):
            yield from _completed(row, text)


def _programs(value: Any) -> list[str]:
    if isinstance(value, str):
        if value.lstrip().startswith(("[", "{")):
            try:
                return _programs(json.loads(value))
            except ValueError:
                pass
        return [_unfenced(value)] if value.strip() else []
    if isinstance(value, Mapping) and isinstance(value.get("solution"), Sequence):
        languages = value.get("language") or [_PYTHON_3] * len(value["solution"])
        pairs = zip(value["solution"], languages, strict=False)
        return [each for each, language in pairs if language in (_PYTHON_3, "PYTHON3", "python")]
    if isinstance(value, Sequence):
        return [_unfenced(each) for each in value if isinstance(each, str) and each.strip()]
    return []


def _unfenced(text: str) -> str:
    """A program out of its block of backticks, where it stands in one."""
    lines = text.strip().split("\n")
    if len(lines) > 2 and lines[0].startswith("```") and lines[-1].strip() == "```":
        return "\n".join(lines[1:-1])
    return text


def _completed(row: Row, text: str) -> Iterator[str]:
    """A solution as a whole program: those of HumanEval and BigCodeBench continue a prompt."""
    prompt = next((row[column] for column in _BEGUN if isinstance(row.get(column), str)), None)
    entry = row.get("entry_point")
    continues = isinstance(prompt, str) and isinstance(entry, str) and f"def {entry}(" in prompt
    if continues and f"def {entry}(" not in text:
        text = str(prompt) + text
    if _tree(text) is not None:
        yield text


def _tree(text: str) -> ast.Module | None:
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _idle(tests: Sequence[TestCase], references: Sequence[str]) -> str:
    """A program with the reference's functions, none of which does anything; an empty one where there is none."""
    if tests[0].kind == "stdio" or not references:
        return "pass"
    tree = _Idle(_called(tests)).visit(ast.parse(references[0]))
    return ast.unparse(ast.fix_missing_locations(tree))


def _called(tests: Sequence[TestCase]) -> set[str]:
    """The names that tests call."""
    names = {part.removesuffix("()") for test in tests for part in test.entry_point.split(".")}
    for test in tests:
        tree = _tree(test.input) if test.kind == "asserts" and isinstance(test.input, str) else None
        for node in ast.walk(tree) if tree else ():
            if isinstance(node, ast.Call) and isinstance(node.func, (ast.Name, ast.Attribute)):
                names.add(node.func.id if isinstance(node.func, ast.Name) else node.func.attr)
    return names


class _Idle(ast.NodeTransformer):
    """Empties functions, but for the making of objects, without which tests would fail for another reason; what is
    called, and is a value or an import under that name, becomes a function that does nothing."""

    def __init__(self, called: set[str]) -> None:
        self._called = called

    def visit_Module(self, node: ast.Module) -> ast.AST:
        """Empty a program."""
        return self._with_functions(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        """Empty a class's methods."""
        return self._with_functions(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        """Empty a function."""
        if node.name != "__init__":
            node.body = [ast.Pass()]
            node.decorator_list = []
        return node

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AsyncFunctionDef:
        """Empty a coroutine function."""
        node.body = [ast.Pass()]
        node.decorator_list = []
        return node

    def visit_Lambda(self, node: ast.Lambda) -> ast.Lambda:
        """Empty a function without a name."""
        node.body = ast.Constant(None)
        return node

    def _with_functions(self, node: ast.Module | ast.ClassDef) -> ast.AST:
        names = sorted(self._called & {name for part in node.body for name in _bound_by(part)})
        self.generic_visit(node)
        node.body += [ast.parse(f"def {name}(*_, **__): pass").body[0] for name in names]
        return node


def _bound_by(statement: ast.stmt) -> Iterator[str]:
    """The names that a statement gives to values and to what it imports."""
    if isinstance(statement, (ast.Assign, ast.AnnAssign)):
        for target in statement.targets if isinstance(statement, ast.Assign) else [statement.target]:
            yield from (node.id for node in ast.walk(target) if isinstance(node, ast.Name))
    elif isinstance(statement, (ast.Import, ast.ImportFrom)):
        yield from (alias.asname or alias.name for alias in statement.names)
