"""Words behind a numeral that say another number: powers of ten, dozens, fractions, powers."""

from __future__ import annotations

from fractions import Fraction

from aha.rewards.math.spellings import FRACTIONS, SCALES
from aha.rewards.math.tokens import Token

_ONLY_IN_ONES = 1  # "1 third", but "3 third graders"


def scaled(tokens: list[Token], plain: bool = False) -> list[Token]:
    """``1.5 million`` and ``3 tenths`` as the numbers that they are.

    A power of ten could also be the unit of the question: ``plain`` leaves it as a word.
    """
    if not any(token.kind == "word" for token in tokens):
        return tokens
    out: list[Token] = []
    for token in tokens:
        before = out[-1].value if out else None
        factor = (
            None if before is None or token.kind != "word" else _factor(token.text.lower(), before, plain)
        )
        if factor is None or before is None:
            out.append(token)
        else:
            out[-1] = Token("num", f"{out[-1].text} {token.text}", before * factor)
    return out


def _factor(word: str, before: Fraction, plain: bool) -> Fraction | int | None:
    """What a word multiplies the number before it by, or None."""
    if word in FRACTIONS:
        return FRACTIONS[word] if word.endswith(("s", "ves")) or before == _ONLY_IN_ONES else None
    if word == "hundred":
        return 100
    return None if plain else SCALES.get(word)
