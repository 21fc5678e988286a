# ruff: noqa: E501
"""Words for numbers and about numbers in other scripts, as the English words that the reader knows.

Only what is known is put into English; other words stay what they are, and an answer that holds one is not paid.
"""

from __future__ import annotations

import re
import unicodedata

_LONGEST = 2_000  # characters of a text that is looked through

_WORDS: tuple[tuple[str, str], ...] = (
    # parts of a hundred
    ("процент процента процентов प्रतिशत फीसदी फ़ीसदी パーセント 퍼센트 بالمئة بالمائة", "percent"),
    ("个百分点 個百分點 百分点", "percent"),
    # powers of ten and dozens
    ("десяток десятка десятков", "tens"),
    ("сотня сотни сотен सौ مئة مائة", "hundred"),
    ("тысяча тысячи тысяч тыс हज़ार हज़ार हजार ألف الف آلاف nghìn ngàn", "thousand"),
    ("миллион миллиона миллионов млн مليون ملايين milhão milhões millón triệu", "million"),
    ("миллиард миллиарда миллиардов млрд مليار مليارات bilhão bilhões tỷ", "billion"),
    ("триллион триллиона триллионов трлн trilhão trilhões", "trillion"),
    ("लाख", "lakh"), ("करोड़ करोड़", "crore"),
    ("дюжина дюжины дюжин ダース दर्जन دزينة dúzia dúzias", "dozen"),
    # parts of one
    ("половина половины половину आधा نصف", "half"), ("треть ثلث", "third"), ("трети третьих", "thirds"),
    ("четверть ربع", "quarter"), ("четверти четвертых четвёртых", "quarters"), ("пятых", "fifths"),
    ("десятых десятые", "tenths"), ("сотых сотые", "hundredths"), ("тысячных тысячные", "thousandths"),
    # numbers
    ("ноль нуль शून्य صفر", "zero"), ("один одна одно एक واحد واحدة", "one"), ("два две दो اثنان اثنين", "two"),
    ("три तीन ثلاثة ثلاث três", "three"), ("четыре चार أربعة اربعة أربع", "four"), ("пять पाँच पांच خمسة خمس fünf", "five"),
    ("шесть छह छः ستة ست", "six"), ("семь सात سبعة سبع", "seven"), ("восемь आठ ثمانية ثماني", "eight"),
    ("девять नौ تسعة تسع", "nine"), ("десять दस عشرة عشر", "ten"), ("одиннадцать ग्यारह", "eleven"),
    ("двенадцать बारह zwölf", "twelve"), ("тринадцать तेरह", "thirteen"), ("четырнадцать चौदह", "fourteen"),
    ("пятнадцать पंद्रह", "fifteen"), ("шестнадцать सोलह", "sixteen"), ("семнадцать सत्रह", "seventeen"),
    ("восемнадцать अठारह", "eighteen"), ("девятнадцать उन्नीस", "nineteen"), ("двадцать बीस عشرون عشرين", "twenty"),
    ("тридцать तीस ثلاثون ثلاثين", "thirty"), ("сорок चालीस أربعون أربعين", "forty"), ("пятьдесят पचास خمسون خمسين", "fifty"),
    ("шестьдесят साठ ستون ستين", "sixty"), ("семьдесят सत्तर سبعون سبعين", "seventy"),
    ("восемьдесят अस्सी ثمانون ثمانين", "eighty"), ("девяносто नब्बे تسعون تسعين", "ninety"), ("сто", "one hundred"),
    # what changes a number
    ("минус マイナス ऋण سالب ناقص", "minus"), ("не नहीं ليس", "not"), ("или या أو או 또는 または または", "or"),
    ("более больше свыше", "more than"), ("менее меньше", "less than"), ("以上 이상", "or more"), ("以下 이하", "or less"),
    ("未満 미만", "or less than"), ("초과", "more than"),
    # what stands before an answer
    ("Ответ ответ उत्तर الجواب الإجابة 答え 답 정답", "answer"), ("です", " "), ("равно равен равна", "equals"),
    # units
    ("см", "cm"), ("кг", "kg"), ("км", "km"), ("мм", "mm"), ("мин минут минуты", "min"), ("часов часа час", "hours"),
    ("рублей рубля рубль руб", "rouble"), ("ドル", "dollars"), ("градусов градуса", "degrees"), ("センチ", "cm"),
    ("штук шт раз つ 개 명 個", "units"),
)  # fmt: skip
_ENGLISH = {
    unicodedata.normalize("NFKC", word): english for words, english in _WORDS for word in words.split()
}
_UNITS = frozenset("cm kg km mm min".split())  # noqa: SIM905
_PHRASES = {"في المئة": "بالمئة", "في المائة": "بالمئة", "से अधिक": "以上", "से कम": "未満", "से ज्यादा": "以上", "أكثر من": "более",
            "أقل من": "менее", "答えは": "答え", "分の": "分之"}  # fmt: skip
_ALONE = "|".join(
    sorted(
        (w for w in _ENGLISH if not "\u3040" <= w[0] <= "\u9fff" and not "\uac00" <= w[0] <= "\ud7a3"),
        key=len,
        reverse=True,
    )
)
_JOINED = "|".join(
    sorted(
        (w for w in _ENGLISH if "\u3040" <= w[0] <= "\u9fff" or "\uac00" <= w[0] <= "\ud7a3"),
        key=len,
        reverse=True,
    )
)
_LETTER = r"[^\W\d_]|[\u0900-\u0903\u093a-\u094f\u064b-\u0652]"
_KNOWN = re.compile(rf"(?<!{{)(?<!\w)(?:{_ALONE})(?!{_LETTER})|(?:{_JOINED})")
_PHRASE = re.compile("|".join(_PHRASES))
_MAY_HOLD = re.compile(
    "[\u0400-\u04ff\u0600-\u06ff\u0900-\u097f\u3040-\u30ff\uac00-\ud7a3\u05d0-\u05ea百個点以未分答áãéíñõúüöáãõỷệìàêữ]"
)


def in_english(text: str) -> str:
    """The text with the words of the table in English."""
    if len(text) > _LONGEST or not _MAY_HOLD.search(text):
        return text
    text = _PHRASE.sub(lambda match: _PHRASES[match.group()], text)
    return _KNOWN.sub(_translated, text)


def _translated(match: re.Match[str]) -> str:
    english = _ENGLISH[match.group()]
    if english == "percent":
        return "\\%"
    return f"\\text{{ {english}}} " if english in _UNITS else f" {english} "
