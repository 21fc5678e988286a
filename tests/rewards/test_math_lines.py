"""Vectors as sums, lines and families in parametric form, and what kind of number a letter is said to be.

(gold, answer in the box, whether it is correct). Beside every right answer stand at least two wrong ones.
"""

from __future__ import annotations

import pytest

from aha.rewards.math import Outcome, verify

TUPLES = [
    *[('(1,2)+t(3,4)', answer, right) for answer, right in (
        ('(1,2)+s(3,4)', True), ('(1,2)+\\lambda(3,4)', True), ('(1+3s,2+4s)', True), ('(1,2)+s(6,8)', True),
        ('(4,6)+s(3,4)', True), ('(1,2)-s(3,4)', True), ('\\langle 1,2\\rangle+s\\langle 3,4\\rangle', True),
        ('(1,2)+s(3,5)', False), ('(1,3)+s(3,4)', False), ('(3,4)+s(1,2)', False), ('(1,2)+t(3,5)', False),
        # with the letter of the reference it could be the place at a time
        ('(1,2)+t(6,8)', False), ('(4,6)+t(3,4)', False), ('(1,2)', False), ('(1,2,0)+s(3,4,0)', False))],
    ('(1+3t,2+4t)', '(1,2)+s(3,4)', True),
    ('(1+3t,2+4t)', '(1,2)+s(6,8)', False),
    ('(1+3t,2+4t)', '(1,2)+s(4,3)', False),
    ('(1,2)+t(3,4), t \\in \\mathbb{R}', '(1,2)+s(3,4)', True),
    ('(1,2)+t(3,4), t \\in \\mathbb{Z}', '(1,2)+s(6,8)', False),
    ('(1,2)+n(3,4)', '(1,2)+s(6,8)', False),
    ('(1,2)+t(3,4), t \\ge 0', '(1,2)+s(-3,-4), s \\ge 0', False),
    ('\\{(1,2)+t(3,4) : t \\in \\mathbb{R}\\}', '\\{(1,2)+s(3,4) : s \\in \\mathbb{R}\\}', True),
    ('\\{(1,2)+t(3,4) : t \\in \\mathbb{R}\\}', '\\{(1,2)+s(4,3) : s \\in \\mathbb{R}\\}', False),
    ('\\mathbf{r}=(1,2,3)+t(1,0,-1)', '\\vec{r}=(1,2,3)+\\lambda(1,0,-1)', True),
    ('\\mathbf{r}=(1,2,3)+t(1,0,-1)', '\\vec{r}=(1,2,3)+\\lambda(1,0,1)', False),
    ('\\mathbf{r}=(1,2,3)+t(1,0,-1)', '\\mathbf{r}=(1,2,4)+s(1,0,-1)', False),
    ('(1,2,3)+s(1,0,0)+t(0,1,0)', '(1,2,3)+u(1,0,0)+v(0,1,0)', True),
    ('(1,2,3)+s(1,0,0)+t(0,1,0)', '(1,2,3)+u(1,0,0)+v(0,0,1)', False),
    ('(1,2,3)+s(1,0,0)+t(0,1,0)', '(1,2,3)+u(1,0,0)', False),
    ('2(1,2)', '(2,4)', True),
    ('2(1,2)', '(1,2)', False),
    ('2(1,2)', '(2,2)', False),
    ('t(1,2)', 's(1,2)', True),
    ('t(1,2)', 's(2,1)', False),
    ('t(1,2)', '(1,2)', False),
    ('(0,1)\\cup(2,3)', '(0,1)+(2,3)', False),
    ('f(1,2)', 'f(2,1)', False),
    ('P(1,2)', 'P(2,4)', False),
]  # fmt: skip

_LINE = "\\begin{pmatrix}1\\\\2\\end{pmatrix}+t\\begin{pmatrix}3\\\\4\\end{pmatrix}"
_SOLUTION = "c_1\\begin{pmatrix}1\\\\2\\end{pmatrix}e^{t}+c_2\\begin{pmatrix}1\\\\-1\\end{pmatrix}e^{-t}"
COLUMNS = [
    (_LINE, _LINE.replace('+t', '+s'), True),
    (_LINE, _LINE.replace('4', '5'), False),
    (_LINE, _LINE.replace('+t', '+s').replace('2', '3'), False),
    (_LINE, '\\begin{pmatrix}1+3s\\\\2+4s\\end{pmatrix}', True),
    (_LINE, '\\begin{pmatrix}1+4s\\\\2+3s\\end{pmatrix}', False),
    ('c\\begin{pmatrix}1\\\\2\\end{pmatrix}', 'k\\begin{pmatrix}1\\\\2\\end{pmatrix}', True),
    ('c\\begin{pmatrix}1\\\\2\\end{pmatrix}', 'k\\begin{pmatrix}2\\\\1\\end{pmatrix}', False),
    ('c\\begin{pmatrix}1\\\\2\\end{pmatrix}', '\\begin{pmatrix}1\\\\2\\end{pmatrix}', False),
    (_SOLUTION, _SOLUTION.replace('c_1', 'A').replace('c_2', 'B'), True),
    (_SOLUTION, _SOLUTION.replace('c_1', 'B').replace('c_2', 'A'), True),
    (_SOLUTION, _SOLUTION.replace('e^{t}', 'e^{2t}'), False),
    (_SOLUTION, _SOLUTION.replace('-1', '1'), False),
    ('\\begin{pmatrix}a\\\\b\\end{pmatrix}', '\\begin{pmatrix}b\\\\a\\end{pmatrix}', False),
    ('\\begin{pmatrix}a\\\\b\\end{pmatrix}', '\\begin{pmatrix}c\\\\d\\end{pmatrix}', False),
]  # fmt: skip

BY_NAME = [
    ('x=1+3t, y=2+4t', 'x=1+3s, y=2+4s', True),
    ('x=1+3t, y=2+4t', 'x=1+3s, y=2+5s', False),
    ('x=1+3t, y=2+4t', 'x=2+4s, y=1+3s', False),
    ('x=a, y=b', 'x=c, y=d', False),
    ('x=a, y=b', 'x=b, y=a', False),
]  # fmt: skip

MARKED = [
    ('\\mathbf{a}+t\\mathbf{b}', '\\mathbf{a}+s\\mathbf{b}', True),
    ('\\mathbf{a}+t\\mathbf{b}', '\\mathbf{b}+s\\mathbf{a}', False),
    ('\\mathbf{a}+t\\mathbf{b}', '\\mathbf{a}+t\\mathbf{c}', False),
    ('\\mathbf{r}=\\mathbf{a}+t\\mathbf{b}', '\\mathbf{r}=\\mathbf{a}+\\lambda\\mathbf{b}', True),
    ('\\vec{u}+t\\vec{v}', '\\vec{u}+s\\vec{v}', True),
    ('\\vec{u}+t\\vec{v}', '\\vec{u}+t\\vec{k}', False),
    ('\\vec{u}+t\\vec{v}', '\\vec{v}+s\\vec{u}', False),
    ('a+tb', 'a+sb', False),
    ('a+tb', 'b+ta', False),
]  # fmt: skip

KINDS = [
    ('(t,2t), t \\in \\mathbb{Z}', '(t,2t), t \\in \\mathbb{Z}', True),
    ('(t,2t), t \\in \\mathbb{Z}', '(t,2t), t \\in \\mathbb{R}', False),
    ('(t,2t), t \\in \\mathbb{R}', '(s,2s), s \\in \\mathbb{Z}', False),
    ('2n-1, n\\in\\mathbb{N}', '2n-1, n\\in\\mathbb{Z}^+', True),
    ('2n-1, n\\in\\mathbb{N}', '2n-1, n\\in\\mathbb{Z}', False),
    ('2n-1, n\\in\\mathbb{N}', '2n-1, n\\in\\mathbb{R}', False),
    ('k\\pi, k\\in\\mathbb{Z}', 'k\\pi', True),
    ('k\\pi, k\\in\\mathbb{Z}', 'k\\pi, k\\in\\mathbb{N}', False),
    ('k\\pi, k\\in\\mathbb{Z}', 'k\\pi, k\\in\\mathbb{R}', False),
]  # fmt: skip

# Before the condition of a set must stand its variable, a real number, for it to be an interval.
SETS = [
    ('\\{x : x>2\\}', '(2,\\infty)', True),
    ('\\{x_1 : x_1>2\\}', '(2,\\infty)', True),
    ('\\{x\\in\\mathbb{R} : x>2\\}', '(2,\\infty)', True),
    ('(2,\\infty)', '\\{2x : x>2\\}', False),
    ('(2,\\infty)', '\\{y : x>2\\}', False),
    ('(2,\\infty)', '\\{(x,y) : x>2\\}', False),
    ('\\{x^2 : x>2\\}', '(2,\\infty)', False),
    ('(-\\infty,\\infty)', '\\{t^2 : t\\in\\mathbb{R}\\}', False),
    ('\\{x\\in\\mathbb{Z} : x>2\\}', '(2,\\infty)', False),
    ('\\{x\\in\\mathbb{Z} : x>2\\}', '\\{x\\in\\mathbb{R} : x>2\\}', False),
    ('\\{x\\in\\mathbb{Z} : x>2\\}', '\\{n\\in\\mathbb{Z} : n>2\\}', True),
    ('x>2', '\\{n\\in\\mathbb{N} : n>2\\}', False),
]  # fmt: skip


@pytest.mark.parametrize(("gold", "answer", "right"), [*TUPLES, *COLUMNS, *BY_NAME, *MARKED, *KINDS, *SETS])
def test_line(gold: str, answer: str, right: bool) -> None:
    verdict = verify(gold, f"\\boxed{{{answer}}}")
    assert verdict.outcome is (Outcome.CORRECT if right else Outcome.WRONG), verdict
