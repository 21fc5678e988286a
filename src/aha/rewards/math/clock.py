"""Times of day in words: ``3 PM``, noon, half past three, 下午3点半. Those with a colon are spelled as ratios are."""

from __future__ import annotations

import re
from fractions import Fraction

from aha.rewards.math.measures import without_meridiem
from aha.rewards.math.tokens import Token
from aha.rewards.math.values import Node, Ratio, num
from aha.rewards.math.words import number_in_words, words_of

_HALVES = {
    "上午": "am", "早上": "am", "早晨": "am", "凌晨": "am", "清晨": "am",
    "下午": "pm", "晚上": "pm", "傍晚": "pm", "中午": "pm",
}  # fmt: skip
_NAMED = {"noon": 12, "midnight": 0}
_MOST_TOKENS = 10
_LONGEST = 120
_MAY_BE_SPOKEN = re.compile(r"(?i)past|o['’]clock|quarter|minutes?|half after")
_SPOKEN = re.compile(
    r"(?:at |it is |it's )?(?:(?:exactly )?(?P<minute>half|(?:a )?quarter|[a-z0-9]+(?: (?!minute)[a-z]+)?)"
    r"(?P<unit> minutes?)? (?P<side>past|after|to|till|until|before|of) )?"
    r"(?P<hour>noon|midnight|[0-9]{1,2}|[a-z]+)(?: o'clock)?"
    r"(?: ?(?P<day>a\.?m|p\.?m|in the morning|in the afternoon|in the evening|at night))?\Z"
)
_PARTS_OF_DAY = {
    "am": "am",
    "pm": "pm",
    "inthemorning": "am",
    "intheafternoon": "pm",
    "intheevening": "pm",
    "atnight": "pm",
}


def clock(tokens: list[Token]) -> Ratio | None:
    """The time of day that the tokens spell in words, or None."""
    if len(tokens) > _MOST_TOKENS:
        return None
    name = "".join(t.text for t in tokens if t.kind in ("word", "id")).lower()
    if name in _NAMED and not any(t.kind in ("num", "op") for t in tokens):
        return _time(_NAMED[name], 0, "pm" if name == "noon" else "am")
    if tokens[0].kind == "num" and name == "oclock" and all(t.text in "'" for t in tokens if t.kind == "op"):
        return _time(tokens[0].value, 0, "")
    if [t.kind for t in tokens] == ["num", "id", "num"] and name == "h" and len(tokens[2].text) == 2:
        return _time(tokens[0].value, tokens[2].value or 0, "")  # 16h15
    if tokens[0].kind == "num" and len(tokens) > 1:
        rest, half = without_meridiem(tokens)
        if half and len(rest) == 1:
            return _time(tokens[0].value, 0, half)
    return _chinese(tokens)


def _chinese(tokens: list[Token]) -> Ratio | None:
    half = _HALVES.get(tokens[0].text, "")
    tokens = tokens[1:] if half else tokens
    if half and [t.kind for t in tokens] == ["num", "op", "num"] and tokens[1].text == ":":
        return _time(tokens[0].value, tokens[2].value or 0, half)
    if len(tokens) < 2 or tokens[0].kind != "num":
        return None
    mark = tokens[1].text
    minutes = {"点半": 30, "时半": 30, "点整": 0}.get(mark)
    if mark not in ("点", "时", "点半", "时半", "点整") or (mark == "时" and not half):
        return None
    if len(tokens) >= 3 and minutes is None and tokens[2].kind == "num":
        minutes = tokens[2].value if [t.text for t in tokens[3:]] in ([], ["分"], ["分钟"]) else None
        return None if minutes is None else _time(tokens[0].value, minutes, half)
    return _time(tokens[0].value, minutes or 0, half) if len(tokens) == 2 else None


def _time(hour: Fraction | int | None, minute: Fraction | int, half: str) -> Ratio | None:
    if hour is None or Fraction(hour).denominator != 1 or not 0 <= hour <= 24:
        return None
    if Fraction(minute).denominator != 1 or not 0 <= minute < 60:
        return None
    parts: tuple[Node, ...] = (num(hour), num(minute))
    return Ratio(parts, half, clock=True, spoken=True)


def spoken(text: str) -> Ratio | None:
    """``half past three``, ``a quarter to five in the afternoon``, ``ten minutes past six``, ``three o'clock``."""
    if len(text) > _LONGEST or not _MAY_BE_SPOKEN.search(text):
        return None
    words = words_of(text).replace("-", " ").replace("’", "'")
    match = _SPOKEN.match(words)
    if match is None:
        return None
    half = _PARTS_OF_DAY[match["day"].replace(".", "").replace(" ", "")] if match["day"] else ""
    hour, minute = match["hour"], _minutes(match["minute"], match["unit"], match["side"])
    if hour in _NAMED:
        half = half or ("pm" if hour == "noon" else "am")
    value = 12 if hour in _NAMED else int(hour) if hour.isdecimal() else number_in_words(hour)
    if value is None or minute is None or not 1 <= value <= 12 or Fraction(value).denominator != 1:
        return None
    if match["side"] in ("past", "after", None):
        return _time(int(value), minute, half)
    other = {"am": "pm", "pm": "am"}.get(half, "") if value == 12 else half
    return _time(int(value) - 1 or 12, 60 - minute, other)


def _minutes(words: str | None, unit: str | None, side: str | None) -> int | None:
    """How many minutes before or past the hour; "ten to three" may be a ratio, and is none of these."""
    if words is None:
        return 0
    if words == "half":
        return 30 if side in ("past", "after") and not unit else None
    if words.endswith("quarter"):
        return None if unit else 15
    value = int(words) if words.isdecimal() else number_in_words(words)
    is_plain = value is not None and Fraction(value).denominator == 1 and 0 < value < 60
    if not is_plain or side == "of" or (side in ("to", "after", "before") and not unit):
        return None
    return int(value or 0)
