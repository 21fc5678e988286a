"""What an answer says of its letters: ``2n - 1, n \\in \\mathbb{N}``, ``ax + b`` where a and b are real.

A domain that one takes for granted may be written or left out. One that limits the answer stays.
"""

from __future__ import annotations

import re

from aha.rewards.math.families import symbols
from aha.rewards.math.slices import matches
from aha.rewards.math.tokens import Token, Unreadable, tokenize
from aha.rewards.math.values import Named, Node, Opaque, Region, Scalar, Value

_RELATIONS = frozenset(("in", ">=", ">", "<=", "<", "!="))
_INTRODUCING = frozenset("where for with 其中".split())  # noqa: SIM905
_ANY = """
any some all every arbitrary constant constants real integer integers number numbers is are a an rational complex
reals nonzero 为 常数 任意 实数 整数
"""
_SAYS_ANY = frozenset(_ANY.split())
_SETS = "ℕℤℝℚℂNZRQC"
_KINDS = dict(zip("ℕℤℝℚℂNZRQC", "NZRQCNZRQC", strict=True))
_MAY_SAY = re.compile(r"\\in(?![A-Za-z])|∈")
_COUNTING = frozenset("ijklmnNMK")
_LOWEST = frozenset((0, 1, 2))


def with_comma(tokens: list[Token]) -> list[Token]:
    """The tokens with a comma before the condition that stands in brackets or behind "where"."""
    bracketed = _in_brackets(tokens)
    if bracketed is not None:
        return bracketed
    for index, token in enumerate(tokens):
        if index and token.kind == "word" and token.text.lower() in _INTRODUCING:
            return _cut(tokens, index)
    return tokens


def _in_brackets(tokens: list[Token]) -> list[Token] | None:
    if len(tokens) < 6 or tokens[-1].text != ")":
        return None
    opened = next((i for i, end in matches(tokens).items() if end == len(tokens) - 1), 0)
    inside = tokens[opened + 1 : -1]
    if opened < 1 or tokens[opened].text != "(" or not _is_condition(inside, tokens[:opened]):
        return None
    return [*tokens[:opened], Token("op", ","), *inside]


def _is_condition(inside: list[Token], before: list[Token]) -> bool:
    """``n \\in \\mathbb{N}`` for an n that occurs before."""
    if len(inside) < 3 or inside[0].kind != "id" or inside[0] not in before:
        return False
    return any(t.kind == "op" and t.text in _RELATIONS for t in inside[1:4])


def _cut(tokens: list[Token], index: int) -> list[Token]:
    before, after = tokens[:index], tokens[index + 1 :]
    while after and after[0].kind == "word" and after[0].text.lower() in _SAYS_ANY:
        after = after[1:]
    if _is_condition([t for t in after if t.text != ","], before):
        return [*before, Token("op", ","), *after]
    letters = [t for t in after if t.kind == "id"]
    words = [t for t in after if t.kind == "word"]
    nothing_else = len(letters) + len(words) == len([t for t in after if t.text not in (",", "and")])
    says_any = all(t in before for t in letters) and all(t.text.lower() in _SAYS_ANY for t in words)
    return before if letters and nothing_else and says_any else tokens


def contradict(gold: str, answer: str) -> bool:
    """Whether two answers say of their letters that they are numbers of different kinds: n in Z, n in R."""
    if not _MAY_SAY.search(gold) or not _MAY_SAY.search(answer):
        return False
    try:
        one, other = _kinds(tokenize(gold)), _kinds(tokenize(answer))
    except Unreadable:
        return False
    return bool(one and other and one != other)


def with_bound_variable(inside: list[Token]) -> list[Token]:
    """``x in Z : x > 2`` with one letter for the variable, whatever it is called."""
    if len(inside) < 3 or inside[0].kind != "id" or inside[1].text not in ("in", "|", ":"):
        return inside
    return [token._replace(text="□") if token == inside[0] else token for token in inside]


def _kinds(tokens: list[Token]) -> frozenset[str]:
    """The sets of numbers that letters are said to be in; none where a bound says more."""
    if any(t.text in _RELATIONS and t.text != "in" for t in tokens):
        return frozenset()
    kinds = set()
    for at, token in enumerate(tokens[:-1]):
        behind = tokens[at + 1].text
        if token.text != "in" or behind not in _KINDS:
            continue
        signs = "".join(t.text for t in tokens[at + 2 : at + 6] if t.text not in "{}")
        positive = behind in "Zℤ" and signs[:2] in ("^+", "_+", "_>")
        kinds.add(
            "N" if positive else _KINDS[behind] + ("+" if signs[:2] in ("^+", "_+", "^-", "_-") else "")
        )
    return frozenset(kinds)


def without_domains(items: list[Value]) -> list[Value]:
    """Without the members that only say what kind of number a letter of the others is."""
    kept = list(items)
    for index in range(len(items) - 1, 0, -1):
        others = frozenset().union(*map(symbols, items[:index]))
        name = _domain_of(items[index])
        if name and (name in others or _is_integers(items[index])):
            del kept[index:]
            continue
        single = items[index]
        is_letter = isinstance(single, Scalar) and single.expr[0] == "sym" and single.expr[1] in others
        if not (is_letter and len(kept) == index + 1 < len(items)):
            break
        del kept[index:]  # the "a" of "a, b in R"
    return kept or items


def _domain_of(value: Value) -> str:
    """The letter whose kind is told, or nothing."""
    if isinstance(value, Named):
        return value.name if len(value.name) == 1 and _is_number_set(value.value) else ""
    if isinstance(value, Region) and value.variable and len(value.parts) == 1:
        part = value.parts[0]
        if part.high != ("inf",):
            return ""
        unbounded = part.low == ("neg", ("inf",))
        return value.variable if unbounded or _counts_from(value.variable, part.low) else ""
    return ""


def _counts_from(variable: str, low: Node) -> bool:
    return variable in _COUNTING and low[0] == "num" and low[1] in _LOWEST


def _is_number_set(value: Value) -> bool:
    if isinstance(value, Opaque):
        return len(value.spelled) <= 6 and value.spelled[:1] in _SETS and value.spelled[1:2] in "^_"
    return isinstance(value, Scalar) and value.expr[0] == "sym" and str(value.expr[1])[0] in _SETS


def _is_integers(value: Value) -> bool:
    return isinstance(value, Named) and value.value == Scalar(("sym", "ℤ"))
