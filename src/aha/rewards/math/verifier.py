"""The verifier: extracts, reads, compares, and asks the worker pool about the little that is left."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from aha.rewards.math import compare, numeric, tokens, workers
from aha.rewards.math.dates import same_day
from aha.rewards.math.domains import contradict
from aha.rewards.math.exact import TooBig, free_symbols, has, rational_or_none
from aha.rewards.math.extract import DEFAULT, ExtractedAnswer, Extraction, boxed, boxes, extract
from aha.rewards.math.families import same_family
from aha.rewards.math.formulas import same_formula
from aha.rewards.math.lines import same_line
from aha.rewards.math.near import exact_before
from aha.rewards.math.numerals import is_roman, same_numerals
from aha.rewards.math.options import choice, chosen, same_options
from aha.rewards.math.parse import parse_value
from aha.rewards.math.periods import same_but_for_constant, same_but_for_periods
from aha.rewards.math.tokens import Unreadable
from aha.rewards.math.undecided import contradicts, could_be
from aha.rewards.math.units import SINGLE_LETTERS, TABLE, Unit
from aha.rewards.math.upright import with_upright_unit
from aha.rewards.math.values import STATED, Collection, Equation, Named, Node, Opaque, Scalar, Text, Value
from aha.rewards.math.words import is_same_kind, words_of
from aha.types import AhaError, Outcome, Verdict

_CORRECT = Verdict(Outcome.CORRECT)
_NO_ANSWER = Verdict(Outcome.NO_ANSWER, "no closed \\boxed{} after the thinking")
LONGEST_FOR_POOL = 1_000  # characters; the complexity gate in front of the workers
_UPRIGHT_UNIT = re.compile(r"\\(?:mathrm|text|rm)\{([msghLJNVW])\}\s*\Z")  # read as a letter like any other
_ANGLE = re.compile(r"\\pi|π|circ|°")
_NATURAL = re.compile(r"N|ℕ|>|\\g(?:e|t)")
_GROUPED = re.compile(r"(?<=[0-9])[. ](?=[0-9]{3}(?:[. ][0-9]{3}){0,9}\Z)")  # 1.234,5


@dataclass(frozen=True, slots=True)
class Gold:
    """A reference answer, read once: text, value, and the other reading where its spelling has two."""

    text: str
    value: Value
    other: Value | None = None
    letter: str = ""  # for a multiple-choice answer
    ambiguous: bool = False  # its spelling has two readings
    float_like: float | None = None  # a decimal that is plainly the print of a binary float

    @property
    def has_unit(self) -> bool:
        """Whether it is a number with a unit."""
        return any(isinstance(value, Scalar) and value.unit for value in (self.value, self.other))


@lru_cache(maxsize=65_536)
def parse_gold(text: str) -> Gold:
    """Reads a reference answer; call it when data is loaded.

    Raises AhaError, naming the text and the cause, for one that cannot be graded against.
    """
    if not isinstance(text, str):
        raise AhaError(f"The reference answer {text!r} is no text. Give it as a string.")
    source = _unwrapped(text)
    try:
        value = Text(words_of(source)) if is_roman(source) else parse_value(source)
        ambiguous = tokens.is_ambiguous(source)
        other = parse_value(source, plain=True) if ambiguous else None
        measured = with_upright_unit(source)
        if measured is not None:
            ambiguous, other = True, parse_value(measured)
        elif _UPRIGHT_UNIT.search(source) and not ambiguous:
            ambiguous, other = True, parse_value(_UPRIGHT_UNIT.sub(r"\\text{ \1}", source))
    except Exception as cause:  # Unreadable and Unknown; anything else would be a fault of our own
        raise AhaError(
            f"The reference answer {_short(text)!r} cannot be read: {cause}. Correct it or drop the problem."
        ) from cause
    if isinstance(value, Text) and (not value.words or len(source) > 200):
        raise AhaError(
            f"The reference answer {_short(text)!r} is prose without a value. "
            "Put the value itself, or the value in \\boxed{}."
        )
    other = None if other == value else other
    return Gold(source, value, other, choice(source), ambiguous, _float_like(source, value))


def verify(
    gold: str | Gold, prediction: str, options: Extraction = DEFAULT, pool: workers.Pool | None = None
) -> Verdict:
    """Grades a model's whole output against a reference answer. Never raises.

    ``options`` say where besides a box to look for the answer. ``pool`` replaces the shared worker pool.
    UNKNOWN (also for a reference answer that cannot be read) is never to be counted as wrong.
    """
    try:
        known = _read_gold(gold)
    except AhaError as cause:
        return Verdict(Outcome.UNKNOWN, str(cause))
    if not isinstance(prediction, str):
        return Verdict(Outcome.NO_ANSWER, "the prediction is no text")
    extracted = extract(prediction, options)
    if extracted is None or not extracted.text.strip():
        return _NO_ANSWER
    return grade(known, extracted, pool)


def verify_many(
    pairs: Iterable[tuple[str | Gold, str]], options: Extraction = DEFAULT, pool: workers.Pool | None = None
) -> list[Verdict]:
    """Grades many pairs, in order. Equal answers to one reference answer are graded once."""
    known: dict[tuple[str, ExtractedAnswer | None], Verdict] = {}
    verdicts: list[Verdict] = []
    for gold, prediction in pairs:
        extracted = extract(prediction, options) if isinstance(prediction, str) else None
        key = (
            gold.text if isinstance(gold, Gold) else gold if isinstance(gold, str) else repr((gold,)),
            extracted,
        )
        if key not in known:
            known[key] = _verify_extracted(gold, extracted, pool)
        verdicts.append(known[key])
    return verdicts


def _read_gold(gold: str | Gold) -> Gold:
    if not isinstance(gold, str | Gold):
        raise AhaError(f"The reference answer {_short(repr(gold))} is no text. Give it as a string.")
    return parse_gold(gold) if isinstance(gold, str) else gold


def _verify_extracted(
    gold: str | Gold, extracted: ExtractedAnswer | None, pool: workers.Pool | None
) -> Verdict:
    try:
        parsed = _read_gold(gold)
    except AhaError as cause:
        return Verdict(Outcome.UNKNOWN, str(cause))
    if extracted is None or not extracted.text.strip():
        return _NO_ANSWER
    return grade(parsed, extracted, pool)


def grade(gold: Gold, extracted: ExtractedAnswer, pool: workers.Pool | None = None) -> Verdict:
    """Compares an extracted answer with a reference answer. Never raises."""
    if extracted.alternatives:
        return _grade_several(gold, extracted, pool)
    answer = _without_style(_inner_box(extracted.text))
    if len(answer) > tokens.LONGEST:
        return Verdict(Outcome.WRONG, f"an answer of {len(answer)} characters")
    if answer.strip() == gold.text:
        return _CORRECT
    try:
        return _compare(gold, answer, pool)
    except Unreadable as cause:
        if _is_garbage(cause):
            return Verdict(Outcome.WRONG, f"the answer is {cause}")
        return _undecided(gold, answer, f"the answer cannot be read: {cause}")
    except (RecursionError, MemoryError, OverflowError, TooBig) as cause:
        return _undecided(gold, answer, f"the answer is too deep or too large ({type(cause).__name__})")
    except Exception as cause:  # a fault of ours must not end a training run: it is counted as not graded
        return Verdict(Outcome.UNKNOWN, f"the verifier failed: {cause!r}")


def _grade_several(gold: Gold, extracted: ExtractedAnswer, pool: workers.Pool | None) -> Verdict:
    return grade(gold, ExtractedAnswer(joined(extracted)), pool)


def joined(extracted: ExtractedAnswer) -> str:
    """Several boxes side by side are one list."""
    joint = " \\text{ or } " if extracted.joined_by_or else ", "
    return joint.join((*map(_inner_box, extracted.alternatives), _inner_box(extracted.text)))


@lru_cache(maxsize=65_536)
def same_answer(a: str, b: str) -> bool:
    """Whether two answers, neither of them a reference, are one value. Asks no worker; never raises."""
    return _accepts(a, b) or _accepts(b, a)


def _accepts(reference: str, answer: str) -> bool:
    try:
        gold = parse_gold(reference)
        return _settle(gold, answer, parse_value(answer)) is True
    except Exception:  # what cannot be read is equal only as it is spelled
        return False


def _compare(gold: Gold, answer: str, pool: workers.Pool | None) -> Verdict:
    if gold.letter:
        is_chosen = chosen(gold.letter, answer)
        if is_chosen is not None:
            return _CORRECT if is_chosen else Verdict(Outcome.WRONG, f"another option than {gold.letter}")
    numerals = same_numerals(gold.text, answer)
    if numerals is not None:
        return _CORRECT if numerals else Verdict(Outcome.WRONG, f"another number than {_short(gold.text)}")
    day = same_day(gold.text, answer)
    if day is not None:
        return _CORRECT if day else Verdict(Outcome.WRONG, f"another day than {_short(gold.text)}")
    value = _with_unit(gold, answer) or parse_value(answer)
    if same_options(gold.text, value) or same_options(answer, gold.value) or same_formula(gold.text, answer):
        return _CORRECT
    outcome = _settle(gold, answer, value)
    if outcome is True:
        return _CORRECT
    if outcome is False:
        return Verdict(Outcome.WRONG, _difference(gold, value))
    return _ask(gold, answer, value, pool)


def _with_unit(gold: Gold, answer: str) -> Value | None:
    """``0 K`` as a temperature, where the reference has a unit: it is no product that vanishes."""
    measured = with_upright_unit(answer) if gold.has_unit else None
    return None if measured is None else parse_value(measured)


def _settle(gold: Gold, answer: str, value: Value) -> bool | None:
    outcome = _decide(gold, gold.value, value, answer)
    if outcome is not True and (
        gold.ambiguous or tokens.is_ambiguous(answer) or with_upright_unit(answer) is not None
    ):
        outcome = _other_readings(gold, answer, value, outcome)
    refused = outcome is True and (
        _is_decimal(gold, value, answer) or contradict(gold.text, answer) or _is_only_near(gold, answer)
    )
    return False if refused else outcome


def _is_only_near(gold: Gold, answer: str) -> bool:
    before = exact_before(gold.text, gold.value, answer)
    try:
        return before is not None and (not before or _settle(gold, before, parse_value(before)) is not True)
    except Unreadable:
        return True


def _is_decimal(gold: Gold, value: Value, answer: str) -> bool:
    """``5,5`` may be 5.5, and is not 5 twice."""
    if (
        not isinstance(gold.value, Scalar)
        or not isinstance(value, Collection)
        or _decimal_comma(answer) is None
    ):
        return False
    exact = rational_or_none(gold.value.expr)
    return exact is not None and exact.denominator == 1 and " " not in answer.strip()


def _decide(gold: Gold, expected: Value, value: Value, answer: str) -> bool | None:
    outcome = compare.equal(expected, value)
    if outcome is True:
        return True
    if isinstance(expected, Text) and words_of(answer) == words_of(gold.text):
        return True
    if isinstance(value, Text) and _is_letters(gold.text):
        one, other = words_of(answer), words_of(gold.text)
        if one == other or is_same_kind(one, other):
            return True
    if isinstance(value, Scalar | Named) and isinstance(expected, Scalar | Named):
        bare = _with_italic_unit(expected, value)
        if bare is not None and compare.equal(expected, bare) is True:
            return True
        if gold.float_like is not None and _prints_as(value, gold.float_like):
            return True
    if outcome is False and same_family(expected, value, compare.equal):
        return True
    if outcome is False and same_line(gold.text, expected, value, compare.equal):
        return True
    if outcome is False and "C" in gold.text and same_but_for_constant(expected, value):
        return True
    if outcome is False and _of_angles(gold.text, answer) and same_but_for_periods(expected, value):
        return True
    return outcome


def _of_angles(gold: str, answer: str) -> bool:
    """Whether both are angles with a letter that may be any whole number, not a natural one."""
    return all(_ANGLE.search(text) and not _NATURAL.search(text) for text in (gold, answer))


def _other_readings(gold: Gold, answer: str, value: Value, outcome: bool | None) -> bool | None:
    """Where a spelling has two readings, either may be the one that was meant."""
    expected = gold.other if gold.other is not None else gold.value
    try:
        plain = parse_value(answer, plain=True)
    except Unreadable:
        plain = value
    measured = with_upright_unit(answer)
    candidates = (
        (value, plain)
        if measured is None
        else (parse_value(measured), *(() if gold.has_unit else (value, plain)))
    )
    if any(compare.equal(a, b) is True for a in (gold.value, expected) for b in candidates):
        return True
    if _decimal_comma(gold.text) is not None or _decimal_comma(answer) is not None:
        return _with_decimal_comma(gold, answer) or outcome
    return outcome


def _with_decimal_comma(gold: Gold, answer: str) -> bool:
    """``2,74`` for 2.74. Only where the gold is no whole number, so that it cannot hide a list."""
    left, right = gold.text, _decimal_comma(answer) or answer
    if left.startswith(("0,", "-0,")) and not answer.count(","):
        left = _decimal_comma(left) or left
    try:
        a, b = parse_value(left), parse_value(right)
    except Unreadable:
        return False
    if not isinstance(a, Scalar) or not isinstance(b, Scalar):
        return False
    exact = rational_or_none(a.expr)
    return exact is not None and exact.denominator != 1 and compare.equal(a, b) is True


def _decimal_comma(text: str) -> str | None:
    whole, comma, decimals = text.strip().partition(",")
    whole = _GROUPED.sub("", whole)
    is_thousand = (
        len(decimals) == 3 and decimals.isdigit() and whole.lstrip("-") not in ("", "0") and len(whole) < 4
    )
    if (
        comma
        and whole.lstrip("-").isdigit()
        and decimals[:1].isdigit()
        and "," not in decimals
        and not is_thousand
    ):
        return f"{whole}.{decimals}"
    return None


def _with_italic_unit(gold: Value, answer: Value) -> Value | None:
    """``5m`` without ``\\text``: a letter that is a unit, for a gold without letters."""
    if isinstance(answer, Named):
        answer = answer.value
    if isinstance(gold, Named):
        gold = gold.value
    if (
        not isinstance(gold, Scalar)
        or not isinstance(answer, Scalar)
        or free_symbols(gold.expr)
        or answer.unit
    ):
        return None
    split = _split_italics(answer.expr)
    if split is None:
        return None
    number, name, power = split
    base, factor = TABLE[name]
    dimension = tuple(sorted((base_name, Fraction(exponent * power)) for base_name, exponent in base.items()))
    return Scalar(number, Unit(dimension, factor**power))


def _split_italics(expr: Node) -> tuple[Node, str, int] | None:
    """A number, the unit that the letters behind it spell, and that unit's power."""
    if expr[0] != "mul" or len(expr) < 3:
        return None
    last, power = expr[-1], 1
    if last[0] == "pow" and last[2][0] == "num" and last[2][1] in (2, 3):
        last, power = last[1], int(last[2][1])
    letters: list[str] = [str(last[1])] if last[0] == "sym" else []
    end = len(expr) - 1
    while letters and end > 2 and expr[end - 1][0] == "sym" and len(letters) < 3:
        end -= 1
        letters.insert(0, str(expr[end][1]))
    name = "".join(letters)
    numbers = expr[1:end]
    if name not in (SINGLE_LETTERS if len(letters) == 1 else TABLE) or free_symbols(("mul", *numbers)):
        return None
    return numbers[0] if len(numbers) == 1 else ("mul", *numbers), name, power


def _prints_as(value: Value, printed: float) -> bool:
    if isinstance(value, Named):
        value = value.value
    real = numeric.real_value(value.expr) if isinstance(value, Scalar) else None
    return real is not None and float(real) == printed


def _ask(gold: Gold, answer: str, value: Value, pool: workers.Pool | None) -> Verdict:
    """The complexity gate, and behind it the worker pool."""
    if isinstance(value, Text):
        return Verdict(Outcome.WRONG, "the answer is words")
    if _only_restates(gold.value, value):
        return Verdict(Outcome.WRONG, "the answer restates the problem")
    if contradicts(gold.text, answer):
        return Verdict(Outcome.WRONG, "a sign of the reference is another one, or its sides are exchanged")
    if gold.letter:
        return Verdict(Outcome.WRONG, f"no option, where {gold.letter} was wanted")
    if isinstance(value, Opaque) and workers.is_program(answer):
        return Verdict(Outcome.WRONG, "the answer is no mathematics")
    if not (isinstance(value, Opaque) or isinstance(gold.value, Opaque) or _states(gold.value)):
        note = "the answer is too large to compute, or not defined at enough points"
        return _undecided(gold, answer, note)
    reason = workers.refuses(gold.text, answer)
    if reason:
        return _undecided(gold, answer, reason)
    verdict = (pool or workers.shared()).compare(gold.text, answer)
    return verdict if verdict.outcome is not Outcome.UNKNOWN else _undecided(gold, answer, verdict.note)


def _undecided(gold: Gold, answer: str, note: str) -> Verdict:
    """UNKNOWN for what may be the reference, WRONG for what cannot be: not to be graded must not pay."""
    if not workers.is_program(answer) and could_be(gold.text, gold.value, answer):
        return Verdict(Outcome.UNKNOWN, note)
    return Verdict(Outcome.WRONG, f"{note}, and what the reference is made of does not stand in it")


def _only_restates(gold: Value, answer: Value) -> bool:
    if isinstance(gold, Opaque) or _states(gold):
        return False
    if isinstance(answer, Opaque) and (not isinstance(gold, Scalar) or free_symbols(gold.expr)):
        return False
    return _states(answer)


def _states(value: Value) -> bool:
    if isinstance(value, Opaque):
        return any(word in value.spelled for word in ("sum", "prod", "int", "lim", "gcd", "matrix"))
    if isinstance(value, Scalar):
        return has(value.expr, STATED)
    if isinstance(value, Named):
        return _states(value.value)
    if isinstance(value, Collection):
        return any(_states(item) for item in value.items)
    if isinstance(value, Equation):
        return _states(value.members[-1])
    return False


def _unwrapped(text: str) -> str:
    """A reference answer without dollars, or the box in it where there is one, or several side by side."""
    content = boxed(text)
    if content is not None:
        return joined(content).strip()
    stripped = text.strip()
    for opening, closing in (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]")):
        inside = stripped[len(opening) : len(stripped) - len(closing)]
        wrapped = stripped.startswith(opening) and stripped.endswith(closing)
        if wrapped and len(stripped) > 2 * len(opening) and opening not in inside:
            return inside.strip()
    return stripped.rstrip(".") if stripped.endswith("$.") else stripped


def _without_style(text: str) -> str:
    """The text without the commands in front of it that only say how large it is set."""
    text = text.strip()
    for style in ("\\displaystyle", "\\textstyle", "\\scriptstyle"):
        rest = text.removeprefix(style)
        if rest != text and not rest[:1].isalpha():
            return rest.strip()
    return text[1:].strip() if text.startswith("= ") else text


def _inner_box(text: str) -> str:
    """``\\boxed{\\boxed{5}}`` is 5."""
    for _ in range(4):
        stripped = text.strip().strip("$").strip()
        for opening, closing in (("\\[", "\\]"), ("\\(", "\\)")):
            if stripped.startswith(opening) and stripped.rstrip(".").endswith(closing):
                stripped = stripped.rstrip(".")[2:-2].strip()
        if not stripped.startswith("\\boxed"):
            break
        contents = boxes(stripped)
        if len(contents) != 1 or contents[0][1] != len(stripped.rstrip(". ")):
            break
        text = contents[0][2]
    return text


def _float_like(text: str, value: Value) -> float | None:
    digits = text.strip().lstrip("-").replace(".", "", 1)
    if isinstance(value, Scalar) and "." in text and digits.isdigit() and len(digits.lstrip("0")) >= 15:
        return float(text)
    return None


def _is_letters(text: str) -> bool:
    return len(text) >= 3 and text.replace(" ", "").isalpha()


def _is_garbage(cause: Unreadable) -> bool:
    return (
        "unbalanced" in str(cause)
        or "digits" in str(cause)
        or "nothing" in str(cause)
        or "tokens" in str(cause)
    )


def _difference(gold: Gold, value: Value) -> str:
    kind = type(value).__name__.lower()
    return f"a {kind} that is not {_short(gold.text)}"


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."
