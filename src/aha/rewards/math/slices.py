"""Cutting a list of tokens at its own level: brackets, separators, ends."""

from __future__ import annotations

from collections.abc import Iterator, Set

from aha.rewards.math.tokens import Token, Unreadable

OPENING = frozenset(("(", "[", "{", "lset", "langle"))
_CLOSE = frozenset((")", "]", "}", "rset", "rangle"))


def trimmed(tokens: list[Token]) -> list[Token]:
    """Without the punctuation and the empty groups at both ends."""
    start, end = 0, len(tokens)
    while (
        end > start
        and tokens[end - 1].kind == "op"
        and tokens[end - 1].text in (".", ",", ";", "newline", ":", "*")
    ):
        end -= 1
    while (
        start < end and tokens[start].kind == "op" and tokens[start].text in (".", ",", ";", ":", "newline")
    ):
        start += 1
    return tokens[start:end]


def filled(pieces: list[list[Token]]) -> list[list[Token]]:
    return [piece for piece in pieces if trimmed(piece)]


def spelling(tokens: list[Token], between: str = "") -> str:
    """The tokens in one spelling, for comparison by text. Two numerals never run together."""
    parts: list[str] = []
    numeral = False
    for token in tokens:
        if numeral and token.kind == "num" and not between:
            parts.append(" ")
        parts.append(token.text)
        numeral = token.kind == "num"
    return between.join(parts)


def matches(tokens: list[Token]) -> dict[int, int]:
    """Where each opening bracket closes. Raises Unreadable when braces do not balance."""
    partners: dict[int, int] = {}
    stack: list[int] = []
    for index, token in enumerate(tokens):
        if token.kind != "op":
            continue
        if token.text in OPENING:
            stack.append(index)
        elif token.text in _CLOSE and stack:
            opened = tokens[stack[-1]].text
            if (token.text == "}") == (opened == "{"):
                partners[stack.pop()] = index
        elif token.text == "}":
            raise Unreadable("an unbalanced brace")
    if any(tokens[index].text == "{" for index in stack):
        raise Unreadable("an unbalanced brace")
    return partners


def at_depth_zero(tokens: list[Token], match: dict[int, int]) -> Iterator[tuple[int, Token]]:
    """(index, token) of everything outside all brackets, matrices and absolute values' insides."""
    index = environment = 0
    while index < len(tokens):
        token = tokens[index]
        if token.text.startswith("begin ") or token.text.startswith("end "):
            environment += 1 if token.text.startswith("begin ") else -1
        elif index in match:
            index = match[index]
        elif environment == 0:
            yield index, token
        index += 1


def split(
    tokens: list[Token], match: dict[int, int], separators: Set[str]
) -> tuple[list[list[Token]], list[str]]:
    pieces: list[list[Token]] = []
    operators: list[str] = []
    start = 0
    for index, token in at_depth_zero(tokens, match):
        if token.kind == "op" and token.text in separators:
            pieces.append(tokens[start:index])
            operators.append(token.text)
            start = index + 1
    pieces.append(tokens[start:])
    return pieces, operators


def halves(tokens: list[Token], match: dict[int, int], sign: str) -> tuple[list[Token], list[Token]]:
    at = next(i for i, t in at_depth_zero(tokens, match) if t.text == sign)
    return tokens[:at], tokens[at + 1 :]
