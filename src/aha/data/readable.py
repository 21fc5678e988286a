"""Is a chain of thought fit to be read and learned from? The R1 paper drops chains that mix languages, have
long paragraphs or hold code blocks, and those that repeat themselves; each drop has its reason here.

(DeepSeek-R1, arXiv 2501.12948, on rejection sampling.) How a language is told is for the caller to say
(``rewards.language.language_mix``): this room knows nothing of rewards.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from aha.data.words import ngrams, tokens

OtherLanguages = Callable[[str, str], float]
"""(text, language) -> the share 0..1 of its words that are in another one."""


@dataclass(frozen=True, slots=True)
class ReadabilityLimits:
    """What a readable chain keeps to. Words: each Chinese character is one."""

    other_languages: float = 0.1  # share of words
    repeated: float = 0.3  # share of n-grams that stood before
    n: int = 8
    paragraph: int = 400  # words between line ends
    code_blocks: int = 0
    shortest: int = 1  # words
    longest: int | None = None


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a chain is not readable: a short name to count by, and the measure in words."""

    name: str
    detail: str


def repeated_share(words: list[str], n: int) -> float:
    """The share of runs of ``n`` words that stood before in the same text; 0 for texts too short to tell."""
    grams = list(ngrams(words, n)) if len(words) > n else []
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def code_blocks(text: str) -> int:
    """Fences that open a block of code: every second line that begins with three backticks or tildes."""
    fences = sum(line.lstrip().startswith(("```", "~~~")) for line in text.splitlines())
    return (fences + 1) // 2


def check(
    chain: str,
    language: str,
    other_languages: OtherLanguages,
    limits: ReadabilityLimits = ReadabilityLimits(),
) -> tuple[Reason, ...]:
    """Every reason against a chain of thought; empty for a readable one. Linear in ``chain``."""
    words = tokens(chain)
    reasons: list[Reason] = []

    def note(name: str, is_so: bool, detail: str) -> None:
        if is_so:
            reasons.append(Reason(name, detail))

    note("too short", len(words) < limits.shortest, f"{len(words)} words")
    note("too long", limits.longest is not None and len(words) > limits.longest, f"{len(words)} words")
    mixed = other_languages(chain, language)
    note("mixed language", mixed > limits.other_languages, f"{mixed:.0%} of the words are not {language}")
    share = repeated_share(words, limits.n)
    note("repetition", share > limits.repeated, f"{share:.0%} of the {limits.n}-grams stood before")
    longest = max((len(tokens(part)) for part in chain.split("\n")), default=0)
    note("long paragraph", longest > limits.paragraph, f"{longest} words without a line end")
    blocks = code_blocks(chain)
    note("code block", blocks > limits.code_blocks, f"{blocks} blocks of code")
    return tuple(reasons)
