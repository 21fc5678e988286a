"""Prompts in other languages by a teacher, each checked: a translation is kept only if it is one.

A model that is asked to translate may answer what it reads, decline, repeat the original or write in another language.
Each is named and counted; none stands in for the prompt that was meant.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from aha.judges import prompts, verdicts
from aha.judges.asking import Complete, Judge
from aha.rewards.language import count_words as words_by_language
from aha.rewards.language import get_detector
from aha.tasks.rubric import count_words, refuses

NAMES = {
    "en": "English", "fr": "French", "de": "German", "es": "Spanish", "pt": "Portuguese", "it": "Italian",
    "nl": "Dutch", "pl": "Polish", "sv": "Swedish", "da": "Danish", "no": "Norwegian", "fi": "Finnish", "cs": "Czech",
    "ro": "Romanian", "hu": "Hungarian", "tr": "Turkish", "id": "Indonesian", "vi": "Vietnamese", "zh": "Chinese",
    "ja": "Japanese", "ko": "Korean", "ru": "Russian", "uk": "Ukrainian", "ar": "Arabic", "fa": "Persian",
    "hi": "Hindi", "el": "Greek", "he": "Hebrew", "bn": "Bengali", "ta": "Tamil", "te": "Telugu", "th": "Thai",
    "sw": "Swahili", "bg": "Bulgarian", "hr": "Croatian", "sr": "Serbian", "sk": "Slovak", "ms": "Malay",
    "tl": "Tagalog", "ur": "Urdu", "mr": "Marathi", "ne": "Nepali", "pa": "Punjabi", "gu": "Gujarati",
    "or": "Odia", "kn": "Kannada", "ml": "Malayalam", "si": "Sinhala",
    "am": "Amharic", "lo": "Lao", "km": "Khmer", "my": "Burmese",
}  # fmt: skip
"""What a teacher is told of a language beside its code."""
LEAST_SHARE = 0.5
"""Of a translation's words that have to be in its language: names and terms stay as they are."""
MOST_WORDS = (3, 10)
"""A translation has at most so many times the words of the original, and so many more: beyond it, it is an answer."""


@dataclass(frozen=True, slots=True)
class Translation:
    """A translation, or None and why the reply ``said`` is none."""

    text: str | None
    why: str = ""
    said: str = ""


class Translator(Judge):
    """Translates by ``complete``; ``checker`` says whether both texts ask for the same (None: the same model)."""

    def __init__(self, complete: Complete, checker: Complete | None = None, threads: int = 1):
        super().__init__(complete, threads)
        self._checker = Judge(checker or complete)

    def translate(
        self, text: str, language: str, seed: int = 0, fits: Callable[[str], bool] | None = None
    ) -> Translation:
        """``text`` in ``language`` (ISO 639-1). ``fits``: says of a translation whether the marks that stand in
        ``text`` are all there."""
        named = f"{NAMES.get(language, language)} ({language})"
        said = self._say("translation", prompts.translation(text, named, fits is not None), seed)
        rendered = verdicts.read_text(said, "translation")
        why = fault(text, rendered, said, language)
        if not why and rendered is not None and fits is not None and not fits(rendered):
            why = "the request has no place in it"
        if not why and rendered is not None:
            why = {True: "", False: "says something else", None: "could not be checked"}[
                self._checker.same(text, rendered, seed)
            ]
        self._count("translation", not why, said)
        return Translation(None if why else rendered, why, said)


def fault(text: str, rendered: str | None, said: str, language: str) -> str:
    """Why ``rendered``, read from the reply ``said``, does not translate ``text``; "" where a program sees nothing."""
    if rendered is None or not rendered.strip():
        return "empty" if not said.strip() or rendered is not None else _no_form(said)
    if refuses(rendered) and not refuses(text):
        return "refused"
    if rendered.split() == text.split():
        return "not translated"
    factor, more = MOST_WORDS
    if count_words(rendered) > factor * count_words(text) + more:
        return "an answer, by its length"
    counts = words_by_language(rendered, language, get_detector("auto"))
    total = sum(counts.values())
    return "" if total and counts.get(language, 0.0) / total >= LEAST_SHARE else "another language"


def _no_form(said: str) -> str:
    return "refused" if refuses(said) else "no translation in the reply"
