"""Names with brackets: what belongs to a name before an equals sign, and points with theirs."""

from __future__ import annotations

import re

from aha.rewards.math.slices import matches, spelling, split
from aha.rewards.math.tokens import Token
from aha.rewards.math.values import Matrix, Value

_IN_LABELS = frozenset(("=", "<", ">", "<=", ">=", "!=", ",", "|"))
_IN_STATEMENTS = frozenset(("=", "|", "<", ">"))


def named_point(tokens: list[Token], match: dict[int, int]) -> str:
    """The A of ``A(3, -2)``; empty for what may be a number of choices, a distribution, or anything else."""
    if len(tokens) < 6 or tokens[0].kind != "id" or tokens[1].text != "(" or match.get(1) != len(tokens) - 1:
        return ""
    name, inside = tokens[0].text, tokens[2:-1]
    letters = {t.text for t in inside if t.kind in ("id", "word", "func")}
    if len(name) > 1 or not name.isupper() or name in "CNU" or any(map(str.isupper, letters)):
        return ""
    counts = name == "P" and [t.kind for t in inside] == ["num", "op", "num"]
    is_tuple = len(split(inside, matches(inside), {","})[0]) > 1 and not any(
        t.text in _IN_STATEMENTS for t in inside
    )
    return name if is_tuple and not counts else ""


def is_label(name: str, rest: list[Token]) -> bool:
    """Whether brackets or a power behind a letter belong to its name: f(2), u(x,t), P(X=3), A^{-1}."""
    if rest[0].text in "([" and matches(rest).get(0) == len(rest) - 1 and len(rest) > 2:
        inside = rest[1:-1]
        if inside[0].kind == "num" and len(inside) == 1:
            return True
        return name in ("P", "E") or any(t.text in _IN_LABELS for t in inside)
    spelled = spelling([t for t in rest if t.text not in "{}"])
    if re.match(r"\^-1\([a-z]\)\Z", spelled) and len(name) == 1:
        return True
    return name.isupper() and spelled in ("^-1", "^T", "^n", "^k", "^-1")


def letters_of(value: Value) -> str:
    """A row or a column of letters as the name "(x,y)"; "" for anything else."""
    cells = [cell for row in value.rows for cell in row] if isinstance(value, Matrix) else []
    single = isinstance(value, Matrix) and 1 in (len(value.rows), len(value.rows[0]))
    letters = [str(cell[1]) for cell in cells if cell[0] == "sym"]
    return f"({','.join(letters)})" if single and len(letters) == len(cells) > 1 else ""
