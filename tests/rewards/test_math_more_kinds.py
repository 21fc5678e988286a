"""More answers of kinds that were graded wrongly: other units, notations, names, wrappers.

(gold, answer in the box, whether it is correct); in ``SEVERAL_BOXES_IN_AN_OUTPUT`` the whole output.
"""

from __future__ import annotations

import pytest

from aha.rewards.math import Outcome, verify

UNITS = [
    ('12', '12A', True),
    ('3', '3mA', True),
    ('6', '6 lm', True),
    ('\\frac{1}{2}', '\\frac{1}{2}\\Omega', True),
    ('5', '5\\,\\Omega', True),
    ('10', '10\\mu m', True),
    ('10', '10\\,\\mu\\text{F}', True),
    ('1', '1 bar', True),
    ('5\\text{ ms}', '0.005\\text{ s}', True),
    ('1\\text{ MPa}', '1000\\text{ kPa}', True),
    ('1\\text{ bar}', '100\\text{ kPa}', True),
    ('2\\text{ hectares}', '20000\\text{ m}^2', True),
    ('1\\text{ decade}', '10\\text{ years}', True),
    ('1\\text{ century}', '100\\text{ years}', True),
    ('1\\text{ cL}', '10\\text{ mL}', True),
    ('2\\text{ fortnights}', '4\\text{ weeks}', True),
    ('5\\,\\mu\\text{m}', '0.005\\text{ mm}', True),
    ('5 \\text{ rpm}', '5\\text{ rev/min}', True),
    ('2\\text{ tablespoons}', '6\\text{ teaspoons}', True),
]  # fmt: skip

EQUATIONS = [
    ('|z-i|=2', '|z+i|=2', False),
]  # fmt: skip

TIMES_AND_RATIOS = [
    ('6:00', "6\\text{ o'clock}", True),
    ('6\\text{ PM}', '6', True),
    ('noon', '12:00\\text{ PM}', True),
    ('4:15 p.m.', '16h15', True),
    ('16:15', '16h15', True),
    ('3:2', '3{:}2', True),
    ('5\\text{ out of }8', '\\frac58', True),
    ('\\frac{5}{8}', '5\\text{ out of }8', True),
    ('1\\text{ in }4', '\\frac14', True),
    ('AB:BC=1:2', 'AC:BC=1:2', False),
]  # fmt: skip

DEGREES = [
    ("\\sin 30^\\circ 15'", '\\sin 30.25^\\circ', True),
    ('\\tan 22.5^\\circ', "\\tan 22^\\circ 30'", True),
    ('\\sin(30\\deg)', '0.5', True),
]  # fmt: skip

SEVERAL_BOXES = [
    ('$x=\\boxed{2}$ and $y=\\boxed{5}$', '2,5', True),
    ('$x=\\boxed{2}$ and $y=\\boxed{5}$', '5', False),
    ('(1) \\boxed{4}; (2) \\boxed{6}', '6', False),
    ('(1) \\boxed{4}; (2) \\boxed{6}', '4,6', True),
    ('(1) \\boxed{4}; (2) \\boxed{6}', '4;6', True),
    ('\\boxed{5} and also \\boxed{-5}', '\\pm 5', True),
    ('\\boxed{5} and also \\boxed{-5}', '-5', False),
    ('\\boxed{5} as well as \\boxed{-5}', '-5', False),
    ('i) \\boxed{5} ii) \\boxed{-5}', '-5', False),
]  # fmt: skip

OPTIONS = [
    ('B', 'B \\text{ und } C', False),
    ('B', 'B\\text{ is wrong}', False),
    ('B', 'B、5', True),
    ('B. 12', 'B', True),
]  # fmt: skip

STATEMENTS = [
    ('\\mathbb{E}[X]=3.5', 'E(X)=3.5', True),
    ('f^{-1}(x)=\\frac{x-1}{2}', '\\frac{x-1}{2}', True),
    ('\\frac{\\partial f}{\\partial x}=2xy', '2xy', True),
    ('A^{2}=\\begin{bmatrix}1&0\\\\0&1\\end{bmatrix}', '\\begin{pmatrix}1&0\\\\0&1\\end{pmatrix}', True),
    ('\\sum_{i=1}^{n} i=\\frac{n(n+1)}{2}', '\\frac{n(n+1)}{2}', True),
    ('A=\\pi r^2=25\\pi', '25\\pi', True),
    ('5!=120', '5! = 120', True),
    ('\\neg p', '\\lnot p', True),
    ('x\\notin\\{1,2\\}', 'x \\neq 1, 2', True),
    ('x\\ne 1,2', 'x \\neq 1, x\\neq 2', True),
    ('E(X)=3', 'Var(X)=3', False),
    ('A\\subseteq B', 'B\\subseteq A', False),
    ('p \\land q', 'p\\lor q', False),
    ('\\neg p', 'p', False),
    ('x\\mid y', 'y\\mid x', False),
    ('AB\\parallel CD', 'AB\\perp CD', False),
    ('2\\nmid n', '2\\mid n', False),
    ('A\\cup B', 'A\\cap B', False),
    ('A\\setminus B', 'B\\setminus A', False),
    ('x\\in\\{1,2\\}', 'x\\notin\\{1,2\\}', False),
    ('\\triangle ABC\\cong\\triangle DEF', '\\triangle ABC\\sim\\triangle DEF', False),
]  # fmt: skip

CHINESE = [
    ('1公顷', '10000平方米', True),
    ('上午8:30', '8:30', True),
    ('2024年7月5日', '2024-07-05', True),
    ('3人', '3 people', True),
    ('7', '7以上', False),
    ('7', '7多', False),
]  # fmt: skip

SEPARATORS = [
    ('1234567', "1'234'567", True),
    ('1234567', '1\\thinspace 234\\thinspace 567', True),
    ('1234567', '1_234_567', True),
    ('1234567', '1{,}\\,234{,}\\,567', True),
    ('0.123456', '0.123 456', True),
    ('12345', '12\\text{,}345', True),
    ('12345', '12{\\text{,}}345', True),
    ('12345', '12\\mathord{,}345', True),
    ('12345', '12\\mathpunct{,}345', True),
    ('2{,}5', '2.5', True),
    ('2.5', '2{,}5', True),
]  # fmt: skip

FRACTIONS = [
    ('\\frac{7}{9}', '^7/_9', True),
    ('\\frac{7}{9}', '{}^7\\!/\\!_9', True),
    ('\\frac{7}{9}', '{}^{7}/_{9}', True),
    ('\\frac{7}{9}', '⁷⁄₉', True),
    ('\\frac{7}{9}', '\\genfrac{}{}{}{0}{7}{9}', True),
    ('\\frac{7}{9}', '7 \\text{ over } 9', True),
    ('720', 'A_{10}^3', True),
    ('720', '{}_{10}P_3', True),
    ('\\binom{n}{k}', 'C_n^k', True),
]  # fmt: skip

BRACKETS = [
    ('9 (in)', '9', True),
    ('9 (\\%)', '9', True),
    ('9', '9 (in)', True),
    ('9', '9 (wrong)', False),
    ('9', '9 (not sure)', False),
    ('9', '9 (at most)', False),
    ('9', '9 (at least)', False),
    ('9', '9（以上）', False),
    ('9', '9 (\\text{impossible})', False),
]  # fmt: skip

TYPES = [
    ('\\mathbb{R}', '\\text{any real number}', True),
    ('\\mathbb{R}^+', '(0,\\infty)', True),
    ('(0,\\infty)', '\\mathbb{R}^+', True),
    ('(0,\\infty)', '\\mathbb{R}_{>0}', True),
    ('[0,\\infty)', '\\mathbb{R}_{\\ge 0}', True),
    ('(0,\\infty)', '\\text{all positive real numbers}', True),
    ('(-\\infty,0)', '\\text{all negative real numbers}', True),
    ('\\mathbb{R}\\setminus\\{0,1\\}', 'x \\neq 0, 1', True),
    ('x=3,y=-1', '\\left\\{\\begin{aligned}x&=3\\\\y&=-1\\end{aligned}\\right.', True),
    ('x=3,y=-1', '\\begin{pmatrix}x\\\\y\\end{pmatrix}=\\begin{pmatrix}3\\\\-1\\end{pmatrix}', True),
    ('(3,-1)', '\\begin{cases} y = -1 \\\\ x = 3 \\end{cases}', True),
    ('(x,y)=(3,-1)', 'x=3,y=-1', True),
    ('(x,y)=(3,-1)', '(y,x)=(-1,3)', True),
]  # fmt: skip

SETS = [
    ('\\pm 3', '+/- 3', True),
    ('\\pm 1 \\pm i', '1+i,1-i,-1+i,-1-i', True),
    ('\\pm 1\\pm i', '1+i,-1-i', False),
    ('(-\\infty,-1]\\cup[1,\\infty)', '|x|\\ge1', True),
    ('(-1,1)', '|x|<1', True),
    ('(2,3)\\cup(3,4)', '(2,4)\\setminus\\{3\\}', True),
    ('\\emptyset', '\\text{There is no solution}', True),
]  # fmt: skip

MATRICES = [
    ('\\begin{pmatrix}2\\\\-1\\end{pmatrix}', '[2,-1]^T', True),
    ('\\begin{pmatrix}2\\\\-1\\end{pmatrix}', '(2,-1)^T', True),
    ('\\begin{pmatrix}2\\\\-1\\end{pmatrix}', '(2, -1)^{\\top}', True),
    ('\\begin{pmatrix}2\\\\-1\\end{pmatrix}', '2\\mathbf{i}-\\mathbf{j}', True),
    ('\\begin{pmatrix}2\\\\-1\\end{pmatrix}', '\\binom{2}{-1}', True),
    ('\\begin{pmatrix}2\\\\-1\\end{pmatrix}', '\\dbinom{2}{-1}', True),
    ('\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}', '\\begin{pmatrix}1&2\\\\[4pt]3&4\\end{pmatrix}', True),
    ('\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}', '\\begin{pmatrix}1 & 2 \\cr 3 & 4\\end{pmatrix}', True),
    ('\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}', '\\begin{pmatrix}1&2\\\\ \\hline 3&4\\end{pmatrix}', True),
    ('\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}', '[1,2;3,4]', True),
    ('\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}', '((1,2),(3,4))', True),
]  # fmt: skip

MORE = [
    ('(\\pm 3, 0)', '(3,0),(-3,0)', True),
    ('(3,0),(-3,0)', '(\\pm 3,0)', True),
    ('(0,\\pm\\sqrt5)', '(0,\\sqrt5),(0,-\\sqrt5)', True),
    ('(\\pm 1,\\mp 1)', '(1,-1),(-1,1)', True),
    ('x\\notin\\{1,2\\}', 'x \\in\\{1, 2\\}', False),
    ('x\\in\\{1,2\\}', 'x \\notin\\{1, 2\\}', False),
    ('(2,4)\\setminus\\{3\\}', '(2,3)\\cup(3,4)', True),
    ('[0,4]\\setminus\\{4\\}', '[0,4)', True),
    ('|x|<2', '(-2,2)', True),
    ('(-2,2)', '|x|<2', True),
    ('|x|<2', '-2<x<2', True),
    ('|x-1|\\ge 3', '(-\\infty,-2]\\cup[4,\\infty)', True),
    ('|x-1|\\ge 3', 'x\\le-2\\text{ or }x\\ge 4', True),
    ('|2x-1|<3', '-1<x<2', True),
    ('3>|2x-1|', '-1<x<2', True),
    ('|x|>0', 'x\\ne 0', True),
    ('|a|\\le 1', '[-1,1]', True),
    ('\\mathbb{R}^+', 'x>0', True),
    ('\\mathbb{R}^{+}', '\\mathbb{R}_{+}', True),
    ('\\mathbb{R}_{\\geq 0}', '[0,\\infty)', True),
    ('x>0', '\\text{positive real numbers}', True),
    ('x \\in \\mathbb{R}^+', 'x>0', True),
    ('\\tan 22.5^\\circ', '\\tan 22^\\circ 30^{\\prime}', True),
    ('\\tan 22.5^\\circ', "\\tan(22^\\circ 30')", True),
    ('\\sin 10.5^\\circ', "\\sin 10^\\circ 29' 60''", True),
    ('6:00', "6 o'clock", True),
    ('\\frac58', '5\\text{ out of }8', True),
    ('1\\text{ in }4', '0.25', True),
    ('\\frac79', '7\\text{ over }9', True),
    ('4:7', '4\\text{ is to }7', True),
    ('下午3:05', '15:05', True),
    ('x=3,y=-1', '(y,x)=(3,-1)', False),
    ('A\\cap B', 'A\\cup B', False),
    ('A\\subset B', 'A\\subseteq B', True),
    ('p\\lor\\neg q', 'p\\lor q', False),
    ('p\\lor\\neg q', 'p\\lor\\lnot q', True),
    ('a\\parallel b', 'a\\perp b', False),
    ('l\\perp\\alpha', 'l\\parallel\\alpha', False),
    ('x\\in A', 'x\\notin A', False),
    ('A,C', 'A \\text{ or } C', False),
]  # fmt: skip

DAYS = [
    ('July 5', '5 July', True),
    ('July 5', 'July 5th', True),
    ('July 5', 'Jul 5', True),
    ('July 5, 2024', '5 July 2024', True),
    ('July 5, 2024', '2024-07-05', True),
    ('2024-07-05', '2012', False),
    ('2012', '2024-07-05', False),
    ('7月5日', 'July 5', True),
    ('March 1', '1st of March', True),
    ('\\text{December 25}', '\\text{25 December}', True),
]  # fmt: skip

MONEY = [
    ('\\$1,250', '\\$1.25\\text{ thousand}', True),
    ('\\$1250000', '\\$1.25\\text{ million}', True),
    ('\\$3\\text{ billion}', '3000000000', True),
    ('50\\text{ cents}', '50¢', True),
    ('50', '50¢', True),
    ('20', '₹20', True),
    ('20', '₽20', True),
    ('20', '20₫', True),
]  # fmt: skip

PERCENT = [
    ('25\\%', '25\\text{ per cent}', True),
]  # fmt: skip

NUMERALS = [
    ('1234.5', '1.234,5', True),
    ('1234.5', '1 234,5', True),
    ('3.14', '3٫14', True),
    ('25', '٢٥', True),
    ('25', '२५', True),
    ('6.02\\times10^{23}', '6.02x10^{23}', True),
    ('6.02\\times10^{23}', '6.02 × 10²³', True),
    ('1.5\\text{ million}', '1500000', True),
    ('1.5\\text{ million}', '1.5', False),
    ('1/3', '.\\overline{3}', True),
]  # fmt: skip

SEVERAL_BOXES_IN_AN_OUTPUT = [
    ('-3', '$k=\\boxed{5}$ or $k=\\boxed{-3}$', False),
    ('5,-3', '$k=\\boxed{5}$ or $k=\\boxed{-3}$', True),
    ('k=5,k=-3', '$k=\\boxed{5}$ or $k=\\boxed{-3}$', True),
    ('x=2,y=5', '$x = \\boxed{2}$ and $y = \\boxed{5}$', True),
    ('(2,5)', '$x = \\boxed{2}$, $y = \\boxed{5}$', True),
    ('5', '$x = \\boxed{2}$, $y = \\boxed{5}$', False),
    ('6', '(1) $\\boxed{4}$\n\n(2) $\\boxed{6}$', False),
    ('6', '①\\boxed{4} ②\\boxed{6}', False),
    ('6', 'Part 1: \\boxed{4}. Part 2: \\boxed{6}', False),
    ('x=1,x=3', '$x_1=\\boxed{1}$, $x_2=\\boxed{3}$', True),
    ('f(x)=2x+1,f(x)=-2x-1', '$f(x)=\\boxed{2x+1}$ or $f(x)=\\boxed{-2x-1}$', True),
    ('-2x-1', '$f(x)=\\boxed{2x+1}$ or $f(x)=\\boxed{-2x-1}$', False),
    ('73', '\\boxed{\\textcolor{red}{73}}', True),
    ('73', '\\boxed{\\colorbox{yellow}{73}}', True),
    ('73', '\\boxed{73 \\ \\checkmark}', True),
    ('73', '\\boxed{73 \\blacksquare}', True),
    ('73', '\\boxed{\\ensuremath{73}}', True),
    ('73', '\\boxed{\\scriptsize 73}', True),
    ('73', '\\boxed{\\normalfont 73}', True),
    ('73', '\\boxed{\\therefore 73}', True),
    ('73', '\\boxed{= 73}', True),
]  # fmt: skip

ALL = [
    *UNITS,
    *EQUATIONS,
    *TIMES_AND_RATIOS,
    *DEGREES,
    *SEVERAL_BOXES,
    *OPTIONS,
    *STATEMENTS,
    *CHINESE,
    *SEPARATORS,
    *FRACTIONS,
    *BRACKETS,
    *TYPES,
    *SETS,
    *MATRICES,
    *MORE,
    *DAYS,
    *MONEY,
    *PERCENT,
    *NUMERALS,
]


@pytest.mark.parametrize(("gold", "answer", "correct"), ALL)
def test_answer(gold: str, answer: str, correct: bool) -> None:
    verdict = verify(gold, f"\\boxed{{{answer}}}")
    assert (verdict.outcome is Outcome.CORRECT) == correct, verdict


@pytest.mark.parametrize(("gold", "output", "correct"), SEVERAL_BOXES_IN_AN_OUTPUT)
def test_output(gold: str, output: str, correct: bool) -> None:
    verdict = verify(gold, output)
    assert (verdict.outcome is Outcome.CORRECT) == correct, verdict
