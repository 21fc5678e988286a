"""Numbers with what stands around them: currency signs, units, degrees, percent, time of day."""

from __future__ import annotations

from fractions import Fraction

from aha.rewards.math import units
from aha.rewards.math.expressions import Unknown, parse_angle
from aha.rewards.math.quantities import compound
from aha.rewards.math.slices import trimmed
from aha.rewards.math.tokens import Token
from aha.rewards.math.values import Scalar, num
from aha.rewards.math.words import number_in_words

_CURRENCIES = units.CURRENCIES
_CHANGING = "even odd prime composite negative squared cubed doubled tripled halved factorial kilo mega"
_PREDICATES = [[word] for word in _CHANGING.split()]
_FOR_EACH = ("a", "an", "each", "every")
_RATES = frozenset(("/", "per", "每", *_FOR_EACH))
_DEGREE_WORDS = frozenset(("degree", "degrees", "deg", "度"))


def measured(tokens: list[Token]) -> Scalar:
    """An expression with whatever unit, percent sign or annotation stands before and behind it."""
    tokens, unit = _without_currency(_with_degrees(tokens))
    tokens = _without_brackets(tokens)
    whole = _several(tokens)
    if whole is not None:
        return whole
    tokens = _without_unit_fraction(tokens)
    end = _unit_start(tokens)
    if 1 < end < len(tokens) and tokens[end - 1].text == "/" and tokens[end].kind == "word":
        end -= 1  # 12/hour
    if end < len(tokens):
        if [t.text.lower() for t in tokens[end:] if t.text not in ("is", "are")] in _PREDICATES:
            raise Unknown("what is told of a number is no unit")
        named = units.from_words(_as_rate(tokens[end:]) if unit else tokens[end:])
        if named is False:
            raise Unknown("words that are no unit")
        if isinstance(named, units.Unit):
            is_rate = unit is not None and tokens[end].text.lower() in _RATES
            unit = units.product(unit, named) if is_rate and unit is not None else named
        tokens = trimmed(tokens[:end])
    arc = _arc(tokens)
    if arc is not None:
        return arc
    tokens, scale = _without_scale(tokens)
    tokens, prime = _without_primes(tokens)
    unit = unit or prime
    percent = bool(tokens) and tokens[-1].text == "%"
    tokens = tokens[:-1] if percent else tokens
    if not tokens:
        raise Unknown("no number")
    expr, in_degrees = parse_angle(tokens)
    if in_degrees and unit is None:
        unit = scale or units.Unit(units.DEGREE)
    return Scalar(expr, unit, percent)


def counted_in_words(tokens: list[Token]) -> Scalar | None:
    """``five dollars``: a number in words with its unit."""
    if len(tokens) < 2 or any(t.kind != "word" for t in tokens):
        return None
    number = number_in_words(" ".join(t.text for t in tokens[:-1]))
    named = units.from_words(tokens[-1:]) if number is not None else False
    if number is None or named is False:
        return None
    return Scalar(num(number), named if isinstance(named, units.Unit) else None)


def _without_unit_fraction(tokens: list[Token]) -> list[Token]:
    """``3 \\frac{\\text{m}}{\\text{s}}`` as ``3 m/s``."""
    at = next((i for i, t in enumerate(tokens) if i and t.text == "frac"), 0)
    if not at or not any(t.kind == "word" for t in tokens[at:]):
        return tokens
    rest = tokens[at + 1 :]
    opened = [i for i, t in enumerate(rest) if t.text == "{"]
    if len(opened) != 2 or rest[-1].text != "}" or any(t.kind == "num" for t in rest):
        return tokens
    inside = [t for t in rest[: opened[1]] if t.text not in "{}"]
    below = [t for t in rest[opened[1] :] if t.text not in "{}"]
    words = [Token("word", t.text) if t.kind == "id" else t for t in (*inside, Token("op", "/"), *below)]
    return [*tokens[:at], *words] if inside and below and words[0].kind == "word" else tokens


def _as_rate(tokens: list[Token]) -> list[Token]:
    """``$12 an hour`` as ``$12 per hour``."""
    is_rate = len(tokens) > 1 and tokens[0].text.lower() in _FOR_EACH
    return [Token("word", "per"), *tokens[1:]] if is_rate else tokens


def _without_currency(tokens: list[Token]) -> tuple[list[Token], units.Unit | None]:
    """``\\$5`` and ``-\\$5`` as the number and its currency."""
    sign = 1 if tokens[0].text == "-" and len(tokens) > 2 else 0
    if tokens[sign].text not in _CURRENCIES or len(tokens) < 2:
        return tokens, None
    named = units.from_words([tokens[sign]])
    return tokens[:sign] + tokens[sign + 1 :], named if isinstance(named, units.Unit) else None


def _with_degrees(tokens: list[Token]) -> list[Token]:
    """Beside a function the word "degrees" is a sign inside its argument, not the unit of the whole."""
    if not any(t.kind == "func" for t in tokens):
        return tokens
    return [
        Token("op", "degree") if t.kind == "word" and t.text.lower() in _DEGREE_WORDS else t for t in tokens
    ]


def _without_brackets(tokens: list[Token]) -> list[Token]:
    """``7 (pears)`` and ``7 [m/s]``: brackets at the end with nothing but a unit in them are taken off."""
    if tokens[-1].text not in (")", "]"):
        return tokens
    opened = next((i for i in range(len(tokens) - 2, 0, -1) if tokens[i].text in ("(", "[")), 0)
    inside = tokens[opened + 1 : -1]
    if not opened or not inside or tokens[opened - 1].kind not in ("num", "op"):
        return tokens
    spelled = all(t.kind == "id" and t.text.islower() for t in inside) and len(inside) >= 4
    has_word = spelled or any(t.kind == "word" for t in inside)
    is_unit = has_word or all(t.text in units.SINGLE_LETTERS or t.text in "/^{}23*-" for t in inside)
    if not is_unit or inside[0].kind not in ("word", "id") or units.from_words(inside) is False:
        return tokens
    if spelled:
        return [*tokens[:opened], Token("word", "".join(t.text for t in inside))]
    words = inside if has_word else [Token("word", t.text) if t.kind == "id" else t for t in inside]
    return tokens[:opened] + words


def _several(tokens: list[Token]) -> Scalar | None:
    """``1 h 30 min``: numbers, each with its unit, that make one quantity together."""
    if tokens[0].kind != "num" or not any(t.kind == "num" for t in tokens[2:]):
        return None
    parts: list[Scalar] = []
    at = 0
    while at < len(tokens):
        end = at + 1
        while end < len(tokens) and (tokens[end].kind == "word" or tokens[end].text in units.SINGLE_LETTERS):
            end += 1
        named = units.from_words(tokens[at + 1 : end])
        value = tokens[at].value
        if value is None or not isinstance(named, units.Unit):
            return None
        parts.append(Scalar(num(value), named))
        at = end
    return compound(parts)


def _arc(tokens: list[Token]) -> Scalar | None:
    """``30°15'20''`` in degrees, ``6'2"`` in inches."""
    if len(tokens) < 4 or tokens[0].kind != "num" or tokens[-1].text not in ("'", '"', "}"):
        return None
    kinds = "".join(_arc_kind(t) for t in tokens if t.text not in "^{}")
    numbers = [t.value for t in tokens if t.kind == "num" and t.value is not None]
    if kinds in ("ndn'", "ndn'n''", "ndn'n\""):
        degrees = sum((n / 60**place for place, n in enumerate(numbers)), Fraction(0))
        return Scalar(num(degrees), units.Unit(units.DEGREE))
    if kinds in ("n'n''", "n'n\""):
        inch = units.from_words([Token("word", "inch")])
        return Scalar(num(numbers[0] * 12 + numbers[1]), inch if isinstance(inch, units.Unit) else None)
    return None


def _arc_kind(token: Token) -> str:
    if token.kind == "num":
        return "n"
    return {"circ": "d", "degree": "d", "'": "'", '"': '"'}.get(token.text, "?")


def _without_primes(tokens: list[Token]) -> tuple[list[Token], units.Unit | None]:
    """``5'``, ``5''`` and ``5"`` without the signs, which are minutes of arc or feet, and seconds or inches."""
    end = len(tokens)
    while end > 1 and tokens[end - 1].text in ("'", '"') and tokens[0].kind == "num":
        end -= 1
    if end == len(tokens) or tokens[end - 1].kind == "id":
        return tokens, None
    signs = len(tokens) - end + (tokens[-1].text == '"')
    return tokens[:end], units.Unit(units.PRIME, Fraction(signs)) if signs <= 2 else None


def _without_scale(tokens: list[Token]) -> tuple[list[Token], units.Unit | None]:
    """``20^\\circ C`` without the letter of the scale."""
    texts = [t.text for t in tokens[-5:]]
    for letter, name in (("C", "celsius"), ("F", "fahrenheit")):
        for sign in (["}"], ["circ"], ["degree"]):
            ending = [*sign, letter]
            if len(tokens) > 2 and texts[-2:] == ending and (sign != ["}"] or "circ" in texts):
                named = units.from_words([Token("word", name)])
                return tokens[:-1], named if isinstance(named, units.Unit) else None
    return tokens, None


def without_meridiem(tokens: list[Token]) -> tuple[list[Token], str]:
    """ "58 a.m." as (58, "am")."""
    for index, token in enumerate(tokens):
        if index and token.kind in ("word", "id"):
            word = "".join(t.text for t in tokens[index:] if t.text not in ".()").lower()
            if word in ("am", "pm"):
                return [t for t in tokens[:index] if t.text not in "()"], word
            return tokens, ""
    return tokens, ""


def _unit_start(tokens: list[Token]) -> int:
    """Where the words at the end begin, or the end."""
    for index, token in enumerate(tokens):
        if token.kind == "word" and index > 0:
            if tokens[index - 1].text in ("_", "{", "overline", "hat", "vec"):
                return len(tokens)
            return index
        if token.text in _CURRENCIES and index > 0:
            return index
        if token.text == "pmod":
            return len(tokens)
    return len(tokens)
