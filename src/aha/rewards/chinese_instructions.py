"""The kinds of IFEval as they are meant in Chinese: characters where English counts words, Chinese stops, commas,
quotation marks, titles and numbered sections. Kinds that are the same in both languages are not here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

Check = Callable[[str, Mapping[str, Any]], bool]
_WORD = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]|[^\W\u3400-\u9fff\uf900-\ufaff]+")
"""A Chinese character, or an unbroken word of other letters or digits."""
_STOP = re.compile(r"[。！？!?…]+|\.(?=\s|$)")
_CLOSING = " \n\t\"'”’」』）)》】*"
_DIGITS = "零一二三四五六七八九"
_QUOTES = {"“": "”", "「": "」", "『": "』", '"': '"'}
_RELATIONS = {"少于": "less than", "不到": "less than", "至少": "at least", "不少于": "at least"}
_ANSWERS = ("是", "不是", "否", "也许", "可能")


def less_than(relation: Any) -> bool:
    """Whether a number must stay below what is told; in English or in Chinese words."""
    return _RELATIONS.get(str(relation), relation) == "less than"


def _compared(n: int, relation: Any, threshold: Any) -> bool:
    return n < int(threshold) if less_than(relation) else n >= int(threshold)


def _words(text: str, kw: Mapping[str, Any]) -> bool:
    return _compared(len(_WORD.findall(text)), kw.get("relation"), kw["num_words"])


def _sentences(text: str, kw: Mapping[str, Any]) -> bool:
    parts = [part.strip(_CLOSING) for part in _STOP.split(text)]
    return _compared(sum(bool(part) for part in parts), kw.get("relation"), kw["num_sentences"])


def _keyword(text: str, kw: Mapping[str, Any]) -> bool:
    return _compared(text.lower().count(str(kw["keyword"]).lower()), kw.get("relation"), kw["frequency"])


def _absent(text: str, kw: Mapping[str, Any]) -> bool:
    return not any(str(word).lower() in text.lower() for word in kw["forbidden_words"])


def _letter(text: str, kw: Mapping[str, Any]) -> bool:
    return _compared(
        text.lower().count(str(kw["letter"]).lower()), kw.get("let_relation"), kw["let_frequency"]
    )


def _nth_paragraph(text: str, kw: Mapping[str, Any]) -> bool:
    """Chinese words are not parted: a paragraph begins with its first word."""
    parts = re.split(r"\n\n", text)
    n = int(kw["nth_paragraph"])
    if sum(bool(part.strip()) for part in parts) != int(kw["num_paragraphs"]) or not 1 <= n <= len(parts):
        return False
    return parts[n - 1].lstrip(" \n\"'“‘「『*").lower().startswith(str(kw["first_word"]).lower())


def numeral(n: int) -> str:
    """A whole number from 1 to 99 as it is written in Chinese: 7 is 七, 12 is 十二, 20 is 二十."""
    tens, ones = divmod(n, 10)
    front = {0: "", 1: "十"}.get(tens, _DIGITS[tens] + "十")
    return front + (_DIGITS[ones] if ones else "")


def _sections(text: str, kw: Mapping[str, Any]) -> bool:
    """``第1部分``, ``第一部分`` and ``部分 1``, for the mark ``部分``; the mark may begin with 第 itself."""
    mark = re.escape(str(kw["section_spliter"]).strip().removeprefix("第"))
    sections = int(kw["num_sections"])
    marked = set(re.findall(rf"第\s?(\d+|[一二三四五六七八九十]+)\s?{mark}", text))
    marked |= set(re.findall(rf"{mark}\s?(\d+|[一二三四五六七八九十]+)", text))
    names = {numeral(n): n for n in range(1, 100)}
    return len({int(f[-9:]) if f.isdecimal() else names.get(f, 0) for f in marked}) >= sections


def _postscript(text: str, kw: Mapping[str, Any]) -> bool:
    marker = str(kw["postscript_marker"]).strip().rstrip(":：.")
    plain = re.sub(r"[\s.]", "", text.lower())
    return re.sub(r"[\s.]", "", marker.lower()) in plain


def _title(text: str, kw: Mapping[str, Any]) -> bool:
    titles = re.findall(r"<<([^\n<>]+)>>|《([^\n《》]+)》", text)
    return any("".join(names).strip() for names in titles)


def _quoted(text: str, kw: Mapping[str, Any]) -> bool:
    said = text.strip()
    return len(said) > 1 and _QUOTES.get(said[0]) == said[-1]


def _constrained(text: str, kw: Mapping[str, Any]) -> bool:
    phrases = [f"我的答案是{word}" for word in _ANSWERS] + [f"我的回答是{word}" for word in _ANSWERS]
    return any(f"{words}{stop}" in text for words in phrases for stop in ("。", ".")) or any(
        f"My answer is {word}." in text for word in ("yes", "no", "maybe")
    )


def _placeholders(text: str, kw: Mapping[str, Any]) -> bool:
    return len(re.findall(r"\[[^\[\]\n]*\]|【[^【】\n]*】", text)) >= int(kw["num_placeholders"])


def _bullets(text: str, kw: Mapping[str, Any]) -> bool:
    bullets = re.findall(r"^[ \t]*(?:\*[^*]|-|•|·)", text, re.MULTILINE)
    return len(bullets) == int(kw["num_bullets"])


def _ends(text: str, kw: Mapping[str, Any]) -> bool:
    return text.strip().strip('"“”「」').lower().endswith(str(kw["end_phrase"]).strip().lower())


CHINESE: Mapping[str, Check] = {
    "keywords:frequency": _keyword,
    "keywords:forbidden_words": _absent,
    "keywords:letter_frequency": _letter,
    "length_constraints:number_sentences": _sentences,
    "length_constraints:number_words": _words,
    "length_constraints:nth_paragraph_first_word": _nth_paragraph,
    "detectable_content:number_placeholders": _placeholders,
    "detectable_content:postscript": _postscript,
    "detectable_format:constrained_response": _constrained,
    "detectable_format:multiple_sections": _sections,
    "detectable_format:number_bullet_lists": _bullets,
    "detectable_format:title": _title,
    "startend:end_checker": _ends,
    "startend:quotation": _quoted,
    "punctuation:no_comma": lambda text, kw: not set(text) & set(",，"),
}
"""Kind -> its check on Chinese answers."""
