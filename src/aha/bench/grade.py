"""``aha bench grade``: speed of the math verifier and its agreement with labels, also beside math-verify."""

from __future__ import annotations

import argparse
import ast
import gzip
import json
import random
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from aha import options
from aha.options import whole
from aha.types import AhaError

HELP = "the math verifier: grades a second, slowest grades, agreement with labels"


class LabelledAnswer(NamedTuple):
    """One answer to grade, with its label if the data has one."""

    gold: str
    prediction: str
    label: bool | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The benchmark's options."""
    parser.add_argument(
        "data", type=Path, nargs="*", help="JSONL files (or .gz) of real outputs; default: made up"
    )
    parser.add_argument(
        "--against", choices=["math-verify"], help="time this grader on the same pairs, in turn"
    )
    parser.add_argument("--limit", type=whole(), default=0, help="at most so many pairs of each file")
    parser.add_argument("--rounds", type=whole(1), default=3, help="rounds to take the median of")
    parser.add_argument(
        "--disagreements", action="store_true", help="list where a grader and the label differ"
    )
    parser.add_argument(
        "--corrections", type=Path,
        help="JSONL of labels that are wrong (data: a file's name, pair: its number from 1, label, why): agreement is "
        "shown with and without them",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")


def run(args: argparse.Namespace) -> int:
    """Runs the benchmark. Raises AhaError for unusable data or a grader that is not installed."""
    if not args.data:
        why = "it is of answers that have labels. Name files of them."
        options.refuse(args, ("corrections",), why)
    sets = {path.name: read_pairs(path) for path in args.data} or {"made up": made_up()}
    graders: dict[str, Callable[[LabelledAnswer], bool | None]] = {"aha": _aha()}
    if args.against:
        graders[args.against] = _math_verify()
    corrected = read_corrections(args.corrections) if args.corrections else {}
    results = []
    for name, pairs in sets.items():
        pairs = pairs[: args.limit] if args.limit else pairs
        results.append(measure(name, pairs, graders, args.rounds, corrected.get(name)))
    if len(results) > 1:
        results.append(together(results))
    shown = [_without_lists(result) for result in results] if not args.disagreements else results
    print(json.dumps(shown, ensure_ascii=False) if args.json else "\n".join(map(_page, shown)))
    return 0


def measure(
    name: str,
    pairs: list[LabelledAnswer],
    graders: dict[str, Callable[[LabelledAnswer], bool | None]],
    rounds: int,
    corrected: Mapping[int, bool] | None = None,
) -> dict:
    """Each grader's median rate over rounds in turn, its slowest grades and its agreement with the labels; also with
    those ``corrected`` by the number of their pair, from 1."""
    if not pairs:
        raise AhaError(f"{name} holds no pairs to grade. Give a file with gold and prediction.")
    for grade in graders.values():
        for pair in pairs[:5]:
            grade(pair)
    seconds: dict[str, list[float]] = {grader: [] for grader in graders}
    singles: dict[str, list[float]] = {}
    verdicts: dict[str, list[bool | None]] = {}
    for _ in range(rounds):
        for grader, grade in graders.items():
            verdicts[grader], singles[grader] = _timed(grade, pairs)
            seconds[grader].append(sum(singles[grader]))
    result: dict[str, Any] = {"data": name, "pairs": len(pairs), "graders": {}}
    for grader in graders:
        rate = len(pairs) / statistics.median(seconds[grader])
        p99 = sorted(singles[grader])[int(len(pairs) * 0.99)]
        entry: dict[str, Any] = {"grades_per_second": round(rate, 1), "p99_seconds": round(p99, 6)}
        entry["slowest_seconds"] = round(max(singles[grader]), 6)
        entry |= _agreement(pairs, verdicts[grader])
        if corrected:
            mended = _agreement(_with_labels(pairs, corrected), verdicts[grader])
            entry["corrected_agreement"], entry["corrected"] = mended.get("agreement"), len(corrected)
        result["graders"][grader] = entry
    rates = [entry["grades_per_second"] for entry in result["graders"].values()]
    if len(rates) == 2:
        result["ratio"] = round(rates[0] / rates[1], 1)
    return result


def together(results: list[dict]) -> dict:
    """The rates over all the sets: all pairs by all seconds, as one run would grade them."""
    pairs = sum(result["pairs"] for result in results)
    graders = {}
    for grader in results[0]["graders"]:
        entries = [(result["pairs"], result["graders"][grader]) for result in results]
        seconds = sum(count / entry["grades_per_second"] for count, entry in entries)
        worst = {key: max(entry[key] for _, entry in entries) for key in ("p99_seconds", "slowest_seconds")}
        graders[grader] = {"grades_per_second": round(pairs / seconds, 1), **worst}
    rates = [entry["grades_per_second"] for entry in graders.values()]
    ratio = {"ratio": round(rates[0] / rates[1], 1)} if len(rates) == 2 else {}
    return {"data": "all together", "pairs": pairs, "graders": graders, **ratio}


def _timed(
    grade: Callable[[LabelledAnswer], bool | None], pairs: list[LabelledAnswer]
) -> tuple[list[bool | None], list[float]]:
    verdicts: list[bool | None] = []
    seconds: list[float] = []
    for pair in pairs:
        started = time.perf_counter()
        verdicts.append(grade(pair))
        seconds.append(time.perf_counter() - started)
    return verdicts, seconds


def _agreement(pairs: list[LabelledAnswer], verdicts: list[bool | None]) -> dict[str, Any]:
    numbered = enumerate(zip(pairs, verdicts, strict=True), 1)
    labelled = [(at, pair, bool(v)) for at, (pair, v) in numbered if pair.label is not None]
    if not labelled:
        return {}
    apart = [(at, pair, verdict) for at, pair, verdict in labelled if verdict != pair.label]
    return {
        "agreement": round(1 - len(apart) / len(labelled), 5),
        "disagreements": [
            {
                "pair": at,
                "gold": pair.gold,
                "answer": pair.prediction[-160:],
                "label": pair.label,
                "verdict": verdict,
            }
            for at, pair, verdict in apart
        ],
    }


def read_corrections(path: Path) -> dict[str, dict[int, bool]]:
    """Labels that are wrong, by the name of their file and the number of their pair. Raises AhaError for other rows."""
    labels: dict[str, dict[int, bool]] = {}
    try:
        lines = path.read_text(encoding="utf-8").split("\n")  # splitlines would break texts at U+2028
        for row in (json.loads(line) for line in lines if line.strip()):
            if not isinstance(row["label"], bool):
                raise ValueError(f"label {row['label']!r} is neither true nor false")
            labels.setdefault(str(row["data"]), {})[int(row["pair"])] = row["label"]
    except (OSError, ValueError, KeyError, TypeError) as cause:
        raise AhaError(
            f"{path} holds no corrections: {cause!r}. Wanted: rows of data, pair, label."
        ) from cause
    return labels


def _with_labels(pairs: list[LabelledAnswer], corrected: Mapping[int, bool]) -> list[LabelledAnswer]:
    return [pair._replace(label=corrected.get(at, pair.label)) for at, pair in enumerate(pairs, 1)]


def _aha() -> Callable[[LabelledAnswer], bool | None]:
    from aha.rewards.math import Extraction, Outcome, verify
    from aha.rewards.math.workers import shared

    shared().compare("1", "1")  # importing sympy is no grading, neither in our workers nor in math-verify
    options = Extraction(phrase=True, last_formula=True, last_number=True)

    def grade(pair: LabelledAnswer) -> bool | None:
        verdict = verify(pair.gold, pair.prediction, options)
        return None if verdict.outcome is Outcome.UNKNOWN else verdict.outcome is Outcome.CORRECT

    return grade


def _math_verify() -> Callable[[LabelledAnswer], bool | None]:
    try:
        from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse  # type: ignore[import-not-found]
        from math_verify import verify as theirs  # type: ignore[import-not-found]
    except ImportError as cause:
        raise AhaError(
            "math-verify is not installed. pip install math-verify, or leave out --against."
        ) from cause
    known: dict[str, Any] = {}
    config = (LatexExtractionConfig(), ExprExtractionConfig())

    def grade(pair: LabelledAnswer) -> bool | None:
        if pair.gold not in known:  # as ours: a reference answer is read once
            known[pair.gold] = parse(f"${pair.gold}$", config, parsing_timeout=None)  # pyright: ignore[reportArgumentType]
        answer = parse(pair.prediction, config, parsing_timeout=5)
        return bool(theirs(known[pair.gold], answer, timeout_seconds=5))

    return grade


# data


def read_pairs(path: Path) -> list[LabelledAnswer]:
    """Pairs of a JSONL file: rows with gold and prediction, with gt, answer and code (as PRIME's evaluation
    writes them) or with GSM8K's example solutions. Raises AhaError for anything else."""
    try:
        raw = path.read_bytes()
        text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode()
    except (OSError, EOFError, ValueError) as cause:
        raise AhaError(f"{path} cannot be read: {cause}. Give a JSONL file.") from cause
    pairs: list[LabelledAnswer] = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            of_line = list(_pairs_of(json.loads(line)))
        except (ValueError, KeyError, TypeError) as cause:
            raise AhaError(f"{path}, line {number} is not understood ({cause!r}).") from cause
        pairs += of_line
    return pairs


def _pairs_of(row: dict[str, Any]) -> Iterable[LabelledAnswer]:
    if "gold" in row and "prediction" in row:
        if isinstance(row["gold"], str):
            yield LabelledAnswer(row["gold"], row["prediction"], row.get("expected"))
    elif "code" in row and "score" in row:
        gold = str(row.get("answer") or row["gt"])
        gold = gold.strip()
        gold = gold[1:-1] if gold.count("$") == 2 and gold[0] == gold[-1] == "$" else gold
        for code, score in zip(_listed(row["code"]), _listed(row["score"]), strict=False):
            if row["gt"]:
                yield LabelledAnswer(gold, code, bool(score))
    elif "ground_truth" in row:
        gold = row["ground_truth"].rsplit("A: ", 1)[1].strip()
        for value in row.values():
            solution = value if isinstance(value, dict) else None
            if solution and "solution" in solution:
                yield LabelledAnswer(gold, solution["solution"], bool(solution["is_correct"]))
    else:
        raise KeyError("neither gold and prediction, nor code and score, nor ground_truth")


def _listed(value: Any) -> list[Any]:
    return ast.literal_eval(value) if isinstance(value, str) else list(value)


def made_up(count: int = 2000) -> list[LabelledAnswer]:
    """A reproducible set of answers of all kinds, each right in one of two cases."""
    generator = random.Random(0)
    pairs = []
    for _ in range(count):
        a, b, c = (generator.randrange(1, 60) for _ in range(3))
        kind = generator.randrange(8)
        right, other = [
            (str(a * 1000 + b), f"{a},{b:03d}"),
            (rf"\frac{{{a}}}{{{b}}}", rf"\dfrac{{{a * c}}}{{{b * c}}}"),
            (rf"({a}, {b})", rf"\left({a},{2 * b}/2\right)"),
            (rf"{a}\sqrt{{{b}}}", rf"\sqrt{{{a * a * b}}}"),
            (rf"[{a},{a + b})", rf"{a} \le x < {a + b}"),
            (rf"{a}x^2+{b}x", rf"x({a}x+{b})"),
            (rf"{a}, {b}", rf"\{{{b},{a}\}}"),
            (rf"{a}\pi", rf"{a}\pi \text{{ cm}}"),
        ][kind]
        correct = generator.random() < 0.5
        shown = other if correct else other.replace(str(a), str(a + 1)) + "+1" * (kind in (0, 1, 3, 5))
        thought = "We try one thing and then another. " * generator.randrange(40)
        pairs.append(
            LabelledAnswer(right, f"<think>{thought}</think>The answer is $\\boxed{{{shown}}}$.", None)
        )
    return pairs


def _without_lists(result: dict) -> dict:
    graders = {
        name: {key: (len(v) if key == "disagreements" else v) for key, v in entry.items()}
        for name, entry in result["graders"].items()
    }
    return {**result, "graders": graders}


def _page(result: dict) -> str:
    lines = [f"{result['data']}: {result['pairs']} pairs, one core"]
    for name, entry in result["graders"].items():
        slow = entry["p99_seconds"] * 1000
        line = f"  {name:12} {entry['grades_per_second']:10,.0f} grades/s, p99 {slow:.2f} ms"
        if "agreement" in entry:
            line += f", agreement {entry['agreement']:.4f}"
        if entry.get("corrected_agreement") is not None:
            line += f", {entry['corrected_agreement']:.4f} with {entry['corrected']} labels corrected"
        lines.append(line)
        if isinstance(entry.get("disagreements"), list):
            lines += [f"      {json.dumps(one, ensure_ascii=False)}" for one in entry["disagreements"]]
    if "ratio" in result:
        lines.append(f"  {result['ratio']} times as fast")
    return "\n".join(lines)
