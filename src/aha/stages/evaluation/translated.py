"""Prompts of a safety check in other languages, by a teacher: asked once, kept, and what is no translation set aside.

The made world and most public sets of harmful prompts are English and Chinese; whether a model declines in a language
that its safety data never had is another question.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from aha.files import write_json, write_jsonl
from aha.judges.translating import Translation, Translator
from aha.sampling.sampler import seed_for
from aha.tasks import jailbreaks
from aha.types import Problem

SUFFIX = "_translated"
"""What a set's name ends in where its prompts are translations: they stand in no rate but those by language."""
PROMPTS, COUNTS = "translated.jsonl", "translations.json"
FRAMES = "translated_templates.jsonl"
KEPT = "translated"


@dataclass(frozen=True, slots=True)
class _Job:
    kind: str
    problem: Problem
    language: str


def translated_sets(
    translator: Translator,
    asked: Mapping[str, Sequence[Problem]],
    languages: Sequence[str],
    seed: int,
    folder: Path,
) -> tuple[dict[str, list[Problem]], dict[str, dict[str, int]]]:
    """The prompts of each set in each language that they are not in yet; and by language how many were translated and
    why others are set aside. Every prompt with what was said stands in ``translated.jsonl``."""
    jobs = [
        _Job(kind, problem, language)
        for language in languages
        for kind, some in asked.items()
        for problem in some
        if problem.language != language
    ]
    done = translator.each(lambda job: _translate(translator, job, seed), jobs)
    sets: dict[str, list[Problem]] = {f"{kind}{SUFFIX}": [] for kind in asked}
    counts: dict[str, Counter[str]] = {language: Counter() for language in languages}
    rows = []
    for job, turns in zip(jobs, done, strict=True):
        why = next((turn.why for turn in turns if turn.why), "")
        counts[job.language][why or KEPT] += 1
        if not why:
            sets[f"{job.kind}{SUFFIX}"].append(_in_language(job, turns))
        rows.append(_row(job, turns, why))
    write_jsonl(folder / PROMPTS, rows)
    told = {language: dict(counts[language]) for language in languages}
    write_json(folder / COUNTS, told)
    return {kind: some for kind, some in sets.items() if some}, told


def translated_frames(
    translator: Translator, names: Sequence[str], languages: Sequence[str], seed: int, folder: Path
) -> tuple[dict[str, dict[str, str]], dict[str, dict[str, int]]]:
    """These jailbreak templates by language and name, in every language that they are not in yet; and by language how
    many were translated and why others are set aside. Each with what was said stands in
    ``translated_templates.jsonl``."""
    jobs = [(language, name) for language in languages if language != jailbreaks.LANGUAGE for name in names]

    def one(job: tuple[str, str]) -> Translation:
        language, name = job
        template = jailbreaks.TEMPLATES[name]
        call = seed_for(seed, f"translate:{language}:jailbreak:{name}", 0) >> 33
        return translator.translate(template.frame, language, call, template.fits)

    frames: dict[str, dict[str, str]] = {language: {} for language, _ in jobs}
    counts: dict[str, Counter[str]] = {language: Counter() for language in frames}
    rows = []
    for (language, name), turn in zip(jobs, translator.each(one, jobs), strict=True):
        counts[language][turn.why or KEPT] += 1
        if turn.text is not None:
            frames[language][name] = turn.text
        rows.append({
            "template": name, "language": language, "set_aside": turn.why or None,
            "original": jailbreaks.TEMPLATES[name].frame, "translation": turn.text,
            "said": turn.said if turn.why else None,
        })  # fmt: skip
    write_jsonl(folder / FRAMES, rows)
    return frames, {language: dict(own) for language, own in counts.items()}


def _translate(translator: Translator, job: _Job, seed: int) -> list[Translation]:
    """Every turn of the prompt, up to the first that is no translation."""
    turns: list[Translation] = []
    for number, message in enumerate(job.problem.messages):
        call = seed_for(seed, f"translate:{job.language}:{job.problem.id}", number) >> 33
        turns.append(translator.translate(str(message["content"]), job.language, call))
        if turns[-1].why:
            break
    return turns


def _in_language(job: _Job, turns: Sequence[Translation]) -> Problem:
    messages = tuple(
        {**message, "content": turn.text or ""}
        for message, turn in zip(job.problem.messages, turns, strict=True)
    )
    metadata = {**job.problem.metadata, "plain_id": job.problem.id, "translated_from": job.problem.language}
    return replace(job.problem, id=f"{job.problem.id}+{job.language}", messages=messages, language=job.language,
                   answer=None, metadata=metadata)  # fmt: skip


def _row(job: _Job, turns: Sequence[Translation], why: str) -> dict[str, Any]:
    return {
        "set": job.kind, "problem_id": job.problem.id, "language": job.language, "set_aside": why or None,
        "original": [str(m["content"]) for m in job.problem.messages], "translation": [t.text for t in turns],
        "said": turns[-1].said if why and turns else None,
    }  # fmt: skip


def words(counts: Mapping[str, Mapping[str, int]], what: str = "prompts") -> list[str]:
    """A line a language: how many of ``what`` were translated, and why others are set aside."""
    lines = []
    for language, own in counts.items():
        reasons = ", ".join(f"{why} {n}" for why, n in sorted(own.items()) if why != KEPT)
        aside = f"; set aside: {reasons}" if reasons else ""
        lines.append(f"{language}: {own.get(KEPT, 0)} of {sum(own.values())} {what} translated{aside}")
    return lines
