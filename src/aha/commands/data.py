"""Curate training data: JSON Lines, Parquet or hub names in, JSON Lines and a data card out.

aha data check FILE --task math                             what a run would read of it, before a run
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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aha import options
from aha.commands import data_check
from aha.options import whole
from aha.types import AhaError

if TYPE_CHECKING:
    from aha.data.cards import DataSource, Filter

HELP = "check and curate training data: check, stats, dedup, decontaminate, convert, readable, difficulty"
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

    data_check.add_arguments(
        job("check", "what a run would read: layout, columns, proven rows, prompts", output=False)
    )
    stats = job("stats", "samples, average tokens and average rounds by domain", output=False)
    stats.add_argument(
        "--tokenizer", help="count a model's tokens (default: words, a Chinese character is one)"
    )
    dedup = job("dedup", "drop rows that repeat others")
    dedup.add_argument(
        "--threshold",
        type=options.number(0, 1, above=True),
        default=0.8,
        help="Jaccard similarity of a near copy (0.8)",
    )
    dedup.add_argument("--exact", action="store_true", help="drop equal texts only")
    dedup.add_argument("--columns", help="compare these columns only, with commas between")
    dedup.add_argument("--prose", action="store_true", help="near copies may differ in numbers and signs")
    dedup.add_argument(
        "--workers", type=whole(), default=0, help="processes that read (default: the cores, up to 4)"
    )
    decontaminate = job("decontaminate", "drop rows that share a run of words with evaluation sets")
    decontaminate.add_argument("--against", nargs="+", required=True, metavar="FILE", help="evaluation sets")
    decontaminate.add_argument("--against-split", default="test", help="of hub data sets (default test)")
    decontaminate.add_argument("--n", type=whole(2), default=10, help="words in the run (default 10)")
    decontaminate.add_argument(
        "--wording", type=whole(1), default=1, metavar="K",
        help="a run that more than K texts of one evaluation set share is its wording, and tells nothing (default 1)",
    )  # fmt: skip
    decontaminate.add_argument("--columns", help="compare these columns only, with commas between")
    convert = job("convert", "write rows in another schema")
    convert.add_argument("--to", required=True, help="messages, prompt_completion, preference, verl, ...")
    convert.add_argument("--quotas", help="rows by domain in these proportions: math:5,code:3, or paper")
    convert.add_argument("--total", type=whole(1), help="at most so many rows with --quotas")
    convert.add_argument("--seed", type=int, default=0, help="of the draw with --quotas")
    readable = job("readable", "drop chains of thought that mix languages, repeat themselves or hold code")
    readable.add_argument("--language", help="en, zh, ... (default: the row's own, else English)")
    difficulty = job("difficulty", "keep problems by the pass rate in rollout files")
    difficulty.add_argument(
        "--low", type=options.number(0, 1), default=0.0, help="lowest pass rate (default: above 0)"
    )
    difficulty.add_argument("--data", help="the rows that the problems came from: they are written whole")
    difficulty.add_argument(
        "--high", type=options.number(0, 1), default=1.0, help="highest pass rate (default: below 1)"
    )


def run(args: argparse.Namespace) -> int:
    """Do one job."""
    jobs: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
        "check": data_check.run,
        "stats": _stats,
        "dedup": _dedup,
        "decontaminate": _decontaminate,
        "convert": _convert,
        "readable": _readable,
        "difficulty": _difficulty,
    }
    _check_options(args)
    report = jobs[args.job](args)
    if args.json:
        print(json.dumps(report, indent=1, ensure_ascii=False))
    return 0


def _check_options(args: argparse.Namespace) -> None:
    """Raise AhaError, before any row is read, for options that would have no effect, and for a file that cannot be
    written."""
    from aha.data.sources import hub_set, on_hub
    from aha.files import check_writable

    of_files = "rows of files are all read. A split is of a set on the hub."
    for sources, option in ((args.files, "split"), (getattr(args, "against", []), "against_split")):
        if all(not on_hub(source) or hub_set(source).split for source in sources):
            options.refuse(args, (option,), of_files)
    if args.job == "dedup" and args.exact:
        options.refuse(
            args, ("threshold", "prose"), "--exact drops equal texts only. Leave one of them away."
        )
    if args.job == "convert" and not args.quotas:
        options.refuse(
            args, ("total", "seed"), "it is of the rows that --quotas deals out. Give --quotas too."
        )
    if args.job == "difficulty" and args.low > args.high:
        raise AhaError(f"--low {args.low:g} is above --high {args.high:g}: no pass rate lies between them.")
    if (columns := getattr(args, "columns", None)) and not columns.strip(" ,"):
        raise AhaError(f"--columns {columns!r} names no column. Leave it away to compare all.")
    if args.job == "convert":
        from aha.data.quotas import parse_ratios
        from aha.data.schemas import check_target

        check_target(args.to)
        if args.quotas:
            parse_ratios(args.quotas)
    if output := getattr(args, "output", None):
        check_writable(output)


def _say(args: argparse.Namespace, text: str) -> None:
    print(text, file=sys.stderr if args.json else sys.stdout)


class _Inputs:
    """The rows of all files, one after another, as often as they are asked for; what they are is counted the
    first time."""

    def __init__(self, args: argparse.Namespace):
        self.args = args
        self.sources: list[DataSource] = []
        self.columns: set[str] = set()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        from aha.data.sources import numbered_rows

        known = bool(self.sources)
        for file in self.args.files:
            counts: Counter[str] = Counter()
            for _, row in numbered_rows(file, self.args.split):
                if not known:
                    self._count(row, counts)
                yield row
            if not known:
                self._say(file, counts)

    def _count(self, row: Mapping[str, Any], counts: Counter[str]) -> None:
        from aha.data.schemas import detect

        self.columns.update(row)
        counts[schema.name if (schema := detect(row)) else "unknown"] += 1

    def _say(self, file: str, counts: Counter[str]) -> None:
        from aha.data.cards import DataSource, file_hash

        shown = ", ".join(f"{name} ({n})" for name, n in counts.items())
        self.sources.append(DataSource(file, counts.total(), shown, file_hash(file)))
        _say(self.args, f"{file}: {counts.total()} rows, {shown}")

    def texts(self) -> Iterator[str]:
        """Each row's text: that of the columns asked for, or all. Raises AhaError for a column that no row has."""
        from aha.data.words import row_text

        columns = [name.strip() for name in (self.args.columns or "").split(",") if name.strip()]
        for row in self:
            yield row_text(row, columns)
        if missing := [name for name in columns if name not in self.columns]:
            raise AhaError(
                f"No column '{missing[0]}' in the rows. There are: {', '.join(sorted(self.columns))}."
            )

    def only(self, kept: Sequence[int]) -> Iterator[dict[str, Any]]:
        """The rows at these places, which are in order."""
        places = iter(kept)
        place = next(places, None)
        for i, row in enumerate(self):
            if i == place:
                yield row
                place = next(places, None)


def _load(args: argparse.Namespace) -> tuple[Rows, list[DataSource]]:
    """All rows, and where they are from."""
    inputs = _Inputs(args)
    return list(inputs), inputs.sources


def _write(
    args: argparse.Namespace,
    rows: Iterable[Mapping[str, Any]],
    sources: list[DataSource],
    steps: list[Filter],
    n: int,
    table: str = "",
) -> None:
    from aha.data.cards import write_data

    card = write_data(args.output, rows, sources, steps, table)
    _say(args, f"Written  {args.output} ({n} rows), {card}")


def _stats(args: argparse.Namespace) -> dict[str, Any]:
    from dataclasses import asdict

    from aha.data import quotas, schemas

    records, counts, _ = _records(args)
    for line in schemas.describe(counts):
        _say(args, f"  {line}")
    count = _counter(args.tokenizer)
    lines = quotas.statistics(
        records, lambda r: r.domain or "(none)", lambda r: count(r.text), lambda r: r.rounds
    )
    if not args.json:
        print(quotas.table(lines))
    return {"rows": len(records), "schemas": counts, "domains": [asdict(line) for line in lines]}


def _records(args: argparse.Namespace) -> tuple[list[Any], Counter[str], list[DataSource]]:
    """All rows in one form, how many there are of each schema, and where they are from."""
    from aha.data import schemas
    from aha.data.cards import DataSource, file_hash

    records: list[Any] = []
    counts: Counter[str] = Counter()
    sources = []
    for file in args.files:
        of_file, of = schemas.read_source(file, args.split)
        shown = ", ".join(f"{name} ({n})" for name, n in of.items())
        sources.append(DataSource(file, len(of_file), shown, file_hash(file)))
        _say(args, f"{file}: {len(of_file)} rows, {shown}")
        records += of_file
        counts.update(of)
    return records, counts, sources


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
    from aha.hardware import cores

    inputs = _Inputs(args)
    workers = args.workers or min(4, cores())
    kept, report = deduplicate(
        inputs.texts(), threshold=None if args.exact else args.threshold, prose=args.prose, workers=workers
    )
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
    _write(args, inputs.only(kept), inputs.sources, [step], len(kept))
    return {"rows": report.rows, "exact": report.exact, "near": report.near, "kept": report.kept}


def _decontaminate(args: argparse.Namespace) -> dict[str, Any]:
    from aha.data.cards import Filter
    from aha.data.decontaminate import decontaminate
    from aha.data.sources import read_rows

    inputs = _Inputs(args)
    against = {file: [_question(row) for row in read_rows(file, args.against_split)] for file in args.against}
    kept, report = decontaminate(inputs.texts(), against, n=args.n, common=args.wording)
    for hit in report.hits[:5]:
        _say(args, f"  row {hit.index + 1} shares with {hit.source}, row {hit.row + 1}: {hit.words!r}")
    _say(
        args,
        f"{report.rows} rows: {len(report.hits)} share {args.n} words with one of {report.evaluation_rows} "
        f"evaluation rows, {len(kept)} kept ({report.too_short} evaluation rows too short to recognise)",
    )
    step = Filter(f"{args.n}-gram overlap with evaluation sets", report.rows, len(kept), report.by_source())
    _write(args, inputs.only(kept), inputs.sources, [step], len(kept))
    return {
        "rows": report.rows,
        "kept": len(kept),
        "by_source": report.by_source(),
        "found": [
            {"row": h.index + 1, "source": h.source, "of": h.row + 1, "words": h.words} for h in report.hits
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

    records, counts, sources = _records(args)
    for line in schemas.describe(counts):
        _say(args, f"  {line}")
    steps = []
    if args.quotas:
        available = Counter(r.domain for r in records)
        quota = quotas.quotas(available, quotas.parse_ratios(args.quotas), args.total)
        chosen = quotas.take(records, lambda r: r.domain, quota, args.seed)
        steps.append(Filter(f"quotas {args.quotas}", len(records), len(chosen), {}))
        records = chosen
    count = _counter(None)
    table = quotas.table(
        quotas.statistics(
            records, lambda r: r.domain or "(none)", lambda r: count(r.text), lambda r: r.rounds
        )
    )
    written = [schemas.convert(r, args.to, i) for i, r in enumerate(records, 1)]
    _write(args, written, sources, steps, len(written), table)
    return {"rows": len(records), "schemas": counts}


def _readable(args: argparse.Namespace) -> dict[str, Any]:
    from aha.data.cards import Filter
    from aha.data.readable import check

    rows, sources = _load(args)
    kept: Rows = []
    reasons: Counter[str] = Counter()
    for number, row in enumerate(rows, 1):
        faults = check(
            _chain(row, number), args.language or str(row.get("language") or "en"), _other_languages
        )
        reasons.update(reason.name for reason in faults)
        if not faults:
            kept.append(row)
        elif sum(reasons.values()) <= 5:
            _say(args, f"  row {number}: " + "; ".join(f"{r.name} ({r.detail})" for r in faults))
    _say(args, f"{len(rows)} rows: {len(kept)} readable; {dict(reasons)}")
    step = Filter("readability of the chain of thought", len(rows), len(kept), reasons)
    _write(args, kept, sources, [step], len(kept))
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
    from aha.data.difficulty import keep_between, pass_rates, problem_rows

    rows, sources = _load(args)
    rates = pass_rates(rows)
    selection = keep_between(rates, args.low, args.high)
    problems, bare = problem_rows(rows, rates, selection.kept, args.data)
    _say(args, f"{len(rates)} problems: {len(selection.kept)} kept; {dict(selection.dropped)}")
    if bare:
        _say(
            args,
            f"{bare} of them have no reference answer in these rollouts, nor tests: give the rows that they came "
            "from with --data FILE.",
        )
    step = Filter(f"pass rate {args.low:g} to {args.high:g}", len(rates), len(problems), selection.dropped)
    _write(args, problems, sources, [step], len(problems))
    return {"problems": len(rates), "kept": len(problems), "dropped": dict(selection.dropped)}
