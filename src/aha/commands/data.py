"""Curate training data: JSON Lines, Parquet or hub names in, JSON Lines and a data card out.

aha data stats FILE...                                      samples, tokens and rounds by domain
aha data dedup FILE... --output OUT.jsonl                   without repeated rows and near copies
aha data decontaminate FILE... --against EVAL... --output OUT.jsonl
aha data convert FILE... --to messages --output OUT.jsonl   into another schema; --quotas math:5,code:3
aha data readable FILE... --output OUT.jsonl                without chains that are no good to read
aha data difficulty ROLLOUTS... --low 0.2 --high 0.8 --output OUT.jsonl
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aha.types import AhaError

if TYPE_CHECKING:
    from aha.data.cards import Filter, Source

HELP = "curate training data: stats, dedup, decontaminate, convert, readable, difficulty"
Rows = list[dict[str, Any]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One subcommand for each job."""
    jobs = parser.add_subparsers(dest="job", metavar="JOB", required=True)

    def job(name: str, summary: str, output: bool = True) -> argparse.ArgumentParser:
        sub = jobs.add_parser(name, help=summary, description=summary)
        sub.add_argument("files", nargs="+", metavar="FILE", help="JSON Lines, Parquet, or hub/name[:config]")
        sub.add_argument("--split", default="train", help="of hub data sets (default train)")
        sub.add_argument("--json", action="store_true", help="print the figures as JSON")
        if output:
            sub.add_argument(
                "--output", type=Path, required=True, help="JSON Lines file to write, with its card"
            )
        return sub

    stats = job("stats", "samples, average tokens and average rounds by domain", output=False)
    stats.add_argument(
        "--tokenizer", help="count a model's tokens (default: words, a Chinese character is one)"
    )
    dedup = job("dedup", "drop rows that repeat others")
    dedup.add_argument("--threshold", type=float, default=0.8, help="Jaccard similarity of a near copy (0.8)")
    dedup.add_argument("--exact", action="store_true", help="drop equal texts only")
    dedup.add_argument("--columns", help="compare these columns only, with commas between")
    decontaminate = job("decontaminate", "drop rows that share a run of words with evaluation sets")
    decontaminate.add_argument("--against", nargs="+", required=True, metavar="FILE", help="evaluation sets")
    decontaminate.add_argument("--against-split", default="test", help="of hub data sets (default test)")
    decontaminate.add_argument("--n", type=int, default=10, help="words in the run (default 10)")
    decontaminate.add_argument("--columns", help="compare these columns only, with commas between")
    convert = job("convert", "write rows in another schema")
    convert.add_argument("--to", required=True, help="messages, prompt_completion, preference, verl, ...")
    convert.add_argument("--quotas", help="rows by domain in these proportions: math:5,code:3, or paper")
    convert.add_argument("--total", type=int, help="at most so many rows with --quotas")
    convert.add_argument("--seed", type=int, default=0, help="of the draw with --quotas")
    readable = job("readable", "drop chains of thought that mix languages, repeat themselves or hold code")
    readable.add_argument("--language", help="en, zh, ... (default: the row's own, else English)")
    difficulty = job("difficulty", "keep problems by the pass rate in rollout files")
    difficulty.add_argument("--low", type=float, default=0.0, help="lowest pass rate (default: above 0)")
    difficulty.add_argument("--high", type=float, default=1.0, help="highest pass rate (default: below 1)")


def run(args: argparse.Namespace) -> int:
    """Do one job."""
    jobs: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
        "stats": _stats,
        "dedup": _dedup,
        "decontaminate": _decontaminate,
        "convert": _convert,
        "readable": _readable,
        "difficulty": _difficulty,
    }
    found = jobs[args.job](args)
    if args.json:
        print(json.dumps(found, indent=1, ensure_ascii=False))
    return 0


def _say(args: argparse.Namespace, text: str) -> None:
    print(text, file=sys.stderr if args.json else sys.stdout)


def _load(args: argparse.Namespace) -> tuple[Rows, list[Source]]:
    """All rows, and where they are from."""
    from aha.data.cards import Source, file_hash
    from aha.data.schemas import detect
    from aha.data.sources import read_rows

    rows: Rows = []
    sources = []
    for file in args.files:
        found = read_rows(file, args.split)
        names = Counter(schema.name if (schema := detect(row)) else "unknown" for row in found)
        shown = ", ".join(f"{name} ({n})" for name, n in names.items())
        sources.append(Source(file, len(found), shown, file_hash(file)))
        _say(args, f"{file}: {len(found)} rows, {shown}")
        rows += found
    return rows, sources


def _columns(args: argparse.Namespace, rows: Rows) -> list[str]:
    wanted = [name.strip() for name in (args.columns or "").split(",") if name.strip()]
    known = {key for row in rows for key in row}
    if missing := [name for name in wanted if name not in known]:
        raise AhaError(f"No column '{missing[0]}' in the rows. There are: {', '.join(sorted(known))}.")
    return wanted


def _write(
    args: argparse.Namespace,
    rows: Sequence[Mapping[str, Any]],
    sources: list[Source],
    steps: list[Filter],
    table: str = "",
) -> None:
    from aha.data.cards import write_data

    card = write_data(args.output, rows, sources, steps, table)
    _say(args, f"Written  {args.output} ({len(rows)} rows), {card}")


def _stats(args: argparse.Namespace) -> dict[str, Any]:
    from dataclasses import asdict

    from aha.data import quotas, schemas

    rows, _ = _load(args)
    records, counts = schemas.read_records(rows)
    for line in schemas.describe(counts):
        _say(args, f"  {line}")
    count = _counter(args.tokenizer)
    lines = quotas.statistics(
        records, lambda r: r.domain or "(none)", lambda r: count(r.text), lambda r: r.rounds
    )
    if not args.json:
        print(quotas.table(lines))
    return {"rows": len(rows), "schemas": counts, "domains": [asdict(line) for line in lines]}


def _counter(tokenizer: str | None) -> Callable[[str], int]:
    if tokenizer is None:
        from aha.data.words import tokens

        return lambda text: len(tokens(text))
    from aha.modeling import load_tokenizer

    loaded = load_tokenizer(tokenizer)
    return lambda text: len(loaded.encode(text, add_special_tokens=False))


def _dedup(args: argparse.Namespace) -> dict[str, Any]:
    from aha.data.cards import Filter
    from aha.data.dedup import deduplicate
    from aha.data.words import row_text

    rows, sources = _load(args)
    columns = _columns(args, rows)
    texts = [row_text(row, columns) for row in rows]
    kept, report = deduplicate(texts, threshold=None if args.exact else args.threshold)
    reasons = {"equal": report.exact, "near copy": report.near}
    name = (
        "exact duplicates" if args.exact else f"duplicates and near copies (MinHash, from {args.threshold:g})"
    )
    for copy in report.copies[:5]:
        _say(args, f"  row {copy.index + 1} repeats row {copy.of + 1} (similarity {copy.similarity:.2f})")
    step = Filter(name, report.rows, report.kept, reasons)
    _say(
        args,
        f"{report.rows} rows: {report.exact} equal and {report.near} near copies dropped, {report.kept} kept",
    )
    _write(args, [rows[i] for i in kept], sources, [step])
    return {"rows": report.rows, "exact": report.exact, "near": report.near, "kept": report.kept}


def _decontaminate(args: argparse.Namespace) -> dict[str, Any]:
    from aha.data.cards import Filter
    from aha.data.decontaminate import decontaminate
    from aha.data.sources import read_rows
    from aha.data.words import row_text

    rows, sources = _load(args)
    columns = _columns(args, rows)
    against = {file: [_question(row) for row in read_rows(file, args.against_split)] for file in args.against}
    kept, report = decontaminate([row_text(row, columns) for row in rows], against, n=args.n)
    for hit in report.found[:5]:
        _say(args, f"  row {hit.index + 1} shares with {hit.source}, row {hit.row + 1}: {hit.words!r}")
    _say(
        args,
        f"{report.rows} rows: {len(report.found)} share {args.n} words with one of {report.evaluation_rows} "
        f"evaluation rows, {len(kept)} kept ({report.too_short} evaluation rows too short to recognise)",
    )
    step = Filter(f"{args.n}-gram overlap with evaluation sets", report.rows, len(kept), report.by_source())
    _write(args, [rows[i] for i in kept], sources, [step])
    return {
        "rows": report.rows,
        "kept": len(kept),
        "by_source": report.by_source(),
        "found": [
            {"row": h.index + 1, "source": h.source, "of": h.row + 1, "words": h.words} for h in report.found
        ],
    }


def _question(row: Mapping[str, Any]) -> str:
    """What an evaluation row asks: its user messages where its schema is known, else all its text."""
    from aha.data.schemas import read_record
    from aha.data.words import row_text

    try:
        record, _ = read_record(row, 0)
    except AhaError:
        return row_text(row)
    return "\n".join(m["content"] for m in record.messages if m["role"] == "user")


def _convert(args: argparse.Namespace) -> dict[str, Any]:
    from aha.data import quotas, schemas
    from aha.data.cards import Filter

    if args.total is not None and not args.quotas:
        raise AhaError("--total says how many rows --quotas deals out: give both.")
    rows, sources = _load(args)
    records, counts = schemas.read_records(rows)
    for line in schemas.describe(counts):
        _say(args, f"  {line}")
    steps = []
    if args.quotas:
        available = Counter(r.domain for r in records)
        wanted = quotas.quotas(available, quotas.parse_ratios(args.quotas), args.total)
        chosen = quotas.take(records, lambda r: r.domain, wanted, args.seed)
        steps.append(Filter(f"quotas {args.quotas}", len(records), len(chosen), {}))
        records = chosen
    count = _counter(None)
    table = quotas.table(
        quotas.statistics(
            records, lambda r: r.domain or "(none)", lambda r: count(r.text), lambda r: r.rounds
        )
    )
    _write(args, [schemas.convert(r, args.to, i) for i, r in enumerate(records, 1)], sources, steps, table)
    return {"rows": len(records), "schemas": counts}


def _readable(args: argparse.Namespace) -> dict[str, Any]:
    from aha.data.cards import Filter
    from aha.data.readable import check

    rows, sources = _load(args)
    kept: Rows = []
    reasons: Counter[str] = Counter()
    for number, row in enumerate(rows, 1):
        found = check(
            _chain(row, number), args.language or str(row.get("language") or "en"), _other_languages
        )
        reasons.update(reason.name for reason in found)
        if not found:
            kept.append(row)
        elif sum(reasons.values()) <= 5:
            _say(args, f"  row {number}: " + "; ".join(f"{r.name} ({r.detail})" for r in found))
    _say(args, f"{len(rows)} rows: {len(kept)} readable; {dict(reasons)}")
    _write(
        args, kept, sources, [Filter("readability of the chain of thought", len(rows), len(kept), reasons)]
    )
    return {"rows": len(rows), "kept": len(kept), "reasons": dict(reasons)}


def _chain(row: Mapping[str, Any], number: int) -> str:
    """The thinking of a row's completion, or all of it where nothing is marked as thinking."""
    from aha.chat import parse
    from aha.data.schemas import read_record

    last = read_record(row, number)[0].messages[-1]
    return last.get("reasoning") or parse(last["content"]).think or last["content"]


def _other_languages(text: str, language: str) -> float:
    from aha.rewards.language import language_mix

    shares = language_mix(text, language).shares
    return 1 - shares.get(language, 0.0) if shares else 0.0


def _difficulty(args: argparse.Namespace) -> dict[str, Any]:
    from aha.data.cards import Filter
    from aha.data.difficulty import keep_between, pass_rates

    rows, sources = _load(args)
    rates = pass_rates(rows)
    selection = keep_between(rates, args.low, args.high)
    kept = set(selection.kept)
    out: dict[str, dict[str, Any]] = {}
    for row in rows:
        name = str(row["problem_id"])
        if name in kept and name not in out:
            rate = rates[name].rate
            out[name] = {
                "problem_id": name,
                "question": row.get("question"),
                "answer": row.get("answer"),
                "pass_rate": None if rate is None else round(rate, 6),
            }
    _say(args, f"{len(rates)} problems: {len(kept)} kept; {dict(selection.dropped)}")
    step = Filter(f"pass rate {args.low:g} to {args.high:g}", len(rates), len(kept), selection.dropped)
    _write(args, list(out.values()), sources, [step])
    return {"problems": len(rates), "kept": len(kept), "dropped": dict(selection.dropped)}
