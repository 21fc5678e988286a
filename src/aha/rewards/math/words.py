# ruff: noqa: E501
"""Answers in words: one spelling, synonyms, and the letter of a chosen option."""

from __future__ import annotations

import re
from fractions import Fraction

from aha.rewards.math.multiples import FRACTIONS, SCALES
from aha.rewards.math.symbols import NUMBER_WORDS, TEXT_COMMANDS
from aha.rewards.math.tokens import normalize
from aha.rewards.math.values import Scalar, num

_STRIPPED = re.compile(r"\\(?:[A-Za-z]+|.)|[\s{}$~]+", re.DOTALL)
_MAY_BE_WORDS = re.compile(
    r"[\s$]*(?:\\(?:text|mathrm|textbf|mbox|textit)\s*\{\s*)?[A-Za-z]{1,9}[\s~-]+[A-Za-z]|[\s$]*\\?[a-z{]*half|"
    r"[\s$]*[0-9]{1,9}[\s~$]*(?:\\text\s*\{)?[\s~$]*and\s+[a-z]{1,9}[\s-]"
)
_COUNTED = re.compile(r"\s*([A-Za-z]{3,9})(?:[ -][A-Za-z]{1,20}){1,6}\s*\.?\s*\Z")
_EDGE = " .,;:!?()[]\"'。，"
_LETTER = re.compile(
    r"(?:(?:the )?(?:correct )?(?:option|choice|answer)(?: is)?|选项?|答案是?)?"
    r"[\s:]*(\()?([A-Za-z])(?:[).:、．]+|\s*$)(.*)",
    re.DOTALL,
)
# After the letter may stand what the option says, but no second option: "A. B", "A) 5, B) 6", "(A)(C)".
_HEDGE = re.compile(
    r"(?i:\b(?:or|and|not|maybe|nor|both|either)\b)|[或和与、及?？]|\([A-Za-z]\)|"
    r"(?:^|[,;/&|.])\s*\(?[A-Z](?:[).:,;/]|\s*$|\s*[,;/&|])|^\s*[A-Z]\b(?!['’])(?!\s+[a-z])"
)
EMPTY = frozenset(("no solution", "no solutions", "none", "empty set", "no real solutions", "无解", "空集"))
_ALL_REALS = frozenset(
    (
        *(
            "allrealnumbers",
            "allreals",
            "realnumbers",
            "allreal",
            "anyrealnumber",
            "everyrealnumber",
            "anyreal",
        ),
        *(
            "thesetofallrealnumbers",
            "setofallrealnumbers",
            "setofrealnumbers",
            "allrealvalues",
            "全体实数",
            "实数集",
        ),
        *("一切实数", "任意实数", "所有实数"),
    )
)
_NOTHING = re.compile(
    r"no (?:such |real |integer |integral |positive |rational |valid |possible |other )*(?:solution|root|value|number|"
    r"integer|function|pair|triple|polynomial|set|sequence|triangle|prime|[a-z])s?(?: exists?| of [a-z])?\Z"
)
_OF_A_KIND = re.compile(
    r"(?:(?:it is |it's )?(?:an? |the )?([a-z]+) ([a-z]+)|(?:the |this |an? |all )?([a-z]+) (?:is|are) (?:an? )?([a-z]+))\Z"
)
_KINDS = {
    "isosceles scalene equilateral equiangular": "triangle",
    "acute obtuse right": "triangle angle",
    "even odd": "number integer function",
    "prime composite": "number integer",
    "rational irrational": "number",
    "positive negative": "number integer",
    "parallel perpendicular": "line",
    "increasing decreasing": "function sequence",
    "convergent divergent": "series sequence",
    "linear quadratic exponential": "function equation",
}
_KINDS = {kind: nouns for kinds, nouns in _KINDS.items() for kind in kinds.split()}
"""Kinds, and of what they are told; another noun, and a second kind, says another thing."""
_PREDICATE = re.compile(r"\b(?:is|are)\b")
_SPELLED = (
    "cero null", "uno eins", "dos deux zwei", "tres trois drei", "cuatro quatre vier quattro quatro", "cinco cinq cinque",
    "seis sechs", "siete sept sieben sette sete", "ocho huit acht otto oito", "nueve neuf neun nove", "diez dix zehn dieci dez",
)  # fmt: skip
_OF_ROMANCE_AND_GERMAN = {word: value for value, words in enumerate(_SPELLED) for word in words.split()}
"""Numbers up to ten where English has no word of that spelling."""
_PLACES = {"hundred": 100, "thousand": 1_000, "million": 10**6, "billion": 10**9}
_ORDINALS = {"first": 1, "second": 2} | {
    word: below.denominator for word, below in FRACTIONS.items() if word.endswith("th") or word == "third"
}
_SYNONYMS = {
    "true": "yes", "false": "no", "dne": "does not exist", "no solutions": "no solution",
    "none": "no solution", "empty set": "no solution", "no real solution": "no solution",
    "no real solutions": "no solution",
    "无解": "no solution", "空集": "no solution", "是": "yes", "否": "no", "正确": "yes", "错误": "no",
    "对": "yes",    "错": "no", "星期一": "周一", "星期二": "周二", "星期三": "周三",
    "星期四": "周四", "星期五": "周五",
    "星期六": "周六", "星期日": "周日", "星期天": "周日", "infinitely many solutions": "infinitely many",
    "infinite": "infinitely many", "infinite solutions": "infinitely many", "infinite number of solutions": "infinitely many",
    "monday": "周一", "mon": "周一", "tuesday": "周二", "tue": "周二", "tues": "周二", "wednesday": "周三", "wed": "周三",
    "thursday": "周四", "thu": "周四", "thur": "周四", "thurs": "周四", "friday": "周五", "fri": "周五", "saturday": "周六",
    "sunday": "周日", "jan": "january", "feb": "february", "mar": "march", "apr": "april", "jun": "june", "jul": "july",
    "aug": "august", "sep": "september", "sept": "september", "oct": "october", "nov": "november", "dec": "december",
}  # fmt: skip


def words_of(text: str) -> str:
    """An answer's words in one spelling: no markup, no punctuation at its ends, one case."""
    text = normalize(text)
    kept: list[str] = []
    end = 0
    for match in _STRIPPED.finditer(text):
        kept.append(text[end : match.start()])
        command = match.group()
        if command[0] != "\\":
            kept.append(" ")
        elif command[1:] not in TEXT_COMMANDS and command[1:].isalpha():
            kept.append(f" {command} ")
        else:
            kept.append(" ")
        end = match.end()
    kept.append(text[end:])
    return " ".join("".join(kept).split()).strip(_EDGE).casefold()


def canonical_words(words: str) -> str:
    """Words without articles, spaces and spelling variants."""
    words = words.strip(" .,;:!?()")
    for article in ("the ", "a ", "an ", "it is ", "there is ", "there are ", "on "):
        words = words.removeprefix(article)
    words = _SYNONYMS.get(words, words)
    if _NOTHING.match(words):
        words = "no solution"
    words = _PREDICATE.sub(" ", words).removesuffix(" wins")
    return "".join(c for c in words if c.isalnum() or c in "+-<>=*/^")


def is_same_kind(one: str, other: str) -> bool:
    """``isosceles`` and ``an isosceles triangle``: one says of what the other tells the kind."""
    return any(_kind(named) == bare.strip(_EDGE) for named, bare in ((one, other), (other, one)))


def _kind(words: str) -> str | None:
    """The adjective of ``an isosceles triangle`` or ``the triangle is isosceles``."""
    match = _OF_A_KIND.match(words.strip(_EDGE))
    if match is None:
        return None
    kind, noun = (match[1], match[2]) if match[1] else (match[4], match[3])
    return kind if noun.removesuffix("s") in _KINDS.get(kind, "").split() else None


def says_all_reals(words: str) -> bool:
    """Whether the words name the set of all real numbers."""
    return canonical_words(words) in _ALL_REALS


def number_in_words(words: str) -> int | Fraction | None:
    """``minus twenty-one``, ``two thirds``, ``three and a half``, ``two point five``; None for other words."""
    parts = words.casefold().replace("-", " ").split()
    if not parts or len(parts) > 12:
        return None
    if parts[0] in ("minus", "negative"):
        value = _amount(parts[1:])
        return None if value is None else -value
    if parts in (["half", "a", "dozen"], ["halfdozen"]):
        return 6
    return _OF_ROMANCE_AND_GERMAN[parts[0]] if parts[0] in _OF_ROMANCE_AND_GERMAN else _amount(parts)


def whole_in_words(text: str) -> Scalar | None:
    """``one hundred and one`` and ``fifty percent``, which are no lists."""
    if len(text) > 120 or not _MAY_BE_WORDS.match(text):
        return None
    words = words_of(text)
    value = number_in_words(words.removesuffix(" percent"))
    return None if value is None else Scalar(num(value), None, words.endswith(" percent"))


def begins_with_number(text: str) -> bool:
    """Whether it is plain words of which the first is a number: ``five minutes`` is no product of letters."""
    match = _COUNTED.match(text)
    return match is not None and match[1].casefold() in NUMBER_WORDS


def _amount(parts: list[str]) -> int | Fraction | None:
    whole = _whole(parts)
    if whole is not None or not parts:
        return whole
    if parts[-1] in SCALES and len(parts) > 1:
        times = 1 if parts[:-1] == ["a"] else _amount(parts[:-1])
        return None if times is None else SCALES[parts[-1]] * times
    if "point" in parts:
        at = parts.index("point")
        front, digits = _whole(parts[:at]), [NUMBER_WORDS.get(part, 10) for part in parts[at + 1 :]]
        if front is None or not digits or max(digits) > 9:
            return None
        return front + Fraction(int("".join(map(str, digits))), 10 ** len(digits))
    if "and" in parts:
        at = len(parts) - 1 - parts[::-1].index("and")
        in_digits = at == 1 and parts[0].isdecimal() and len(parts[0]) < 10
        front = int(parts[0]) if in_digits else _whole(parts[:at])
        behind = _part(parts[at + 1 :])
        return None if front is None or behind is None or behind >= 1 else front + behind
    return _part(parts)


def _part(parts: list[str]) -> Fraction | None:
    """``a half``, ``one third``, ``three quarters``."""
    below = FRACTIONS.get(parts[-1]) if parts else None
    if below is None:
        return None
    if parts in (["half"], ["a", parts[-1]], ["one", parts[-1]]):
        return below
    above = _whole(parts[:-1]) if parts[-1].endswith("s") else None
    return None if above is None or above < 2 else above * below


def _whole(parts: list[str]) -> int | None:
    if parts[:1] == ["a"] and parts[1:2] and parts[1] in _PLACES:
        parts = ["one", *parts[1:]]
    if not parts or (parts[0] not in NUMBER_WORDS and parts[0] not in _PLACES) or parts[-1] == "and":
        return None
    total, section, room = 0, 0, 100  # room: what the next word must be smaller than
    for part in parts:
        value = NUMBER_WORDS.get(part)
        if value is not None and value < room:
            section, room = section + value, 10 if value >= 20 else 0
        elif part == "hundred" and section < 100:
            section, room = (section or 1) * 100, 100
        elif part == "score" and section < 10:
            section, room = (section or 1) * 20, 20
        elif part in _PLACES and part != "hundred":
            total, section, room = total + (section or 1) * _PLACES[part], 0, 100
        elif part != "and" or room not in (20, 100):
            return None
    return total + section


def ordinal_in_words(words: str) -> int | None:
    """``third`` and ``twenty-first``; None for other words, "one third" among them."""
    parts = words.casefold().replace("-", " ").split()
    last = _ORDINALS.get(parts[-1]) if parts else None
    if last is None or len(parts) == 1:
        return last
    tens = NUMBER_WORDS.get(parts[0], 0) if len(parts) == 2 else 0
    return tens + last if tens >= 20 and last < 10 else None


def letter(words: str, gold: str) -> bool:
    """Whether the words choose the option with this letter, and only that one: "(B)", "B. 5"."""
    match = _LETTER.match(words[:300].strip())
    if match is None or match.group(2).upper() != gold.upper():
        return False
    return _HEDGE.search(match.group(3)) is None
