"""The parts of the expression parser that read functions, sums, integrals and limits."""

from __future__ import annotations

from abc import ABC, abstractmethod

from aha.rewards.math.symbols import UNEVALUATED
from aha.rewards.math.tokens import Token, Unreadable
from aha.rewards.math.values import Node, num

DEEPEST = 40  # nested brackets; our stack must hold whatever a model writes
END = Token("end", "")
_TRIGONOMETRIC = frozenset("sin cos tan cot sec csc cis".split())  # noqa: SIM905
DEGREE: Node = ("div", ("sym", "pi"), num(180))
"""One degree in radians."""


class Unknown(Exception):
    """The tokens are not in our grammar (which says nothing about their being mathematics)."""


class Cursor(ABC):
    """A place in a list of tokens, and what the whole grammar reads from there."""

    def __init__(self, tokens: list[Token]) -> None:
        self.tokens = tokens
        self.at = 0
        self.depth = 0
        self.bars = 0
        self.inside = 0  # functions of an angle, and exponents
        self.degrees = False

    def peek(self, ahead: int = 0) -> Token:
        index = self.at + ahead
        return self.tokens[index] if index < len(self.tokens) else END

    def is_op(self, text: str, ahead: int = 0) -> bool:
        token = self.peek(ahead)
        return token.kind == "op" and token.text == text

    def expect(self, text: str) -> None:
        if not self.is_op(text):
            raise Unknown(f"{text!r} is missing")
        self.at += 1

    def enter(self) -> None:
        self.depth += 1
        if self.depth > DEEPEST:
            raise Unreadable(f"more than {DEEPEST} nested brackets")

    @abstractmethod
    def sum(self) -> Node: ...

    @abstractmethod
    def term(self) -> Node: ...

    @abstractmethod
    def sign(self) -> bool: ...

    @abstractmethod
    def factor(self) -> Node: ...

    @abstractmethod
    def group(self, opening: str) -> Node: ...

    @abstractmethod
    def argument(self, single: bool = False) -> Node: ...

    @abstractmethod
    def root(self) -> Node: ...

    @abstractmethod
    def applied(self, name: str) -> Node: ...

    @abstractmethod
    def degree_width(self) -> int: ...


class Functions(Cursor):
    """Functions with their arguments, and what is only stated."""

    def function(self) -> Node:
        name = self.peek().text
        self.at += 1
        if name == "sqrt":
            return self.root()
        if name == "log" and self.is_op("_"):
            self.at += 1
            base = self.argument(single=self.ends_after_numeral())
            return self.raised(lambda inner: ("log", base, inner))
        if name == "lg":
            return self.raised(lambda inner: ("log", num(10), inner))
        if name in ("abs",):
            return ("abs", self.function_argument())
        if name in UNEVALUATED:
            return self.restated(name)
        if name == "cis":
            return self.raised(_cis, name)
        return self.raised(lambda inner: ("call", name, inner), name)

    def ends_after_numeral(self) -> bool:
        """Whether nothing is left to take the logarithm of: ``\\log_32`` has the base 3, ``\\log_10 x`` 10."""
        follows = self.peek(1)
        closes = follows.kind == "end" or (follows.kind == "op" and follows.text in ")]}+-,")
        return self.peek().kind == "num" and len(self.peek().text) > 1 and closes

    def raised(self, build, name: str = "") -> Node:
        """``\\sin^2 x`` is a power of the value; ``\\sin^{-1} x`` is the inverse function."""
        exponent: Node | None = None
        if self.is_op("^"):
            self.at += 1
            negative = self.sign()
            exponent = self.argument(single=True)
            exponent = ("neg", exponent) if negative else exponent
        inverse = exponent == ("neg", num(1))
        of_angle = name in _TRIGONOMETRIC and not inverse
        self.inside += of_angle
        node = build(self.angle_argument() if of_angle else self.function_argument())
        self.inside -= of_angle
        if exponent is None:
            return node
        if inverse and node[0] == "call":
            return ("call", "arc" + node[1], node[2])
        return ("pow", node, exponent)

    def angle_argument(self) -> Node:
        """``sin(20)^\\circ`` is the sine of 20 degrees."""
        node = self.function_argument()
        if self.is_op("^") and self.peek(1).text != "^":
            self.at += 1
            width = self.degree_width()
            self.at += width or -1
            node = ("mul", node, DEGREE) if width else node
        return node

    def function_argument(self) -> Node:
        for opening in ("(", "[", "{"):
            if self.is_op(opening):
                return self.group(opening)
        self.enter()
        negative = self.sign()
        factors: list[Node] = [self.factor()]
        while self.continues_argument():
            factors.append(self.factor())
        self.depth -= 1
        node = factors[0] if len(factors) == 1 else ("mul", *factors)
        return ("neg", node) if negative else node

    def continues_argument(self) -> bool:
        token = self.peek()
        if token.kind == "id":
            return not (token.text == "e" and self.is_op("^", 1))
        return token.kind == "num" or (token.kind == "op" and token.text in ("frac", "sqrt"))

    def restated(self, name: str) -> Node:
        if name in ("max", "min") and (self.is_op("(") or self.is_op("lset")):
            closing = ")" if self.is_op("(") else "rset"
            self.at += 1
            arguments = [self.sum()]
            while self.is_op(","):
                self.at += 1
                arguments.append(self.sum())
            self.expect(closing)
            return ("stated", name, *arguments)
        if self.is_op("("):
            return ("stated", name, *self.applied(name)[2:])
        return ("stated", name, self.function_argument())

    def stated(self, name: str) -> Node:
        """Sums, products, integrals and limits, with what their bounds say."""
        bounds: list[Node] = []
        variable = ""
        while self.is_op("_") or self.is_op("^"):
            self.at += 1
            if self.is_op("{") and self.peek(1).kind == "id" and self.peek(2).text in ("=", "to"):
                variable = self.peek(1).text
                self.at += 3
                bounds.append(self.sum())
                self.expect("}")
            else:
                bounds.append(self.argument())
        if name == "int":
            return self.integral(self.at, bounds)
        body = self.term()
        return (name, variable, body, *bounds)

    def integral(self, start: int, bounds: list[Node]) -> Node:
        """The integrand ends at "d x"; reads it again up to there."""
        stop = start
        while stop + 1 < len(self.tokens):
            if self.tokens[stop] == Token("id", "d") and self.tokens[stop + 1].kind == "id":
                inner = type(self)(self.tokens[start:stop])
                inner.depth = self.depth
                body = inner.sum() if stop > start else num(1)
                if stop > start and inner.at < stop - start:
                    raise Unknown("an integrand that is not understood")
                self.at = stop + 2
                return ("int", self.tokens[stop + 1].text, body, *bounds)
            stop += 1
        raise Unknown("an integral without its variable")


def _cis(angle: Node) -> Node:
    return ("add", ("call", "cos", angle), ("mul", ("sym", "i"), ("call", "sin", angle)))
