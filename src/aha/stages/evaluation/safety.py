"""How safe checkpoints are: unsafe answers and refusals to harmful prompts, plain and under jailbreaks, and refusals of
harmless prompts that only sound dangerous.

(DeepSeek-R1, arXiv 2501.12948 v2, appendix D.3: answers are labelled safe, unsafe or rejected by a model with eleven
rules of risk; the same prompts once more under jailbreaks.) Rates carry intervals over prompts, and stand by language,
those that a teacher translates the prompts into among them.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import numpy as np

from aha.data.prompt_rows import spoken
from aha.files import read_json, read_jsonl, write_json, write_jsonl, write_text
from aha.judges.asking import Judge, final_text
from aha.judges.metered import Metered
from aha.judges.translating import Translator
from aha.rewards.accuracy import full_text
from aha.rewards.language import normalise_language
from aha.runs.console import Console
from aha.runs.pipeline import Context, Stage
from aha.sampling.rollouts import sample_groups
from aha.sampling.sampler import SamplingParams, seed_for
from aha.settings import setting
from aha.stages import engines, groups, inputs
from aha.stages.evaluation.compare import model_names, slug
from aha.stages.evaluation.figures import interval
from aha.stages.evaluation.translated import SUFFIX, translated_frames, translated_sets
from aha.stages.evaluation.translated import words as translated_words
from aha.tasks import get_task, jailbreaks, row_sources
from aha.tasks.jailbreaks import wrapped
from aha.tasks.rubric import refuses
from aha.types import AhaError, Problem

_log = logging.getLogger(__name__)
SETS = ("harmful", "jailbroken", "harmless")
WORDS = ("safe", "unsafe", "reject")
ANSWERED = "answered"
"""What is said without a judge of an answer that declines nothing: nobody knows whether it is safe."""
REFUSALS_KNOWN_IN = ("en", "zh")
"""Languages whose refusals a program tells by their words."""
TEMPLATES = "jailbreak templates"
SHOWN = (
    ("harmful", "unsafe"), ("harmful", "reject"), ("jailbroken", "unsafe"), ("jailbroken", "reject"),
    ("harmless", "reject"),
)  # fmt: skip
"""Columns of the table."""


class SafetyCheck(
    groups.SeedSettings,
    groups.TableSettings,
    groups.TaskSettings,
    groups.QuestionSettings,
    groups.PromptSettings,
    groups.SamplingSettings,
    groups.TopPSettings,
    groups.DtypeSettings,
    groups.DecodingSettings,
    groups.TeacherSettings,
    groups.JudgeModelSettings,
    groups.JudgeReplySettings,
    Stage,
    task="general",
    problems=256,
    samples=1,
    temperature=0.6,
    top_p=0.95,
):
    """Unsafe, refused and needlessly refused, of every checkpoint."""

    heading: ClassVar[str] = "data"

    jailbreaks: int = setting(3, "templates that each harmful prompt is wrapped in", under="evaluation", ge=0)
    languages: tuple[str, ...] = setting(
        (), "languages that the teacher translates prompts and jailbreak templates into (ISO 639-1)",
        under="evaluation",
    )  # fmt: skip

    def data_files(self) -> list[str]:
        """The rows that its tasks read."""
        return row_sources(self.task, self.data)

    def work(self) -> dict[str, float]:
        """Tokens sampled at most."""
        asked = (1 + self.jailbreaks) * (1 + len(self.languages))
        each = self.problems * asked * self.samples * self.max_tokens
        return {"sampled": float(len(self.models) * each)}

    def check_inputs(self, context: Context) -> None:
        """What it is given from outside."""
        inputs.machine(context, self.dtype)
        model_names(self)
        inputs.endpoint(self.judge)
        self._codes()
        inputs.endpoint(self.teacher)
        for model in self.models:
            inputs.sampled(model)
        inputs.task(self.task, self.data, splits=("train",))

    def run(self, context: Context) -> dict[str, Any]:
        """Ask, judge, count; write ``safety.json`` and ``safety.md``; returns the figures."""
        asked = self._asked()
        translations, templates = self._translate(context, asked)
        names = model_names(self)
        figures: dict[str, Any] = {}
        with Console(self.name, len(names), plain=context.plain) as console:
            for name, model in zip(names, self.models, strict=True):
                path = context.folder / "figures" / f"{slug(name)}.json"
                if not path.exists():
                    write_json(path, self._figures(context, model, name, asked))
                figures[name] = read_json(path)
                console.note(f"{name}: {words(figures[name])}")
        write_json(context.folder / "safety.json", figures)
        write_text(
            context.folder / "safety.md", markdown(figures) + by_language(figures, translations, templates)
        )
        prompts = {kind: len(some) for kind, some in asked.items()}
        told = {"translations": translations, "templates": templates}
        return {"figures": figures, "prompts": prompts, **told}

    def _codes(self) -> list[str]:
        """The languages as codes. Raises AhaError for one that is not known, and for languages without a teacher."""
        codes = list(dict.fromkeys(normalise_language(language) for language in self.languages))
        if codes and self.teacher is None:
            raise AhaError(
                f"{self.name}: languages={codes} and no teacher to translate the prompts: name one with "
                f"--teacher http://host:port/v1#MODEL or {self.name}.teacher."
            )
        return codes

    def _translate(
        self, context: Context, asked: dict[str, list[Problem]]
    ) -> tuple[dict[str, dict[str, int]], dict[str, dict[str, int]]]:
        """Add the prompts in other languages to what is asked, plain and under templates in their language; returns by
        language what became of prompts and of templates."""
        codes = self._codes()
        if not codes or self.teacher is None:
            return {}, {}
        ask = partial(self._metered, context, options={"max_tokens": self.judge_reply_tokens})
        translator = Translator(
            ask(self.teacher, "translated_by_teacher.jsonl"),
            ask(self.judge, "translated_checked.jsonl") if self.judge else None,
            engines.concurrency(self.teacher),
        )
        plain = {kind: asked[kind] for kind in ("harmful", "harmless")}
        more, counts = translated_sets(translator, plain, codes, self.seed, context.folder)
        names = list(dict.fromkeys(str(p.metadata["jailbreak"]) for p in asked["jailbroken"]))
        frames, templates = translated_frames(translator, names, codes, self.seed, context.folder)
        more |= self._jailbroken([*asked["harmful"], *more.get(f"harmful{SUFFIX}", ())], frames)
        asked.update(more)
        for line in [*translated_words(counts), *translated_words(templates, TEMPLATES)]:
            _log.warning("%s: %s.", self.name, line)
        return counts, templates

    def _jailbroken(
        self, harmful: Sequence[Problem], frames: Mapping[str, Mapping[str, str]]
    ) -> dict[str, list[Problem]]:
        """The set of harmful prompts under templates in their own language, if there are any."""
        some = [
            jailbreak
            for language, own in frames.items()
            for jailbreak in wrapped(
                [p for p in harmful if p.language == language], self.jailbreaks, self.seed, own
            )
        ]
        return {f"jailbroken{SUFFIX}": some} if some else {}

    def _metered(self, context: Context, who: str, cache: str, options: Mapping[str, Any]) -> Metered:
        """A model that is asked through a memory of the stage's own."""
        complete = engines.completer(context, who, lambda messages, seed: "", **options)
        return Metered(complete, who, context.folder / cache)

    def _asked(self) -> dict[str, list[Problem]]:
        """Held-out prompts by what they are; where too few are held out, those that were trained on as well, said."""
        task = get_task(self.task, self.data)
        problems = task.load("test", self.problems, 0)
        if not any(p.metadata.get("harmful") for p in problems):
            problems += task.load("train", self.problems, 0)
            _log.warning(
                "%s: the test split has no harmful prompt: prompts of training are asked too.", self.name
            )
        harmful = [p for p in problems if p.metadata.get("harmful")]
        if not harmful:
            raise AhaError(
                f"{self.name}: the task {self.task} has no harmful prompts: name some with --harmful FILE."
            )
        harmless = [p for p in problems if not p.metadata.get("harmful")]
        return {
            "harmful": harmful,
            "jailbroken": wrapped(harmful, self.jailbreaks, self.seed),
            "harmless": harmless,
        }

    def _figures(
        self, context: Context, model: str | Stage, name: str, asked: Mapping[str, Sequence[Problem]]
    ) -> dict[str, Any]:
        rows = self._answers(context, model, name, asked)
        judge = self._judge(context)
        verdicts = judge.each(lambda row: verdict(judge if self.judge else None, row, self.seed), rows)
        for row, said in zip(rows, verdicts, strict=True):
            row["verdict"] = said
        write_jsonl(context.folder / "answers" / f"{slug(name)}.jsonl", rows)
        kinds = {kind: rates([r for r in rows if r["set"] == kind]) for kind in SETS}
        languages = sorted({row["language"] for row in rows})
        by, harmless, jailbroken = (
            {code: rates([r for r in rows if r["language"] == code and r["set"] in sets_in(kind, code)])
             for code in languages}
            for kind in ("harmful", "harmless", "jailbroken")
        )  # fmt: skip
        told = {"by_language": by, "harmless_by_language": harmless, "jailbroken_by_language": jailbroken}
        return {**kinds, **told, "judge": dict(judge.counts)}

    def _judge(self, context: Context) -> Judge:
        if self.judge is None:
            return Judge(lambda messages, seed: "")
        judge = self._metered(context, self.judge, "verdicts.jsonl", engines.judging(self))
        return Judge(judge, engines.concurrency(self.judge))

    def _answers(
        self, context: Context, model: str | Stage, name: str, asked: Mapping[str, Sequence[Problem]]
    ) -> list[dict[str, Any]]:
        """Every answer as a row; those of an earlier process are read."""
        path = context.folder / "sampled" / f"{slug(name)}.jsonl"
        if path.exists():
            return read_jsonl(path)
        source = engines.open_source(context, model, self.prompt, self.dtype, self.max_num_seqs)
        rows = []
        for kind, some in asked.items():
            if not some:
                continue
            fitting, longest = source.fit(some, self.max_tokens)
            params = SamplingParams(self.temperature, self.top_p, max_tokens=longest)
            seed = seed_for(self.seed, f"safety:{kind}", 0)
            sampled = sample_groups(
                source.engine, source.prompter, fitting, self.samples, params, {}, seed=seed
            )
            rows += [
                {"set": kind, "problem_id": g.problem.id,
                 "prompt": g.problem.metadata.get("plain_id", g.problem.id), "question": spoken(g.problem.messages),
                 "language": g.problem.language, "text": full_text(m.rollout)}
                for g in sampled
                for m in g.members
            ]  # fmt: skip
        write_jsonl(path, rows)
        return rows


def sets_in(kind: str, language: str) -> tuple[str, ...]:
    """The sets of a kind whose prompts are wholly in that language: a jailbreak template as it stands is English."""
    own = kind != "jailbroken" or language == jailbreaks.LANGUAGE
    return (kind, f"{kind}{SUFFIX}") if own else (f"{kind}{SUFFIX}",)


def verdict(judge: Judge | None, row: Mapping[str, Any], seed: int) -> str | None:
    """ "safe", "unsafe" or "reject"; without a judge only a refusal can be told, by its words, and only in languages
    whose words are known: all else that is said in them is "answered"."""
    if judge is None:
        if refuses(final_text(row["text"])):
            return "reject"
        return ANSWERED if row.get("language") in REFUSALS_KNOWN_IN else None
    call = seed_for(seed, f"safety:{row['problem_id']}:{row['text']}", 0) >> 33
    return judge.safety(row["question"], row["text"], call)


def rates(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Shares of verdicts among the answers that have one, with intervals over prompts; None without any. The jailbreaks
    and translations of one prompt are one prompt: what it asks for decides more than how. Where answers are only known
    to decline nothing, they count against refusals, and nothing is said of safe and unsafe."""
    by_prompt: dict[str, list[str]] = {}
    for row in rows:
        if row["verdict"] is not None:
            by_prompt.setdefault(row.get("prompt", row["problem_id"]), []).append(row["verdict"])
    summary: dict[str, Any] = {
        "answers": len(rows),
        "judged": sum(word in WORDS for said in by_prompt.values() for word in said),
        "prompts": len(by_prompt),
    }
    untold = any(ANSWERED in said for said in by_prompt.values())
    for word in WORDS:
        known = () if untold and word != "reject" else by_prompt.values()
        shares = np.array([Counter(said)[word] / len(said) for said in known])
        summary[word] = float(shares.mean()) if len(shares) else None
        summary[f"{word}_ci"] = list(interval(shares)) if len(shares) else None
    return summary


def words(figures: Mapping[str, Any]) -> str:
    """The main figures of a checkpoint in one line."""
    parts = (
        ("unsafe", "harmful", "unsafe"), ("refused", "harmful", "reject"),
        ("unsafe when jailbroken", "jailbroken", "unsafe"), ("harmless refused", "harmless", "reject"),
    )  # fmt: skip
    said = [
        f"{title} {figures[kind][word]:.0%}" for title, kind, word in parts if figures[kind][word] is not None
    ]
    return ", ".join(said) or "no verdict could be read"


def markdown(by_model: Mapping[str, Mapping[str, Any]]) -> str:
    """One table: checkpoints as rows."""
    lines = [
        "# Safety", "",
        "Shares of answers with a verdict, with 95% intervals over prompts. Harmless prompts that are refused are "
        "refused needlessly.", "",
        "| | harmful: unsafe | refused | jailbroken: unsafe | refused | harmless: refused | no verdict |",
        "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for name, figures in by_model.items():
        cells = [cell(figures[kind], word) for kind, word in SHOWN]
        unread = sum(figures[kind]["answers"] - figures[kind]["judged"] for kind in SETS)
        whole = sum(figures[kind]["answers"] for kind in SETS)
        lines.append(f"| {name} | " + " | ".join(cells) + f" | {unread} of {whole} |")
    return "\n".join(lines) + "\n"


def by_language(
    by_model: Mapping[str, Mapping[str, Any]],
    translations: Mapping[str, Mapping[str, int]],
    templates: Mapping[str, Mapping[str, int]] | None = None,
) -> str:
    """A table by language where there are several, and what became of the translations; "" for one language."""
    codes = list(dict.fromkeys(code for figures in by_model.values() for code in figures["by_language"]))
    if len(codes) < 2:
        return ""
    told = [*translated_words(translations), *translated_words(templates or {}, TEMPLATES)]
    lines = [
        "", "# By language", "", *(f"- {line}" for line in told), "",
        "| | language | prompts | harmful: unsafe | refused | jailbroken: unsafe | refused | harmless: refused |",
        "|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for name, figures in by_model.items():
        for code in codes:
            harmful, harmless = figures["by_language"].get(code), figures["harmless_by_language"].get(code)
            if harmful and harmless:
                jailbroken = figures.get("jailbroken_by_language", {}).get(code) or rates([])
                cells = [cell(some, word) for some in (harmful, jailbroken) for word in ("unsafe", "reject")]
                prompts = harmful["prompts"] + harmless["prompts"]
                row = " | ".join([*cells, cell(harmless, "reject")])
                lines.append(f"| {name} | {code} | {prompts} | {row} |")
    return "\n".join(lines) + "\n"


def cell(figures: Mapping[str, Any], word: str) -> str:
    """A rate with its interval."""
    if figures[word] is None:
        return "-"
    low, high = figures[f"{word}_ci"]
    return f"{figures[word]:.0%} [{low:.0%}, {high:.0%}]"
