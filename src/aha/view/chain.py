"""One rollout as the page shows it: its parts, what is marked in them, its figures, its rewards and their reasons."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from aha.rewards.language import language_mix, normalise_language
from aha.rewards.reflection import find_reflections
from aha.runs.charts import clean, number
from aha.runs.console import segments
from aha.runs.report.data import Json, as_dict, is_right
from aha.types import AhaError

LONGEST = 400_000
"""Characters of a chain that are shown; of a longer one the middle is left out."""
MOST_TOKENS = 60_000
PLAIN = ("step", "problem_id", "question", "answer", "member", "finish", "policy_version")
"""Fields that are shown as they were written."""
# runs of letters of one script; digits and signs belong to no language
_RUN = re.compile(
    r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+|[A-Za-z\u00c0-\u024f]+|"
    r"[^\W\d_A-Za-z\u00c0-\u024f\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+"
)
_BETWEEN = re.compile(r"[\s\d.,;:!?()\"'\-，。、；：！？（）]*")


def shown(row: Json, problem: Json) -> dict[str, Any]:
    """A rollout's row for the page. ``problem`` is its problem's row; empty where it was not written down."""
    text = clean(row.get("text", ""), LONGEST)
    language = str(row.get("language") or problem.get("language") or "en")
    return {
        **{key: row.get(key) for key in PLAIN},
        "tokens": number(row.get("tokens")), "reward": number(row.get("reward")), "right": is_right(row),
        "advantage": number(row.get("advantage")), "mean_logprob": number(row.get("mean_logprob")),
        "task": row.get("task") or problem.get("task"), "language": language,
        "gold": gold(row, problem), "scores": scores(row), "parts": parts(text, language), "pieces": pieces(row),
        "text": text,
    }  # fmt: skip


def gold(row: Json, problem: Json) -> str:
    """The reference answer in words; of a program the number of its tests."""
    answer = row.get("answer")
    if answer is None:
        answer = problem.get("answer")
    if answer is None and isinstance(problem.get("tests"), list):
        return f"{len(problem['tests'])} tests"
    if isinstance(answer, list):
        return " or ".join(clean(a, 500) for a in answer)
    return "" if answer is None else clean(answer, 2000)


def scores(row: Json) -> list[dict[str, Any]]:
    """Each reward's value and the reason that was written down."""
    lines = []
    for name, score in list(as_dict(row.get("scores")).items())[:40]:
        said = as_dict(score)
        lines.append(
            {
                "name": clean(name, 80),
                "value": number(said.get("value")),
                "note": clean(said.get("note") or "", 4000),
            }
        )
    return lines


# --- the text ----------------------------------------------------------------------------------------------


def parts(text: str, language: str) -> list[dict[str, Any]]:
    """The text as parts (think, answer, plain, tag), each a list of (text, mark): "reflection", "switch" or ""."""
    return [
        {"kind": kind, "runs": [[part, ""]] if kind in ("tag", "answer") else marked(part, language)}
        for kind, part in segments(text)
    ]


def marked(text: str, language: str) -> list[list[str]]:
    """A text in pieces with what is marked: reflective words, and between them passages in another language."""
    runs, at = [], 0
    for start, end, _ in find_reflections(text):
        runs += [*_switched(text[at:start], language), [text[start:end], "reflection"]]
        at = end
    return [*runs, *_switched(text[at:], language)]


def _switched(text: str, language: str) -> list[list[str]]:
    runs, at = [], 0
    for start, end in switches(text, language):
        runs += [[text[at:start], ""]] if at < start else []
        runs.append([text[start:end], "switch"])
        at = end
    return [*runs, [text[at:], ""]] if at < len(text) else runs


def switches(text: str, language: str) -> list[tuple[int, int]]:
    """Passages written in another language than the question's, by their script; names of variables are none."""
    try:
        target = normalise_language(language)
    except AhaError:
        return []
    spans: list[tuple[int, int]] = []
    last_was_other = False
    for match in _RUN.finditer(text):
        other = _language(match.group(), target)
        if other is None:
            continue
        if other and last_was_other and _BETWEEN.fullmatch(text, spans[-1][1], match.start()):
            spans[-1] = (spans[-1][0], match.end())
        elif other:
            spans.append(match.span())
        last_was_other = other
    return spans


@lru_cache(maxsize=4096)
def _language(word: str, target: str) -> bool | None:
    """Whether a word is of another language; None for what is no word of any."""
    shares = language_mix(word, target).shares
    return None if not shares else max(shares, key=lambda code: shares[code]) != target


def pieces(row: Json) -> list[list[Any]]:
    """[text, logprob of the sampler, of the policy, advantage] of each token, where a run wrote them; else empty."""
    texts, sampler = row.get("token_texts"), row.get("logprobs")
    if not isinstance(texts, list) or not isinstance(sampler, list) or len(texts) != len(sampler):
        return []
    more = [row.get(key) for key in ("policy_logprobs", "advantages")]
    columns = [m if isinstance(m, list) and len(m) == len(texts) else [None] * len(texts) for m in more]
    rows = zip(texts[:MOST_TOKENS], sampler, *columns, strict=False)
    return [[clean(text), *(number(value) for value in values)] for text, *values in rows]
