"""What a run left on disk, read for its report: stages, chains to show, and what looks unhealthy.

Nothing here is fatal: lines that cannot be read are counted, figures that are not numbers are left out.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aha.runs.charts import clean, number, show
from aha.runs.health import RULES
from aha.settings import former
from aha.types import AhaError

READ_BYTES = 64 << 20  # of one file: enough for thousands of chains
READ_PROBLEMS = 400

Json = dict[str, Any]

# ------------------------------------------------------------------------------------------ reading


@dataclass(slots=True)
class StageData:
    """What one stage left in its folder."""

    name: str
    folder: Path
    settings: Json
    metrics: list[Json]
    evals: list[Json]
    warnings: list[Json] = field(default_factory=list)  # as they were shown while it ran

    def curve(self, key: str) -> list[tuple[float, float]]:
        """(step, value) of a metric where it was finite."""
        values = ((number(row.get("step")), number(row.get(key))) for row in self.metrics)
        return [(x, y) for x, y in values if x is not None and y is not None]

    @property
    def last_step(self) -> float:
        return max((number(row.get("step")) or 0.0 for row in self.metrics + self.evals), default=0.0)


@dataclass(slots=True)
class RunData:
    """A run folder, read."""

    folder: Path
    config: Json
    summary: Json
    stages: list[StageData]
    faults: list[str] = field(default_factory=list)


def read_run(folder: Path) -> RunData:
    """Read a run folder, keeping count of what could not be read."""
    if not folder.is_dir():
        raise AhaError(
            f"{folder} is not a folder. Give a run's folder, such as runs/zero; `aha list` names them."
        )
    faults: list[str] = []
    config = read_object(folder / "config.json", faults)
    summary = read_object(folder / "summary.json", faults)
    stages = [_read_stage(place, config, faults) for place in _stage_folders(folder, config)]
    if not (stages or (folder / "config.json").exists() or (folder / "summary.json").exists()):
        raise AhaError(
            f"{folder} is not a run: it holds no config.json, no summary.json and no stage with "
            "metrics.jsonl. Give the folder of one run, such as runs/zero; `aha list` names them."
        )
    return RunData(folder, config, summary, stages, faults)


def _stage_folders(folder: Path, config: Json) -> list[Path]:
    def is_stage(place: Path) -> bool:
        files = ("metrics.jsonl", "evals.jsonl", "rollouts")
        return not place.name.endswith(".old") and any((place / name).exists() for name in files)

    places = [place for place in sorted(folder.iterdir()) if place.is_dir() and is_stage(place)]
    order = list(as_dict(config.get("stages")))
    return sorted(places, key=lambda place: order.index(place.name) if place.name in order else len(order))


def _read_stage(place: Path, config: Json, faults: list[str]) -> StageData:
    files = ("metrics", "evals", "warnings")
    settings = as_dict(as_dict(config.get("stages")).get(place.name))
    return stage_data(place, settings, *(read_lines(place / f"{name}.jsonl", faults) for name in files))


def stage_data(
    place: Path, settings: Json, metrics: Iterable[Json], evals: Iterable[Json], warned: Iterable[Json]
) -> StageData:
    """A stage by the rows of its files. A step that was repeated after a resume counts once, and an evaluation
    without a step stands at the beginning or at the end."""
    by_step: dict[float, Json] = {}
    for row in metrics:
        step = number(row.get("step"))
        if step is None:  # none is there, or no number
            step, row = len(by_step) + 1.0, {**row, "step": len(by_step) + 1}
        by_step[step] = row
    rows = [by_step[step] for step in sorted(by_step)]
    stage = StageData(place.name, place, former.stored(settings), rows, [], list(warned))
    last = stage.last_step
    for row in evals:
        at = number(row.get("step"))
        stage.evals.append(
            {**row, "step": at if at is not None else 0.0 if row.get("name") == "before" else last}
        )
    stage.evals.sort(key=lambda row: row["step"])
    return stage


def read_object(path: Path, faults: list[str]) -> Json:
    if not path.exists():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8", errors="replace"))
    except (ValueError, RecursionError, OSError) as error:
        faults.append(f"{path.name} could not be read ({type(error).__name__}: {error}).")
        return {}
    if not isinstance(value, dict):
        faults.append(f"{path.name} holds no JSON object.")
    return as_dict(value)


def read_lines(path: Path, faults: list[str]) -> Iterator[Json]:
    """The objects of a JSON Lines file; what cannot be read is counted into ``faults``."""
    if not path.is_file():
        return
    broken, total, first, size = 0, 0, 0, 0
    with path.open("rb") as file:
        for raw in file:
            size += len(raw)
            if size > READ_BYTES:
                faults.append(
                    f"{path.parent.name}/{path.name}: only its first {READ_BYTES >> 20} MiB were read."
                )
                break
            if not raw.strip():
                continue
            total += 1
            try:
                row = json.loads(raw.decode("utf-8", "replace"))
            except (ValueError, RecursionError):
                row = None
            if isinstance(row, dict):
                yield row
            else:
                broken, first = broken + 1, first or total
    if broken:
        name = "/".join(path.parts[-3:] if path.parent.name == "rollouts" else path.parts[-2:])
        faults.append(f"{name}: {broken} of {total} lines could not be read (the first is line {first}).")


def as_dict(value: object) -> Json:
    """``value`` if it is a JSON object, else an empty one."""
    return {str(k): v for k, v in value.items()} if isinstance(value, Mapping) else {}


# ------------------------------------------------------------------------------------------ chains

KEPT_TEXT = 20_000  # characters of a chain that are kept in memory


@dataclass(slots=True)
class Chains:
    """One rollout file: the first right, wrong and ungraded chain of each problem; counts of all."""

    name: str
    problems: dict[str, dict[bool | None, Json]] = field(default_factory=dict)
    graded: int = 0
    right: int = 0


@dataclass(frozen=True, slots=True)
class ChainPair:
    """Two chains on one problem (one of them may be missing), and why they are shown."""

    why: str
    left: Json | None
    right: Json | None


_CASES: tuple[tuple[bool | None, bool | None, int, str], ...] = (
    (False, True, 3, "wrong before, right after"),
    (True, True, 1, "right before and after"),
    (False, False, 1, "wrong before and after"),
    (True, False, 1, "right before, wrong after"),
    (False, None, 1, "wrong before, not gradable after"),
    (None, None, 2, "not graded"),
)


def is_right(row: Mapping[str, Any]) -> bool | None:
    """Whether a rollout's answer was right; None if nobody could say."""
    scores = as_dict(row.get("scores"))
    if "accuracy" in scores:
        value = number(as_dict(scores["accuracy"]).get("value"))
    else:
        value = number(row.get("reward"))
    return None if value is None else value >= 0.5


def read_chains(path: Path, faults: list[str]) -> Chains:
    """The chains of one rollout file that may be shown."""
    chains = Chains(path.stem)
    for row in read_lines(path, faults):
        right = is_right(row)
        chains.graded += right is not None
        chains.right += bool(right)
        key = clean(row.get("problem_id", row.get("question", "")), 300)
        if key in chains.problems or len(chains.problems) < READ_PROBLEMS:
            text = clean(row.get("text", ""), KEPT_TEXT)
            chains.problems.setdefault(key, {}).setdefault(right, {**row, "text": text})
    return chains


def rollout_files(folder: Path) -> tuple[Path | None, Path | None]:
    """The files of the untrained and of the trained policy: the evaluations, or else two steps."""
    place = folder / "rollouts"
    steps = sorted(place.glob("step_*.jsonl"), key=lambda p: (len(p.name), p.name)) if place.is_dir() else []
    before, after = place / "before.jsonl", place / "after.jsonl"
    first = before if before.is_file() and (after.is_file() or not steps) else next(iter(steps), None)
    last = after if after.is_file() else steps[-1] if steps else None
    return first, last if last != first else None


def pick_pairs(left: Chains | None, right: Chains | None, most: int) -> list[ChainPair]:
    """Chains to show, by rule and not by taste: the first problems of the file that show each case."""
    if not left or not right or not (left.problems.keys() & right.problems.keys()):
        sides = [pair for chains in (left, right) if chains for pair in _alone(chains, chains is left, most)]
        return sides[:most]
    used: set[str] = set()
    pairs = []
    for want_left, want_right, count, why in _CASES:
        fit = (
            key
            for key, of_left in left.problems.items()
            if key not in used and want_left in of_left and want_right in right.problems.get(key, {})
        )
        for key in list(fit)[:count]:
            used.add(key)
            pairs.append(ChainPair(why, left.problems[key][want_left], right.problems[key][want_right]))
    return pairs[:most]


def _alone(chains: Chains, on_the_left: bool, most: int) -> list[ChainPair]:
    """Chains of one file alone: a right and a wrong one, where it has no problem in common with the other."""
    pairs = []
    for want, why in ((True, "right"), (False, "wrong"), (None, "not graded")):
        rows = [kinds[want] for kinds in chains.problems.values() if want in kinds][: max(1, most // 4)]
        pairs += [
            ChainPair(f"{why}, {chains.name}", *((row, None) if on_the_left else (None, row))) for row in rows
        ]
    return pairs[: max(1, most // 2)] if most else []


# ------------------------------------------------------------------------------------------ warnings


def warnings(stage: StageData) -> list[str]:
    """In words: what the run itself warned of, then each other metric that left its healthy range.

    The run warns as it goes; here whole curves are judged by the same rules, on medians of five steps.
    """
    live = [row for row in stage.warnings if row.get("text")]
    texts = _told_once(live)
    for rule in RULES:
        if rule.against or rule.key == "ungradable" or any(row.get("key") == rule.key for row in live):
            continue
        points = _smooth(stage.curve(rule.key))
        out = [(x, y) for x, y in points if rule.beyond(y, rule.enter)]
        if out:
            lower = rule.enter < rule.leave
            worst = min(y for _, y in out) if lower else max(y for _, y in out)
            texts.append(
                f"{rule.key} was {'below' if lower else 'above'} {show(rule.enter, rule.kind)} from step "
                f"{out[0][0]:.0f} to {out[-1][0]:.0f} ({len(out)} of {len(points)} steps; at worst "
                f"{show(worst, rule.kind)}): {rule.reason}. {rule.advice.capitalize()}."
            )
    return texts + [text for rule in (_fell, _ungradable, _spikes, _not_finite) for text in rule(stage)]


def _told_once(live: Sequence[Json]) -> list[str]:
    """What was warned of again and again, once: as it was told first, and how often it came back."""
    alike: dict[tuple[str, str], list[Json]] = {}
    for row in live:  # before the colon stands the value, which differs
        alike.setdefault((str(row.get("key")), str(row["text"]).partition(": ")[2]), []).append(row)
    texts = []
    for rows in alike.values():
        again = f" Again {len(rows) - 1} times, last at step {rows[-1].get('step')}." if len(rows) > 2 else ""
        again = f" Again at step {rows[1].get('step')}." if len(rows) == 2 else again
        texts.append(f"Step {rows[0].get('step')}: {rows[0]['text']}{again}")
    return texts


def _smooth(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    if len(points) < 5:
        return list(points)
    return [
        (points[i][0], statistics.median(y for _, y in points[i - 2 : i + 3]))
        for i in range(2, len(points) - 2)
    ]


def _fell(stage: StageData) -> list[str]:
    points = _smooth(stage.curve("rewards/accuracy/mean"))
    if not points:
        return []
    (best_at, best), (_, last) = max(points, key=lambda p: p[1]), points[-1]
    if best - last < 0.1:
        return []
    return [
        f"Training accuracy fell from {show(best, 'rate')} around step {best_at:.0f} to {show(last, 'rate')} "
        "at the end. Too high a learning rate collapses like this; an earlier checkpoint may be better."
    ]


def _ungradable(stage: StageData) -> list[str]:
    points = [(x, y) for x, y in stage.curve("ungradable") if y > 0]
    if not points:
        return []
    most = max(y for _, y in points)
    return [
        f"Responses could not be graded in {len(points)} steps (at most {show(most, 'rate')} of a step). "
        "They were left out of the training, not counted as wrong; their notes in rollouts/ say why."
    ]


def _spikes(stage: StageData) -> list[str]:
    points, usual = stage.curve("grad_norm"), next(rule for rule in RULES if rule.key == "grad_norm")
    middle = statistics.median(y for _, y in points) if len(points) >= 5 else 0.0
    spikes = [(x, y) for x, y in points if y > usual.enter * middle > 0]
    if not spikes:
        return []
    x, y = max(spikes, key=lambda p: p[1])
    return [f"The gradient norm jumped to {show(y)} at step {x:.0f}, {y / middle:.0f} times its median."]


def _not_finite(stage: StageData) -> list[str]:
    def bad(value: object) -> bool:
        return isinstance(value, float) and number(value) is None

    keys = {key: row["step"] for row in reversed(stage.metrics) for key, value in row.items() if bad(value)}
    return [
        f"{clean(key, 80)} was not a finite number, first at step {at}." for key, at in list(keys.items())[:5]
    ]
