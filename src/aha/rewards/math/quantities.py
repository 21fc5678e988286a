"""Numbers with their units and percent signs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction

from aha.rewards.math import numeric, units
from aha.rewards.math.exact import free_symbols, has
from aha.rewards.math.values import STATED, Node, Scalar, Value, num

_FOOT, _ARC_MINUTE, _COULOMB, _FARAD = (units.unit_of(name) for name in ("foot", "arcmin", "C", "F"))
_POUND, _PENNY = units.unit_of("pound"), units.unit_of("pence")
_CELSIUS, _FAHRENHEIT, _KELVIN = (units.unit_of(name) for name in ("celsius", "fahrenheit", "kelvin"))
_KELVINS: dict[units.Dimension, Callable[[Node], Node]] = {
    _KELVIN.dimension: lambda x: x,
    _CELSIUS.dimension: lambda x: ("add", x, num(Fraction(27315, 100))),
    _FAHRENHEIT.dimension: lambda x: ("mul", num(Fraction(5, 9)), ("add", x, num(Fraction(45967, 100)))),
}
"""Scales of temperature whose zeros differ, as kelvins."""


def same_quantity(gold: Scalar, answer: Scalar) -> bool | None:
    """Numbers with their units and percent signs."""
    if has(answer.expr, STATED) and not has(gold.expr, STATED):
        return False  # restates the problem
    a, b = gold.unit, answer.unit
    if a is not None and b is not None:
        a, b = _resolved(a, b), _resolved(b, a)
        if {a.dimension, b.dimension} <= _KELVINS.keys() and a.dimension != b.dimension:
            return numeric.same(_KELVINS[a.dimension](gold.expr), _KELVINS[b.dimension](answer.expr))
    parts = _part_of_one(gold), _part_of_one(answer)
    if parts[0] != parts[1]:
        contradicted = any(
            part is None and side.unit for part, side in zip(parts, (gold, answer), strict=True)
        )
        return False if contradicted else _parts_of_one(gold, answer, *parts)
    if a is None or b is None:
        outcome = numeric.same(gold.expr, answer.expr) if a is None and b is None else None
        if outcome is not None or (a is None and b is None):
            return outcome
        return _one_unit(gold, answer)
    if not a.dimension and not b.dimension:
        in_one_script = a.words.isascii() == b.words.isascii()  # 人 does not contradict "people"
        return False if a.words != b.words and in_one_script else numeric.same(gold.expr, answer.expr)
    if {a.dimension, b.dimension} == {units.DEGREE, units.RADIAN}:
        return numeric.same(_radians(gold), _radians(answer))
    if a.dimension != b.dimension and not (units.DEGREE in (a.dimension, b.dimension) and _are_angles(a, b)):
        return False
    if a.factor == b.factor:
        return numeric.same(gold.expr, answer.expr)
    return numeric.same(("mul", num(a.factor), gold.expr), ("mul", num(b.factor), answer.expr))


def compound(parts: Sequence[Value]) -> Scalar | None:
    """``1 hour and 30 minutes`` as one quantity: one dimension, each unit smaller than the one before."""
    if len(parts) < 2:
        return None
    last: Fraction | None = None
    terms: list[Node] = []
    dimension: units.Dimension = ()
    for part in parts:
        if not isinstance(part, Scalar) or part.unit is None or not part.unit.dimension or part.percent:
            return None
        dimension = dimension or part.unit.dimension
        if part.unit.dimension != dimension or (last is not None and part.unit.factor >= last):
            return None
        last = part.unit.factor
        terms.append(("mul", num(last), part.expr))
    return Scalar(("add", *terms), units.Unit(dimension))


def _resolved(unit: units.Unit, beside: units.Unit) -> units.Unit:
    """What a sign with two meanings means beside a unit: ``5'`` beside feet or degrees, C beside degrees Celsius."""
    if unit.dimension == units.PRIME:
        inches = unit.factor == 2
        if beside.dimension == _FOOT.dimension:
            return units.Unit(beside.dimension, _FOOT.factor / (12 if inches else 1))
        if beside.dimension == units.DEGREE:
            return units.Unit(units.DEGREE, _ARC_MINUTE.factor / (60 if inches else 1))
    if unit == _POUND and beside.dimension == _PENNY.dimension:
        return units.Unit(beside.dimension)  # £
    for letter, scale in ((_COULOMB, _CELSIUS), (_FARAD, _FAHRENHEIT)):
        if (unit == letter and beside.dimension in _KELVINS) or (
            unit == letter and beside.dimension == units.DEGREE
        ):
            return scale
    return unit


def _are_angles(a: units.Unit, b: units.Unit) -> bool:
    """A bare degree sign may be that of any scale."""
    return a.dimension in units.ANGLES and b.dimension in units.ANGLES


def _one_unit(gold: Scalar, answer: Scalar) -> bool | None:
    """A unit that only one side writes is no contradiction; degrees also stand for an angle's size."""
    plain = numeric.same(gold.expr, answer.expr)
    if plain is not False:
        return plain
    unit = gold.unit or answer.unit
    if unit is not None and unit.dimension == units.DEGREE:
        return numeric.same(_radians(gold), _radians(answer))
    if gold.unit is None and unit is not None and not free_symbols(gold.expr):
        return False
    return plain


def _radians(value: Scalar) -> Node:
    if value.unit is not None and value.unit.dimension == units.DEGREE:
        return ("div", ("mul", value.expr, ("sym", "pi")), num(180))
    return value.expr


def _part_of_one(value: Scalar) -> Fraction | None:
    """What one of a percent, a per mille or a ppm is; None for a number that has no such sign."""
    if value.percent:
        return Fraction(1, 100)
    is_part = value.unit is not None and value.unit.dimension == units.PART
    return value.unit.factor if is_part and value.unit is not None else None


def _parts_of_one(gold: Scalar, answer: Scalar, part: Fraction | None, other: Fraction | None) -> bool | None:
    """50% is 1/2; and where only one side writes the sign, 50 may stand for 50% (but not 0.5 for 0.5%)."""
    left, right = ("mul", num(part or 1), gold.expr), ("mul", num(other or 1), answer.expr)
    outcome = numeric.same(left, right)
    if outcome is not False or (part is not None and other is not None):
        return outcome
    if part is None and not answer.percent:
        return False  # 5 ppm, where the reference is 5: which of the two was asked cannot be known
    if part is None or gold.percent:
        size = numeric.real_value(gold.expr)
        if size is None or abs(size) < 1 or (abs(size) == 1 and part is None):
            return False
    return numeric.same(gold.expr, answer.expr)
