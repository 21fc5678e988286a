"""Numbers that are written with words, in other numerals, or in parts of a hundred, a thousand, a million.

(gold, answer in the box, whether it is correct). Beside every right answer stand at least two wrong ones.
"""

from __future__ import annotations

import pytest

from aha.rewards.math import Outcome, verify, verify_many

# A word behind a numeral that makes another number of it is no unit.
CHANGED = [
    *[('5', f'5\\text{{ {word}}}', False) for word in (
        'tenths', 'hundredths', 'thousandths', 'millionths', 'halves', 'thirds', 'fourths', 'eighths', 'hundred',
        'squared', 'cubed', 'doubled', 'halved', 'factorial', 'negative', 'root two', 'point five', 'over two',
        'x', 'i', 'e', 'kilo')],
    ('5', '5分之一', False),
    ('5', '5分之1', False),
    ('5\\text{ tenths}', '0.5', True),
    ('5\\text{ tenths}', '5', False),
    ('5\\text{ tenths}', '0.05', False),
    ('0.05', '5\\text{ hundredths}', True),
    ('\\frac34', '3\\text{ fourths}', True),
    ('\\frac34', '3\\text{ fifths}', False),
    ('\\frac34', '4\\text{ thirds}', False),
    ('\\frac15', '5分之1', True),
    ('\\frac35', '5分之三', True),
    ('\\frac35', '3分之5', False),
    ('\\frac35', '5分之二', False),
    ('500', '5\\text{ hundred}', True),
    ('500', '5\\text{ thousand}', False),
    ('500', '5\\text{ hundredths}', False),
    ('36', '3\\text{ dozen}', True),
    ('36', '4\\text{ dozen}', False),
    ('36', '3\\text{ hundred}', False),
    ('3\\text{ dozen}', '36', True),
    ('3\\text{ dozen}', '30', False),
    ('3\\text{ dozen}', '12', False),
    ('500000', '5\\text{ lakh}', True),
    ('500000', '5\\text{ crore}', False),
    ('500000', '50\\text{ lakh}', False),
    ('4', '4\\text{ half circles}', True),
    ('4', '4\\text{ half}', False),
    ('6', '6\\text{ tenth graders}', True),
    ('6', '6\\text{ tenths}', False),
    ('6', '6\\text{ hundredth parts}', False),
    ('7', '7 (pears)', True),
    ('\\frac34', '3\\text{ quarters}', True),
    ('3', '3\\text{ quarters}', False),
    ('2', '2\\text{ roots}', True),
]  # fmt: skip

PARTS_OF_ONE = [
    ('5‰', '0.005', True),
    ('5‰', '0.05', False),
    ('5‰', '0.0005', False),
    ('5‰', '0.5\\%', True),
    ('5‰', '5\\%', False),
    ('5‰', '0.05\\%', False),
    ('5‰', '5', True),
    ('5‰', '5\\text{ ppm}', False),
    ('5‰', '6‰', False),
    ('0.005', '5‰', True),
    ('0.05', '5‰', False),
    ('0.5', '0.5‰', False),
    ('0.5', '0.5\\text{ ppm}', False),
    ('0.5\\%', '5‰', True),
    ('5\\%', '5‰', False),
    ('0.5\\%', '0.5‰', False),
    ('5\\permil', '5\\textperthousand', True),
    ('5\\permil', '0.5\\textperthousand', False),
    ('5\\permil', '50\\textperthousand', False),
    ('5\\perthousand', '5\\text{ per mille}', True),
    ('5\\text{ per thousand}', '0.005', True),
    ('5\\text{ per thousand}', '5000', False),
    ('5\\text{ per thousand}', '0.5', False),
    ('60\\text{ miles per mile}', '60‰', False),
    ('20\\text{ ppm}', '0.00002', True),
    ('20\\text{ ppm}', '0.0002', False),
    ('20\\text{ ppm}', '20‰', False),
    ('20\\text{ ppm}', '20\\text{ parts per million}', True),
    ('20\\text{ ppm}', '20\\text{ parts per billion}', False),
    ('20\\text{ ppm}', '20000\\text{ ppb}', True),
    ('20\\text{ ppm}', '2000\\text{ ppb}', False),
    ('20\\text{ ppm}', '0.02\\permil', True),
    ('25\\text{ basis points}', '0.25\\%', True),
    ('25\\text{ basis points}', '25\\%', False),
    ('25\\text{ basis points}', '2.5\\%', False),
    ('25‱', '0.0025', True),
    ('25‱', '0.025', False),
    ('50\\%', '\\frac12', True),
    ('50\\%', '50‰', False),
    ('3\\text{ kg}', '3‰', False),
]  # fmt: skip

ROMAN = [
    *[('XIV', answer, right) for answer, right in (
        ('XIV', True), ('14', True), ('\\text{XIV}', True), ('xiv', True), ('\\mathrm{XIV}', True),
        ('XV', False), ('XVI', False), ('13', False), ('14.5', False), ('VIX', False), ('X\\cdot I\\cdot V', False))],
    *[('IV', answer, right) for answer, right in (
        ('4', True), ('\\text{Quadrant IV}', True), ('\\text{fourth quadrant}', True), ('VI', False), ('6', False),
        ('\\text{Quadrant I}', False), ('\\text{third quadrant}', False), ('V I', False))],
    ('\\text{Quadrant I}', '1', True),
    ('\\text{Quadrant I}', 'I', True),
    ('\\text{Quadrant I}', '2', False),
    ('\\text{Quadrant I}', 'II', False),
    ('II', 'I^2', False),
    ('XX', 'X^2', False),
    ('IX', 'XI', False),
    ('XI', 'IX', False),
    ('MCMXCIV', '1994', True),
    ('MCMXCIV', '1996', False),
    ('MCMXCIV', 'MCMXCVI', False),
    ('\\text{I and III only}', 'I, III', True),
    ('\\text{I and III}', '1, 3', True),
    ('\\text{I and III}', 'I', False),
    ('\\text{I and III}', 'I, II', False),
    ('\\text{I and III}', '\\text{I or III}', False),
    # letters, products and segments stay what they are
    ('I', '1', False),
    ('C', '100', False),
    ('\\text{type C}', '100', False),
    ('100', 'C', False),
    ('1', 'I', False),
    ('14', 'XIV', False),
    ('CD', '400', False),
    ('CD', 'CD', True),
    ('MC', '1100', False),
    ('P=IV', 'P=VI', True),
]  # fmt: skip

ORDINALS = [
    ('3^{\\text{rd}}', '3', True),
    ('3^{\\text{rd}}', '4', False),
    ('3^{\\text{rd}}', '\\frac13', False),
    ('3', '3^{\\text{rd}}', True),
    ('3', '4^{\\text{th}}', False),
    ('3', '3^{\\text{th}}', True),
    ('5', '5th', True),
    ('5', '6th', False),
    ('5', '15th', False),
    ('\\text{third}', '\\text{3rd}', True),
    ('\\text{third}', '\\text{4th}', False),
    ('\\text{third}', '\\text{second}', False),
    ('\\text{twenty-first}', '21^{\\text{st}}', True),
    ('\\text{twenty-first}', '22^{\\text{nd}}', False),
    ('\\text{twenty-first}', '20', False),
    ('5', '\\text{fifth}', False),
    ('\\frac13', '\\text{third}', False),
    ('2^{nd}', '2', False),
    ('第三', '第3', True),
    ('第三', '3', True),
    ('第三', '第四', False),
    ('第三', '4', False),
]  # fmt: skip

IN_WORDS = [
    ('101', '\\text{one hundred and one}', True),
    ('101', 'one hundred and one', True),
    ('101', '\\text{one hundred and two}', False),
    ('101', '\\text{one hundred, and one}', False),
    ('100, 1', '\\text{one hundred and two}', False),
    ('-5', '\\text{negative five}', True),
    ('5', '\\text{negative five}', False),
    ('-5', '\\text{five}', False),
    ('\\frac12', '\\text{one half}', True),
    ('2', '\\text{half}', False),
    ('\\frac23', '\\text{two-thirds}', True),
    ('\\frac23', '\\text{three halves}', False),
    ('\\frac23', '\\text{two fifths}', False),
    ('\\text{two-thirds}', '\\frac23', True),
    ('\\text{two-thirds}', '\\frac32', False),
    ('\\text{two-thirds}', '2', False),
    ('3.5', '\\text{three and a half}', True),
    ('3.5', '\\text{three and a third}', False),
    ('3.5', '\\text{four and a half}', False),
    ('2.25', '\\text{two point two five}', True),
    ('2.25', '\\text{two point five two}', False),
    ('2.25', '\\text{two}', False),
    ('12', '\\text{a dozen}', True),
    ('6', '\\text{half a dozen}', True),
    ('\\frac12', '\\text{half a dozen}', False),
    ('24', '\\text{a dozen}', False),
    ('50\\%', '\\text{fifty percent}', True),
    ('50\\%', '\\text{five percent}', False),
    ('50\\%', '\\text{fifteen percent}', False),
]  # fmt: skip

BASES = [
    *[('1011_2', answer, right) for answer, right in (
        ('1011_{\\text{two}}', True), ('1011_{\\text{base }2}', True), ('1011\\text{ (base two)}', True),
        ('1011\\text{ in base 2}', True), ('0b1011', True), ('1011_{\\text{binary}}', True), ('(1011)_{二}', True),
        ('1011_3', False), ('1010_2', False), ('1011_{\\text{three}}', False), ('1011\\text{ base }3', False),
        ('0b1010', False), ('11', False))],
    ('1011_{\\text{six}}', '1011_6', True),
    ('1011_{\\text{six}}', '1011_7', False),
    ('1011_{\\text{six}}', '1001_6', False),
    ('1A_{\\text{eleven}}', '1A_{11}', True),
    ('1A_{\\text{eleven}}', '1A_{12}', False),
    ('1A_{\\text{eleven}}', 'A1_{11}', False),
    ('2B_{\\text{hex}}', '2B_{16}', True),
    ('2B_{16}', '0x2B', True),
    ('2B_{16}', '0x2C', False),
    ('2B_{16}', '43', False),
    ('17_8', '0o17', True),
    ('17_8', '0x17', False),
    ('17_8', '0o71', False),
    ('110.01_2', '110.01_{\\text{two}}', True),
    ('110.01_2', '110.010_2', True),
    ('110.01_2', '110.1_2', False),
    ('110.01_2', '110.01_3', False),
    ('100_2', '1_2', False),
    ('100_2', '10_2', False),
    ('43_{\\text{ten}}', '43', True),
    ('43_{\\text{ten}}', '44', False),
    ('43_{\\text{ten}}', '43_8', False),
]  # fmt: skip


@pytest.mark.parametrize(
    ("gold", "answer", "right"), [*CHANGED, *PARTS_OF_ONE, *ROMAN, *ORDINALS, *IN_WORDS, *BASES]
)
def test_number(gold: str, answer: str, right: bool) -> None:
    verdict = verify(gold, f"\\boxed{{{answer}}}")
    assert verdict.outcome is (Outcome.CORRECT if right else Outcome.WRONG), verdict


@pytest.mark.parametrize("gold", [None, 5, ["5"], {"a": 1}])
def test_a_reference_that_is_no_text_is_never_raised(gold: object) -> None:
    for verdict in (
        verify(gold, "\\boxed{5}"),
        *verify_many([(gold, "\\boxed{5}"), ("5", "\\boxed{5}")])[:1],
    ):  # type: ignore[arg-type,list-item]
        assert verdict.outcome is Outcome.UNKNOWN
        assert "is no text" in verdict.note
