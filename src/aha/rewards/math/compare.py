"""Compares a prediction's value with the gold's; the gold's type says how.

Every function returns True, False or None: None means that our own means do not decide it.
"""

from __future__ import annotations

import re

from aha.rewards.math import names, numeric, regions
from aha.rewards.math.bases import is_spelled, same_digits
from aha.rewards.math.cases import same_cases
from aha.rewards.math.equations import (
    difference,
    has_coefficients,
    is_derivative,
    renamed,
    same_region,
    same_relation,
    same_zeros,
)
from aha.rewards.math.exact import free_symbols, has
from aha.rewards.math.matrices import same_matrix, same_vector
from aha.rewards.math.quantities import compound, same_quantity
from aha.rewards.math.ratios import all_of, could_be_ratio, same_ratio
from aha.rewards.math.residues import as_residue, same_residue
from aha.rewards.math.unordered import are_letters, without_order
from aha.rewards.math.values import (
    STATED,
    Based,
    Collection,
    Dots,
    Equation,
    Matrix,
    Named,
    Opaque,
    Piecewise,
    Ratio,
    Region,
    Relation,
    Residue,
    Scalar,
    Text,
    Value,
)
from aha.rewards.math.words import EMPTY, canonical_words, is_same_kind, letter, says_all_reals

_BRACED_LETTER = re.compile(r"\{([A-Za-z0-9])\}")


def equal(gold: Value, answer: Value) -> bool | None:
    """Whether the answer is the gold value. None: undecided."""
    if gold == answer:
        return True
    if isinstance(answer, Opaque) and not isinstance(gold, Opaque | Text):
        return None
    rule = _RULES.get(type(gold))
    return None if rule is None else rule(gold, answer)


# scalars


def _scalar(gold: Scalar, answer: Value) -> bool | None:
    if isinstance(answer, Scalar):
        both_reals = gold.expr in regions.REAL_NAMES and answer.expr in regions.REAL_NAMES
        return both_reals or same_quantity(gold, answer)
    if gold.expr == regions.REAL_NAMES[0]:
        return same_region(regions.REALS, answer)
    if isinstance(answer, Residue):
        return equal(gold, answer.value)
    if isinstance(answer, Named):
        if isinstance(answer.value, Scalar) and answer.value.expr == ("sym", answer.name):
            return False  # x = x says nothing
        return _scalar(gold, answer.value)
    if isinstance(answer, Equation):
        return _chain(gold, answer)
    if isinstance(answer, Collection):
        return _is_vector(gold, answer) or _alternatives(gold, answer)
    if isinstance(answer, Piecewise):
        return same_cases(gold, answer)
    if isinstance(answer, Ratio) and len(answer.parts) == 2 and could_be_ratio(answer):
        return numeric.same(gold.expr, ("div", answer.parts[0], answer.parts[1]))
    if isinstance(answer, Based):
        return answer.base == 10 and is_spelled(gold, answer)
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
    constants = [m for m in answer.members if isinstance(m, Scalar) and not free_symbols(m.expr)]
    constants = [c for c in constants if not has(c.expr, STATED)]
    for other in constants[1:]:
        if same_quantity(constants[0], other) is not True:
            return False
    for value in answer.shown:
        if constants and isinstance(value, Scalar):
            x, y = numeric.real_value(constants[-1].expr), numeric.real_value(value.expr)
            if x is None or y is None or abs(x - y) > abs(x) / 20:
                return False
    return True


def _is_label(first: Scalar, last: Value) -> bool:
    """Whether the left side of an equation names what the right side answers."""
    if first.expr[0] in ("sym", "abs", "apply") or not free_symbols(first.expr):
        return True
    return isinstance(last, Scalar) and not free_symbols(last.expr)


def _alternatives(gold: Value, answer: Collection) -> bool | None:
    """A list is an answer to a scalar only if all its members are that answer; else it is a hedge."""
    if answer.kind == "set" and len(answer.items) == 1:
        return equal(gold, answer.items[0])
    whole = compound(answer.items)
    if whole is not None and answer.kind == "list" and isinstance(gold, Scalar):
        return same_quantity(gold, whole)
    if answer.kind != "list" or not answer.items or answer.brackets:
        return False
    return all_of(equal(gold, item) for item in answer.items)


def _is_vector(gold: Scalar, answer: Collection) -> bool:
    return answer.kind == "tuple" and gold.unit is None and same_vector(answer, gold, equal) is True


# groups


def _group(gold: Collection, answer: Value) -> bool | None:
    if names.contradicts(gold, answer):
        return False
    if isinstance(answer, Named) and names.are_shared(gold, answer):
        return names.same_tuple(gold, answer, equal)
    answer = _opened(answer, gold)
    if isinstance(answer, Scalar) and regions.of(answer) is not None:
        answer = regions.REALS
    if isinstance(answer, Text) and says_all_reals(answer.words):
        answer = regions.REALS
    if isinstance(answer, Text) and gold.kind == "tuple":
        answer = regions.named_in_words(answer.words) or answer
    if isinstance(answer, Region):
        own = regions.of(gold) or (regions.union([gold]) if gold.kind == "set" and gold.items else None)
        if isinstance(own, Region):
            return regions.is_same(own, answer)
        return False
    if isinstance(answer, Matrix) or (gold.kind == "tuple" and isinstance(answer, Scalar)):
        return same_vector(gold, answer, equal)
    if not isinstance(answer, Collection):
        return _single(gold, answer)
    by_name = names.pairs(gold, answer)
    if by_name is not None:
        return all_of(equal(x, y) for x, y in by_name)
    if any(isinstance(item, Dots) for item in (*gold.items, *answer.items)):
        return _in_order(gold.items, answer.items)
    if gold.kind == "tuple":
        return _tuples(gold, answer)
    if answer.kind == "tuple" and (answer.brackets != "[]" or len(answer.items) < 3):
        return equal(gold.items[0], answer) if len(gold.items) == 1 else False
    if are_letters(gold) and are_letters(answer) and gold.joined_by_or != answer.joined_by_or:
        return False  # "p and q" is not "p or q", nor are options A and C "A or C"
    distinct = "set" in (gold.kind, answer.kind)
    if distinct and (_holds_sets(gold) != _holds_sets(answer) or names.loses_order(gold, answer)):
        return False
    return without_order(_flat(gold), _flat(answer), distinct, equal)


def _holds_sets(group: Collection) -> bool:
    """``{{1}, {2}}`` is not ``{1, 2}``."""
    return any(isinstance(item, Collection) and item.kind == "set" for item in group.items)


def _opened(answer: Value, gold: Collection) -> Value:
    """``(x, y) = (1, 2)`` and, for an ordered gold, ``x = 1, y = 2`` without the names."""
    if isinstance(answer, Named):
        return answer.value
    if isinstance(answer, Equation) and len(answer.members) > 1 and chain_holds(answer):
        return answer.members[-1]
    if isinstance(answer, Collection) and answer.kind == "list" and answer.items:
        named = [item for item in answer.items if isinstance(item, Named)]
        if len(named) == len(answer.items) and not any(isinstance(item, Named) for item in gold.items):
            values = tuple(item.value for item in named)
            names = [item.name for item in named]
            if gold.kind != "tuple":
                return Collection("list", values)
            if len(set(names)) == len(names):
                in_order = sorted(named, key=lambda item: item.name)
                return Collection("tuple", tuple(item.value for item in in_order), gold.brackets)
    return answer


def _single(gold: Collection, answer: Value) -> bool | None:
    if gold.kind in ("set", "list") and len(gold.items) == 1:
        return equal(gold.items[0], answer)
    whole = compound(gold.items) if gold.kind == "list" else None
    if whole is not None:
        return equal(whole, answer)
    if gold.kind == "list" and gold.items and not gold.brackets:
        return all_of(equal(item, answer) for item in gold.items)  # "1/2 or 0.5"
    if not gold.items and isinstance(answer, Scalar):
        return answer.expr == ("sym", "phi")  # set in place of an empty set
    if not gold.items and isinstance(answer, Text):
        return answer.words in EMPTY or canonical_words(answer.words) == canonical_words("no solution")
    return None if isinstance(answer, Opaque) else False


def _flat(group: Collection) -> list[Value]:
    """Members of a list, with those of inner lists (both values of a ±) beside them."""
    members: list[Value] = []
    for item in group.items:
        inner = item.value if isinstance(item, Named) and isinstance(item.value, Collection) else item
        if isinstance(inner, Collection) and inner.kind == "list":
            name = item.name if isinstance(item, Named) else ""
            members += [Named(name, part) if name else part for part in _flat(inner)]
        else:
            members.append(item)
    return members


def _tuples(gold: Collection, answer: Collection) -> bool | None:
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


# equations


def _named(gold: Named, answer: Value) -> bool | None:
    if isinstance(gold.value, Equation):
        settled = _settled(gold.value)
        last = settled if settled is not gold.value else gold.value.members[-1]
        is_value = isinstance(last, Scalar) and not free_symbols(last.expr)  # "A = \\pi r^2 = 25\\pi"
        if settled is not gold.value or (is_value and not gold.value.shown and not isinstance(answer, Named)):
            return equal(Named(gold.name, last, gold.parameter), answer)
    if isinstance(answer, Named):
        if not _same_name(gold, answer):
            permuted = names.same_tuple(gold, answer, equal)
            return permuted if permuted is not False else _turned_equations(gold, answer)
        value = answer.value
        if gold.parameter and answer.parameter and gold.parameter != answer.parameter:
            value = renamed(value, answer.parameter, gold.parameter)
        return equal(gold.value, value)
    if isinstance(answer, Equation):
        explicit = isinstance(gold.value, Scalar) and bool(free_symbols(gold.value.expr))
        if explicit:
            return same_zeros(difference(gold), difference(answer))
        return equal(gold.value, answer) if isinstance(gold.value, Scalar) else False
    if isinstance(answer, Collection) and any(isinstance(item, Named) for item in answer.items):
        roots = names.roots(gold.name, answer)
        return names.same_tuple(gold, answer, equal) if roots is None else equal(gold.value, roots)
    if isinstance(answer, Residue):
        congruence = as_residue(gold)
        return congruence is not None and same_residue(congruence, answer, equal)
    return equal(gold.value, answer)


def _same_name(gold: Named, answer: Named) -> bool:
    if names.canonical(gold.name) == names.canonical(answer.name):
        return True
    if names.measures_other(gold.name, answer.name):
        return False
    if {gold.name, answer.name} >= {"y"} and {gold.parameter, answer.parameter} - {""} == {"x"}:
        return True  # f(x) = 2x and y = 2x
    if _says_opposite(gold.name, answer.name):
        return False
    # "Area = 5": words name the answer, whatever it is called
    return gold.name.startswith("text ") or answer.name.startswith("text ")


def _says_opposite(one: str, other: str) -> bool:
    """``max at x = 7`` and ``min at x = 7``."""
    extremes = [{each for each in ("max", "min") if each in name.lower()} for name in (one, other)]
    return all(extremes) and not extremes[0] & extremes[1]


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
    return same_zeros(difference(gold), difference(answer))


def _equation(gold: Equation, answer: Value) -> bool | None:
    if len(gold.members) == 1:
        outcomes = [equal(gold.members[0], answer), *(equal(value, answer) for value in gold.shown)]
        return True if True in outcomes else (None if None in outcomes else False)
    last = _answer_of(gold)
    if last is not None and not _of_another(gold, answer):
        outcome = equal(last, answer)
        if outcome is not False:
            return outcome
    if isinstance(answer, Equation | Named) and len(gold.members) == 2:
        outcome = same_zeros(difference(gold), difference(answer))
        if outcome is not False:
            return outcome
    if isinstance(answer, Equation) and len(gold.members) == len(answer.members):
        return _in_order(gold.members, answer.members)
    return False


def _of_another(gold: Equation, answer: Value) -> bool:
    """Whether an answer states the value of something else: ``|z - 1| = 2`` for ``|z| = 2``."""
    if not isinstance(answer, Equation) or len(answer.members) < 2:
        return False
    first, other = gold.members[0], answer.members[0]
    if isinstance(other, Scalar) and not free_symbols(other.expr) and not has(other.expr, STATED):
        return False
    if isinstance(other, Scalar) and isinstance(first, Scalar) and has(other.expr, STATED):
        return has(first.expr, STATED) and first != other
    return equal(first, other) is False


def _answer_of(gold: Equation) -> Value | None:
    """The value an equation states, where its other members only say of what; None for one that is itself
    the answer."""
    first, last = gold.members[0], gold.members[-1]
    if not isinstance(last, Scalar):
        return last if isinstance(last, Ratio) or isinstance(first, Opaque) else None
    if isinstance(first, Scalar) and (has(first.expr, STATED) or is_derivative(first.expr)):
        return last
    if free_symbols(last.expr):
        return None
    if isinstance(first, Opaque) or (isinstance(first, Scalar | Ratio) and not has_coefficients(first)):
        return last
    is_chain = all(isinstance(m, Scalar) and not free_symbols(m.expr) for m in gold.members)
    return last if is_chain and chain_holds(gold) else None


def _settled(value: Value) -> Value:
    """``5x + 5 = 5(x + 1)`` where all the members are equal: the last one."""
    if not isinstance(value, Equation) or value.shown or len(value.members) < 2:
        return value
    pairs = zip(value.members, value.members[1:], strict=False)
    return value.members[-1] if all(equal(x, y) is True for x, y in pairs) else value


# ratios, bases, words


def _ratio(gold: Ratio, answer: Value) -> bool | None:
    if isinstance(answer, Named):
        answer = answer.value
    if isinstance(answer, Equation) and len(answer.members) > 1:
        answer = answer.members[-1]
    if isinstance(answer, Ratio):
        return same_ratio(gold, answer)
    if (
        gold.meridiem
        and isinstance(answer, Scalar)
        and answer.unit is None
        and gold.parts[1:] == (("num", 0),)
    ):
        return numeric.same(gold.parts[0], answer.expr)  # "6" for 6 PM
    if len(gold.parts) == 2 and could_be_ratio(gold):
        return _scalar(Scalar(("div", *gold.parts)), answer)
    return False


def _based(gold: Based, answer: Value) -> bool | None:
    if isinstance(answer, Named):
        answer = answer.value
    if isinstance(answer, Based):
        return gold.base == answer.base and same_digits(gold.digits, answer.digits)
    if isinstance(answer, Scalar):
        return is_spelled(answer, gold)
    return False


def _text(gold: Text, answer: Value) -> bool | None:
    if isinstance(answer, Named):
        answer = answer.value
    if isinstance(answer, Text):
        same = canonical_words(gold.words) == canonical_words(answer.words)
        return same or is_same_kind(gold.words, answer.words)
    if isinstance(answer, Collection) and not answer.items:
        return canonical_words(gold.words) == canonical_words("no solution")
    if isinstance(answer, Scalar) and answer.expr == ("inf",):
        return canonical_words(gold.words) == canonical_words("infinite")
    if isinstance(answer, Scalar) and gold.words in ("true", "false"):
        return answer.expr == ("sym", gold.words[0].upper())
    if says_all_reals(gold.words):
        return same_region(regions.REALS, answer)
    return False


def _residue(gold: Residue, answer: Value) -> bool | None:
    if isinstance(answer, Residue):
        return same_residue(gold, answer, equal)
    if isinstance(answer, Named) and (not gold.name or answer.name == gold.name):
        congruence = as_residue(answer)
        if congruence is not None:
            return same_residue(gold, congruence, equal)
        answer = answer.value
    return equal(gold.value, answer)


def _piecewise(gold: Piecewise, answer: Value) -> bool | None:
    if isinstance(answer, Named):
        answer = answer.value
    if not isinstance(answer, Piecewise | Scalar):
        return None if isinstance(answer, Opaque) else False
    if isinstance(answer, Piecewise) and _same_spelling(gold, answer):
        return True
    return same_cases(gold, answer)


def _same_spelling(gold: Piecewise, answer: Piecewise) -> bool:
    left = list(answer.cases)
    for case in gold.cases:
        match = next((other for other in left if _same_case(case, other)), None)
        if match is None:
            return False
        left.remove(match)
    return not left


def _same_case(gold: tuple[Value, Value | None], answer: tuple[Value, Value | None]) -> bool:
    """Equal values on equal conditions; "otherwise" may be any, since the other cases are compared too."""
    if equal(gold[0], answer[0]) is not True:
        return False
    return gold[1] is None or answer[1] is None or equal(gold[1], answer[1]) is True


def _dots(gold: Dots, answer: Value) -> bool | None:
    return isinstance(answer, Dots)


def _unbraced(spelled: str) -> str:
    """``x_{1}`` and ``x_1`` alike."""
    return _BRACED_LETTER.sub(r"\1", spelled)


def _opaque(gold: Opaque, answer: Value) -> bool | None:
    if isinstance(answer, Opaque) and _unbraced(gold.spelled) == _unbraced(answer.spelled):
        return True
    return False if isinstance(answer, Text) else None


_RULES = {
    Scalar: _scalar,
    Collection: _group,
    Region: same_region,
    Relation: same_relation,
    Named: _named,
    Equation: _equation,
    Matrix: lambda gold, answer: same_matrix(gold, answer, equal),
    Ratio: _ratio,
    Based: _based,
    Residue: _residue,
    Piecewise: _piecewise,
    Text: _text,
    Dots: _dots,
    Opaque: _opaque,
}
