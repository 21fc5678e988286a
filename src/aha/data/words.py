"""How curation reads text: words and numbers in one case, each Chinese, Japanese or Korean character alone."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence

_TOKEN = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff]|[^\W_]+")
_CJK = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff]")
_SPLIT = re.compile(
    r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff]|[^\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff]+"
)


def tokens(text: str) -> list[str]:
    """Words and numbers of ``text``, compatibility forms made alike, in one case. Linear."""
    found = []
    for word in _TOKEN.findall(unicodedata.normalize("NFKC", text).casefold()):
        found.extend(_SPLIT.findall(word) if len(word) > 1 and _CJK.search(word) else [word])
    return found


def ngrams(words: Sequence[str], n: int) -> Iterator[str]:
    """Every run of ``n`` words; the whole where there are fewer, and nothing where there are none."""
    if words and len(words) < n:
        yield " ".join(words)
    for i in range(len(words) - n + 1):
        yield " ".join(words[i : i + n])


def row_text(row: object, keys: Sequence[str] = ()) -> str:
    """All texts in a row (or in the columns named), whatever the schema, one line each."""
    parts: list[str] = []
    chosen = {k: row.get(k) for k in keys} if keys and isinstance(row, dict) else row
    _collect(chosen, parts)
    return "\n".join(parts)


def _collect(value: object, parts: list[str]) -> None:
    if isinstance(value, str):
        parts.append(value)
    elif isinstance(value, dict):
        for key, inner in value.items():
            if key not in ("role", "from", "id"):
                _collect(inner, parts)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            _collect(inner, parts)
