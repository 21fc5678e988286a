"""What is wrong with a run, and why: from its figures, its evaluations and its stored rollouts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from aha.diagnosis import figures, motion, rows, samples, setup, stored, supervised, undone
from aha.diagnosis.causes import CAUSES
from aha.diagnosis.findings import Diagnosis, Illness
from aha.diagnosis.seen import Seen
from aha.diagnosis.truth import truth_fall
from aha.runs import health
from aha.runs.charts import number, show
from aha.runs.pipeline import DONE
from aha.runs.report.data import StageData, as_dict, read_lines, read_object, read_run
from aha.types import AhaError, Group, Outcome, Problem, Verdict

MOST_FILES = 48
"""Rollout files that are read of a stage, evenly over its steps: a diagnosis takes seconds."""
Row = Mapping[str, Any]
_NOT_GRADED = Verdict(Outcome.UNKNOWN, "the task is not there")


def diagnose(run: Path) -> Diagnosis:
    """What is wrong with a run, running or finished. Raises AhaError for a folder that is no run."""
    data = read_run(run)
    illnesses: list[Illness] = undone.died(run, as_dict(data.config.get("stages")))
    notes = list(data.faults)
    for stage in data.stages:
        if any("reward" in row for row in stage.metrics):
            of_stage, said = _stage(stage, _prompt(data.summary, stage), run)
        elif supervised.is_supervised(stage.metrics):
            of_stage, said = _of_rows(stage, run)
        else:
            continue
        illnesses, notes = [*illnesses, *of_stage], [*notes, *said]
    nothing = undone.why_nothing(data)
    return Diagnosis(str(run), tuple(illnesses), tuple(notes), nothing)


def _of_rows(stage: StageData, run: Path) -> tuple[list[Illness], list[str]]:
    """A stage that learns from rows: its figures, and what the rows themselves show."""
    notes: list[str] = []
    done = as_dict(read_object(stage.folder / DONE, []).get("summary"))
    by_figures = supervised.found(stage.name, stage.metrics, done, stage.settings)
    both = [*by_figures, *rows.found(stage.name, stage.settings, run, notes)]
    return _ordered(both), notes


def findings(
    stage: str, metrics: Sequence[Row], evals: Sequence[Row], seen: Seen, planned: int = 0
) -> list[Illness]:
    """What figures, evaluations and rollouts so far speak for, in the order of ``CAUSES``; without samples. The same
    for a run that goes on and for one that has ended."""
    by_cause = {illness.cause: illness for illness in (*_by_rules(stage, metrics), *seen.found(stage))}
    for illness in (_hacking(stage, metrics, evals), _still(stage, metrics, planned)):
        if illness is not None:
            by_cause.setdefault(illness.cause, illness)
    return _ordered(list(by_cause.values()))


def _ordered(illnesses: Sequence[Illness]) -> list[Illness]:
    """By the order of ``CAUSES``, each with those of them that explain it."""
    order = list(CAUSES)
    lasting = {illness.cause for illness in illnesses if illness.lasting}
    return [_with_explanation(i, lasting) for i in sorted(illnesses, key=lambda i: order.index(i.cause))]


def _with_explanation(illness: Illness, lasting: set[str]) -> Illness:
    by = tuple(cause for cause in CAUSES[illness.cause].explained_by if cause in lasting)
    return replace(illness, explained_by=by)


# --- from figures --------------------------------------------------------------------------------------------------


def _by_rules(stage: str, metrics: Sequence[Row]) -> list[Illness]:
    """One illness for each cause whose rules found their figures unhealthy."""
    by_cause: dict[str, list[health.HealthEpisode]] = {}
    for episode in health.episodes(metrics):
        by_cause.setdefault(episode.rule.cause, []).append(episode)
    signs = by_cause.pop("", [])
    return [
        Illness(
            cause,
            stage,
            episodes[0].first,
            tuple(map(_evidence, _worst_of_each(episodes + (signs if cause == "lr_high" else [])))),
            lasting=any(_lasts(e, metrics) for e in episodes),
        )
        for cause, episodes in by_cause.items()
    ]


def _worst_of_each(episodes: Sequence[health.HealthEpisode]) -> list[health.HealthEpisode]:
    """The longest episode of each rule."""
    worst: dict[health.HealthRule, health.HealthEpisode] = {}
    for episode in episodes:
        if episode.rule not in worst or episode.steps > worst[episode.rule].steps:
            worst[episode.rule] = episode
    return list(worst.values())


def _lasts(episode: health.HealthEpisode, metrics: Sequence[Row]) -> bool:
    """Whether it is still so at the end, or was for a third of the steps. What is compared with recent steps ends by
    itself when they have become bad too: there the loss must be made good."""
    if episode.rule.against == "recent":
        rows = [row for row in metrics if row.get("step", 0) > episode.last][-3:]
        return not rows or any(
            episode.rule.beyond(row.get(episode.rule.key, 0.0), episode.rule.leave * episode.scale)
            for row in rows
        )
    return episode.open or 3 * episode.steps >= len(metrics)


def _evidence(episode: health.HealthEpisode) -> str:
    rule = episode.rule
    until = "to the last step" if episode.open else f"to step {episode.last}"
    usual = {"": "", "start": " times its start", "recent": " times its recent median"}[rule.against]
    bound = show(rule.enter, rule.kind) if not rule.against else f"{rule.enter:g}{usual}"
    side = f"above {bound}" if rule.enter > rule.leave else f"below {bound}" if rule.enter > 1e-6 else "at 0"
    return (
        f"{rule.key} ({rule.label}) {side} from step {episode.first} {until}: "
        f"{show(episode.noticed, rule.kind)}, at worst {show(episode.worst, rule.kind)}; {rule.reason}"
    )


def _hacking(stage: str, metrics: Sequence[Row], evals: Sequence[Row]) -> Illness | None:
    """Where truth lies below its best by more than chance at the end; seen where it first did."""
    fall = truth_fall(metrics, evals)
    if fall is None:
        return None
    each = (truth_fall(metrics, evals[:n]) for n in range(2, len(evals) + 1))
    first = next(illness for illness in each if illness is not None)
    cause = "reward_hacking" if fall.hacked else "lr_high"
    return Illness(cause, stage, first.step, (fall.words(),))


def _still(stage: str, metrics: Sequence[Row], planned: int) -> Illness | None:
    words = motion.unmoved(metrics, planned)
    return Illness("lr_low", stage, int(metrics[-1].get("step", len(metrics))), (words,)) if words else None


def _exchanged(stage: StageData, metrics: Sequence[Row], named: set[str]) -> list[Illness]:
    """A stage in whose training other rewards drove out right answers, where no two evaluations tell, and no cause of
    it was named; not under a curriculum, whose questions become harder."""
    curriculum = as_dict(stage.settings.get("algorithm")).get("curriculum", "shuffle")
    if len(stage.evals) > 1 or curriculum != "shuffle" or named & {"reward_hacking", "lr_high"}:
        return []
    words = motion.exchanged(metrics, figures.CORRECTNESS)
    return (
        [Illness("reward_hacking", stage.name, int(metrics[-1].get("step", len(metrics))), (words,))]
        if words
        else []
    )


# --- from stored rollouts ------------------------------------------------------------------------------------------


def _stage(stage: StageData, prompt: str, run: Path) -> tuple[list[Illness], list[str]]:
    notes: list[str] = []
    known, seen, trained = _known(stage, notes)
    files = stored.step_files(stage.folder)
    kept = stored.evenly(files, MOST_FILES)
    if len(kept) < len(files):
        notes.append(
            f"{stage.name}: of {len(files)} files of rollouts {len(kept)} were read, evenly over the steps."
        )
    by_step: dict[int, dict[str, float]] = {}
    routed: dict[int, dict[str, float]] = {}
    for step, file in kept:
        groups = _read(file, known, prompt, notes)
        seen.note(step, groups)
        by_step[step] = figures.step_figures(groups) if groups else {}
        routed[step] = figures.by_rule(groups)
    metrics = [
        by_step.get(int(row["step"]), {}) | row | routed.get(int(row["step"]), {}) for row in stage.metrics
    ]
    planned = int(number(stage.settings.get("steps")) or 0)
    asked = setup.wrong_prompt(stage.name, stage.settings, prompt, run, metrics)
    before = [illness for illness in (trained, asked) if illness is not None]
    named = [*before, *findings(stage.name, metrics, stage.evals, seen, planned)]
    illnesses = _ordered([*named, *_exchanged(stage, metrics, {illness.cause for illness in named})])
    return [_with_samples(illness, dict(files), known, prompt, seen) for illness in illnesses], notes


def _known(stage: StageData, notes: list[str]) -> tuple[dict[str, Problem], Seen, Illness | None]:
    """The stage's problems, what to gather with, and whether held-out ones are among them: nothing is known where its
    task is not there any more."""
    try:
        task = stored.load_task(stage.settings)
        known = stored.load_problems(task, stage.settings)
        return known, Seen(task.verify), setup.held_out_trained(stage.name, task, known, stage.settings)
    except (AhaError, OSError) as error:
        notes.append(
            f"{stage.name}: its task could not be loaded, so leaking prompts were not looked for ({error})"
        )
        return {}, Seen(lambda problem, text: _NOT_GRADED), None


def _read(file: Path, known: Mapping[str, Problem], prompt: str, notes: list[str]) -> list[Group]:
    return stored.groups(list(read_lines(file, notes)), known, prompt)


def _with_samples(
    illness: Illness, files: Mapping[int, Path], known: Mapping[str, Problem], prompt: str, seen: Seen
) -> Illness:
    at = min(files, key=lambda step: (abs(step - illness.step), step), default=None)
    if at is None:
        return illness
    groups = _read(files[at], known, prompt, [])
    return replace(illness, samples=samples.pick(illness.cause, at, groups, seen))


def _prompt(summary: Mapping[str, Any], stage: StageData) -> str:
    """The name of the prompt that questions were asked with, for files that do not say it."""
    said = stage.settings.get("prompt", "auto")
    return str(summary.get("prompt", said) if said == "auto" else said)
