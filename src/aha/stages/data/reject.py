"""Rejection sampling: many answers of a checkpoint, of which the right and readable ones become training data.

The paper (DeepSeek-R1, arXiv 2501.12948, the 800k samples): several samples a prompt from the checkpoint of
reasoning RL, only right ones kept; some judged against the reference answer by a model; chains of mixed
languages, long paragraphs and code blocks dropped; 600k of these beside 200k of other data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from aha.data.cards import DataSource, Filter, write_data
from aha.data.prompt_rows import spoken
from aha.data.quotas import parse_ratios, statistics, table, take
from aha.data.readable import ReadabilityLimits
from aha.files import write_json
from aha.judges.asking import Judge, final_text
from aha.judges.programs import correctness_judge
from aha.rewards.accuracy import accuracy, full_text
from aha.runs.console import Console
from aha.runs.pipeline import DATA, Context, Stage
from aha.sampling.sampler import SamplingParams, seed_for
from aha.settings import setting
from aha.stages import engines, groups, inputs
from aha.stages.data.answering import AnsweringStage
from aha.stages.data.mixing import OtherRows, by_quota, check_ratios, read_others, rounds
from aha.stages.data.samples import RolloutRow
from aha.stages.data.select import (
    VERDICTS,
    SelectedRows,
    clean,
    evaluation_texts,
    none_kept,
    row_text,
    select,
)
from aha.stages.supervised.scorers import open_scorer
from aha.tasks import get_task
from aha.types import AhaError, Problem, Reward, Rollout, Score


class Reject(
    AnsweringStage,
    groups.TopPSettings,
    groups.ChainFilterSettings,
    groups.StatedAnswerSettings,
    groups.JudgeModelSettings,
    groups.JudgeReplySettings,
):
    """Training data from a checkpoint's own right answers, mixed with other data."""

    heading: ClassVar[str] = "filter"

    judged_tasks: tuple[str, ...] = setting((), "tasks judged against the reference by a model")
    judge_on: Literal["all", "not_right"] = setting(
        "all", "which of their answers are judged: all, or those that the rule does not find right"
    )
    best_by: str | Stage | None = setting(
        None, "reward model that orders a question's answers, so that the best are kept (best-of-n)"
    )
    pass_rate_range: tuple[float, float] = setting(
        (0.0, 1.0), "share of a question's answers that are right: above the first, up to the second"
    )
    max_paragraph_words: int = setting(400, "words without a line end; above: dropped", unit="words", ge=1)
    dedup_threshold: float | None = setting(0.8, "similarity of copies; none: equal answers only", gt=0, le=1)
    mix_with: tuple[str | Stage, ...] = setting((), "other conversations: files, stages")
    domain_ratios: str = setting(
        "",
        "domains in proportion; reasoning and general = all of theirs that are not named: "
        "reasoning:3,general:1, or reasoning:6,writing:1,general:1",
    )
    max_rows: int | None = setting(None, "at most so many rows together, by the ratios", ge=1)
    decontaminate_tasks: tuple[str, ...] = setting((), "tasks whose questions may not occur; none: `task`")
    decontaminate_problems: int = setting(
        512, "of each of their splits; 0 = no decontamination", unit="questions", ge=0
    )
    decontaminate_ngram: int = setting(
        10, "words that a row may not share with an evaluation question", unit="words", ge=2
    )

    def without_effect(self) -> dict[str, str]:
        """Settings of a judge where no task is judged, and of a decontamination that is switched off."""
        judge = ("judge", "judge_on", *groups.JudgeReplySettings.model_fields)
        idle = {} if self.judged_tasks else dict.fromkeys(judge, f"set {self.name}.judged_tasks too")
        if not self.decontaminate_problems:
            names = ("decontaminate_tasks", "decontaminate_ngram")
            idle |= dict.fromkeys(names, f"{self.name}.decontaminate_problems is 0")
        return idle

    def data_files(self) -> list[str]:
        """The rows that its tasks read, and the files among the other sources."""
        return [*super().data_files(), *(s for s in self.mix_with if isinstance(s, str))]

    def check_inputs(self, context: Context) -> None:
        """What it is given from outside."""
        inputs.endpoint(self.judge)
        if self.best_by is not None:
            inputs.reward_model(self.best_by)
        low, high = self.pass_rate_range
        if not 0 <= low <= high <= 1:
            raise AhaError(
                f"{self.name}.pass_rate_range={[low, high]}: give two shares from 0 to 1, the lower first."
            )
        if self.domain_ratios:
            parse_ratios(self.domain_ratios)
        inputs.rows(self.mix_with)
        super().check_inputs(context)

    def run(self, context: Context) -> dict[str, Any]:
        """Sample what is missing, select, write ``data.jsonl`` and its card; returns the summary."""
        complete = engines.completer(context, self.judge, correctness_judge(), **engines.judging(self))
        judge = Judge(complete, engines.concurrency(self.judge))
        others = [
            read_others(o if isinstance(o, str) else o.name, context.data_path(o)) for o in self.mix_with
        ]
        with Console(self.name, 1, unit="", plain=context.plain) as console:
            selected, tokenizer = self._selected(context, judge, console, others)
            rows, filters = (
                list(selected.rows),
                [Filter("selection", selected.seen, len(selected.rows), selected.dropped)],
            )
            if not rows:
                raise none_kept(selected, self.max_tokens)
            rows += [row for other in others for row in other.rows(tokenizer)]
            filters += [o.filter for o in others if o.dropped]
            rows, filters, short = self._finished(rows, filters)
            for lack in short:
                console.warn(f"The mix by {self.domain_ratios} is short: {lack}.")
        lines = statistics(rows, lambda r: r["domain"], lambda r: r["tokens"], rounds)
        name = self.model if isinstance(self.model, str) else self.model.name
        sources = [DataSource(f"{name} on {self.task}", len(selected.rows), "samples")]
        sources += [DataSource(o.name, len(o.records), ", ".join(o.counts)) for o in others]
        write_data(context.folder / DATA, rows, sources, filters, table(lines))
        summary = {
            "rows": len(rows),
            "sampled": selected.seen,
            "prompt": selected.prompt,
            "dropped": dict(selected.dropped),
            "solved_problems": selected.solved,
            "taken_away": {f.name: f.before - f.after for f in filters[1:]},
            "short": short,
            "domains": {
                line.domain: {
                    "samples": line.samples, "mean_tokens": round(line.mean_tokens, 1),
                    "mean_rounds": round(line.mean_rounds, 2),
                }
                for line in lines
            },
            "judge_controls": selected.controls,
            "judge": dict(selected.judged) | {k: v for k, v in judge.counts.items() if k.startswith("rule/")},
        }  # fmt: skip
        write_json(context.folder / "statistics.json", summary)
        return summary

    # --- sampling and selecting -----------------------------------------------------------------------------

    def _selected(
        self, context: Context, judge: Judge, console: Console, others: Sequence[OtherRows]
    ) -> tuple[SelectedRows, Any]:
        """What is kept of the samples, and the model's tokenizer (None behind an endpoint)."""
        task = get_task(self.task, self.data, self.test_data)
        source = self.open_model(context)
        problems = task.load("train", self.problems, self.seed)
        if self.domain_ratios:
            check_ratios(self.domain_ratios, others, {p.task for p in problems})
        problems, longest = source.fit(problems, self.max_tokens)
        params = SamplingParams(self.temperature, self.top_p, max_tokens=longest)
        judged, everything = frozenset(self.judged_tasks), self.judge_on == "all"
        checked: dict[str, float] = {}
        if judged and not everything:
            checked = controls(judge, [p for p in problems if p.task in judged])
            if not sound(checked):
                right, wrong = checked["right_accepted"], checked["wrong_accepted"]
                console.warn(
                    f"The judge {self.judge} is not asked, and the rule stands: of answers whose truth is known it "
                    f"gives {checked['read']:.0%} a verdict that can be read, and calls {right:.0%} of the right and "
                    f"{wrong:.0%} of the wrong ones correct. Name a better one."
                )
                judged = frozenset()
        grade = judged_accuracy(accuracy(task.verify), judge, judged, self.seed, everything)
        sampled = self.graded_answers(context, console, source, problems, params, grade)
        limits = ReadabilityLimits(
            self.max_other_languages, self.max_repetition, paragraph=self.max_paragraph_words
        )
        scorer = open_scorer(self.best_by, context, "helpful", "raw")
        selected = select(
            sampled,
            limits,
            keep=self.max_per_problem,
            require_answer=self.require_answer,
            near=self.dedup_threshold,
            score=None if scorer is None else scorer.scores,
            rates=self.pass_rate_range,
        )
        selected.prompt, selected.controls = source.prompter.prompt.name, checked
        return selected, source.tokenizer

    def _finished(
        self, rows: list[RolloutRow], filters: list[Filter]
    ) -> tuple[list[RolloutRow], list[Filter], list[str]]:
        """Equal rows and contaminated ones out, then domains by their quotas; and which of these were short."""
        short: list[str] = []
        before = len(rows)
        seen: set[str] = set()
        rows = [r for r in rows if not (row_text(r) in seen or seen.add(row_text(r)))]
        filters = [*filters, Filter("equal rows", before, len(rows))]
        if self.decontaminate_problems:
            texts = evaluation_texts(
                self.decontaminate_tasks or (self.task,),
                self.data,
                self.test_data,
                self.decontaminate_problems,
            )
            kept, reasons = clean(rows, texts, self.decontaminate_ngram)
            filters.append(
                Filter(f"{self.decontaminate_ngram}-grams of evaluation sets", len(rows), len(kept), reasons)
            )
            rows = kept
        if self.domain_ratios:
            mixed = by_quota(rows, self.domain_ratios, self.max_rows, self.seed)
            filters.append(Filter(f"quotas {self.domain_ratios}", len(rows), len(mixed.rows), mixed.over))
            rows, short = mixed.rows, mixed.short
        elif self.max_rows is not None and len(rows) > self.max_rows:
            kept = take(rows, lambda r: "all", {"all": self.max_rows}, self.seed)
            filters.append(Filter("rows", len(rows), len(kept)))
            rows = kept
        return rows, filters, short


MOST_WRONG = 0.2
"""Of answers that are known to be wrong, the share that a judge may call correct and still be asked."""
CONTROLS = 8


def controls(judge: Judge, problems: Sequence[Problem]) -> dict[str, float]:
    """How a judge does where the truth is known: ``read``, the share of verdicts that can be read; among these the
    shares of right answers (the reference itself) and of wrong ones (another problem's) that it calls correct."""
    texts = [(p, p.answer) for p in problems if isinstance(p.answer, str)]
    pairs = zip(texts, [*texts[1:], *texts[:1]], strict=True)
    cases = [(p, b, False) for (p, a), (_, b) in pairs if a != b][:CONTROLS]
    cases += [(p, a, True) for p, a in texts[:CONTROLS]]
    said = judge.each(
        lambda c: judge.correct(spoken(c[0].messages), str(c[0].answer), f"The answer is {c[1]}."), cases
    )
    known = [
        (right, verdict) for (_, _, right), verdict in zip(cases, said, strict=True) if verdict is not None
    ]

    def accepted(expected: bool) -> float:
        verdicts = [verdict for right, verdict in known if right is expected]
        return sum(verdicts) / max(1, len(verdicts))

    return {
        "read": len(known) / max(1, len(cases)), "right_accepted": accepted(True), "wrong_accepted": accepted(False)
    }  # fmt: skip


def sound(checked: Mapping[str, float]) -> bool:
    """Whether a judge may overrule a rule: it is understood, finds right answers right, and wrong ones wrong."""
    return (
        checked["read"] >= 0.5
        and checked["right_accepted"] >= 0.5
        and checked["wrong_accepted"] <= MOST_WRONG
    )


def judged_accuracy(
    rule: Reward, judge: Judge, judged: frozenset[str], seed: int, everything: bool = True
) -> Reward:
    """``rule``, but problems of the ``judged`` tasks by what the judge says of the answer beside the reference; without
    ``everything`` only where the rule does not find it right, and an answer that is not there is not judged.

    A verdict that cannot be read is no score. How often judge and rule differ is counted among the judge's counts.
    Raises AhaError for a judged problem without a reference.
    """

    def grade(problem: Problem, rollouts: Sequence[Rollout]) -> Sequence[Score]:
        if problem.task not in judged:
            return rule(problem, rollouts)
        if not isinstance(problem.answer, str):
            raise AhaError(
                f"Problem {problem.id} has no reference answer to judge by: leave its task to the rule."
            )
        question, answer = spoken(problem.messages), problem.answer
        by_rule = None if everything else rule(problem, rollouts)

        def one(number: int) -> Score:
            text, said = full_text(rollouts[number]), None if by_rule is None else by_rule[number]
            if said is not None and (said.value == 1 or not final_text(text).strip()):
                return said
            call = seed_for(seed, f"judge:{problem.id}", number) >> 33
            verdict = judge.correct(question, answer, text, call)
            judge.against_rule(verdict, None if said is None else said.value)
            return Score(None if verdict is None else float(verdict), VERDICTS[verdict])

        return judge.each(one, range(len(rollouts)))

    return grade
