"""The tests in rows of public code sets, read as the sets' own harnesses read them."""

from __future__ import annotations

import ast
import base64
import binascii
import builtins
import io
import json
import pickle
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from aha.data.sources import Row
from aha.rewards.code import missing_modules, not_importable
from aha.tasks.evalplus import is_evalplus, tests_of
from aha.types import TestCase

IMPORTS = """
from typing import *
from collections import *
from functools import *
from itertools import *
from heapq import *
from bisect import *
from string import *
from operator import *
from math import *
from re import *
from random import *
from copy import copy, deepcopy
from fractions import Fraction
from decimal import Decimal
from datetime import date, timedelta
import bisect, collections, copy, datetime, functools, heapq, io, itertools, json, math, operator, os, random, re
import statistics, string, sys, time
from builtins import *
inf = float("inf")
sys.setrecursionlimit(max(sys.getrecursionlimit(), 50000))
"""
"""What the harnesses of LeetCode-style sets import before a program, which its authors count on."""

_SHOWN = 3  # asserts of an MBPP row that the question shows, as its authors do
_STDIO = "Read from standard input, write to standard output. Answer with one Python program."
_FUNCTION = "Answer with Python code that defines {name}."
_TOLERANCE = 1e-5  # of APPS, TACO and CodeContests
_EXACT = 1e-12  # LiveCodeBench: 1.0 is 1.00
_LARGEST = 1 << 28  # bytes of unpacked tests
_LISTS = ("input_output", "tests", "test_cases", "unit_tests", "official_tests", "verification_info")
_NEEDS_MORE = ("generated_checker", "checker", "interaction_format")
_PROGRAMS = ("test_code", "functional", "test")
_CONTESTS = ("public_tests", "private_tests", "generated_tests")
_LIVE = ("public_test_cases", "private_test_cases")


def read_tests(row: Row) -> tuple[list[TestCase], str]:
    """(tests, what the question must add to be answerable).

    Raises ValueError, TypeError or KeyError where there are none, or what they need is not here.
    """
    tests, shown = _by_layout(row)
    if not tests:
        raise ValueError("no tests")
    if missing := missing_modules(tests):
        raise ValueError(f"they {not_importable(missing)}")
    return tests, shown


def _by_layout(row: Row) -> tuple[list[TestCase], str]:
    needed = [name for name in _NEEDS_MORE if isinstance(row.get(name), str) and row[name].strip()]
    if needed:
        raise ValueError(
            f"they need what column {needed[0]!r} describes: a program that judges outputs or converses"
        )
    if isinstance(row.get("test"), str) and row["test"].strip():
        return _humaneval(row) if row.get("entry_point") else _test_program(row)
    if is_evalplus(row):
        return _evalplus(row)
    if row.get("test_list") is not None:
        return _mbpp(row)
    if row.get("public_test_cases") is not None or row.get("private_test_cases") is not None:
        return _live(row)
    if any(row.get(name) is not None for name in _CONTESTS):
        return _contests(row)
    model = row.get("reward_model")
    cells = [row.get(k) for k in _LISTS]
    cells.append(model.get("ground_truth") if isinstance(model, Mapping) else None)
    for value in cells:
        if value is not None and value != "":
            return _listed(json.loads(value) if isinstance(value, str) else value, row)
    raise ValueError(f"none of test + entry_point, test_list, input_output, tests among {sorted(row)}")


# --- tests as programs --------------------------------------------------------------------------------------


def _humaneval(row: Row) -> tuple[list[TestCase], str]:
    """HumanEval, HumanEval+ and LeetCodeDataset: ``check(candidate)``, and a prompt with imports and helpers."""
    name = str(row["entry_point"]).strip()
    shown = _FUNCTION.format(name=name.replace("()", ""))
    return [TestCase("asserts", row["test"], None, name, prelude=_prelude(row, name))], shown


def _evalplus(row: Row) -> tuple[list[TestCase], str]:
    name = str(row.get("entry_point") or "").strip()
    continued = f"def {name}(" in str(row.get("prompt") or "")
    return tests_of(row, _prelude(row, name) if continued else ""), _FUNCTION.format(name=name)


def _prelude(row: Row, name: str) -> str:
    """What stands in the prompt before the function to complete; the whole prompt where it only prepares."""
    prompt = str(row.get("prompt") or "")
    before, head, _ = prompt.rpartition(f"def {name}(")
    prelude = before if head else prompt
    if not _parses(prelude):
        prelude = ""
    return IMPORTS + prelude if not head else prelude


def only_prepares(row: Row) -> bool:
    """Whether a row's prompt is a program of imports and helpers, which asks for nothing (LeetCodeDataset)."""
    prompt, name = row.get("prompt"), str(row.get("entry_point") or "").strip()
    if not isinstance(prompt, str) or not name or f"def {name}(" in prompt or not _parses(prompt):
        return False
    return not all(
        isinstance(part, ast.Expr) for part in ast.parse(prompt).body
    )  # MBPP+ asks in a text in quotes


def _parses(source: str) -> bool:
    try:
        ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def _test_program(row: Row) -> tuple[list[TestCase], str]:
    """MBPP+ (a program of asserts) and KodCode (functions of tests, which import from ``solution``)."""
    prelude = "\n".join(_lines_of(row.get("test_imports")))
    entry = _builtin_entry(row, row["test"])
    test = TestCase("asserts", row["test"], None, entry, prelude=prelude)
    asserts = _lines_of(row.get("test_list"))
    shown = "Your code must pass:\n" + "\n".join(asserts[:_SHOWN]) if asserts else _signatures(row)
    return [test], shown


def _signatures(row: Row) -> str:
    """How a KodCode row's functions are declared: the tests name them, the question often does not."""
    infos = row.get("test_info")
    infos = json.loads(infos) if isinstance(infos, str) else infos
    declarations = [
        str(each["function_declaration"]) for each in infos or () if each.get("function_declaration")
    ]
    names = [str(each["function_name"]) for each in infos or () if each.get("function_name")]
    listed = declarations or [f"def {name}(...)" for name in names]
    return "Define:\n" + "\n".join(listed) if listed else ""


def _mbpp(row: Row) -> tuple[list[TestCase], str]:
    asserts = _lines_of(row["test_list"])
    if not asserts:
        raise ValueError("test_list is empty")
    imports = _lines_of(row.get("test_imports"))
    setup = str(row.get("test_setup_code") or "")
    source = "\n".join(part for part in (*imports, setup, *asserts) if part)
    test = TestCase("asserts", source, None, _builtin_entry(row, source), prelude="\n".join(imports))
    return [test], "Your code must pass:\n" + "\n".join(asserts[:_SHOWN])


def _lines_of(value: Any) -> list[str]:
    if value is None:
        return []
    return [value] if isinstance(value, str) else [str(line) for line in value]


def _builtin_entry(row: Row, source: str) -> str:
    """The function under test, where it is named like one of Python's own: the reference says so."""
    reference = row.get("code") or row.get("solution")
    if not isinstance(reference, str) or not _parses(reference):
        return ""
    defined = {node.name for node in ast.parse(reference).body if isinstance(node, ast.FunctionDef)}
    called = {
        node.func.id
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    return next(iter(sorted(defined & called & set(dir(builtins)))), "")


# --- inputs and outputs -------------------------------------------------------------------------------------


def _listed(value: Any, row: Row) -> tuple[list[TestCase], str]:
    """``{"inputs": [...], "outputs": [...], "fn_name"?}``, a list of ``{"input", "output"}``, or asserts."""
    name = str(row.get("fn_name") or row.get("entry_point") or _facts(row).get("func_name") or "")
    if isinstance(value, Mapping) and isinstance(value.get("test_cases"), Sequence):
        language = str(value.get("language") or "python").lower()
        if not language.startswith("py"):
            raise ValueError(f"its tests are for programs in {language}")
        value = value["test_cases"]
    if isinstance(value, Mapping) and (program := next((value[k] for k in _PROGRAMS if value.get(k)), None)):
        # Skywork-OR1: a program that calls ``check(Solution().f)`` itself, or leaves that to its harness.
        entry = str(value.get("entry_point") or "")
        return [TestCase("asserts", str(program), None, entry, prelude=IMPORTS)], ""
    if isinstance(value, Mapping):
        return _columns(value, str(value.get("fn_name") or name), row)
    if value and all(isinstance(each, str) for each in value):
        source = "\n".join(value)
        return [
            TestCase("asserts", source, None, _builtin_entry(row, source))
        ], "Your code must pass:\n" + value[0]
    tests: list[TestCase] = []
    for each in value:
        own = str(each.get("fn_name") or _facts(each).get("func_name") or name)
        kind = str(each.get("type") or each.get("testtype") or "")
        argument, result = each["input"], each["output"]
        if "function" in kind or (own and "stdin" not in kind):
            tests.append(_call(own or _method_of(row), _arguments(argument), _result(result), row, "loose"))
        else:
            tests.append(_stdio(argument, result, 0.0))
    return tests, _asked(tests)


def _columns(value: Mapping[str, Any], name: str, row: Row) -> tuple[list[TestCase], str]:
    """As APPS and TACO have them."""
    inputs, outputs = list(value["inputs"]), list(value["outputs"])
    if len(inputs) != len(outputs):
        raise ValueError(f"{len(inputs)} inputs, but {len(outputs)} outputs")
    if name:
        tests = [
            _call(
                name,
                _numbered_keys(_arguments(argument)),
                _numbered(_beside(argument, result)),
                row,
                "wrapped",
            )
            for argument, result in zip(inputs, outputs, strict=True)
        ]
    else:
        tests = [
            _stdio(argument, result, _TOLERANCE) for argument, result in zip(inputs, outputs, strict=True)
        ]
    return tests, _asked(tests)


def _asked(tests: Sequence[TestCase]) -> str:
    if not tests:
        raise ValueError("no tests")
    if tests[0].kind == "stdio":
        return _STDIO
    return _FUNCTION.format(name=tests[0].entry_point.replace("()", ""))


def _stdio(stdin: Any, stdout: Any, tolerance: float) -> TestCase:
    return TestCase("stdio", _text(stdin), _text(stdout), prelude=IMPORTS, tolerance=tolerance)


def _text(value: Any) -> str:
    return "\n".join(map(str, value)) if isinstance(value, list) else str(value)


def _call(name: str, arguments: list[Any], result: Any, row: Row, compare: str) -> TestCase:
    starter = str(row.get("starter_code") or "")
    entry = f"Solution().{name}" if "class Solution" in starter and "." not in name else name
    return TestCase("function", arguments, result, entry, prelude=IMPORTS, compare=compare)


def _arguments(cell: Any) -> list[Any]:
    """A list of arguments; as text it is one JSON value a line."""
    if isinstance(cell, str):
        return [json.loads(line) for line in cell.split("\n") if line.strip()]
    if not isinstance(cell, list):
        raise ValueError(f"arguments must be a list, not {type(cell).__name__}")
    return cell


def _result(cell: Any) -> Any:
    try:
        return json.loads(cell) if isinstance(cell, str) else cell
    except ValueError:
        return cell


def _beside(argument: Any, result: Any) -> Any:
    """A result whose arguments are text is text of JSON as well: so PRIME's and verl's harness reads both."""
    return _result(result) if isinstance(argument, str) else result


def _facts(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a row or one of its tests says of itself in ``metadata``, itself or as JSON."""
    metadata = row.get("metadata")
    facts = (
        json.loads(metadata) if isinstance(metadata, str) and metadata.lstrip().startswith("{") else metadata
    )
    return facts if isinstance(facts, Mapping) else {}


def _numbered_keys(values: list[Any]) -> list[Any]:
    return [_numbered(value) for value in values]


def _numbered(value: Any) -> Any:
    """JSON makes texts of a dictionary's numbers, which APPS's harness takes back."""
    if (
        isinstance(value, dict)
        and value
        and all(isinstance(k, str) and k.lstrip("-").isdecimal() for k in value)
    ):
        return {int(key): each for key, each in value.items()}
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict):
        return [_numbered(value[0])]
    return value


def _method_of(row: Row) -> str:
    """The last function that the starter code defines."""
    defined = str(row.get("starter_code") or "").split("def ")[1:]
    if not defined:
        raise ValueError("functional tests without the function's name")
    return defined[-1].split("(")[0].strip()


# --- CodeContests -------------------------------------------------------------------------------------------


def _contests(row: Row) -> tuple[list[TestCase], str]:
    tests: list[TestCase] = []
    for name in _CONTESTS:
        part = row.get(name)
        part = json.loads(part) if isinstance(part, str) else part or {}
        pairs = zip(part.get("input") or (), part.get("output") or (), strict=True)
        tests += [_stdio(stdin, stdout, _TOLERANCE) for stdin, stdout in pairs]
    return tests, _STDIO


# --- LiveCodeBench ------------------------------------------------------------------------------------------


def _live(row: Row) -> tuple[list[TestCase], str]:
    listed = [test for name in _LIVE for test in _unpacked(row.get(name))]
    if not listed:
        raise ValueError("no tests")
    if not any(test.get("testtype") == "functional" for test in listed):
        return [_stdio(test["input"], test["output"], _EXACT) for test in listed], _STDIO
    name = str(_facts(row).get("func_name") or row.get("fn_name") or _method_of(row))
    calls = [_call(name, _arguments(test["input"]), _result(test["output"]), row, "loose") for test in listed]
    starter = str(row.get("starter_code") or "")
    if "class Solution" not in starter and starter.strip():
        calls = [replace(call, entry_point=name) for call in calls]
    return calls, _asked(calls)


def _unpacked(value: Any) -> list[Mapping[str, Any]]:
    """A list of tests: itself, as JSON, or as JSON that was pickled, compressed and written in base 64."""
    if value is None or value == "":
        return []
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            value = json.loads(_packed_text(value))
    if not isinstance(value, list):
        raise ValueError(f"test cases must be a list, not {type(value).__name__}")
    return value


def _packed_text(packed: str) -> str:
    try:
        compressed = base64.b64decode(packed, validate=True)
        unpacking = zlib.decompressobj()
        pickled = unpacking.decompress(compressed, _LARGEST)
        if unpacking.unconsumed_tail:
            raise ValueError(f"they are larger than {_LARGEST >> 20} MB")
        text = _TextOnly(io.BytesIO(pickled)).load()
    except (
        binascii.Error,
        zlib.error,
        pickle.UnpicklingError,
        EOFError,
        IndexError,
        AttributeError,
    ) as error:
        raise ValueError(f"private tests that cannot be unpacked: {error}") from error
    if not isinstance(text, str):
        raise ValueError(f"private tests that are {type(text).__name__}, not text")
    return text


class _TextOnly(pickle.Unpickler):
    """Reads a pickled text. A pickle that names a class or a function, as one must to do harm, is refused."""

    def find_class(self, module_name: str, global_name: str) -> Any:
        raise pickle.UnpicklingError(f"a pickle of text that names {module_name}.{global_name}")

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError("a pickle of text that names something outside")
