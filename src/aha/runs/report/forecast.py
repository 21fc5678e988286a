"""What a run was expected to need when it was begun, beside what it needed."""

from __future__ import annotations

from collections.abc import Sequence

from aha.runs.charts import duration, escape, number
from aha.runs.report.data import Json, RunData, as_dict, read_object
from aha.runs.report.look import fold


def plan_and_fact(run: RunData) -> str:
    """A table of the stages that ended, as HTML; "" where none did, or nothing was foreseen or measured."""
    plan, stages = as_dict(run.config.get("plan")), as_dict(run.config.get("stages"))
    rows = []
    for name in stages:
        done = read_object(run.folder / name / "done.json", [])
        cells = [*_time(as_dict(plan.get(name)), done), *_memory(as_dict(plan.get(name)), done)]
        if done and any(cells):
            rows.append("".join(f"<td>{cell or '-'}</td>" for cell in (f"<b>{escape(name, 80)}</b>", *cells)))
    if not rows or not plan:
        return ""
    head = "".join(
        f"<th>{words}</th>" for words in ("", "time planned", "taken", "memory planned", "most held")
    )
    lines = "".join(f"<tr>{row}</tr>" for row in rows)
    words = (
        "Planned when the run was begun: time by the speeds of earlier runs beside it, memory by the parameters "
        "without activations. Taken and held: since the stage was last started; what is held counts the whole process."
    )
    table = (
        f'<div class="scroll"><table><tr>{head}</tr>{lines}</table></div><p class="small soft">{words}</p>'
    )
    return fold("<h3>Plan and fact</h3>", table, gist=_gist(run, plan), shown=len(rows) == 1)


def _gist(run: RunData, plan: Json) -> str:
    """The whole time, where every stage that ended was foreseen."""
    pairs: list[tuple[float, float]] = []
    for name in plan:
        taken = number(read_object(run.folder / name / "done.json", []).get("seconds"))
        about = _about(as_dict(plan[name]))
        if taken is not None and about:
            pairs.append((about[0], taken))
    planned, taken = (sum(pair[i] for pair in pairs) for i in (0, 1))
    return f"about {duration(planned)} planned, {duration(taken)} taken" if pairs else ""


def _about(plan: Json) -> tuple[float, float] | None:
    """(expected, at most) in seconds."""
    bounds = plan.get("seconds")
    if not isinstance(bounds, Sequence) or isinstance(bounds, str) or len(bounds) != 2:
        return None
    about, most = map(number, bounds)
    return None if about is None or most is None else (about, most)


def _time(plan: Json, done: Json) -> tuple[str, str]:
    about, taken = _about(plan), number(done.get("seconds"))
    planned = f"{duration(about[0])}, at most {duration(about[1])}" if about else ""
    return planned, "" if taken is None else duration(taken)


def _memory(plan: Json, done: Json) -> tuple[str, str]:
    peaks = as_dict(done.get("peak_bytes"))
    parts = [
        f"{_size(n)}{words}"
        for key, words in (("gpu", " on the GPU"), ("process", ""))
        if (n := number(peaks.get(key)))
    ]
    planned = number(plan.get("memory_bytes"))
    return _size(planned) if planned else "", ", ".join(parts)


def _size(count: float) -> str:
    return f"{count / 2**30:.2f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"
