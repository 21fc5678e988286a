# ruff: noqa: E501
"""Chemical formulas: ``H_2O``, ``\\mathrm{H_2O}``, ``\\ce{H2O}`` and ``H2O`` are one."""

from __future__ import annotations

import re

_ELEMENTS = (
    "H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Rb Sr Y Zr Nb Mo "
    "Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce W Pt Au Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U"
)
_ELEMENT = "|".join(sorted(_ELEMENTS.split(), key=len, reverse=True))
_FORMULA = re.compile(
    rf"(?:(?:{_ELEMENT}|\(|\))[0-9]{{0,3}}){{2,30}}(?:\^[0-9]?[+-])?\Z|(?:{_ELEMENT})\^[0-9]?[+-]\Z"
)
_MARKUP = re.compile(
    r"\\(?:mathrm|text|rm|ce|textrm|mathsf|mathit|left|right)(?![A-Za-z])|\\[,;! ]|[{}$\s_~]"
)
_LONGEST = 100


def same_formula(gold: str, answer: str) -> bool:
    """Whether two texts spell one chemical formula: the same elements and numbers in the same order."""
    if len(gold) > _LONGEST or len(answer) > _LONGEST:
        return False
    formula = _MARKUP.sub("", gold)
    return formula == _MARKUP.sub("", answer) and _FORMULA.match(formula) is not None
