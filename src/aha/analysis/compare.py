"""Two or more runs side by side: the settings that differ, figures of their curves, and a paired test on the problems
that both were asked after training."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from aha.benchmarks.records import GradedAnswer, GradedProblem
from aha.benchmarks.statistics import Paired, paired
from aha.runs.charts import number
from aha.runs.report.data import RunData, StageData, as_dict, read_lines, read_run
from aha.types import AhaError

CURVES = (
    "reward", "rewards/accuracy/mean", "rewards/format/mean", "completions/mean_length", "completions/clipped_ratio",
    "entropy", "kl", "frac_reward_zero_std", "loss",
)  # fmt: skip
TOTALS = ("num_tokens", "step_time")
LAST = 5
"""Steps at the end of a curve whose mean is its last figure."""
SHOWN = 3
"""Problems of each side that one solves and the other does not, with a text of each."""


@dataclass(frozen=True, slots=True)
class SettingDifference:
    """One setting that is not the same in all runs; None where a run has no such setting."""

    name: str
    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class CurveFigure:
    """One figure of each run: ``last``, the mean of the last five steps; ``best``, the highest mean of five; None where
    a run has none. Of ``num_tokens`` and ``step_time`` ``last`` is the whole run's sum."""

    stage: str
    key: str
    last: tuple[float | None, ...]
    best: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class SolvedByOne:
    """A problem that one run solves more often than not, and the other does not: a right and a wrong text."""

    problem: str
    question: str
    answer: str | None
    right: str
    wrong: str
    why: str


@dataclass(frozen=True, slots=True)
class PairOfRuns:
    """Two runs on the same held-out problems after training. ``paired`` is None where they have none in common; its 5%
    are shared among the pairs that are compared."""

    first: str
    second: str
    stage: str
    paired: Paired | None
    first_only: tuple[SolvedByOne, ...] = ()
    second_only: tuple[SolvedByOne, ...] = ()

    @property
    def told_apart(self) -> bool:
        """Whether the difference is more than chance, with as many pairs looked at."""
        return self.paired is not None and self.paired.told_apart

    def sentence(self) -> str:
        """In words, which is better, or that they cannot be told apart."""
        if self.paired is None:
            return f"{self.first} and {self.second} have no evaluated problem in common."
        return self.paired.sentence(self.first, self.second)


@dataclass(frozen=True, slots=True)
class RunComparison:
    """All of it; tuples of values are in the order of ``runs``."""

    runs: tuple[str, ...]
    settings: tuple[SettingDifference, ...]
    figures: tuple[CurveFigure, ...]
    pairs: tuple[PairOfRuns, ...]
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """All of it, for programs."""
        told = [
            asdict(pair) | {"told_apart": pair.told_apart, "sentence": pair.sentence()} for pair in self.pairs
        ]
        return asdict(self) | {"pairs": told}


def compare(folders: Sequence[Path], stage: str | None = None) -> RunComparison:
    """Compare runs, every later one with the first. ``stage``: of which their answers are compared; None: the last one
    of each that was evaluated. Raises AhaError for fewer than two runs, and for a folder that is none."""
    if len(folders) < 2:
        raise AhaError("A comparison needs two runs: aha compare runs/A runs/B.")
    data = [read_run(folder) for folder in folders]
    names = _names(folders)
    answers = [_answers(run, stage) for run in data]
    notes = [fault for run in data for fault in run.faults]
    n = len(data) - 1
    pairs = [_pair(names[0], names[i], answers[0], answers[i], n) for i in range(1, len(data))]
    return RunComparison(names, tuple(_settings(data)), tuple(_figures(data)), tuple(pairs), tuple(notes))


def _names(folders: Sequence[Path]) -> tuple[str, ...]:
    """The folders' own names, or their whole paths where two are called the same."""
    short = [folder.resolve().name for folder in folders]
    return tuple(short if len(set(short)) == len(short) else [str(folder) for folder in folders])


# --- settings ------------------------------------------------------------------------------------------------------


def _settings(data: Sequence[RunData]) -> list[SettingDifference]:
    """What differs: by name, stage first."""
    each = [
        {"recipe": run.config.get("recipe")}
        | {
            f"{s}.{k}": v
            for s, own in as_dict(run.config.get("stages")).items()
            for k, v in _flat(as_dict(own)).items()
        }
        for run in data
    ]
    names = dict.fromkeys(name for settings in each for name in settings)
    rows = [SettingDifference(name, tuple(s.get(name) for s in each)) for name in names]
    return [row for row in rows if any(value != row.values[0] for value in row.values)]


def _flat(settings: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Groups of settings as one level: ``algorithm.preset``."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping) and key != "rewards":
            flat |= _flat(value, f"{before}{key}.")
        else:
            flat[before + key] = value
    return flat


# --- curves --------------------------------------------------------------------------------------------------------


def _figures(data: Sequence[RunData]) -> list[CurveFigure]:
    stages = dict.fromkeys(s.name for run in data for s in run.stages if s.metrics)
    curves = []
    for name in stages:
        own = [next((s for s in run.stages if s.name == name), None) for run in data]
        rows = [_figure(name, key, own) for key in (*CURVES, *TOTALS)]
        rows += [_evaluated(name, own)]
        curves += [row for row in rows if any(v is not None for v in row.last)]
    return curves


def _figure(stage: str, key: str, own: Sequence[StageData | None]) -> CurveFigure:
    curves = [[y for _, y in s.curve(key)] if s else [] for s in own]
    if key == "step_time":
        return CurveFigure(stage, "seconds", tuple(sum(c) if c else None for c in curves), (None,) * len(own))
    if key == "num_tokens":
        return CurveFigure(stage, "tokens", tuple(c[-1] if c else None for c in curves), (None,) * len(own))
    last = tuple(statistics.fmean(c[-LAST:]) if c else None for c in curves)
    return CurveFigure(stage, key, last, tuple(max(_means(c), default=None) for c in curves))


def _means(curve: Sequence[float]) -> list[float]:
    width = min(LAST, len(curve))
    return [statistics.fmean(curve[i : i + width]) for i in range(len(curve) - width + 1)] if curve else []


def _evaluated(stage: str, own: Sequence[StageData | None]) -> CurveFigure:
    """pass@1 of the last evaluation, and of the best one."""
    each = [[v for e in s.evals if (v := number(e.get("pass@1"))) is not None] if s else [] for s in own]
    return CurveFigure(
        stage,
        "pass@1 (held out)",
        tuple(e[-1] if e else None for e in each),
        tuple(max(e, default=None) for e in each),
    )


# --- answers -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Answers:
    """The answers after training of one run's stage: records, and rows by problem: its id and its question, since
    rows of other files may go by the same ids."""

    stage: str
    records: list[GradedProblem]
    rows: dict[str, list[dict[str, Any]]]


def _answers(run: RunData, stage: str | None) -> _Answers:
    stages = [
        s for s in run.stages if stage in (None, s.name) and (s.folder / "rollouts/after.jsonl").exists()
    ]
    if not stages:
        return _Answers(stage or "", [], {})
    chosen = stages[-1]
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in read_lines(chosen.folder / "rollouts/after.jsonl", run.faults):
        rows.setdefault(f"{row.get('problem_id')}\n{row.get('question', '')}", []).append(row)
    strict = bool(chosen.settings.get("require_format", True))
    records = [GradedProblem(name, "", tuple(_graded(r, strict) for r in own)) for name, own in rows.items()]
    return _Answers(chosen.name, records, rows)


def _graded(row: Mapping[str, Any], strict: bool) -> GradedAnswer:
    """A stored answer as a record. Its lenient reading and its ballot are not stored, and not needed here."""
    right, form = _right(row, strict), _value(row, "format") == 1
    return GradedAnswer(
        right, False, form, "", int(number(row.get("tokens")) or 0), row.get("finish") == "length"
    )


def _right(row: Mapping[str, Any], strict: bool) -> bool | None:
    value = _value(row, "accuracy")
    return None if value is None else value > 0.5 and (not strict or _value(row, "format") == 1)


def _value(row: Mapping[str, Any], name: str) -> float | None:
    return number(as_dict(as_dict(row.get("scores")).get(name)).get("value"))


def _pair(first: str, second: str, a: _Answers, b: _Answers, pairs: int) -> PairOfRuns:
    stage = a.stage if a.stage == b.stage else f"{a.stage}, {b.stage}"
    if not a.rows.keys() & b.rows.keys():
        return PairOfRuns(first, second, stage, None)
    compared = paired(a.records, b.records, pairs=pairs)
    bare = {side: tuple(_id(p) for p in getattr(compared, side)) for side in ("first_only", "second_only")}
    return PairOfRuns(
        first, second, stage, replace(compared, **bare),
        tuple(_solved(p, a.rows[p], b.rows[p]) for p in compared.first_only[:SHOWN]),
        tuple(_solved(p, b.rows[p], a.rows[p]) for p in compared.second_only[:SHOWN]),
    )  # fmt: skip


def _id(problem: str) -> str:
    return problem.partition("\n")[0]


def _solved(problem: str, by: Sequence[Mapping[str, Any]], other: Sequence[Mapping[str, Any]]) -> SolvedByOne:
    right = next((row for row in by if _right(row, False)), by[0])
    wrong = next((row for row in other if _right(row, False) is False), other[0])
    notes = [str(as_dict(score).get("note", "")) for score in as_dict(wrong.get("scores")).values()]
    return SolvedByOne(
        _id(problem), str(right.get("question", "")), right.get("answer"), str(right.get("text", "")),
        str(wrong.get("text", "")), next(filter(None, notes), ""),
    )  # fmt: skip
