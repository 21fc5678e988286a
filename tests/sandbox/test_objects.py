"""Tests that hold objects of the candidate: classes, set-ups, functions as arguments, changes in place."""

# ruff: noqa: E501

from __future__ import annotations

import pytest

from aha.sandbox import Isolation, Sandbox, judge_asserts, judge_function
from aha.types import AhaError

MUL = "class Solution:\n    def mul(self, a, b): return a * b"
ADD = "class Solution:\n    def mul(self, a, b): return a + b"
NODE = """
class Node:
    def __init__(self, v):
        self.v, self.left, self.right = v, None, None
def height(n): return 0 if n is None else 1 + max(height(n.left), height(n.right))
"""
STACK = """
class Stack:
    def __init__(self): self.d = []
    def push(self, x): self.d.append(x)
    def pop(self): return self.d.pop()
    def __len__(self): return len(self.d)
    def __iter__(self): return iter(self.d)
    def __eq__(self, other): return self.d == other.d
    def __enter__(self): return self
    def __exit__(self, *a): self.d.clear()
"""
USE_OF_A_STACK = """
s = Stack()
s.push(1); s.push(2)
assert len(s) == 2 and list(s) == [1, 2] and 2 in s and 3 not in s
assert s.pop() == 2
t = Stack(); t.push(1)
assert s == t and not s == 3
try: s.pop(); s.pop()
except IndexError: ended = True
assert ended
with t as u: assert u is t
assert len(t) == 0
"""
LIAR = """
class X:
    def __eq__(self, other): return True
    def __contains__(self, other): return True
    def __sub__(self, other): return 0.0
    def __lt__(self, other): return True
    def __abs__(self): return 0.0
    __rsub__ = __add__ = __radd__ = __mul__ = __rmul__ = __sub__
    __gt__ = __le__ = __ge__ = __lt__
    __hash__ = None
def f(*a): return X()
"""


def opened(tier):
    try:
        with Sandbox(isolation=tier) as box:
            yield box
    except AhaError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module", params=[None, pytest.param(Isolation.LANDLOCK, marks=pytest.mark.slow)])
def sandbox(request):
    """The strongest tier that there is: how judges judge does not depend on it."""
    yield from opened(request.param)


@pytest.fixture(scope="module", params=[Isolation.NAMESPACES, Isolation.LANDLOCK])
def in_each_tier(request):
    yield from opened(request.param)


@pytest.mark.parametrize(
    ("code", "tests", "entry_point"),
    [
        (MUL, "s = Solution()\nassert s.mul(6, 7) == 42", ""),
        (MUL, "def check(c):\n    assert c(6, 7) == 42\ncheck(Solution().mul)", ""),
        (MUL, "def check(c):\n    assert c(a=6, b=7) == 42", "Solution().mul"),
        (MUL, "def check(c):\n    x = c(6, 7)\n    assert x == 42\ncheck(Solution().mul)", "Solution().mul"),
        (MUL, "def check(c):\n    assert c(6, 7) == 42", "Solution.mul"),
        (NODE, "root = Node(1)\nroot.left = Node(2)\nroot.left.left = Node(3)\nassert height(root) == 3", ""),
        (NODE, "n = Node(1)\nm = n\nn.left = Node(2)\nassert m.left.v == 2 and m is n and isinstance(m.left, Node)", ""),
        (STACK, USE_OF_A_STACK, ""),
        ("def f(l): l.sort(); l.append(9)", "l = [3, 1]\nf(l)\nassert l == [1, 3, 9]", ""),
        ("def f(d): d['b'] = 2", "d = {'a': 1}\ne = d\nf(d)\nassert e == {'a': 1, 'b': 2}", ""),
        ("def f(m): m[0][0] = 9", "m = [[1], [2]]\nrow = m[0]\nf(m)\nassert row == [9] and m == [[9], [2]]", ""),
        ("def f(g, l): return [g(x) for x in l]", "assert f(lambda x: 2 * x, [1, 2]) == [2, 4]", ""),
        ("def f(g): return lambda x: g(g(x))", "assert f(lambda x: x + 1)(0) == 2", ""),
        ("def f(g): return g(0)", "def b(x): raise KeyError\ntry: f(b)\nexcept KeyError: z = 1\nassert z", ""),
        ("def f():\n    n = 0\n    while True: yield n; n += 1", "g = f()\nassert [next(g), next(g)] == [0, 1]", ""),
        ("def f():\n    yield 1\n    yield 2", "assert list(f()) == [1, 2] and sum(f()) == 3", ""),
        (
            "from collections import namedtuple\nP = namedtuple('P', 'x y')\ndef f(): return P(1, 2)",
            "p = f()\nassert p.x == 1 and p == (1, 2) and P(1, 2) == p",
            "",
        ),
        ("from fractions import Fraction\ndef f(): return Fraction(1, 2)", "assert f() == 0.5", ""),
        ("from decimal import Decimal\ndef f(): return [Decimal('0.5')]", "assert f() == [0.5]", ""),
        ("from collections import deque\ndef f(): return deque([1])", "from collections import deque\nassert f() == deque([1])", ""),
        ("import datetime\ndef f(): return datetime.date(2020, 2, 29)", "import datetime\nassert f() == datetime.date(2020, 2, 29)", ""),
        ("def f(): return range(3)", "assert f() == range(3)", ""),
        ("def f(): return {1: 2}.keys()", "assert f() == {1}", ""),
        ("import math\ndef f(x): return x / 3", "assert math.isclose(f(1.0), 1 / 3)", ""),
        ("LIMIT = 7\ndef f(): return 1", "assert LIMIT == 7 and f() == 1", ""),
        ("def f(x): return x", "def helper(f): return f\nassert helper(f(3)) == 3", ""),
        ("def f(x): return x", "from solution import f as g\ndef test_a(): assert g(1) == 1\ndef test_b(): assert g(2) == 2", ""),
        ("def f(x): return x", "import unittest\nclass T(unittest.TestCase):\n    def test_a(self): self.assertEqual(f(3), 3)", ""),
        ("def f(x): return x", "class TestF:\n    def test_a(self): assert f(3) == 3", ""),
        ("import numpy\ndef f(n): return numpy.arange(n)", "import numpy as np\nassert np.allclose(f(3), [0, 1, 2]) and f(2).sum() == 1", ""),
        ("import numpy\ndef f(n): return numpy.int64(n)", "assert f(5) == 5", ""),
    ],
)  # fmt: skip
def test_right_programs_pass(sandbox, code, tests, entry_point):
    assert judge_asserts(code, tests, entry_point, sandbox=sandbox, wall=30).passed is True
    # The same tests are not passed by a program that has the names alone.
    judged = judge_asserts(
        "class Solution: pass\ndef f(*a, **k): pass", tests, entry_point, sandbox=sandbox, wall=30
    )
    assert judged.passed is False


@pytest.mark.parametrize(
    ("code", "tests", "entry_point"),
    [
        (ADD, "s = Solution()\nassert s.mul(6, 7) == 42", ""),
        (ADD, "def check(c):\n    assert c(6, 7) == 42\ncheck(Solution().mul)", ""),
        (ADD, "def check(c):\n    x = c(6, 7)\n    assert x == 42", "Solution().mul"),
        (NODE.replace("1 + ", "2 + "), "root = Node(1)\nroot.left = Node(2)\nassert height(root) == 2", ""),
        ("def f(l): pass", "l = [3, 1]\nf(l)\nassert l == [1, 3]", ""),
        ("def f(g, l): return l", "assert f(lambda x: 2 * x, [1, 2]) == [2, 4]", ""),
        ("def f(x): return x\ndef all(x): return True", "assert all(f(i) == 5 for i in range(3))", ""),
        ("def f(x): return x\ndef isinstance(*a): return True", "x = f(1)\nassert isinstance(x, str)", ""),
        ("def f(x): return 1", "from solution import f\ndef test_a(): assert f(1) == 1\ndef test_b(): assert f(2) == 2", ""),
        ("def f(x): return 1", "assert f(1) == 1\ndef test_b(): assert f(2) == 2", ""),
        ("def f(x): return 0", "import unittest\nclass T(unittest.TestCase):\n    def test_a(self): self.assertEqual(f(3), 3)", ""),
        ("def g(x): return x", "x = f(1)\nassert x == 2", ""),
        ("f = 3", "x = f(1)\nassert x == 2", ""),
        (LIAR, "assert f(1) == 42", ""),
        (LIAR, "x = f(1)\nassert x == 42", ""),
        (LIAR, "x = f(1)\nassert 42 == x", ""),
        (LIAR, "assert abs(f(1) - 0.5) < 1e-6", ""),
        (LIAR, "assert f(1) < 5", ""),
        (LIAR, "assert 5 in f(1)", ""),
        (LIAR, "assert [f(1)] == [42]", ""),
        (LIAR, "import math\nassert math.isclose(f(1), 42)", ""),
        (LIAR, "assert not f(1) != 42", ""),
        ("def f(x): return (_ for _ in iter(int, 1))", "assert 5 in f(1)", ""),
    ],
)  # fmt: skip
def test_wrong_programs_fail(sandbox, code, tests, entry_point):
    assert judge_asserts(code, tests, entry_point, sandbox=sandbox, wall=2).passed is False


def test_functions_named_like_pythons_own(sandbox):
    for tests, entry_point in (
        ("assert sum(1, 2) == 3", ""),
        ("x = sum(1, 2)\nassert x == 3", ""),
        ("for i in range(3): assert sum(i, 2) == i + 2", "sum"),
        ("def check(candidate):\n    for i in range(3): assert candidate(i, 2) == i + 2", "sum"),
    ):
        for operator, right in (("+", True), ("-", False)):
            code = f"def sum(a, b): return a {operator} b"
            assert judge_asserts(code, tests, entry_point, sandbox=sandbox, wall=30).passed is right


def test_tests_that_never_use_the_program_say_nothing(sandbox):
    assert judge_asserts("def f(): return 1", "def unused(): assert f() == 2", sandbox=sandbox).passed is None
    assert judge_asserts("def f(): return 1", "x = 1\nassert x == 1", sandbox=sandbox).passed is None


def test_long_tests_are_not_the_programs_time(sandbox):
    rows = [[(each * 7919) % 1000 for each in range(start, start + 60)] for start in range(100)]
    tests = f"import time\ntime.sleep(3.2)\nfor row, right in zip({rows}, {[sorted(row) for row in rows]}):\n    assert f(row) == right"
    assert judge_asserts("def f(x): return sorted(x)", tests, sandbox=sandbox, wall=3).passed is True
    assert judge_asserts("def f(x): return x", tests, sandbox=sandbox, wall=3).passed is False
    assert judge_asserts("def f(x): return x", "assert 1 == 2\nf(1)", sandbox=sandbox, wall=3).passed is None


def test_a_prelude_is_there_for_the_program_and_for_the_tests(in_each_tier):
    prelude = "from typing import List\nclass Link:\n    def __init__(self, v, next=None): self.v, self.next = v, next"
    prelude += (
        "\ndef link(vs):\n    head = None\n    for v in reversed(vs): head = Link(v, head)\n    return head"
    )
    prelude += "\ndef values(n):\n    out = []\n    while n: out.append(n.v); n = n.next\n    return out"
    right = "class Solution:\n    def tail(self, n: Link) -> List[int]:\n        assert isinstance(n, Link)\n        return n.next"
    tests = "def check(candidate):\n    assert values(candidate(n=link([1, 2, 3]))) == [2, 3]\n    assert candidate(link([1])) is None"
    for code, verdict in (
        (right, True),
        (right.replace("n.next", "n"), False),
        (right + "\ndef values(n): return [2, 3]", True),  # its own helpers are not the tests'
        (right.replace("n.next", "n") + "\ndef values(n): return [2, 3]", False),
        ("class Link:\n    def __init__(self, v, next=None): self.v, self.next = v, next\n" + right, True),
    ):
        judged = judge_asserts(code, tests, "Solution().tail", sandbox=in_each_tier, wall=30, prelude=prelude)
        assert judged.passed is verdict, (code, judged)


def test_long_lists_of_linked_objects_travel(sandbox):
    prelude = "class Link:\n    def __init__(self, v, next=None): self.v, self.next = v, next"
    tests = "head = None\nfor v in range(3000): head = Link(v, head)\nassert count(head) == 3000"
    code = "def count(n):\n    c = 0\n    while n: c += 1; n = n.next\n    return c"
    assert judge_asserts(code, tests, sandbox=sandbox, wall=30, prelude=prelude).passed is True


def test_functions_of_a_solution_class_are_found_by_their_bare_name(sandbox):
    assert judge_function(MUL, "mul", [((6, 7), 42)], sandbox=sandbox, wall=30).passed is True
    assert judge_function(ADD, "mul", [((6, 7), 42)], sandbox=sandbox, wall=30).passed is False


def test_how_results_are_compared(sandbox):
    code = "def f(x): return x"
    for compare, pairs in (
        ("strict", [((1,), 1)]),
        ("loose", [((1,), 1.0), (([(1, 2)],), [[1, 2]]), ((True,), 1)]),
        ("wrapped", [((5,), [5]), (([5],), [5]), (([5],), [[5]])]),
    ):
        assert judge_function(code, "f", pairs, sandbox=sandbox, wall=30, compare=compare).passed is True
    assert judge_function(code, "f", [((1,), 1.0)], sandbox=sandbox, wall=30).passed is False
    assert (
        judge_function(code, "f", [((6,), [5])], sandbox=sandbox, wall=30, compare="wrapped").passed is False
    )


def test_numpy_and_the_streams_by_name(in_each_tier):
    assert in_each_tier.run("import numpy as np; print(np.arange(4).sum())", wall=30).stdout == b"6\n"
    for program in (
        "print(open('/dev/stdin').read().strip())",
        "import sys; sys.stdin = open('/dev/stdin'); print(input())",
        "from pathlib import Path; print(Path('/dev/stdin').read_text().strip())",
        "import os; print(os.read(os.open('/dev/stdin', os.O_RDONLY), 9).decode().strip())",
        "import numpy as np; print('%d %d' % tuple(np.loadtxt('/dev/stdin')))",
        "print(input(), file=open('/dev/stdout', 'w'))",
    ):
        execution = in_each_tier.run(program, b"6 7\n", wall=30)
        assert execution.stdout == b"6 7\n", (program, execution.stderr)


KEYED = """class P:
    def __init__(self, v): self.v = v
    def __hash__(self): return hash(self.v)
    def __eq__(self, other): return self.v == other.v
"""
TABLE = {
    "in-a-set": (KEYED, "assert len({P(1), P(1), P(2)}) == 2 and P(1) in {P(1)}", ("self.v == other.v", "self is other")),
    "as-a-key": (KEYED, "d = {P(1): 'a'}\nassert d[P(1)] == 'a' and P(2) not in d", ("self.v == other.v", "self is other")),
    "its-hash": (KEYED, "assert hash(P(1)) == hash(P(1)) != hash(P(2))", ("hash(self.v)", "5")),
    "of-a-dataclass": (
        "from dataclasses import dataclass\n@dataclass(frozen=True)\nclass P:\n    v: int",
        "assert len({P(1), P(1), P(2)}) == 2",
        ("(frozen=True)", "(eq=False)"),
    ),
    "itself": (
        "class P: pass\np = P()\ndef f(): return p",
        "assert len({f(), f(), P()}) == 2",
        ("return p", "return P()"),
    ),
    "no-key": (
        "class P:\n    def __eq__(self, other): return True",
        "try: {P()}\nexcept TypeError: z = 1\nassert z",
        ("__eq__", "same"),
    ),
    "counter": (
        "from collections import Counter\ndef f(x): return Counter(x)",
        "from collections import Counter\nc = f('aab')\nassert c['z'] == 0 and c['a'] == 2 and isinstance(c, Counter)\nassert c + f('b') == Counter(a=2, b=2)",
        ("Counter(x)", "{y: x.count(y) for y in x}"),
    ),
    "counter-within": (
        "from collections import Counter\ndef f(x): return [Counter(x)], len(x)",
        "(c,), n = f('aab')\nassert c['z'] == 0 and c.most_common(1) == [('a', 2)] and n == 3",
        ("Counter(x)", "dict(Counter(x))"),
    ),
    "defaultdict": (
        "from collections import defaultdict\ndef f(x):\n    d = defaultdict(list)\n    d[x].append(1)\n    return d",
        "d = f(3)\nassert d[4] == [] and d == {3: [1], 4: []}",
        ("return d", "return dict(d)"),
    ),
    "its-own-default": (
        "from collections import defaultdict\ndef f(): return defaultdict(lambda: 7)",
        "d = f()\nassert d['x'] == 7 and len(d) == 1",
        ("lambda: 7", "lambda: 8"),
    ),
    "ordered": (
        "from collections import OrderedDict\ndef f(x): return OrderedDict(x)",
        "d = f([(1, 2), (3, 4)])\nd.move_to_end(1)\nassert list(d) == [3, 1] and f([(1, 2), (3, 4)]) != f([(3, 4), (1, 2)])",
        ("OrderedDict(x)", "dict(x)"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLE)
def test_keys_and_counters_are_what_they_are_in_one_process(sandbox, name):
    code, tests, (right, wrong) = TABLE[name]
    assert judge_asserts(code, tests, sandbox=sandbox, wall=30).passed is True
    assert judge_asserts(code.replace(right, wrong), tests, sandbox=sandbox, wall=30).passed is False
