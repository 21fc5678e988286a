"""The figures at a page's top, those that speak for the run's kind: what was held out, whatever the training was."""

from __future__ import annotations

from aha.runs.charts import BeforeAfter, FigureKind, at_k, compare, number, show
from aha.runs.report.data import Json, RunData, StageData, as_dict, read_object

Tile = tuple[str, str]
"""(HTML of the figure, what it is)."""
MOST = 6
LEARNED: tuple[tuple[str, str, FigureKind], ...] = (
    ("validation_rewards/accuracies", "pairs told apart, held out", "rate"),
    ("rewards/accuracies", "pairs told apart in training", "rate"),
    ("rewards/margins", "margin of the implicit reward", "number"),
    ("accuracy", "pairs told apart in training", "rate"),
    ("validation_loss", "held-out loss", "number"),
    ("loss", "training loss", "number"),
)  # fmt: skip
"""Of stages that sample nothing: (key, what it is, how it is written), in the order of what says most."""


def tiles(run: RunData, before: Json, after: Json, tasks: dict[str, dict[str, Json]]) -> list[Tile]:
    """At most six: of checkpoints compared (``tasks``: task -> model -> figures) the first beside the best on each
    task; else before and after; else what supervised stages and reward models learned."""
    every = [_task(task, models) for task, models in tasks.items() if len(models) > 1] or _measured(
        before, after
    )
    if not any(row for row in (*tasks, before, after)):
        every += [tile for stage in run.stages for tile in _learned(stage, len(run.stages) > 1)]
    every += _marks(run)
    speed = number(run.summary.get("tokens_per_second"))
    every += [(show(speed, "tokens"), "tokens per second")] if speed else []
    return [tile for tile in every if tile[0]][:MOST]


def _task(task: str, models: dict[str, Json]) -> Tile:
    """From the first to the best checkpoint of a task."""
    rated = {name: value for name, row in models.items() if (value := number(row.get("pass@1"))) is not None}
    if len(rated) < 2:
        return "", task
    first, best = next(iter(rated)), max(rated, key=lambda name: rated[name])
    was, now = show(rated[first], "rate"), show(rated[best], "rate")
    return _from_to(was, now), f"{task}: pass@1, {first} to {best}"


def _measured(before: Json, after: Json) -> list[Tile]:
    keys = ("pass@1", *at_k({**before, **after}, "maj@")[-1:], "mean_length", "reflections")
    rows = [row for key in keys for row in compare(before, after) if row.key == key]
    both = bool(before and after)  # then a figure of one of them says nothing of what was learned
    return [(_both(row), row.label) for row in rows if not both or None not in (row.before, row.after)]


def _both(row: BeforeAfter) -> str:
    if row.before is None or row.after is None:  # one evaluation: nothing was trained between two
        return show(row.after if row.before is None else row.before, row.kind)
    return _from_to(show(row.before, row.kind), show(row.after, row.kind))


def _from_to(was: str, now: str) -> str:
    return f"<s>{was} &rarr;</s> {now}"


def _learned(stage: StageData, several: bool) -> list[Tile]:
    """The two figures that say most of a stage that was trained on rows."""
    name, learned = f"{stage.name}: " if several else "", []
    for key, words, kind in LEARNED:
        points = stage.curve(key)
        if len(points) > 1:
            learned.append((_from_to(show(points[0][1], kind), show(points[-1][1], kind)), f"{name}{words}"))
    return learned[:2] if several else learned


def _marks(run: RunData) -> list[Tile]:
    """How often a reward model is right on rows that it did not see."""
    marks = []
    for stage in run.stages:
        said = as_dict(read_object(stage.folder / "done.json", []).get("summary"))
        value = number(said.get("accuracy"))
        if value is not None and number(said.get("held_out")):
            marks.append((show(value, "rate"), f"{stage.name}: right on held-out rows"))
    return marks
