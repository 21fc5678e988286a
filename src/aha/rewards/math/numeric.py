"""Equality of expressions by evaluation to many digits.

Constants are evaluated with more digits than their own literals can hide a difference in; expressions
with variables at several points that neither side chose. A difference is a proof of inequality; agreement
at every point to some 40 digits is one for all that a model can write (Schwartz and Zippel's argument
for polynomials, the identity theorem for the rest). Nothing here evaluates text.
"""

from __future__ import annotations

import random
import threading
import zlib
from fractions import Fraction
from typing import Any, NamedTuple

from aha.rewards.math.exact import (
    TooBig,
    Undefined,
    constants_in,
    free_symbols,
    has,
    has_steps,
    rational,
    rational_or_none,
    size,
)
from aha.rewards.math.values import STATED, Node

DIGITS = 50
MOST_DIGITS = 1_500
POINTS = 6
ENOUGH = 3  # points at which both sides must exist
LARGEST = 3_000  # operators and leaves; more is refused
MOST_POWER = 200_000  # bits of magnitude that an intermediate value may have
INFINITE = frozenset(("inf",))
_ENDS = (("inf",), ("neg", ("inf",)))
POINTS_WHERE_ROUNDED = 64  # equal steps are not proven equal by a few points between two of them
SCALES = (1, 8, Fraction(1, 4))  # of the points, looked at in turn while too few lie in both domains
_INTEGERS = frozenset("nmkjlNMKp")
_COMPLEX = frozenset("zw")  # beside an i these are no real numbers
_local = threading.local()


class NotNumeric(Exception):
    """The expression holds something that has no numeric value here."""


def same(a: Node, b: Node) -> bool | None:
    """Whether two expressions are equal; None if that could not be decided."""
    if a == b:
        return True
    if has(a, STATED) or has(b, STATED) or size(a) + size(b) > LARGEST:
        return None
    if has(a, INFINITE) != has(b, INFINITE):
        return False
    if a in _ENDS and b in _ENDS:
        return False  # one is the other's negation
    try:
        first, second = rational(a), rational(b)
        if first is not None and second is not None:
            return first == second
        symbols = free_symbols(a) | free_symbols(b)
        return _same_function(a, b, symbols) if symbols else _same_constant(a, b)
    except Undefined:
        return False
    except (TooBig, OverflowError, MemoryError):
        return _same_beyond(a, b)
    except (NotNumeric, ValueError, ZeroDivisionError, RecursionError):
        return None


def proportional(a: Node, b: Node, positive: bool = False) -> bool | None:
    """Whether a = c * b for one constant c that is not zero (and above zero, if ``positive``)."""
    if size(a) + size(b) > LARGEST or has(a, STATED) or has(b, STATED):
        return None
    symbols = sorted(free_symbols(a) | free_symbols(b))
    context = _context(DIGITS)
    plane = "i" in constants_in(a) | constants_in(b)
    ratio: Any = None
    count = 0
    try:
        for point in range(POINTS):
            values = _point(context, symbols, _Place(point, plane=plane))
            try:
                x, y = _Evaluation(context, values).at(a), _Evaluation(context, values).at(b)
            except Undefined:
                continue
            if not x or not y:
                if bool(x) != bool(y):
                    return False
                continue
            current = x / y
            if ratio is not None and not _close(context, current, ratio, abs(ratio)):
                return False
            ratio, count = current, count + 1
    except (TooBig, NotNumeric, OverflowError, ValueError, ZeroDivisionError, RecursionError):
        return None
    if count < min(ENOUGH, POINTS):
        return None
    return not positive or (_is_real(context, ratio) and context.re(ratio) > 0)


def real_value(node: Node) -> Any | None:
    """A constant's value as an arbitrary-precision real, for ordering; None if it has none."""
    if node == ("inf",):
        return _context(DIGITS).inf
    if node == ("neg", ("inf",)):
        return -_context(DIGITS).inf
    if free_symbols(node) or size(node) > LARGEST:
        return None
    context = _context(DIGITS)
    try:
        value = _Evaluation(context, {}).at(node)
    except (TooBig, Undefined, NotNumeric, OverflowError, ValueError, ZeroDivisionError, RecursionError):
        return None
    return context.re(value) if _is_real(context, value) else None


def _same_constant(a: Node, b: Node) -> bool | None:
    digits = DIGITS
    while digits <= MOST_DIGITS:
        context = _context(digits)
        first, second = _Evaluation(context, {}), _Evaluation(context, {})
        x, y = first.at(a), second.at(b)
        scale = max(first.largest, second.largest)
        if not _close(context, x, y, scale):
            return False
        digits = _deeper(first, second, digits)
        if not digits:
            return True
    return None


def _same_function(a: Node, b: Node, symbols: frozenset[str]) -> bool | None:
    names = sorted(symbols)
    complex_wanted = "i" in constants_in(a) | constants_in(b)
    agreed = 0
    rounded = has_steps(a) or has_steps(b)
    for scale in SCALES:
        for point in range(POINTS_WHERE_ROUNDED if rounded else POINTS):
            place = _Place(point, scale, rounded and point % 2 == 1, complex_wanted)
            outcome = _same_at(a, b, names, place, complex_wanted)
            if outcome is False:
                return False
            agreed += outcome is True
        if agreed >= ENOUGH:
            return True
    return None


class _Place(NamedTuple):
    """Which pseudo-random point, how far out, whether all its coordinates are whole, and whether z is complex."""

    number: int
    scale: Fraction | int = 1
    whole: bool = False
    plane: bool = False


def _same_at(a: Node, b: Node, names: list[str], place: _Place, complex_wanted: bool) -> bool | None:
    """Whether two functions agree at a point; None if they do not both have a (real) value there."""
    digits = DIGITS
    while digits <= MOST_DIGITS:
        context = _context(digits)
        values = _point(context, names, place)
        first, second = _Evaluation(context, values), _Evaluation(context, values)
        try:
            x, y = _value_at(first, a), _value_at(second, b)
        except Undefined:
            return None
        if x is None or y is None:  # beyond all bounds; if both are, the next scale has smaller points
            return False if x is not None or y is not None else None
        if not complex_wanted and not (_is_real(context, x) and _is_real(context, y)):
            return None
        if not _close(context, x, y, max(first.largest, second.largest)):
            return False
        digits = _deeper(first, second, digits)
        if not digits:
            return True
    return None


def _value_at(evaluation: _Evaluation, node: Node) -> Any | None:
    try:
        return evaluation.at(node)
    except (TooBig, OverflowError):
        return None


def _deeper(first: _Evaluation, second: _Evaluation, digits: int) -> int:
    """How many digits to look at next; 0 if enough. A literal or a power far smaller than the rest could
    hide below the digits."""
    spread = max(first.largest, second.largest) - min(first.smallest, second.smallest)
    needed = int(spread * 0.30103) + 30
    return 0 if needed <= digits else max(needed + 10, digits * 2)


def _same_beyond(a: Node, b: Node) -> bool | None:
    """For values too large to compute. What is beyond all bounds is not what can be computed; of two such
    values, equal parts under one operator are equal, and logarithms tell the others apart."""
    if free_symbols(a) or free_symbols(b):
        return None
    if _is_computable(a) != _is_computable(b):
        return False
    if a[0] == b[0] and len(a) == len(b) and a[0] in ("pow", "fact", "double_fact", "neg", "root"):
        equal = [same(x, y) for x, y in zip(a[1:], b[1:], strict=True)]
        if all(equal):
            return True
    context = _context(DIGITS)
    try:
        x, y = _logarithm(context, a), _logarithm(context, b)
    except (TooBig, Undefined, NotNumeric, OverflowError, ValueError, ZeroDivisionError):
        return None
    return bool(abs(x - y) <= abs(x) * context.mpf(10) ** (10 - context.dps))


def _is_computable(node: Node) -> bool:
    if rational_or_none(node) is not None:
        return True
    try:
        _Evaluation(_context(DIGITS), {}).at(node)
    except (TooBig, OverflowError, MemoryError):
        return False
    except (Undefined, NotNumeric, ValueError, ZeroDivisionError):
        return True
    return True


def _logarithm(context: Any, node: Node) -> Any:
    """The natural logarithm of a positive value that may be too large itself."""
    op = node[0]
    if op == "mul":
        return context.fsum(_logarithm(context, part) for part in node[1:])
    if op == "div":
        return _logarithm(context, node[1]) - _logarithm(context, node[2])
    if op == "pow":
        return _logarithm(context, node[1]) * _Evaluation(context, {}).at(node[2])
    if op == "fact":
        return context.loggamma(_Evaluation(context, {}).at(node[1]) + 1)
    value = _Evaluation(context, {}).at(node)
    if not _is_real(context, value) or context.re(value) <= 0:
        raise NotNumeric
    return context.ln(context.re(value))


def _context(digits: int) -> Any:
    """This thread's own mpmath context (the library's global one is not safe between threads)."""
    context = getattr(_local, "context", None)
    if context is None:
        from mpmath.ctx_mp import MPContext

        context = _local.context = MPContext()
    context.dps = digits
    return context


def _point(context: Any, names: list[str], place: _Place) -> dict[str, Any]:
    """Pseudo-random values of the variables, the same in every run; half of the points hold negative ones."""
    values = {}
    index, scale, whole, plane = place
    stretch = context.mpf(scale.numerator) / scale.denominator
    for name in names:
        generator = random.Random(zlib.crc32(name.encode()) * 31 + index)
        if whole:
            values[name] = context.mpf(generator.randrange(2, 40))
            continue
        if name[0] in _INTEGERS and "_" not in name:
            most = 4 if scale < 1 else 20
            values[name] = context.mpf(2 * generator.randrange(2, most) + index % 2)
            continue
        size_ = context.mpf(generator.randrange(3 * 10**11, 27 * 10**11)) / 10**12 * stretch
        values[name] = -size_ if index % 2 and generator.random() < 0.6 else size_
        if plane and name[0] in _COMPLEX:
            values[name] = context.mpc(
                values[name], context.mpf(generator.randrange(-(10**12), 10**12)) / 10**12
            )
    return values


def _is_real(context: Any, value: Any) -> bool:
    if isinstance(value, context.mpf):
        return not context.isnan(value)
    imaginary = context.im(value)
    return abs(imaginary) <= abs(value) * context.mpf(10) ** (20 - context.dps)


def _close(context: Any, x: Any, y: Any, scale: Any) -> bool:
    if context.isinf(x) or context.isinf(y):
        return bool(x == y)
    tolerance = context.ldexp(1, int(scale)) if isinstance(scale, int | float) else scale
    return abs(x - y) <= tolerance * context.mpf(10) ** (15 - context.dps)


class _Evaluation:
    """One evaluation; remembers, as powers of two, the largest and the smallest magnitude it met."""

    def __init__(self, context: Any, values: dict[str, Any]) -> None:
        self.context = context
        self.values = values
        self.largest = -(10**9)
        self.smallest = 10**9
        self.step_width = context.mpf(10) ** (20 - context.dps)  # nearer to a step is on it

    def at(self, node: Node) -> Any:
        op = node[0]
        if op == "num":
            fraction: Fraction = node[1]
            if fraction.denominator == 1:
                return self.noted(self.context.mpf(fraction.numerator))
            return self.noted(self.context.mpf(fraction.numerator) / fraction.denominator)
        rule = _RULES.get(op)
        if rule is None:
            raise NotNumeric
        return rule(self, node)

    def noted(self, value: Any, small: bool = True) -> Any:
        context = self.context
        if context.isnan(value):
            raise Undefined
        if not value or context.isinf(value):
            return value
        magnitude = int(context.mag(value))
        if abs(magnitude) > MOST_POWER:
            raise TooBig
        self.largest = max(self.largest, magnitude)
        if small:
            self.smallest = min(self.smallest, magnitude)
        return value

    def symbol(self, node: Node) -> Any:
        name = node[1]
        context = self.context
        if name == "pi":
            return self.noted(+context.pi)
        if name == "e":
            return self.noted(+context.e)
        if name == "i":
            return context.mpc(0, 1)
        if name not in self.values:
            raise NotNumeric
        return self.values[name]

    def add(self, node: Node) -> Any:
        total = self.context.mpf(0)
        for part in node[1:]:
            total += self.at(part)
        return self.noted(total, small=False)

    def mul(self, node: Node) -> Any:
        product = self.context.mpf(1)
        for part in node[1:]:
            product *= self.at(part)
        return self.noted(product)

    def neg(self, node: Node) -> Any:
        return -self.at(node[1])

    def div(self, node: Node) -> Any:
        above, below = self.at(node[1]), self.at(node[2])
        if self.vanishes(below):
            raise Undefined
        return self.noted(above / below)

    def vanishes(self, value: Any) -> bool:
        """Zero, up to the rounding of what it was computed from."""
        if not value:
            return True
        return int(self.context.mag(value)) < self.largest - int(self.context.prec * 0.8)

    def pow(self, node: Node) -> Any:
        base, exponent = self.at(node[1]), self.at(node[2])
        if self.vanishes(base):
            if self.context.re(exponent) <= 0:
                raise Undefined
            return self.context.mpf(0)
        if self.context.mag(exponent) + max(1, abs(self.context.mag(base))).bit_length() > 40:
            raise TooBig
        return self.noted(self.context.power(base, exponent))

    def root(self, node: Node) -> Any:
        value, degree = self.at(node[1]), rational(node[2])
        if degree is None or degree.denominator != 1 or not 1 <= degree <= 1000:
            return self.pow(("pow", node[1], ("div", ("num", Fraction(1)), node[2])))
        if degree % 2 and _is_real(self.context, value) and self.context.re(value) < 0:
            return self.noted(-self.context.root(-self.context.re(value), int(degree)))
        return self.noted(self.context.root(value, int(degree)))

    def call(self, node: Node) -> Any:
        name, value = str(node[1]), self.at(node[2])
        context = self.context
        if name in ("floor", "ceil"):
            return self.rounded(name, value)
        if value and int(context.mag(value)) > 64:
            raise TooBig
        if name == "ln":
            return self.logarithm(value)
        if name == "log":
            return self.logarithm(value) / context.ln(10)
        function = getattr(context, _MP_NAMES.get(name, name), None)
        if name not in _FUNCTIONS or function is None:
            raise NotNumeric
        try:
            return self.noted(function(value), small=name == "exp")
        except (ZeroDivisionError, ValueError):
            raise Undefined from None

    def logarithm(self, value: Any) -> Any:
        if self.vanishes(value):
            raise Undefined
        return self.noted(self.context.ln(value), small=False)

    def rounded(self, name: str, value: Any) -> Any:
        if not _is_real(self.context, value):
            raise NotNumeric
        value = self.context.re(value)
        nearest = self.context.nint(value)
        if abs(value - nearest) < self.step_width:
            return nearest
        return getattr(self.context, name)(value)

    def log(self, node: Node) -> Any:
        base, value = self.at(node[1]), self.at(node[2])
        below = self.logarithm(base)
        if self.vanishes(below):
            raise Undefined
        return self.logarithm(value) / below

    def fact(self, node: Node) -> Any:
        value = self.at(node[1])
        if abs(value) > 10_000:
            raise TooBig
        try:
            return self.noted(self.context.gamma(value + 1))
        except (ZeroDivisionError, ValueError):
            raise Undefined from None

    def double_fact(self, node: Node) -> Any:
        value = self.at(node[1])
        if abs(value) > 10_000:
            raise TooBig
        try:
            return self.noted(self.context.fac2(value))
        except (ZeroDivisionError, ValueError):
            raise Undefined from None

    def binom(self, node: Node) -> Any:
        n, k = self.at(node[1]), self.at(node[2])
        if abs(n) > 10_000 or abs(k) > 10_000:
            raise TooBig
        return self.noted(self.context.binomial(n, k))

    def abs(self, node: Node) -> Any:
        return abs(self.at(node[1]))

    def infinite(self, node: Node) -> Any:
        raise NotNumeric

    def apply(self, node: Node) -> Any:
        """An unknown function: some fixed smooth function of its name and arguments."""
        total = self.context.mpf(zlib.crc32(node[1].encode()) % 9973) / 9973
        for index, part in enumerate(node[2:]):
            total += self.context.cos(self.at(part) * (index + 2) + total)
        return self.noted(total)


_MP_NAMES = {
    "arcsin": "asin",
    "arccos": "acos",
    "arctan": "atan",
    "arccot": "acot",
    "arcsec": "asec",
    "arccsc": "acsc",
    "arcsinh": "asinh",
    "arccosh": "acosh",
    "arctanh": "atanh",
}
_FUNCTIONS = frozenset(
    ("sin cos tan cot sec csc sinh cosh tanh coth sech csch exp " + " ".join(_MP_NAMES)).split()
)
_RULES = {
    "sym": _Evaluation.symbol,
    "add": _Evaluation.add,
    "mul": _Evaluation.mul,
    "neg": _Evaluation.neg,
    "div": _Evaluation.div,
    "pow": _Evaluation.pow,
    "root": _Evaluation.root,
    "call": _Evaluation.call,
    "log": _Evaluation.log,
    "fact": _Evaluation.fact,
    "double_fact": _Evaluation.double_fact,
    "binom": _Evaluation.binom,
    "abs": _Evaluation.abs,
    "apply": _Evaluation.apply,
    "inf": _Evaluation.infinite,
}
