# ruff: noqa: E501
"""Chinese numerals and characters, as far as answers use them; Japanese and Korean ones that are built alike."""

from __future__ import annotations

import re
from fractions import Fraction

_DIGITS = {c: i for i, c in enumerate("零一二三四五六七八九")} | {"〇": 0, "两": 2}
_PLACES = {"十": 10, "百": 100, "千": 1000}
MULTIPLIERS = {"万": 10**4, "亿": 10**8, "千": 10**3, "百": 100, "兆": 10**12}
_LONGEST = 2_000  # characters of a text that is looked through
_SIMPLE = str.maketrans(
    "萬億兩負點個倆壹贰貳叁參肆伍陆陸柒捌玖拾佰仟", "万亿两负点个两一二二三三四五六六七八九十百千"
)
_HANGUL = str.maketrans("십백천만억조", "十百千万亿兆")
_KOREAN = re.compile(r"(?<=[0-9])[십백천만억조](?![가-힣])|(?<=[0-9])[십백천만억조](?=[0-9])")
_TWENTIES = {"廿": "二十", "卅": "三十"}
_NOT_UNITS = r"(?!千(?:[米克瓦卡焦帕赫]))(?!百分)"
_MIXED = re.compile(
    r"(?<![0-9.])(?:[0-9]{1,9}(?:\.[0-9]{1,9})?(?:" + _NOT_UNITS + r"[十百千万亿兆]){1,3}){1,6}(?:[0-9]{1,8}(?![0-9.,分/]))?"
)  # fmt: skip
_SECTION = re.compile(r"([0-9]+(?:\.[0-9]+)?)([十百千万亿兆]*)")
_HAN_DIGITS = "[零一二两三四五六七八九十]"
_TENTHS = re.compile(
    rf"(?:打|按)?(?:([0-9]{{1,2}}(?:\.[0-9]{{1,4}})?)|({_HAN_DIGITS}{{1,3}}))(?:(折)|([成割])(?!员|人|品)(?:([0-9])(?:分|(?![0-9]))|({_HAN_DIGITS})分?)?)"
    r"(?:优惠|出售|销售)?(?![一-鿿])"
)  # fmt: skip
_HALF = re.compile(
    rf"([0-9]{{1,9}}|{_HAN_DIGITS}{{1,5}})(个|倍|年|天|斤|元|米|杯|圈|小时|公里)半(?!径|圆|球|数|价|边)"
)
_SIGN = re.compile(r"(负|零下)(?=[0-9]|\\frac|\\sqrt|[一二两三四五六七八九十百千])")
_ROOT = re.compile(r"根号\s?(?=[0-9a-z\\{])")
_DOZENS = re.compile(rf"([0-9]{{1,9}}|{_HAN_DIGITS}{{1,5}})打(?![一-鿿])")
_MIXED_NUMBER = re.compile(
    rf"(?<![0-9])([0-9]{{1,9}})又(?:([0-9]{{1,9}})分之([0-9]{{1,9}})|({_HAN_DIGITS}{{1,7}})分之({_HAN_DIGITS}{{1,7}}))"
)
_POINT = re.compile(r"(?<![0-9.])([0-9]{1,9})点([零〇一二三四五六七八九]{1,9})(?![一-鿿])")
_COUNTED = re.compile(rf"({_HAN_DIGITS}{{1,7}})([倍个])(?![一-鿿0-9])")
_UNITS_OF_THOUSANDS = ("千米", "千克", "千瓦", "千卡", "千焦", "千帕", "千赫", "百分")


def is_han(character: str) -> bool:
    """Whether it is a Chinese character."""
    return "一" <= character[0] <= "鿿" or character == "〇"


def multiplies(word: str) -> bool:
    """Whether a word behind a numeral begins with a power of ten (万, 千) and is no unit that does (千米)."""
    return word[0] in MULTIPLIERS and not word.startswith(_UNITS_OF_THOUSANDS)


def with_plain_numerals(text: str) -> str:
    """A text with the numerals that mix digits and characters in digits: 3万5千, 八折, 5成, 5打, 一个半, 负5.

    Traditional and financial characters become the usual ones.
    """
    if len(text) > _LONGEST:
        return text
    text = text.translate(_SIMPLE)
    text = _KOREAN.sub(lambda match: match.group().translate(_HANGUL), text)
    for character, spelled in _TWENTIES.items():
        text = text.replace(character, spelled)
    text = _MIXED_NUMBER.sub(_whole_and_part, text) if "又" in text else text
    text = _POINT.sub(lambda match: f"{match[1]}.{''.join(str(_DIGITS[c]) for c in match[2])}", text)
    text = _HALF.sub(_and_half, text) if "半" in text else text
    text = _TENTHS.sub(_tenths, text)
    text = _MIXED.sub(_mixed, text)
    text = _DOZENS.sub(_dozens, text) if "打" in text else text
    text = _COUNTED.sub(_counted, text)
    text = text.strip() if text.strip() != "半" and text.strip() != "一半" else "\\frac{1}{2}"
    return _ROOT.sub(r"\\sqrt ", _SIGN.sub("-", text))


def _mixed(match: re.Match[str]) -> str:
    total = Fraction(0)
    last = 0
    for digits, places in _SECTION.findall(match.group()):
        factor = 1
        for place in places:
            factor *= _PLACES.get(place) or MULTIPLIERS[place]
        if not places and len(digits) == 1 and last > 10:
            factor = last // 10  # 3万5 is 35000
        if last and Fraction(digits) * factor >= last * (10 if places else 1) and not places:
            return match.group()
        total = (
            (total + Fraction(digits)) * factor
            if last and factor > last
            else total + Fraction(digits) * factor
        )
        last = factor
    return _decimal(total) if total.denominator == 1 else match.group()


def _decimal(value: Fraction) -> str:
    """A value with few decimals, in digits."""
    scaled, places = value, 0
    while scaled.denominator != 1 and places < 12:
        scaled, places = scaled * 10, places + 1
    digits = str(scaled.numerator).rjust(places + 1, "0")
    return f"{digits[:-places]}.{digits[-places:]}" if places else digits


def _value(digits: str | None, spelled: str | None) -> Fraction | None:
    return Fraction(digits) if digits else number(spelled or "")


def _tenths(match: re.Match[str]) -> str:
    """八折 and 85折 are 0.8 and 0.85, 三成五 and 3割5分 are 0.35."""
    value = _value(match[1], match[2])
    if value is None or value > 100 or (value > 10 and not match[3]):
        return match.group()
    part = value / 10 if value <= 10 else value / 100
    more = _value(match[5], match[6]) if match[5] or match[6] else Fraction(0)
    return match.group() if more is None else _decimal(part + more / 100)


def _whole_and_part(match: re.Match[str]) -> str:
    below, above = _value(match[2], match[4]), _value(match[3], match[5])
    return match.group() if not below or above is None else f"{match[1]}\\frac{{{above}}}{{{below}}}"


def _and_half(match: re.Match[str]) -> str:
    value = _value(match[1] if match[1].isascii() else None, match[1])
    unit = "" if match[2] in "个倍" else match[2]
    return match.group() if value is None else _decimal(value + Fraction(1, 2)) + unit


def _dozens(match: re.Match[str]) -> str:
    value = _value(match[1] if match[1].isascii() else None, match[1])
    return match.group() if value is None else _decimal(12 * value)


def _counted(match: re.Match[str]) -> str:
    value = number(match[1])
    return match.group() if value is None else _decimal(value) + match[2]


def number(word: str) -> Fraction | None:
    """The value of a Chinese numeral such as 二十一, 三分之二, 百分之五 or 一点五; None if it is not one."""
    if len(word) > 30:
        return None
    if word.startswith("负"):
        value = number(word[1:])
        return None if value is None else -value
    if "又" in word:
        front, part = _whole(word.partition("又")[0]), number(word.partition("又")[2])
        return None if front is None or part is None or part >= 1 else front + part
    if "分之" in word:
        below, _, above = word.partition("分之")
        denominator, numerator = _whole(below), number(above)
        return numerator / denominator if numerator is not None and denominator else None
    if "点" in word:
        whole, _, decimals = word.partition("点")
        front = _whole(whole)
        if front is None or not decimals or any(c not in _DIGITS for c in decimals):
            return None
        return front + Fraction(int("".join(str(_DIGITS[c]) for c in decimals)), 10 ** len(decimals))
    value = _whole(word)
    return None if value is None else Fraction(value)


def _whole(word: str) -> int | None:
    if not word or any(c not in _DIGITS and c not in _PLACES and c not in "万亿兆" for c in word):
        return None
    if all(c in _DIGITS for c in word):
        return int("".join(str(_DIGITS[c]) for c in word))
    total, section, digit, last = 0, 0, None, 1
    for c in word:
        if c in _DIGITS:
            digit, last = _DIGITS[c], last if _DIGITS[c] else 10  # 三百零五, but 三百五 is 350
        elif c in _PLACES:
            section += (1 if digit is None else digit) * _PLACES[c]
            digit, last = None, _PLACES[c]
        else:
            section += digit or 0
            digit, last = None, MULTIPLIERS[c]
            total = (total + section) * last if last > 10**4 else total + section * last
            section = 0
    return total + section + (digit or 0) * max(1, last // 10)
