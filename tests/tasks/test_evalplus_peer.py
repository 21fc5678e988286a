"""Every pair of values held against each other by the package evalplus and here: `pip install --target FOLDER
evalplus`, and PYTHONPATH=FOLDER."""

from __future__ import annotations

import pytest

from aha.sandbox import judge_function, results_of

pytestmark = pytest.mark.peers
TEXT = """1.5 1.5000001 1.500002 1.51 1 1.0 True False None 'a' 'ab' b'a' 1e9 1e9+50 1e9+150 10**9 10**9+50 10**30
10**30+1 float(10**30) float('inf') -float('inf') float('nan') [1.0,2.0] [1.0,2.0000001] [1.0,2.1] (1.0,2.0)
(1.0,2.0000001) [1,2] [1,2.0000001] [2,1] [1.0] [] () {} set() [[1.0],[2.0]] [[1.0],[2.0000001]] [1.0,[2.0]]
[1.0,[2.0000001]] {'a':1.0} {'a':1.0000001} {1:2} {1,2} [1,2,2] frozenset([1,2]) ['a','b'] ('b','a') {'a','b'}
{'a':0,'b':0} 1+0j 1.5+1j 1.5000001+1j [1.0,float('nan')] [1.0,float('inf')] [True,2.0] [1.0000001,2.0] ['a',1.0]
['a',1.0000001] '1.5' __import__('decimal').Decimal('1.5') __import__('fractions').Fraction(3,2) range(3) [0,1,2]
[None] [1.0,None]"""
VALUES = TEXT.split()
RULES = {"near": ("humaneval", "f"), "members": ("mbpp", "Diff"), "something": ("mbpp", "check_str")}


def program(name):
    return f"def {name}(i):\n    return [{', '.join(f'lambda: {value}' for value in VALUES)}][i]()\n"


def differs_by_intent(rule, expected, value):
    """Not a number is near to itself here. A solution that returns False says no; the package takes it for a yes, which
    the solution itself then fails."""
    return ("nan" in expected and "nan" in value) or (rule == "something" and expected == "False")


@pytest.mark.parametrize(
    ("rule", "atol"), [("near", 0.0), ("near", 1e-6), ("near", 0.01), ("members", 0.0), ("something", 0.0)]
)
def test_the_package_judges_as_we_do(rule, atol):
    evalplus = pytest.importorskip("evalplus.eval")
    dataset, name = RULES[rule]
    numbers = range(len(VALUES))
    for shown in VALUES:
        expected = eval(shown)
        if rule == "members" and not hasattr(expected, "__iter__"):
            continue
        (text,) = results_of(f"def f():\n    return {shown}\n", "f", [[]])
        theirs = expected is not None if rule == "something" else expected
        _, passed = evalplus.untrusted_check(
            dataset,
            program(name),
            [[i] for i in numbers],
            name,
            [theirs] * len(VALUES),
            atol,
            [0.1] * len(VALUES),
        )
        ours = judge_function(program("f"), "f", [([i], text) for i in numbers], compare=rule, tolerance=atol)
        differing = {
            value
            for value, package, result in zip(VALUES, passed, ours.results, strict=True)
            if bool(package) is not result.passed and not differs_by_intent(rule, shown, value)
        }
        assert not differing, shown
