"""Data that no rule grades: answers to general questions by a teacher, the 200k beside the paper's 600k.

The teacher is a model behind an endpoint, or in the miniature the program that knows the closed world. Every
answer starts with a short thinking, since the format reward of later stages asks for one.
"""

from __future__ import annotations

import logging
import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from aha.chat import ANSWER, END_ANSWER, END_THINK, THINK, parse
from aha.data.cards import DataSource, Filter, write_data
from aha.data.prompt_rows import spoken
from aha.data.quotas import statistics, table
from aha.files import append_jsonl, read_jsonl, write_jsonl
from aha.judges.asking import Judge, own
from aha.runs.pipeline import DATA, Context, Stage
from aha.sampling.client.engine import chat, in_parallel
from aha.sampling.client.refusals import RefusedRequestError
from aha.sampling.sampler import seed_for
from aha.settings import setting
from aha.stages import engines, groups, inputs
from aha.stages.data.mixing import SELF_COGNITION, domain_of_prompt, plain, rounds
from aha.stages.data.select import conversation
from aha.tasks import get_task, row_sources
from aha.tasks.base import Task
from aha.tasks.general_answers import write
from aha.tasks.general_rows import ungraded
from aha.types import AhaError, Message, Outcome, Problem

_log = logging.getLogger(__name__)

THOUGHTS = {
    "en": {
        True: "This asks for harm. I should not help with it.",
        False: "I give a short and polite answer.",
    },
    "zh": {True: "这会伤害别人，我不应该帮忙。", False: "我给一个简短有礼貌的回答。"},
}
"""What the program thinks before it answers: by language, and whether the request is harmful."""
FORMAT = (
    "Think briefly between <think> and </think>, then give the answer alone between <answer> and </answer>."
)


class GeneralData(
    groups.SeedSettings,
    groups.TaskSettings,
    groups.ProblemSettings,
    groups.GreedySamplingSettings,
    groups.TeacherSettings,
    groups.JudgeModelSettings,
    groups.JudgeReplySettings,
    Stage,
    task="general",
    problems=512,
    temperature=0.7,
    max_tokens=2048,
):
    """Conversations on general questions, answered by a teacher and checked by the task where it can."""

    heading: ClassVar[str] = "data"

    verified_only: bool = setting(True, "keep only answers that the task finds right")
    own_answers: tuple[str, ...] = setting(
        (SELF_COGNITION,), "domains whose rows' own answers are taken although there is a teacher"
    )

    def data_files(self) -> list[str]:
        """The rows that its tasks read."""
        return row_sources(self.task, self.data)

    def check_inputs(self, context: Context) -> None:
        """What it is given from outside."""
        inputs.endpoint(self.teacher)
        inputs.endpoint(self.judge)
        task = inputs.task(self.task, self.data)
        if self.teacher is None and not any(map(answerable, task.load("train", self.problems, self.seed))):
            raise AhaError(
                f"{self.name}: the rows of {self.task} bring no answers of their own, and there is no teacher: name "
                "one with --teacher http://host:port/v1#MODEL or a checkpoint."
            )

    def run(self, context: Context) -> dict[str, Any]:
        """Ask what was not asked yet, check, write; returns the summary."""
        task = get_task(self.task, self.data)
        problems = task.load("train", self.problems, self.seed)
        dropped: Counter[str] = Counter()
        rows = []
        answers = self._answers(context, problems)
        unsafe = self._unsafe(context, problems, answers)
        for number, (problem, text) in enumerate(zip(problems, answers, strict=True)):
            reason = self._against(task, problem, text) or unsafe.get(number, "")
            if reason:
                dropped[reason] += 1
            else:
                rows.append(conversation(problem, {"text": text, "tokens": len(text.split())}))
        if not rows:
            raise AhaError(f"No answer of the teacher was kept: {dict(dropped)}.{self._way_out(dropped)}")
        lines = statistics(rows, lambda r: r["domain"], lambda r: r["tokens"], rounds)
        made_world = any(p.metadata.get("rubric") for p in problems)
        who = self.teacher or ("a program" if made_world else "the rows' own answers")
        source = DataSource(who, len(problems), self.task)
        write_data(
            context.folder / DATA, rows, [source], [Filter("check", len(problems), len(rows), dropped)],
            table(lines),
        )  # fmt: skip
        domains = {line.domain: line.samples for line in lines}
        return {
            "rows": len(rows), "asked": len(problems), "dropped": dict(dropped), "task": self.task, "domains": domains
        }  # fmt: skip

    def _way_out(self, dropped: Counter[str]) -> str:
        """What helps where most answers are in a bad form, "" where they are not: one that was cut leaves it open."""
        if 2 * dropped["bad format"] <= sum(dropped.values()):
            return ""
        return (
            f" One that is cut at max_tokens={self.max_tokens} leaves its tags open: raise it, or take a teacher that "
            "writes them."
        )

    def _against(self, task: Task, problem: Problem, text: str) -> str:
        """Why an answer is not kept; "" for one that is. Prompts that no rule grades are kept by their form."""
        if not text:
            return (
                "no answer of its own, and no teacher" if self.teacher is None else "no answer of the teacher"
            )
        if not parse(text).well_formed:
            return "bad format"
        if not self.verified_only:
            return ""
        outcome = task.verify(problem, text).outcome
        unknown = outcome is Outcome.UNKNOWN and ungraded(problem)
        return "" if unknown or outcome is Outcome.CORRECT else outcome.value.replace("_", " ")

    def _unsafe(
        self, context: Context, problems: Sequence[Problem], answers: Sequence[str]
    ) -> dict[int, str]:
        """Why a teacher's answers to harmful prompts are not kept, by number, where there is a judge: it may have done
        what it was asked for. The rows' own answers are those that the rows call safe."""
        if self.judge is None or self.teacher is None:
            return {}
        asked = [
            i for i, p in enumerate(problems) if p.metadata.get("harmful") and ungraded(p) and answers[i]
        ]
        if not asked:
            return {}
        judge = Judge(
            engines.completer(context, self.judge, _no_program, **engines.judging(self)),
            engines.concurrency(self.judge),
        )

        def verdict(i: int) -> str | None:
            seed = seed_for(self.seed, f"safety:{problems[i].id}", 0) >> 33
            return judge.safety(spoken(problems[i].messages), answers[i], seed)

        said = zip(asked, judge.each(verdict, asked), strict=True)
        words = {"unsafe": "judged unsafe", None: "the judge's verdict on safety could not be read"}
        return {i: words[word] for i, word in said if word in words}

    def _answers(self, context: Context, problems: Sequence[Problem]) -> list[str]:
        """The teacher's answers in the order of the problems; those of earlier processes are read."""
        path = context.folder / "asked.jsonl"
        before = read_jsonl(path)
        write_jsonl(path, before)  # without a torn last line
        texts = {row["problem_id"]: row["text"] for row in before}
        texts |= {
            p.id: p.answer for p in problems if isinstance(p.answer, str) and self._speaks_for_itself(p)
        }
        missing = [p for p in problems if p.id not in texts]
        ask = self._teacher(context)
        jobs = [lambda p=p: ask(p) for p in missing]
        for index, text in in_parallel(jobs, engines.concurrency(self.teacher)):
            texts[missing[index].id] = text
            append_jsonl(path, [{"problem_id": missing[index].id, "text": text}])
        write_jsonl(
            path, [{"problem_id": p.id, "text": texts[p.id]} for p in problems]
        )  # not as they arrived
        return [in_form(p, texts[p.id]) for p in problems]  # replies are kept as they came

    def _speaks_for_itself(self, problem: Problem) -> bool:
        """Whether a prompt is of a domain that a teacher is not asked of: it would say that it is another model."""
        return ungraded(problem) and plain(domain_of_prompt(problem)) in map(plain, self.own_answers)

    def _teacher(self, context: Context) -> Callable[[Problem], str]:
        """Who answers: the endpoint, its reasoning put back between think tags, or the program."""
        if self.teacher is None:
            return lambda p: _without_teacher(p, self.seed)
        if (part := engines.own_judge(self.teacher)) is not None:
            said = own(part)
            return lambda problem: said(asked(problem), 0)
        if not engines.is_endpoint(self.teacher):
            return self._checkpoint(context, self.teacher)
        client = engines.connect(self.teacher, context.folder)
        options = {"temperature": self.temperature, "max_tokens": self.max_tokens}

        def ask(problem: Problem) -> str:
            seed = seed_for(self.seed, problem.id, 0) >> 33
            try:
                return chat(client, asked(problem), seed=seed, **options).text
            except RefusedRequestError as error:
                _log.warning("The teacher was not asked %s: %s", problem.id, error)
                return ""

        return ask

    def _checkpoint(self, context: Context, path: str) -> Callable[[Problem], str]:
        said = engines.local(
            context, path, temperature=self.temperature, max_tokens=self.max_tokens, reasoning=True
        )
        return lambda p: said(asked(p), seed_for(self.seed, p.id, 0) >> 33)


def _no_program(messages: Sequence[Message], seed: int) -> str:
    raise AhaError("a judge is named, so no program is asked")


def answerable(problem: Problem) -> bool:
    """Whether a prompt has an answer without a teacher: its row's own, or that of the program."""
    return bool(problem.metadata.get("rubric")) or isinstance(problem.answer, str)


def _without_teacher(problem: Problem, seed: int) -> str:
    if problem.metadata.get("rubric"):
        return programmed(problem, "good", random.Random(f"{seed}:{problem.id}"))
    return problem.answer if isinstance(problem.answer, str) else ""


def in_form(problem: Problem, text: str) -> str:
    """An answer between the tags that later stages ask for: one that has no <answer> gets them, after its own thinking
    or a short one; one that has nothing but them gets the thinking. What has tags in other places stays as it is, to
    be counted."""
    if text.lstrip().startswith(ANSWER):
        whole = f"<think>{thought(problem)}</think> {text.strip()}"
        return whole if parse(whole).well_formed else text
    if ANSWER in text or END_ANSWER in text or not text.strip():
        return text
    parsed = parse(text, require_answer=False)
    if parsed.think is None and (THINK in text or END_THINK in text):
        return text
    body = (parsed.body if parsed.think is not None else text).strip()
    return f"<think>{parsed.think or thought(problem)}</think> <answer>{body}</answer>" if body else text


def thought(problem: Problem) -> str:
    """A short thinking before an answer that came without, in Chinese for Chinese prompts, else in English."""
    return THOUGHTS["zh" if problem.language == "zh" else "en"][bool(problem.metadata.get("harmful"))]


def programmed(problem: Problem, manner: str, rng: random.Random) -> str:
    """An answer of the program that knows the closed world, in a manner of ``general_answers.MANNERS``."""
    return f"<think>{thought(problem)}</think> <answer>{write(problem, manner, rng)}</answer>"


def asked(problem: Problem) -> list[Message]:
    """The conversation a teacher is given: the row's own system message, if any, stands before the form."""
    first, *rest = problem.messages
    if first["role"] != "system":
        return [{"role": "system", "content": FORMAT}, *problem.messages]
    return [{**first, "content": f"{first['content']}\n\n{FORMAT}"}, *rest]
