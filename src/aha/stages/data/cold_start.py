"""Cold-start data: a few good chains of R1-Zero, rewritten so that people like to read them.

The paper (DeepSeek-R1, arXiv 2501.12948): several traces a prompt at temperature 1; the right and readable ones
are kept (no language mixing, no repetition), rewritten by a model into thinking and summary, and verified by
people. Here a teacher rewrites, behind an endpoint or as a program, and people find every chain in
``review.jsonl``: what they write into ``review_edited.jsonl`` beside it is read back in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from aha import chat
from aha.data.cards import DataSource, Filter, write_data
from aha.data.quotas import statistics, table
from aha.data.readable import ReadabilityLimits, check
from aha.data.sources import read_rows
from aha.files import append_jsonl, read_jsonl, write_jsonl
from aha.judges.asking import Teacher
from aha.judges.programs import teacher
from aha.rewards.accuracy import accuracy
from aha.runs.console import Console
from aha.runs.pipeline import DATA, Context
from aha.sampling.client.engine import in_parallel
from aha.sampling.sampler import SamplingParams, seed_for
from aha.settings import setting
from aha.stages import engines, groups, inputs
from aha.stages.data.answering import AnsweringStage
from aha.stages.data.mixing import rounds
from aha.stages.data.samples import RolloutRow, other_languages
from aha.stages.data.select import SelectedRows, conversation, none_kept, select
from aha.tasks import get_task
from aha.tasks.base import Task
from aha.types import AhaError, Outcome, Problem

REVIEW, EDITED = "review.jsonl", "review_edited.jsonl"
STATUSES = ("pending", "accept", "reject")


class ColdStart(
    AnsweringStage,
    groups.ChainFilterSettings,
    groups.TeacherSettings,
    problems=512,
    samples=8,
    max_per_problem=2,
):
    """Chains of a policy, selected, rewritten, reviewed."""

    edits: ClassVar[tuple[str, ...]] = (EDITED,)
    heading: ClassVar[str] = "filter"

    answer_format: Literal["tags", "boxed"] = setting("tags", "how the summary states the answer")
    review: Literal["optional", "required"] = setting(
        "optional", "required: wait until review_edited.jsonl is there"
    )

    def check_inputs(self, context: Context) -> None:
        """What it is given from outside."""
        inputs.endpoint(self.teacher)
        super().check_inputs(context)

    def run(self, context: Context) -> dict[str, Any]:
        """Sample, select, rewrite, review, write ``data.jsonl``; returns the summary.

        Raises AhaError where a review is required and not there yet, or where nothing is left.
        """
        task = get_task(self.task, self.data, self.test_data)
        problems = {p.id: p for p in task.load("train", self.problems, self.seed)}
        with Console(self.name, 1, unit="", plain=context.plain) as console:
            drafts = self._drafts(context, task, list(problems.values()), console)
        asked = Teacher(engines.completer(context, self.teacher, teacher()), self.answer_format)
        rewritten = self._rewritten(context, asked, problems, drafts.rows)
        queue, reasons = self._queue(task, problems, drafts.rows, rewritten)
        write_jsonl(context.folder / REVIEW, queue)
        reviewed, changes = self._reviewed(context.folder, queue)
        rows = []
        for item in reviewed:
            problem = problems[item["problem_id"]]
            reason = self._wrong(task, problem, item["text"]) if item["text"] != item["rewritten"] else ""
            if reason:
                reasons[f"edited, {reason}"] += 1
            else:
                words = len(item["text"].split())
                rows.append(conversation(problem, {"text": item["text"], "tokens": words}))
        if not rows:
            raise none_kept(drafts, self.max_tokens, reasons)
        self._write(context.folder, drafts, queue, rows, reasons)
        return {
            "rows": len(rows),
            "sampled": drafts.seen,
            "prompt": drafts.prompt,
            "dropped": dict(drafts.dropped),
            "rewriting": dict(reasons),
            "review": changes,
            "teacher": {"asked": len(rewritten), "unread": rewritten.count(None)},
        }

    # --- drafts and rewriting -------------------------------------------------------------------------------

    def _drafts(
        self, context: Context, task: Task, problems: Sequence[Problem], console: Console
    ) -> SelectedRows:
        """The right and readable ones of the policy's traces."""
        source = self.open_model(context)
        fitting, longest = source.fit(problems, self.max_tokens)
        params = SamplingParams(self.temperature, max_tokens=longest)
        selected = select(
            self.graded_answers(context, console, source, fitting, params, accuracy(task.verify)),
            ReadabilityLimits(self.max_other_languages, self.max_repetition),
            keep=self.max_per_problem,
        )
        selected.prompt = source.prompter.prompt.name
        return selected

    def _rewritten(
        self, context: Context, asked: Teacher, problems: Mapping[str, Problem], drafts: Sequence[RolloutRow]
    ) -> list[str | None]:
        """What the teacher made of each draft; None where its reply had not the form. Replies of earlier
        processes are read, not asked for again."""
        path = context.folder / "rewritten.jsonl"
        before = read_jsonl(path)
        write_jsonl(path, before)  # without a torn last line
        texts = {row["draft"]: row["text"] for row in before}
        missing = [i for i in range(len(drafts)) if i not in texts]

        def ask(i: int) -> str | None:
            problem = problems[drafts[i]["problem_id"]]
            question, draft = problem.messages[-1]["content"], drafts[i]["messages"][-1]["content"]
            seed = seed_for(self.seed, f"teacher:{problem.id}", i) >> 33
            return asked.rewrite(question, draft, problem.language, seed)

        jobs = [lambda i=i: ask(i) for i in missing]
        for index, text in in_parallel(jobs, engines.concurrency(self.teacher)):
            texts[missing[index]] = text
            append_jsonl(path, [{"draft": missing[index], "text": text}])
        write_jsonl(path, [{"draft": i, "text": texts[i]} for i in range(len(drafts))])  # not as they arrived
        return [texts[i] for i in range(len(drafts))]

    def _wrong(self, task: Task, problem: Problem, text: str) -> str:
        """Why a rewritten chain is not kept; "" for one that is right and readable."""
        outcome = task.verify(problem, text).outcome
        if outcome is not Outcome.CORRECT:
            return "could not be graded" if outcome is Outcome.UNKNOWN else "wrong after rewriting"
        parsed = chat.parse(text, require_answer=self.answer_format == "tags")
        if not parsed.well_formed:
            return "bad format"
        limits = ReadabilityLimits(self.max_other_languages, self.max_repetition)
        reasons = check(parsed.think or "", problem.language, other_languages, limits)
        return reasons[0].name if reasons else ""

    # --- review -----------------------------------------------------------------------------------------------

    def _queue(
        self,
        task: Task,
        problems: Mapping[str, Problem],
        drafts: Sequence[RolloutRow],
        rewritten: Sequence[str | None],
    ) -> tuple[list[RolloutRow], Counter[str]]:
        """What people are shown, and how many rewritten chains went for which reason."""
        queue: list[RolloutRow] = []
        reasons: Counter[str] = Counter()
        for number, (draft, text) in enumerate(zip(drafts, rewritten, strict=True)):
            problem = problems[draft["problem_id"]]
            reason = "no readable reply" if text is None else self._wrong(task, problem, text)
            if reason:
                reasons[reason] += 1
                continue
            queue.append(
                {
                    "id": f"{problem.id}#{number}", "status": "pending", "problem_id": problem.id,
                    "question": problem.messages[-1]["content"], "draft": draft["messages"][-1]["content"],
                    "rewritten": text, "text": text, "note": "",
                }
            )  # fmt: skip
        return queue, reasons

    def _reviewed(self, folder: Path, queue: Sequence[RolloutRow]) -> tuple[list[RolloutRow], dict[str, int]]:
        """The queue as people left it: rejected ones out, texts as edited. Raises AhaError for a line that cannot
        be read, an unknown id or status, and where a review is required and missing."""
        path = folder / EDITED
        if not path.exists():
            if self.review == "required":
                raise AhaError(
                    f"{len(queue)} chains wait for a review in {folder / REVIEW}. Copy it to {path}, set each status "
                    "to accept or reject, edit `text` where needed, and give the same command again."
                )
            return list(queue), {"waiting": len(queue)}
        edited = {str(row.get("id")): row for row in read_rows(str(path))}
        unknown = sorted(set(edited) - {item["id"] for item in queue})
        if unknown:
            raise AhaError(f"{path} has an id that is not in the queue: {unknown[0]}.")
        kept, counts = [], Counter[str]()
        for item in queue:
            row = edited.get(item["id"], item)
            status, text = row.get("status", "pending"), str(row.get("text", item["text"])).strip()
            if status not in STATUSES:
                raise AhaError(f"{path}, {item['id']}: status {status!r}. Known: {', '.join(STATUSES)}.")
            counts[status] += 1
            counts["edited"] += text != item["text"] and status != "reject"
            if status == "accept" or (status == "pending" and self.review == "optional"):
                kept.append(item | {"text": text, "status": status})
        return kept, dict(counts)

    def _write(
        self,
        folder: Path,
        drafts: SelectedRows,
        queue: Sequence[RolloutRow],
        rows: list[RolloutRow],
        reasons: Counter[str],
    ) -> None:
        name = self.model if isinstance(self.model, str) else self.model.name
        sources = [
            DataSource(f"{name} on {self.task}", drafts.seen, "samples"),
            DataSource(f"rewritten by {self.teacher or 'a program'}", len(queue)),
        ]
        filters = [
            Filter("right and readable", drafts.seen, len(drafts.rows), drafts.dropped),
            Filter("rewriting and review", len(drafts.rows), len(rows), reasons),
        ]
        lines = statistics(rows, lambda r: r["domain"], lambda r: r["tokens"], rounds)
        write_data(folder / DATA, rows, sources, filters, table(lines))
