"""Tests that count on being in the program's own process: what they share with it, and what cannot be shared.

(program, a wrong program, tests): the first passes, the second fails.
"""

# ruff: noqa: E501

from __future__ import annotations

import pytest

from aha.rewards.code import check_tests
from aha.sandbox import Sandbox, check_source, judge_asserts
from aha.types import AhaError, Problem, TestCase

ITEMS = "class A:\n    def __init__(self): self.items = [3, 1]\n    def total(self): return {}"
CONTAINERS = {
    "a list that was read and appended to": (
        ITEMS.format("sum(self.items)"), ITEMS.format("4"), "a = A()\na.items.append(2)\nassert a.total() == 6\nassert a.items == [3, 1, 2]"),
    "a list that was read and sorted": (
        ITEMS.format("self.items[0]"), ITEMS.format("3"), "a = A()\nx = a.items\nx.sort()\nassert a.total() == 1"),
    "a dictionary": (
        "class A:\n    def __init__(self): self.d = {}\n    def n(self): return len(self.d)",
        "class A:\n    def __init__(self): self.d = {}\n    def n(self): return 0", "a = A()\na.d['x'] = 1\nassert a.n() == 1"),
    "a list in a list": (
        "class G:\n    def __init__(self): self.b = [[0, 0], [0, 0]]\n    def s(self): return sum(map(sum, self.b))",
        "class G:\n    def __init__(self): self.b = [[0, 0], [0, 0]]\n    def s(self): return 0", "g = G()\ng.b[1][0] = 7\nassert g.s() == 7"),
    "a list that a function keeps": (
        "kept = []\ndef get(): return kept\ndef size(): return len(kept)", "kept = []\ndef get(): return kept\ndef size(): return 0",
        "get().append(5)\nassert size() == 1"),
    "a copy is none": (
        "class A:\n    def __init__(self): self._i = [1]\n    def items(self): return list(self._i)",
        "class A:\n    def __init__(self): self._i = [1]\n    def items(self): return self._i",
        "a = A()\na.items().append(9)\nassert a.items() == [1]"),
    "one object": (
        "class A:\n    def __init__(self): self.i = [1]", "class A:\n    @property\n    def i(self): return [1]", "a = A()\nassert a.i is a.i"),
    "an argument that must not come back": (
        "def f(x): return list(x)", "def f(x): return x", "x = [1]\ny = f(x)\ny.append(2)\nassert x == [1]"),
    "an argument that must come back": (
        "def f(x):\n    x.append(0)\n    return x", "def f(x): return x + [0]", "x = [1]\ny = f(x)\nassert y is x and x == [1, 0]"),
    "what the program does to a list that was read": (
        "class S:\n    def __init__(self): self.d = []\n    def push(self, x): self.d.append(x)",
        "class S:\n    def __init__(self): self.d = []\n    def push(self, x): self.d = self.d + [x]",
        "s = S()\nd = s.d\ns.push(3)\nassert d == [3]"),
}  # fmt: skip

GENERATES = ("def f():\n    yield 1", "def f(): return [1]")
AWAITS = ("async def f(): return 1", "def f(): return 1")
DATA = "from dataclasses import dataclass\n@dataclass\nclass P:\n    x: int\n    y: int = {}"
ABSTRACT = "from abc import ABC, abstractmethod\nclass S(ABC):\n    {}\n    def a(self): ..."
QUESTIONS = {
    "signature": ("def f(a, b=2): return a + b", "def f(a): return a", "import inspect\nassert list(inspect.signature(f).parameters) == ['a', 'b']\nassert inspect.signature(f).parameters['b'].default == 2"),
    "getsource": ("def f(n): return 1 if n == 0 else n * f(n - 1)", "import math\ndef f(n): return math.factorial(n)", "import inspect\nassert 'math' not in inspect.getsource(f)\nassert f(3) == 6"),
    "iscoroutinefunction": (*AWAITS, "import inspect\nassert inspect.iscoroutinefunction(f)"),
    "asyncio.iscoroutinefunction": (*AWAITS, "import asyncio\nassert asyncio.iscoroutinefunction(f)"),
    "isgeneratorfunction": (*GENERATES, "import inspect\nassert inspect.isgeneratorfunction(f)\nassert list(f()) == [1]"),
    "isgenerator": (*GENERATES, "import inspect\nassert inspect.isgenerator(f())"),
    "GeneratorType": (*GENERATES, "import types\nassert isinstance(f(), types.GeneratorType)"),
    "Iterator": (*GENERATES, "from collections.abc import Iterator\nassert isinstance(f(), (Iterator,))"),
    "isclass": ("class A: pass", "def A(): pass", "import inspect\nassert inspect.isclass(A)"),
    "getfullargspec": ("def f(a, b): return a", "def f(a): return a", "import inspect\nassert inspect.getfullargspec(f).args == ['a', 'b']"),
    "getmembers": ("class A:\n    def x(self): return 1", "class A:\n    def y(self): return 1", "import inspect\nassert 'x' in [n for n, _ in inspect.getmembers(A, inspect.isfunction)]"),
    "isabstract": (ABSTRACT.format("@abstractmethod"), ABSTRACT.format("pass"), "import inspect\nassert inspect.isabstract(S)"),
    "code": ("def f(a, b): return a", "def f(*a): return a", "assert f.__code__.co_argcount == 2"),
    "annotations": ("def f(a: int) -> str: return str(a)", "def f(a): return str(a)", "assert f.__annotations__ == {'a': int, 'return': str}"),
    "type hints": ("def f(a: int) -> str: return ''", "def f(a: int) -> int: return 1", "from typing import get_type_hints\nassert get_type_hints(f)['return'] is str"),
    "dataclasses": (DATA.format(0), DATA.format(1), "from dataclasses import asdict, fields, is_dataclass, replace\np = P(1)\nassert is_dataclass(P) and asdict(p) == {'x': 1, 'y': 0}\nassert [f.name for f in fields(P)] == ['x', 'y'] and replace(p, x=5).x == 5"),
    "type": ("class A: pass\nclass B(A): pass\ndef make(): return B()", "class A: pass\nclass B(A): pass\ndef make(): return A()", "assert type(make()) is B and make().__class__.__name__ == 'B'"),
    "type of a plain value": ("def f(): return 3", "def f(): return 3.0", "assert type(f()) is int"),
    "a class as argument": ("def f(xs, t): return [x for x in xs if isinstance(x, t)]", "def f(xs, t): return xs", "kind = str\nassert f([1, 'a', 2.5], int) == [1] and f([1, 'a'], kind) == ['a']"),
    "a subclass of int": ("class A(int): pass", "class A: pass", "assert issubclass(A, int)"),
    "Enum": ("from enum import Enum\nclass C(Enum):\n    R = 1", "class C:\n    R = 1", "from enum import Enum\nassert issubclass(C, Enum) and C(1) is C.R"),
}  # fmt: skip

PASSED = {
    "a function that calls the program": ("def double(x): return 2 * x\ndef apply(f, x): return f(x) + 1", "def double(x): return 2 * x\ndef apply(f, x): return f(x)", "assert apply(lambda v: double(v), 3) == 7"),
    "an object of the tests": ("def f(db): return db.get('k') + 1", "def f(db): return 0", "class DB:\n    def get(self, k): return 41\nassert f(DB()) == 42"),
    "a mock": ("def f(c): return c.fetch('u')['a']", "def f(c): return 3", "from unittest.mock import Mock\nm = Mock()\nm.fetch.return_value = {'a': 5}\nassert f(m) == 5\nm.fetch.assert_called_once_with('u')"),
    "a mock that is called": ("def f(c): c(3)", "def f(c): pass", "from unittest.mock import Mock\nm = Mock()\nf(m)\nm.assert_called_once_with(3)"),
}  # fmt: skip

STATE = {
    "argv": ("import sys\ndef main(): return len(sys.argv)", "def main(): return 9", "import sys\nsys.argv = ['x', 'a', 'b']\nassert main() == 3"),
    "environment": ("import os\ndef f(): return os.environ.get('ZZ')", "def f(): return None", "import os\nos.environ['ZZ'] = '7'\nassert f() == '7'"),
    "seed": ("import random\ndef f(): return random.randint(0, 10**9)", "def f(): return 5", "import random\nrandom.seed(3)\na = f()\nrandom.seed(3)\nassert a == random.randint(0, 10**9)"),
}  # fmt: skip

FORMS = {
    "a guard": ("def f(): return 1", "def f(): return 2", "def check():\n    assert f() == 1\nif __name__ == '__main__':\n    check()"),
    "an exit after the tests": ("def f(x): return x", "def f(x): return 0", "import sys\nif f(3) != 3: sys.exit(1)\nsys.exit(0)"),
    "an expected failure": ("def f(x): return x", "def f(x): return 8", "import unittest\nclass T(unittest.TestCase):\n    @unittest.expectedFailure\n    def test_b(self): self.assertEqual(f(3), 8)\n    def test_c(self): f(1)"),
    "sub-tests": ("def f(x): return x", "def f(x): return 0", "import unittest\nclass T(unittest.TestCase):\n    def test_a(self):\n        for i in range(3):\n            with self.subTest(i=i): self.assertEqual(f(i), i)\nif __name__ == '__main__':\n    unittest.main()"),
}  # fmt: skip

REFUSED = {
    "derives": "class B(A):\n    def h(self): return 4\nassert B().g() == 8",
    "files": "open('a.txt', 'w').write('hi')\nassert f('a.txt') == 'hi'",
    "a temporary file": "import tempfile\nwith tempfile.NamedTemporaryFile('w') as t: assert f(t.name) == ''",
    "tmp_path": "def test_f(tmp_path):\n    assert f(str(tmp_path)) == 1",
    "monkeypatch": "def test_f(monkeypatch):\n    monkeypatch.setenv('A', '1')\n    assert f() == 1",
    "logs": "import unittest\nclass T(unittest.TestCase):\n    def test_a(self):\n        with self.assertLogs('a'): f()",
    "patch": "from unittest.mock import patch\nwith patch('time.time', return_value=5): assert f() == 5",
    "globals": "assert 'f' in globals()\nassert f() == 1",
    "eval": "assert eval('f()') == 1",
    "doctest": "import doctest\nassert doctest.testmod().failed == 0 and f() == 1",
}  # fmt: skip


@pytest.fixture(scope="module")
def sandbox():
    try:
        with Sandbox(workers=1) as box:
            yield box
    except AhaError as error:
        pytest.skip(str(error))


ALL = CONTAINERS | QUESTIONS | PASSED | STATE | FORMS


@pytest.mark.parametrize("name", ALL)
def test_a_right_program_passes_and_a_wrong_one_fails(name, sandbox):
    right, wrong, tests = ALL[name]
    assert [judge_asserts(each, tests, sandbox=sandbox, wall=20).passed for each in (right, wrong)] == [
        True,
        False,
    ]


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_judged_from_outside_is_refused_as_the_row_loads(name):
    with pytest.raises(AhaError, match=r"not possible from outside its process"):
        check_source(REFUSED[name])
    row = Problem(
        "p", "code", ({"role": "user", "content": "?"},), (TestCase("asserts", REFUSED[name], None),)
    )
    with pytest.raises(AhaError, match="the tests"):
        check_tests(row)


@pytest.mark.parametrize(
    "tests",
    [
        "assert f('2+3') == eval('2+3')",
        "import random\nrandom.seed(0)\nassert f(random.random()) == 1",
        "class MyError(BadError): pass\nassert f() == 1",
        "class T(Base):\n    def test_a(self): assert f() == 1\nclass Base: pass",
        "from unittest.mock import patch\nwith patch('builtins.input', return_value='3'): assert f() == 4",
        "assert door.open() and f(vars(door))",
    ],
)
def test_what_can_be_judged_is_not_refused(tests):
    check_source(tests)


def test_a_program_gains_nothing_by_what_it_claims_of_its_objects(sandbox):
    liar = "class X:\n    def __eq__(self, o): return True\n    __class__ = int\ndef f(): return X()"
    for tests in (
        "assert f() == 5",
        "assert isinstance(f(), int)",
        "assert type(f()) is int",
        "x = f()\nassert x is 5",
    ):
        assert judge_asserts(liar, tests, sandbox=sandbox, wall=20).passed is False, tests


FORGER = """
import gc
def f(given):
    side = next(each for each in gc.get_objects() if type(each).__name__ == 'Answering')
    for number, arguments in [(-4, (given, '__globals__')), (-4, (given, '__code__')), (-4, (given, '__dict__')),
                              (-4, ('{0.__globals__}', 'format')), (-3, ([],)), (-4, (given, ['x']))]:
        try:
            told = side.ask_back(number, arguments, {})
            told = told(given) if callable(told) else told
            if 'SECRET' in str(told): return 41
        except Exception: pass
"""


@pytest.mark.parametrize("passed", ["lambda: 0", "K()", "K", "K().m", "print", "unittest.mock.Mock()"])
def test_what_the_tests_know_is_not_read_through_what_they_pass(passed, sandbox):
    tests = f"import unittest.mock\nSECRET = 41\nclass K:\n    def m(self): return SECRET\nassert f({passed}) == SECRET"
    assert judge_asserts(FORGER, tests, sandbox=sandbox, wall=20).passed is False


def test_many_containers_that_are_kept_take_no_long_time(sandbox):
    code = "kept = []\ndef f(n):\n    kept.append([n] * 50)\n    return kept[-1]\ndef size(): return sum(map(len, kept))"
    tests = (
        "for n in range(200): assert f(n) == [n] * 50\nx = f(0)\nx.append(1)\nassert size() == 201 * 50 + 1"
    )
    assert judge_asserts(code, tests, sandbox=sandbox, wall=20).passed is True
    deep = "x = []\ndef f(): return x\ndef g():\n    y = x\n    for _ in range(300): y.append([]); y = y[0]\n    return 1"
    assert judge_asserts(deep, "a = f()\nassert g() == 1", sandbox=sandbox, wall=20).passed is True
