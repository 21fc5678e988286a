# ruff: noqa: E501
"""Words that make another number of the one before them: dozens, powers of ten, parts of one, percents.

A number and such a word are one number, on either side: ``5 dozen`` is 60 and never 5.
"""

from __future__ import annotations

from fractions import Fraction

_PARTS = [
    "third",
    "fourth",
    "fifth",
    "sixth",
    "seventh",
    "eighth",
    "ninth",
    "tenth",
    "eleventh",
    "twelfth",
    "thirteenth",
    "fourteenth",
    "fifteenth",
    "sixteenth",
    "seventeenth",
    "eighteenth",
    "nineteenth",
    "twentieth",
]
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()  # noqa: SIM905
_SMALL = {
    "half": 2, "quarter": 4, "hundredth": 100, "thousandth": 1000, "tenthousandth": 10**4, "hundredthousandth": 10**5,
    "millionth": 10**6, "tenmillionth": 10**7, "hundredmillionth": 10**8, "billionth": 10**9, "trillionth": 10**12,
}  # fmt: skip


def _below() -> dict[str, int]:
    """The words for parts of one, and how many of each make one: also ``twentyfourth`` and ``thirtysecond``."""
    below = {word: number for number, word in enumerate(_PARTS, 3)} | _SMALL
    ones = ["first", "second", *_PARTS[:7]]
    for ten, word in enumerate(_TENS, 2):
        below[word.removesuffix("y") + "ieth"] = 10 * ten
        below |= {word + one: 10 * ten + number for number, one in enumerate(ones, 1)}
    return below


FRACTIONS = {"halves": Fraction(1, 2)} | {
    word + ending: Fraction(1, below) for word, below in _below().items() for ending in ("", "s")
}
"""Words for parts of one. A "quarter" is one of them, though it is a coin too."""
JOINED = (
    r"(?:" + "|".join([*_TENS, "ten", "hundred"]) + r")[- ](?:" + "|".join(
        ["first", "second", *_PARTS[:7], "thousandth", "millionth"]) + r")s?"
)  # fmt: skip
"""Two words that are one in ``FRACTIONS``: "thirty-seconds", "ten-thousandths"."""

_SCALES: tuple[tuple[str, int], ...] = (
    ("ten tens dizaine dizaines decena decenas dezena dezenas", 10),
    ("hundred hundreds hundert honderd centaine centaines centenar centenares centena centenas ratus", 100),
    ("thousand thousands mil mille mila tausend duizend ribu", 10**3),
    ("million millions mn mln mio millionen millones milioni milione miljoen milyon juta", 10**6),
    (
        "billion billions bn bln mrd mld milliard milliards milliarde milliarden miliardi miliardo miljard milyar miliar",
        10**9,
    ),
    ("trillion trillions tn trn billionen", 10**12),
    ("quadrillion quadrillions", 10**15),
    ("quintillion quintillions", 10**18),
    ("sextillion sextillions", 10**21),
    ("septillion septillions", 10**24),
    ("googol googols", 10**100),
    ("dozen dozens dutzend douzaine douzaines docena docenas dozzina dozzine dozijn lusin", 12),
    ("bakersdozen", 13),
    ("halfdozen", 6),
    ("score scores", 20),
    ("gross", 144),
    ("myriad myriads", 10**4),
    ("lakh lakhs", 10**5),
    ("crore crores", 10**7),
)
SCALES = {word: factor for words, factor in _SCALES for word in words.split()}
"""Words that multiply the number before them."""
BEHIND_NUMERALS = frozenset(word for word in (*SCALES, *FRACTIONS) if len(word) > 3)  # "5mn" is a product
OTHER_NUMBERS = frozenset(
    [
        "double",
        "triple",
        "quadruple",
        "quintuple",
        "twice",
        "thrice",
        "reciprocal",
        "inverse",
        "inverted",
        "cube",
        "logarithm",
        "factorial",
        "factorials",
        "conjugate",
        "opposite",
        "bc",
        "bce",
        "squared",
        "cubed",
        "doubled",
        "tripled",
        "halved",
        "multiplied",
        "divided",
        "subtracted",
        "added",
        "quadrupled",
        "plus",
        "minus",
        "log",
        "ln",
        "exp",
        "sin",
        "cos",
        "tan",
        "imaginary",
        "base",
        "mod",
        "modulo",
        "invalid",
        "undefined",
        "unknown",
        "unclear",
        "guess",
        "none",
        "nothing",
        "null",
        "few",
        "several",
        "many",
        "infinite",
        "zillion",
        "grand",
        "ormore",
        "orless",
        "orfewer",
        "orgreater",
        "twofold",
        "threefold",
        "tenfold",
        "hundredfold",
        "milli",
        "micro",
        "nano",
        "pico",
        "centi",
        "deci",
        "kilo",
        "mega",
        "giga",
        "tera",
    ]
)
"""Words behind a number that say another number, which is not worked out."""
