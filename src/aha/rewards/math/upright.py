"""A number with a unit in italics, as plain text has it: ``4.5e33 erg/s``, ``300 K``, ``1.04 \\times 10^{-3} A``.

Letters behind a number are variables to everybody else; here a text is read that is nothing but one numeral and
units whose names are known, so that its unit may be told from them.
"""

from __future__ import annotations

import re
from functools import lru_cache

from aha.rewards.math.units import TABLE

_LONGEST = 120
_GAP = r"(?:\s|~|\\[,;:! ]|\$|\\quad)*"
_NUMERAL = (
    r"[-+]?\s?(?:[0-9]{1,30}(?:[.,][0-9]{1,30}){0,9}|\.[0-9]{1,30})(?:[eE][-+]?[0-9]{1,4}|"
    + _GAP
    + r"(?:\\times|\\cdot|[*x])"
    + _GAP
    + r"10\s?(?:\^|\*\*)\s?(?:\{\s?[-+]?\s?[0-9]{1,4}\s?\}|[-+]?[0-9]{1,4}))?"
)
_SPLIT = re.compile(
    r"\$?(?P<number>" + _NUMERAL + r"|10\s?\^\s?\{?[-+]?[0-9]{1,4}\}?)(?P<rest>(?![0-9.,]).+)\Z", re.DOTALL
)
_FRACTION = re.compile(r"\\[dt]?frac\s?\{([^{}]{1,30})\}\s?\{((?:[^{}]|\{[^{}]{0,9}\}){1,30})\}")
_MARKUP = re.compile(
    r"\\(?:text|mathrm|textrm|rm|operatorname|mathit|left|right)(?![A-Za-z])|\\quad|\\[,;:! ]|[~$]"
)
_PIECE = re.compile(
    r"\\cdot|\\times|\*\*|[A-Za-zÅ]{1,30}|\^?\s?\{\s?[-+]?[0-9]\s?\}|\^\s?[-+]?[0-9]|[-/*.(){}\s]|[0-9]"
)
_SUN = re.compile(r"(?:\b([MLR])_\{?\s?\\odot\s?\}?|(?i:\bsolar (mass|radi|luminosit)(?:es|us|i|ies|y)?\b))")
_SUNS = {"m": "solarmass", "r": "solarradius", "l": "solarluminosity"}
_MICRO = re.compile(r"\\mu\s?(?=[A-Za-z{\\])")
_WORD = re.compile(r"[a-z]{5,}s?\Z")
_POWER = re.compile(r"[-+]?[0-9]")


@lru_cache(maxsize=4096)
def with_upright_unit(text: str) -> str | None:
    """The text with its unit in ``\\text``; None where it is no numeral that is followed by units alone.

    A single letter without a power is a unit only where a space parts it from the number ("5 m", but not "5m").
    """
    text = text.strip()
    if len(text) > _LONGEST or not text:
        return None
    match = _SPLIT.match(text)
    if match is None:
        return None
    rest = _SUN.sub(lambda m: f" {_SUNS[(m[1] or m[2])[0].lower()]} ", match["rest"])
    rest = _MICRO.sub("micro", rest)
    rest = rest.replace("\\AA", " angstrom ").replace("Å", " angstrom ").replace("light-year", "lightyear")
    rest = _FRACTION.sub(r"\1/(\2)", rest)
    unit = _unit(_MARKUP.sub(" ", rest))
    return None if unit is None else f"{match['number']}\\text{{ {unit} }}"


def _unit(rest: str) -> str | None:
    """The units in the spelling that the reader of words knows, or None."""
    out: list[str] = []
    names: list[str] = []
    at = 0
    while at < len(rest):
        match = _PIECE.match(rest, at)
        if match is None:
            return None
        piece, at = match.group(), match.end()
        power = _POWER.search(piece) if piece[0] in "^{" or piece.isdigit() else None
        if piece[0].isalpha():
            names.append(piece)
            out.append(f" {piece}")
        elif power is not None:
            joined = piece in ("2", "3") and rest[match.start() - 1].isalpha()  # "cm2"
            if not names or not out[-1].strip().isalpha() or (piece[0] != "^" and not joined):
                return None
            out.append("^{" + power.group().removeprefix("+") + "}")
        elif piece == "**":
            continue
        elif piece == "/":
            out.append("/")
        elif piece == "-":
            return None
    known = [name for name in names if name in TABLE or _WORD.match(name) or name == "per"]
    if not names or known != names or not any(name in TABLE for name in names):
        return None
    alone = len(names) == 1 and len(names[0]) == 1
    if alone and not rest[:1].isspace() and len(out) == 1:
        return None
    return "".join(out).strip()
