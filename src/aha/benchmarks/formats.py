"""Results in the forms that other programs read: lm-evaluation-harness' JSON and the model index of a model card."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from aha import __version__
from aha.benchmarks.catalogue import BENCHMARKS
from aha.benchmarks.session import BenchmarkResult
from aha.stages.evaluation.figures import Z

_FIGURES = ("pass@1", "lenient", "format", "mean_tokens", "truncated")


def harness(results: Sequence[BenchmarkResult]) -> list[dict[str, Any]]:
    """One object for each model, laid out as lm-evaluation-harness writes its ``results_*.json``: ``results`` holds
    ``NAME,FILTER`` figures with ``NAME_stderr,FILTER`` beside them. Half of the interval stands for the error."""
    documents = []
    for model in dict.fromkeys(r.model for r in results):
        own = [r for r in results if r.model == model]
        documents.append(
            {
                "results": {r.benchmark: _harness_figures(r) for r in own},
                "n-shot": {r.benchmark: r.protocol.shots for r in own},
                "n-samples": {r.benchmark: {"effective": r.figures["problems"]} for r in own},
                "configs": {r.benchmark: {"task": r.benchmark, **asdict(r.protocol), **r.data} for r in own},
                "config": {"model": "aha", "model_args": f"pretrained={model}"},
                "model_name": model,
                "aha_version": __version__,
            }
        )
    return documents


def _harness_figures(result: BenchmarkResult) -> dict[str, Any]:
    figures = result.figures
    n = figures["samples"]
    named = {"acc,none": "pass@1", "acc_norm,none": "lenient"}
    if result.protocol.choice == "text":
        named = {"exact_match,strict-match": "pass@1", "exact_match,flexible-extract": "lenient"}
    entry: dict[str, Any] = {"alias": result.benchmark}
    for theirs, ours in named.items():
        name, _, kind = theirs.partition(",")
        low, high = figures[f"{ours}_ci"]
        entry |= {theirs: figures[ours], f"{name}_stderr,{kind}": (high - low) / 2 / Z}
    kept = [k for k in figures if k.startswith(("pass@", "cons@")) and not k.endswith("_ci")]
    return entry | {f"{k},none": figures[k] for k in (*kept, "mean_tokens", "truncated")} | {"samples": n}


def model_index(results: Sequence[BenchmarkResult], name: str) -> list[dict[str, Any]]:
    """``model-index`` of a card's metadata (Hugging Face's model card specification): one entry a benchmark."""
    return [{"name": name, "results": [_index_entry(r) for r in results if r.model == results[0].model]}]


def _index_entry(result: BenchmarkResult) -> dict[str, Any]:
    benchmark = BENCHMARKS.get(result.benchmark)
    title = benchmark.title if benchmark is not None else result.benchmark
    known = {name: value for name in _FIGURES if (value := result.figures[name]) is not None}
    metrics = [
        {"type": name, "value": round(value if name == "mean_tokens" else 100 * value, 2), "name": name}
        for name, value in known.items()
    ]
    return {
        "task": {"type": "text-generation"},
        "dataset": {
            "name": title,
            "type": result.data.get("source", result.benchmark),
            "split": result.data.get("split", ""),
        },
        "metrics": metrics,
    }
