"""Rows from where users keep them (JSON Lines, Parquet, the hub), and which of their columns mean what."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aha.types import AhaError

Row = Mapping[str, Any]


def read_rows(source: str, split: str = "train") -> list[dict[str, Any]]:
    """All rows of a ``.jsonl``, ``.jsonl.gz``, ``.json`` or ``.parquet`` file, or of a hub data set.

    Raises AhaError naming the file, the line and the cause where a row is malformed.
    """
    path = Path(source).expanduser()
    if path.is_file():
        return _read_parquet(path) if path.suffix == ".parquet" else _read_json(path)
    if path.suffix or source.startswith((".", "/", "~")) or source.count("/") > 1:
        raise AhaError(f"No data file '{source}'. Give a .jsonl, .jsonl.gz or .parquet file that exists.")
    return _read_hub(source, split)


def _read_json(path: Path) -> list[dict[str, Any]]:
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8", newline="\n") as f:
            text = f.read()
    except (OSError, UnicodeDecodeError, EOFError) as error:
        raise AhaError(f"Cannot read '{path}': {error}.") from error
    rows = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            rows.append(_parse_line(path, number, line))
    if not rows:
        raise AhaError(f"'{path}' has no rows.")
    return rows


def _parse_line(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise AhaError(
            f"'{path}', line {number}: not valid JSON ({error.msg} at column {error.colno}): "
            f"{line[:80]!r}. Every line must be one JSON object; correct or remove this one."
        ) from error
    if not isinstance(row, dict):
        raise AhaError(f"'{path}', line {number}: a JSON object was expected, found {type(row).__name__}.")
    return row


def _read_parquet(path: Path) -> list[dict[str, Any]]:
    try:
        import pyarrow.parquet as parquet  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise AhaError(f"Reading '{path}' needs pyarrow: pip install 'aha[data]'.") from error
    return parquet.read_table(path).to_pylist()


def _read_hub(name: str, split: str) -> list[dict[str, Any]]:
    name, _, config = name.partition(":")
    try:
        import datasets  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise AhaError(
            f"'{name}' is no file here, and reading it from the hub needs datasets: pip install 'aha[data]'. "
            "Or give a local file with --data FILE."
        ) from error
    try:
        return [dict(row) for row in datasets.load_dataset(name, config or None, split=split)]  # type: ignore[union-attr]
    except Exception as error:  # datasets raises many kinds: all mean that the data cannot be had
        raise AhaError(
            f"Cannot load the data set '{name}' from the hub: {str(error)[:300]}. Without a network, give a "
            "local file with --data FILE."
        ) from error


@dataclass(frozen=True, slots=True)
class Mapped:
    """A question with its reference answer, and from which columns they came."""

    question: str
    answer: str
    schema: str


def map_row(row: Row, number: int) -> Mapped:
    """Question and answer of a row in one of the schemas in use: verl, open-r1, GSM8K, reasoning-gym, TRL.

    Raises AhaError naming the row and its columns if it has no question or no answer.
    """
    question, asked = _question(row)
    answer, answered = _answer(row)
    if question is None or answer is None:
        missing = "question" if question is None else "answer"
        raise AhaError(
            f"Row {number} has no {missing}: its columns are {sorted(row)}. Wanted: question, problem or prompt; "
            "and answer, solution, final_answer or reward_model.ground_truth."
        )
    return Mapped(question, answer, f"{asked} -> {answered}")


def _question(row: Row) -> tuple[str | None, str]:
    for key in ("question", "problem", "prompt", "messages"):
        value = row.get(key)
        if isinstance(value, str) and value.strip():
            return value, key
        if isinstance(value, Sequence) and not isinstance(value, str) and value:
            users = [m.get("content") for m in value if isinstance(m, Mapping) and m.get("role") == "user"]
            if users and isinstance(users[-1], str):
                return users[-1], f"{key} (last user message)"
    return None, ""


def _answer(row: Row) -> tuple[str | None, str]:
    model = row.get("reward_model")
    if isinstance(model, Mapping) and model.get("ground_truth") is not None:
        return str(model["ground_truth"]), "reward_model.ground_truth"
    for key in ("answer", "final_answer", "expected_answer", "gt", "solution"):
        value = row.get(key)
        if isinstance(value, (list, tuple)) and value:
            value = value[0]
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            continue
        text = str(value)
        if "####" in text:
            return text.rsplit("####", 1)[1].strip().replace(",", ""), f"{key} after ####"
        if text.strip():
            return text, key
    return None, ""
