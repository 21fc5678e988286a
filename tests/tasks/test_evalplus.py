"""Rows as EvalPlus publishes them (HumanEvalPlus.jsonl, MbppPlus.jsonl). Those of HumanEval are made, in its layout; of
MBPP the seventh is EvalPlus' own, with a few of its inputs."""

# ruff: noqa: E501
from __future__ import annotations

import pytest

from aha.sandbox import judge_function, results_of
from aha.tasks import code_rows
from aha.types import AhaError, Outcome

NEAR = {
    "task_id": "HumanEval/900", "prompt": 'def mean(xs: list) -> float:\n    """ The mean. """\n', "entry_point": "mean",
    "canonical_solution": "    return sum(xs) / len(xs)\n", "contract": "", "atol": 0,
    "base_input": [[[1, 2]], [[1.0, 2.5]]], "plus_input": [[[0.1, 0.2, 0.3]], [[1e9, 1]]],
}  # fmt: skip
FIND_CHAR_LONG = {
    "task_id": "Mbpp/7", "entry_point": "find_char_long", "atol": 0,
    "prompt": '"""\nWrite a function to find all words which are at least 4 characters long in a string.\nassert '
              "set(find_char_long('Please move back to stream')) == set(['Please', 'move', 'back', 'stream'])\n\"\"\"\n",
    "canonical_solution": '\nimport re\ndef find_char_long(text):\n  return (re.findall(r"\\b\\w{4,}\\b", text))\n',
    "base_input": [["Please move back to stream"], ["Jing Eco and Tech"], ["Jhingai wulu road Zone 3"]],
    "plus_input": [[""], ["stralong.t"], ["arerwordsThis"], ["4"], ["ThicharatacterThis is a very long strigng"]],
    "contract": '\n  assert isinstance(text, str), "invalid inputs" # $_CONTRACT_$\n',
    "assertion": "\nassert set(find_char_long('Jing Eco and Tech')) == set(['Jing', 'Tech'])\n",
}  # fmt: skip
SHARED = {
    "task_id": "Mbpp/900", "prompt": '"""\nWrite a function that pairs a tuple with its length.\n"""\n', "atol": 0,
    "entry_point": "sized", "canonical_solution": "\ndef sized(t):\n    return {t: len(t)}\n",
    "base_input": [[[1, 2]]], "plus_input": [[[]], [[3]]], "contract": "",
    "assertion": "\nassert sized((1, 2)) == {(1, 2): 2}\n",
}  # fmt: skip
ROOT = {
    "task_id": "HumanEval/32", "entry_point": "find_zero", "atol": 0.0001, "contract": "",
    "prompt": 'import math\n\n\ndef poly(xs, x):\n    return sum(c * x**i for i, c in enumerate(xs))\n\n\n'
              'def find_zero(xs: list):\n    """ A zero of the polynomial. """\n',
    "canonical_solution": "    return -xs[0] / xs[1] if len(xs) == 2 else 2.0\n",
    "base_input": [[[1, 2]], [[-4, 0, 1]]], "plus_input": [],
}  # fmt: skip


def mbpp(name, solution, inputs, assertion, **more):
    """A row whose solution gives what its inputs give."""
    return {"task_id": "Mbpp/901", "prompt": '"""\nDo it.\n"""\n', "atol": 0, "entry_point": name, "contract": "",
            "canonical_solution": solution, "base_input": inputs, "plus_input": [], "assertion": assertion, **more}  # fmt: skip


COUNTED = mbpp("counted", "from collections import Counter\ndef counted(xs): return Counter(xs)\n",
               [[[1, 1, 2]], [[]]], "assert counted([1]) == {1: 1}")  # fmt: skip
GROUPED = mbpp("grouped", "from collections import OrderedDict, defaultdict\ndef grouped(xs):\n    d = defaultdict(list)\n"
               "    for x in xs: d[x % 2].append(OrderedDict([(x, {x})]))\n    return d\n",
               [[[1, 2, 3]], [[]]], "assert grouped([2]) == {0: [{2: {2}}]}")  # fmt: skip
MIXED = mbpp("first", "def first(t): return next((i for i, x in enumerate(t) if isinstance(x, tuple)), -1)\n",
             [[[1, 5, [4, 6], 10]], [[2, [5, [7]]]], [[3, 4]]], "assert first((1, 5, 7, (4, 6), 10)) == 3")  # fmt: skip
POLAR = mbpp("polar", "import cmath\ndef polar(z): return cmath.polar(z)\n",
             [[1], ["(1+2j)"], ["-1e-3j"]], "assert polar(1) == (1.0, 0.0)", atol=1e-4)  # fmt: skip
BOTH = mbpp("Diff", "def Diff(a, b): return list(set(a) ^ set(b))\n", [[[1, 10, 9], [9, 2]], [[], [40]]],
            "assert set(Diff([1], [2])) == {1, 2}", test_list=["assert Diff([9, 1, 10], [9]) == [1, 10]"])  # fmt: skip


def outcome(row, program):
    problem = code_rows.make_problem(row, 1)
    assert code_rows.prove(problem, row) == ""
    verdict = code_rows.READER.make(row, 1, "code") and code_rows.task(None).verify(
        problem, f"```python\n{program}\n```"
    )
    return verdict.outcome


@pytest.mark.parametrize(
    ("row", "right", "wrong"),
    [
        (NEAR, "def mean(xs):\n    return sum(x / len(xs) for x in xs)", "def mean(xs):\n    return sum(xs) // len(xs)"),
        (FIND_CHAR_LONG, "def find_char_long(s):\n    import re\n    return tuple(set(re.findall(r'\\w{4,}', s)))",
         "def find_char_long(s):\n    return [w for w in s.split() if len(w) > 3]"),
        (SHARED, "def sized(t):\n    return dict([(t, len(t))])", "def sized(t):\n    return {tuple(t): 2}"),
        (COUNTED, "def counted(xs):\n    return {x: xs.count(x) for x in xs}",
         "def counted(xs):\n    return {x: 1 for x in xs}"),
        (GROUPED, "def grouped(xs):\n    return {k: [{x: {x}} for x in xs if x % 2 == k] for k in {x % 2 for x in xs}}",
         "def grouped(xs):\n    return {k: [{x: [x]} for x in xs if x % 2 == k] for k in {x % 2 for x in xs}}"),
        (MIXED, "def first(t):\n    kinds = [type(x) for x in t]\n    return kinds.index(tuple) if tuple in kinds else -1",
         "def first(t):\n    kinds = [type(x) for x in t]\n    return kinds.index(list) if list in kinds else -1"),
        (POLAR, "def polar(z):\n    import math\n    return abs(z), math.atan2(complex(z).imag, complex(z).real)",
         "def polar(z):\n    return abs(z), 0.0"),
        (BOTH, "def Diff(a, b):\n    return sorted({*a} ^ {*b}, reverse=True)", "def Diff(a, b):\n    return [*{*a} - {*b}]"),
        (ROOT, "def find_zero(xs):\n    return -0.5 if len(xs) == 2 else -2.00000001", "def find_zero(xs):\n    return -0.5"),
    ],
)  # fmt: skip
def test_results_are_held_against_the_rows_own_solution(row, right, wrong):
    assert outcome(row, right) is Outcome.CORRECT
    assert outcome(row, wrong) is Outcome.WRONG


def test_the_question_is_asked_and_inputs_come_back_as_they_were():
    problem = code_rows.make_problem(FIND_CHAR_LONG, 1)
    assert "find all words" in problem.messages[0]["content"]
    assert len(problem.answer) == 8
    shared = code_rows.make_problem(SHARED, 1)
    assert [test.input for test in shared.answer] == [[(1, 2)], [()], [(3,)]]
    assert [test.input for test in code_rows.make_problem(MIXED, 1).answer] == [
        [(1, 5, (4, 6), 10)],
        [(2, (5, (7,)))],
        [(3, 4)],
    ]
    assert [test.input for test in code_rows.make_problem(POLAR, 1).answer] == [[1], [1 + 2j], [-0.001j]]
    assert {test.compare for test in problem.answer} == {"members"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"canonical_solution": "    return xs[9]\n"}, "input 1: raised IndexError"),
        ({"entry_point": ""}, "base_input without entry_point"),
        ({"base_input": [1]}, "lists of arguments"),
        ({"base_input": [], "plus_input": []}, "lists of arguments"),
    ],
)
def test_a_row_without_results_is_refused(change, words):
    with pytest.raises(AhaError, match=words):
        code_rows.make_problem({**NEAR, **change}, 1)


@pytest.mark.parametrize(
    ("rule", "tolerance", "expected", "results"),
    [
        ("near", 0.0, "1.5", {"1.5": True, "1.5000001": True, "1.51": False, "'1.5'": False, "True": False, "None": False}),
        ("near", 0.0, "3", {"3": True, "3.0": True, "3.0000001": False, "4": False}),
        ("near", 0.01, '{"tuple":[1.0,2]}', {"(1.0, 2)": True, "(1.005, 2)": True, "[1.0, 2]": False, "(1.1, 2)": False}),
        ("near", 0.0, '{"float":"inf"}', {"float('inf')": True, "1e300": False, "-float('inf')": False}),
        ("near", 0.0, '{"float":"nan"}', {"float('nan')": True, "0.0": False}),
        ("near", 0.0, "[1,[2.5]]", {"[1, [2.5]]": True, "[1, [2.6]]": False}),
        ("near", 0.0, "1000000000.0", {"1e9 + 50": True, "10**9": True, "10**9 + 50": False}),
        ("near", 0.01, "1.5", {"1.505": True, "__import__('decimal').Decimal('1.505')": False,
                               "__import__('fractions').Fraction(3, 2)": True}),
        ("near", 0.01, "[1.0,[2.0]]", {"[1.0, [2.0]]": True, "[1.0, [2.001]]": False}),
        ("near", 0.01, "[[1.0],[2.0]]", {"[(1.0,), [2.001]]": True, "[[1.0, 2.001]]": False, "[1.0, 2.0]": False}),
        ("near", 0.01, '{"dict":[["a",1.0]]}', {"{'a': 1}": True, "{'a': 1.001}": False}),
        ("near", 0.01, '["a",1.0]', {"['a', 1]": True, "['a', 1.001]": False}),
        ("near", 0.01, '{"complex":[1.5,1.0]}', {"1.5+1j": True, "1.501+1j": True, "1.6+1j": False, "1.5": False}),
        ("near", 0.0, '{"range":[0,3,1]}', {"range(3)": True, "range(0, 3)": True, "[0, 1, 2]": False}),
        ("members", 0.0, '["a","b"]', {"['b', 'a', 'a']": True, "{'a', 'b'}": True, "['a']": False, "'ab'": True,
                                       "{'a': 1, 'b': 2}": True, "None": False, "3": False}),
        ("members", 0.0, '"ab"', {"'ba'": True, "{'a': 0, 'b': 0}": True, "'abc'": False}),
        ("members", 0.0, "[0,1,2]", {"range(3)": True, "range(10**12)": False}),
        ("members", 0.0, "[1.0,2.0]", {"[2, 1]": True, "[1.0, 2.0000001]": True, "[2.0000001, 1.0]": False}),
        ("members", 0.0, "[]", {"{}": True, "''": True, "[0]": False}),
        ("either", 0.0, ["5", "7"], {"5": True, "7": True, "6": False}),
        ("something", 0.0, "true", {"True": True, "'yes'": True, "None": False, "False": False}),
        ("something", 0.0, "false", {"False": True, "None": True, "3": False}),
    ],
)  # fmt: skip
def test_when_a_result_is_the_expected_one(rule, tolerance, expected, results):
    for value, passes in results.items():
        code = f"def f():\n    return {value}\n"
        judgement = judge_function(code, "f", [([], expected)], compare=rule, tolerance=tolerance)
        assert judgement.passed is passes, value


def test_results_of_a_program_are_had_one_after_another():
    code = "def f(x):\n    return (x, [x])\n"
    assert results_of(code, "f", [[1], ["a"]]) == ['{"tuple":[1,[1]]}', '{"tuple":["a",["a"]]}']
    with pytest.raises(AhaError, match="input 2: raised ZeroDivisionError"):
        results_of("def f(x):\n    return 1 / x\n", "f", [[1], [0]])


@pytest.mark.parametrize(
    ("row", "programs"),
    [
        ({"task_id": "Mbpp/581", "entry_point": "surface_Area", "base_input": [[3, 4], [4, 5], [1, 2]], "plus_input": [],
          "prompt": '"""\nThe surface of a square pyramid.\n"""\n', "contract": "", "atol": 0,
          "canonical_solution": "\ndef surface_Area(b, s):\n    return 2 * b * s + pow(b, 2)\n"},
         {"def surface_Area(b, h):\n    return round(b * b + 2 * b * ((b / 2) ** 2 + h * h) ** 0.5)": True,
          "def surface_Area(b, h):\n    return b * b": False}),
        ({"task_id": "Mbpp/558", "entry_point": "digit_distance_nums", "base_input": [[1, 2], [123, 256], [5, 123]],
          "prompt": '"""\nThe distance of the digits.\n"""\n', "contract": "", "atol": 0, "plus_input": [],
          "canonical_solution": "\ndef digit_distance_nums(a, b):\n    return sum(map(int, str(abs(a - b))))\n"},
         {"def digit_distance_nums(a, b):\n    a, b = str(a).zfill(9), str(b).zfill(9)\n"
          "    return sum(abs(int(x) - int(y)) for x, y in zip(a, b))": True,
          "def digit_distance_nums(a, b):\n    return abs(a - b)": False}),
    ],
)  # fmt: skip
def test_questions_that_can_be_read_in_two_ways_take_both(row, programs):
    """Those of the package evalplus 0.3.1, which has a second oracle for them."""
    for program, right in programs.items():
        assert outcome(row, program) is (Outcome.CORRECT if right else Outcome.WRONG)
