"""Compares a prediction's value with the gold's; the gold's type says how.

Every function returns True, False or None: None means that our own means do not decide it.
"""

from __future__ import annotations

from aha.rewards.math import numeric, regions
from aha.rewards.math.exact import TooBig, Undefined, free_symbols, has, rational
from aha.rewards.math.quantities import same_quantity
from aha.rewards.math.ratios import could_be_ratio, same_ratio
from aha.rewards.math.values import (
    STATED,
    Based,
    Dots,
    Equation,
    Group,
    Matrix,
    Named,
    Node,
    Opaque,
    Ratio,
    Region,
    Relation,
    Scalar,
    Text,
    Value,
)
from aha.rewards.math.words import EMPTY, canonical_words, letter

MOST_ITEMS = 64  # members of a set; comparing without order takes their number squared


def equal(gold: Value, answer: Value) -> bool | None:
    """Whether the answer is the gold value. None: undecided."""
    if gold == answer:
        return True
    if isinstance(answer, Opaque) and not isinstance(gold, Opaque | Text):
        return None
    rule = _RULES.get(type(gold))
    return None if rule is None else rule(gold, answer)


def all_of(outcomes) -> bool | None:
    """Three-valued "and"."""
    undecided = False
    for outcome in outcomes:
        if outcome is False:
            return False
        undecided = undecided or outcome is None
    return None if undecided else True


# scalars


def _scalar(gold: Scalar, answer: Value) -> bool | None:
    if isinstance(answer, Scalar):
        return same_quantity(gold, answer)
    if isinstance(answer, Named):
        if isinstance(answer.value, Scalar) and answer.value.expr == ("sym", answer.name):
            return False  # x = x says nothing
        return _scalar(gold, answer.value)
    if isinstance(answer, Equation):
        return _chain(gold, answer)
    if isinstance(answer, Group):
        return _alternatives(gold, answer)
    if isinstance(answer, Ratio) and len(answer.parts) == 2 and could_be_ratio(answer):
        return numeric.same(gold.expr, ("div", answer.parts[0], answer.parts[1]))
    if isinstance(answer, Based):
        return _is_spelled(gold, answer)
    if isinstance(answer, Matrix) and len(answer.rows) == 1 and len(answer.rows[0]) == 1:
        return numeric.same(gold.expr, answer.rows[0][0])
    if isinstance(answer, Text) and gold.expr[0] == "sym":
        return letter(answer.words, gold.expr[1]) if len(gold.expr[1]) == 1 else False
    return False


def _chain(gold: Scalar, answer: Equation) -> bool | None:
    """``2 * 3 = 6``: the last member answers, if the chain holds; ``7 = 3`` answers nothing."""
    if not chain_holds(answer):
        return False
    outcomes = [_scalar(gold, answer.members[-1])]
    first = answer.members[0]
    if len(answer.members) > 1 and isinstance(first, Scalar) and not _is_label(first, answer.members[-1]):
        return False
    outcomes += [_scalar(gold, value) for value in answer.shown]
    if True in outcomes:
        return True
    return None if None in outcomes else False


def chain_holds(answer: Equation) -> bool:
    """Whether no two members that are constants contradict each other (or, after "≈", by far)."""
    constants = [m.expr for m in answer.members if isinstance(m, Scalar) and not free_symbols(m.expr)]
    constants = [c for c in constants if not has(c, STATED)]
    for other in constants[1:]:
        if numeric.same(constants[0], other) is not True:
            return False
    for value in answer.shown:
        if constants and isinstance(value, Scalar):
            x, y = numeric.real_value(constants[-1]), numeric.real_value(value.expr)
            if x is None or y is None or abs(x - y) > abs(x) / 20:
                return False
    return True


def _is_label(first: Scalar, last: Value) -> bool:
    """Whether the left side of an equation names what the right side answers."""
    if first.expr[0] in ("sym", "abs", "apply") or not free_symbols(first.expr):
        return True
    return isinstance(last, Scalar) and not free_symbols(last.expr)


def _alternatives(gold: Value, answer: Group) -> bool | None:
    """A list is an answer to a scalar only if all its members are that answer; else it is a hedge."""
    if answer.kind == "set" and len(answer.items) == 1:
        return equal(gold, answer.items[0])
    if answer.kind != "list" or not answer.items or answer.brackets:
        return False
    return all_of(equal(gold, item) for item in answer.items)


def _is_spelled(gold: Scalar, answer: Based) -> bool | None:
    value = _whole(gold.expr)
    if value is None:
        return False
    if answer.base == 10:
        return value == int(answer.digits)
    return _has_digits(value, answer.digits)


def _has_digits(value: int, digits: str) -> bool:
    """Whether a number is printed with these digits. Huge ones are never printed."""
    digits = digits.lstrip("0") or "0"
    return value.bit_length() <= 4 * len(digits) and str(value) == digits


def _whole(expr: Node) -> int | None:
    try:
        value = rational(expr)
    except (TooBig, Undefined):
        return None
    return int(value) if value is not None and value.denominator == 1 else None


# groups


def _group(gold: Group, answer: Value) -> bool | None:
    answer = _opened(answer, gold)
    if isinstance(answer, Scalar) and regions.of(answer) is not None:
        answer = regions.REALS
    if isinstance(answer, Region):
        own = regions.of(gold)
        if own is not None:
            return regions.is_same(own, answer)
        return False
    if isinstance(answer, Matrix):
        return _vector(gold, answer)
    if not isinstance(answer, Group):
        return _single(gold, answer)
    if any(isinstance(item, Dots) for item in (*gold.items, *answer.items)):
        return _in_order(gold.items, answer.items)
    if gold.kind == "tuple":
        return _tuples(gold, answer)
    if answer.kind == "tuple" and answer.brackets == "()" and _are_named(gold.items):
        return _in_order(tuple(item.value for item in gold.items if isinstance(item, Named)), answer.items)
    if answer.kind == "tuple" and (answer.brackets != "[]" or len(answer.items) < 3):
        return equal(gold.items[0], answer) if len(gold.items) == 1 else False
    distinct = "set" in (gold.kind, answer.kind)
    return without_order(_flat(gold), _flat(answer), distinct)


def _opened(answer: Value, gold: Group) -> Value:
    """``(x, y) = (1, 2)`` and, for an ordered gold, ``x = 1, y = 2`` without the names."""
    if isinstance(answer, Named):
        return answer.value
    if isinstance(answer, Equation) and len(answer.members) > 1 and chain_holds(answer):
        return answer.members[-1]
    if isinstance(answer, Group) and answer.kind == "list" and answer.items:
        named = [item for item in answer.items if isinstance(item, Named)]
        if len(named) == len(answer.items) and not any(isinstance(item, Named) for item in gold.items):
            values = tuple(item.value for item in named)
            names = [item.name for item in named]
            if gold.kind != "tuple":
                return Group("list", values)
            if len(set(names)) == len(names) and names == sorted(names):
                return Group("tuple", values, gold.brackets)
    return answer


def _are_named(items: tuple[Value, ...]) -> bool:
    """``x = 1, y = 2``: different names, in the order in which a tuple would list them."""
    names = [item.name for item in items if isinstance(item, Named)]
    return len(names) == len(items) > 1 and len(set(names)) == len(names) and names == sorted(names)


def _single(gold: Group, answer: Value) -> bool | None:
    if gold.kind in ("set", "list") and len(gold.items) == 1:
        return equal(gold.items[0], answer)
    if gold.kind == "list" and gold.items and not gold.brackets:
        return all_of(equal(item, answer) for item in gold.items)  # "1/2 or 0.5"
    if not gold.items and isinstance(answer, Text):
        return answer.words in EMPTY
    return None if isinstance(answer, Opaque) else False


def _flat(group: Group) -> list[Value]:
    """Members of a list, with those of inner lists (both values of a ±) beside them."""
    members: list[Value] = []
    for item in group.items:
        inner = item.value if isinstance(item, Named) and isinstance(item.value, Group) else item
        if isinstance(inner, Group) and inner.kind == "list":
            name = item.name if isinstance(item, Named) else ""
            members += [Named(name, part) if name else part for part in _flat(inner)]
        else:
            members.append(item)
    return members


def _tuples(gold: Group, answer: Group) -> bool | None:
    if answer.kind != "tuple":
        if answer.kind == "list" and len(answer.items) == 1:
            return equal(gold, answer.items[0])
        return _alternatives(gold, answer) if answer.joined_by_or else False
    if gold.brackets != answer.brackets and len(gold.items) == 2:
        return False
    return _in_order(gold.items, answer.items)


def _in_order(gold: tuple[Value, ...], answer: tuple[Value, ...]) -> bool | None:
    if len(gold) != len(answer):
        return False
    return all_of(equal(x, y) for x, y in zip(gold, answer, strict=True))


def without_order(gold: list[Value], answer: list[Value], distinct: bool) -> bool | None:
    """Whether two collections hold the same values; ``distinct`` forgets repetitions."""
    if max(len(gold), len(answer)) > MOST_ITEMS:
        return _in_order(tuple(gold), tuple(answer))
    if distinct:
        gold, answer = _unique(gold), _unique(answer)
    if len(gold) != len(answer):
        return False
    left = list(answer)
    undecided = False
    for wanted in gold:
        outcomes = [equal(wanted, candidate) for candidate in left]
        if True in outcomes:
            left.pop(outcomes.index(True))
        elif None in outcomes:
            undecided = True
        else:
            return False
    return None if undecided else True


def _unique(items: list[Value]) -> list[Value]:
    kept: list[Value] = []
    for item in items:
        if not any(equal(other, item) for other in kept):
            kept.append(item)
    return kept


def _vector(gold: Group, answer: Matrix) -> bool | None:
    if gold.kind != "tuple":
        return False
    cells = _column_or_row(answer)
    if cells is None or len(cells) != len(gold.items):
        return False
    return all_of(equal(x, Scalar(y)) for x, y in zip(gold.items, cells, strict=True))


def _column_or_row(matrix: Matrix) -> tuple[Node, ...] | None:
    if len(matrix.rows) == 1:
        return matrix.rows[0]
    if all(len(row) == 1 for row in matrix.rows):
        return tuple(row[0] for row in matrix.rows)
    return None


def _matrix(gold: Matrix, answer: Value) -> bool | None:
    if isinstance(answer, Named):
        answer = answer.value
    if isinstance(answer, Group) and answer.kind == "tuple":
        cells = _column_or_row(gold)
        if cells is None or len(cells) != len(answer.items):
            return False
        return all_of(equal(Scalar(x), y) for x, y in zip(cells, answer.items, strict=True))
    if not isinstance(answer, Matrix):
        return False
    shape = [len(row) for row in gold.rows]
    if shape != [len(row) for row in answer.rows]:
        return False
    pairs = ((x, y) for g, a in zip(gold.rows, answer.rows, strict=True) for x, y in zip(g, a, strict=True))
    return all_of(numeric.same(x, y) for x, y in pairs)


# sets of reals and relations


def _region(gold: Region, answer: Value) -> bool | None:
    if isinstance(answer, Named):
        answer = answer.value
    other = regions.of(answer)
    if other is None:
        if isinstance(answer, Group) and answer.kind == "set" and not answer.items:
            return not regions.normal(gold).parts
        return None if isinstance(answer, Opaque) else False
    if gold.variable and other.variable and gold.variable != other.variable:
        return False
    return regions.is_same(gold, other)


def _relation(gold: Relation, answer: Value) -> bool | None:
    if not isinstance(answer, Relation) or gold.ops != answer.ops:
        return False
    direct = all_of(numeric.same(x, y) for x, y in zip(gold.members, answer.members, strict=True))
    if direct is not False or len(gold.ops) != 1 or not any(map(free_symbols, gold.members)):
        return direct
    left = ("add", gold.members[0], ("neg", gold.members[1]))
    right = ("add", answer.members[0], ("neg", answer.members[1]))
    return numeric.proportional(left, right, positive=gold.ops[0] != "!=")


# equations


def _named(gold: Named, answer: Value) -> bool | None:
    if isinstance(answer, Named):
        if not _same_name(gold, answer):
            return _turned_equations(gold, answer)
        value = answer.value
        if gold.parameter and answer.parameter and gold.parameter != answer.parameter:
            value = _renamed(value, answer.parameter, gold.parameter)
        return equal(gold.value, value)
    if isinstance(answer, Equation):
        explicit = isinstance(gold.value, Scalar) and bool(free_symbols(gold.value.expr))
        if explicit:
            return _same_zeros(_difference(gold), _difference(answer))
        return equal(gold.value, answer) if isinstance(gold.value, Scalar) else False
    if isinstance(answer, Group) and any(isinstance(item, Named) for item in answer.items):
        return False
    return equal(gold.value, answer)


def _same_name(gold: Named, answer: Named) -> bool:
    if gold.name == answer.name:
        return True
    # "Area = 5": words name the answer, whatever it is called
    return gold.name.startswith("text ") or answer.name.startswith("text ")


def _turned_equations(gold: Named, answer: Named) -> bool | None:
    """``y = 2x`` and ``x = y/2`` are one line, though solved for different variables."""
    if not (isinstance(gold.value, Scalar) and isinstance(answer.value, Scalar)):
        return False
    if (
        not (free_symbols(gold.value.expr) and free_symbols(answer.value.expr))
        or gold.parameter
        or answer.parameter
    ):
        return False
    if {gold.name, *free_symbols(gold.value.expr)} != {answer.name, *free_symbols(answer.value.expr)}:
        return False
    return _same_zeros(_difference(gold), _difference(answer))


def _renamed(value: Value, old: str, new: str) -> Value:
    if not isinstance(value, Scalar) or new in free_symbols(value.expr):
        return value
    return Scalar(_substituted(value.expr, old, new), value.unit, value.percent)


def _substituted(node: Node, old: str, new: str) -> Node:
    if node == ("sym", old):
        return ("sym", new)
    return tuple(_substituted(part, old, new) if isinstance(part, tuple) else part for part in node)


def _equation(gold: Equation, answer: Value) -> bool | None:
    if isinstance(answer, Equation | Named) and len(gold.members) == 2:
        return _same_zeros(_difference(gold), _difference(answer))
    if isinstance(answer, Equation) and len(gold.members) == len(answer.members):
        return _in_order(gold.members, answer.members)
    if len(gold.members) == 1:
        outcomes = [equal(gold.members[0], answer), *(equal(value, answer) for value in gold.shown)]
        return True if True in outcomes else (None if None in outcomes else False)
    last = gold.members[-1]
    if isinstance(last, Scalar) and free_symbols(last.expr) == frozenset():
        first = gold.members[0]
        if isinstance(first, Scalar | Ratio) and not _has_coefficients(first):
            return equal(last, answer)
    if isinstance(last, Ratio):
        return equal(last, answer)
    return False


def _has_coefficients(value: Value) -> bool:
    """Whether numbers stand in it: "2x + z" is an equation's side, "AB / CD" the name of a quantity."""
    return isinstance(value, Scalar) and has(value.expr, frozenset(("num",)))


def _difference(value: Value) -> Node | None:
    if (
        isinstance(value, Named)
        and isinstance(value.value, Scalar)
        and not value.name.startswith(("text", "("))
    ):
        left: Node = ("sym", value.name)
        if value.parameter:
            return None
        return ("add", left, ("neg", value.value.expr))
    if isinstance(value, Equation) and len(value.members) == 2:
        left_side, right_side = value.members
        if isinstance(left_side, Scalar) and isinstance(right_side, Scalar):
            return ("add", left_side.expr, ("neg", right_side.expr))
    return None


def _same_zeros(a: Node | None, b: Node | None) -> bool | None:
    if a is None or b is None:
        return False
    if free_symbols(a) != free_symbols(b) or not free_symbols(a):
        return False
    return numeric.proportional(a, b)


# ratios, bases, words


def _ratio(gold: Ratio, answer: Value) -> bool | None:
    if isinstance(answer, Named):
        answer = answer.value
    if isinstance(answer, Equation) and len(answer.members) > 1:
        answer = answer.members[-1]
    if isinstance(answer, Ratio):
        return same_ratio(gold, answer)
    if len(gold.parts) == 2 and could_be_ratio(gold):
        return _scalar(Scalar(("div", *gold.parts)), answer)
    return False


def _based(gold: Based, answer: Value) -> bool | None:
    if isinstance(answer, Named):
        answer = answer.value
    if isinstance(answer, Based):
        return gold.base == answer.base and gold.digits.lstrip("0") == answer.digits.lstrip("0")
    if isinstance(answer, Scalar):
        value = _whole(answer.expr)
        return value is not None and _has_digits(value, gold.digits)
    return False


def _text(gold: Text, answer: Value) -> bool | None:
    if isinstance(answer, Named):
        answer = answer.value
    if isinstance(answer, Text):
        return canonical_words(gold.words) == canonical_words(answer.words)
    if isinstance(answer, Group) and not answer.items:
        return canonical_words(gold.words) == canonical_words("no solution")
    return False


def _dots(gold: Dots, answer: Value) -> bool | None:
    return isinstance(answer, Dots)


def _opaque(gold: Opaque, answer: Value) -> bool | None:
    if isinstance(answer, Opaque) and gold.spelled == answer.spelled:
        return True
    return False if isinstance(answer, Text) else None


_RULES = {
    Scalar: _scalar,
    Group: _group,
    Region: _region,
    Relation: _relation,
    Named: _named,
    Equation: _equation,
    Matrix: _matrix,
    Ratio: _ratio,
    Based: _based,
    Text: _text,
    Dots: _dots,
    Opaque: _opaque,
}
