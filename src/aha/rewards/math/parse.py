"""Reads a list of tokens as a typed value: the structure around expressions.

Brackets are matched once; every level then splits its own slice at its own commas, so the time is linear
in the length times the depth, and the depth is bounded.
"""

from __future__ import annotations

from itertools import pairwise

from aha.rewards.math import regions
from aha.rewards.math.bases import based
from aha.rewards.math.clock import clock, spoken
from aha.rewards.math.domains import with_bound_variable, with_comma, without_domains
from aha.rewards.math.expressions import DEEPEST, Unknown, parse_expression
from aha.rewards.math.labels import is_label, letters_of, named_point
from aha.rewards.math.layouts import layout
from aha.rewards.math.lines import combination
from aha.rewards.math.measures import counted_in_words, measured, without_meridiem
from aha.rewards.math.permuted import permuted
from aha.rewards.math.residues import residue
from aha.rewards.math.scales import scaled
from aha.rewards.math.slices import OPENING, at_depth_zero, filled, halves, matches, spelling, split, trimmed
from aha.rewards.math.symbols import LEADING
from aha.rewards.math.tokens import Token, Unreadable, normalize, tokenize
from aha.rewards.math.values import (
    Collection,
    Dots,
    Equation,
    Matrix,
    Named,
    Opaque,
    Ratio,
    Region,
    Scalar,
    Text,
    Value,
    num,
)
from aha.rewards.math.words import begins_with_number, number_in_words, whole_in_words, words_of

_ORDER = frozenset(("<", ">", "<=", ">=", "!="))
_SEPARATORS = frozenset((",", ";", "or", "and", "newline"))


def parse_value(text: str, plain: bool = False) -> Value:
    """The typed value an answer's text spells.

    ``plain`` chooses the other reading of ambiguous spellings. Raises Unreadable for text that is broken
    (unbalanced braces), empty, too long or too deeply nested; text in no known grammar is Opaque.
    """
    number = whole_in_words(text)
    if number is not None:
        return number
    time = spoken(text)
    if time is not None:
        return time
    spelled = f"\\text{{{text.replace('-', ' ')}}}" if begins_with_number(text) else text
    tokens = scaled(tokenize(spelled, plain))
    return _LatexReader(text).value(tokens, 0)


class _LatexReader:
    def __init__(self, text: str) -> None:
        self.text = text

    def value(self, tokens: list[Token], depth: int) -> Value:
        if depth > DEEPEST:
            raise Unreadable("nested too deeply")
        tokens = trimmed(tokens)
        if not tokens:
            raise Unreadable("nothing to read")
        french = self.french(tokens, depth)
        if french is not None:
            return french
        tokens = trimmed(with_comma(tokens))
        congruence = residue(tokens, lambda inner: self.value(inner, depth + 1))
        if congruence is not None:
            return congruence
        match = matches(tokens)
        pieces, joined = split(tokens, match, _SEPARATORS)
        if len(pieces) > 1 and not _is_function_list(pieces):
            return self.listed(pieces, joined, depth)
        return self.item(tokens, match, depth)

    def listed(self, pieces: list[list[Token]], joined: list[str], depth: int) -> Value:
        pieces = [piece for piece in map(trimmed, pieces) if piece]
        if not pieces:
            raise Unreadable("a list of nothing to read")
        pieces = _spread_unequal(pieces)
        items = permuted(without_domains([self.value(piece, depth + 1) for piece in pieces]))
        joined = [word for word in joined if word in ("or", "and")] or [","]
        if len(items) == 1:
            return items[0]
        region = regions.combine(items, joined[-1])
        if region is not None:
            return region
        items = _spread_name(items)
        if len(items) == 1:
            return items[0]
        return Collection("list", tuple(items), joined_by_or="or" in joined)

    def item(self, tokens: list[Token], match: dict[int, int], depth: int) -> Value:
        if any(t.kind == "word" or t.text in ("h", "n", "N", "'") for t in tokens):
            time = clock(tokens)
            if time is not None:
                return time
        for read in (
            self.bracketed,
            self.combined,
            self.attached,
            self.pointed,
            self.juxtaposed,
            self.set_in_rows,
            self.related,
            self.union,
            self.ratio,
            self.based,
        ):
            value = read(tokens, match, depth)
            if value is not None:
                return value
        if len(tokens) == 1 and tokens[0].text == "dots":
            return Dots()
        return self.scalar(tokens, match, depth)

    # brackets

    def bracketed(self, tokens: list[Token], match: dict[int, int], depth: int) -> Value | None:
        first, last = tokens[0].text, tokens[-1].text
        if tokens[0].kind != "op":
            return None
        if first not in OPENING or match.get(0) != len(tokens) - 1:
            return None
        inside = tokens[1:-1]
        if first == "lset":
            return self.set(inside, depth)
        pieces, signs_between = split(inside, matches(inside), {",", ";"})
        if first == "[" and set(signs_between) == {",", ";"}:
            rows = [
                [Token("op", "["), *row, Token("op", "]")] for row in split(inside, matches(inside), {";"})[0]
            ]
            return self.tuple(rows, "[]", depth)  # [1, 2; 3, 4]
        if first == "{" and len(pieces) > 1:
            return Collection("list", tuple(self.value(p, depth + 1) for p in filled(pieces)), "{}")
        signs = [i for i, t in enumerate(tokens) if t.kind == "op" and t.text in ("pm", "mp")]
        if len(pieces) > 1 and 0 < len(signs) <= len({tokens[i].text for i in signs}):
            return self.both_signs(tokens, depth, signs)  # (±3, 0) are two points
        if len(pieces) > 1:
            brackets = {"langle": "("}.get(first, first) + {"rangle": ")"}.get(last, last)
            return self.tuple(pieces, brackets, depth)
        if not trimmed(inside):
            return Collection("set", (), "{}") if first == "{" else None
        return self.value(inside, depth + 1)

    def combined(self, tokens: list[Token], match: dict[int, int], depth: int) -> Value | None:
        return combination(tokens)

    def attached(self, tokens: list[Token], match: dict[int, int], depth: int) -> Value | None:
        """``t(0,4]``: a variable and an interval whose sign of membership was lost."""
        ends = (tokens[1].text, tokens[-1].text) if len(tokens) > 4 else ()
        if tokens[0].kind != "id" or match.get(1) != len(tokens) - 1 or ends not in (("(", "]"), ("[", ")")):
            return None
        return regions.member(tokens[0].text, self.value(tokens[1:], depth + 1))

    def pointed(self, tokens: list[Token], match: dict[int, int], depth: int) -> Value | None:
        name = named_point(tokens, match)
        return Named(name, self.value(tokens[1:], depth + 1)) if name else None

    def juxtaposed(self, tokens: list[Token], match: dict[int, int], depth: int) -> Value | None:
        """``(1,2)(3,4)``: tuples one behind the other, as some references list them."""
        groups: list[list[Token]] = []
        index = 0
        while index < len(tokens):
            if tokens[index].text != "(" or index not in match:
                return None
            group = tokens[index : match[index] + 1]
            if not any(t.text == "," for t in group):
                return None
            groups.append(group)
            index = match[index] + 1
        return Collection("list", tuple(self.value(group, depth + 1) for group in groups))

    def french(self, tokens: list[Token], depth: int) -> Value | None:
        """``]0, 1[`` and ``[0, 1[``: open ends by brackets turned outwards."""
        first, last = tokens[0].text, tokens[-1].text
        if len(tokens) < 5 or (first, last) not in (("]", "["), ("]", "]"), ("[", "[")):
            return None
        inside = tokens[1:-1]
        pieces = split(inside, matches(inside), {",", ";"})[0]
        if len(pieces) != 2:
            return None
        return self.tuple(pieces, ("(" if first == "]" else "[") + (")" if last == "[" else "]"), depth)

    def tuple(self, pieces: list[list[Token]], brackets: str, depth: int) -> Value:
        items = tuple(self.value(piece, depth + 1) for piece in filled(pieces))
        return regions.grid(items) or Collection("tuple", items, brackets)

    def set(self, inside: list[Token], depth: int) -> Value:
        if not trimmed(inside):
            return Collection("set", (), "{}")
        match = matches(inside)
        for bar in ("|", ":"):
            at = next((i for i, t in at_depth_zero(inside, match) if t.text == bar and t.kind == "op"), None)
            if at is not None and 0 < at <= 40 and at < len(inside) - 1:
                condition = self.value(inside[at + 1 :], depth + 1)
                told = spelling([t for t in inside[:at] if t.text not in "{}"])
                if isinstance(condition, Region) and regions.is_real_variable(told, condition.variable):
                    return Region(condition.parts)
                if isinstance(condition, Region) and regions.is_whole_variable(told, condition.variable):
                    whole = regions.integers(condition)
                    if whole is not None:
                        return Collection("set", tuple(map(Scalar, whole)), "{}")
                members = without_domains([self.value(inside[:at], depth + 1), condition])
                if len(members) == 1 and isinstance(members[0], Collection):
                    return members[0]  # the points of a line
                return Opaque(spelling(with_bound_variable(inside)))
        pieces = split(inside, match, {",", ";"})[0]
        return Collection("set", tuple(self.value(piece, depth + 1) for piece in filled(pieces)), "{}")

    def set_in_rows(self, tokens: list[Token], match: dict[int, int], depth: int) -> Value | None:
        return layout(tokens, lambda inner: self.value(inner, depth + 1))

    # relations

    def related(self, tokens: list[Token], match: dict[int, int], depth: int) -> Value | None:
        if depth > 0 and len(tokens) < 3:
            return None
        signs = {t.text for _, t in at_depth_zero(tokens, match) if t.kind == "op"}
        if "implies" in signs:
            return self.value(split(tokens, match, {"implies"})[0][-1], depth + 1)
        if "approx" in signs:
            return self.approximate(tokens, match, depth)
        if "notin" in signs:
            left, right = halves(tokens, match, "notin")
            outside = regions.without(
                self.value(right, depth + 1), spelling([t for t in left if t.text not in "{}"])
            )
            return outside or Opaque(spelling(tokens))
        if "in" in signs:
            left, right = halves(tokens, match, "in")
            value = self.value(right, depth + 1)
            return regions.member(spelling([t for t in left if t.text not in "{}"]), value)
        if "=" in signs and not signs & _ORDER:
            return self.equation(tokens, match, depth)
        if signs & _ORDER and "cup" not in signs:
            return self.inequality(tokens, match)
        if "cup" in signs:
            return None
        if "equiv" in signs or "sim" in signs or "to" in signs or "not" in signs:
            return Opaque(spelling(tokens))
        return None

    def approximate(self, tokens: list[Token], match: dict[int, int], depth: int) -> Value | None:
        pieces = filled(split(tokens, match, {"approx"})[0])
        values = [self.value(piece, depth + 1) for piece in pieces]
        if not values:
            raise Unreadable("nothing beside an approximation sign")
        if len(values) == 1:
            return values[0]
        if isinstance(values[0], Scalar) and values[0].expr[0] == "sym":
            return Named(values[0].expr[1], values[-1], approximate=True)
        return Equation((values[0],), tuple(values[1:]))

    def equation(self, tokens: list[Token], match: dict[int, int], depth: int) -> Value:
        pieces = split(tokens, match, {"="})[0]
        if any(not trimmed(piece) for piece in pieces):
            raise Unreadable("nothing on one side of an equals sign")
        if len(pieces) > 60:
            raise Unreadable("too many equals signs")
        names = self.names(pieces[0], depth)
        values = tuple(self.value(piece, depth + 1) for piece in pieces[1:])
        if names is not None and len(values) == 1:
            return Named(names[0], values[0], names[1])
        first = self.value(pieces[0], depth + 1)
        if names is not None:
            return Named(names[0], Equation(values), names[1])
        last = values[-1]
        if len(values) == 1 and isinstance(last, Matrix):
            name = letters_of(first) or spelling([t for t in pieces[0] if t.text not in "{}"])
            return Named(name, last)  # A^2 = ..., or a column of letters
        if len(values) == 1 and isinstance(last, Scalar) and last.expr[0] == "sym":
            constant = isinstance(first, Scalar) and not regions.free_symbols(first.expr)
            if constant:
                return Named(last.expr[1], first)  # "3 = x"
        return Equation((first, *values))

    def names(self, tokens: list[Token], depth: int) -> tuple[str, str] | None:
        """The name on the left of an equation, with the parameter of ``f(x)``; None if it is more."""
        tokens = trimmed(tokens)
        if any(t.kind == "word" for t in tokens) and not any(t.text in "+-*/^<>" for t in tokens):
            return "text " + spelling(tokens), ""
        if tokens and tokens[0].kind == "id":
            end = 1
            if len(tokens) > 2 and tokens[1].text == "_":
                end = (matches(tokens).get(2, 2)) + 1
            while end < len(tokens) and tokens[end].text == "'":
                end += 1
            rest = tokens[end:]
            name = spelling([t for t in tokens[:end] if t.text not in "{}"])
            if not rest:
                return name, ""
            if len(rest) == 3 and rest[0].text == "(" and rest[1].kind == "id" and not rest[1].text.isupper():
                return name, rest[1].text
            if is_label(name, rest):
                return name + spelling([t for t in rest if t.text not in "{}"]), ""
            if all(t.kind == "id" and t.text.isupper() for t in tokens):
                return spelling(tokens), ""  # AB, ABC: names of segments and areas
        if tokens and tokens[0].text == "(" and matches(tokens).get(0) == len(tokens) - 1:
            inside = tokens[1:-1]
            pieces = split(inside, matches(inside), {","})[0]
            if len(pieces) > 1 and all(p and p[0].kind == "id" for p in pieces):
                return f"({','.join(spelling([t for t in p if t.text not in '{}']) for p in pieces)})", ""
        if tokens and tokens[0].text in ("angle", "triangle", "vec", "overline", "hat"):
            return spelling([t for t in tokens if t.text not in "{}"]), ""
        return None

    def inequality(self, tokens: list[Token], match: dict[int, int]) -> Value:
        pieces, signs = split(tokens, match, _ORDER | {"="})
        if len(pieces) > 20:
            raise Unreadable("too many relations")
        try:
            members = tuple(parse_expression(trimmed(piece)) for piece in pieces)
        except Unknown:
            return Opaque(spelling(tokens))
        return regions.solve(members, tuple(signs))

    def union(self, tokens: list[Token], match: dict[int, int], depth: int) -> Value | None:
        signs = {t.text for _, t in at_depth_zero(tokens, match) if t.kind == "op"}
        if "cap" in signs:
            return Opaque(spelling(tokens))
        if "cup" in signs:
            pieces = filled(split(tokens, match, {"cup"})[0])
            return regions.union([self.value(piece, depth + 1) for piece in pieces]) or Opaque(
                spelling(tokens)
            )
        if "setminus" in signs:
            left, right = halves(tokens, match, "setminus")
            if spelling(left) in ("R", "ℝ"):
                return regions.without(self.value(right, depth + 1)) or Opaque(spelling(tokens))
            whole, points = self.value(left, depth + 1), self.value(right, depth + 1)
            return regions.less(whole, points) or Opaque(spelling(tokens))
        if [t.text for t in tokens[1:3]] == ["-", "lset"] and tokens[0].text in ("R", "ℝ"):
            return regions.without(self.value(tokens[2:], depth + 1)) or Opaque(spelling(tokens))
        half = (
            regions.half_of_reals(spelling([t for t in tokens if t.text not in "{}"]))
            if len(tokens) < 9
            else None
        )
        return Collection("set", (), "{}") if [t.text for t in tokens] == ["empty"] else half

    def ratio(self, tokens: list[Token], match: dict[int, int], depth: int) -> Value | None:
        pieces = split(tokens, match, {":"})[0]
        if len(pieces) < 2:
            return _ratio_in_words(tokens)
        if len(pieces) == 2 and pieces[0] and all(t.kind == "word" for t in trimmed(pieces[0])):
            return self.value(pieces[1], depth + 1)  # "Answer: 5", "Solution is: 5"
        pieces[-1], meridiem = without_meridiem(pieces[-1])
        try:
            parts = tuple(parse_expression(trimmed(piece)) for piece in pieces)
        except Unknown:
            return Opaque(spelling(tokens))
        return Ratio(parts, meridiem, self.is_clock(pieces))

    def is_clock(self, pieces: list[list[Token]]) -> bool:
        """Hours, minutes of two digits and perhaps seconds, with no space beside the colons."""
        digits = [spelling([t for t in piece if t.text not in "{}"]) for piece in pieces]
        if len(digits) > 3 or not all(d.isascii() and d.isdigit() for d in digits):
            return False
        if len(digits[0]) > 2 or int(digits[0]) > 24 or any(len(d) != 2 or int(d) > 59 for d in digits[1:]):
            return False
        return ":".join(digits) in normalize(self.text).replace("{", "").replace("}", "")

    def based(self, tokens: list[Token], match: dict[int, int], depth: int) -> Value | None:
        return based(tokens)

    # scalars

    def scalar(self, tokens: list[Token], match: dict[int, int], depth: int) -> Value:
        whole = tokens
        tokens = _without_lead(tokens)
        if tokens and tokens != whole:
            return self.value(tokens, depth + 1)
        pm = [i for i, t in enumerate(whole) if t.kind == "op" and t.text in ("pm", "mp")]
        if 0 < len(pm) <= 2:
            return self.both_signs(whole, depth, pm)
        if _is_word(whole):
            number = number_in_words(words_of(self.text) if depth == 0 else spelling(whole, " "))
            if number is not None:
                return Scalar(num(number))
            counted = counted_in_words(whole)
            if counted is not None:
                return counted
            between = " " if whole[0].kind == "word" else ""
            return Text(words_of(self.text) if depth == 0 else spelling(whole, between).casefold())
        try:
            return measured(whole)
        except Unknown:
            pass
        number = number_in_words(words_of(self.text)) if depth == 0 else None
        if number is not None:
            return Scalar(num(number))
        if any(t.kind == "word" for t in whole) or all(t.kind in ("id", "func") for t in whole):
            return Text(words_of(self.text) if depth == 0 else spelling(whole, " ").casefold())
        return Opaque(spelling(whole))

    def both_signs(self, tokens: list[Token], depth: int, at: list[int]) -> Value:
        """Both values; of two signs ± all four, but where the second is ∓ it goes with the first."""
        if len(at) == 2 and {tokens[i].text for i in at} == {"pm"}:
            cut = at[0]
            rest = [[*tokens[:cut], Token("op", sign), *tokens[cut + 1 :]] for sign in "+-"]
            return Collection("list", tuple(self.both_signs(each, depth, at[1:]) for each in rest))
        first = [t._replace(text={"pm": "+", "mp": "-"}.get(t.text, t.text)) for t in tokens]
        second = [t._replace(text={"pm": "-", "mp": "+"}.get(t.text, t.text)) for t in tokens]
        return Collection("list", (self.value(first, depth + 1), self.value(second, depth + 1)))


def _ratio_in_words(tokens: list[Token]) -> Ratio | None:
    """``2 to 3`` and ``2比3``; ``2 out of 3`` and ``2 over 3``."""
    tokens = _as_to(tokens)
    at = [i for i, t in enumerate(tokens) if t.kind == "word" and t.text.lower() in ("to", "比")]
    if not at or at[0] == 0 or at[-1] == len(tokens) - 1:
        return None
    ends = [-1, *at, len(tokens)]
    pieces = [tokens[a + 1 : b] for a, b in pairwise(ends)]
    try:
        parts = tuple(parse_expression(piece) for piece in pieces)
    except Unknown:
        return None
    return None if any(map(regions.free_symbols, parts)) else Ratio(parts)


def _as_to(tokens: list[Token]) -> list[Token]:
    """The words that say a ratio as the one word "to"."""
    words = tuple(t.text.lower() for t in tokens[1:-1] if t.kind == "word")
    plain = [t for t in tokens[1:-1] if t.text not in "{}"]
    ends = tokens[0].kind == tokens[-1].kind == "num"
    if ends and len(words) == len(plain) and words in (("out", "of"), ("over",), ("in",), ("is", "to")):
        return [tokens[0], Token("word", "to"), tokens[-1]]
    return tokens


def _without_lead(tokens: list[Token]) -> list[Token]:
    """Drops "the answer is" and its like from the front, never words that change the meaning."""
    index = 0
    while index < len(tokens) and tokens[index].kind == "word" and tokens[index].text.lower() in LEADING:
        index += 1
    if index and index < len(tokens) and tokens[index].text in (":", "="):
        index += 1
    return tokens[index:] if index and index < len(tokens) else tokens


def _is_word(tokens: list[Token]) -> bool:
    """Plain letters that spell a word or a sequence of points rather than a product."""
    if any(t.kind != "id" or len(t.text) != 1 for t in tokens):
        return all(t.kind == "word" for t in tokens)
    run = "".join(t.text for t in tokens)
    return (len(run) >= 3 and run.isupper()) or (len(run) >= 4 and run.isalpha() and run[1:].islower())


def _is_function_list(pieces: list[list[Token]]) -> bool:
    return not any(trimmed(piece) for piece in pieces)


def _spread_unequal(pieces: list[list[Token]]) -> list[list[Token]]:
    """``x \\ne 1, 2`` as ``x \\ne 1, x \\ne 2``."""
    first = pieces[0]
    at = next((i for i, t in enumerate(first) if t.text == "!="), 0)
    others = [t for piece in pieces[1:] for t in piece]
    if not at or len(pieces) > 12 or any(t.text in _ORDER | {"=", "in"} or t.kind == "word" for t in others):
        return pieces
    return [first, *([*first[: at + 1], *piece] for piece in pieces[1:])]


def _spread_name(items: list[Value]) -> list[Value]:
    """``n = 2, 3, 4`` names the whole list; ``x = 1, x = 2`` is ``x = 1, 2``."""
    first = items[0]
    if not isinstance(first, Named):
        return items
    if all(isinstance(item, Scalar | Collection | Dots) for item in items[1:]):
        return [Named(first.name, Collection("list", (first.value, *items[1:])), first.parameter)]
    named = [item for item in items if isinstance(item, Named)]
    if len(named) == len(items) and all(item.name == first.name for item in named):
        return [Named(first.name, Collection("list", tuple(item.value for item in named)), first.parameter)]
    return items
