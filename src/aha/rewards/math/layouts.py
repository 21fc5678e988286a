"""What LaTeX sets in rows: matrices, systems of equations, cases and aligned steps."""

from __future__ import annotations

from collections.abc import Callable

from aha.rewards.math.expressions import Unknown, parse_expression
from aha.rewards.math.slices import matches, spelling, split, trimmed
from aha.rewards.math.tokens import Token, Unreadable
from aha.rewards.math.values import Collection, Matrix, Named, Opaque, Piecewise, Region, Relation, Value

Read = Callable[[list[Token]], Value]
_ALIGNED = frozenset(
    [
        "aligned",
        "align",
        "align*",
        "alignedat",
        "gathered",
        "gather",
        "split",
        "eqnarray",
        "equation",
        "multline",
    ]
)
_CASES = frozenset("cases dcases rcases".split())  # noqa: SIM905
_CONDITION_WORDS = frozenset("if for when where 当 若 如果".split())  # noqa: SIM905
_OTHERWISE = frozenset(("otherwise", "else", "其他", "否则", "其它"))


def layout(tokens: list[Token], read: Read) -> Value | None:
    """The value of tokens that hold an environment; None if they hold none, or as a side of an equation."""
    start = next((i for i, t in enumerate(tokens) if t.text.startswith("begin ")), None)
    if start is None or any(t.text == "=" for t in tokens[:start]):
        return None
    kind = tokens[start].text.split(" ")[1]
    end = next((i for i, t in enumerate(tokens) if t.text == f"end {kind}"), None)
    if end is None:
        raise Unreadable("a matrix that is never closed")
    body, after = tokens[start + 1 : end], tokens[end + 1 :]
    if kind == "array" and body and body[0].text == "{":
        body = body[matches(body)[0] + 1 :]
    before = tokens[:start]
    left_brace = (
        bool(before) and before[-1].text in ("lset", "{") and not any(t.text == "rset" for t in after)
    )
    if kind in _CASES or (kind == "array" and left_brace):
        outside = before[:-1] if left_brace else before
        return Opaque(spelling(tokens)) if outside or trimmed(after) else _cases(body, read)
    if kind in _ALIGNED or (kind == "array" and _holds_equations(body)):
        outside = before[:-1] if left_brace else before
        return Opaque(spelling(tokens)) if outside or trimmed(after) else _aligned(body, read)
    if "matrix" not in kind and kind != "array":
        return Opaque(spelling(tokens))
    return _matrix(tokens, before, body, after, kind)


def _matrix(
    tokens: list[Token], before: list[Token], body: list[Token], after: list[Token], kind: str
) -> Value | None:
    before = [t for t in before if t.text not in ("(", "[", "*")]
    after = [t for t in after if t.text not in (")", "]")]
    is_turned = "".join(t.text for t in after if t.text not in "{}") in ("^T", "^⊤", "^\\top", "^\\intercal")
    after = [] if is_turned else after
    if after or kind in ("vmatrix", "Vmatrix") or (before and before[-1].text == "|"):
        return None if any(t.text == "=" for t in after) else Opaque(spelling(tokens))
    try:
        rows = tuple(tuple(parse_expression(trimmed(cell)) for cell in row) for row in _rows(body))
        if before:
            scale = parse_expression(before)
            rows = tuple(tuple(("mul", scale, cell) for cell in row) for row in rows)
    except Unknown:
        return Opaque(spelling(tokens))
    if is_turned and len({len(row) for row in rows}) == 1:
        rows = tuple(zip(*rows, strict=True))
    return Matrix(rows)


def _rows(body: list[Token]) -> list[list[list[Token]]]:
    rows = [row for row in split(body, matches(body), {"newline"})[0] if trimmed(row)]
    if not rows:
        raise Unreadable("an empty matrix: nothing to read")
    return [split(row, matches(row), {"&"})[0] for row in rows]


def _holds_equations(body: list[Token]) -> bool:
    return any(t.text == "=" for t in body)


def _aligned(body: list[Token], read: Read) -> Value:
    """Lines one below the other; a line that begins with a relation goes on from the one before."""
    lines: list[list[Token]] = []
    for row in _rows(body):
        line = trimmed([token for cell in row for token in cell])
        if lines and line and line[0].text == "=":
            lines[-1] += line
        elif line:
            lines.append(line)
    return _together([read(line) for line in lines])


def _cases(body: list[Token], read: Read) -> Value:
    """A system of equations, or a function by cases."""
    rows = [[trimmed(cell) for cell in row if trimmed(cell)] for row in _rows(body)]
    rows = [_split_condition(row, read) for row in rows]
    if rows and all(len(row) == 2 for row in rows):
        return Piecewise(tuple((read(value), _condition(condition, read)) for value, condition in rows))
    return _together([read([token for cell in row for token in cell]) for row in rows])


def _split_condition(row: list[list[Token]], read: Read) -> list[list[Token]]:
    """``x^2, x > 0`` in one cell: a value and its condition, where the first is no equation itself."""
    if len(row) != 1:
        return row
    pieces = [trimmed(piece) for piece in split(row[0], matches(row[0]), {","})[0]]
    if len(pieces) != 2 or not all(pieces) or any(t.text == "=" for t in pieces[0]):
        return row
    condition = _condition(pieces[1], read)
    return pieces if condition is None or isinstance(condition, Region | Relation) else row


def _condition(tokens: list[Token], read: Read) -> Value | None:
    words = [t for t in tokens if t.kind != "word" or t.text.lower() not in _CONDITION_WORDS]
    if not words or any(t.kind == "word" and t.text.lower() in _OTHERWISE for t in words):
        return None
    return read(words)


def _together(values: list[Value]) -> Value:
    """Several equations that hold at once."""
    values = [part for value in values for part in _members(value)]
    return values[0] if len(values) == 1 else Collection("list", tuple(values))


def _members(value: Value) -> tuple[Value, ...]:
    plain = (
        isinstance(value, Collection)
        and value.kind == "list"
        and all(isinstance(i, Named) for i in value.items)
    )
    return value.items if plain and isinstance(value, Collection) else (value,)
