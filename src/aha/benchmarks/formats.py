"""Results in the forms that other programs read: lm-evaluation-harness' JSON, the model index of a model card, and the
hub's ``.eval_results``."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from aha import __version__
from aha.benchmarks import tables
from aha.benchmarks.catalogue import BENCHMARKS
from aha.benchmarks.session import BenchmarkResult
from aha.data.sources import HubSet, hub_set, on_hub
from aha.stages.evaluation.figures import Z

_FIGURES = ("pass@1", "lenient", "format", "mean_tokens", "truncated")
_LOWER = frozenset(["mean_tokens", "truncated"])


# --- lm-evaluation-harness -------------------------------------------------------------------------------------


def harness(results: Sequence[BenchmarkResult]) -> list[dict[str, Any]]:
    """One object for each model, laid out as lm-evaluation-harness writes its ``results_*.json``: ``results`` holds
    ``NAME,FILTER`` figures with ``NAME_stderr,FILTER`` beside them. Half of the interval stands for the error. Of a
    sweep each result has a name of its own."""
    over = tables.varied(results)
    return [
        _harness_document(model, [(_name(r, over), r) for r in results if r.model == model])
        for model in dict.fromkeys(r.model for r in results)
    ]


def _name(result: BenchmarkResult, over: Sequence[str]) -> str:
    """A benchmark's name, with what tells it from others of a sweep."""
    parts = [f"{name}={getattr(result.protocol, name)}" for name in over]
    return "_".join([result.benchmark, *parts])


def _harness_document(model: str, own: Sequence[tuple[str, BenchmarkResult]]) -> dict[str, Any]:
    counts = {name: (r.data.get("rows", r.figures["problems"]), r.figures["problems"]) for name, r in own}
    entries = {name: _harness_figures(name, r) for name, r in own}
    return {
        "results": entries,
        "group_subtasks": {name: [] for name in entries},
        "configs": {name: {"task": name, **asdict(r.protocol), **r.data} for name, r in own},
        "versions": dict.fromkeys(entries, __version__),
        "n-shot": {name: r.protocol.shots for name, r in own},
        "higher_is_better": {name: _better(entry) for name, entry in entries.items()},
        "n-samples": {
            name: {"original": asked, "effective": graded} for name, (asked, graded) in counts.items()
        },
        "config": {"model": "aha", "model_args": f"pretrained={model}"},
        "date": time.time(),
        "model_source": "aha",
        "model_name": model,
        "aha_version": __version__,
    }


def _better(entry: dict[str, Any]) -> dict[str, bool]:
    names = {name.partition(",")[0] for name in entry if "," in name and "_stderr" not in name}
    return {name: name not in _LOWER for name in sorted(names)}


def _harness_figures(name: str, result: BenchmarkResult) -> dict[str, Any]:
    figures = result.figures
    named = {"acc,none": "pass@1", "acc_norm,none": "lenient"}
    if result.protocol.choice == "text":
        named = {"exact_match,strict-match": "pass@1", "exact_match,flexible-extract": "lenient"}
    entry: dict[str, Any] = {"alias": name, "sample_len": figures["problems"]}
    for theirs, ours in named.items():
        metric, _, kind = theirs.partition(",")
        bounds = figures[f"{ours}_ci"]
        error = (bounds[1] - bounds[0]) / 2 / Z if bounds else "N/A"
        entry |= (
            {theirs: figures[ours], f"{metric}_stderr,{kind}": error} if figures[ours] is not None else {}
        )
    kept = [k for k in figures if k.startswith(("pass@", "cons@", "turn_")) and not k.endswith("_ci")]
    kept += ["turns_mean"] if "turns_mean" in figures else []
    more = {f"{k},none": figures[k] for k in (*kept, "mean_tokens", "truncated") if figures[k] is not None}
    return entry | more


# --- the hub ---------------------------------------------------------------------------------------------------


def dataset_of(result: BenchmarkResult) -> HubSet | None:
    """The hub set whose rows were asked, by their own source or by the benchmark's entry; None without one."""
    source = str(result.data.get("source") or "")
    if source and on_hub(source) and "/" in source:
        return hub_set(source)
    benchmark = BENCHMARKS.get(result.benchmark)
    return hub_set(benchmark.hub) if benchmark is not None and benchmark.hub else None


def _title(result: BenchmarkResult) -> str:
    benchmark = BENCHMARKS.get(result.benchmark)
    return benchmark.title if benchmark is not None else result.benchmark


def model_index(results: Sequence[BenchmarkResult], name: str) -> list[dict[str, Any]]:
    """``model-index`` of a card's metadata (Hugging Face's model card specification): one entry a benchmark of the
    first model."""
    return [{"name": name, "results": [_index_entry(r) for r in results if r.model == results[0].model]}]


def _index_entry(result: BenchmarkResult) -> dict[str, Any]:
    known = {name: value for name in _FIGURES if (value := result.figures[name]) is not None}
    metrics = [
        {"type": name, "value": round(value if name == "mean_tokens" else 100 * value, 2), "name": name}
        for name, value in known.items()
    ]
    asked = dataset_of(result) or HubSet(result.benchmark)
    split = result.data.get("split", "")
    revision = result.data.get("commit") or asked.revision
    told = {"config": asked.config, "split": asked.split or split, "revision": revision}
    dataset = {"name": _title(result), "type": asked.name, **{k: v for k, v in told.items() if v}}
    return {"task": {"type": "text-generation"}, "dataset": dataset, "metrics": metrics}


def eval_results(results: Sequence[BenchmarkResult], day: str) -> dict[str, list[dict[str, Any]]]:
    """The content of ``.eval_results/NAME.yaml`` of a model's repository, by name: pass@1 in percent on a set of the
    hub, and how it was sampled. Benchmarks whose rows are of no set there, and without a figure, are not in it."""
    over = tables.varied(results)
    entries: dict[str, list[dict[str, Any]]] = {}
    for result in results:
        asked, value = dataset_of(result), result.figures["pass@1"]
        if asked is None or value is None:
            continue
        config = asked.config if asked.config not in (None, "*") else "default"
        revision = result.data.get("commit") or asked.revision
        dataset = {"id": asked.name, "task_id": config} | ({"revision": revision} if revision else {})
        entry = {"dataset": dataset, "value": round(100 * value, 2), "date": day, "notes": _notes(result)}
        entries[_name(result, over)] = [entry]
    return entries


def _notes(result: BenchmarkResult) -> str:
    p, counts = result.protocol, result.figures
    how = f"{p.prompt} prompt" if p.choice == "text" else f"options by log likelihood ({p.choice})"
    return (
        f"aha {__version__}: {counts['problems']} problems, {counts['samples']} samples each, temperature "
        f"{p.temperature:g}, top-p {p.top_p:g}, at most {p.max_tokens} tokens, {how}, {p.shots} examples"
    )
