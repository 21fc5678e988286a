"""Rows from where users keep them: files (``reading``) and the hub.

``FILE+FILE`` are rows whose columns lie apart, joined by what both call a row. A hub data set is ``OWNER/NAME``, with
a configuration, a revision and a split where they matter: ``OWNER/NAME:CONFIG@REVISION#SPLIT``. The configuration
``*`` is all of them, one after another.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
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
    if (parts := joined_files(source)) is not None:
        return _joined(parts, bad)
    if path.is_dir():
        raise AhaError(f"'{source}' is a folder: give one of its files, as {_files_in(path)}.")
    if is_file_name(source):
        raise AhaError(f"No data file '{source}'. Give a file that exists: {FORMATS}.")
    return _hub(source, split)


_IDS = ("id", "question_id", "uid", "task_id", "key")
"""What rows are called by, in sets that keep questions and answers in two files."""


def joined_files(source: str) -> tuple[Path, Path] | None:
    """The two files of ``FILE+FILE``; None of anything else."""
    first, plus, second = source.rpartition("+")
    parts = Path(first).expanduser(), Path(second).expanduser()
    return parts if plus and all(part.is_file() for part in parts) else None


def _joined(parts: tuple[Path, Path], bad: Bad | None) -> Numbered:
    """The rows of the first file, each with the columns that the second file's row of its name has beside. Raises
    AhaError where the files have no name in common, or the second one uses a name twice."""
    first, second = parts
    more = list(numbered(second, bad))
    name = next((key for key in _IDS if more and key in more[0][1]), None)
    if name is None:
        raise AhaError(f"'{second}' cannot be joined: its rows have none of {', '.join(_IDS)}.")
    by_name: dict[str, dict[str, Any]] = {}
    for where, row in more:
        if str(row.get(name)) in by_name:
            raise AhaError(f"'{second}', {where}: {name} {row.get(name)} stands twice.")
        by_name[str(row.get(name))] = row
    for where, row in numbered(first, bad):
        beside = by_name.get(str(row.get(name)))
        if beside is not None:
            yield where, {**beside, **row}
            continue
        why = f"no row of {second.name} has its {name} {row.get(name)}"
        if bad is None:
            raise AhaError(f"'{first}', {where}: {why}.")
        bad(where, why)


_HUB = re.compile(
    r"(?P<name>(?:[\w.-]+/)?[\w.-]+)(?::(?P<config>[^@#]+))?(?:@(?P<revision>[^#]+))?(?:#(?P<split>.+))?"
)
_PARQUET = "refs/convert/parquet"
"""The branch on which the hub keeps sets as tables whose own form is a program."""


@dataclass(frozen=True, slots=True)
class HubSet:
    """What a source on the hub names; None for what it leaves open."""

    name: str
    config: str | None = None
    revision: str | None = None
    split: str | None = None


def hub_set(source: str) -> HubSet:
    """The parts of a source on the hub."""
    match = _HUB.fullmatch(source)
    return HubSet(**match.groupdict()) if match else HubSet(source)


def is_file_name(source: str) -> bool:
    """Whether a source is meant as a file here, not as a name on the hub."""
    match = _HUB.fullmatch(source)
    if match is None or source.startswith((".", "/", "~")):
        return True
    suffix = Path(match["name"]).suffix
    return bool(suffix) and not suffix[1:2].isdigit()  # the 0 of name-2.0 ends no file's name


def on_hub(source: str) -> bool:
    """Whether a source is read from the hub: no file, and not meant as one."""
    return not is_file_name(source) and not Path(source).expanduser().exists()


def with_split(source: str, split: str) -> str:
    """A source on the hub with the split that is read, unless it names one; a file as it is."""
    return f"{source}#{split}" if on_hub(source) and not hub_set(source).split else source


def _files_in(folder: Path) -> str:
    files = sorted(
        p.name for p in folder.iterdir() if p.suffix in (".jsonl", ".json", ".parquet", ".csv", ".gz")
    )
    return ", ".join(files[:3]) or FORMATS


FILE_INSTEAD = "--data FILE, or --tasks NAME=FILE"
"""How rows of the hub are had from a file."""


def _hub(source: str, split: str) -> Numbered:
    asked = hub_set(source)
    split = asked.split or split
    try:
        import datasets  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise AhaError(
            f"'{asked.name}' is no file here, and reading it from the hub needs datasets: pip install datasets. "
            f"Or give a local file: {FILE_INSTEAD}."
        ) from error
    try:
        parts = [(config, _split(datasets, asked, config, split)) for config in _configs(datasets, asked)]
    except Exception as error:  # datasets raises many kinds: all mean that the data cannot be had
        at = f", revision {asked.revision} (NAME@main is the newest)" if asked.revision else ""
        raise AhaError(
            f"Cannot load the data set '{asked.name}', split {split}{at}, from the hub: {str(error)[:300]}. Without a "
            f"network, give a local file: {FILE_INSTEAD}."
        ) from error
    if commit := next(filter(None, map(_commit_of, (rows for _, rows in parts))), ""):
        _commits[source] = commit
    rows = _with_subject(parts) if asked.config == "*" else (dict(row) for row in parts[0][1])
    return ((f"row {number}", row) for number, row in enumerate(rows, 1))


_commits: dict[str, str] = {}
_COMMIT = re.compile(r"[0-9a-f]{40}")


def commit_of(source: str) -> str:
    """The commit at which a source on the hub was read last in this process; "" where that is not known."""
    return _commits.get(source, "")


def _commit_of(rows: Any) -> str:
    """The commit of a table: ``datasets`` keeps it in a folder that has the commit's name; "" of one in memory."""
    files = getattr(rows, "cache_files", None) or ()
    parts = (part for file in files for part in Path(str(file.get("filename", ""))).parts)
    return next((part for part in parts if _COMMIT.fullmatch(part)), "")


def with_revision(source: str, revision: str) -> str:
    """A source on the hub at one of its revisions. Raises AhaError for one that names another."""
    asked = hub_set(source)
    if asked.revision not in (None, revision):
        raise AhaError(f"'{source}' names the revision {asked.revision}, and {revision} is asked for.")
    config, split = asked.config, asked.split
    return f"{asked.name}{f':{config}' if config else ''}@{revision}{f'#{split}' if split else ''}"


def _configs(datasets: Any, asked: HubSet) -> list[str | None]:
    if asked.config != "*":
        return [asked.config]
    return list(datasets.get_dataset_config_names(asked.name, **_revision(asked)))


def _with_subject(parts: list[tuple[str | None, Any]]) -> Iterator[dict[str, Any]]:
    """Rows of several configurations; each is the subject of its rows where they name none."""
    for config, rows in parts:
        for row in rows:
            yield {"subject": config, **row}


def _revision(asked: HubSet) -> dict[str, str]:
    return {"revision": asked.revision} if asked.revision else {}


def _split(datasets: Any, asked: HubSet, config: str | None, split: str) -> Any:
    """A split of a hub data set; of one that has a single split (many benchmarks do), that one."""
    try:
        return datasets.load_dataset(asked.name, config, split=split, **_revision(asked))
    except ValueError as error:
        if "split" not in str(error).lower():
            raise
        everything = datasets.load_dataset(asked.name, config, **_revision(asked))
        if len(everything) != 1:
            raise
        return next(iter(everything.values()))
    except RuntimeError as error:
        if "script" not in str(error).lower() or asked.revision:
            raise
        return datasets.load_dataset(asked.name, config, split=split, revision=_PARQUET)
