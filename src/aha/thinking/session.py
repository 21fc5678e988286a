"""One model on one task, thinking longer in several ways: every problem's points are kept, and none is asked twice.

Problems are asked in parts of a fixed size, and each way has a file of its own. A part of which anything is missing is
asked again whole: with the same numbers beside it, every problem draws what it drew. Several ranks deal the parts among
them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from aha import ranks
from aha.benchmarks import keeping
from aha.benchmarks import session as evaluation
from aha.benchmarks.catalogue import BenchmarkRows
from aha.benchmarks.session import Protocol
from aha.files import disk_errors, well_formed, write_json
from aha.stages.engines import AnswerSource
from aha.thinking.figures import ThinkingFigure, figures
from aha.thinking.methods import SpentPoint, ThinkingMethod, ThinkingRow
from aha.thinking.writing import ThinkingWriter
from aha.types import AhaError, Problem

PART = 32
"""Problems that are asked at once."""


@dataclass(frozen=True, slots=True)
class ThinkingResult:
    """One model on one task: the figures of every way, in order of the ways, and where they are kept."""

    model: str
    task: str
    figures: tuple[ThinkingFigure, ...]
    files: tuple[Path, ...]
    problems: int


def run(
    model: str,
    source: AnswerSource,
    asked: BenchmarkRows,
    methods: Sequence[ThinkingMethod],
    protocol: Protocol,
    folder: Path,
    progress: Callable[[str, int, int], None] | None = None,
) -> ThinkingResult:
    """Think in every way; ``progress`` is told (way, problems done, of how many)."""
    task, problems, read = evaluation.load_problems(asked, protocol.problems)
    problems, longest = source.fit(problems, protocol.max_tokens)
    params = protocol.params(longest)
    writer = ThinkingWriter(
        source, task, params, protocol.seed, protocol.strict, {p.id: i for i, p in enumerate(problems)}
    )
    collected: list[ThinkingFigure] = []
    files = []
    for method in methods:
        what = evaluation.named(model, asked, protocol, read) | {
            "method": method.name,
            "settings": settings(method),
        }
        digest = hashlib.sha256(json.dumps(what, sort_keys=True, default=repr).encode()).hexdigest()[:10]
        file = folder / f"think-{asked.name}-{method.name}-{digest}.jsonl"
        rows = _rows(writer, method, problems, file, progress)
        collected += figures(rows)
        if ranks.is_main():
            write_json(file.with_suffix(".json"), {**what, "figures": [asdict(f) for f in figures(rows)]})
        files.append(file)
    return ThinkingResult(model, asked.name, tuple(collected), tuple(files), len(problems))


def settings(method: ThinkingMethod) -> dict[str, Any]:
    """A way's fields as JSON."""
    values = {f.name: getattr(method, f.name) for f in fields(method)}  # pyright: ignore[reportArgumentType]
    return {
        name: value if isinstance(value, (str, int, float, tuple, type(None))) else repr(value)
        for name, value in values.items()
    }


def _rows(
    writer: ThinkingWriter,
    method: ThinkingMethod,
    problems: Sequence[Problem],
    file: Path,
    progress: Callable[[str, int, int], None] | None,
) -> list[ThinkingRow]:
    """Each rank thinks about parts of its own; what they found, every rank has in the end."""
    keeping.take_over(file, lambda: set(read(file)))
    done = read(file)
    parts = [problems[start : start + PART] for start in range(0, len(problems), PART)]
    waiting = [part for part in parts if any(p.id not in done for p in part)]
    finished = sum(len(part) for part in parts) - sum(len(part) for part in waiting)
    for index in ranks.share(len(waiting)):
        part = waiting[index]
        rows = [row for row in method.think(writer, part) if row.problem not in done]
        _add(keeping.part_of(file), rows)
        # the texts are in the file: only points are kept here
        done |= {row.problem: replace(row, texts=()) for row in rows}
        finished += len(part)
        if progress is not None:
            progress(method.name, finished, len(problems))
    if ranks.world()[1] > 1:
        ranks.barrier()
        keeping.take_over(file, lambda: set(read(file)))
        done = read(file)
    return [done[p.id] for p in problems]


def _add(file: Path, rows: Sequence[ThinkingRow]) -> None:
    """Every rank writes a file of its own."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with disk_errors(file), file.open("a", encoding="utf-8") as out:
        out.write("".join(well_formed(json.dumps(_plain(row), ensure_ascii=False)) + "\n" for row in rows))


def _plain(row: ThinkingRow) -> dict[str, Any]:
    points = [[p.way, p.setting, p.right, p.tokens] for p in row.points]
    return {"problem": row.problem, "points": points, "texts": list(row.texts)}


def read(file: Path) -> dict[str, ThinkingRow]:
    """The rows of a file by problem, without their texts. Raises AhaError for a line that is none."""
    by_problem: dict[str, ThinkingRow] = {}
    if not file.exists():
        return by_problem
    with file.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                row = json.loads(line)
                points = tuple(SpentPoint(*point) for point in row["points"])
                by_problem[row["problem"]] = ThinkingRow(row["problem"], points)
            except (ValueError, KeyError, TypeError) as error:
                raise AhaError(
                    f"{file}, line {number}, is no row of a way of thinking ({error}). Remove the line: its problem is "
                    "asked again."
                ) from error
    return by_problem
