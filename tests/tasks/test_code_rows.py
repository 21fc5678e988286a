"""Layouts of public code sets, a few invented rows of each: the right program passes, a wrong one does not, and
rows that cannot be graded are set aside with the reason."""

# ruff: noqa: E501

from __future__ import annotations

import base64
import collections
import json
import pickle
import zlib

import pytest

from aha.rewards.code import CodeReward, Mode
from aha.sandbox import Sandbox
from aha.tasks import code, code_proofs, code_rows
from aha.types import AhaError, Outcome


@pytest.fixture(scope="module")
def sandbox():
    try:
        with Sandbox() as opened:
            opened.run("pass")
            yield opened
    except AhaError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def reward(sandbox):
    return CodeReward(Mode.ALL, sandbox=sandbox, wall=30)


def fenced(program):
    return f"<think>x</think>\n```python\n{program}\n```"


def packed(tests, value=None):
    pickled = pickle.dumps(json.dumps(tests) if value is None else value)
    return base64.b64encode(zlib.compress(pickled)).decode()


TWICE_STDIN = "print(int(input()) * 2)"
TWICE = "def twice(x): return 2 * x"
TWICE_CLASS = "class Solution:\n    def twice(self, x): return 2 * x"
TYPED_CLASS = (
    "class Solution:\n    def total(self, xs: List[int], k: Optional[int] = None) -> int:\n"
    "        return sum(Counter(xs).elements()) + (k or 0) + gcd(0, 0)"
)
LINKED = """from typing import *
class ListNode:
    def __init__(self, val=0, next=None): self.val, self.next = val, next
def list_node(values):
    head = None
    for value in reversed(values): head = ListNode(value, head)
    return head
def is_same_list(a, b):
    while a and b and a.val == b.val: a, b = a.next, b.next
    return a is None and b is None
"""
REVERSE = (
    "class Solution:\n    def reverse(self, head: Optional[ListNode]) -> Optional[ListNode]:\n        out = None\n"
    "        while head: out, head = ListNode(head.val, out), head.next\n        return out"
)
NUMPY_TEST = (
    "import numpy as np\ndef close(a, b): return np.allclose(a, b, rtol=1e-7, atol=1e-6)\n"
    "inputs = [[1.0], [2.0]]\nresults = [0.333333333, 0.666666666]\n"
    "for one, result in zip(inputs, results): assert close(third(*one), result)\n"
)
ROWS = {
    "leetcode": (
        {
            "problem_description": "Reverse a list.",
            "prompt": LINKED,
            "starter_code": "class Solution:\n    def reverse(self, head): ",
            "entry_point": "Solution().reverse",
            "test": "def check(candidate):\n    assert is_same_list(candidate(head=list_node([1, 2])), list_node([2, 1]))\n"
            "    assert is_same_list(candidate(head=list_node([3])), list_node([3]))\n",
            "completion": REVERSE,
        },
        REVERSE.replace("out, head =", "out, head = out and") + "\n# wrong",
    ),
    "leetcode-typed": (
        {
            "problem_description": "Add up.",
            "prompt": "import random\nfrom typing import *\nfrom collections import *\nfrom math import *\ninf = 1\n",
            "entry_point": "Solution().total",
            "test": "def check(candidate):\n    assert candidate(xs=[1, 2]) == 3\n    assert candidate(xs=[], k=5) == 5\n",
            "completion": TYPED_CLASS,
        },
        TYPED_CLASS.replace("(k or 0)", "1"),
    ),
    "livecodebench": (
        {
            "question_content": "Add up.",
            "starter_code": "class Solution:\n    def total(self, xs: List[int], k: int) -> int:\n        ",
            "public_test_cases": json.dumps([{"input": "[1, 2]\n0", "output": "3", "testtype": "functional"}]),
            "private_test_cases": packed([{"input": "[5]\n1", "output": "6", "testtype": "functional"}]),
            "metadata": json.dumps({"func_name": "total"}),
            "solution": TYPED_CLASS,
        },
        "class Solution:\n    def total(self, xs, k): return 3",  # right on the public test alone
    ),
    "livecodebench-stdin": (
        {
            "question_content": "Double it.",
            "starter_code": "",
            "public_test_cases": json.dumps([{"input": "1\n", "output": "2\n", "testtype": "stdin"}]),
            "private_test_cases": packed([{"input": "4\n", "output": "8\n", "testtype": "stdin"}]),
            "metadata": "{}",
            "solution": TWICE_STDIN,
        },
        "print(2)",
    ),
    "apps-wrapped": (
        {
            "question": "Double it.",
            "input_output": json.dumps({"fn_name": "twice", "inputs": [[1], [2]], "outputs": [[2], [4]]}),
            "solutions": json.dumps([TWICE_CLASS, TWICE]),
        },
        "def twice(x): return x + 1",
    ),
    "apps-bare": (
        {
            "question": "Double all.",
            "input_output": json.dumps(
                {"fn_name": "all_twice", "inputs": [[[1, 2]], [[3]]], "outputs": [[[2, 4]], [6]]}
            ),
            "solutions": json.dumps(["def all_twice(x): return tuple(2 * y for y in x)"]),
        },
        "def all_twice(x): return [2, 4]",
    ),
    "apps-numbers-as-keys": (
        {
            "question": "Count.",
            "input_output": json.dumps({"fn_name": "f", "inputs": [[{"1": 5}], [{"2": 3}]], "outputs": [[{"1": 6}], [{"2": 4}]]}),
            "solutions": json.dumps(["def f(d): return {k: v + (k in (1, 2)) for k, v in d.items()}"]),
        },
        "def f(d): return d",
    ),
    "apps-lines": (
        {
            "question": "A third.",
            "input_output": json.dumps({"inputs": [["1", ""], "2\n"], "outputs": [["0.3333333"], "0.6666667\n"]}),
            "solutions": json.dumps(["print(int(input()) / 3)"]),
        },
        "print(int(input()) / 4)",
    ),
    "taco": (
        {
            "question": "Double it.",
            "starter_code": "#User function Template for python3\n\nclass Solution:\n    def twice(self, x):\n        #Code here",
            "input_output": json.dumps({"fn_name": "twice", "inputs": [[1], [2]], "outputs": [2, 4]}),
            "solutions": json.dumps(["print 'python 2'", "```python\n" + TWICE_CLASS + "\n```"]),
        },
        "class Solution:\n    def twice(self, x): return 2",
    ),
    "codecontests": (
        {
            "description": "Double it.",
            "public_tests": {"input": ["1\n"], "output": ["2\n"]},
            "private_tests": {"input": ["4\n"], "output": ["8\n"]},
            "generated_tests": {"input": [], "output": []},
            "solutions": {"language": [2, 3], "solution": ["int main(){}", TWICE_STDIN]},
        },
        "print(2)",
    ),
    "mbpp-sanitized": (
        {
            "prompt": "A third.",
            "test_imports": ["import math"],
            "test_list": ["assert math.isclose(third(1), 0.3333333333333333, rel_tol=0.001)", "assert math.isclose(third(2), 0.66, rel_tol=0.1)"],
            "code": "def third(x): return x / math.pi * math.pi / 3",
        },
        "def third(x): return x / 4",
    ),
    "mbpp-objects": (
        {
            "text": "The height of a tree.",
            "test_setup_code": "root = Node(1)\nroot.left = Node(2)\nroot1 = Node(1)",
            "test_list": ["assert (height(root)) == 2", "assert (height(root1)) == 1 "],
            "code": "class Node:\r\n\tdef __init__(self, v):\r\n\t\tself.v = v\r\n\t\tself.left = None\r\ndef height(n):\r\n\treturn 1 + height(n.left) if n else 0\r\n",
        },
        "class Node:\n    def __init__(self, v): self.v = v\ndef height(n): return 2",
    ),
    "mbpp-builtin": (
        {
            "text": "Add up what divides both.",
            "test_list": ["assert sum(10, 15) == 6", "assert sum(100, 150) == 93"],
            "code": "def sum(a, b):\n    s = 0\n    for i in range(1, min(a, b) + 1):\n        if a % i == 0 and b % i == 0: s += i\n    return s",
        },
        "def sum(a, b): return 6",
    ),
    "mbpp-plus": (
        {
            "prompt": "A third.",
            "test_list": ["assert third(3) == 1"],
            "test_imports": [],
            "test": NUMPY_TEST,
            "code": "def third(x): return x / 3",
        },
        "def third(x): return x // 3",
    ),
    "humaneval-plus": (
        {
            "prompt": "from typing import List\n\n\ndef third(x: float) -> float:\n    ''' A third. '''\n",
            "entry_point": "third",
            "canonical_solution": "    return x / 3\n",
            "test": "def check(candidate):\n    third = candidate\n" + "".join("    " + line + "\n" for line in NUMPY_TEST.split("\n")),
        },
        "def third(x: List): return 1 / 3",
    ),
    "kodcode": (
        {
            "question": "Double it.",
            "solution": TWICE + "\nclass Counter:\n    def __init__(self): self.n = 0\n    def add(self): self.n += 1",
            "test": "from solution import twice, Counter\n\ndef test_one():\n    assert twice(1) == 2\n\ndef test_two():\n    c = Counter()\n    c.add()\n    assert c.n == 1 and twice(c.n + 1) == 4\n",
            "test_info": [{"function_name": "twice", "function_declaration": "def twice(x):"}],
        },
        "def twice(x): return 2\nclass Counter:\n    n = 1\n    def add(self): pass",
    ),
    "skywork": (
        {
            "prompt": [{"role": "user", "content": "Double it."}],
            "reward_model": {
                "ground_truth": json.dumps({"entry_point": "Solution().twice", "test_code": "def check(c):\n    assert c(x=1) == 2\n    assert c(4) == 8"})
            },
            "solution": TWICE_CLASS,
        },
        "class Solution:\n    def twice(self, x): return 2",
    ),
    "lists-of-asserts": (
        {"question": "Double it.", "test_cases": ["assert twice(1) == 2", "assert twice(4) == 8"], "solution": TWICE},
        "def twice(x): return 2",
    ),
    "function-calls": (
        {
            "problem": "Double it.",
            "tests": [{"type": "function_call", "fn_name": "twice", "input": [1], "output": 2}, {"type": "function_call", "fn_name": "twice", "input": [4], "output": 8}],
            "solution": TWICE,
        },
        "def twice(x): return 2",
    ),
    "calls-as-text": (  # verl's prime_code: arguments a line each, and the result as JSON too
        {
            "prompt": [{"role": "user", "content": "Add to each."}],
            "reward_model": {
                "ground_truth": json.dumps({"fn_name": "each", "inputs": ["[1, 2]\n3", "[]\n1"], "outputs": ["[4, 5]", "[]"]})
            },
            "solution": "def each(xs, k): return [x + k for x in xs]",
        },
        "def each(xs, k): return xs",
    ),
    "texts-as-text": (
        {
            "question": "Reverse it.",
            "input_output": json.dumps({"fn_name": "back", "inputs": ['"ab"', '"7"'], "outputs": ['"ba"', '"7"']}),
            "solutions": json.dumps(["def back(s): return s[::-1]"]),
        },
        "def back(s): return s",
    ),
    "texts-in-lists": (  # APPS: arguments in a list, a text as it is
        {
            "question": "Reverse it.",
            "input_output": json.dumps({"fn_name": "back", "inputs": [["12"], ["7"]], "outputs": ["21", ["7"]]}),
            "solutions": json.dumps(["def back(s): return s[::-1]"]),
        },
        "def back(s): return int(s[::-1])",
    ),
    "name-in-the-tests-metadata": (  # DeepCoder
        {
            "problem": "Double it.",
            "tests": json.dumps([{"input": x, "output": y, "testtype": "functional", "metadata": {"func_name": "twice"}} for x, y in (("1", "2"), ("4", "8"))]),
            "solution": TWICE_CLASS,
        },
        "def twice(x): return 2",
    ),
    "name-in-the-rows-metadata": (
        {
            "problem": "Double it.",
            "metadata": json.dumps({"func_name": "twice"}),
            "tests": [{"input": "1", "output": "2", "testtype": "functional"}, {"input": "4", "output": "8", "testtype": "functional"}],
            "solution": TWICE,
        },
        "def twice(x): return 2",
    ),
    "a-name-beside-standard-input": (
        {
            "problem": "Double it.",
            "fn_name": "main",
            "tests": [{"input": "1", "output": "2", "testtype": "stdin"}, {"input": "4", "output": "8", "testtype": "stdin"}],
            "solution": TWICE_STDIN,
        },
        "print(2)",
    ),
    "bigcodebench": (
        {
            "instruct_prompt": "Double it.",
            "complete_prompt": "import math\ndef twice(x):\n    \"\"\"Double it.\"\"\"\n",
            "code_prompt": "import math\ndef twice(x):\n",
            "canonical_solution": "    return math.prod([2, x])",
            "entry_point": "twice",
            "test": "import unittest\nclass TestCases(unittest.TestCase):\n    def test_a(self): self.assertEqual(twice(1), 2)\n    def test_b(self): self.assertEqual(twice(4), 8)",
        },
        "def twice(x): return 2",
    ),
    "what-leetcode-has": (
        {
            "query": "Sort it.",
            "prompt": "from typing import *\n",
            "entry_point": "Solution().ordered",
            "test": "def check(candidate):\n    assert candidate(xs = [3, 1]) == [1, 3]\n    assert candidate(xs = []) == []",
            "completion": "class Solution:\n    def ordered(self, xs: List[int]) -> List[int]:\n        from sortedcontainers import SortedList\n        return list(SortedList(xs))",
        },
        "class Solution:\n    def ordered(self, xs: List[int]) -> List[int]: return xs",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_layouts(name, reward):
    row, wrong = ROWS[name]
    problem = code_rows.make_problem(row, 1)
    assert code_proofs.prove(problem, row, reward) == ""
    grader = code.Grader(reward)
    assert grader.verify(problem, fenced(wrong)).outcome is Outcome.WRONG
    right = next(iter(code_proofs._references(row)))
    assert grader.verify(problem, fenced(right)).outcome is Outcome.CORRECT
    assert grader.verify(problem, fenced("pass")).outcome is Outcome.WRONG


def test_a_model_may_leave_out_what_the_prompt_imports(reward):
    row, _ = ROWS["humaneval-plus"]
    problem = code_rows.make_problem(row, 1)
    answer = fenced("def third(x: float, unused: List[int] = []) -> float: return x / 3")
    assert code.Grader(reward).verify(problem, answer).outcome is Outcome.CORRECT


def test_what_a_question_says():
    said = {name: code_rows.make_problem(row, 1).messages[-1]["content"] for name, (row, _) in ROWS.items()}
    assert said["leetcode"].startswith("Reverse a list.")
    assert "Solution.reverse" in said["leetcode"]
    assert "def twice(x):" in said["kodcode"]
    assert "assert sum(10, 15) == 6" in said["mbpp-builtin"]
    assert "class Solution" in said["livecodebench"]


def test_a_prompt_of_imports_is_no_question():
    row = dict(ROWS["leetcode"][0])
    del row["problem_description"]
    row["meta"] = {"query": "Please reverse it.", "question_title": "It is a list."}
    assert code_rows.make_problem(row, 1).messages[-1]["content"].startswith("Please reverse it.")


def test_what_a_prelude_brings_is_no_answer(reward):
    tests = json.dumps({"fn_name": "gcd", "inputs": [[4, 6]], "outputs": [[2]]})
    row = {
        "question": "q",
        "input_output": tests,
        "solutions": ["import math\ndef gcd(a, b): return math.gcd(a, b)"],
    }
    problem = code_rows.make_problem(row, 1)
    assert code_proofs.prove(problem, row, reward) == ""
    grader = code.Grader(reward)
    assert grader.verify(problem, fenced("pass")).outcome is Outcome.WRONG
    assert (
        grader.verify(problem, fenced("from math import gcd as found\ngcd = lambda *a: found(*a)")).outcome
        is Outcome.CORRECT
    )


def test_a_row_whose_own_solution_fails_is_refused(reward):
    row = {"text": "Double it.", "test_list": ["assert twice(1) == 2"], "code": "def twice(x): return 3 * x"}
    assert "its own solution does not pass" in code_proofs.prove(code_rows.make_problem(row, 1), row, reward)


def test_a_row_that_a_program_without_a_thought_passes_is_refused(reward):
    for row in (
        {"text": "Nothing.", "test_list": ["assert f(1) is None"], "code": "def f(x): x + 1"},
        {"question": "Nothing.", "input_output": json.dumps({"inputs": ["1"], "outputs": [""]})},
    ):
        problem = code_rows.make_problem(row, 1)
        assert "does nothing passes" in code_proofs.prove(problem, row, reward)


FUNCTIONS = {
    "lambda": "twice = lambda x: 2 * x",
    "typed-lambda": "from collections.abc import Callable\ntwice: Callable = lambda x: 2 * x",
    "partial": "from functools import partial\nfrom operator import mul\ntwice = partial(mul, 2)",
    "another's-name": "double = lambda x: 2 * x\ntwice = double",
    "the-library's": "twice = (2).__mul__",
    "object": "class Times:\n    def __init__(self, n): self.n = n\n    def __call__(self, x): return self.n * x\ntwice = Times(2)",
    "several": "once, twice = lambda x: x, (2).__mul__",
    "in-a-class": "class Solution:\n    twice = lambda self, x: 2 * x",
    "static-in-a-class": "class Solution:\n    twice = staticmethod((2).__mul__)",
    "coroutine": "async def twice(x): return 2 * x",
    "wrapped": "import functools\ndef same(f):\n    @functools.wraps(f)\n    def g(*a): return f(*a)\n    return g\n@same\ndef twice(x): return 2 * x",
}


@pytest.mark.parametrize("layout", ["calls", "asserts"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_reference_may_be_any_function(name, layout, reward):
    """What does nothing is told from it, whatever way the reference's function has its name."""
    if layout == "asserts" and ("class" in name or name == "coroutine"):
        pytest.skip("called otherwise")
    right = {"fn_name": "twice", "inputs": [[1], [4]], "outputs": [[2], [8]]}
    row = {
        "question": "Double it.",
        "input_output": json.dumps(right),
        "solutions": json.dumps([FUNCTIONS[name]]),
    }
    vacuous = row | {"input_output": json.dumps(right | {"outputs": [[None], [None]]})}
    if layout == "asserts":
        row = {"text": "Double it.", "test_list": ["assert twice(1) == 2"], "code": FUNCTIONS[name]}
        vacuous = row | {"test_list": ["assert twice(1) != 5"]}
    assert code_proofs.prove(code_rows.make_problem(row, 1), row, reward) == ""
    assert "does nothing" in code_proofs.prove(code_rows.make_problem(vacuous, 1), vacuous, reward)


def test_tests_that_need_what_is_not_there_are_refused(monkeypatch):
    row = {
        "question": "q",
        "test": "import pytest_of_elsewhere\ndef test_a(): assert f(1) == 1",
        "solution": "def f(x): return x",
    }
    with pytest.raises(AhaError, match=r"pytest_of_elsewhere.*AHA_SANDBOX_PACKAGES"):
        code_rows.make_problem(row, 1)
    monkeypatch.setenv("AHA_SANDBOX_PACKAGES", "")
    with pytest.raises(AhaError, match="numpy"):
        code_rows.make_problem(ROWS["mbpp-plus"][0], 1)
    monkeypatch.setenv("AHA_SANDBOX_PACKAGES", "no-such-package-anywhere")
    with pytest.raises(AhaError, match="no-such-package-anywhere"):
        code_rows.make_problem(ROWS["mbpp-plus"][0], 1)


@pytest.mark.parametrize(
    "program",
    [
        "import of_elsewhere\ndef f(x): return of_elsewhere.f(x)",
        "def f(x):\n    from of_elsewhere.below import f as one\n    return one(x)",
    ],
)
def test_a_package_that_the_rows_own_solution_needs_is_named(program, reward):
    row = {"question": "q", "test_list": ["assert f(1) == 1"], "code": program}
    said = code_proofs.prove(code_rows.make_problem(row, 1), row, reward)
    assert "must import of_elsewhere" in said
    assert "AHA_SANDBOX_PACKAGES" in said
    row["solutions"] = ["def f(x): return x"]
    assert code_proofs.prove(code_rows.make_problem(row, 1), row, reward) == ""


class _Evil:
    def __reduce__(self):
        return (print, ("ESCAPED",))


@pytest.mark.parametrize(
    "private",
    [
        packed(None, _Evil()),
        packed(None, collections.OrderedDict()),
        packed(None, {"a": "list"}),
        packed(None, "not json"),
        packed(None, '{"a": 1}'),
        "not base 64!",
        base64.b64encode(b"not zlib").decode(),
        base64.b64encode(zlib.compress(b"not a pickle")).decode(),
        base64.b64encode(zlib.compress(b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f\x8c")).decode(),
        base64.b64encode(zlib.compress(b"cposix\nsystem\n(S'echo ESCAPED'\ntR.")).decode(),
        base64.b64encode(zlib.compress(bytes(1 << 29))).decode(),
    ],
)
def test_private_tests_that_are_no_text_are_refused(private, capfd):
    row = ROWS["livecodebench-stdin"][0] | {"private_test_cases": private}
    with pytest.raises(AhaError, match="Row 1: its tests cannot be read"):
        code_rows.make_problem(row, 1)
    assert "ESCAPED" not in capfd.readouterr().out


def test_rows_are_proven_as_they_load(tmp_path, capsys):
    good = {"text": "Double {}.", "test_list": ["assert twice(1) == 2"], "code": TWICE}
    rows = [good | {"text": f"Double {i}."} for i in range(40)]
    rows[7] = good | {"text": "Wrong.", "code": "def twice(x): return 7"}
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    try:
        problems = code_rows.task(str(path)).load("train", 100, 0)
    except AhaError as error:
        pytest.skip(str(error))
    assert 30 <= len(problems) <= 39
    assert "its own solution does not pass" in capsys.readouterr().err
