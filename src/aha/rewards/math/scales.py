"""Words behind a numeral that say another number: powers of ten, dozens, fractions, powers."""

from __future__ import annotations

from fractions import Fraction

from aha.rewards.math.multiples import FRACTIONS, SCALES
from aha.rewards.math.tokens import Token

_ONLY_IN_ONES = 1  # "1 third", but "3 third graders"


def scaled(tokens: list[Token]) -> list[Token]:
    """``1.5 million`` and ``3 tenths`` as the numbers that they are."""
    if not any(token.kind == "word" for token in tokens):
        return tokens
    out: list[Token] = []
    for token, behind in zip(tokens, [*tokens[1:], None], strict=True):
        before = out[-1].value if out else None
        word = token.text.lower() if token.kind == "word" else ""
        is_adjective = (
            word == "gross" and behind is not None and behind.kind == "word" and behind.text != "of"
        )
        factor = None if before is None or is_adjective else _factor(word, before)
        if factor is None or before is None:
            out.append(token)
        else:
            out[-1] = Token("num", f"{out[-1].text} {token.text}", before * factor)
    return out


def _factor(word: str, before: Fraction) -> Fraction | int | None:
    """What a word multiplies the number before it by, or None."""
    if word in FRACTIONS:
        return FRACTIONS[word] if word.endswith(("s", "ves")) or before == _ONLY_IN_ONES else None
    return SCALES.get(word)
