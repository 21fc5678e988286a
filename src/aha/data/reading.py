"""Rows out of a file, whatever it is packed in: JSON Lines, a JSON array, CSV, TSV, Parquet; gzip, bzip2, xz.

What cannot be read is named by its line and its cause in one sentence: a caller may set the line aside and go
on. Lines end at "\\n" alone (rows hold U+2028), a byte order mark is no part of the text, and half of a
surrogate pair becomes U+FFFD here, once, so that nothing that is written later can fail on it.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import json
import lzma
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from aha.types import AhaError

Bad = Callable[[str, str], None]
"""Told of each line that cannot be read: (where, why)."""
Numbered = Iterator[tuple[str, dict[str, Any]]]
"""(where, row): ``line 3`` of a text, ``row 3`` of anything else."""

_HALF = re.compile(r"\\u[dD][89abAB]|\\u[dD][c-fC-F]")
_LFS = b"version https://git-lfs"
_PACKED: tuple[tuple[bytes, Callable[..., Any]], ...] = (
    (b"\x1f\x8b", gzip.open), (b"BZh", bz2.open), (b"\xfd7zXZ\x00", lzma.open),
)  # fmt: skip
_UNREAD = (
    (b"PK\x03\x04", "a zip archive"),
    (b"\x28\xb5\x2f\xfd", "packed with zstd"),
    (b"ARROW1", "an Arrow file"),
)
_BROKEN = (OSError, EOFError, UnicodeDecodeError, zlib.error, lzma.LZMAError)
CSV_CELL = 1 << 27
"""Characters that one cell of a CSV file may have."""


def numbered(path: Path, bad: Bad | None = None) -> Numbered:
    """Every row of a file with the place where it stands.

    ``bad`` hears of lines that cannot be read, and the others follow; without it the first one raises AhaError.
    Raises AhaError for a file that cannot be read at all.
    """
    start = _start(path)
    _refuse(path, start)
    if start.startswith(b"PAR1"):
        yield from _parquet(path)
        return
    name = path.name.lower()
    for packing in (".gz", ".bz2", ".xz"):
        name = name.removesuffix(packing)
    with _text(path, start) as f:
        try:
            if name.endswith((".csv", ".tsv")):
                yield from _csv(path, f, "\t" if name.endswith(".tsv") else ",", bad)
            else:
                yield from _json(path, f, bad)
        except _BROKEN as error:
            raise AhaError(f"Cannot read '{path}': {_cause(error)}.") from error


def _start(path: Path) -> bytes:
    try:
        with open(path, "rb") as f:
            return f.read(64)
    except OSError as error:
        raise AhaError(f"Cannot read '{path}': {error.strerror or error}.") from error


def _refuse(path: Path, start: bytes) -> None:
    """Raise AhaError for what is no data by its first bytes."""
    if start.startswith(_LFS):
        raise AhaError(
            f"'{path}' is a Git LFS pointer, not the data: get the file itself (git lfs pull, or download it)."
        )
    if not start.strip():
        raise AhaError(f"'{path}' is empty: it has no rows.")
    if kind := next((what for magic, what in _UNREAD if start.startswith(magic)), ""):
        raise AhaError(f"'{path}' is {kind}, which is not read here: unpack it to JSON Lines or Parquet.")
    if path.suffix == ".parquet" and not start.startswith(b"PAR1"):
        raise AhaError(f"'{path}' is no Parquet file: it begins with {start[:12]!r}. Download it again.")


def _text(path: Path, start: bytes) -> IO[str]:
    opener = next((opener for magic, opener in _PACKED if start.startswith(magic)), open)
    wide = start.startswith((b"\xff\xfe", b"\xfe\xff"))
    return opener(path, "rt", encoding="utf-16" if wide else "utf-8-sig", newline="\n")


def _cause(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"it is not UTF-8 text (byte {error.object[error.start]:#04x})"
    if isinstance(error, (EOFError, zlib.error, gzip.BadGzipFile, lzma.LZMAError)):
        return f"its packing is broken or cut off ({error}): download it again"
    return str(error)


# --- JSON ----------------------------------------------------------------------------------------------


def _json(path: Path, f: IO[str], bad: Bad | None) -> Numbered:
    """Rows of JSON Lines, or of a JSON text that is an array or holds one."""
    count = 0
    lines = enumerate(f, 1)
    for number, line in lines:
        if not line.strip():
            continue
        if not count and _is_whole(line):
            yield from _whole(path, line + f.read(), bad)
            return
        count += 1
        row = _parse(line, bad, path, f"line {number}")
        if row is not None:
            yield f"line {number}", row
    if not count:
        raise AhaError(f"'{path}' has no rows.")


def _is_whole(line: str) -> bool:
    """Whether a first line begins a JSON text that goes over lines: an array, or an object left open."""
    text = line.strip()
    if text.startswith("["):
        return True
    return text.startswith("{") and not text.endswith("}") and len(text) < 4096 and _opens(text)


def _opens(text: str) -> bool:
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        return error.pos >= len(text) - 1
    except (ValueError, RecursionError):
        return False
    return False


def _whole(path: Path, text: str, bad: Bad | None) -> Numbered:
    value, problem = decode(text)
    if problem:
        raise AhaError(f"'{path}' is not valid JSON: {problem}.")
    rows = _listed(value)
    if rows is None:
        raise AhaError(f"'{path}' is JSON, but holds no list of rows: an array of objects was expected.")
    if not rows:
        raise AhaError(f"'{path}' has no rows.")
    for number, row in enumerate(rows, 1):
        entry = _as_row(row)
        if entry is None:
            _tell(bad, path, f"row {number}", f"a JSON object was expected, found {type(row).__name__}")
        else:
            yield f"row {number}", entry


def _listed(value: Any) -> list[Any] | None:
    """The rows of a JSON text: an array, an object's one array of objects, or the object itself."""
    if isinstance(value, list):
        return value
    if not isinstance(value, dict):
        return None
    lists = [v for v in value.values() if isinstance(v, list) and v and all(isinstance(r, dict) for r in v)]
    if len(lists) == 1 and len(value) <= 4 and not {"messages", "conversations", "prompt"} & set(value):
        return [row["row"] if set(row) >= {"row", "row_idx"} else row for row in lists[0]]
    return [value]


def _as_row(value: Any) -> dict[str, Any] | None:
    """An object; a list of messages by their places ("0", "1", ...), as Open-Reasoner-Zero keeps its rows."""
    if isinstance(value, list) and value and all(isinstance(v, dict) for v in value):
        return {str(i): v for i, v in enumerate(value)}
    return value if isinstance(value, dict) else None


def _parse(line: str, bad: Bad | None, path: Path, where: str) -> dict[str, Any] | None:
    value, problem = decode(line)
    if problem:
        _tell(bad, path, where, f"not valid JSON ({problem}): {line.strip()[:80]!r}. Correct or remove it")
        return None
    row = _as_row(value)
    if row is None:
        _tell(bad, path, where, f"a JSON object was expected, found {type(value).__name__}")
    return row


def decode(text: str) -> tuple[Any, str]:
    """(value, "") of a JSON text, or (None, what is wrong with it). A number of more digits than Python reads is
    kept as text, and half of a surrogate pair is replaced."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        return None, f"{error.msg} at column {error.colno}"
    except RecursionError:
        return None, "it is nested deeper than can be read"
    except ValueError:
        try:
            value = json.loads(text, parse_int=_number)
        except (ValueError, RecursionError) as error:
            return None, str(error)
    return (whole_text(value) if _HALF.search(text) else value), ""


def _number(digits: str) -> int | str:
    try:
        return int(digits)
    except ValueError:
        return digits


def whole_text(value: Any) -> Any:
    """``value`` with U+FFFD in place of every half of a surrogate pair, in all its texts."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {whole_text(k): whole_text(v) for k, v in value.items()}
    return [whole_text(v) for v in value] if isinstance(value, list) else value


def _tell(bad: Bad | None, path: Path, where: str, why: str) -> None:
    if bad is None:
        raise AhaError(f"'{path}', {where}: {why}.")
    bad(where, why)


# --- tables --------------------------------------------------------------------------------------------


def _csv(path: Path, f: IO[str], between: str, bad: Bad | None) -> Numbered:
    csv.field_size_limit(CSV_CELL)
    table = csv.reader(f, delimiter=between, strict=False)
    try:
        first = next(table, None)
        if first is None:
            raise AhaError(f"'{path}' has no rows.")
        names = _headless(first)
        count = 0
        if names:
            count += 1
            yield f"line {table.line_num}", dict(zip(names, first, strict=True))
        names = names or [name.strip() for name in first]
        for cells in table:
            if not any(cells):
                continue
            count += 1
            if len(cells) != len(names):
                _tell(bad, path, f"line {table.line_num}", f"{len(cells)} cells, but {len(names)} columns")
            else:
                yield f"line {table.line_num}", {n: _cell(c) for n, c in zip(names, cells, strict=True)}
    except csv.Error as error:
        raise AhaError(f"'{path}', line {table.line_num}: {error}.") from error
    if not count:
        raise AhaError(f"'{path}' has a header, but no rows.")


def _headless(cells: list[str]) -> list[str]:
    """Columns of a table whose first line is a row already: MMLU's files, and MGSM's; else none."""
    if len(cells) == 6 and cells[5].strip() in "ABCD" and cells[5].strip():
        return ["question", "A", "B", "C", "D", "answer"]
    if len(cells) == 2 and re.fullmatch(r"-?[\d,.]+", cells[1].strip()):
        return ["question", "answer"]
    return []


def _cell(text: str) -> Any:
    """Lists and objects as a table holds them, in JSON; everything else is text."""
    if text[:2] in ('["', "[{", '{"'):
        value, problem = decode(text)
        return text if problem else value
    return text


def _parquet(path: Path) -> Numbered:
    try:
        import pyarrow.parquet as parquet  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise AhaError(f"Reading '{path}' needs pyarrow: pip install pyarrow.") from error
    try:
        file, number = parquet.ParquetFile(path), 0
        for batch in file.iter_batches(batch_size=1024):
            for row in batch.to_pylist():
                number += 1
                yield f"row {number}", row
    except (OSError, ValueError) as error:  # pyarrow's own errors are kinds of these
        raise AhaError(f"Cannot read '{path}': {str(error)[:200]}. Download it again.") from error
    if not number:
        raise AhaError(f"'{path}' has no rows.")
