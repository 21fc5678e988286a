"""Multiple choice: the letter of an option, alone or with what the option says, and several letters together."""

from __future__ import annotations

import re

from aha.rewards.math.values import Collection, Scalar, Value
from aha.rewards.math.words import letter, words_of

_OPTIONS = re.compile(r"[A-H]{2,8}")
_OPTION = re.compile(r"(?:\([A-Z]\)|[A-H][.)、]\s)\s*\S")


def chosen(option: str, answer: str) -> bool | None:
    """Whether an answer chooses the option with this letter, and only that one; None where that is not to be told."""
    plain = words_of(answer) if len(answer) <= 300 else ""
    spelled = answer.strip().strip("$.").strip()
    if spelled == option:
        return True
    if spelled != spelled.lower() or "(" in answer or "text" in answer:
        marked = " ".join(_visible(answer).split())
        if letter(marked, option):
            return True
    if len(plain) == 1 and plain.isalpha() and plain != option.lower():
        return False
    return None


def same_options(gold: str, value: Value) -> bool:
    """``ACD`` and ``A, C, D``: several options that are chosen together, in the order of the alphabet."""
    if not _OPTIONS.fullmatch(gold) or list(gold) != sorted(set(gold)) or not isinstance(value, Collection):
        return False
    return value.items == tuple(Scalar(("sym", letter)) for letter in gold) and not value.joined_by_or


def _visible(text: str) -> str:
    """Text without its markup, with its case and brackets."""
    for command in ("\\textbf", "\\mathbf", "\\mathrm", "\\text", "\\mbox", "\\left", "\\right"):
        text = text.replace(command, " ")
    for sign in ("{", "}", "$", "~", "\\ ", "\\,", "\\"):
        text = text.replace(sign, " ")
    return text.strip()


def choice(text: str) -> str:
    """The letter of the option that a reference answer is; empty for other references."""
    visible = _visible(text).strip("()., ")
    if _OPTION.match(_visible(text)):
        visible = visible[0]  # "(A) 0", "B. 12"
    return visible if len(visible) == 1 and "A" <= visible <= "Z" else ""
