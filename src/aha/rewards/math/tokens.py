"""Turns an answer's text (LaTeX, plain, full-width, Chinese) into a flat list of tokens, in linear time.

Numerals become exact fractions here: digit groups, decimals, repeating decimals and scientific notation
are all a matter of spelling. Where spelling is ambiguous ("1,234" may be one number or two; "2e-3" a
number or a difference) the tokenizer has two readings, and the comparison may try the other one.
"""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction
from typing import NamedTuple

from aha.rewards.math import chinese
from aha.rewards.math.digits import indian_groups, period
from aha.rewards.math.foreign import in_english
from aha.rewards.math.multiples import BEHIND_NUMERALS
from aha.rewards.math.spellings import usual, with_plain_digits, without_emoji
from aha.rewards.math.symbols import (
    COMMANDS,
    FUNCTIONS,
    GREEK,
    IGNORED,
    IGNORED_WITH_ARGUMENT,
    PROSE,
    TEXT_COMMANDS,
    UNICODE,
    UNIT_WORDS,
    WORDS,
)

LONGEST = 10_000  # characters; no answer worth a reward is longer
MOST_TOKENS = 5_000
LONGEST_NUMERAL = 4_000  # digits: Python refuses to convert longer ones, rightly


class Token(NamedTuple):
    kind: str  # num | id | func | word | op
    text: str
    value: Fraction | None = None


class Unreadable(Exception):
    """The text cannot be read as an answer (broken or too large)."""


_PIECE = re.compile(r"\\(?:[A-Za-z]+|.)|[0-9]+|[A-Za-z]+|\s+|.", re.DOTALL)
_DOUBLED = re.compile(r"\\\\([A-Za-z]+|[{}$%])")
_SINGLE = re.compile(r"\\[A-Za-z]")
# The ways to set a comma between groups of three digits without it being one: "12{,}345", "12,\! 345".
_THOUSANDS = re.compile(
    r"(?<=[0-9])\s*(?:\\!\s*)*(?:\{\s*(?:,|\\,|,\s*\\!|\\!\s*,)\s*\}|,\s*\\!)(?:\s*\\[!,])*\s*(?=[0-9]{3}(?![0-9]))"
)
# "C_8^3" and "{}^8C_3" for a number of choices.
_CHOOSE = re.compile(
    r"(?:\\mathrm\{C\}|(?<![A-Za-z\\])C)_\{?([0-9]+)\}?\^\{?([0-9]+)\}?|"
    r"(?:\{\})?[\^_]\{?([0-9]+)\}? ?(?:\\mathrm\{C\}|C)_\{?([0-9]+)\}?"
)
_CIRCLED = re.compile(r"(?<=[①-⑳])(?=[①-⑳])")  # ①③ names two of several, and is not 13
_LAST_DOTS = re.compile(r"\s*(?:\\(?:[lc]?dots|dots[cb])|\.\.\.)[\s.$]*\Z")
_BLACKBOARD = {"R": "ℝ", "N": "ℕ", "Z": "ℤ", "Q": "ℚ", "C": "ℂ"}  # not to be taken for names of variables
_TITLE = re.compile(r"[A-Z][a-z]{2,}\Z")
_SPACES = frozenset(("\\,", "\\!", "~", "\\ ", "\\;", "\\:"))
_DOTS = frozenset(("\\ldots", "\\dots", "\\cdots", "\\dotsc", "\\dotsb"))


def tokenize(text: str, plain: bool = False) -> list[Token]:
    """Tokens of an answer. ``plain`` chooses the other reading of ambiguous spellings.

    Raises Unreadable for text that is too long.
    """
    if len(text) > LONGEST:
        raise Unreadable(f"an answer of {len(text)} characters")
    text = normalize(text)
    scanner = _Scanner(_PIECE.findall(text), plain)
    tokens = scanner.run()
    if len(tokens) > MOST_TOKENS:
        raise Unreadable(f"an answer of {len(tokens)} tokens")
    return _with_cyclic_groups(tokens)


def _with_cyclic_groups(tokens: list[Token]) -> list[Token]:
    """``\\mathbb{Z}/n\\mathbb{Z}`` as ``\\mathbb{Z}_n``."""
    integers, out = Token("id", "ℤ"), list[Token]()
    for token in tokens:
        if token == integers and len(out) > 2 and out[-3] == integers and out[-2].text == "/":
            out[-2] = Token("op", "_")
        else:
            out.append(token)
    return out


def is_ambiguous(text: str) -> bool:
    """Whether ``plain`` could make a difference."""
    return len(text) <= LONGEST and bool(
        re.search(r"\d,\d|\d[eE][-+]\d|\.\d*\(\d|\d \d|\d\s?mg", normalize(text))
    )


def normalize(text: str) -> str:
    """One spelling for full-width forms, typographic signs and doubly escaped LaTeX."""
    if not text.isascii():
        text = with_plain_digits(_CIRCLED.sub(",", text))
        text = unicodedata.normalize("NFKC", "".join(UNICODE.get(c, c) for c in text))
        text = chinese.with_plain_numerals(in_english(text))
        text = without_emoji("".join(UNICODE.get(c, c) for c in text))
    if "\\\\" in text and _is_escaped_twice(text):
        text = text.replace("\\\\", "\\")
    text = usual(text)
    if "," in text or "\\" in text:
        text = _THOUSANDS.sub("{,}", text)
    if "C" in text and _CHOOSE.search(text):
        text = _CHOOSE.sub(r"\\binom{\1\3}{\2\4}", text)
    if "\f" in text or "\t" in text or "\b" in text:  # "\frac" and "\text" read as JSON or Python escapes
        text = (
            text.replace("\\\f", "\\f").replace("\f", "\\f").replace("\text", "\\text").replace("\b", "\\b")
        )
    return text


def _is_escaped_twice(text: str) -> bool:
    """Whether commands stand behind two backslashes each, and none behind one. Else two are a line break."""
    if _DOUBLED.search(text) is None or _SINGLE.search(text.replace("\\\\", "  ")):
        return False
    return any(is_command(name) for name in _DOUBLED.findall(text))


def is_command(name: str) -> bool:
    """Whether LaTeX or we know the command, or the escaped character."""
    known = (COMMANDS, FUNCTIONS, GREEK, IGNORED, IGNORED_WITH_ARGUMENT, TEXT_COMMANDS, ("begin", "end"))
    return name.startswith(("boxed", "text")) or any(name in names for names in known)


class _Scanner:
    def __init__(self, pieces: list[str], plain: bool) -> None:
        self.pieces = pieces
        self.plain = plain
        self.at = 0
        self.depth = 0
        self.out: list[Token] = []

    def peek(self, ahead: int = 0) -> str:
        index = self.at + ahead
        return self.pieces[index] if index < len(self.pieces) else ""

    def op(self, text: str) -> None:
        self.out.append(Token("op", text))

    def run(self) -> list[Token]:
        while self.at < len(self.pieces):
            piece = self.pieces[self.at]
            if piece.isspace() or piece == "~":
                self.at += 1
            elif "0" <= piece[0] <= "9" or (piece == "." and self._begins_decimals()):
                self._number()
            elif piece[0] == "\\":
                self._command(piece)
            elif piece[0].isascii() and piece[0].isalpha():
                self.at += 1
                self._letters(piece)
            else:
                self._other(piece)
        return self.out

    # numerals

    def _number(self) -> None:
        digits = ""
        if self.peek() != ".":
            digits = self.peek()
            self.at += 1
            digits = self._groups(digits)
        if len(digits) > LONGEST_NUMERAL:
            raise Unreadable(f"a numeral of {len(digits)} digits")
        value = Fraction(int(digits or "0"))
        spelled = digits
        if self.peek() == "." and (self.peek(1)[:1].isdigit() or self._repeats_at(1)):
            self.at += 1
            value, fraction = self._fraction(value)
            spelled += "." + fraction
        if "." in spelled and self._dots_to_the_end():
            self.at = len(self.pieces)  # "1.7724...": as many digits as were written
        value, exponent = self._exponent(value)
        self.out.append(Token("num", spelled + exponent, value))

    def _begins_decimals(self) -> bool:
        return self.peek(1)[:1].isdigit() or (self.peek(1) in ("\\overline", "\\bar") and self.peek(2) == "{")

    def _groups(self, digits: str) -> str:
        """Joins "12,345", "12{,}345", "12\\,345" and "12 345". Inside brackets a bare comma separates."""
        if len(digits) > 3 or digits[0] == "0":
            return digits
        lakhs = indian_groups(digits, self.pieces, self.at, *self._separator())
        if lakhs is not None:
            self.at += lakhs[1]
            return lakhs[0]
        kind = None
        while True:
            width, separator = self._separator()
            if not width or (kind is not None and separator != kind):
                return digits
            group = self.peek(width)
            if len(group) != 3 or not group.isascii() or not group.isdigit():
                return digits
            kind = separator
            digits += group
            self.at += width + 1

    def _separator(self) -> tuple[int, str]:
        piece = self.peek()
        if piece == "{" and self.peek(1) == "," and self.peek(2) == "}":
            return 3, "{,}"
        if piece == ",":
            if self.peek(1) == "\\!":
                return 2, "{,}"
            return (1, ",") if self.depth == 0 and not self.plain else (0, "")
        if piece in _SPACES or (piece == " " and not self.plain and self.depth == 0):
            return 1, " "
        return 0, ""

    def _repeats_at(self, ahead: int) -> bool:
        piece = self.peek(ahead)
        if piece in ("\\overline", "\\bar", "\\dot"):
            return True
        return piece == "(" and self.peek(ahead + 1)[:1].isdigit() and self.peek(ahead + 2) == ")"

    def _fraction(self, whole: Fraction) -> tuple[Fraction, str]:
        fixed = ""
        if self.peek()[:1].isdigit():
            fixed = self.peek()
            self.at += 1
            while self._joins_decimals(fixed):
                fixed += self.peek(1)
                self.at += 2
        repeated = self._repeated()
        if not repeated and (self.peek() in _DOTS or self._three_dots()):
            block = period(fixed)
            if block:
                self.at += 1 if self.peek() in _DOTS else 3
                fixed, repeated = fixed[: -len(block)], block
        if len(fixed) + len(repeated) > LONGEST_NUMERAL:
            raise Unreadable("a numeral that is too long")
        value = whole + Fraction(int(fixed or "0"), 10 ** len(fixed))
        if repeated:
            value += Fraction(int(repeated), (10 ** len(repeated) - 1) * 10 ** len(fixed))
            return value, f"{fixed}({repeated})"
        return value, fixed

    def _joins_decimals(self, fixed: str) -> bool:
        """``0.123\\,456``, and with plain spaces where they part groups of three."""
        if not self.peek(1)[:1].isdigit():
            return False
        groups = self.peek() == " " and len(fixed) % 3 == 0 and len(self.peek(1)) == 3 and not self.plain
        return self.peek() in ("\\,", "\\!", "\\ ") or (groups and self.depth == 0 and bool(fixed))

    def _dots_to_the_end(self) -> bool:
        rest = self.pieces[self.at : self.at + 9]
        return self.at + len(rest) == len(self.pieces) and _LAST_DOTS.match("".join(rest)) is not None

    def _three_dots(self) -> bool:
        return self.peek() == self.peek(1) == self.peek(2) == "."

    def _repeated(self) -> str:
        piece = self.peek()
        if piece in ("\\overline", "\\bar"):
            return self._braced_digits(1)
        if piece == "\\dot":
            first = self._braced_digits(1)
            if self.peek() == "\\dot":
                return first + self._braced_digits(1)
            if self.peek()[:1].isdigit() and self.peek(1) == "\\dot":
                middle = self.peek()
                self.at += 1
                return first + middle + self._braced_digits(1)
            return first
        if piece == "(" and not self.plain and self._repeats_at(0):
            digits = self.peek(1)
            self.at += 3
            return digits
        return ""

    def _braced_digits(self, ahead: int) -> str:
        if self.peek(ahead) == "{" and self.peek(ahead + 1)[:1].isdigit() and self.peek(ahead + 2) == "}":
            digits = self.peek(ahead + 1)
            self.at += ahead + 3
            return digits
        if self.peek(ahead)[:1].isdigit():
            digits = self.peek(ahead)
            self.pieces[self.at + ahead] = digits[1:] or " "
            self.at += ahead
            return digits[0]
        raise Unreadable("a bar over something that is not digits")

    def _exponent(self, value: Fraction) -> tuple[Fraction, str]:
        if self.peek() not in ("e", "E"):
            return value, ""
        sign, ahead = "", 1
        if self.peek(1) in ("+", "-"):
            if self.plain:
                return value, ""
            sign, ahead = self.peek(1), 2
        digits = self.peek(ahead)
        if not (digits.isascii() and digits.isdigit()) or len(digits) > 4:
            return value, ""
        if sign == "+" and len(digits) < 2:
            return value, ""
        self.at += ahead + 1
        power = Fraction(10) ** int(digits)
        return (value / power if sign == "-" else value * power), f"e{sign}{digits}"

    # everything else

    def _command(self, piece: str) -> None:
        self.at += 1
        name = piece[1:]
        if piece in _SPACES or name in IGNORED:
            if name in ("left", "right") and self.peek() == ".":
                self.at += 1
        elif name in IGNORED_WITH_ARGUMENT:
            self._argument()
        elif name in TEXT_COMMANDS:
            self._text(self._argument(), name)
        elif name in ("begin", "end"):
            self.op(f"{name} {''.join(self._argument()).strip('* ')}")
        elif name in COMMANDS:
            self._bracket(COMMANDS[name])
        elif name in FUNCTIONS:
            self.out.append(Token("func", FUNCTIONS[name]))
        elif name in GREEK:
            self.out.append(Token("id", name.removeprefix("var")))  # \\varphi is a \\phi of another shape
        elif name.isdigit():
            self.op("newline")  # "7\\8": a line break that lost a backslash
            self.at -= 1
            self.pieces[self.at] = name
        elif (len(name) == 1 and not name.isalpha()) or name.startswith("boxed"):
            pass  # an escaped character without meaning of its own, e.g. "\-"
        elif name.startswith("text") and len(name) > 4:
            self._letters(name[4:])
        elif any(name[:length] in GREEK for length in (len(name) - 1, len(name) - 2)):
            # "\\pit" for "\\pi t": a text whose spaces were lost
            length = next(n for n in (len(name) - 1, len(name) - 2) if name[:n] in GREEK)
            self.out.append(Token("id", name[:length]))
            self._letters(name[length:])
        else:
            self.op("\\" + name)

    def _bracket(self, text: str) -> None:
        if text in "([" or text == "lset":
            self.depth += 1
        elif text in ")]" or text == "rset":
            self.depth = max(0, self.depth - 1)
        self.op(text)

    def _argument(self) -> list[str]:
        """The pieces of the braced argument that follows."""
        while self.peek().isspace():
            self.at += 1
        if self.peek() != "{":
            self.at += 1
            return self.pieces[self.at - 1 : self.at]
        depth, start = 0, self.at + 1
        while self.at < len(self.pieces):
            piece = self.pieces[self.at]
            depth += (piece == "{") - (piece == "}")
            self.at += 1
            if depth == 0:
                return self.pieces[start : self.at - 1]
        raise Unreadable("an argument that is never closed")

    def _text(self, argument: list[str], command: str) -> None:
        """The inside of ``\\text{...}``: words stay words, numbers and signs are what they are."""
        inner = [piece for piece in argument if piece != "$"]
        if len(inner) == 1 and len(inner[0]) == 1 and inner[0].isalpha() and not chinese.is_han(inner[0]):
            blackboard = command == "mathbb" and inner[0] in _BLACKBOARD
            self.out.append(Token("id", _BLACKBOARD[inner[0]] if blackboard else inner[0]))
            return
        if command in ("mathbb", "mathcal", "mathscr", "boldsymbol", "bm", "mathbf"):
            self._splice(inner)
            return
        scanner = _Scanner(inner, self.plain)
        scanner.depth = self.depth
        scanner._words = True
        self.out.extend(scanner.run())

    _words = False

    def _splice(self, inner: list[str]) -> None:
        scanner = _Scanner(inner, self.plain)
        scanner.depth = self.depth
        self.out.extend(scanner.run())

    def _letters(self, run: str) -> None:
        lowered = run.lower()
        if lowered in ("or", "and"):
            self.op(lowered)
        elif lowered in WORDS:
            self.op(WORDS[lowered])
        elif lowered == "to":
            self.out.append(Token("word", run))
        elif run in UNIT_WORDS and (self._words or (run in FUNCTIONS and self._ends_quantity())):
            self.out.append(Token("word", run))  # "min" is minutes here
        elif run == "mg" and (self.plain or not self.out or self.out[-1].kind != "num"):
            self.out.extend(Token("id", letter) for letter in run)  # a weight, not milligrams
        elif run in FUNCTIONS:
            self.out.append(Token("func", FUNCTIONS[run]))
        elif run in GREEK:
            self.out.append(Token("id", run))
        elif (
            lowered in PROSE
            or (run == "is" and self.out and self.out[-1].kind == "word")
            or self._words
            or run in UNIT_WORDS
            or (lowered in UNIT_WORDS and run in (lowered, run.upper(), run.title()))
            or _TITLE.match(run)
            or (lowered in BEHIND_NUMERALS and self.out and self.out[-1].kind == "num")
        ):
            self.out.append(Token("word", run))
        elif run.startswith("or") and run[2:3].isupper():
            self.op("or")
            self._letters(run[2:])
        else:
            self._function_prefix(run)

    def _ends_quantity(self) -> bool:
        """Whether a numeral stands before, and nothing that a function could take behind: "30 min"."""
        rest = next((piece for piece in self.pieces[self.at : self.at + 2] if not piece.isspace()), "")
        return bool(self.out) and self.out[-1].kind == "num" and (not rest or rest in "}.,$")

    def _function_prefix(self, run: str) -> None:
        for name in ("sqrt", "pi"):  # "2sqrt", "pix"
            if run.startswith(name) and len(run) - len(name) <= 2:
                kind = "func" if name in FUNCTIONS else "id"
                self.out.append(Token(kind, FUNCTIONS.get(name, name)))
                run = run[len(name) :]
                break
        self.out.extend(Token("id", letter) for letter in run)

    def _other(self, piece: str) -> None:
        self.at += 1
        if piece == "$":
            return
        if piece == "*" and self.peek() == "*":
            self.at += 1
            self.op("^")
        elif piece == "." and self.peek() == "." and self.peek(1) == ".":
            self.at += 2
            self.op("dots")
        elif piece in "<>!" and self.peek() == "=":
            self.at += 1
            self.op({"<": "<=", ">": ">=", "!": "!="}[piece])
        elif piece == "=" and self.peek() == "=":
            self.at += 1
            self.op("=")
        elif chinese.is_han(piece):
            self._han(piece)
        else:
            self._bracket(piece)

    def _han(self, piece: str) -> None:
        run = [piece]
        while self.peek() and chinese.is_han(self.peek()):
            run.append(self.peek())
            self.at += 1
        word = "".join(run)
        if word in ("和", "与", "及", "以及"):
            self.op("and")
        elif word in ("或", "或者"):
            self.op("or")
        elif self.out and self.out[-1].kind == "num" and chinese.multiplies(word):
            self._multiplier(word)
        else:
            value = chinese.number(word)
            if value is not None:
                self.out.append(Token("num", word, value))
            else:
                self.out.append(Token("word", word))

    def _multiplier(self, word: str) -> None:
        """ "3万" is 30000; what follows the multiplier is a unit ("3万元")."""
        factor = 1
        count = 0
        while count < len(word) and word[count] in chinese.MULTIPLIERS:
            factor *= chinese.MULTIPLIERS[word[count]]
            count += 1
        number = self.out.pop()
        assert number.value is not None
        self.out.append(Token("num", number.text + word[:count], number.value * factor))
        if word[count:]:
            self.out.append(Token("word", word[count:]))
