# ruff: noqa: E501
"""Units of measure: what contradicts what, and by which factor two of them differ."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from aha.rewards.math import chinese
from aha.rewards.math.elsewhere import is_number_elsewhere
from aha.rewards.math.multiples import FRACTIONS, OTHER_NUMBERS, SCALES
from aha.rewards.math.symbols import NUMBER_WORDS
from aha.rewards.math.tokens import Token

CURRENCIES = "dollar yuan euro pound rupee rouble won dong lira shekel baht".split()  # noqa: SIM905
"""The currencies that have a sign of their own."""
Dimension = tuple[tuple[str, Fraction], ...]


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit: a known dimension with a factor to its base, or, with no dimension, plain words."""

    dimension: Dimension
    factor: Fraction = Fraction(1)
    words: str = ""


_LENGTH, _MASS, _TIME, _MONEY, _BYTE, _PART = {"L": 1}, {"M": 1}, {"T": 1}, {"$": 1}, {"B": 1}, {"part": 1}
_UNITS: tuple[tuple[str, dict[str, int], str | int], ...] = (
    ("m meter meters metre metres 米", _LENGTH, 1),
    ("cm centimeter centimeters centimetre centimetres 厘米", _LENGTH, "1/100"),
    ("mm millimeter millimeters millimetre 毫米", _LENGTH, "1/1000"),
    ("dm decimeter decimeters 分米", _LENGTH, "1/10"),
    ("km kms kilometer kilometers kilometre kilometres 千米 公里", _LENGTH, 1000),
    ("nm", _LENGTH, "1/1000000000"),
    ("in inch inches", _LENGTH, "254/10000"),
    ("ft foot feet", _LENGTH, "3048/10000"),
    ("yd yard yards", _LENGTH, "9144/10000"),
    ("mi mile miles", _LENGTH, "1609344/1000"),
    ("g gram grams 克", _MASS, 1),
    ("kg kgs kilos kilogram kilograms 千克 公斤", _MASS, 1000),
    ("斤 市斤", _MASS, 500),
    ("mg milligram milligrams 毫克", _MASS, "1/1000"),
    ("t ton tons tonne tonnes 吨", _MASS, 1000000),
    ("lb lbs pound pounds", _MASS, "45359237/100000"),
    ("oz ounce ounces", _MASS, "45359237/1600000"),
    ("s sec secs second seconds 秒 秒钟", _TIME, 1),
    ("min mins minute minutes 分钟", _TIME, 60),
    ("h hr hrs hour hours 小时 时", _TIME, 3600),
    ("day days 天 日", _TIME, 86400),
    ("week weeks 周 星期", _TIME, 604800),
    ("month months 个月 月", {"month": 1}, 1),
    ("year years 年", {"month": 1}, 12),
    ("dollar dollars usd USD 美元", _MONEY, 1),
    ("cent cents", _MONEY, "1/100"),
    ("yuan rmb RMB 元", {"yuan": 1}, 1),
    ("角", {"yuan": 1}, "1/10"),
    ("euro euros", {"euro": 1}, 1),
    ("pound_sterling", {"sterling": 1}, 1),
    ("rupee rupees INR", {"rupee": 1}, 1),
    ("rouble roubles ruble rubles", {"rouble": 1}, 1),
    ("won", {"won": 1}, 1),
    ("dong", {"dong": 1}, 1),
    ("lira liras", {"lira": 1}, 1),
    ("shekel shekels", {"shekel": 1}, 1),
    ("baht", {"baht": 1}, 1),
    ("degree degrees deg 度", {"degree": 1}, 1),
    ("radian radians rad 弧度", {"radian": 1}, 1),
    ("L l liter liters litre litres 升", {"L": 3}, "1/1000"),
    ("mL ml cc 毫升", {"L": 3}, "1/1000000"),
    ("gallon gallons", {"gallon": 1}, 1),
    ("quart quarts", {"gallon": 1}, "1/4"),
    ("pint pints", {"gallon": 1}, "1/8"),
    ("mph", {"L": 1, "T": -1}, "1609344/3600000"),
    ("N newton newtons", {"M": 1, "L": 1, "T": -2}, 1000),
    ("J joule joules", {"M": 1, "L": 2, "T": -2}, 1000),
    ("kJ", {"M": 1, "L": 2, "T": -2}, 1000000),
    ("W watt watts", {"M": 1, "L": 2, "T": -3}, 1000),
    ("kW", {"M": 1, "L": 2, "T": -3}, 1000000),
    ("Hz", {"T": -1}, 1),
    ("kHz", {"T": -1}, 1000),
    ("cal", {"cal": 1}, 1),
    ("kcal", {"cal": 1}, 1000),
    ("mol mole moles", {"mol": 1}, 1),
    ("eV", {"eV": 1}, 1),
    ("keV", {"eV": 1}, 1000),
    ("MeV", {"eV": 1}, 10**6),
    ("GeV", {"eV": 1}, 10**9),
    ("V volt volts", {"M": 1, "L": 2, "T": -3, "A": -1}, 1000),
    ("kV", {"M": 1, "L": 2, "T": -3, "A": -1}, 10**6),
    ("mV", {"M": 1, "L": 2, "T": -3, "A": -1}, 1),
    ("A amp amps ampere amperes", {"A": 1}, 1),
    ("mA", {"A": 1}, "1/1000"),
    ("ohm ohms", {"M": 1, "L": 2, "T": -3, "A": -2}, 1000),
    ("Pa pascal pascals", {"M": 1, "L": -1, "T": -2}, 1000),
    ("kPa", {"M": 1, "L": -1, "T": -2}, 10**6),
    ("K kelvin kelvins", {"K": 1}, 1),
    ("atm", {"atm": 1}, 1),
    ("kWh", {"M": 1, "L": 2, "T": -2}, 3_600_000 * 1000),
    ("kN", {"M": 1, "L": 1, "T": -2}, 10**6),
    ("MW", {"M": 1, "L": 2, "T": -3}, 10**9),
    ("MHz", {"T": -1}, 10**6),
    ("GHz", {"T": -1}, 10**9),
    ("bar", {"M": 1, "L": -1, "T": -2}, 10**8),
    ("lm lumen lumens", {"lm": 1}, 1),
    ("lx lux", {"lm": 1, "L": -2}, 1),
    ("ha hectare hectares 公顷", {"L": 2}, 10_000),
    ("亩", {"L": 2}, "2000/3"),
    ("acre acres", {"L": 2}, "40468564224/10000000"),
    ("decade decades", {"month": 1}, 120),
    ("century centuries 世纪", {"month": 1}, 1_200),
    ("fortnight fortnights", _TIME, 14 * 86400),
    ("teaspoon teaspoons tsp", {"spoon": 1}, 1),
    ("tablespoon tablespoons tbsp", {"spoon": 1}, 3),
    ("cup cups", {"spoon": 1}, 48),
    ("rev revolution revolutions", {"turn": 1}, 1),
    ("rpm", {"turn": 1, "T": -1}, "1/60"),
    ("C coulomb coulombs", {"A": 1, "T": 1}, 1),
    ("F farad farads", {"F": 1}, 1),
    ("microF", {"F": 1}, "1/1000000"),
    ("H henry henries", {"H": 1}, 1),
    ("T tesla teslas", {"tesla": 1}, 1),
    ("Wb weber webers", {"tesla": 1, "L": 2}, 1),
    ("dB decibel decibels", {"dB": 1}, 1),
    ("分钱", {"yuan": 1}, "1/100"),
    ("KB", _BYTE, 1000),
    ("MB", _BYTE, 1000000),
    ("GB", _BYTE, 1000000000),
    ("permille", _PART, "1/1000"),
    ("permyriad bps", _PART, "1/10000"),
    ("ppm", _PART, "1/1000000"),
    ("ppb", _PART, "1/1000000000"),
    ("erg ergs", {"M": 1, "L": 2, "T": -2}, "1/10000"),
    ("dyn dyne dynes", {"M": 1, "L": 1, "T": -2}, "1/100"),
    ("angstrom angstroms Angstrom Angstroms", _LENGTH, "1/10000000000"),
    ("AU au", _LENGTH, 149597870700),
    ("pc parsec parsecs", {"pc": 1}, 1),
    ("ly lightyear lightyears", {"ly": 1}, 1),
    ("solarmass", {"sun mass": 1}, 1),
    ("solarradius", {"sun radius": 1}, 1),
    ("solarluminosity", {"sun light": 1}, 1),
    ("kph kmh kmph", {"L": 1, "T": -1}, "1000/3600"),
    ("torr mmHg", {"torr": 1}, 1),
    ("gauss", {"tesla": 1}, "1/10000"),
    ("molar M", {"mol": 1, "L": -3}, 1000),
    ("mM", {"mol": 1, "L": -3}, 1),
    ("arcmin arcminute arcminutes", {"degree": 1}, "1/60"),
    ("arcsec arcsecond arcseconds", {"degree": 1}, "1/3600"),
    ("pence", {"sterling": 1}, "1/100"),
    ("块 块钱", {"yuan": 1}, 1),
    ("毛 毛钱", {"yuan": 1}, "1/10"),
    ("feet_or_minutes", {"prime": 1}, 1),
    ("inches_or_seconds", {"prime": 1}, 2),
    ("celsius °C 摄氏度", {"celsius": 1}, 1),
    ("fahrenheit °F 华氏度", {"fahrenheit": 1}, 1),
)
"""Names of a unit, what it measures, and how much of the base it is."""


def _table() -> dict[str, tuple[dict[str, int], Fraction]]:
    named = {name: (base, Fraction(factor)) for names, base, factor in _UNITS for name in names.split()}
    return _with_multiples(named)


_MULTIPLES = {
    "p": "1/1000000000000",
    "n": "1/1000000000",
    "micro": "1/1000000",
    "m": "1/1000",
    "c": "1/100",
    "k": 1000,
    "M": 10**6,
    "G": 10**9,
}
_OF = {
    "p": "m s F", "n": "m s g A V W J mol F T C", "micro": "m s g A V W J L l mol F T C H N", "m": "s g W J N Wb mol Pa ohm bar rad T C H molar",
    "c": "L l", "k": "V A W J N Pa Hz ohm mol bar rad cal pc", "M": "Pa J N V W Hz ohm eV pc", "G": "Pa J W Hz pc",
}  # fmt: skip
"""Which multiples of which units are added to those that have an entry of their own."""


def _with_multiples(
    table: dict[str, tuple[dict[str, int], Fraction]],
) -> dict[str, tuple[dict[str, int], Fraction]]:
    for prefix, names in _OF.items():
        for name in names.split():
            base, factor = table[name]
            table.setdefault(prefix + name, (base, factor * Fraction(_MULTIPLES[prefix])))
    return table


TABLE = _table()
PART: Dimension = (("part", Fraction(1)),)
DEGREE: Dimension = (("degree", Fraction(1)),)
ANGLES = (
    DEGREE,
    (("celsius", Fraction(1)),),
    (("fahrenheit", Fraction(1)),),
)  # a bare degree sign may be any
RADIAN: Dimension = (("radian", Fraction(1)),)
PRIME: Dimension = (("prime", Fraction(1)),)
"""``5'``: feet, or minutes of arc; with the factor 2 inches, or seconds of arc."""
# Letters that are units when the gold answer is a plain number ("5m"), and variables otherwise.
SINGLE_LETTERS = frozenset("msghLJNVWA") & TABLE.keys()
_GENERIC = frozenset(
    (
        "unit",
        "units",
        "单位",
        "个单位",
        "a",
        "an",
        "the",
        "of",
        "total",
        "in",
        "approximately",
        "about",
        "each",
        "exactly",
    )
)
# Words that change what the number means; with any of them the text is no mere annotation.
_MEANINGFUL = frozenset(
    [
        "or",
        "and",
        "more",
        "less",
        "fewer",
        "at",
        "least",
        "most",
        "not",
        "than",
        "to",
        "except",
        "maybe",
        "possibly",
        "if",
        "when",
        "for",
        "between",
        "from",
        "no",
        "never",
        "greater",
        "above",
        "below",
        "over",
        "under",
        "until",
        "unless",
        "either",
        "neither",
        "nor",
        "plus",
        "minus",
        "times",
        "but",
        "otherwise",
        "only",
        *[
            "wrong",
            "false",
            "incorrect",
            "impossible",
            "unlikely",
            "excluded",
            "without",
            "cannot",
            "isn't",
            "unsure",
            "sure",
            "upwards",
            "upward",
            "onwards",
        ],
        *FRACTIONS,
        *NUMBER_WORDS,
        *SCALES,
        *OTHER_NUMBERS,
        *["higher", "lower", "beyond", "exceeding", "perhaps", "probably"],
        # the same in languages that models fall into
        *[
            "oder",
            "und",
            "nicht",
            "mehr",
            "weniger",
            "mindestens",
            "höchstens",
            "als",
            "ou",
            "et",
            "pas",
            "moins",
            "o",
            "y",
            "ni",
            "más",
            "menos",
            "più",
            "meno",
            "almeno",
        ],
        *["или", "и", "не", "более", "менее", "больше", "меньше", "минимум"],
    ]
)
_RAISED = {"squared": 2, "cubed": 3, "平方": 2, "立方": 3}  # behind a unit: "cm squared"
_VARIABLES = frozenset("eiknxyz")  # upright letters that are no unit: "5\\text{ x}"
_MEANINGFUL_HAN = re.compile(
    r"[到和与至比点又或及超弱强強京负]|根号|[零〇一二两三四五六七八九](?!共)|之一|倍?[多余几]倍?\Z|[多余几]?(?:以上|以下|以内|以外|之间|开外)|.{0,3}(?:以上|以下|以内|以外|之间)\Z|(?:[多余几起]|有余)(?:[个人名只元米天年]|\Z)|"
    r"不[到止足是对]|错|或|至[少多]|分之|的|[打割]|[折厘毫]\Z|[折厘毫](?![米升克])|成(?![员人])|半(?!径|圆|球)|[^半]{1,3}半\Z|"
    r"(?:平方|立方|次方)\Z|[乘除加减]|开方|百(?!分)|千(?![米克瓦卡焦帕赫])|[万亿兆]"
)
"""What changes a number behind which it stands: 7以上 is 7 or more."""


def unit_of(name: str) -> Unit:
    """The unit with a name of the table."""
    base, factor = TABLE[name]
    return Unit(tuple(sorted((dimension, Fraction(power)) for dimension, power in base.items())), factor)


def product(one: Unit, other: Unit) -> Unit:
    """The unit of a product: dollars times "per hour". Of what has no dimension the words stay."""
    powers: dict[str, Fraction] = {}
    for name, power in (*one.dimension, *other.dimension):
        powers[name] = powers.get(name, Fraction(0)) + power
    dimension = tuple(sorted((name, power) for name, power in powers.items() if power))
    return Unit(dimension, one.factor * other.factor, other.words)


def from_words(tokens: list[Token]) -> Unit | bool | None:
    """The unit a run of tokens spells: a Unit, None for words without dimension of interest ("units"),
    or False when it is no unit at all."""
    dimension: dict[str, Fraction] = {}
    factor = Fraction(1)
    sign, power_next = 1, 1
    unknown: list[str] = []
    last: tuple[dict[str, int], Fraction, int] | None = None
    index = 0
    while index < len(tokens):
        token = tokens[index]
        name = token.text
        index += 1
        if (token.kind == "op" and name in "/*.,(){}") or (token.kind == "op" and name == "~"):
            sign = -1 if name == "/" else sign
            continue
        if name in ("per", "每"):
            sign = -1
        elif name == "times" and index == len(tokens):
            unknown.append(name)  # how often, or how many times as much
        elif name in ("square", "sq", "平方"):
            power_next = 2
        elif name in ("cubic", "立方"):
            power_next = 3
        elif name in _RAISED and last is not None:
            factor = _accumulate(dimension, factor, last[0], last[1], last[2] * (_RAISED[name] - 1))
        elif token.kind == "op" and name == "^":
            power, index = _power(tokens, index)
            if power is None:
                return False
            if last is not None:
                factor = _accumulate(dimension, factor, last[0], last[1], last[2] * (power - 1))
        elif token.kind in ("word", "id") or name in CURRENCIES:
            name, squared = _chinese_power(name)
            known = TABLE.get(name) or TABLE.get(name.lower())
            if known:
                last = (known[0], known[1], sign)
                factor = _accumulate(dimension, factor, known[0], known[1], sign * power_next * squared)
            elif (
                (name.lower() in _MEANINGFUL and not _is_of_a_noun(name.lower(), tokens[index:]))
                or _changes_number(name)
                or is_number_elsewhere(name.lower())
                or (token.kind == "word" and name in _VARIABLES)
            ) and not (sign < 0 and dimension and name.lower() in SCALES):  # "dollars per dozen"
                return False
            elif name.lower() not in _GENERIC:
                counted = name.removeprefix("个") or name  # 5个人 and 5人
                unknown.append(_stem(counted.lower()))
            power_next = 1
        else:
            return False
    if power_next > 1:
        return False  # "5 square", without a unit
    if dimension:
        kept = tuple(sorted((base, power) for base, power in dimension.items() if power))
        return Unit(kept, factor)
    if not unknown:
        return None
    return Unit((), Fraction(1), " ".join(unknown)) if len(unknown) <= 6 else False


def _is_of_a_noun(word: str, after: list[Token]) -> bool:
    """``4 half circles``, ``6 tenth graders``: a fraction's word that tells which things are counted."""
    is_one = word in FRACTIONS and not word.endswith("s")
    is_one = is_one or word in ("double", "triple", "quadruple")
    return (
        is_one and bool(after) and after[0].kind == "word" and after[0].text.lower() not in ("part", "parts")
    )


def _power(tokens: list[Token], index: int) -> tuple[int | None, int]:
    body = []
    if index < len(tokens) and tokens[index].text == "{":
        index += 1
        while index < len(tokens) and tokens[index].text != "}":
            body.append(tokens[index])
            index += 1
        index += 1
    elif index < len(tokens):
        body = [tokens[index]]
        index += 1
    text = "".join(t.text for t in body)
    return (int(text), index) if text.removeprefix("-").isdecimal() and len(text) <= 3 else (None, index)


def _chinese_power(name: str) -> tuple[str, int]:
    if chinese.is_han(name):
        for prefix, power in (("平方", 2), ("立方", 3)):
            if name.startswith(prefix) and name[2:] in TABLE:
                return name[2:], power
    return name, 1


def _accumulate(
    dimension: dict[str, Fraction], factor: Fraction, base: dict[str, int], scale: Fraction, power: int
) -> Fraction:
    for name, exponent in base.items():
        dimension[name] = dimension.get(name, Fraction(0)) + exponent * power
    return factor * scale ** max(-12, min(12, power))


def _changes_number(name: str) -> bool:
    """Whether a Chinese word behind a number says that another number may be meant."""
    return chinese.is_han(name) and _MEANINGFUL_HAN.match(name) is not None


_IRREGULAR = {
    "children": "child", "men": "man", "women": "woman", "persons": "person", "people": "person", "knives": "knife",
    "halves": "half", "loaves": "loaf", "leaves": "leaf", "wolves": "wolf", "shelves": "shelf", "dice": "die",
    "mice": "mouse", "geese": "goose", "teeth": "tooth", "vertices": "vertex", "matrices": "matrix", "radii": "radius",
}  # fmt: skip


def _stem(word: str) -> str:
    word = _IRREGULAR.get(word, word)
    if word.endswith(("xes", "ches", "shes", "sses")):
        return word[:-2]
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word
