"""How curation reads text: words and numbers in one case, each Chinese, Japanese or Korean character alone, and
with them the signs that carry meaning in mathematics and code.

``x^2 - 5x`` and ``x^2 + 5x`` are two problems: a sign stands at its word (``x``, ``^2``, ``-5x``), so that runs of
words are as long as before. What only sets off prose (commas, hyphens in words, emphasis, bullets, brackets
around words) is left away.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence

_CJK = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff"
_ITEM = re.compile(
    r"(?P<run>(?:[a-z]++[ \n,;?\"$]++)++)"  # words of prose one after another, at once
    rf"|(?P<word>[{_CJK}]|\d+\.\d+|[^\W_{_CJK}]+)"
    r"|(?P<sign>\*+|-+|/+|[+=<>^%|~&!'°√∞∈∉∪∩⊂⊆≤≥≠±∓≈≡:()\[\]]|\.(?=\d))"
)
_PLAIN = re.compile(r"[A-Za-z0-9_\s.,;?\"$\\{}#@`]*\Z")
"""Text without a sign: nothing but words is in it."""
_WORD = re.compile(r"\d+\.\d+|\.\d+|[^\W_]+")
_LETTERS = re.compile("[a-z]+")
_SUPERSCRIPT = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ]+")
_RAISED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ", "0123456789+-n")
_ALIKE = str.maketrans({"−": "-", "–": "-", "‒": "-", "×": "*", "·": "*", "⋅": "*", "∙": "*", "÷": "/", "⁄": "/",
                        "∕": "/", "′": "'", "≦": "≤", "≧": "≥", "（": "(", "）": ")"})  # fmt: skip
_AFTER = frozenset(")]!%°'")
"""Signs that belong to the word in front of them."""
_ALWAYS = frozenset("+=<>^%|~&°√∞∈∉∪∩⊂⊆≤≥≠±∓≈≡.")

_TURNING_WORDS = """
    not no never least most maximum minimum max min even odd more less fewer larger smaller greater positive
    negative true false increasing decreasing sin cos tan cot sec csc log ln exp sqrt le leq ge geq lt gt ne neq
    cup cap in notin pm mp sum prod zero two three four five six seven eight nine ten eleven twelve twenty
    thirty forty fifty hundred thousand half third quarter double twice triple dozen or xor
    一 二 两 三 四 五 六 七 八 九 十 百 千 万 半
"""
_TURNING = frozenset(_TURNING_WORDS.split()) | frozenset("bcefghjklnopqruvwxyz")
"""Words that make another problem of a text, as a sign or a number does; single letters name something, but for
those that stand alone in prose ("don't" is two words)."""


def tokens(text: str) -> list[str]:
    """Words and numbers of ``text`` with their signs, compatibility forms made alike, in one case. Linear."""
    if not text.isascii():
        text = _SUPERSCRIPT.sub(lambda m: "^" + m[0].translate(_RAISED), text)
        text = unicodedata.normalize("NFKC", text).translate(_ALIKE)
    text = text.casefold()
    if _PLAIN.match(text):
        return _WORD.findall(text)
    return _glued(text, _meant(text))


def _meant(text: str) -> list[tuple[str, int, str]]:
    """(text, start, "run", "word" or "sign") of words and of the signs that mean something, in order."""
    items: list[tuple[str, int, str]] = []
    opened: list[tuple[int, int]] = []  # (its place among the items, signs and numbers before it)
    meaning = 0  # signs and numbers so far: brackets count that have one of them inside
    dropped: set[int] = set()
    for match in _ITEM.finditer(text):
        kind, word = match.lastgroup or "", match[0]
        if kind == "word":
            meaning += not word.isalpha()
        elif kind == "sign":
            if word in "([":
                opened.append((len(items), meaning))
            elif word in ")]":
                at, before = opened.pop() if opened else (-1, meaning)
                if meaning == before:
                    dropped.add(at)
                    continue
            elif word[0] in _ALWAYS or _means(text, word, match.start()):
                meaning += 1
            else:
                continue
        items.append((word, match.start(), kind))
    dropped.update(at for at, _ in opened)
    return [item for i, item in enumerate(items) if i not in dropped] if dropped else items


def _means(text: str, sign: str, start: int) -> bool:
    """Whether a sign that prose uses too is an operator where it stands."""
    before = text[start - 1] if start else "\n"
    after = text[start + len(sign)] if start + len(sign) < len(text) else "\n"
    kind = sign[0]
    if kind == "!":
        return after == "=" or before.isdigit() or before == ")"
    if kind == "'":
        return after in "('"
    if kind == ":":
        return (before.isdigit() or before == "[") and (after.isdigit() or after in "]-")
    if before == "\n" and after in " \n":  # a bullet, or a line of them
        return False
    if kind == "*":
        return before.isspace() == after.isspace()  # emphasis leans on its words
    if kind == "-" and len(sign) > 1:
        return False
    if before.isalpha() and after.isalpha():  # well-known, and/or; but x-y
        return _alone(text, start - 1, -1) or _alone(text, start + len(sign), 1)
    return (
        kind == "-"
        or before.isspace() == after.isspace()
        or before.isdigit()
        or after.isdigit()
        or before in ")]"
    )


def _alone(text: str, at: int, step: int) -> bool:
    """Whether the letter at a place is a word of its own, looking away from the sign."""
    beyond = at + step
    return not 0 <= beyond < len(text) or not text[beyond].isalnum()


def _glued(text: str, items: list[tuple[str, int, str]]) -> list[str]:
    """Words with their signs."""
    glued: list[str] = []
    waiting, end = "", -1
    for item, start, kind in items:
        if kind == "sign":
            if item in _AFTER and glued and not waiting and start == end:
                glued[-1] += item
            else:
                waiting += item
        elif kind == "run":
            first = len(glued)
            glued += _LETTERS.findall(item)
            glued[first] = waiting + glued[first]
            waiting = ""
        else:
            glued.append(waiting + item)
            waiting = ""
        end = start + len(item)
    if waiting:
        glued[-1:] = [glued[-1] + waiting] if glued else [waiting]
    return glued


def signs(words: Sequence[str]) -> tuple[str, ...]:
    """What of the words makes another problem if it is changed: signs, numbers, names of variables, and words
    such as "not", "three" or "even", in order."""
    return tuple(word for word in words if word in _TURNING or not word.isalpha())


def ngrams(words: Sequence[str], n: int) -> Iterator[str]:
    """Every run of ``n`` words; the whole where there are fewer, and nothing where there are none."""
    if words and len(words) < n:
        yield " ".join(words)
    for i in range(len(words) - n + 1):
        yield " ".join(words[i : i + n])


def row_text(row: object, keys: Sequence[str] = ()) -> str:
    """All texts in a row (or in the columns named), whatever the schema, one line each."""
    parts: list[str] = []
    chosen = {k: row.get(k) for k in keys} if keys and isinstance(row, dict) else row
    _collect(chosen, parts)
    return "\n".join(parts)


def _collect(value: object, parts: list[str]) -> None:
    if isinstance(value, str):
        parts.append(value)
    elif isinstance(value, dict):
        for key, inner in value.items():
            if key not in ("role", "from", "id"):
                _collect(inner, parts)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            _collect(inner, parts)
