"""ECMA-262 regular expressions, as JSON Schema has them, read into a tree that an automaton can be made of.

What needs a memory of what was matched (back references) is refused: no automaton does it, and its time has no bound.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from aha.types import AhaError

MOST = 1000
"""Repetitions that a pattern may count to, and characters that it may have times ten."""
DEEPEST = 100
"""Groups within each other."""
Holds = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class CharacterSet:
    """One character of which ``holds`` is true."""

    holds: Holds


@dataclass(frozen=True, slots=True)
class Sequence:
    """Parts behind each other."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Alternatives:
    """One of several."""

    options: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Repeat:
    """``low`` to ``high`` times; None: without an end."""

    part: Node
    low: int
    high: int | None


@dataclass(frozen=True, slots=True)
class Edge:
    """The text's start or end, a word's edge or none: between two characters."""

    kind: Literal["start", "end", "word", "inside"]


@dataclass(frozen=True, slots=True)
class Look:
    """What must follow (or precede, ``behind``), or must not (``negative``)."""

    part: Node
    behind: bool
    negative: bool


Node = CharacterSet | Sequence | Alternatives | Repeat | Edge | Look

# --- characters --------------------------------------------------------------------------------------------

_LINE_ENDS = "\n\r\u2028\u2029"
_SPACES = frozenset(
    "\t\n\v\f\r \u00a0\u1680\u2028\u2029\u202f\u205f\u3000\ufeff" + "".join(map(chr, range(0x2000, 0x200B)))
)
_CONTROLS = {"n": "\n", "r": "\r", "t": "\t", "f": "\f", "v": "\v"}


def is_word(c: str) -> bool:
    """A letter, a digit or _, of ASCII."""
    return c.isascii() and (c.isalnum() or c == "_")


def _is_digit(c: str) -> bool:
    return "0" <= c <= "9"


def _not(holds: Holds) -> Holds:
    return lambda c: not holds(c)


_CLASSES: dict[str, Holds] = {
    "d": _is_digit, "D": _not(_is_digit), "w": is_word, "W": _not(is_word),
    "s": _SPACES.__contains__, "S": _not(_SPACES.__contains__),
}  # fmt: skip
_CATEGORIES = {
    "letter": "L",
    "uppercase_letter": "Lu",
    "lowercase_letter": "Ll",
    "titlecase_letter": "Lt",
    "modifier_letter": "Lm",
    "other_letter": "Lo",
    "mark": "M",
    "nonspacing_mark": "Mn",
    "number": "N",
    "decimal_number": "Nd",
    "digit": "Nd",
    "letter_number": "Nl",
    "other_number": "No",
    "symbol": "S",
    "punctuation": "P",
    "punct": "P",
    "separator": "Z",
    "space_separator": "Zs",
    "other": "C",
    "control": "Cc",
    "cntrl": "Cc",
}
_KINDS = {"L": "ultmo", "M": "nce", "N": "dlo", "P": "cdseifo", "S": "mcko", "Z": "slp", "C": "cfson"}
_SHORT = frozenset(letter + kind for letter, kinds in _KINDS.items() for kind in ("", *kinds))
_PROPERTIES: dict[str, Holds] = {
    "any": lambda c: True,
    "ascii": str.isascii,
    "alphabetic": str.isalpha,
    "uppercase": str.isupper,
    "lowercase": str.islower,
    "white_space": str.isspace,
}


def _property(name: str) -> Holds:
    """What ``\\p{NAME}`` stands for. Raises AhaError for one that is not known here."""
    plain = name.rpartition("=")[2] if name.partition("=")[0] in ("gc", "General_Category") else name
    if (known := _PROPERTIES.get(plain.lower())) is not None:
        return known
    short = plain if plain in _SHORT else _CATEGORIES.get(plain.lower())
    if short is None:
        raise AhaError(f"the property \\p{{{name}}} is not known")
    return lambda c: unicodedata.category(c).startswith(short)


# --- reading ------------------------------------------------------------------------------------------------


def parse(pattern: str) -> Node:
    """The tree of a pattern. Raises AhaError, naming the pattern, for one that cannot be read or matched by an
    automaton."""
    if len(pattern) > 10 * MOST:
        raise AhaError(f"the pattern {pattern[:40]!r} has more than {10 * MOST:,} characters")
    try:
        reader = _PatternReader(pattern)
        node = reader.choice(0)
        if reader.at < len(pattern):
            raise AhaError(f"an unopened ) at {reader.at}")
    except AhaError as error:
        raise AhaError(f"the pattern {pattern[:60]!r} cannot be used: {error}") from None
    return node


class _PatternReader:
    """Reads a pattern from left to right."""

    def __init__(self, pattern: str):
        self.pattern, self.at = pattern, 0
        self.folds = self._took("(?i)")  # of other dialects

    def _took(self, text: str) -> bool:
        if not self.pattern.startswith(text, self.at):
            return False
        self.at += len(text)
        return True

    def _next(self) -> str:
        if self.at >= len(self.pattern):
            raise AhaError("it ends too early")
        self.at += 1
        return self.pattern[self.at - 1]

    def _peek(self) -> str:
        return self.pattern[self.at : self.at + 1]

    def choice(self, depth: int) -> Node:
        """Options between |, up to the end of the group."""
        if depth > DEEPEST:
            raise AhaError(f"groups lie more than {DEEPEST} deep")
        options = [self._sequence(depth)]
        while self._took("|"):
            options.append(self._sequence(depth))
        return options[0] if len(options) == 1 else Alternatives(tuple(options))

    def _sequence(self, depth: int) -> Node:
        parts: list[Node] = []
        while self._peek() not in ("", "|", ")"):
            parts.append(self._repeated(self._part(depth)))
        return parts[0] if len(parts) == 1 else Sequence(tuple(parts))

    def _repeated(self, part: Node) -> Node:
        limits = self._limits()
        if limits is None:
            return part
        self._took("?")  # lazy or not: what there is to find is the same
        if isinstance(part, Edge) or self._limits() is not None:
            raise AhaError("nothing to repeat")
        return Repeat(part, *limits)

    def _limits(self) -> tuple[int, int | None] | None:
        for sign, limits in (("*", (0, None)), ("+", (1, None)), ("?", (0, 1))):
            if self._took(sign):
                return limits
        return self._counted() if self._peek() == "{" else None

    def _counted(self) -> tuple[int, int | None] | None:
        """{n}, {n,} or {n,m}; any other brace is a character."""
        end = self.pattern.find("}", self.at)
        low, comma, high = self.pattern[self.at + 1 : max(end, 0)].partition(",")
        if end < 0 or not all(n.isascii() and n.isdigit() for n in [low, *([high] if high else [])]):
            return None
        self.at = end + 1
        least, most = int(low[:9]), int(high[:9]) if high else None if comma else int(low[:9])
        if least > MOST or (most or 0) > MOST:
            raise AhaError(f"it counts to more than {MOST}")
        if most is not None and most < least:
            raise AhaError("a count that ends before it begins")
        return least, most

    def _part(self, depth: int) -> Node:
        c = self._next()
        if c == "(":
            return self._group(depth)
        if c == "[":
            return self._set()
        if c == "\\":
            return self._escape()
        if c == ".":
            return CharacterSet(lambda c: c not in _LINE_ENDS)
        if c in "^$":
            return Edge("start" if c == "^" else "end")
        if c in "*+?":
            raise AhaError("nothing to repeat")
        return self._character(c)

    def _character(self, character: str) -> CharacterSet:
        if self.folds:
            return CharacterSet(lambda c: c.casefold() == character.casefold())
        return CharacterSet(lambda c: c == character)

    def _group(self, depth: int) -> Node:
        looks = {"(?=": (False, False), "(?!": (False, True), "(?<=": (True, False), "(?<!": (True, True)}
        self.at -= 1
        look = next((looks[sign] for sign in looks if self._took(sign)), None)
        if look is None and not self._took("(?:"):
            self._took("(")
            if self._took("?"):
                self._name()
        inner = self.choice(depth + 1)
        if not self._took(")"):
            raise AhaError("a group is not closed")
        return inner if look is None else Look(inner, *look)

    def _name(self) -> None:
        """A group's name, which nothing refers to."""
        self._took("P")  # of other dialects
        end = self.pattern.find(">", self.at)
        if self._peek() != "<" or not self.pattern[self.at + 1 : max(end, 0)].isidentifier():
            raise AhaError(f"a group of a kind that is not known, (?{self.pattern[self.at : self.at + 3]}")
        self.at = end + 1

    def _escape(self) -> Node:
        c = self._next()
        if c in "bB":
            return Edge("word" if c == "b" else "inside")
        if c in "123456789" or (c == "k" and self._peek() == "<"):
            raise AhaError("it refers back to what was matched, which takes time without a bound")
        holds = self._class(c)
        return self._character(self._escaped(c)) if holds is None else CharacterSet(holds)

    def _class(self, c: str) -> Holds | None:
        """What \\d, \\p{L} and the like stand for; None for a single character."""
        if c in "pP" and self._took("{"):
            end = self.pattern.find("}", self.at)
            if end < 0:
                raise AhaError("a property is not closed")
            holds = _property(self.pattern[self.at : end])
            self.at = end + 1
            return holds if c == "p" else _not(holds)
        return _CLASSES.get(c)

    def _escaped(self, c: str) -> str:
        """The character that stands behind a backslash."""
        if c in _CONTROLS:
            return _CONTROLS[c]
        if c == "0" and not self._peek().isdigit():
            return "\0"
        if c == "c" and self._peek().isascii() and self._peek().isalpha():
            return chr(ord(self._next()) % 32)
        if c == "x":
            return self._hex(2) or c
        if c == "u":
            return self._unicode() or c
        return c

    def _unicode(self) -> str:
        if self._took("{"):
            digits, _, _ = self.pattern[self.at :].partition("}")
            self.at += len(digits) + 1
            return _code_point(digits)
        first = self._hex(4)
        if "\ud800" <= first <= "\udbff" and self._took("\\u"):
            second = self._hex(4)
            return (first + second).encode("utf-16", "surrogatepass").decode("utf-16", "replace")[:1]
        return first

    def _hex(self, n: int) -> str:
        """The character of so many hexadecimal digits; "" where there are none."""
        digits = self.pattern[self.at : self.at + n]
        if len(digits) < n or not all(d in "0123456789abcdefABCDEF" for d in digits):
            return ""
        self.at += n
        return chr(int(digits, 16))

    def _set(self) -> CharacterSet:
        """[...]: characters, ranges and classes."""
        negative, members = self._took("^"), list[Holds]()
        while not self._took("]"):
            holds, first = self._member()
            if first is None or not (
                self._peek() == "-" and self.pattern[self.at + 1 : self.at + 2] not in ("", "]")
            ):
                members.append(holds)
                continue
            self._took("-")
            end, last = self._member()
            if last is None:
                members += [holds, end, "-".__eq__]
            elif last < first:
                raise AhaError(f"a range that ends before it begins, {first}-{last}")
            else:
                members.append(self._range(first, last))
        return CharacterSet(
            (lambda c: not any(h(c) for h in members)) if negative else (lambda c: any(h(c) for h in members))
        )

    def _range(self, first: str, last: str) -> Holds:
        if self.folds:
            return lambda c: any(first <= each <= last for each in (c, c.lower(), c.upper()))
        return lambda c: first <= c <= last

    def _member(self) -> tuple[Holds, str | None]:
        """(what a member of a set holds for, the character that it is; None for a class)."""
        c = self._next()
        if c != "\\":
            return self._character(c).holds, c
        c = self._next()
        if (holds := self._class(c)) is not None:
            return holds, None
        character = "\b" if c == "b" else self._escaped(c)
        return self._character(character).holds, character


def _code_point(digits: str) -> str:
    try:
        return chr(int(digits, 16))
    except (ValueError, OverflowError):
        raise AhaError(f"\\u{{{digits[:10]}}} is no character") from None
