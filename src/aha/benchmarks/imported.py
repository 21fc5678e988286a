"""Results of benchmarks that only their own programs can run, read from what those write: SWE-bench's report, and the
results that Aider's benchmark leaves beside each exercise. Nothing is sampled; figures and intervals are as for all."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from aha.benchmarks import statistics
from aha.benchmarks.catalogue import BenchmarkRows
from aha.benchmarks.records import GradedAnswer, GradedProblem
from aha.benchmarks.session import BenchmarkResult, Protocol
from aha.files import write_json, write_jsonl
from aha.runs.charts import number
from aha.types import AhaError

MOST = 1_000_000
"""Instances that a report may count."""
AIDER_FILE = ".aider.results.json"
Whys = Sequence[tuple[GradedProblem, str]]
"""Each problem with the reason of its verdict."""


def result(model: str, asked: BenchmarkRows, protocol: Protocol, folder: Path) -> BenchmarkResult:
    """A model's result, of the file or folder that was named. Raises AhaError for one that cannot be read."""
    graded, more = READERS[asked.benchmark.imported](Path(str(asked.source)).expanduser())
    records = tuple(record for record, _ in graded)
    figures = statistics.summary(records) | more
    read = {"source": asked.source, "split": asked.split, "rows": len(records)}
    file = folder / f"{asked.name}-imported.jsonl"
    write_jsonl(file, [_row(record, why) for record, why in graded])
    spent = {"tokens": 0, "seconds": 0.0, "tokens_per_second": None}
    what = {"model": model, "benchmark": asked.name, **asdict(protocol), "figures": figures, "data": read}
    write_json(file.with_suffix(".json"), what | {"spent": spent, "choice": "imported"})
    return BenchmarkResult(model, asked.name, protocol, figures, records, file, read, spent)


def _row(record: GradedProblem, why: str) -> dict[str, Any]:
    samples = [asdict(s) | {"text": "", "finish": "", "why": why} for s in record.samples]
    return {
        "problem": record.problem,
        "kind": record.kind,
        "question": "",
        "answer": None,
        "samples": samples,
    }


def _record(name: str, kind: str, right: bool, tokens: int = 0) -> GradedProblem:
    return GradedProblem(name, kind, (GradedAnswer(right, right, True, "", tokens, False),))


def _json(file: Path, who: str) -> Mapping[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise AhaError(f"{file} cannot be read as {who}: {error}.") from error
    if not isinstance(content, Mapping):
        raise AhaError(f"{file} is not {who}: it holds no object.")
    return content


def _list(content: Mapping[str, Any], name: str, file: Path) -> list[Any]:
    """A list that may be missing. Raises AhaError for what is none."""
    value = content.get(name)
    if value is not None and not isinstance(value, list):
        raise AhaError(f"{file}: its {name} is no list.")
    return value or []


def swe_bench(file: Path) -> tuple[Whys, dict[str, Any]]:
    """SWE-bench's report: each instance resolved or not. What was not submitted, had no patch or did not run counts as
    not resolved, and so do instances that the report counts but does not name."""
    report = _json(file, "a report of SWE-bench")
    if not isinstance(report.get("resolved_ids"), list):
        raise AhaError(f"{file} is no report of SWE-bench: it has no resolved_ids.")
    states = ("resolved", "unresolved", "empty_patch", "error", "incomplete", "submitted")
    why: dict[str, str] = {}
    for state in states:
        for name in _list(report, f"{state}_ids", file):
            why.setdefault(str(name), state.replace("_", " "))
    total = number(report.get("total_instances") or 0)
    if total is None or not 0 <= total <= MOST:
        raise AhaError(f"{file}: its total_instances is no number of instances.")
    unnamed = int(total) - len(why)
    why |= {f"not named {i}": "not named in the report" for i in range(1, unnamed + 1)}
    graded = [(_record(n, n.split("__")[0] if "__" in n else "", s == "resolved"), s) for n, s in why.items()]
    if not graded:
        raise AhaError(f"{file} names no instance.")
    return graded, {"resolved": sum(state == "resolved" for state in why.values())}


def aider(folder: Path) -> tuple[Whys, dict[str, Any]]:
    """Aider's results: an exercise is right where its tests passed in the end (after the second try, in which the model
    sees the failures); ``first_try``: the share that passed at once."""
    files = sorted(folder.rglob(AIDER_FILE)) if folder.is_dir() else []
    if not files:
        raise AhaError(f"{folder} holds no {AIDER_FILE}: give the folder that Aider's benchmark wrote.")
    graded, first = [], []
    for file in files:
        row, name = _json(file, "a result of Aider"), str(file.parent.relative_to(folder))
        passed = [bool(x) for x in _list(row, "tests_outcomes", file)]
        tokens = row.get("completion_tokens")
        why = f"passed at try {passed.index(True) + 1}" if any(passed) else "failed"
        kind = name.split("/")[0] if "/" in name else ""
        graded.append((_record(name, kind, any(passed), tokens if isinstance(tokens, int) else 0), why))
        first.append(bool(passed and passed[0]))
    return graded, {"first_try": sum(first) / len(first)}


READERS: Mapping[str, Callable[[Path], tuple[Whys, dict[str, Any]]]] = {
    "swe_bench": swe_bench,
    "aider": aider,
}
"""Whose results -> how they are read."""
