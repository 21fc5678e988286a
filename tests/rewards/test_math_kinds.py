"""Kinds of answers that were once graded wrongly, each with others of its kind.

(gold, answer in the box, right verdict): True is correct, False is wrong, None could not be graded.
"""

from __future__ import annotations

import pytest

from aha.rewards.math import Outcome, verify

EXPECTED = {True: Outcome.CORRECT, False: Outcome.WRONG, None: Outcome.UNKNOWN}

LETTERS_THAT_ARE_UNITS = [
    ('12', '12V', True),
    ('\\pi', '2V', False),
    ('0.5', '0.5eV', True),
    ('0.5', '0.6eV', False),
    ('7', '7J', True),
    ('7', '7W', True),
    ('7', '7N', True),
    ('7', '7L', True),
    ('7', '7h^2', True),
    ('7', '7kPa', True),
    ('12\\text{ V}', '12000\\text{ mV}', True),
    ('12\\text{ V}', '12\\text{ W}', False),
    ('3 \\text{ keV}', '3000 \\text{ eV}', True),
]  # fmt: skip

TIMES_AND_RATIOS = [
    ('3:15', '6:30', False),
    ('12:00', '1:00', False),
    ('4:30', '2:15', False),
    ('3:15', '3:15', True),
    ('3:15', '03:15', True),
    ('3:15', '1:5', False),
    ('3:15', '\\frac15', False),
    ('3:15', '3:15:00', True),
    ('10:00', '5:00', False),
    ('7:30\\text{ a.m.}', '7:30', True),
    ('7:30\\text{ a.m.}', '7:30\\text{ p.m.}', False),
    ('5:30\\text{ PM}', '17:30', True),
    ('5:30\\text{ AM}', '17:30', False),
    ('12:15\\text{ AM}', '0:15', True),
    ('2:15\\text{ PM}', '1:30\\text{ PM}', False),
    ('1:2', '2:4', True),
    ('1:2', '10:20', True),
    ('2 : 3', '4 : 6', True),
    ('3:10', '\\frac{3}{10}', True),
    ('3:10', '6 : 20', True),
    ('0:5', '0:7', True),
    ('0:5', '7:0', False),
    ('0:1:2', '0:2:4', True),
    ('0:1:2', '0:1:3', False),
    ('1:0:0', '0:1:0', False),
    ('1:2:3', '2:4:6', True),
    ('1:2', '1:2:0', False),
]  # fmt: skip

RELATIONS_OF_CONSTANTS = [
    ('\\frac35 > \\frac47', '1 < 2', False),
    ('\\frac35 > \\frac47', '\\frac{3}{5}>\\frac{4}{7}', True),
    ('\\frac35 > \\frac47', '\\frac47 < 0.6', True),
    ('\\frac35 > \\frac47', '\\frac35 < \\frac47', False),
    ('\\frac35 > \\frac47', '2 > 1', False),
    ('2^{30} > 3^{20}', '2 > 1', False),
    ('1 < 2 < 3', '4 < 5 < 6', False),
    ('1 \\neq 2', '3 \\neq 4', False),
    ('\\pi > 3', '4 \\ge 3', False),
    ('\\pi > 3', '3 < \\pi', True),
    ('5 = 5', '1 = 1', False),
    ('2a < 4b', 'a < 2b', True),
]  # fmt: skip

DEGREES_IN_FUNCTIONS = [
    ('\\sin 20^\\circ', '\\cos 70^\\circ', True),
    ('\\sin 20^\\circ', '\\sin 20', False),
    ('\\sin 20', '\\sin 20^\\circ', False),
    ('\\sin 20^\\circ', '\\sin(20^\\circ)', True),
    ('\\sin 20^\\circ', '\\sin 20^{\\circ}', True),
    ('\\sin 20^\\circ', '\\sin 20°', True),
    ('\\sin 20^\\circ', '\\sin(20\\text{ degrees})', True),
    ('\\sin 20^\\circ', '\\sin\\frac{\\pi}{9}', True),
    ('\\sin 20^\\circ', '\\cos 20^\\circ', False),
    ('\\frac12', '\\sin 30^\\circ', True),
    ('\\frac12', '\\sin 30', False),
    ('2\\cos 36^\\circ', '\\frac{1+\\sqrt5}{2}', True),
    ('\\tan^2 60^\\circ', '3', True),
    ('\\tan 75\\degree', '2+\\sqrt{3}', True),
    ('2\\text{cis}60^\\circ', '1+i\\sqrt3', True),
    ('\\operatorname{cis} 90^\\circ', 'i', True),
    ('e^{i 90^\\circ}', 'i', True),
    ('30^\\circ', '\\arcsin\\frac12', True),
    ('\\frac{\\pi}{6}', '\\sin^{-1}\\frac12', True),
    ('90^\\circ-\\alpha', '90-\\alpha', True),
    ('30.5^\\circ', "30^\\circ 30'", True),
    ('30.25^\\circ', "30^\\circ 15^{\\prime}", True),
    ('30^\\circ 15\'', "30^\\circ 45'", False),
    ('20^\\circ C', '20^\\circ F', False),
    ('20^\\circ\\text{C}', '20', True),
]  # fmt: skip

SEVERAL_BOXES_IN_A_GOLD = [
    ('\\boxed{3} \\text{ and } \\boxed{-4}', '-4', False),
    ('\\boxed{3} \\text{ and } \\boxed{-4}', '3', False),
    ('\\boxed{3} \\text{ and } \\boxed{-4}', '3,-4', True),
    ('$\\boxed{3}$ and $\\boxed{-4}$', '-4, 3', True),
    ('\\boxed{3}, \\boxed{-4}', '3 \\text{ or } -4', True),
    ('\\boxed{3}, \\boxed{-4}', '\\{3\\}', False),
    ('$\\boxed{(1,2)}$ or $\\boxed{(2,1)}$', '(2,1)', False),
    ('$\\boxed{(1,2)}$ or $\\boxed{(2,1)}$', '(2,1),(1,2)', True),
    ('(a) $\\boxed{3}$ (b) $\\boxed{4}$', '4', False),
    ('(a) $\\boxed{3}$ (b) $\\boxed{4}$', '3, 4', True),
    ('Thus it is $\\boxed{7}$. Another way gives $\\boxed{7}$ again.', '7', True),
]  # fmt: skip

LETTERS_OF_OPTIONS = [
    ('A', 'A, B, C, D', False),
    ('A', 'A, 5', False),
    ('A', 'A; C', False),
    ('A', 'A/B', False),
    ('A', 'A B', False),
    ('A', 'AB', False),
    ('A', 'A、B', False),
    ('A', 'A & B', False),
    ('A', 'A \\text{ or } B', False),
    ('A', 'A或B', False),
    ('A', 'A. B', False),
    ('A', '(A)(B)', False),
    ('A', '(A), (B)', False),
    ('A', 'A) 5, B) 6', False),
    ('A', 'A. 5, B. 6', False),
    ('A', 'a, b, c', False),
    ('A', 'A?', False),
    ('A', '\\text{both A and C}', False),
    ('A', 'A', True),
    ('A', '\\text{A}', True),
    ('A', 'A.', True),
    ('A', 'A. 5', True),
    ('A', 'A: 5', True),
    ('A', '(A) 5', True),
    ('A', '\\textbf{(A) }5', True),
    ('A', 'A. \\text{Vitamin C}', True),
    ('A', 'A. 5, 6', True),
    ('A', 'A. \\text{I am}', True),
    ('B', '\\text{选项B}', True),
]  # fmt: skip

BROKEN_LINES = [
    ('7', '7\\8', False),
    ('7', '7\\\\8', False),
    ('56', '7\\\\8', False),
    ('7', '7 8', False),
    ('56', '7 8', False),
    ('7,8', '7\\\\8', True),
    ('7', '7\\\\', True),
    ('x=1,y=2', 'x=1 \\\\ y=2', True),
    ('50\\%', '50\\\\%', True),
    ('\\frac12', '\\\\frac{1}{2}', True),
]  # fmt: skip

CANCELLING_MAGNITUDES = [
    ('\\frac{126001}{51!}', '3x^2 - 12', False),
    ('\\frac{x}{51!}', '\\frac{x^2}{51!}', False),
    ('\\frac{x}{51!}', '\\frac{2x}{2\\cdot 51!}', True),
    ('x', 'x + 10^{-60}', False),
    ('225_8', '\\binom{2037171}{2019}', False),
    ('10\\text{ cm}', '10\\%', False),
]  # fmt: skip

ALL = (
    LETTERS_THAT_ARE_UNITS + TIMES_AND_RATIOS + RELATIONS_OF_CONSTANTS + DEGREES_IN_FUNCTIONS
    + SEVERAL_BOXES_IN_A_GOLD + LETTERS_OF_OPTIONS + BROKEN_LINES + CANCELLING_MAGNITUDES
)  # fmt: skip


@pytest.mark.parametrize(("gold", "answer", "right"), ALL)
def test_kind(gold: str, answer: str, right: bool | None) -> None:
    assert verify(gold, f"\\boxed{{{answer}}}").outcome is EXPECTED[right], verify(
        gold, f"\\boxed{{{answer}}}"
    )
