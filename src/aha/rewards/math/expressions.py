"""A recursive-descent parser for one expression over a slice of tokens."""

from __future__ import annotations

from fractions import Fraction

from aha.rewards.math.functions import DEEPEST, DEGREE, END, Functions, Unknown
from aha.rewards.math.tokens import Token
from aha.rewards.math.values import Node, num

__all__ = ["DEEPEST", "Unknown", "parse_angle", "parse_expression"]

_ATOM_LIST = (
    "( [ { lset | frac sqrt binom overline hat vec tilde dot ddot lfloor lceil inf angle triangle sum prod int lim "
    "langle"
)
_ATOM_OPS = frozenset(_ATOM_LIST.split())
_DECORATIONS = frozenset(("overline", "hat", "vec", "tilde", "dot", "ddot"))
_CLOSING = {"(": ")", "[": "]", "{": "}", "lset": "rset", "|": "|", "lfloor": "rfloor", "lceil": "rceil"}


def parse_expression(tokens: list[Token]) -> Node:
    """The expression all the tokens spell. Raises Unknown, or Unreadable when nested too deeply."""
    return parse_angle(tokens)[0]


def parse_angle(tokens: list[Token]) -> tuple[Node, bool]:
    """The expression, and whether a degree sign stands outside its functions and exponents.

    Inside a function ("sin 20°") a degree is a number, pi / 180; outside, it is the unit of the whole.
    """
    parser = _Parser(list(tokens))
    node = parser.whole()
    if parser.at < len(parser.tokens):
        raise Unknown(f"unexpected {parser.peek().text!r}")
    return node, parser.degrees


class _Parser(Functions):
    """Sums, products, powers and atoms."""

    # sums and products

    def whole(self) -> Node:
        """A sum, or two of them over each other: ``3 \\over 5``, ``8 \\choose 3``."""
        node = self.sum()
        if self.is_op("over") or self.is_op("choose"):
            operator = "div" if self.is_op("over") else "binom"
            self.at += 1
            node = (operator, node, self.sum())
        return node

    def sum(self) -> Node:
        self.enter()
        terms = [self.term()]
        while self.is_op("+") or self.is_op("-"):
            terms.append(self.term())
        self.depth -= 1
        return terms[0] if len(terms) == 1 else ("add", *terms)

    def sign(self) -> bool:
        negative = False
        while self.is_op("+") or self.is_op("-"):
            negative ^= self.is_op("-")
            self.at += 1
        return negative

    def term(self) -> Node:
        negative = self.sign()
        factors: list[Node] = [self.factor()]
        while True:
            if self.is_op("*"):
                self.at += 1
                minus = self.sign()
                factor = self.factor()
                factors.append(("neg", factor) if minus else factor)
            elif self.is_op("/"):
                self.at += 1
                minus = self.sign()
                below = self.factor()
                above = factors[0] if len(factors) == 1 else ("mul", *factors)
                factors = [("div", above, ("neg", below) if minus else below)]
            elif self.starts_atom() and not (self.peek().kind == "num" and factors[-1][0] == "num"):
                factors.append(self.factor())  # "2 3" is no product
            elif self.is_op("mod"):
                self.at += 1
                above = factors[0] if len(factors) == 1 else ("mul", *factors)
                factors = [("mod", above, self.factor())]
            else:
                break
        if sum(factor[0] == "sym" and str(factor[1]).startswith("vec ") for factor in factors) > 1:
            raise Unknown("a product of vectors, whose order may matter")
        node = factors[0] if len(factors) == 1 else ("mul", *factors)
        return ("neg", node) if negative else node

    def starts_atom(self) -> bool:
        token = self.peek()
        if token.kind in ("num", "id", "func"):
            return True
        if token.kind != "op" or token.text not in _ATOM_OPS:
            return False
        return token.text != "|" or self.bars == 0

    # powers and what is written behind an atom

    def factor(self) -> Node:
        start = self.at
        node = self.atom()
        node = self.mixed(node, start)
        return self.behind(node)

    def mixed(self, node: Node, start: int) -> Node:
        """``1\\frac{1}{2}`` and ``1 1/2``: a whole number directly before a proper fraction."""
        if node[0] != "num" or self.at != start + 1 or node[1].denominator != 1:
            return node
        if "." in self.tokens[start].text:
            return node
        if self.is_op("frac"):
            parsed = self.proper_fraction(self.at + 1)
            if parsed is not None:
                fraction, self.at = parsed
                return num(node[1] + fraction)
        elif self.peek().kind == "num" and self.is_op("/", 1) and self.peek(2).kind == "num":
            above, below = self.peek().value, self.peek(2).value
            if above is not None and below and above.denominator == below.denominator == 1 and above < below:
                self.at += 3
                return num(node[1] + above / below)
        return node

    def proper_fraction(self, index: int) -> tuple[Fraction, int] | None:
        """Two literal natural numbers behind ``\\frac``, looked at without parsing (which could be costly
        to do twice)."""
        digits: list[int] = []
        while len(digits) < 2:
            token = self.tokens[index] if index < len(self.tokens) else END
            if token.text == "{" and index + 2 < len(self.tokens) and self.tokens[index + 2].text == "}":
                literal, width = self.tokens[index + 1], 3
                literals = [literal.text]
            else:
                literal, width = token, 1
                literals = list(token.text)
            if literal.kind != "num" or not (literal.text.isascii() and literal.text.isdigit()):
                return None
            digits += [int(text) for text in literals]
            index += width
        if len(digits) == 2 and 0 < digits[0] < digits[1]:
            return Fraction(digits[0], digits[1]), index
        return None

    def behind(self, node: Node) -> Node:
        for _ in range(12):
            token = self.peek()
            if token.kind != "op":
                return node
            if token.text == "!":
                double = self.is_op("!", 1)
                self.at += 2 if double else 1
                node = ("double_fact" if double else "fact", node)
            elif token.text == "^":
                self.at += 1
                node = self.power(node)
            elif token.text == "%":
                self.at += 1
                node = ("div", node, num(100))
            elif token.text == "degree" or (token.text == "circ" and self.peek(1).kind not in ("id", "func")):
                self.at += 1
                node = self.in_degrees(node)
            elif token.text == "'":
                node = self.primes(node)
            else:
                return node
        raise Unknown("too many signs behind a term")

    def in_degrees(self, node: Node) -> Node:
        if self.inside:
            return ("mul", self.with_minutes(node), DEGREE)
        self.degrees = True
        return node

    def with_minutes(self, degrees: Node) -> Node:
        """``22^\\circ 30'`` behind a function, with seconds where they follow."""
        for part in (60, 3600):
            value = self.peek().value
            marks = 1 if part == 60 else 2
            raised = self.is_op("^", 1) and self.is_op("{", 2)
            start = 3 if raised else 1
            if value is None or not all(self.is_op("'", start + i) for i in range(marks)):
                break
            self.at += start + marks + raised
            degrees = ("add", degrees, num(value / part))
        return degrees

    def primes(self, node: Node) -> Node:
        count = 0
        while self.is_op("'"):
            self.at += 1
            count += 1
        if node[0] != "sym":
            raise Unknown("a prime behind something that is no symbol")
        return ("sym", node[1] + "'" * count)

    def power(self, base: Node) -> Node:
        width = self.degree_width()
        if width:
            self.at += width
            return self.in_degrees(base)
        if self.is_op("'") or (self.is_op("{") and self.is_op("'", 1)):
            return self.raised_primes(base)
        self.enter()
        self.inside += 1
        negative = self.sign()
        if self.is_op("{"):
            exponent = self.group("{")
        elif self.peek().kind == "op" and self.peek().text not in ("(", "frac", "sqrt"):
            raise Unknown("an exponent is missing")
        else:
            exponent = self.atom()
        if self.is_op("^"):  # a^b^c is a^(b^c)
            self.at += 1
            exponent = self.power(exponent)
        self.depth -= 1
        self.inside -= 1
        return ("pow", base, ("neg", exponent) if negative else exponent)

    def degree_width(self) -> int:
        """How many tokens a raised degree sign takes here, without its caret."""
        if self.is_op("circ") or self.is_op("degree"):
            return 1
        braced = self.is_op("{") and self.peek(1).text in ("circ", "degree") and self.is_op("}", 2)
        return 3 if braced else 0

    def raised_primes(self, base: Node) -> Node:
        braced = self.is_op("{")
        self.at += braced
        node = self.primes(base)
        if braced:
            self.expect("}")
        return node

    # atoms

    def atom(self) -> Node:
        token = self.peek()
        if token.kind == "num":
            assert token.value is not None
            self.at += 1
            if self.is_op("_"):
                raise Unknown("a numeral with a base inside an expression")
            return ("num", token.value)
        if token.kind == "id":
            return self.symbol()
        if token.kind == "func":
            return self.function()
        if token.kind == "word":
            raise Unknown("words inside an expression")
        return self.operator(token)

    def operator(self, token: Token) -> Node:
        name = token.text
        if name in ("(", "[", "{", "lset"):
            return self.group(name)
        if name == "|":
            self.bars += 1
            node = self.group("|")
            self.bars -= 1
            return ("abs", node)
        if name in ("lfloor", "lceil"):
            return ("call", "floor" if name == "lfloor" else "ceil", self.group(name))
        self.at += 1
        if name == "frac":
            above = self.argument(single=True)
            return ("div", above, self.argument(single=True))
        if name == "binom":
            above = self.argument(single=True)
            return ("binom", above, self.argument(single=True))
        if name == "sqrt":
            return self.root()
        if name == "inf":
            return ("inf",)
        if name in _DECORATIONS or name in ("angle", "triangle"):
            return self.decorated(name)
        if name in ("sum", "prod", "int", "lim"):
            return self.stated(name)
        raise Unknown(f"unexpected {name!r}")

    def group(self, opening: str) -> Node:
        self.at += 1
        outer = self.bars
        if opening != "|":
            self.bars = 0
        node = self.whole() if opening == "{" else self.sum()
        self.bars = outer
        if opening == "(" and self.is_op(","):  # f(x, y), C(5, 2): only behind a function
            raise Unknown("a comma inside brackets")
        self.expect(_CLOSING[opening])
        return node

    def argument(self, single: bool = False) -> Node:
        """What a LaTeX command takes: a braced group or one token (of a numeral, its first digit)."""
        if self.is_op("{"):
            return self.group("{")
        token = self.peek()
        if single and token.kind == "num" and token.text.isascii() and token.text.isdigit():
            first, rest = token.text[0], token.text[1:]
            if rest:
                self.tokens[self.at] = Token("num", rest, Fraction(int(rest)))
            else:
                self.at += 1
            return num(int(first))
        if token.kind == "op" and token.text not in _ATOM_OPS:
            raise Unknown("an argument is missing")
        self.enter()
        node = self.atom()
        self.depth -= 1
        return node

    def root(self) -> Node:
        degree: Node = num(2)
        if self.is_op("["):
            degree = self.group("[")
        return ("root", self.argument(), degree)

    def symbol(self) -> Node:
        name = self.peek().text
        self.at += 1
        name += self.subscript()
        if self.is_op("(") and name in ("f", "g", "F", "G", "C"):
            return self.letter_and_bracket(name)
        return ("sym", name)

    def letter_and_bracket(self, name: str) -> Node:
        """``f(x)`` is a function's value, ``C(5, 2)`` a binomial; ``g(1 + m)`` is more likely a product."""
        node = self.applied(name)
        if name == "C":
            if len(node) == 4:
                return ("binom", node[2], node[3])
            return ("mul", ("sym", name), *node[2:])
        if name != "f" and len(node) == 3 and node[2][0] in ("add", "neg"):
            return ("mul", ("sym", name), node[2])
        return node

    def applied(self, name: str) -> Node:
        self.at += 1
        arguments = [self.sum()]
        while self.is_op(","):
            self.at += 1
            arguments.append(self.sum())
        self.expect(")")
        return ("apply", name, *arguments)

    def subscript(self) -> str:
        if not self.is_op("_"):
            return ""
        self.at += 1
        if not self.is_op("{"):
            token = self.peek()
            if token.kind not in ("num", "id", "word", "func"):
                raise Unknown("a subscript is missing")
            self.at += 1
            return "_" + token.text
        depth, inside = 0, []
        while self.at < len(self.tokens):
            token = self.peek()
            self.at += 1
            depth += (token.text == "{") - (token.text == "}")
            if depth == 0:
                return "_" + "".join(inside)
            if token.text not in "{}":
                inside.append(token.text)
        raise Unknown("a subscript is never closed")

    def decorated(self, name: str) -> Node:
        token = self.peek()
        if token.kind in ("id", "word"):
            self.at += 1
            return ("sym", f"{name} {token.text}{self.subscript()}")
        if not self.is_op("{"):
            raise Unknown(f"{name} over nothing")
        self.at += 1
        letters = []
        while self.peek().kind in ("id", "num", "word") or self.is_op("_"):
            letters.append(self.peek().text)
            self.at += 1
        self.expect("}")
        if not letters:
            raise Unknown(f"{name} over nothing")
        if name == "vec" and len(letters) == 2 and all(map(str.isupper, letters)) and letters[0] > letters[1]:
            return ("neg", ("sym", f"vec {letters[1]}{letters[0]}"))  # from B to A
        return ("sym", f"{name} {''.join(letters)}{self.subscript()}")
