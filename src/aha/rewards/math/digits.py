"""Digits of numerals: how they are grouped, and which of them repeat."""

from __future__ import annotations


def indian_groups(
    digits: str, pieces: list[str], at: int, width: int, separator: str
) -> tuple[str, int] | None:
    """``12,34,567``: groups of two and a last one of three, as lakhs and crores are parted. Gives all the digits, and
    how many pieces behind the first group they take; None for another grouping."""
    if not width or separator == " " or len(digits) > 2:
        return None
    groups, ahead = [digits], 0
    sign = pieces[at]
    while len(groups[-1]) < 3 and len(groups) < 9:
        group = pieces[at + ahead + width] if at + ahead + width < len(pieces) else ""
        if not (group.isascii() and group.isdigit() and len(group) in (2, 3)):
            return None
        groups.append(group)
        ahead += width + 1
        if at + ahead >= len(pieces) or pieces[at + ahead] != sign:
            break
    goes_on = pieces[at + ahead : at + ahead + 2]
    if (
        len(groups) < 3
        or len(groups[-1]) < 3
        or (goes_on[:1] == [","] and goes_on[1:] and goes_on[1][0].isdigit())
    ):
        return None
    return "".join(groups), ahead


def period(digits: str) -> str:
    """The block that the written digits visibly repeat: "333" -> "3", "142857142857" -> "142857"."""
    for length in range(1, 13):
        block = digits[-length:]
        times = 3 if length == 1 else 2
        if len(digits) >= length * times and digits.endswith(block * times):
            return block
    return ""
