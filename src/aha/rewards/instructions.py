"""Instructions that a program can check: the 25 kinds of IFEval, by its rules, strict and loose, and in Chinese.

(Zhou et al., Instruction-Following Evaluation for Large Language Models, arXiv 2311.07911.) Two kinds are
approximated where the original asks a library: sentences end at full stops, question and exclamation marks, and
a language is told by scripts and function words.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from aha.rewards.chinese_instructions import CHINESE, Check
from aha.rewards.language import count_words, get_detector, normalise_language
from aha.types import AhaError

LONGEST = 100_000
"""Characters of an answer that are read."""
_SENTENCE = re.compile(r"[.!?。！？]+(?=\s|[\"'”’)\]]|$)")
_FENCE = re.compile(r"\A\s*```(?:json|JSON|Json)?\s*|\s*```\s*\Z")


def _compared(n: int, relation: Any, threshold: Any) -> bool:
    return n < int(threshold) if relation == "less than" else n >= int(threshold)


def _count(pattern: str, text: str) -> int:
    return sum(1 for _ in re.finditer(pattern, text, re.MULTILINE))


def _paragraphs(text: str) -> list[str]:
    """Paragraphs divided by three stars; empty ones at the ends do not count."""
    parts = [part.strip() for part in re.split(r"\s?\*\*\*\s?", text)]
    return parts[bool(parts and not parts[0]) : len(parts) - (len(parts) > 1 and not parts[-1])]


def _number_paragraphs(text: str, kw: Mapping[str, Any]) -> bool:
    paragraphs = _paragraphs(text)
    return all(paragraphs) and len(paragraphs) == int(kw["num_paragraphs"])


def _nth_paragraph(text: str, kw: Mapping[str, Any]) -> bool:
    parts = re.split(r"\n\n", text)
    full = [part for part in parts if part.strip()]
    n = int(kw["nth_paragraph"])
    if len(full) != int(kw["num_paragraphs"]) or not 1 <= n <= len(parts):
        return False
    words = parts[n - 1].split()
    first = re.split(r"[.,?!'\"]", words[0].lstrip("'\""), maxsplit=1)[0] if words else ""
    return first.lower() == str(kw["first_word"]).lower()


def _words_present(text: str, kw: Mapping[str, Any]) -> bool:
    return all(re.search(re.escape(str(word)), text, re.IGNORECASE) for word in kw["keywords"])


def _words_absent(text: str, kw: Mapping[str, Any]) -> bool:
    words = (re.escape(str(word)) for word in kw["forbidden_words"])
    return not any(re.search(rf"\b{word}\b", text, re.IGNORECASE) for word in words)


def _word_count(text: str, kw: Mapping[str, Any]) -> bool:
    count = len(re.findall(re.escape(str(kw["keyword"])), text, re.IGNORECASE))
    return _compared(count, kw.get("relation"), kw["frequency"])


def _letter_count(text: str, kw: Mapping[str, Any]) -> bool:
    return _compared(
        text.lower().count(str(kw["letter"]).lower()), kw.get("let_relation"), kw["let_frequency"]
    )


def _capital_words(text: str, kw: Mapping[str, Any]) -> bool:
    count = sum(word.isupper() for word in re.findall(r"\w+(?:['-]\w+)*", text))
    return _compared(count, kw.get("capital_relation"), kw["capital_frequency"])


def _highlights(text: str, kw: Mapping[str, Any]) -> bool:
    count = _count(r"\*[^\n*]*[^\n*\s][^\n*]*\*", text)
    return count >= int(kw["num_highlights"])


def _sections(text: str, kw: Mapping[str, Any]) -> bool:
    mark = re.escape(str(kw["section_spliter"]).strip())
    return len(re.split(rf"\s?{mark}\s?\d+\s?", text)) - 1 >= int(kw["num_sections"])


def _bullets(text: str, kw: Mapping[str, Any]) -> bool:
    return _count(r"^[ \t]*(?:\*[^*]|-)", text) == int(kw["num_bullets"])


def _is_json(text: str, kw: Mapping[str, Any]) -> bool:
    try:
        json.loads(_FENCE.sub("", text))
    except (ValueError, RecursionError):
        return False
    return True


def _two(text: str, kw: Mapping[str, Any]) -> bool:
    parts = [part.strip() for part in text.split("******")]
    full = [part for part in parts if part]
    return all(parts[1:-1]) and len(full) == 2 and full[0] != full[1]


def _postscript(text: str, kw: Mapping[str, Any]) -> bool:
    marker = str(kw["postscript_marker"]).strip()
    forms = {"P.P.S": r"p\.\s?p\.\s?s", "P.S.": r"p\.\s?s\."}
    return re.search(forms.get(marker, re.escape(marker.lower())), text.lower()) is not None


def _ends(text: str, kw: Mapping[str, Any]) -> bool:
    return text.strip().strip('"').lower().endswith(str(kw["end_phrase"]).strip().lower())


def _repeats(text: str, kw: Mapping[str, Any]) -> bool:
    return text.strip().lower().startswith(str(kw["prompt_to_repeat"]).strip().lower())


def _in_language(text: str, kw: Mapping[str, Any]) -> bool:
    target = normalise_language(str(kw["language"]))
    counts = count_words(text, target, get_detector("words"))
    return counts.get(target, 0.0) > sum(counts.values()) / 2


def _sentences(text: str, kw: Mapping[str, Any]) -> bool:
    ended = list(_SENTENCE.finditer(text))
    rest = text[ended[-1].end() if ended else 0 :].strip("\"'”’)] \n")
    return _compared(len(ended) + bool(rest), kw.get("relation"), kw["num_sentences"])


def _title(text: str, kw: Mapping[str, Any]) -> bool:
    return any(title.strip("<> ") for title in re.findall(r"<<[^\n<>]+>>", text))


def _quoted(text: str, kw: Mapping[str, Any]) -> bool:
    said = text.strip()
    return len(said) > 1 and said[0] == said[-1] == '"'


def _constrained(text: str, kw: Mapping[str, Any]) -> bool:
    return any(f"My answer is {word}." in text for word in ("yes", "no", "maybe"))


CHECKS: dict[str, tuple[Check, tuple[str, ...]]] = {
    "keywords:existence": (_words_present, ("keywords",)),
    "keywords:frequency": (_word_count, ("keyword", "frequency")),
    "keywords:forbidden_words": (_words_absent, ("forbidden_words",)),
    "keywords:letter_frequency": (_letter_count, ("letter", "let_frequency")),
    "language:response_language": (_in_language, ("language",)),
    "length_constraints:number_sentences": (_sentences, ("num_sentences",)),
    "length_constraints:number_paragraphs": (_number_paragraphs, ("num_paragraphs",)),
    "length_constraints:number_words": (
        lambda text, kw: _compared(len(re.findall(r"\w+", text)), kw.get("relation"), kw["num_words"]),
        ("num_words",),
    ),
    "length_constraints:nth_paragraph_first_word": (
        _nth_paragraph,
        ("num_paragraphs", "nth_paragraph", "first_word"),
    ),
    "detectable_content:number_placeholders": (
        lambda text, kw: _count(r"\[[^\[\]\n]*\]", text) >= int(kw["num_placeholders"]),
        ("num_placeholders",),
    ),
    "detectable_content:postscript": (_postscript, ("postscript_marker",)),
    "detectable_format:number_bullet_lists": (_bullets, ("num_bullets",)),
    "detectable_format:constrained_response": (_constrained, ()),
    "detectable_format:number_highlighted_sections": (_highlights, ("num_highlights",)),
    "detectable_format:multiple_sections": (_sections, ("section_spliter", "num_sections")),
    "detectable_format:json_format": (_is_json, ()),
    "detectable_format:title": (_title, ()),
    "combination:two_responses": (_two, ()),
    "combination:repeat_prompt": (_repeats, ("prompt_to_repeat",)),
    "startend:end_checker": (_ends, ("end_phrase",)),
    "startend:quotation": (_quoted, ()),
    "change_case:capital_word_frequency": (_capital_words, ("capital_frequency",)),
    "change_case:english_capital": (lambda text, kw: text.isupper(), ()),
    "change_case:english_lowercase": (lambda text, kw: text.islower(), ()),
    "punctuation:no_comma": (lambda text, kw: "," not in text and "，" not in text, ()),
}
"""Kind -> (its check, what it must be told)."""


CHINESE_MARK = "zh:"
"""What stands in front of a kind that is meant in Chinese, whatever language its prompt has."""


def check_known(kind: str, kwargs: Mapping[str, Any]) -> None:
    """Raise AhaError for a kind that is not known, and for one that is not told what it needs."""
    plain = kind.removeprefix(CHINESE_MARK)
    if plain not in CHECKS:
        raise AhaError(f"The instruction '{kind}' is not known. Known are the 25 of IFEval.")
    missing = [name for name in CHECKS[plain][1] if kwargs.get(name) is None]
    if missing:
        raise AhaError(f"The instruction '{kind}' lacks {missing[0]}.")
    if plain == "language:response_language":
        normalise_language(str(kwargs["language"]))


Instructions = Mapping[str, Mapping[str, Any]] | Sequence[tuple[str, Mapping[str, Any]]]
"""(kind, what it is told) of one answer."""


def broken(text: str, instructions: Instructions, language: str = "en") -> list[str]:
    """The instructions that an answer does not follow; all of them for an empty one. ``language`` of the
    prompt: Chinese ones count characters, Chinese stops and so on. Linear in the answer."""
    said = text[:LONGEST]
    return [kind for kind, kwargs in _pairs(instructions) if not _follows(said, kind, kwargs, language)]


def broken_loosely(text: str, instructions: Instructions, language: str = "en") -> list[str]:
    """As ``broken``, by IFEval's loose rule: an instruction is followed where it is after the first line, the last line
    or stars were taken away, which models put around what was asked for."""
    lines = text[:LONGEST].split("\n")
    cut = (lines, lines[1:], lines[:-1], lines[1:-1])
    texts = list(dict.fromkeys("\n".join(part).strip() for part in cut))
    texts += [text.replace("*", "") for text in texts if "*" in text]
    kinds = _pairs(instructions)
    return [k for k, kw in kinds if not any(_follows(text, k, kw, language) for text in texts)]


def _pairs(instructions: Instructions) -> list[tuple[str, Mapping[str, Any]]]:
    return list(instructions.items()) if isinstance(instructions, Mapping) else list(instructions)


def _follows(said: str, kind: str, kwargs: Mapping[str, Any], language: str) -> bool:
    plain = kind.removeprefix(CHINESE_MARK)
    chinese = CHINESE.get(plain) if language == "zh" or plain != kind else None
    return bool(said.strip()) and (chinese or CHECKS[plain][0])(said, kwargs)
