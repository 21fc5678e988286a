"""Counts of reflective words, as the paper tracks them over training: its ten English words, and Chinese
phrases of the same use. A metric and not a reward. (DeepSeek-R1, arXiv 2501.12948, on self-evolution.)
"""

from __future__ import annotations

import re
from collections.abc import Iterator

ENGLISH = ("wait", "mistake", "however", "but", "retry", "error", "verify", "wrong", "evaluate", "check")
"""The paper's list, merged from three experts' proposals."""

CHINESE = (
    *("等等", "等一下", "不对", "错误", "错了", "弄错", "然而", "不过", "但是"),
    *("再试", "重试", "重新", "验证", "验算", "检验", "检查", "核对", "评估"),
)
"""The same uses in Chinese: halting, noticing an error, contrast, trying again, verifying."""

_REFLECTION = re.compile(
    rf"(?<![A-Za-z])(?P<english>{'|'.join(ENGLISH)})(?![A-Za-z])|{'|'.join(CHINESE)}",
    re.IGNORECASE | re.ASCII,
)


def find_reflections(text: str) -> Iterator[tuple[int, int, str]]:
    """(start, end, word in lower case) of each reflective word in ``text``, in order.

    English words whole and in any case ("Wait", not "awaiting"), as listed and not inflected; Chinese phrases
    anywhere, without overlap. Linear in ``text``.
    """
    for match in _REFLECTION.finditer(text):
        yield match.start(), match.end(), match.group().lower()


def count_reflections(text: str) -> dict[str, int]:
    """How often each reflective word (``find_reflections``) stands in ``text``; words that do not are left out."""
    counts: dict[str, int] = {}
    for _, _, word in find_reflections(text):
        counts[word] = counts.get(word, 0) + 1
    return counts
