# ruff: noqa: E501
"""Families with arbitrary letters, domains, names, vectors, cases; and golds of public sets that look unusual.

(gold, answer in the box, right verdict): True is correct, False is wrong, None could not be graded.
"""

from __future__ import annotations

import re

import pytest
from test_math_kinds import EXPECTED

from aha.rewards.math import Outcome, parse_gold, verify

OTHER_LETTERS = [
    ("y = C_1 e^{x} + C_2 e^{-x}", "y = A e^x + B e^{-x}", True),
    ("y = C_1 e^{x} + C_2 e^{-x}", "y = c_1 e^{-x} + c_2 e^{x}", True),
    ("y = C_1 e^{x} + C_2 e^{-x}", "y = C_1 e^{2x} + C_2 e^{-x}", False),
    ("y = C_1 e^{x} + C_2 e^{-x}", "y = e^{x} + e^{-x}", False),
    ("y = C_1 e^{x} + C_2 e^{-x}", "y = C_1(e^{x} + e^{-x})", False),
    (r"\frac{x^3}{3}+C", r"\frac{x^3}{3}+c", True),
    (r"\frac{x^3}{3}+C", r"\frac{x^3}{3}+x", False),
    (r"\frac{x^3}{3}+C", r"\frac{x^3}{3}+e", False),
    ("f(x)=cx", "f(x)=kx", True),
    ("f(x)=cx", "f(x)=x", False),
    ("f(x)=cx", "f(x)=cx+1", False),
    ("f(x)=cx", "f(x)=xx", False),
    ("f(n) = n + c", "f(n)=n+k", True),
    ("(2^k, 2^k)", "(2^n, 2^n)", True),
    ("(2^k, 2^k)", "(2^n, 2^k)", False),
    ("(n, n+1)", "(k,k+1)", True),
    ("(n, n+1)", "(k+1,k)", False),
    (r"x = \frac{\pi}{4} + k\pi", r"x = \frac{\pi}{4}+n\pi, n\in\mathbb{Z}", True),
    (r"x = \frac{\pi}{4} + k\pi", r"x = \frac{\pi}{3}+n\pi", False),
    (r"y=e^{3 x / 2}\left(c_{1}+c_{2} x\right)+e^{-3 x / 2}\left(c_{3}+c_{4} x\right)", r"C_1 e^{1.5x} + C_2 x e^{1.5x} + C_3 e^{-1.5x} + C_4 x e^{-1.5x}", True),
    ("y^{2}=-x+k", "y^2 + x = C", True),
    ("y^{2}=-x+k", "y^2 + 2x = C", False),
    ("y^{2}=-x+k", "y^2 + x = 3", False),
    ("x^2-y^2=C", "y^2-x^2=K", True),
    ("y^2 (y - 3x) = C", "y^3-3xy^2=c", True),
    ("y=c e^{-x^{2}}", "y = C e^{-x^2}", True),
    ("y=c e^{-x^{2}}", "y = C e^{x^2}", False),
    (r"y(x)=\frac{1}{x+C}", r"y = \frac{1}{x+c}", True),
    ("F = kx", "F = Cx", False),
    ("A", "B", False),
    ("AB", "AC", False),
    ("2a+b", "2c+b", False),
    (r"\frac12 k x^2", r"\frac12 m x^2", False),
]  # fmt: skip

DOMAINS = [
    (r"a_{n}=2 n-1\left(n \in N^{*}\right)", "a_n = 2n-1", True),
    (r"a_{n}=2 n-1\left(n \in N^{*}\right)", "a_n = 2n+1", False),
    ("a_{n}=2 n-1", r"a_n = 2n-1, n\in\mathbb{N}^*", True),
    ("a_{n}=2 n-1", r"2n-1 \text{ for } n \ge 1", True),
    (r"f(x)=kx \text{ for any constant } k", "f(x)=cx", True),
    (r"f(x) = a x + b \text{ where } a, b \in \mathbb{R}", "f(x)=ax+b", True),
    (r"(t, t, t), t \in \mathbb{R}", "(t,t,t)", True),
    (r"(t, t, t), t \in \mathbb{R}", "(t,t,-t)", False),
    (r"x>0", r"x>0, x\in\mathbb{R}", True),
    (r"f(x) = x, x > 3", "f(x) = x, x > 4", False),
    (r"1-P(X \ge 3)", r"1-P(X \ge 4)", False),
    ("t(0,4]", "0<t\\le 4", True),
    ("t(0,4]", "[0,4]", False),
]  # fmt: skip

NAMES = [
    ("x_1 = 1, x_2 = 2", "x_2 = 1, x_2 = 2", False),
    ("x_1 = 1, x_2 = 2", "x_1 = 2, x_2 = 1", False),
    ("x_1 = 1, x_2 = 2", "2, 1", True),
    ("x=1, y=2", "y=2, x=1", True),
    ("x=1, y=2", "y=1, x=2", False),
    ("x=1, y=2", "2, 1", False),
    ("x=1, y=2", "(1, 2)", True),
    (r"\mu = 3, \sigma = 2", "3, 2", True),
    (r"\mu = 3, \sigma = 2", "2, 3", False),
    ("E(X)=2.5, Var(X)=1.25", "E(X)=1.25, Var(X)=2.5", False),
    ("E(X)=2.5, Var(X)=1.25", r"\text{Var}(X) = \frac54, E(X) = \frac52", True),
    (r"$\angle B E A_{1}=90$,$\angle A E B_{1}=90$", r"\angle BEA_1 = 90^\circ, \angle AEB_1=90^\circ", True),
    (r"$\angle B E A_{1}=90$,$\angle A E B_{1}=90$", "90, 60", False),
    (r"(a,b,c)=(1,2,3) \text{ and its permutations}", r"(1,2,3) \text{ and permutations}", True),
    (r"(a,b,c)=(1,2,3) \text{ and its permutations}", "(1,2,3),(1,3,2),(2,1,3),(2,3,1),(3,1,2),(3,2,1)", True),
    (r"(a,b,c)=(1,2,3) \text{ and its permutations}", "(1,2,3)", False),
    (r"(1,2,3) \text{ and cyclic permutations}", "(1,2,3),(2,3,1),(3,1,2)", True),
    (r"\text{The first player wins}", r"\text{first player}", True),
    (r"\text{The first player wins}", r"\text{second player}", False),
    (r"\text{No such } n", r"\text{no such number exists}", True),
    (r"\text{No}", r"\text{no solution}", False),
    (r"k \text{ even}", r"k \text{ is even}", True),
    (r"k \text{ even}", r"k \text{ odd}", False),
]  # fmt: skip

STRUCTURES = [
    (r"2\mathbf{i} - 3\mathbf{j} + \mathbf{k}", "(2,-3,1)", True),
    (r"2\mathbf{i} - 3\mathbf{j} + \mathbf{k}", "(2,3,1)", False),
    (r"\langle 1, 2, 3 \rangle", r"\hat{i}+2\hat{j}+3\hat{k}", True),
    (r"\begin{pmatrix}1\\2\\0\end{pmatrix}", r"\mathbf{i}+2\mathbf{j}", True),
    ("(3, 4)", "3+4i", False),
    (r"Solution is: $\left[w=\frac{3}{2} y-1, x=\frac{2}{3}, z=\frac{1}{3}\right]$", r"\left[w=\frac{3}{2} y-1, x=\frac{2}{3}, z=\frac{1}{3}\right]", True),
    (r"y=e^{-2 t}\left(\frac{1}{10} \cos 4 t\right) \mathrm{m}", r"e^{-2t} (0.1 \cos 4t)", True),
    (r"y=e^{-2 t}\left(\frac{1}{10} \cos 4 t\right) \mathrm{m}", r"e^{-2t} (0.2 \cos 4t)", False),
    (r"5\mathrm{m}", r"500\text{ cm}", True),
    (r"5\mathrm{m}", r"5\text{ s}", False),
    (r"\text{max at } x=7", r"\text{min at } x=7", False),
    (r"\vec{F} = q \vec{v} \times \vec{B}", r"\vec F = q\vec v\times\vec B", True),
    (r"f(x)=\begin{cases} x & x\ge 0 \\ -x & x<0 \end{cases}", "f(x)=|x|", True),
    (r"f(x)=\begin{cases} x & x\ge 0 \\ -x & x<0 \end{cases}", "f(x)=x", False),
    (r"\begin{cases} 0 & x< 1 \\ 2 & x\ge1 \end{cases}", r"\begin{cases} 0 & x\le 0 \\ 0 & 0<x<1 \\ 2 & x\ge 1 \end{cases}", True),
    (r"\begin{cases} 0 & x< 1 \\ 2 & x\ge1 \end{cases}", r"\begin{cases} 0 & x\le 1 \\ 2 & x>1 \end{cases}", False),
    (r"\begin{cases} 0 & x< 1 \\ 2 & x\ge1 \end{cases}", r"\begin{cases} 0 & x< 0 \\ 2 & x\ge1 \end{cases}", False),
    (r"\begin{cases} 0 & x< 1 \\ 2 & x\ge1 \end{cases}", r"\begin{cases} 0 & x< 2 \\ 2 & x\ge1 \end{cases}", False),
    (r"n \equiv 1 \pmod 4", "n=4k+1", True),
    (r"n \equiv 1 \pmod 4", "n=4k+3", False),
    ("n=4k+1", r"n \equiv 5 \pmod 4", True),
    ("n=4k+1", r"n \equiv 1 \pmod 2", False),
    (r"(-\infty, 0) \cup\{1\}", r"x<0 \text{ or } x=1", True),
    (r"(-\infty, 0) \cup\{1\}", r"x<0 \text{ or } x=2", False),
    (r"\mathbb{R} - \{1\}", r"x\ne 1", True),
    (r"\mathbb{Z}/2\mathbb{Z}", r"\mathbb{Z}_2", True),
    (r"\mathbb{Z}/2\mathbb{Z}", r"\mathbb{Z}_3", False),
    (r"\varphi(n)", r"\phi(n)", True),
    ("(2n-1)!!", r"\frac{(2n)!}{2^n n!}", True),
    ("(2n-1)!!", "((2n-1)!)!", False),
    ("7!!", "105", True),
    ("①③", "①, ③", True),
    ("①③", "13", False),
    ("①③", "①②", False),
]  # fmt: skip

STEPS_AND_ENDS = [
    (r"\frac{1}{2} \log_3 2", r"\frac{1}{2}\log_32", True),
    (r"\frac{1}{2} \log_3 2", r"\frac{1}{2}\log_23", False),
    (r"\log_{10} x", r"\log_10 x", True),
    (r"\lfloor\frac{2 n-1}{5}\rfloor", r"\lfloor\frac{2 n-2}{5}\rfloor", False),
    (r"\lceil n / 2\rceil+1", r"\lfloor (n+1)/2 \rfloor+1", True),
    (r"\lfloor\sqrt{n-1}\rfloor", r"\lceil\sqrt{n}\rceil-1", True),
    (r"\lfloor\sqrt{n-1}\rfloor", r"\lfloor\sqrt{n}\rfloor", False),
    (r"\left\lfloor\log _{2} n\right\rfloor+1", r"\lceil\log_2 (n+1)\rceil", True),
    (r"\left\lfloor\log _{2} n\right\rfloor+1", r"\lceil\log_2 n\rceil", False),
    (r"\lfloor x \rfloor", r"\lceil x \rceil - 1", False),
    (r"\infty", r"-\infty", False),
    (r"\infty", r"+\infty", True),
    (r"[1,+\infty)", r"[1,-\infty)", False),
    (r"(-\infty,-5)", r"(\infty,-5)", False),
    (r"\infty", "?", False),
    (r"\emptyset", "?", False),
    (r"(-\infty,\infty)", "?", False),
]  # fmt: skip

ALL = [*OTHER_LETTERS, *DOMAINS, *NAMES, *STRUCTURES, *STEPS_AND_ENDS]


@pytest.mark.parametrize(("gold", "answer", "right"), ALL)
def test_of_each_kind(gold: str, answer: str, right: bool | None) -> None:
    assert verify(gold, f"\\boxed{{{answer}}}").outcome is EXPECTED[right]


# Answers of unusual shape in OlympiadBench, MATH-500, HMMT, Omni-MATH, AMO-Bench and a college textbook set.
GOLDS = r"""
$69$,$84$
$f(n)=n$, $g(n)=1$
$\angle B E A_{1}=90$,$\angle A E B_{1}=90$
$\left\lfloor\log _{2} n\right\rfloor+1$
$m_{\max }=n^{2}-n-1$
$\frac{100!}{2^{50}}$
$-(n-1) / 2$
$f(x)=-1$,$f(x)=x+1$
$k \geqslant 2$
$(-\infty, 0) \cup\{1\}$.
$k\left(4 k^{2}+k-1\right) / 2$
$t(0,4]$
$N(n)=\left\lfloor\frac{2 n}{3}\right\rfloor+1$
$90^{\circ}$,$60^{\circ}$
$\frac{4 \cdot 999^{4}}{27}$
$f(x)=x,f(x)=-x$
$2021 \cdot 505 \cdot 337$
$(0,1,1),(0,-1,-1),(1,0,1),(-1,0,-1),(1,1,0)$,$(-1,-1,0),\left(\frac{1}{\sqrt{3}}, \frac{1}{\sqrt{3}}, \frac{1}{\sqrt{3}}\right)$
10,11,12,13,14,-2,-1,0,1,2
62.5%
$8 \%$
$a=2$, $a=-6-4 \sqrt{2}$
$(10^{4}, 10^{3}, 10^{10}),(10^{2}, 10^{-1}, 10^{-2})$
(7,5,1,1,9,3,5,7,3,8,6,4,2,9,2,4,6,8)
(1,7,103, 105), (3, 5, 101, 107)
$10^{100}$,$10^{1 / 100}$
$221,$8$
$1$,$\frac{3 + \sqrt{21}}{2}$,$\frac{3 - \sqrt{21}}{2}$
$(22+8 \sqrt{6}, 22-8 \sqrt{6})$,$(22-8 \sqrt{6}, 22+8 \sqrt{6})$
$18.8^{\circ}$
$\frac{\log 2}{\log 2-\log 3}$
$\frac{1}{2},\sqrt{x}$
$x=\frac{1}{6} \pi+\pi k, \frac{1}{3} \pi+\pi k, \frac{2}{3} \pi+\pi k, \frac{5}{6} \pi+\pi k$
$2^{-2 / 3}$, $8$
$2,-\log _{10} 250$
$(4, \log _{10} 2)$
$d=\frac{1+\sqrt{1+8 n}}{2}$
$\frac{d !}{2 k(d-k) !}$
$\sqrt{2}-1$,$\frac{3-\sqrt{2}}{7}$
$\quad(2+\sqrt{2}, 1+\sqrt{2})$
$\frac{5 \pi}{4} \sqrt{17}$
\frac{-1+\sqrt{17}}{2}, \frac{-1-\sqrt{17}}{2}
2^{25} \cdot 26!
\sqrt{\frac{95}{24}}
1 + \left\lceil \frac{n}{2} \right\rceil
2(p!)^2
\binom{2k+1}{3} - k(2k+1)
\boxed{\{1, 2, 3\}}
$\sqrt[10]{a b^{9} c^{7}}$
the alternating harmonic series
$r^{2}+3 r-4-\frac{8}{r-4}$
$y_{1}=x^{1 / 2}\left(1-\frac{1}{5} x-\frac{2}{35} x^{2}+\cdots\right)$, $y_{2}=x^{-1}\left(1+x+\frac{1}{2} x^{2}+\cdots\right)$
1 in
x \in [-2,7]
\frac 34
11,\! 111,\! 111,\! 100
\text{(A),(B),(D)}
10:15 \mbox{ a.m.}
\{-2\} \cup [1,\infty)
\dfrac{\Gamma(1/3)^3}{2\pi}
\frac{\pi^2}{6} \zeta(3)
GL_n(\mathbb{F}_q)
\mathbb{Q}(\sqrt{2})
2^{\aleph_0}
\text{DNE}
\sum_{n=0}^{\infty} \frac{x^n}{n!}
P(A \cap B) = \frac{1}{6}
\{ n \in \mathbb{Z} : n > 3 \}
f(x) \equiv 0
\operatorname{lcm}(1,2,\ldots,n)
1.2 \times 10^{-3} \mathrm{mol} \cdot \mathrm{L}^{-1}
\frac{x-1}{2} = \frac{y+1}{3} = \frac{z}{4}
\vec{r} = (1,2,3) + t(4,5,6)
②④
2 或 -3
""".strip().split("\n")


def spelled(gold: str) -> set[str]:
    """The gold, and its usual spellings without dollars, with other spaces and braces."""
    plain = gold.replace("$", "").strip()
    braced = re.sub(r"([_^])([A-Za-z0-9])", r"\1{\2}", plain)
    return {gold, plain, f"{plain}.", plain.replace("\\frac{", "\\dfrac{"), braced, plain.replace(", ", ",")}


@pytest.mark.parametrize("gold", GOLDS)
def test_gold_of_a_public_set_is_itself_and_nothing_near(gold: str) -> None:
    known = parse_gold(gold)
    for text in spelled(gold):
        assert verify(known, f"So it is $\\boxed{{{text}}}$.").outcome is Outcome.CORRECT, text
    for text in ("", "?", "unknown", "\\text{none}", "\\text{the answer}", "0.123456"):
        assert verify(known, f"\\boxed{{{text}}}").outcome in (Outcome.WRONG, Outcome.NO_ANSWER), text


@pytest.mark.parametrize("gold", GOLDS)
def test_another_numeral_is_another_answer(gold: str) -> None:
    known, plain = parse_gold(gold), gold.replace("$", "")
    for digits in re.finditer(r"\d+", plain):
        text = f"{plain[: digits.start()]}{int(digits.group()) + 1}{plain[digits.end() :]}"
        assert verify(known, f"\\boxed{{{text}}}").outcome is not Outcome.CORRECT, text


@pytest.mark.parametrize(
    ("gold", "answer", "right"),
    [
        (r"I\frac{d\omega}{dt}+2B\omega=T", r"\frac{d\omega}{dt} = -\frac{2B}{I}\omega + \frac{T}{I}", True),
        (r"I\frac{d\omega}{dt}+2B\omega=T", r"\frac{d\omega}{dt} = -\frac{B}{I}\omega + \frac{T}{I}", False),
        (r"m\ddot{x}+kx=0", r"\ddot{x} = -\frac{k}{m}x", True),
        (r"m\ddot{x}+kx=0", r"\ddot{x} = -\frac{m}{k}x", False),
        (r"L y'+Ry=E", r"y' = \frac{E-Ry}{L}", True),
        (r"\theta\dot{\theta}=a\theta", r"\dot{\theta}=a", False),  # theta may be zero
        (r"\frac{dy}{dx}=xy", r"\frac{1}{x}\frac{dy}{dx}=y", False),
        ("x^2=x", "x=1", False),
        ("y/x=2", "y=2x", False),
    ],
)
def test_a_rate_of_change_may_be_multiplied_with_a_parameter(gold, answer, right):
    assert (verify(gold, f"\\boxed{{{answer}}}").outcome is Outcome.CORRECT) is right


@pytest.mark.parametrize(
    ("gold", "answer", "right"),
    [
        (r"cx^{-2}-\frac{\cos 2x}{2x^2}", r"y = -\frac{1}{2x^2}\cos(2x) + \frac{C}{x^2}", True),
        (r"y = \frac{C}{x}", r"\frac{c}{x}", True),
        (r"cx^{-2}", r"y = \frac{k}{x^2}", False),  # only one side says that it is a solution
        ("cx", "Cx", False),
        (r"cx^{-2}", r"y = \frac{C}{x}", False),
    ],
)
def test_the_constant_of_a_solution_may_be_a_capital(gold, answer, right):
    assert (verify(gold, f"\\boxed{{{answer}}}").outcome is Outcome.CORRECT) is right
