"""What a word is, and what a search asks for; the index and a plain scan read both by this one definition.

A word is a run of letters and digits, in any case; a Chinese or Japanese character is a word of its own. Between words
nothing counts, so that ``(24-12)*3`` is the words 24, 12 and 3, one after the other.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from aha.types import AhaError

_SINGLE = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_WORD = re.compile(f"[{_SINGLE}]|[^\\W_{_SINGLE}]+")
_CHUNK = re.compile(r'(-?)"([^"]*)"?(\*?)|(-?)(\S+)')
LONGEST = 64
"""Characters of a word that are kept: longer ones are noise, and equal by their beginning."""


def words(text: str) -> list[str]:
    """The words of a text, in order."""
    return [word[:LONGEST] for word in _WORD.findall(text.lower())]


@dataclass(frozen=True, slots=True)
class WantedPhrase:
    """Words one after the other; with ``prefix`` the last one need only begin so; ``absent``: they must not stand."""

    words: tuple[str, ...]
    prefix: bool = False
    absent: bool = False

    def stands_in(self, text: Sequence[str]) -> bool:
        """Whether a text's words hold it."""
        n, last = len(self.words), self.words[-1]
        for at in range(len(text) - n + 1):
            fits = text[at + n - 1].startswith(last) if self.prefix else text[at + n - 1] == last
            if fits and tuple(text[at : at + n - 1]) == self.words[:-1]:
                return True
        return False

    def expression(self) -> str:
        """As FTS5 reads it."""
        return f'"{" ".join(self.words)}"{" *" if self.prefix else ""}'


@dataclass(frozen=True, slots=True)
class TextQuery:
    """A search: ``wait "try again" recheck* -however``; all that is wanted must stand in the text."""

    phrases: tuple[WantedPhrase, ...]

    def matches(self, text: str) -> bool:
        """Whether a text fits: what the index answers, word by word."""
        text_words = words(text)
        return all(phrase.stands_in(text_words) != phrase.absent for phrase in self.phrases)

    def expression(self) -> str:
        """As FTS5 reads it."""
        present = " AND ".join(p.expression() for p in self.phrases if not p.absent)
        unwanted = "".join(f" NOT {p.expression()}" for p in self.phrases if p.absent)
        return f"({present}){unwanted}"


def read_query(text: str) -> TextQuery:
    """What is searched for. Raises AhaError for a search without a word that must stand there."""
    phrases = []
    for match in _CHUNK.finditer(text):
        minus, quoted, star, bare_minus, bare = match.groups()
        said = quoted if quoted is not None else bare
        phrase_words = tuple(words(said))
        if phrase_words:
            prefix = bool(star) or (quoted is None and bare.endswith("*"))
            phrases.append(WantedPhrase(phrase_words, prefix, bool(minus or bare_minus)))
    if not any(not phrase.absent for phrase in phrases):
        raise AhaError(
            f"Nothing to search for in {text[:80]!r}: give at least one word that must stand there. Signs alone "
            "are found by a regular expression."
        )
    return TextQuery(tuple(phrases))
