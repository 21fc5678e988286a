"""Kinds of tests and solutions that public code sets hold: the right program passes, a wrong one does not."""

# ruff: noqa: E501

from __future__ import annotations

import json

import pytest

from aha.rewards.code import CodeReward, Mode
from aha.sandbox import Sandbox
from aha.tasks import code, code_proofs, code_rows
from aha.types import AhaError, Outcome


@pytest.fixture(scope="module")
def reward():
    try:
        with Sandbox() as opened:
            opened.run("pass")
            yield CodeReward(Mode.ALL, sandbox=opened, wall=30)
    except AhaError as error:
        pytest.skip(str(error))


def asserts(right, tests, wrong, **more):
    return {"text": "Do it.", "code": right, "test_list": tests, **more}, right, wrong


def program(right, tests, wrong):
    return {"question": "Do it.", "solution": right, "test": tests}, right, wrong


def stdio(right, inputs, outputs, wrong):
    row = {"question": "Do it.", "input_output": json.dumps({"inputs": inputs, "outputs": outputs})}
    return {**row, "solutions": json.dumps([right])}, right, wrong


def calls(right, inputs, outputs, wrong):
    row = {
        "question": "Do it.",
        "input_output": json.dumps({"fn_name": "f", "inputs": inputs, "outputs": outputs}),
    }
    return {**row, "solutions": json.dumps([right])}, right, wrong


def method(right, entry, test, wrong):
    row = {"problem_description": "Do it.", "prompt": "from typing import *\nfrom collections import *\n"}
    return {**row, "entry_point": entry, "test": test, "completion": right}, right, wrong


DOUBLE = "print(int(input()) * 2)"
RAISES = "def f(n):\n    if n < 0: raise ValueError('negative number')\n    return 2 * n"
OWN_ERROR = "class Bad(ValueError):\n    def __init__(self, n): super().__init__(f'bad {n}'); self.n = n\ndef f(n):\n    if n < 0: raise Bad(n)\n    return n"
THREAD = "import sys, threading\nsys.setrecursionlimit(10**7)\nthreading.stack_size(2**26)\ndef f(n): return 0 if n == 0 else 1 + f(n - 1)\ndef main(): print(f(int(input())))\nt = threading.Thread(target=main)\nt.start()\nt.join()"
VECTOR = "class P:\n  def __init__(s, x): s.x = x\n  def __str__(s): return f'P{s.x}'\n  def __len__(s): return s.x\n  def __getitem__(s, i): return i * s.x\n  def __contains__(s, v): return v == s.x\n  def __add__(s, o): return P(s.x + o.x)\n  def __eq__(s, o): return s.x == o.x\n  def __lt__(s, o): return s.x < o.x"
KINDS = {
    "complex numbers": asserts("def f(a): return a * 1j", ["assert f(2) == 2j", "assert f(3) == complex(0, 3)"], "def f(a): return 2j"),
    "a set of the result": asserts("def f(a, b): return tuple(set(a) & set(b))", ["assert set(f((1, 2, 3), (2, 3, 4))) == set((2, 3))", "assert set(f((1,), (1,))) == set((1,))"], "def f(a, b): return (2, 3)"),
    "a generator": asserts("def f(n):\n  for i in range(n): yield i", ["assert list(f(3)) == [0, 1, 2]", "assert list(f(1)) == [0]"], "def f(n): return [0, 1, 2]"),
    "a part of the result": asserts("def f(n): return [n, 2 * n]", ["assert f(2)[1] == 4", "assert len(f(5)) == 2 and f(5)[1] == 10"], "def f(n): return [n, 4]"),
    "objects made in an argument": asserts("class Pair:\n  def __init__(self, a, b): self.a, self.b = a, b\ndef f(ps): return max(p.b - p.a for p in ps)", ["assert f([Pair(5, 24), Pair(15, 25)]) == 19", "assert f([Pair(1, 2)]) == 1"], "class Pair:\n  def __init__(self, a, b): pass\ndef f(ps): return 19"),
    "a Counter": asserts("from collections import Counter\ndef f(x): return Counter(x)", ["assert f([1, 1, 2]) == ({1: 2, 2: 1})", "assert f([3]) == {3: 1}"], "def f(x): return {1: 2, 2: 1}"),
    "dates": asserts("import datetime\ndef f(s): return datetime.date.fromisoformat(s)", ["assert f('2020-01-02') == datetime.date(2020, 1, 2)", "assert f('2021-01-02').year == 2021"], "import datetime\ndef f(s): return datetime.date(2020, 1, 2)", test_imports=["import datetime"]),
    "functions in and out": asserts("def f(g, n): return lambda x: g(x) + n", ["assert f(abs, 1)(-3) == 4", "assert f(lambda x: 2 * x, 5)(1) == 7"], "def f(g, n): return lambda x: 4"),
    "a match": asserts("import re\ndef f(s): return re.match('a+', s)", ["assert f('aab').group() == 'aa'", "assert f('b') is None"], "import re\ndef f(s): return re.match('a+', 'aa')"),
    "an exception": asserts(RAISES, ["try:\n    f(-1)\n    assert False\nexcept ValueError:\n    pass", "assert f(1) == 2"], "def f(n): return 2 * n"),
    "an exception of its own": asserts(OWN_ERROR, ["try:\n    f(-1)\n    assert False\nexcept Bad as error:\n    assert str(error) == 'bad -1' and error.n == -1", "assert f(1) == 1"], OWN_ERROR.replace("raise Bad(n)", "raise ValueError(n)")),
    "raises": program(RAISES, "import pytest\nfrom solution import f\ndef test_a():\n  with pytest.raises(ValueError):\n    f(-1)\ndef test_b():\n  assert f(2) == 4", "def f(n): return n * 2"),
    "raises with a message": program(RAISES, "import pytest\nfrom solution import f\ndef test_a():\n  with pytest.raises(ValueError, match='negative') as caught:\n    f(-1)\n  assert 'number' in str(caught.value)\ndef test_b():\n  assert f(2) == 4", RAISES.replace("negative number", "no")),
    "raises its own": program(OWN_ERROR, "import pytest\nfrom solution import f, Bad\ndef test_a():\n  with pytest.raises(Bad) as caught:\n    f(-7)\n  assert caught.value.n == -7 and isinstance(caught.value, ValueError)\ndef test_b(): assert f(3) == 3", "class Bad(ValueError): pass\ndef f(n): return n"),
    "approx": program("def f(n): return n / 3", "import pytest\nfrom solution import f\ndef test_a():\n  assert f(1) == pytest.approx(0.333333, rel=1e-3)\ndef test_b():\n  assert [f(2)] == pytest.approx([0.666667], abs=1e-4)", "def f(n): return 0.333333"),
    "parameters": program("def f(n): return n * 2", "import pytest\nfrom solution import f\n@pytest.mark.parametrize('a, b', [(1, 2), pytest.param(3, 6, id='x')])\n@pytest.mark.slow\ndef test_a(a, b):\n  assert f(a) == b", "def f(n): return 2"),
    "fixtures": program("class S:\n  def __init__(self): self.x = []\n  def push(self, v): self.x.append(v)\n  def pop(self): return self.x.pop()", "import pytest\nfrom solution import S\n@pytest.fixture\ndef s():\n  made = S()\n  yield made\n@pytest.fixture(scope='module')\ndef two(s):\n  s.push(1); s.push(2)\n  return s\ndef test_a(two, s):\n  assert two.pop() == 2\n  assert s.pop() == 1", "class S:\n  def push(self, v): pass\n  def pop(self): return 2"),
    "a class of tests": program("def f(n): return n * 2", "from solution import f\nclass TestF:\n  def setup_method(self):\n    self.n = 3\n  def test_a(self):\n    assert f(self.n) == 6\n  def test_b(self):\n    assert f(1) == 2", "def f(n): return 6"),
    "unittest": program("def f(n): return n / 3", "import unittest\nfrom solution import f\nclass T(unittest.TestCase):\n  def setUp(self): self.k = 3\n  def test_a(self):\n    self.assertAlmostEqual(f(self.k), 1.0)\n  def test_b(self):\n    self.assertEqual(f(6), 2)\n    with self.assertRaises(TypeError): f('a')\nif __name__ == '__main__': unittest.main()", "def f(n): return 1.0"),
    "the module": program("K = 3\ndef f(n): return n * 2", "import solution\nimport solution as s\ndef test_a():\n  assert solution.f(2) == 4 and s.K == 3\ndef test_b():\n  assert solution.f(3) == 6", "K = 3\ndef f(n): return 4"),
    "all names": program("K = 3\ndef f(n): return n * 2", "from solution import *\nfrom solution import f as g\ndef test_a():\n  assert f(2) == 4 and K == 3\ndef test_b():\n  assert g(3) == 6", "K = 3\ndef f(n): return 4"),
    "operators": program(VECTOR, "from solution import P\ndef test_a():\n  p = P(3)\n  assert str(p) == 'P3' and len(p) == 3 and p[2] == 6 and 3 in p\n  assert p + P(1) == P(4) and p < P(5)\n  assert sorted([P(2), P(1)])[0].x == 1", "class P:\n  def __init__(s, x): s.x = x\n  def __str__(s): return 'P3'"),
    "members of classes": program("class A:\n  def __init__(s, r): s.r = r\n  @property\n  def area(s): return s.r ** 2\n  @staticmethod\n  def k(): return 9\n  @classmethod\n  def of(c, x): return c(x)\nclass B(A): pass", "from solution import A, B\ndef test_a():\n  assert A(2).area == 4 and A.k() == 9 and A.of(5).area == 25\n  assert issubclass(B, A) and isinstance(B(1), A)", "class A:\n  def __init__(s, r): pass\n  area = 4\n  @staticmethod\n  def k(): return 9\n  @classmethod\n  def of(c, x): return c(x)\nclass B(A): pass"),
    "data classes": program("from dataclasses import dataclass\n@dataclass\nclass P:\n  x: int\n  y: int\ndef f(n): return P(n, n + 1)", "from solution import P, f\ndef test_a():\n  assert f(1) == P(1, 2)\n  assert f(2).y == 3", "from dataclasses import dataclass\n@dataclass\nclass P:\n  x: int\n  y: int\ndef f(n): return P(1, 2)"),
    "random tests": program("def f(n): return sorted(n)", "from solution import f\nimport random\ndef test_a():\n  for i in range(5):\n    x = [random.randint(0, 9) for _ in range(9)]\n    assert f(x) == sorted(x)", "def f(n): return n"),
    "in place": method("class Solution:\n    def rot(self, nums: List[int]) -> None: nums.reverse()", "Solution().rot", "def check(candidate):\n    a = [1, 2]\n    candidate(nums=a)\n    assert a == [2, 1]\n    b = [3, 4]\n    candidate(b)\n    assert b == [4, 3]\n", "class Solution:\n    def rot(self, nums): nums[:] = [2, 1]"),
    "a class to design": method("class Cache:\n    def __init__(self, n): self.d = {}\n    def put(self, k, v): self.d[k] = v\n    def get(self, k): return self.d.get(k, -1)", "Cache", "def check(candidate):\n    c = candidate(2)\n    c.put(1, 5)\n    assert c.get(1) == 5\n    assert c.get(2) == -1\n", "class Cache:\n    def __init__(self, n): pass\n    def put(self, k, v): pass\n    def get(self, k): return 5"),
    "any order": method("class Solution:\n    def f(self, a: List[int]) -> List[List[int]]: return [[x] for x in a]", "Solution().f", "def check(candidate):\n    assert sorted(candidate([2, 1])) == [[1], [2]]\n    assert sorted(map(tuple, candidate([3]))) == [(3,)]\n", "class Solution:\n    def f(self, a): return [[2], [1]]"),
    "lines that end otherwise": stdio(DOUBLE, ["3\r\n", "4"], ["6\r\n", "8"], "print(6)"),
    "blanks at ends": stdio("print(*range(int(input())), end=' ')\nprint()\nprint()", ["3\n", "2\n"], ["0 1 2 \n\n", "0 1"], "print('0 1 2')"),
    "bytes": stdio("import sys\nd = sys.stdin.buffer.read().split()\nsys.stdout.write(str(int(d[0]) + int(d[1])))", ["1 2\n", "5 6"], ["3", "11\n"], "print(3)"),
    "descriptors": stdio("import os\nprint(sum(map(int, os.read(0, 99).split())))", ["1 2\n", "5 6"], ["3", "11\n"], "print(3)"),
    "an early end": stdio("import sys\nn = int(input())\nif n > 3:\n  print('big')\n  sys.exit()\nprint('small')\nexit(0)", ["5", "1"], ["big", "small"], "print('big')"),
    "the main module": stdio("def main():\n  print(int(input()) * 2)\nif __name__ == '__main__':\n  main()", ["5", "1"], ["10", "2"], "print(10)"),
    "a thread with a large stack": stdio(THREAD, ["20000", "3"], ["20000", "3"], "print(3)"),
    "until the end": stdio("while True:\n  try: n = int(input())\n  except EOFError: break\n  print(n * 2)", ["1\n2", "3\n"], ["2\n4", "6\n"], "print('2\\n4')"),
    "numbers in another form": stdio("print(int(input()) / 7)", ["1", "2"], ["0.14285714", "0.285714286"], "print(0.142857)"),
    "nothing in, nothing out": stdio("import sys\nn = len(sys.stdin.read())\nif n: print(n)", ["", "abcd"], ["", "4"], "print(4)"),
    "other scripts": stdio("print(input()[::-1])", ["añ√\n", "日本"], ["√ña", "本日"], "print('√ña')"),
    "names of Python's own": stdio("list = [1, 2]\nmax = int(input())\nprint(max + list[0])", ["3", "4"], ["4", "5"], "print(4)"),
    "nothing returned": calls("def f(a): return None if a else 5", [[1], [0]], [[None], [5]], "def f(a): return None"),
    "a tuple": calls("def f(a): return (a, a + 1)", [[1], [2]], [[[1, 2]], [[2, 3]]], "def f(a): return (1, 2)"),
    "truth": calls("def f(a): return a > 1", [[1], [2]], [[False], [True]], "def f(a): return False"),
    "a dictionary": calls("def f(a): return {k: len(k) for k in a}", [[["a", "bb"]], [["ccc"]]], [[{"a": 1, "bb": 2}], [{"ccc": 3}]], "def f(a): return {'a': 1, 'bb': 2}"),
    "verification_info": ({"problem": "Double it.", "verification_info": json.dumps({"language": "python", "test_cases": [{"type": "stdin_stdout", "input": "3\n", "output": "6\n"}, {"type": "stdin_stdout", "input": "4\n", "output": "8\n"}]}), "gold_standard_solution": f"```python\n{DOUBLE}\n```"}, DOUBLE, "print(6)"),
    "official tests": ({"description": "Double it.", "official_tests": [{"input": "3\n", "output": "6\n"}, {"input": "4\n", "output": "8\n"}]}, DOUBLE, "print(6)"),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_right_and_wrong(kind, reward):
    row, right, wrong = KINDS[kind]
    problem = code_rows.make_problem(row, 1, kind)
    assert code_proofs.prove(problem, row, reward) == ""
    grader = code.Grader(reward)
    assert grader.grade(problem, wrong).outcome is Outcome.WRONG
    assert grader.grade(problem, right).outcome is Outcome.CORRECT


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"generated_checker": "import sys\nprint(1)"}, "generated_checker"),
        ({"interaction_format": "Ask for a number."}, "interaction_format"),
        (
            {
                "verification_info": json.dumps(
                    {"language": "cpp", "test_cases": [{"input": "1", "output": "2"}]}
                )
            },
            "cpp",
        ),
    ],
)
def test_rows_that_ask_for_more_are_refused(more, said):
    tests = [] if "verification_info" in more else [{"input": "3\n", "output": "6\n"}]
    with pytest.raises(AhaError, match=said):
        code_rows.make_problem({"description": "Double it.", "official_tests": tests or None, **more}, 1)
