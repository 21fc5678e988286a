"""`aha eval` with several models or benchmarks: one table, files that a killed evaluation goes on from."""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import replace
from datetime import date
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from aha import aside, options, ranks
from aha.commands import json_alone
from aha.sampling import engines
from aha.types import AhaError

if TYPE_CHECKING:
    from aha.benchmarks.catalogue import BenchmarkRows
    from aha.benchmarks.contests import ContestTable
    from aha.benchmarks.opening import BenchmarkJudge, EvaluationEngine
    from aha.benchmarks.session import BenchmarkResult, Progress, Protocol
    from aha.runs.console import Console
    from aha.stages.engines import AnswerSource


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What an evaluation of several benchmarks takes beside the model."""
    many = parser.add_argument_group("several models or benchmarks (--tasks)")
    many.add_argument(
        "--tasks", metavar="NAME[@REVISION][=FILE],...",
        help="benchmarks (aha list benchmarks) or tasks; =FILE names the rows where there is no hub, @REVISION the "
        "revision of a set on it",
    )  # fmt: skip
    many.add_argument(
        "--data-dir", type=Path, help="a folder of NAME.jsonl, NAME.parquet, ...: rows of benchmarks"
    )
    many.add_argument(
        "--k",
        type=int,
        help="samples of each problem (--samples; default 4, of one task 16; preset: the paper's)",
    )
    many.add_argument(
        "--preset", choices=("r1",), help="r1: the paper's temperature, top-p, length and k of each benchmark"
    )
    many.add_argument(
        "--results", type=Path, default=Path("evals"), help="where results are kept (default: evals)"
    )
    many.add_argument(
        "--shots", type=numbers, default=(0,), metavar="N,N",
        help="solved examples before each question; several numbers are a sweep",
    )  # fmt: skip
    many.add_argument("--shots-from", default="", metavar="FILE", help="their rows, or NAME=FILE,...")
    many.add_argument(
        "--prompts", metavar="NAME,NAME", help="several prompts, as a sweep (in place of --prompt)"
    )
    many.add_argument(
        "--choice", choices=("text", "letters", "cloze"), default="text",
        help="options answered in text (text), or scored by log likelihood: the letters, or their texts (cloze)",
    )  # fmt: skip
    many.add_argument(
        "--judge", metavar="ADDRESS",
        help="who grades where no rule can: http://host:port/v1#MODEL, or a function of messages, FILE.py:NAME",
    )  # fmt: skip
    many.add_argument("--judge-tokens", type=int, default=2048, help="of a judge's reply, at most (2048)")
    many.add_argument(
        "--contamination", metavar="FILE", help="a training set: figures without the questions in it"
    )
    many.add_argument(
        "--contests",
        metavar="FILE",
        help="codeforces: standings with ratings; gives a rating and a percentile",
    )
    many.add_argument(
        "--dates", default="", metavar="FROM:TO",
        help="only problems of contests of these days (preset: the paper's, where it names some)",
    )  # fmt: skip
    many.add_argument(
        "--own-turns", action="store_true",
        help="ask conversations turn by turn: the model's own answers in place of those stored in the rows",
    )  # fmt: skip
    machines = parser.add_argument_group("engines (--tasks)")
    _machines(machines)
    many.add_argument("--markdown", type=Path, help="write the table here")
    many.add_argument(
        "--html", type=Path, help="write a page here: figures, and samples with why they were graded so"
    )
    many.add_argument("--harness-json", type=Path, help="write the figures as lm-evaluation-harness does")
    many.add_argument(
        "--hub-results", type=Path, metavar="FOLDER",
        help="write what a model's repository on the hub shows: .eval_results and a card's model-index",
    )  # fmt: skip
    both = ("tasks", "k")
    names = [o.dest for o in (*many._group_actions, *machines._group_actions) if o.dest not in both]
    parser.set_defaults(of_many=names)


def _machines(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--engine", default="local", help=f"{engines.choices()}, or FILE.py:NAME (default: local)"
    )
    group.add_argument(
        "--ranks", metavar="N", help="so many processes on this machine share the problems, or auto"
    )
    group.add_argument(
        "--price", metavar="IN,OUT", help="of an endpoint, for a million tokens read and written"
    )
    group.add_argument("--max-cost", type=float, help="stop asking an endpoint when this much is spent")


def numbers(text: str) -> tuple[int, ...]:
    """``0,1,4`` as whole numbers, for argparse."""
    try:
        values = tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"'{text}': give whole numbers with commas between") from error
    if not values:
        raise argparse.ArgumentTypeError("give whole numbers with commas between")
    return values


def run(args: argparse.Namespace) -> int:
    """Evaluate every model on every benchmark, show one table, write what is asked for."""
    from aha.benchmarks import catalogue, contamination, contests, session
    from aha.commands import local_ranks
    from aha.files import check_writable

    protocol = protocol_of(args)
    session.check(protocol)
    asked = catalogue.read_names(args.tasks, args.data_dir)
    for file in filter(None, (args.markdown, args.html, args.harness_json)):
        check_writable(file)
    if args.contamination:
        next(
            iter(contamination.texts_of(args.contamination)), None
        )  # a wrong name is told before hours of sampling
    if args.contests and all(one.name != "codeforces" for one in asked):
        raise AhaError("--contests has the standings of codeforces: name it among --tasks.")
    standings = contests.read(args.contests) if args.contests else {}
    engine = _engine(args)
    local_ranks.start(args)
    with ranks.joined(args.device), aside.settings(share=args.set_aside, folder=args.results):
        results = list(_results(args, asked, protocol, engine))
        for result in results:
            if standings and result.benchmark == "codeforces":
                _rate(result, standings)
        if ranks.is_main():
            show(args, results, protocol, _contaminated(args, results))
    return 0


def _rate(result: BenchmarkResult, standings: Mapping[str, ContestTable]) -> None:
    """Add the rating to a result; what was sampled is shown all the same where there is none."""
    from aha.benchmarks import contests

    try:
        result.figures.update(contests.figures(result.problems, result.records, standings))
        said = contests.warning(result.figures)
    except AhaError as error:
        said = str(error)
    if said and ranks.is_main():
        print(f"warning: {said}", file=sys.stderr)


def _engine(args: argparse.Namespace) -> EvaluationEngine:
    """Which engine samples, and at what price. Raises AhaError for prices that are none."""
    from aha.benchmarks.opening import EvaluationEngine
    from aha.sampling.engines import engine_class

    engine_class(args.engine)
    prices: dict[str, float] = {} if args.max_cost is None else {"max_cost": args.max_cost}
    if args.price is not None:
        try:
            price_in, price_out = map(float, args.price.split(","))
        except ValueError as error:
            raise AhaError(
                f"--price {args.price}: give two numbers, of a million tokens read and written."
            ) from error
        prices |= {"price_in": price_in, "price_out": price_out}
    if args.max_cost is not None and args.price is None:
        raise AhaError("--max-cost needs --price IN,OUT: what tokens cost is not known.")
    return EvaluationEngine(args.engine, prices=prices)


def _contaminated(args: argparse.Namespace, results: Sequence[BenchmarkResult]) -> list[str]:
    """Of each benchmark what a training set has of it, in words; the figures go into the results."""
    from aha.benchmarks import contamination

    if not args.contamination:
        return []
    # benchmarks of one task give their rows the same ids
    every = {(r.benchmark, p.id): p for r in results for p in r.problems}
    named = [replace(p, id=json.dumps(key)) for key, p in every.items()]
    overlaps = contamination.seen(named, contamination.texts_of(args.contamination))
    said = []
    for result in results:
        keys = {p.id: json.dumps((result.benchmark, p.id)) for p in result.problems}
        own = {name: overlaps[key] for name, key in keys.items() if key in overlaps}
        result.figures.update(contamination.figures(result.records, own))
        said.append(
            f"{result.model}: {contamination.sentence(result.benchmark, args.contamination, result.figures, own)}"
        )
    return said


def samples(args: argparse.Namespace) -> int | None:
    """Of each problem, as --k or --samples says. Raises AhaError where the two differ."""
    if None not in (args.k, args.samples) and args.k != args.samples:
        raise AhaError(
            f"--k {args.k} and --samples {args.samples} both say how many samples: give one of them."
        )
    return args.samples if args.k is None else args.k


def protocol_of(args: argparse.Namespace) -> Protocol:
    """How answers are sampled: what is given, else the preset's, else the defaults."""
    from aha.benchmarks import published
    from aha.benchmarks.session import Protocol

    paper = args.preset == "r1"
    default = (published.TEMPERATURE, published.TOP_P, published.MAX_TOKENS) if paper else (1.0, 1.0, 440)
    temperature, top_p, max_tokens = (
        usual if value is None else value
        for value, usual in zip((args.temperature, args.top_p, args.max_tokens), default, strict=True)
    )
    k = samples(args)
    return Protocol(
        k if k is not None else 1 if paper else 4,
        temperature,
        top_p,
        int(max_tokens),
        args.prompt,
        not args.any_format,
        args.seed,
        args.problems,
        choice=args.choice,
        dates=args.dates,
        own_turns=args.own_turns,
    )


def _results(
    args: argparse.Namespace, asked: Sequence[BenchmarkRows], protocol: Protocol, engine: EvaluationEngine
) -> Iterator[BenchmarkResult]:
    from aha import hardware
    from aha.benchmarks import imported, opening

    hardware.set_threads(args.threads)
    asked = list(asked)
    stored, asked = [a for a in asked if a.benchmark.imported], [a for a in asked if not a.benchmark.imported]
    paper = args.preset == "r1" and samples(args) is None
    judge = _judge(args)
    for model in dict.fromkeys(args.model):
        folder = args.results / folder_name(model)
        yield from (imported.result(model, one, replace(protocol, k=1), folder) for one in stored)
        if not asked:
            continue
        source = opening.open_model(model, folder, args.prompt, args.device, args.dtype, args.threads, engine)
        for one, (prompt, shots) in product(asked, product(_prompts(args), dict.fromkeys(args.shots))):
            used = replace(protocol, k=one.benchmark.k or 1) if paper else protocol
            used = replace(
                used,
                prompt=prompt,
                shots=shots,
                shots_from=_shots_from(args, one.name) if shots else "",
                dates=args.dates or (one.benchmark.dates if args.preset == "r1" else ""),
            )
            put = source if prompt == args.prompt else opening.asked_with(source, prompt)
            yield _one(args, model, put, one, used, folder, judge)


def _judge(args: argparse.Namespace) -> BenchmarkJudge | None:
    from aha.benchmarks.opening import open_judge

    return open_judge(args.judge, args.results / "judge", args.judge_tokens) if args.judge else None


def _prompts(args: argparse.Namespace) -> list[str]:
    prompts = [name.strip() for name in (args.prompts or "").split(",") if name.strip()]
    return list(dict.fromkeys(prompts)) or [args.prompt]


def _shots_from(args: argparse.Namespace, benchmark: str) -> str:
    """The rows that a benchmark's examples are taken from: its own, or those given for all."""
    parts = [part.strip() for part in args.shots_from.split(",") if part.strip()]
    own = dict(part.split("=", 1) for part in parts if "=" in part)
    return own.get(benchmark, next((part for part in parts if "=" not in part), ""))


def _one(
    args: argparse.Namespace,
    model: str,
    source: AnswerSource,
    one: BenchmarkRows,
    used: Protocol,
    folder: Path,
    judge: BenchmarkJudge | None,
) -> BenchmarkResult:
    from aha.benchmarks import session
    from aha.runs.console import Console

    how = f"{used.k} samples, at most {used.max_tokens} tokens each"
    _say(args, f"{model} on {one.name}: {how if used.choice == 'text' else 'options by log likelihood'}")
    title, out = f"evaluating {model} on {one.name}", sys.stderr if args.json else sys.stdout
    plain = True if args.json else None
    shown = Console(title, 1, unit="", stream=out, plain=plain) if ranks.is_main() else nullcontext()
    with shown as console:
        tick = _ticking(console) if console else None
        return session.run(
            model, source, one, used, folder, tick, judge, (lambda text: _say(args, f"Estimate {text}"))
        )


def _ticking(console: Console) -> Progress:
    """Shows what was sampled and graded, and since when."""
    from aha.runs.charts import duration

    sampled, started = 0, time.monotonic()

    def tick(tokens: int, graded: int, problems: int) -> None:
        nonlocal sampled
        sampled += tokens
        took = duration(time.monotonic() - started)
        console.tick(0, 0, f"{sampled:,} tokens, {graded:,} of {problems:,} problems, {took}")

    return tick


def folder_name(model: str) -> str:
    """A model's name as that of a folder."""
    return (
        re.sub(r"[^A-Za-z0-9._-]+", "-", model.removeprefix("http://").removeprefix("https://")).strip("-.")
        or "model"
    )


def show(
    args: argparse.Namespace,
    results: Sequence[BenchmarkResult],
    protocol: Protocol,
    contaminated: Sequence[str] = (),
) -> None:
    """The table, the paper's figures, comparisons of models; and the files asked for."""
    from aha.benchmarks import page, revisions, spending, tables
    from aha.files import write_text

    table, compared = tables.rows(results), tables.pairs(results)
    by_turn = {
        f"{r.model} on {r.benchmark}": tables.turns(r.figures) for r in results if "turns" in r.figures
    }
    said = [f"{name}: {pair.sentence(a, b)}" for name, a, b, pair in compared]
    said += revisions.differing(results)
    said += contaminated
    said += tables.beside_paper((r.benchmark for r in results), protocol)
    if args.json:
        json_alone.show(args, [{"model": r.model, "benchmark": r.benchmark, **r.figures} for r in results])
    else:
        each = [f"{name}, turn by turn:\n{tables.plain(rows)}" for name, rows in by_turn.items()]
        print("\n".join([tables.plain(table), *each, *said]))
        print(f"Spent    {spending.sentence([r.spent for r in results])}")
        print(f"Samples  {args.results}")
    if args.markdown:
        each = [f"{name}, turn by turn:\n\n{tables.markdown(rows)}" for name, rows in by_turn.items()]
        write_text(args.markdown, "\n\n".join([tables.markdown(table), *each, *said]) + "\n")
    if args.harness_json:
        _write_harness(args.harness_json, results)
    if args.hub_results:
        _write_hub(args.hub_results, results)
    if args.html:
        with closing(args.html.open("w", encoding="utf-8")) as out:
            page.write(out, results, said)


def _write_harness(file: Path, results: Sequence[BenchmarkResult]) -> None:
    """The harness has one file a model: of several the model's name is in the file's."""
    from aha.benchmarks import formats
    from aha.files import write_json

    documents = formats.harness(results)
    for document in documents:
        own = f"{file.stem}-{folder_name(document['model_name'])}{file.suffix}"
        write_json(file if len(documents) == 1 else file.with_name(own), document)


def _write_hub(folder: Path, results: Sequence[BenchmarkResult]) -> None:
    """A folder a model where they are several. JSON is YAML, and is read so by the hub."""
    from aha.benchmarks import formats
    from aha.files import write_json

    models = list(dict.fromkeys(r.model for r in results))
    for model in models:
        own = [r for r in results if r.model == model]
        place = folder if len(models) == 1 else folder / folder_name(model)
        entries = formats.eval_results(own, date.today().isoformat())
        for name, entry in entries.items():
            write_json(place / ".eval_results" / f"{name}.yaml", entry)
        write_json(place / "model-index.yaml", {"model-index": formats.model_index(own, folder_name(model))})
        left = dict.fromkeys(r.benchmark for r in own if formats.dataset_of(r) is None)
        if left:
            print(f"{', '.join(left)}: of no set on the hub, so not in .eval_results", file=sys.stderr)


def _say(args: argparse.Namespace, text: str) -> None:
    if ranks.is_main():
        print(text, file=sys.stderr if args.json else sys.stdout)


def check_given(args: argparse.Namespace) -> None:
    """Raise AhaError for options of one kind of evaluation that were given with the other."""
    if len(args.model) > 1 and not args.tasks:
        raise AhaError("Several models are compared on benchmarks: give --tasks NAME,NAME.")
    names = _WITH_TASKS if args.tasks else args.of_many
    others = options.changed(args, names)
    if not others:
        return
    which = f"{', '.join(others)} {'is' if len(others) == 1 else 'are'} for"
    if not args.tasks:
        raise AhaError(f"{which} --tasks NAME,NAME.")
    ways = " ".join(dict.fromkeys(way for name, way in _WITH_TASKS.items() if options.changed(args, (name,))))
    raise AhaError(f"{which} one task (--task). With --tasks {ways}.")


_WITH_TASKS = {
    "task": "name it there",
    "data": "the rows are named as NAME=FILE (or a folder of them as --data-dir)",
    "test_data": "the rows are named as NAME=FILE (or a folder of them as --data-dir)",
    "split": "the rows of a file are all asked",
    "output": "every sample is kept in --results",
}
"""What takes the place of an option of one task."""
