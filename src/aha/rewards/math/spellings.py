# ruff: noqa: E501
"""Rare spellings of LaTeX, rewritten as the usual ones before a text is cut into tokens.

Every rule is a regular expression whose parts are bounded, so that the time stays linear in the text.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

from aha.rewards.math.chinese import number
from aha.rewards.math.multiples import JOINED

_RAISED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺ⁿ₀₁₂₃₄₅₆₇₈₉₋₊", "0123456789-+n0123456789-+")
_RAISED_RUN = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺ⁿ]{2,40}|[₀₁₂₃₄₅₆₇₈₉₋₊]{2,40}")
_SEPARATORS = {"\u066b": ".", "\u066c": ","}  # the Arabic ones
_Rule = tuple[str, re.Pattern[str], str | Callable[[re.Match[str]], str]]
_END = r"[\s.$}]*\Z"
_UPRIGHT = r"\\(?:text|mathrm|rm|textrm|operatorname|mbox)"
_ORDER = _UPRIGHT + r"\s?\{\s?(st|nd|rd|th)\s?\}"
_GAP = r"(?:\\[,;:! ]|\s|~){0,4}"


def _many(match: re.Match[str]) -> str:
    return re.sub(r"[^0-9]", "{,}", match.group())


def _joined(match: re.Match[str]) -> str:
    words = (
        match.group().replace("a dozen", "dozen").replace("baker's", "bakers").replace("-", " ").split(" ")
    )
    return "".join(words) if len(words) < 3 else " ".join(words[:-2]) + " " + "".join(words[-2:])


def _thousands(match: re.Match[str]) -> str:
    if match.string.count("$") > 1:
        return match.group()  # "$2B$" is a formula
    words = {"k": "thousand", "K": "thousand", "M": "million", "bn": "billion", "B": "billion"}
    return f"{match[1]}\\text{{ {words[match[2]]}}}"


def _permutations(match: re.Match[str]) -> str:
    total, chosen = map(int, match.groups())
    if chosen > total or total > 999:
        return match.group()
    return rf"\frac{{{total}!}}{{({total}-{chosen})!}}"


def _generalized(match: re.Match[str]) -> str:
    return r"\binom" if match.group(1).strip().startswith("0") else r"\frac"


def _parts(match: re.Match[str]) -> str:
    above = match.group(2)
    value = int(above) if above.isascii() else number(above)
    return match.group() if value is None else rf"\frac{{{value}}}{{{match.group(1)}}}"


# What a rule needs to stand in the text, the rule, and what takes its place.
_RULES: tuple[_Rule, ...] = (
    # "3{:}2", "x{=}1": braces that only take the space away
    ("{", re.compile(r"\{\s*([:=<>])\s*\}"), r"\1"),
    # the ways to keep a comma within a number from being one: "12\text{,}345", "12{\mathord{,}}345"
    ("{,}", re.compile(r"\{\s*\\(?:text|mathord|mathpunct|mathrm)\{,\}\s*\}"), "{,}"),
    ("{,}", re.compile(r"\\(?:text|mathord|mathpunct|mathrm)\{,\}"), "{,}"),
    # "2{,}5": a decimal comma, since no group of three digits follows
    ("{,}", re.compile(r"(?<=[0-9])\{,\}(?=(?:[0-9]{1,2}|[0-9]{4,40})(?![0-9]))"), "."),
    ("0{,}", re.compile(r"(?<![0-9])0\{,\}(?=[0-9])"), "0."),
    # "1'234'567" and "1_234_567"
    ("'", re.compile(r"(?<![\w.'^])[0-9]{1,3}(?:'[0-9]{3}){1,9}(?![0-9'])"), _many),
    ("_", re.compile(r"(?<![\w.^}])[0-9]{1,3}(?:_[0-9]{3}){1,9}(?![0-9_])"), _many),
    ("\\thinspace", re.compile(r"(?<=[0-9])\s*\\thinspace\s*(?=[0-9])"), r"\\,"),
    # "^7/_9"
    ("_", re.compile(r"(?<![\w)}\]])(?:\{\})?\^\{?([0-9]{1,9})\}?(?:\\!|\s){0,3}/(?:\\!|\s){0,3}_\{?([0-9]{1,9})\}?"), r"\\frac{\1}{\2}"),
    ("\\genfrac", re.compile(r"\\genfrac\s*\{[^{}]{0,9}\}\s*\{[^{}]{0,9}\}\s*\{([^{}]{0,9})\}\s*\{[^{}]{0,9}\}"), _generalized),
    # "A_8^3", "{}_8P_3": ordered choices
    ("_", re.compile(r"(?:\\mathrm\{A\}|\\mathrm\{P\}|(?<![A-Za-z\\])[AP])_\{?([0-9]{1,3})\}?\^\{?([0-9]{1,3})\}?"), _permutations),
    ("P_", re.compile(r"(?:\{\})?[\^_]\{?([0-9]{1,3})\}? ?(?:\\mathrm\{P\}|P)_\{?([0-9]{1,3})\}?"), _permutations),
    # "C_n^k" for a choice among n
    ("C_", re.compile(r"(?<![A-Za-z\\])C_\{?([0-9]?[nNm](?:[+-][0-9])?)\}?\^\{?([0-9kmnr](?:[+-][0-9])?)\}?(?![0-9A-Za-z])"), r"\\binom{\1}{\2}"),
    # rows of a matrix or of steps
    ("\\\\", re.compile(r"\\\\\s*\*?\s*\[\s*-?[0-9.]{1,6}\s*(?:pt|em|ex|mm|cm|in|mu|\\baselineskip)\s*\]"), r"\\\\"),
    ("\\cr", re.compile(r"\\(?:cr|tabularnewline)(?![A-Za-z])"), r"\\\\"),
    ("line", re.compile(r"\\hline(?![A-Za-z])"), " "),
    # "6.02x10^{23}"
    ("10", re.compile(r"(?<=[0-9])\s?[xX]\s?(?=10\s?\^)"), r"\\times "),
    # "25 per cent"
    ("cent", re.compile(r"(?<![A-Za-z])per cent(?![A-Za-z])"), "percent"),
    ("cient", re.compile(r"(?<![A-Za-z])por ciento(?![A-Za-z])"), "percent"),
    ("cen", re.compile(r"(?<![A-Za-z])(?:pour cent|por cento|per cento)(?![A-Za-z])"), "percent"),
    ("per hundred", re.compile(r"(?<![A-Za-z])per hundred(?![A-Za-z])"), "percent"),
    # "baker's dozen", "ten-thousandths", "thirty-seconds"
    ("dozen", re.compile(r"(?<![A-Za-z])(half|bakers|baker's)(?: a)? dozen(?![A-Za-z])"), _joined),
    ("-", re.compile(r"(?<![A-Za-z])(" + JOINED.replace("[- ]", "-") + r")(?![A-Za-z])"), _joined),
    ("thousandth", re.compile(r"(?<=[0-9])(\s?(?:\\text\{)?\s?(?:ten|hundred) thousandths)(?![A-Za-z])"), _joined),
    # currencies by their codes, and "$5k"
    ("US", re.compile(r"(?<![A-Za-z])(?:USD|US(?=\s?\\?\$))\s?(?:\\?\$)?\s?(?=[0-9])"), r"\\$"),
    ("Rs", re.compile(r"(?<![A-Za-z])Rs\.?\s?\}?\s?(?=[0-9])|\\text\{\s?Rs\.?\s?\}\s?(?=[0-9])"), r"\\rupee "),
    ("INR", re.compile(r"(?<![A-Za-z])INR\s?(?=[0-9])"), r"\\rupee "),
    ("\\rupee", re.compile(r"(?<=\\rupee )\s?[0-9]{1,2}(?:,[0-9]{2}){1,4},[0-9]{3}(?![0-9,])"), lambda match: match.group().replace(",", "")),
    ("EUR", re.compile(r"(?<![A-Za-z])EUR(?![A-Za-z])"), r"\\euro "),
    ("$", re.compile(r"(?<=[$])\s?([0-9]{1,9}(?:[.,][0-9]{1,9}){0,3})\s?(k|K|M|bn|B)(?![A-Za-z])"), _thousands),
    # "2h30m"
    ("h", re.compile(r"(?<![\w.])([0-9]{1,3})\s?h\s?([0-9]{1,2})\s?m(?:in)?(?![A-Za-z])"), r"\1\\text{ h }\2\\text{ min}"),
    # "1.234.567"
    (".", re.compile(r"(?<![\w.,])[0-9]{1,3}(?:\.[0-9]{3}){2,9}(?![\w.])"), _many),
    # "10C3"
    ("C", re.compile(r"(?<![\w.])([0-9]{1,3})C([0-9]{1,3})(?!\w)"), r"\\binom{\1}{\2}"),
    ("P", re.compile(r"(?<![\w.])([0-9]{1,3})P([0-9]{1,3})(?!\w)"), _permutations),
    # "\sim 5"
    ("\\sim", re.compile(r"\A\s*\\sim\s?(?=[0-9])"), r"\\approx "),
    # "# 5", "No. 5"
    ("", re.compile(r"\A\s*(?:\\?\#|No\.|Nr\.|№)\s?(?=[0-9])"), ""),
    # "+ constant"
    ("const", re.compile(r"\+\s?(?:\\(?:text|mathrm)\{\s?)?const(?:ant)?\.?\s?\}?(?=" + _END + ")"), "+C"),
    # parts of a thousand, of ten thousand, of a million
    ("mil", re.compile(r"\\(?:permil|permille|perthousand)(?![A-Za-z])"), r"\\text{ permille}"),
    ("thousand", re.compile(r"\\(?:perthousand|textperthousand)(?![A-Za-z])"), r"\\text{ permille}"),
    ("thousand", re.compile(r"\\textpertenthousand(?![A-Za-z])"), r"\\text{ permyriad}"),
    ("mil", re.compile(r"(?<![A-Za-z])(?:per ?mille|permil)(?![A-Za-z])"), "permille"),
    ("per thousand", re.compile(r"(?<![A-Za-z])(?:parts )?per thousand(?![A-Za-z])"), "permille"),
    ("parts per", re.compile(r"(?<![A-Za-z])parts per million(?![A-Za-z])"), "ppm"),
    ("parts per", re.compile(r"(?<![A-Za-z])parts per billion(?![A-Za-z])"), "ppb"),
    ("basis", re.compile(r"(?<![A-Za-z])basis points?(?![A-Za-z])"), "permyriad"),
    # "5分之3", "5分之三"
    ("分之", re.compile(r"([0-9]{1,9})\s?分之\s?([0-9]{1,9}|[一二两三四五六七八九十百千零]{1,9})"), _parts),
    # "3^{\text{rd}}"
    ("^", re.compile(r"(?<=[0-9])\s?\^\s?(?:\{\s?" + _ORDER + r"\s?\}|" + _ORDER + ")"), r"\\text{ \1\2}"),
    # "+/- 3"
    ("+/-", re.compile(r"\+/-"), r"\\pm "),
    # "5!=120" is a factorial and its value
    ("!=", re.compile(r"(?<=[0-9])!=(?!=)"), "! ="),
    # "30\deg"
    ("\\deg", re.compile(r"(?<=[0-9])\s*\\deg(?![A-Za-z])"), r"^\\circ "),
    # "(2,-1)^T", for a column
    ("^", re.compile(r"\A(\s*(?:\\left)?\s*[(\[][^()\[\]]{1,300},[^()\[\]]{1,300}[)\]])\s*\^\s*\{?\s*(?:T|\\top|\\intercal|\\(?:mathsf|mathrm|text|mathtt)\{T\})\s*\}?(?=" + _END + ")"), r"\1"),
    # "5 \mu\text{m}" and "5\,\mathrm{\mu m}"
    ("\\mu", re.compile(r"(?<=[0-9}])" + _GAP + r"\\mu\s{0,3}" + _UPRIGHT + r"\{\s*([A-Za-z]{1,5})\s*\}"), r"\\text{ micro\1}"),
    ("\\mu", re.compile(r"(?<=[0-9}])" + _GAP + _UPRIGHT + r"\{\s*\\mu\s*([A-Za-z]{1,5})\s*\}"), r"\\text{ micro\1}"),
    ("\\mu", re.compile(r"(?<=[0-9])" + _GAP + r"\\mu\s*([mgsLFACV])(?=" + _END + ")"), r"\\text{ micro\1}"),
    # "5\,\mathrm{k}\Omega"
    ("\\Omega", re.compile(r"(?<=[0-9}])" + _GAP + _UPRIGHT + r"\{\s*([kMm]?)\s*\\Omega\s*\}"), r"\\text{ \1ohm}"),
    ("\\Omega", re.compile(r"(?<=[0-9}])" + _GAP + r"(?:" + _UPRIGHT + r"\{\s*([kMm])\s*\}\s*|([kMm]?))\\Omega(?![A-Za-z_^(])(?=" + _END + ")"), r"\\text{ \1\2ohm}"),
    # "9 (at least)": words in brackets behind a number
    ("(", re.compile(r"(?<=[0-9}])(\s*)\(\s*([a-z]{1,20}\.?(?: [a-z]{1,20}\.?){1,6})\s*\)(?=" + _END + ")"), r"\1(\\text{ \2 })"),
    ("(", re.compile(r"(?<=[0-9}])(\s*)\(\s*((?:[cdk]?m|in|ft|yd|mi|k?g|lb|oz|sq|m[Ll]))\s*\)(?=" + _END + ")"), r"\1(\\text{ \2 })"),
    ("%", re.compile(r"(?<=[0-9}])\s*\(\s*(?:\\text\{)?\\?%\}?\s*\)(?=" + _END + ")"), r"\\%"),
)  # fmt: skip


def usual(text: str) -> str:
    """The text with its rare spellings rewritten."""
    for needle, pattern, replacement in _RULES:
        if needle in text:
            text = pattern.sub(replacement, text)
    return text


def with_plain_digits(text: str) -> str:
    """Digits of every script as 0 to 9, and runs of raised or lowered ones as one exponent or index."""
    text = _RAISED_RUN.sub(_level, text)
    return "".join(
        str(unicodedata.decimal(c)) if c.isdecimal() and not c.isascii() else _SEPARATORS.get(c, c)
        for c in text
    )


def _level(match: re.Match[str]) -> str:
    sign = "_" if "₀" <= match.group()[0] <= "₎" else "^"
    return f"{sign}{{{match.group().translate(_RAISED)}}}"


def without_emoji(text: str) -> str:
    """Without ticks and pictures at its ends."""
    start, end = 0, len(text)
    while start < end and unicodedata.category(text[end - 1]) in ("So", "Mn", "Zs"):
        end -= 1
    while start < end and unicodedata.category(text[start]) in ("So", "Zs"):
        start += 1
    return text[start:end]
