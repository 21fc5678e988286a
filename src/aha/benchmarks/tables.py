"""Results as tables: models beside each other, benchmarks beside the paper's figures, and what differs in protocol."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any

from aha.benchmarks import published
from aha.benchmarks.catalogue import BENCHMARKS, SCORES
from aha.benchmarks.session import BenchmarkResult, Protocol
from aha.benchmarks.statistics import Paired, paired


def rows(results: Sequence[BenchmarkResult]) -> list[dict[str, str]]:
    """One row a model and benchmark, as words."""
    over = varied(results)
    return [_row(result, over) for result in results]


def varied(results: Sequence[BenchmarkResult]) -> list[str]:
    """What a sweep went over: of how a question is put, what is not the same in all results."""
    return [
        name
        for name in ("prompt", "shots", "choice")
        if len({getattr(r.protocol, name) for r in results}) > 1
    ]


def named(result: BenchmarkResult, over: Sequence[str]) -> str:
    """A result's model, and what tells it from others of a sweep."""
    parts = [f"{name} {getattr(result.protocol, name)}" for name in over]
    return f"{result.model} ({', '.join(parts)})" if parts else result.model


def _row(result: BenchmarkResult, over: Sequence[str] = ()) -> dict[str, str]:
    figures, k = result.figures, result.figures["samples"]
    strict, bounds = share(figures["pass@1"]), figures["pass@1_ci"]
    several = (
        {f"cons@{k}": share(figures[f"cons@{k}"]), f"pass@{k}": share(figures[f"pass@{k}"])} if k > 1 else {}
    )
    first, second = ("pass@1", "lenient") if result.protocol.choice == "text" else ("acc", "acc_norm")
    return {
        "model": result.model,
        "benchmark": result.benchmark,
        **{name: str(getattr(result.protocol, name)) for name in over},
        first: f"{strict} [{bounds[0]:.1%}, {bounds[1]:.1%}]" if bounds else strict,
        second: share(figures["lenient"]),
        **several,
        **{name.replace("_", " "): share(figures[name]) for name in _turns(figures)},
        **{name: _number(name, figures.get(name)) for name in _shown(result)},
        "tokens": f"{figures['mean_tokens']:.0f}",
        "truncated": share(figures["truncated"]),
        "problems": f"{figures['problems']} x {k}",
    }


def _shown(result: BenchmarkResult) -> Sequence[str]:
    benchmark = BENCHMARKS.get(result.benchmark)
    return benchmark.shown if benchmark is not None else ()


def _turns(figures: Mapping[str, Any]) -> list[str]:
    """Names of the figures of single turns, and of their mean."""
    return [name for name in figures if name.startswith("turn_")] + ["turns_mean"] * ("turns" in figures)


def turns(figures: Mapping[str, Any]) -> list[dict[str, str]]:
    """A row of each turn of a conversation, as words; empty where there was a single one."""
    named = {"pass@1": "strict", "lenient": "loose", "instructions": "instructions, strict",
             "instructions_lenient": "instructions, loose", "average": "mean", "consistency": "still right",
             "forgotten": "forgotten"}  # fmt: skip
    return [
        {"turn": str(one["turn"]), "problems": str(one["problems"])}
        | {title: share(one.get(name)) for name, title in named.items()}
        | {"tokens": "-" if one["mean_tokens"] is None else f"{one['mean_tokens']:.0f}"}
        for one in figures.get("turns", ())
    ]


def _number(name: str, value: float | None) -> str:
    if value is not None and name in SCORES:
        return f"{value:.2f}"
    return f"{value:.0f}" if name == "rating" and value is not None else share(value)


def share(value: float | None) -> str:
    """A share in percent; "-" for one that nothing is there for."""
    return "-" if value is None else f"{value:.1%}"


def markdown(table: Sequence[dict[str, str]]) -> str:
    """A table in Markdown; columns in the order in which they first come."""
    columns = list(dict.fromkeys(column for row in table for column in row))
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += [
        "| " + " | ".join(row.get(column, "-").replace("|", "\\|") for column in columns) + " |"
        for row in table
    ]
    return "\n".join(lines)


def plain(table: Sequence[dict[str, str]]) -> str:
    """The same for a terminal: columns aligned."""
    columns = list(dict.fromkeys(column for row in table for column in row))
    wide = {c: max(len(c), *(len(row.get(c, "-")) for row in table)) for c in columns}
    lines = ["  ".join(f"{c:<{wide[c]}}" for c in columns).rstrip()]
    lines += ["  ".join(f"{row.get(c, '-'):<{wide[c]}}" for c in columns).rstrip() for row in table]
    return "\n".join(lines)


def beside_paper(benchmarks: Iterable[str], protocol: Protocol) -> list[str]:
    """For each benchmark that the paper has, its figures, and what is done otherwise here."""
    lines = []
    for name in dict.fromkeys(benchmarks):
        known = published.figures(name)
        if known:
            said = ", ".join(f"{model} {figure:g}" for model, figure in known.items())
            lines.append(f"{BENCHMARKS[name].title} in the paper: {said}")
            lines += [f"  differs: {reason}" for reason in differences(name, protocol)]
    return lines


def differences(name: str, protocol: Protocol) -> list[str]:
    """What an evaluation does otherwise than the paper's."""
    benchmark, differing = BENCHMARKS[name], []
    compared: list[tuple[str, Any, Any]] = [
        ("samples of each problem", protocol.k, benchmark.k or protocol.k),
        ("temperature", protocol.temperature, published.TEMPERATURE),
        ("top-p", protocol.top_p, published.TOP_P),
        ("tokens at most", protocol.max_tokens, published.MAX_TOKENS),
    ]
    differing += [f"{what} {ours:g} (paper: {theirs:g})" for what, ours, theirs in compared if ours != theirs]
    if protocol.dates != benchmark.dates:
        differing.append(
            f"contests of {protocol.dates or 'all days'} (paper: {benchmark.dates or 'all days'})"
        )
    if protocol.shots:
        differing.append(f"{protocol.shots} examples in the prompt (paper: none)")
    if protocol.choice != "text":
        differing.append("options by log likelihood (paper: answers in text)")
    if protocol.problems is not None and protocol.problems < benchmark.problems:
        differing.append(f"{protocol.problems} of {benchmark.problems} problems")
    return differing + ([benchmark.differs] if benchmark.differs else [])


def pairs(results: Sequence[BenchmarkResult]) -> list[tuple[str, str, str, Paired]]:
    """(benchmark, first model, second model, comparison) of every two results on each benchmark."""
    compared_pairs, over = [], varied(results)
    for name in dict.fromkeys(r.benchmark for r in results):
        both = list(combinations([r for r in results if r.benchmark == name], 2))
        for a, b in both:
            compared = paired(a.records, b.records, pairs=len(both))
            compared_pairs.append((name, named(a, over), named(b, over), compared))
    return compared_pairs
