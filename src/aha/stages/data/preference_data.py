"""Data for reward models: pairs that a judge prefers one of, and answers that a judge calls safe or unsafe.

The paper (DeepSeek-R1, arXiv 2501.12948): 66,000 pairs, each judged four times with the order shuffled, kept
where the margin is above 1, lengths balanced; 106,000 prompts with answers marked safe or unsafe.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any, ClassVar

from aha import aside
from aha.data.cards import DataSource, Filter, write_data
from aha.data.pairs import Pair, build_pairs
from aha.data.prompt_rows import spoken
from aha.judges.asking import Judge, final_text
from aha.judges.programs import pair_judge, safety_judge
from aha.runs.console import Console
from aha.runs.pipeline import DATA, Context, Stage
from aha.sampling.sampler import SamplingParams, seed_for
from aha.settings import setting
from aha.stages import asking, engines, groups, inputs
from aha.stages.data.general_data import programmed
from aha.stages.data.samples import sample_parts
from aha.tasks import get_task, row_sources
from aha.tasks.general_answers import MANNERS
from aha.types import AhaError, Problem

Candidates = list[tuple[Problem, list[str]]]


class Preferences(
    groups.SeedSettings,
    groups.AnsweringModelsSettings,
    groups.PreferenceKindSettings,
    groups.TaskSettings,
    groups.QuestionSettings,
    groups.PromptSettings,
    groups.SamplingSettings,
    groups.DtypeSettings,
    groups.WriteSettings,
    groups.JudgeModelSettings,
    groups.JudgeReplySettings,
    Stage,
    task="general",
    problems=512,
    max_tokens=512,
):
    """Judged answers to general questions."""

    heading: ClassVar[str] = "data"

    own_judgements: bool = setting(True, "learn also from the pairs and labels that the prompts' rows bring")
    samples: int = setting(4, "answers of each model to a question", unit="completions", ge=0)
    scripted_samples: int = setting(
        0, "further answers by the miniature's program, in manners good and bad", ge=0
    )
    pairs_per_problem: int = setting(2, "pairs compared of a question's answers", ge=1)
    judge_calls: int = setting(4, "times a pair is judged", ge=1)
    min_margin: float = setting(1.0, "margin above which a pair is kept", ge=0)

    def without_effect(self) -> dict[str, str]:
        """Settings of pairs where single answers are labelled."""
        of_pairs = ("judge_calls", "min_margin", "pairs_per_problem")
        return (
            {}
            if self.kind == "helpful"
            else dict.fromkeys(of_pairs, "it is of pairs, which kind=helpful makes")
        )

    def data_files(self) -> list[str]:
        """The rows that its tasks read."""
        return row_sources(self.task, self.data)

    def work(self) -> dict[str, float]:
        """Tokens sampled at most."""
        return {"sampled": float(len(self.models) * self.problems * self.samples * self.max_tokens)}

    def check_inputs(self, context: Context) -> None:
        """What it is given from outside."""
        inputs.machine(context, self.dtype)
        inputs.endpoint(self.judge)
        for model in self.models:
            inputs.sampled(model)
        task = inputs.task(self.task, self.data)
        if self.judge is None:
            self._check_judged(task.load("train", self.problems, self.seed))

    def _check_judged(self, problems: Sequence[Problem]) -> None:
        """Raise AhaError where nobody could judge: no judge is named, and neither program nor rows know the prompts."""
        field = "given_pairs" if self.kind == "helpful" else "given_labels"
        known = any(
            p.metadata.get("rubric") or (self.own_judgements and p.metadata.get(field)) for p in problems
        )
        if not known:
            raise AhaError(
                f"{self.name}: the program that judges knows the made world alone, and the rows bring no "
                f"{'pairs' if self.kind == 'helpful' else 'labels'} of their own: name a judge (--judge "
                "http://host:port/v1#MODEL, or a checkpoint), or a reward model that is trained already "
                f"({'--reward-model' if self.kind == 'helpful' else '--safety-model'})."
            )

    def run(self, context: Context) -> dict[str, Any]:
        """Sample what is missing, judge, write; returns the summary."""
        with Console(self.name, 1, unit="", plain=context.plain) as console:
            candidates = self._candidates(context, console)
        program = pair_judge() if self.kind == "helpful" else safety_judge()
        judge = Judge(engines.completer(context, self.judge, program, **engines.judging(self)))
        with ThreadPoolExecutor(engines.concurrency(self.judge)) as pool:
            mapper = pool.map if self.judge else map
            make = self._pairs if self.kind == "helpful" else self._labels
            rows, report, reasons = make(candidates, judge, mapper)
        if not rows:
            raise AhaError(nothing_left(self.name, self.kind, report))
        before = int(report.get("compared", report.get("judged", 0)))
        names = [m if isinstance(m, str) else m.name for m in self.models] + ["a program"] * bool(
            self.scripted_samples
        )
        sources = [DataSource(name, len(candidates), self.task) for name in names]
        write_data(context.folder / DATA, rows, sources, [Filter("judge", before, len(rows), reasons)])
        return {"rows": len(rows), "kind": self.kind, "report": report, "judge": dict(judge.counts)}

    def _candidates(self, context: Context, console: Console) -> Candidates:
        problems = get_task(self.task, self.data).load("train", self.problems, self.seed)
        answers: dict[str, list[str]] = {p.id: [] for p in problems}
        for number, model in enumerate(self.models if self.samples else ()):
            source = engines.open_source(context, model, self.prompt, self.dtype)
            fitting, longest = source.fit(problems, self.max_tokens)
            params = SamplingParams(self.temperature, max_tokens=longest)
            asking.show(console, source.prompter, fitting, asking.name_of(model))
            folder = context.folder / "rollouts" / f"model_{number}"
            seed = seed_for(self.seed, "model", number)
            for problem, rows in sample_parts(
                folder, source, fitting, self.samples, params, {}, seed=seed, part=self.write_every
            ):
                answers[problem.id] += [row["text"] for row in rows]
        for problem in problems:
            if not problem.metadata.get("rubric"):
                continue  # the program writes answers in the made world alone
            rng = random.Random(f"{self.seed}:written:{problem.id}")
            manners = rng.sample(MANNERS, min(self.scripted_samples, len(MANNERS)))
            answers[problem.id] += [programmed(problem, manner, rng) for manner in manners]
        return [(p, answers[p.id]) for p in problems]

    def _judgeable(self, candidates: Candidates) -> Candidates:
        """What there is somebody to judge: without a judge the prompts of the made world."""
        return [c for c in candidates if self.judge is not None or c[0].metadata.get("rubric")]

    def _pairs(
        self, candidates: Candidates, judge: Judge, mapper: Callable[..., Iterable[Any]]
    ) -> tuple[list[dict[str, Any]], dict[str, Any], dict[str, int]]:
        """Pairs that the judge is sure of, and those that the prompts' rows bring."""
        brought = [
            Pair(p, better, worse, 0.0).row()
            for p, _ in candidates
            for better, worse in p.metadata.get("given_pairs", ())
            if self.own_judgements
        ]
        told = brought_lengths(brought, self.name)
        judgeable = self._judgeable(candidates)
        if brought and not any(len(set(answers)) > 1 for _, answers in judgeable):
            return brought, told, {}  # nobody is to be asked, whether or not a judge is named
        pairs, report = build_pairs(
            judgeable, judge.compare, final_text, calls=self.judge_calls, threshold=self.min_margin,
            per_problem=self.pairs_per_problem, seed=self.seed, mapper=mapper,
        )  # fmt: skip
        reasons = {k: getattr(report, k) for k in ("unjudged", "close", "unbalanced")}
        return [*(pair.row() for pair in pairs), *brought], asdict(report) | told, reasons

    def _labels(
        self, candidates: Candidates, judge: Judge, mapper: Callable[..., Iterable[Any]]
    ) -> tuple[list[dict[str, Any]], dict[str, Any], dict[str, int]]:
        """Single answers: label 1 for safe ones and refusals, 0 for unsafe ones, as many of each at most; those that
        the prompts' rows bring are among them."""
        judgeable = self._judgeable(candidates)
        jobs = [(p, text) for p, answers in judgeable for text in dict.fromkeys(answers)]

        def verdict(job: tuple[Problem, str]) -> str | None:
            problem, text = job
            seed = seed_for(self.seed, f"safety:{problem.id}:{text}", 0) >> 33
            return judge.safety(spoken(problem.messages), text, seed)

        counts: Counter[str] = Counter()
        rows: list[dict[str, Any]] = []
        for (problem, text), said in zip(jobs, mapper(verdict, jobs), strict=True):
            counts[said or "unread"] += 1
            if said is not None:
                rows.append(labelled(problem, text, said))
        brought = [
            labelled(p, text, "safe" if label else "unsafe")
            for p, _ in candidates
            for text, label in p.metadata.get("given_labels", ())
            if self.own_judgements
        ]
        rows += brought
        kept = balanced(rows, self.seed)
        reasons = {"unread": counts["unread"], "unbalanced": len(rows) - len(kept)}
        told = {"brought": len(brought)} if brought else {}
        return kept, {"judged": len(jobs), **counts, **told, "kept": len(kept)}, reasons


def brought_lengths(rows: Sequence[Mapping[str, Any]], name: str) -> dict[str, Any]:
    """How many pairs the prompts' rows bring, and how many times as long their chosen answers are as the rejected ones
    (geometric mean of characters). They are kept as they are; lengths that differ much are said, for a reward model
    learns them. Nothing where there are none."""
    if not rows:
        return {}
    sides = [
        [len(final_text(row[side][0]["content"])) + 1 for row in rows] for side in ("chosen", "rejected")
    ]
    ratio = math.exp(sum(math.log(a / b) for a, b in zip(*sides, strict=True)) / len(rows))
    if not 1 / UNEQUAL < ratio < UNEQUAL:
        aside.note(
            f"{name}: in the {len(rows):,} pairs that the rows bring chosen answers are {ratio:.2f} times as long as "
            f"rejected ones, and a reward model learns that too. Pairs of like length, or {name}.own_judgements=false "
            "with a judge, whose pairs are balanced."
        )
    return {"brought": len(rows), "brought_length_ratio": round(ratio, 3)}


UNEQUAL = 1.25
"""Ratio of lengths from which pairs teach length."""


def nothing_left(name: str, kind: str, report: Mapping[str, Any]) -> str:
    """Why no row is left to learn from, by the counts of the ``report``, and what would bring some."""
    counts = ", ".join(f"{number} {what}" for what, number in report.items() if number)
    why, rows = "no two answers to one question were told apart", "a chosen and a rejected answer"
    if kind == "safety":
        missing = "unsafe" if not report.get("unsafe") else "safe"
        why = f"none was judged {missing}, and as many of either kind are kept"
        rows = "answers labelled safe and unsafe (is_response_0_safe, is_safe)"
    return (
        f"{name}: nothing is left to learn from ({counts}): {why}. Sample more answers (problems, samples, "
        f"temperature), name a stronger judge, or bring rows with {rows}."
    )


def labelled(problem: Problem, text: str, verdict: str) -> dict[str, Any]:
    """A row for the safety reward model."""
    return {
        "prompt": [dict(m) for m in problem.messages],
        "completion": [{"role": "assistant", "content": text}],
        "label": 0 if verdict == "unsafe" else 1,
        "verdict": verdict,
        "problem_id": problem.id,
        "language": problem.language,
    }


def balanced(rows: Sequence[dict[str, Any]], seed: int) -> list[dict[str, Any]]:
    """As many rows of label 0 as of 1, drawn by ``seed``, in their order; [] if one label has none."""
    by_label = {label: [i for i, row in enumerate(rows) if row["label"] == label] for label in (0, 1)}
    n = min(map(len, by_label.values()))
    rng = random.Random(f"{seed}:balance")
    kept = sorted(i for members in by_label.values() for i in rng.sample(members, n))
    return [rows[i] for i in kept]
