"""A run folder as one self-contained page: what was trained, what changed, how, and what to doubt.

The page needs no network, no script to be read, and no other file. Everything that models or people wrote is
escaped, and a content policy lets no script run but the page's own. Damaged or missing lines are counted and
shown: a report of half a run is worth more than an error.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from aha.files import write_text
from aha.runs.charts import (
    BeforeAfter,
    FigureKind,
    clean,
    compare,
    draw,
    duration,
    escape,
    interval,
    number,
    show,
    strip,
)
from aha.runs.console import segments
from aha.runs.report import headline
from aha.runs.report import recipe as report_recipe
from aha.runs.report.curves import large_charts, small_charts
from aha.runs.report.data import (
    ChainPair,
    Json,
    RunData,
    StageData,
    as_dict,
    is_right,
    pick_pairs,
    read_chains,
    read_run,
    rollout_files,
    warnings,
)
from aha.runs.report.forecast import plan_and_fact
from aha.runs.report.look import SCRIPT, STYLE, fold
from aha.runs.report.scaling import scaling
from aha.settings import former

MOST_BYTES = 1_900_000  # of the page; beyond it, chains are shortened and then left out
SHOWN = 6  # of a list; the rest unfolds
MOST_OF_SETTING = 20_000  # characters: a whole prompt
GIST: tuple[tuple[str, str, FigureKind], ...] = (
    ("pass@1", "pass@1", "rate"), ("rewards/accuracy/mean", "training accuracy", "rate"),
    ("validation_rewards/accuracies", "pairs told apart", "rate"), ("validation_loss", "held-out loss", "number"),
    ("loss", "loss", "number"), ("completions/mean_length", "length", "number"),
)  # fmt: skip
TEXT_BUDGETS = ((6, 5000), (6, 1500), (3, 500), (0, 0))  # (pairs a stage, characters a piece of text)


def write_report(run: Path) -> Path:
    """Build the page of ``run`` and replace its ``report.html`` in one go. Returns the page's path."""
    page = Path(run) / "report.html"
    write_text(page, build_report(run))
    return page


def build_report(run: Path) -> str:
    """The page as text. Raises AhaError where ``run`` is no run folder."""
    run_data = read_run(Path(run))
    page = ""
    for pairs, characters in TEXT_BUDGETS:
        page = _page(run_data, pairs, characters)
        if len(page.encode()) <= MOST_BYTES:
            break
    return page


# ------------------------------------------------------------------------------------------ the page


def _page(run: RunData, pairs: int, characters: int) -> str:
    faults = list(run.faults)
    whole = _whole(run, pairs, characters, faults)
    before, after = ({}, {}) if whole else _ends(run)
    stages = [s for s in run.stages if not whole or s.metrics or s.evals]
    sections = [_stage(stage, run, pairs, characters, faults) for stage in stages]
    tasks = report_recipe.tasks(run) if whole else {}
    title = _title(run)
    nav = "".join(f'<a href="#{name}">{escape(words)}</a>' for name, words, _ in whole)
    nav += "".join(f'<a href="#stage-{i}">{escape(s.name, 60)}</a>' for i, s in enumerate(stages))
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    body = [
        f"<h1>{title}</h1>{_lead(run, report_recipe.spent(run) if whole else '')}",
        f"<nav>{nav}</nav>" if len(run.stages) > 1 else "",
        _tiles(run, before, after, tasks),
        _honesty(run),
        _doubts(run, before, after),
        _table(compare(before, after, others=True), before, after),
        report_recipe.style() if whole else "",
        *(_section(name, words, text, shown=name in report_recipe.OPEN) for name, words, text in whole),
        scaling(run.stages, before, after),
        *(f'<section id="stage-{i}">{text}</section>' for i, text in enumerate(sections)),
        plan_and_fact(run),
        _settings(run),
        _list("note", "Files that could not be read in full", faults),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{title}</title><style>{STYLE}</style></head><body><main>{''.join(body)}</main>"
        f"<script>{SCRIPT}</script></body></html>\n"
    )


def _whole(run: RunData, pairs: int, characters: int, faults: list[str]) -> list[tuple[str, str, str]]:
    """The sections that only a run of the whole recipe has."""
    words, most = _word_pattern(run), min(characters, report_recipe.MOST_CHARACTERS)
    return report_recipe.sections(run, faults, pairs // 2, lambda name, row: _side(name, row, words, most))


def _ends(run: RunData) -> tuple[Json, Json]:
    """The first and the last evaluation: the summary's, or what the stages measured so far."""
    before, after = as_dict(run.summary.get("before")), as_dict(run.summary.get("after"))
    if before or after:
        return before, after
    evals = [row for stage in run.stages for row in stage.evals]
    return (evals[0], evals[-1] if len(evals) > 1 else {}) if evals else ({}, {})


def _fact(run: RunData, key: str) -> str:
    """A fact from the summary, or from the settings of the first stage that knows it."""
    places = [run.summary, run.config, *(s.settings for s in run.stages)]
    value = next((p[key] for p in places if p.get(key) not in (None, "", [])), "")
    return escape(", ".join(map(str, value)) if isinstance(value, list) else value, 80)


def _title(run: RunData) -> str:
    model, task = _fact(run, "model"), _fact(run, "task") or _fact(run, "tasks")
    if not model:
        return f"Run {escape(run.folder.name, 80)}"
    return f"{model} on {task}" if task else model


def _lead(run: RunData, spent: str = "") -> str:
    machine = as_dict(run.config.get("machine"))
    gpus = machine.get("gpus")
    chip = ", ".join(map(str, gpus)) if isinstance(gpus, list) and gpus else str(machine.get("cpu", ""))
    cores = number(machine.get("cores"))
    parts = [
        f"Recipe <b>{escape(run.config.get('recipe'), 60)}</b>" if run.config.get("recipe") else "",
        spent or _spent(run),
        f"on {escape(chip, 120)}{f', {cores:.0f} cores' if cores else ''}" if chip else "",
        f"seed {_fact(run, 'seed')}" if _fact(run, "seed") else "",
    ]
    text = " · ".join(part for part in parts if part)
    running = (
        ""
        if run.summary
        else _box("note", "This run has not finished (no summary.json yet): figures so far.")
    )
    return f'<p class="lead soft">{text}</p>{running}'


def _spent(run: RunData) -> str:
    steps, seconds = f"{_steps(run):,.0f} steps", _seconds(run)
    return f"{steps} in <b>{duration(seconds)}</b>" if seconds else steps


def _seconds(run: RunData) -> float:
    seconds = number(run.summary.get("rl_seconds"))
    return seconds if seconds is not None else sum(y for s in run.stages for _, y in s.curve("step_time"))


def _steps(run: RunData) -> float:
    steps = number(run.summary.get("steps"))
    return steps if steps is not None else sum(stage.last_step for stage in run.stages)


def _tiles(run: RunData, before: Json, after: Json, tasks: dict[str, dict[str, Json]]) -> str:
    cells = "".join(
        f'<div class="tile"><b>{value}</b><span>{escape(name)}</span></div>'
        for value, name in headline.tiles(run, before, after, tasks)
    )
    return f'<div class="tiles">{cells}</div>' if cells else ""


def _section(name: str, words: str, inside: str, *, shown: bool) -> str:
    if shown:
        return f'<section id="{name}"><h2>{escape(words)}</h2>{inside}</section>'
    return f'<section id="{name}">{fold(f"<h2>{escape(words)}</h2>", inside)}</section>'


def _honesty(run: RunData) -> str:
    stages = as_dict(run.config.get("stages")).values()
    models = [as_dict(stage).get("model") for stage in stages] + [run.summary.get("model")]
    if not any(name in models for name in ("tiny", "countdown", "world")):
        return ""
    return _box(
        "note",
        "<b>What this shows, and what it does not.</b> The embedded base model was pretrained on a generated "
        "corpus in which the behaviours seen below (search, checking, &ldquo;wait&rdquo;, giving up, the "
        "tags) were planted, most of them in a minority of documents. Reinforcement learning selects and "
        "amplifies them; it does not invent them. The rule reward checks the answer alone, so a chain with a "
        "wrong step and a right answer is paid too.",
    )


def _doubts(run: RunData, before: Json, after: Json) -> str:
    """What a reader should doubt: the comparison itself, then each stage's metrics."""
    doubts = []
    was, now = interval(before, "pass@1"), interval(after, "pass@1")
    if was and now and was[0] <= now[1] and now[0] <= was[1]:
        doubts.append("The intervals of pass@1 overlap: this run cannot tell before from after.")
    elif was and now and now[1] < was[0]:
        doubts.append("pass@1 is lower after training than before.")
    problems = number(after.get("n_problems"))
    if problems is not None and problems < 100:
        doubts.append(f"Only {problems:.0f} problems were evaluated: the intervals are wide.")
    for stage in run.stages:
        name = f"{stage.name}: " if len(run.stages) > 1 else ""
        doubts += [f"{name}{text}" for text in warnings(stage)]
    return _list("warn", "Read with care", doubts)


def _box(kind: str, inside: str) -> str:
    return f'<div class="{kind}"><p>{inside}</p></div>'


def _list(kind: str, title: str, texts: Sequence[str]) -> str:
    """The texts, those after the first few to unfold."""
    if not texts:
        return ""
    items = [f"<li>{escape(text, 400)}</li>" for text in texts]
    first, rest = "".join(items[:SHOWN]), "".join(items[SHOWN:])
    more = fold(f"{len(texts) - SHOWN} more", f"<ul>{rest}</ul>") if rest else ""
    return f'<div class="{kind}"><p><b>{escape(title)}</b></p><ul>{first}</ul>{more}</div>'


def _table(rows: Sequence[BeforeAfter], before: Json, after: Json) -> str:
    if not rows:
        return ""
    lines = "".join(
        f"<tr><td>{escape(row.label, 80)}</td><td>{_cell(row.before, row.before_ci, row.kind)}</td>"
        f'<td>{_cell(row.after, row.after_ci, row.kind)}</td><td class="nowrap">{row.change}</td>'
        f'<td class="wide">{strip(row)}</td></tr>'
        for row in rows
    )
    counts = after if number(after.get("n_problems")) else before
    size, samples = number(counts.get("n_problems")), number(counts.get("n_samples"))
    split = f" of the {escape(counts['split'], 40)} split" if counts.get("split") else ""
    on = f"{size:,.0f} problems" if size else "problems"
    each = f", {samples:.0f} samples each" if samples else ""
    return (
        f'<h3>Before and after</h3><div class="scroll"><table><tr><th></th><th>before</th><th>after</th>'
        f'<th>change</th><th class="wide">0 to 100%</th></tr>{lines}</table></div>'
        f'<p class="small soft">Measured on {on}{split}{each}. Brackets and bars are intervals over '
        "problems; a hollow dot is before, a filled one after.</p>"
    )


def _cell(value: float | None, bounds: tuple[float, float] | None, kind: FigureKind) -> str:
    ci = f' <span class="ci">[{show(bounds[0], kind)}, {show(bounds[1], kind)}]</span>' if bounds else ""
    return f"{show(value, kind)}{ci}"


# ------------------------------------------------------------------------------------------ a stage


def _stage(stage: StageData, run: RunData, pairs: int, characters: int, faults: list[str]) -> str:
    """One stage: open where it is alone, else a line with its figures to unfold."""
    large = "".join(draw(chart) for chart in large_charts(stage))
    small = "".join(draw(chart) for chart in small_charts(stage))
    alone = len(run.stages) == 1
    parts = [
        f'<div class="charts large">{large}</div>' if large else "",
        "" if alone else _own_table(stage),
        fold("<h3>How the training went</h3>", f'<div class="charts">{small}</div>', shown=not large)
        if small
        else "",
        _chains(stage, run, pairs, characters, faults),
        _eval_table(stage),
    ]
    head, inside = f"<h2>{escape(stage.name, 80)} <span>{_stage_facts(stage)}</span></h2>", "".join(parts)
    return head + inside if alone else fold(head + _gist(stage), inside)


def _gist(stage: StageData) -> str:
    """What came of a stage, in a few figures beside its name."""
    parts = []
    for key, words, kind in GIST:
        points = stage.curve(key) or [
            (row["step"], v) for row in stage.evals if (v := number(row.get(key))) is not None
        ]
        if len(points) > 1:
            parts.append(f"{words} {show(points[0][1], kind)} &rarr; {show(points[-1][1], kind)}")
    warned = len(warnings(stage))
    parts += [f"{warned} warning{'s' * (warned > 1)}"] if warned else []
    return f'<span class="gist">{"; ".join(parts)}</span>'


def _stage_facts(stage: StageData) -> str:
    seconds = sum(y for _, y in stage.curve("step_time"))
    kind = "of reinforcement learning" if stage.curve("reward") else ""
    spent = f"in {duration(seconds)}" if seconds else ""
    return " ".join(part for part in (f"{stage.last_step:,.0f} steps", kind, spent) if part)


def _own_table(stage: StageData) -> str:
    if len(stage.evals) < 2:
        return ""
    before, after = stage.evals[0], stage.evals[-1]
    return _table(compare(before, after), before, after)


def _eval_table(stage: StageData) -> str:
    """Every evaluation as a row, for those who want the figures and not the curves."""
    if not stage.evals:
        return ""
    merged: Json = {}
    for row in stage.evals:
        merged |= row
    columns = compare(merged, merged, every_k=True)
    head = "".join(f"<th>{escape(row.label, 80)}</th>" for row in columns)
    lines = "".join(
        f"<tr><td>{row['step']:.0f}</td><td>{escape(row.get('split', ''), 40)}</td>"
        + "".join(f"<td>{show(number(row.get(c.key)), c.kind)}</td>" for c in columns)
        + "</tr>"
        for row in stage.evals[:200]
    )
    return (
        "<details><summary>All evaluations as a table</summary>"
        f'<div class="scroll"><table><tr><th>step</th><th>split</th>{head}</tr>{lines}</table></div>'
        "</details>"
    )


def _chains(stage: StageData, run: RunData, most: int, characters: int, faults: list[str]) -> str:
    paths = rollout_files(stage.folder)
    left, right = (read_chains(path, faults) if path else None for path in paths)
    shown = pick_pairs(left, right, most)
    if not shown:
        return ""
    words = _word_pattern(run)
    drawn = [_pair(pair, words, characters) for pair in shown]
    shares = [
        f"{escape(c.name)}: {show(c.right / c.graded, 'rate')} of {c.graded:,} chains right"
        for c in (left, right)
        if c and c.graded
    ]
    first, rest = drawn[0], "".join(drawn[1:])
    more = fold(f"{len(drawn) - 1} more", rest) if rest else ""
    return (
        "<h3>What the model wrote</h3>"
        '<p class="small soft">Chosen by rule, not by taste: the first problems in the files that show each '
        f"case, so rare cases look more common than they are. {'; '.join(shares)}. The thinking is grey, the "
        f"answer bold, reflective words marked.</p>{first}{more}"
    )


def _word_pattern(run: RunData) -> re.Pattern[str] | None:
    """The words that the evaluations counted, to mark them in the chains."""
    rows = [as_dict(run.summary.get("after")), *(row for stage in run.stages for row in stage.evals)]
    words = dict.fromkeys(w for row in rows for w in as_dict(row.get("reflection_words")) if 0 < len(w) <= 30)
    parts = [
        rf"(?<![A-Za-z]){re.escape(w)}(?![A-Za-z])" if w.isascii() else re.escape(w) for w in list(words)[:60]
    ]
    return re.compile("|".join(parts), re.IGNORECASE) if parts else None


def _pair(pair: ChainPair, words: re.Pattern[str] | None, characters: int) -> str:
    record = pair.left or pair.right or {}
    gold = record.get("answer")
    answer = (
        f' <span class="soft">Expected: <b>{escape(gold, 200)}</b></span>' if gold not in (None, "") else ""
    )
    sides = (("Before", pair.left), ("After", pair.right))
    texts = "".join(_side(name, row, words, characters) for name, row in sides if row)
    return (
        f'<div class="pair"><p>{escape(record.get("question", ""), 1200)}{answer} '
        f'<span class="small soft">({escape(pair.why)})</span></p><div class="sides">{texts}</div></div>'
    )


def _side(name: str, row: Json, words: re.Pattern[str] | None, characters: int) -> str:
    right = is_right(row)
    verdict = {
        True: ("right", "&#10003; right"),
        False: ("wrong", "&#10007; wrong"),
        None: ("soft", "? not graded"),
    }
    look, label = verdict[right]
    tokens = number(row.get("tokens"))
    facts = [f"{tokens:,.0f} tokens" if tokens is not None else "", _ending(row)]
    scores = "".join(
        _score(key, as_dict(value)) for key, value in list(as_dict(row.get("scores")).items())[:20]
    )
    pieces = itertools.islice(segments(clean(row.get("text", "")).strip()), 60)
    body = "".join(_piece(kind, text, words, characters) for kind, text in pieces)
    return (
        f'<div class="side"><h4>{name} <span class="{look}">{label}</span> <span class="soft small">'
        f"{' · '.join(f for f in facts if f)}</span></h4>"
        f'<div class="text" tabindex="0">{body}</div><ul class="scores">{scores}</ul></div>'
    )


def _ending(row: Json) -> str:
    finish = row.get("finish")
    return (
        "cut at the length limit"
        if finish == "length"
        else ""
        if finish == "stop"
        else escape(finish or "", 40)
    )


def _piece(kind: str, text: str, words: re.Pattern[str] | None, characters: int) -> str:
    text = clean(text, characters)
    if kind == "tag" or words is None:
        return f'<span class="{kind}">{escape(text)}</span>'
    parts, at = [], 0
    for match in words.finditer(text):
        parts += [escape(text[at : match.start()]), f"<mark>{escape(match.group())}</mark>"]
        at = match.end()
    return f'<span class="{kind}">{"".join(parts)}{escape(text[at:])}</span>'


def _score(name: str, score: Json) -> str:
    value = number(score.get("value"))
    shown = "not gradable" if value is None else show(value)
    note = f" &ndash; {escape(score['note'], 300)}" if score.get("note") else ""
    return f"<li><b>{escape(name, 60)}</b> {shown}{note}</li>"


# ------------------------------------------------------------------------------------------ settings


def _settings(run: RunData) -> str:
    """Every setting of every stage by its name of today, with the machine and the versions."""
    stages = as_dict(run.config.get("stages")).items()
    tables = [(name, former.stored(as_dict(value))) for name, value in stages]
    tables += [(name, as_dict(run.config.get(name))) for name in ("machine", "versions")]
    inside = "".join(_setting_table(name, values) for name, values in tables if values)
    return f"<h2>Settings</h2>{inside}" if inside else ""


def _setting_table(name: str, values: Json) -> str:
    rows = list(_flat(values))
    lines = "".join(
        f"<tr><td>{escape(key, 200)}</td><td>{escape(text, MOST_OF_SETTING)}</td></tr>" for key, text in rows
    )
    table = f'<div class="scroll"><table class="left set">{lines}</table></div>'
    return fold(f"<h3>{escape(name, 80)}</h3>", table, gist=f"{len(rows)} settings")


def _flat(values: Json, before: str = "") -> Iterator[tuple[str, str]]:
    """(name, value) of each setting, those in groups as group.name."""
    for key, value in values.items():
        if isinstance(value, dict) and value and len(before) < 200:
            yield from _flat(value, f"{before}{key}.")
        else:
            yield (
                f"{before}{key}",
                value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str),
            )
