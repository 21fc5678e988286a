"""Whether results are of the same rows: what was read now, against what earlier and other results say they read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aha.files import json_object

if TYPE_CHECKING:
    from aha.benchmarks.session import BenchmarkResult

_SAME_SHARE = ("problems", "dates", "own_turns")
"""Settings by which some of a benchmark's rows are asked: of others nothing is compared."""


def others(root: Path, what: Mapping[str, Any], read: Mapping[str, Any]) -> Iterator[str]:
    """A sentence for each other content under which a benchmark stands in the results of any model below ``root``,
    asked in the same share."""
    told = {read["sha256"]}
    for file in sorted(root.glob(f"*/{what['benchmark']}-*.json")):
        former = json_object(file)
        data = former.get("data")
        if not isinstance(data, Mapping) or former.get("benchmark") != what["benchmark"]:
            continue
        sha = data.get("sha256")
        if not sha or sha in told or any(former.get(k) != what.get(k) for k in _SAME_SHARE):
            continue
        told.add(sha)
        yield (
            f"{what['benchmark']} is read as {described(read)}; {file} is of {described(data)}. Their figures are of "
            "different rows."
        )


def described(read: Mapping[str, Any]) -> str:
    """What was read, in words: where from, at which commit, how many rows with which content."""
    commit = f" at commit {str(read['commit'])[:12]}" if read.get("commit") else ""
    return f"{read.get('source')}{commit}, {read.get('rows')} rows, sha256 {str(read.get('sha256'))[:12]}"


def differing(results: Sequence[BenchmarkResult]) -> list[str]:
    """A sentence for each benchmark on which models were asked different rows."""
    said = []
    for name in dict.fromkeys(r.benchmark for r in results):
        contents = {r.data["sha256"]: r.data for r in results if r.benchmark == name and r.data.get("sha256")}
        if len(contents) > 1:
            said.append(f"{name} was not read alike: {'; '.join(map(described, contents.values()))}.")
    return said
