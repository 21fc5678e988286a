"""Several checkpoints on several tasks, side by side: the paper's table of stages in miniature.

(DeepSeek-R1, arXiv 2501.12948, table 3: R1-Zero, Dev1, Dev2, Dev3 and R1 on all benchmarks.) A pair of checkpoint
and task is evaluated once and its figures are kept: a stage that is killed goes on with the next pair.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np

from aha import chat
from aha.data.readable import check
from aha.files import read_json, write_json, write_jsonl, write_text
from aha.rewards.accuracy import full_text
from aha.runs.console import Console
from aha.runs.pipeline import Context, Stage
from aha.sampling.sampler import SamplingParams, seed_for
from aha.settings import setting
from aha.stages import asking, engines, groups, inputs
from aha.stages.data.samples import other_languages
from aha.stages.evaluation.evaluate import evaluate, rollout_rows
from aha.stages.evaluation.figures import defined
from aha.tasks import deal_rows, get_task, row_sources, rubric
from aha.tasks.general import rubric_of
from aha.types import AhaError, Group

COLUMNS = {
    "pass@1": "pass@1", "maj": "cons@k", "pass@k": "pass@k", "format": "format", "language": "language",
    "readable": "readable", "mean_length": "length", "reflections": "reflections", "general": "general",
    "unsafe": "unsafe",
}  # fmt: skip
"""Figures of the table, in order, with the names it gives them."""
WHOLE = ("mean_length",)
PLAIN = ("reflections", "general")


class Compare(
    groups.SeedSettings,
    groups.TableSettings,
    groups.TaskRowSettings,
    groups.TestRowSettings,
    groups.QuestionSettings,
    groups.PromptSettings,
    groups.GreedySamplingSettings,
    groups.TopPSettings,
    groups.AnswerFormatSettings,
    groups.DtypeSettings,
    groups.DecodingSettings,
    Stage,
    problems=256,
    top_p=0.95,
):
    """The figures of every checkpoint on every task."""

    measures: ClassVar[bool] = True
    heading: ClassVar[str] = "data"

    tasks: tuple[str, ...] = setting(("countdown",), "what is asked, one table each")

    def data_files(self) -> list[str]:
        """The rows that its tasks read."""
        own = [source for task in self.tasks for source in row_sources(task)]
        return [*own, *(source for source in (self.data, self.test_data) if source)]

    def work(self) -> dict[str, float]:
        """Tokens sampled at most."""
        each = self.problems * self.samples * self.max_tokens
        return {"sampled": float(len(self.models) * len(self.tasks) * each)}

    def check_inputs(self, context: Context) -> None:
        """What it is given from outside."""
        inputs.machine(context, self.dtype)
        model_names(self)
        for model in self.models:
            inputs.sampled(model)
        for task, rows in deal_rows(self.tasks, self.data, self.test_data).items():
            inputs.task(task, *rows, splits=("test",))

    def run(self, context: Context) -> dict[str, Any]:
        """Evaluate what is missing; write ``compare.json`` and ``compare.md``; returns the figures."""
        names = model_names(self)
        figures: dict[str, dict[str, Any]] = {task: {} for task in self.tasks}
        with Console(self.name, len(names) * len(self.tasks), plain=context.plain) as console:
            for name, model in zip(names, self.models, strict=True):
                source = None
                for task in self.tasks:
                    path = context.folder / "figures" / f"{slug(name)}.{slug(task)}.json"
                    if not path.exists():
                        source = source or engines.open_source(
                            context, model, self.prompt, self.dtype, self.max_num_seqs
                        )
                        write_json(path, self._figures(context.folder, source, name, task, console))
                    figures[task][name] = read_json(path)
                    console.note(f"{name} on {task}: {_told(figures[task][name])}")
        write_json(context.folder / "compare.json", figures)
        write_text(context.folder / "compare.md", markdown(figures))
        return {"figures": figures, "problems": self.problems, "samples": self.samples}

    def _figures(
        self, folder: Path, source: engines.AnswerSource, name: str, task_name: str, console: Console
    ) -> dict[str, Any]:
        task = get_task(task_name, *deal_rows(self.tasks, self.data, self.test_data)[task_name])
        problems = task.load("test", self.problems, 0)
        problems, longest = source.fit(problems, self.max_tokens)
        asking.show(console, source.prompter, problems, name)
        tick = console.counter(len(problems) * self.samples * longest, f"{name} on {task_name}")
        result = evaluate(
            source.engine, source.prompter, task, problems, self.samples,
            SamplingParams(self.temperature, self.top_p, max_tokens=longest),
            seed=seed_for(self.seed, f"compare:{task_name}", 0), strict=self.require_format, progress=tick,
        )  # fmt: skip
        write_jsonl(
            folder / "rollouts" / f"{slug(name)}.{slug(task_name)}.jsonl", rollout_rows(0, result.groups)
        )
        extra = {"prompt": source.prompter.prompt.name, **style(result.groups)}
        figures = graded(result.figures) | extra
        return json.loads(json.dumps(figures, default=float))


def graded(figures: Mapping[str, Any]) -> dict[str, Any]:
    """The figures without those of right answers where no rule could grade a single one (prompts of one's own)."""
    if not np.isnan(figures["pass@1"]):
        return defined(figures)
    return {k: v for k, v in figures.items() if not k.startswith(("pass@", "maj@", "lenient")) and k != "by"}


def _told(figures: Mapping[str, Any]) -> str:
    known = "pass@1" in figures
    return (
        f"pass@1 {figures['pass@1']:.1%}" if known else f"no rule grades it; format {figures['format']:.1%}"
    )


class ComparedModels(Protocol):
    """A stage of several checkpoints, each with a file of its own."""

    name: str
    models: tuple[str | Stage, ...]
    names: tuple[str, ...]


def model_names(stage: ComparedModels) -> tuple[str, ...]:
    """What a table calls each of the stage's models. Raises AhaError for as many names as there are no models, and for
    names that would share a file."""
    names = stage.names or tuple(m if isinstance(m, str) else m.name for m in stage.models)
    if len(names) != len(stage.models):
        raise AhaError(f"{stage.name}: {len(names)} names for {len(stage.models)} models: give one for each.")
    files: dict[str, str] = {}
    for name in names:
        if slug(name) in files:
            raise AhaError(
                f"{stage.name}: '{files[slug(name)]}' and '{name}' would share a file: give them other `names`."
            )
        files[slug(name)] = name
    return names


def slug(name: str) -> str:
    """A name as part of a file's."""
    return "".join(c if c.isalnum() or c in "-_" else "_" for c in name)


def style(groups: Sequence[Group]) -> dict[str, Any]:
    """Figures beyond correctness: ``language`` (share of a chain's words in the question's language) and
    ``readable`` (share of chains that curation would keep); of questions with a rubric ``general`` (mean
    helpfulness) and ``unsafe`` (share)."""
    consistent, readable, helpful, unsafe = [], [], [], []
    for group in groups:
        language = group.problem.language
        for member in group.members:
            text = full_text(member.rollout)
            chain = chat.parse(text).think or text
            consistent.append(1 - other_languages(chain, language))
            readable.append(not check(chain, language, other_languages))
            if group.problem.metadata.get("rubric"):
                score = rubric.score(rubric_of(group.problem), text)
                helpful.append(score.helpful)
                unsafe.append(not score.safe)
    shares = {"language": consistent, "readable": readable, "general": helpful, "unsafe": unsafe}
    return {key: float(np.mean(values)) for key, values in shares.items() if values}


def row_of(figures: Mapping[str, Any]) -> dict[str, float]:
    """The table's columns out of an evaluation's figures."""
    n = int(figures["n_samples"])
    plain = {key: figures[key] for key in COLUMNS if key in figures}
    at_k = {"maj": figures.get(f"maj@{n}"), "pass@k": figures.get(f"pass@{n}")}
    return plain | {key: value for key, value in at_k.items() if value is not None}


def markdown(by_task: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """One table a task, checkpoints as rows; pass@1 with its interval over problems."""
    lines = ["# Checkpoints compared", ""]
    for task, models in by_task.items():
        rows = {name: row_of(figures) for name, figures in models.items()}
        shown = [key for key in COLUMNS if any(key in row for row in rows.values())]
        first = next(iter(models.values()))
        lines += [
            f"## {task}", "", f"{first['n_problems']} problems, k = {first['n_samples']}", "",
            "| | " + " | ".join(COLUMNS[key] for key in shown) + " |", "|---" * (len(shown) + 1) + "|",
        ]  # fmt: skip
        for name, row in rows.items():
            cells = [_cell(key, row.get(key), models[name]) for key in shown]
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
        lines.append("")
    return "\n".join(lines)


def _cell(key: str, value: float | None, figures: Mapping[str, Any]) -> str:
    if value is None:
        return "-"
    if key in WHOLE:
        return f"{value:.0f}"
    if key in PLAIN:
        return f"{value:.2f}"
    if key == "pass@1":
        low, high = figures["pass@1_ci"]
        return f"{value:.1%} [{low:.1%}, {high:.1%}]"
    return f"{value:.1%}"
