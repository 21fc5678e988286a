"""The part of a report that a run of the whole recipe has: checkpoints compared, claims, the safety tax, curves of
all stages, the graph with its hashes, data, reward models, proxy and truth, and chains of the same problems side by
side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

from aha.runs.charts import Chart, FigureKind, Series, at_k, draw, duration, escape, interval, number, show
from aha.runs.claims.rules import BoundKind
from aha.runs.claims.table import value
from aha.runs.report import lineage as report_lineage
from aha.runs.report import safety_tax
from aha.runs.report.data import Json, RunData, StageData, as_dict
from aha.runs.report.recipe_data import StageNode, Whole, read_whole, same_problems, share_interval

DrawChain = Callable[[str, Json], str]
"""Draws one chain under a name."""
COLUMNS: tuple[tuple[str, str, FigureKind], ...] = (
    ("pass@1", "pass@1", "rate"), ("maj@*", "cons@k", "rate"), ("pass@*", "pass@k", "rate"),
    ("format", "format", "rate"), ("language", "language", "rate"), ("readable", "readable", "rate"),
    ("mean_length", "length", "number"), ("reflections", "reflections", "number"),
    ("general", "helpfulness", "number"), ("unsafe", "unsafe", "rate"),
)  # fmt: skip
CURVES: tuple[tuple[str, str, str, FigureKind], ...] = (
    ("Accuracy over steps", "Share of right answers in training; general questions have none by rule.",
     "rewards/accuracy/mean", "rate"),
    ("Response length over steps", "Mean tokens per response in training.", "completions/mean_length", "number"),
)  # fmt: skip
PROXY, TRUE = "preference/proxy", "preference/true"
PER_CHART = 5
OPEN = ("claims", "compared", "safety-tax", "curves")
"""Parts that stand open; the others unfold."""
MOST_CHARACTERS = 1500  # of a chain where many stand side by side


def sections(run: RunData, faults: list[str], problems: int, side: DrawChain) -> list[tuple[str, str, str]]:
    """(anchor, title, HTML) of each part; none for a run that compares no checkpoints. ``problems``: how many
    of each task are shown with everybody's answers."""
    whole = read_whole(run, faults)
    if whole is None:
        return []
    listed = (
        ("claims", "Claims of the paper", _claims(whole.claims)),
        ("compared", "Checkpoints compared", _compared(whole)),
        ("safety-tax", "The safety tax", safety_tax.drawn(run, whole, faults)),
        ("curves", "Reinforcement learning, stage by stage", _curves(run.stages)),
        ("lineage", "Lineage", report_lineage.graph(whole.nodes) + report_lineage.table(whole.nodes)),
        ("data", "Data", "".join(map(_data, whole.nodes))),
        ("reward-models", "Reward models", _reward_models(whole.nodes) + _proxies(run.stages)),
        ("chains", "The same problems, checkpoint by checkpoint", _chains(whole, problems, faults, side)),
    )
    return [(name, title, text) for name, title, text in listed if text]


def tasks(run: RunData) -> dict[str, dict[str, Json]]:
    """Of each task each checkpoint's figures, in the order of the comparison."""
    whole = read_whole(run, [])
    return {task: dict(models) for task, models in whole.tasks.items()} if whole else {}


def spent(run: RunData) -> str:
    """How many stages finished, and in what time; "" where none did."""
    whole = read_whole(run, [])
    done = [node for node in whole.nodes if node.finished] if whole else []
    seconds = sum(node.stage.seconds for node in done)
    return f"{len(done)} stages in <b>{duration(seconds)}</b>" if done else ""


# --- tables ------------------------------------------------------------------------------------------------


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], look: str = "") -> str:
    """A table of cells that are HTML already."""
    top = "".join(f"<th>{cell}</th>" for cell in head)
    lines = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    kind = f' class="{look}"' if look else ""
    return f'<div class="scroll"><table{kind}><tr>{top}</tr>{lines}</table></div>'


def _compared(whole: Whole) -> str:
    """The paper's table 3: one table a task, checkpoints as rows, intervals over problems."""
    parts = ['<p class="small soft">Brackets are intervals over problems; k is the number of samples.</p>']
    for task, models in whole.tasks.items():
        shown = [column for column in COLUMNS if any(_key(column[0], f) in f for f in models.values())]
        rows = [
            [f"<b>{escape(name, 60)}</b>", *(_figure(figures, *column) for column in shown)]
            for name, figures in models.items()
        ]
        first = next(iter(models.values()), {})
        size, k = number(first.get("n_problems")), number(first.get("n_samples"))
        facts = f"{size or 0:,.0f} problems, {k or 0:.0f} samples each"
        parts.append(f'<h3>{escape(task, 80)} <span class="soft small">{facts}</span></h3>')
        parts.append(_table(["", *(escape(label) for _, label, _ in shown)], rows))
    return "".join(parts)


def _key(key: str, figures: Json) -> str:
    return (at_k(figures, key[:-1]) or [""])[-1] if key.endswith("*") else key


def _figure(figures: Json, key: str, label: str, kind: FigureKind) -> str:
    key = _key(key, figures)
    bounds = interval(figures, key)
    ci = f' <span class="ci">[{show(bounds[0], kind)}, {show(bounds[1], kind)}]</span>' if bounds else ""
    return f"{show(number(figures.get(key)), kind)}{ci}"


def _claims(claims: Json) -> str:
    """Claims with their verdicts, the figures of each to unfold."""
    objects = _objects(claims.get("claims"))
    if not objects:
        return ""
    runs = _objects(claims.get("runs"))
    names = ", ".join(f"{run.get('folder')} (seed {run.get('seed')})" for run in runs)
    rows = []
    for claim in objects:
        figures = _objects(claim.get("figures"))
        inside = _table(
            [
                "",
                *(f"seed {escape(run.get('seed'), 20)}" for run in runs),
                "mean",
                "interval",
                "demanded",
                "verdict",
            ],
            [_claim_row(figure) for figure in figures],
        )
        title = f"{escape(claim.get('title'), 300)}<details><summary>figures</summary>{inside}</details>"
        rows.append((escape(claim.get("key"), 10), title, f"<b>{escape(claim.get('verdict'), 60)}</b>"))
    rule = f'<p class="small soft">{escape(claims.get("rule"), 1500)}</p>'
    notes = "".join(f"<li>{escape(note, 400)}</li>" for note in _list(claims.get("notes")))
    return f"<p>Over {escape(names, 600)}.</p>{_table(['', 'claim', 'verdict'], rows, 'left')}{rule}" + (
        f'<div class="warn"><ul>{notes}</ul></div>' if notes else ""
    )


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _objects(value: object) -> list[Json]:
    """The objects of a list that a damaged file may hold anything in the place of."""
    return [entry for item in _list(value) if (entry := as_dict(item))]


def _claim_row(figure: Json) -> list[str]:
    kind = cast("BoundKind", str(figure.get("kind", "number")))

    def words(figure: object) -> str:
        return escape(value(number(figure), kind), 60)

    demand, bounds = as_dict(figure.get("demand")), _list(figure.get("interval"))
    asked = f"{escape(demand.get('side'), 10)} {words(demand.get('bound'))}" if demand else ""
    between = f"{words(bounds[0])} to {words(bounds[1])}" if len(bounds) == 2 else "-"
    note = f" ({escape(figure['note'], 200)})" if figure.get("note") else ""
    return [
        escape(figure.get("text"), 200), *map(words, _list(figure.get("values"))),
        words(figure.get("mean")), between, asked, f"{escape(figure.get('verdict'), 60)}{note}",
    ]  # fmt: skip


def _data(node: StageNode) -> str:
    """A data set by its card: sources, what filters took away and why, statistics by domain."""
    if not node.card:
        return ""
    lists = [
        f"<p><b>{name}</b></p><ul>{''.join(f'<li>{escape(line[2:], 500)}</li>' for line in node.card[name][:30])}</ul>"
        for name in ("Sources", "Filters")
        if node.card.get(name)
    ]
    return f"<h3>{escape(node.stage.name, 60)}</h3>{_statistics(node.card.get('Statistics', ()))}{''.join(lists)}"


def _statistics(lines: Sequence[str]) -> str:
    """The card's table of domains; its columns are apart by two spaces at least."""
    cells = [[escape(cell, 80) for cell in line.split("  ") if cell.strip()] for line in lines[:60]]
    return _table(cells[0], cells[1:]) if len(cells) > 1 else ""


def _reward_models(nodes: Sequence[StageNode]) -> str:
    rows = []
    for node in nodes:
        said = node.stage.summary
        accuracy, n = number(said.get("accuracy")), number(said.get("held_out"))
        if node.kind != "reward model" or accuracy is None:
            continue
        bounds = share_interval(accuracy, n or 0)
        ci = (
            f' <span class="ci">[{show(bounds[0], "rate")}, {show(bounds[1], "rate")}]</span>'
            if bounds
            else ""
        )
        rows.append(
            [f"<b>{escape(node.stage.name, 60)}</b>", escape(said.get("kind"), 40),
             show(number(said.get("rows"))), show(n), f"{show(accuracy, 'rate')}{ci}"]
        )  # fmt: skip
    head = ("", "kind", "rows trained on", "rows held out", "accuracy on held-out rows")
    return _table(head, rows) if rows else ""


# --- curves ------------------------------------------------------------------------------------------------


def _curves(stages: Sequence[StageData]) -> str:
    """The paper's figures 1 and 3 with a curve for each stage of reinforcement learning."""
    trained = [stage for stage in stages if stage.curve("reward")]
    charts = []
    for at in range(0, len(trained), PER_CHART):
        some = trained[at : at + PER_CHART]
        for title, note, key, kind in CURVES:
            series = [Series(stage.name, stage.curve(key), color) for color, stage in enumerate(some, 1)]
            charts.append(Chart(title, note, series, kind, top=1.0 if kind == "rate" else None))
    drawn = "".join(draw(chart) for chart in charts)
    return f'<div class="charts large">{drawn}</div>' if drawn else ""


def _proxies(stages: Sequence[StageData]) -> str:
    """The reward model's score beside the true rubric: curves on the validation split, marks on the test split."""
    drawn = "".join(draw(_proxy(stage)) for stage in stages if any(PROXY in row for row in stage.evals))
    if not drawn:
        return ""
    words = (
        "Where the reward model's score rises and the true rubric falls, the reward model is exploited (the paper's "
        "figure 6). Both lie between 0 and 1; hollow marks are the test split, before and after."
    )
    return f'<h3>Proxy and truth</h3><p class="small soft">{words}</p><div class="charts large">{drawn}</div>'


def _proxy(stage: StageData) -> Chart:
    series = []
    for key, name, color in ((PROXY, "reward model", 5), (TRUE, "true rubric", 3)):
        for split in ("validation", "test"):
            rows = [
                row for row in stage.evals if row.get("split") == split and number(row.get(key)) is not None
            ]
            points = [(row["step"], number(row[key]) or 0.0) for row in rows]
            series.append(Series(f"{name}, {split}", points, color, marks=True, line=split == "validation"))
    return Chart(f"{stage.name}: proxy and truth", "General questions, mean score.", series, top=1.0)


# --- chains ------------------------------------------------------------------------------------------------


def _chains(whole: Whole, problems: int, faults: list[str], side: DrawChain) -> str:
    parts = []
    for task in whole.tasks:
        for why, answers in same_problems(whole, task, problems, faults):
            first = next(iter(answers.values()))
            gold = first.get("answer")
            answer = f' <span class="soft">Expected: <b>{escape(gold, 200)}</b></span>' if gold else ""
            texts = "".join(side(name, row) for name, row in answers.items())
            parts.append(
                f'<div class="pair"><p>{escape(first.get("question", ""), 1200)}{answer} <span class="small soft">'
                f'({escape(task, 60)}: {escape(why)})</span></p><div class="sides many">{texts}</div></div>'
            )
    if not parts:
        return ""
    return (
        '<p class="small soft">Everybody\'s first answer to the same problems, chosen by rule: the first problem of '
        f"each case in the files.</p>{''.join(parts)}"
    )


def style() -> str:
    """What the parts need beside the page's own style sheet."""
    return f"<style>{report_lineage.STYLE}</style>"
