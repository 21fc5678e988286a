"""Rows from where users keep them: files (``reading``) and the hub."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aha.data.reading import Bad, Numbered, numbered
from aha.types import AhaError

Row = Mapping[str, Any]
FORMATS = ".jsonl, .json, .csv, .tsv, .parquet, or .gz of a text"


def read_rows(source: str, split: str = "train") -> list[dict[str, Any]]:
    """All rows of a file (JSON Lines, a JSON array, CSV, Parquet; packed or not), or of a hub data set.

    Raises AhaError naming the file, the line and the cause where a row is malformed.
    """
    return [row for _, row in numbered_rows(source, split)]


def numbered_rows(source: str, split: str = "train", bad: Bad | None = None) -> Numbered:
    """Rows one after another, each with the place where it stands. ``bad`` hears of lines that cannot be read;
    without it the first one raises AhaError."""
    path = Path(source).expanduser()
    if path.is_file():
        return numbered(path, bad)
    if path.is_dir():
        raise AhaError(f"'{source}' is a folder: give one of its files, as {_files_in(path)}.")
    if is_file_name(source):
        raise AhaError(f"No data file '{source}'. Give a file that exists: {FORMATS}.")
    return _hub(source, split)


def is_file_name(source: str) -> bool:
    """Whether a source is meant as a file here, not as a name on the hub."""
    return bool(Path(source).suffix) or source.startswith((".", "/", "~")) or source.count("/") > 1


def _files_in(folder: Path) -> str:
    files = sorted(
        p.name for p in folder.iterdir() if p.suffix in (".jsonl", ".json", ".parquet", ".csv", ".gz")
    )
    return ", ".join(files[:3]) or FORMATS


def _hub(name: str, split: str) -> Numbered:
    name, _, config = name.partition(":")
    try:
        import datasets  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise AhaError(
            f"'{name}' is no file here, and reading it from the hub needs datasets: pip install datasets. "
            "Or give a local file with --data FILE."
        ) from error
    try:
        rows = _split(datasets, name, config or None, split)
    except Exception as error:  # datasets raises many kinds: all mean that the data cannot be had
        raise AhaError(
            f"Cannot load the data set '{name}', split {split}, from the hub: {str(error)[:300]}. Without a "
            "network, give a local file with --data FILE."
        ) from error
    return ((f"row {number}", dict(row)) for number, row in enumerate(rows, 1))


def _split(datasets: Any, name: str, config: str | None, split: str) -> Any:
    """A split of a hub data set; of one that has a single split (many benchmarks do), that one."""
    try:
        return datasets.load_dataset(name, config, split=split)
    except ValueError as error:
        if "split" not in str(error).lower():
            raise
        everything = datasets.load_dataset(name, config)
        if len(everything) != 1:
            raise
        return next(iter(everything.values()))
