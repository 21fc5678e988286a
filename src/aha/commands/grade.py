"""``aha grade``: grades a file of answers with the math verifier.

Rows that say in ``expected`` what the verdict should be, as ``aha view`` notes graders' mistakes, are held to it: the
command fails while one is graded otherwise."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aha.types import AhaError, Outcome

HELP = "grade mathematical answers: a JSONL file with the fields gold and prediction"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("file", type=Path, metavar="FILE.jsonl", help="rows with gold and prediction")
    parser.add_argument("--output", type=Path, help="write the rows here, with outcome and note added")
    parser.add_argument("--json", action="store_true", help="print the totals as JSON")
    parser.add_argument("--answer-tags", action="store_true", help="without a box, take <answer>...</answer>")
    parser.add_argument(
        "--phrase", action="store_true", help='without a box, take what follows "the answer is"'
    )
    parser.add_argument("--bare", action="store_true", help="without a box, take a short output as a whole")
    parser.add_argument("--last-formula", action="store_true", help="without a box, take the last formula")
    parser.add_argument("--last-number", action="store_true", help="without a box, take the last number")
    parser.add_argument("--opened-think", action="store_true", help="the prompts already ended in <think>")


def run(args: argparse.Namespace) -> int:
    """Grades the file. Raises AhaError for a file or a row that cannot be used."""
    from aha.files import check_writable
    from aha.rewards.math import Extraction, parse_gold, verify_many

    options = Extraction(
        args.answer_tags, args.phrase, args.bare, args.last_formula, args.last_number, args.opened_think
    )
    if args.output:
        check_writable(args.output)  # before the work, not behind it
    rows = list(read_rows(args.file))
    for where, row in rows:
        try:
            parse_gold(row["gold"])
        except AhaError as cause:
            raise AhaError(f"{args.file}, {where}: {cause}") from cause
    started = time.perf_counter()
    verdicts = verify_many(((row["gold"], row["prediction"]) for _, row in rows), options)
    seconds = time.perf_counter() - started
    if args.output:
        _write(args.output, [row for _, row in rows], verdicts)
    elif not args.json:
        for (where, _), verdict in zip(rows, verdicts, strict=True):
            print(f"{where.split()[-1]}\t{verdict.outcome}\t{verdict.note}")
    _report(Counter(str(verdict.outcome) for verdict in verdicts), len(rows), seconds, args.json)
    return _as_expected(rows, verdicts)


def _as_expected(rows: list[tuple[str, dict[str, Any]]], verdicts: list) -> int:
    """0 where every row that says what its verdict should be was graded so, else 1: these are named."""
    checked = [
        (where, row["expected"], str(verdict.outcome))
        for (where, row), verdict in zip(rows, verdicts, strict=True)
        if row.get("expected") in tuple(Outcome)
    ]
    others = [line for line in checked if line[1] != line[2]]
    for where, expected, got in others:
        print(f"{where}: {got}, should be {expected}", file=sys.stderr)
    if checked:
        print(f"{len(checked) - len(others)} of {len(checked)} graded as expected", file=sys.stderr)
    return int(bool(others))


def read_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(where, row) of a file. Raises AhaError with the place of a malformed row."""
    from aha.data.sources import numbered_rows

    for where, row in numbered_rows(str(path)):
        for field in ("gold", "prediction"):
            if not isinstance(row.get(field), str):
                fields = ", ".join(map(str, row)) or "none"
                raise AhaError(
                    f"{path}, {where} has no text in the field {field!r} (its fields: {fields}). "
                    "Each row needs the fields gold and prediction."
                )
        yield where, row


def _write(path: Path, rows: list[dict[str, Any]], verdicts: list) -> None:
    from aha.files import write_jsonl

    graded = zip(rows, verdicts, strict=True)
    try:
        write_jsonl(path, ({**row, "outcome": str(v.outcome), "note": v.note} for row, v in graded))
    except OSError as cause:
        raise AhaError(f"{path} cannot be written: {cause.strerror}. Give another --output.") from cause


def _report(outcomes: Counter[str], rows: int, seconds: float, as_json: bool) -> None:
    names = ("correct", "wrong", "no_answer", "unknown")
    rate = rows / seconds if seconds > 0 else 0.0
    if as_json:
        totals = {name: outcomes.get(name, 0) for name in names}
        print(
            json.dumps(
                {"rows": rows, **totals, "seconds": round(seconds, 4), "grades_per_second": round(rate, 1)}
            )
        )
        return
    parts = ", ".join(f"{outcomes.get(name, 0)} {name}" for name in names)
    print(f"{rows} rows: {parts}; {rate:,.0f} grades/s", file=sys.stderr)
