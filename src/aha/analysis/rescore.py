"""Stored rollouts graded by other rewards: what would have been paid, and whom the advantages would have favoured.

Nothing is sampled, and nothing of the run is changed. It answers before a GPU hour is spent whether a reward does what
it is meant to: on texts that this model really writes.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from aha import modeling
from aha.diagnosis import stored
from aha.files import check_writable, claimed_name, write_jsonl
from aha.rewards import check_columns, get_rewards
from aha.runs.charts import number
from aha.runs.report.data import StageData, read_lines, read_run
from aha.sampling.rollouts import WeightedRewards, score_group
from aha.training.advantages import group_mean
from aha.training.algorithm import Algorithm
from aha.types import AhaError, Group, Problem, Rollout

FLAT = 1e-9
"""An advantage below this favours nobody."""
MOST_FLIPS = 12
"""Completions that are shown."""


@dataclass(frozen=True, slots=True)
class RescoredStep:
    """One step under both gradings: mean rewards (None where nothing was graded), the share of completions that could
    not be graded, the share of groups without signal, and of the completions whose advantage is not zero in both the
    share whose sign ``flips``. ``agreement``: the correlation of both rewards less their group's means, None where one
    is constant."""

    step: int
    completions: int
    reward_before: float | None
    reward_after: float | None
    ungradable_before: float
    ungradable_after: float
    silent_before: float
    silent_after: float
    flips: float | None
    agreement: float | None


@dataclass(frozen=True, slots=True)
class RescoredFlip:
    """A completion that both gradings would have moved, one the other way: rewards and advantages of both, and the new
    scores in words."""

    step: int
    problem_id: str
    member: int
    reward_before: float | None
    reward_after: float | None
    advantage_before: float
    advantage_after: float
    why: str
    text: str


@dataclass(frozen=True, slots=True)
class Rescored:
    """A stage's rollouts graded anew: figures by step and over all of them, the completions whose advantage flips most,
    and the file with every rollout."""

    run: str
    stage: str
    rewards: dict[str, float]
    steps: tuple[RescoredStep, ...]
    whole: RescoredStep
    file: Path | None
    notes: tuple[str, ...] = ()
    flipped: tuple[RescoredFlip, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """All of it, for programs."""
        said = {"file": None if self.file is None else str(self.file), "sentence": self.sentence()}
        return asdict(self) | said

    def sentence(self) -> str:
        """How far both gradings agree, in words."""
        whole = self.whole
        if whole.agreement is None:
            return (
                "One of both gradings tells no completions of a question apart: there is nothing to agree on."
            )
        said = f"Within groups both rewards correlate by {whole.agreement:.2f}; "
        if whole.flips is None:
            return said + "no completion has an advantage in both."
        return said + (
            f"{whole.flips:.1%} of the completions that both would have moved would have been moved the other way."
        )


def rescore(
    run: Path,
    rewards: Mapping[str, float],
    *,
    stage: str | None = None,
    output: Path | None = None,
    most_steps: int | None = None,
    told: Callable[[int, int], None] = lambda done, steps: None,
) -> Rescored:
    """Grade the stored rollouts of a run's stage (None: the first with any) by ``rewards``, name -> weight, and write
    them to ``output``, which must not be there yet, where one is given (one that came meanwhile is left: a number
    follows the name). ``most_steps``: so many steps, evenly.
    ``told`` hears after each step how many of them are done.

    Raises AhaError where there are no rollouts, where the task is not there any more, and for unknown rewards.
    """
    if most_steps is not None and most_steps < 1:
        raise AhaError(f"--steps {most_steps}: give a number of steps from 1, or leave it out for all.")
    if output is not None:
        if output.exists():
            raise AhaError(f"{output} is there already: give another --output. Nothing is replaced.")
        check_writable(output)  # before the work, not behind it
    data = _stage(run, stage)
    task = stored.load_task(data.settings)
    known = stored.load_problems(task, data.settings)
    functions = get_rewards(rewards, task.verify, task.verify_lenient)
    if known:
        check_columns(functions, next(iter(known.values())))
    files = stored.step_files(data.folder)
    kept = files[:: max(1, -(-len(files) // most_steps))] if most_steps else files
    tokenizer, notes = _tokenizer(data.folder)
    algorithm = Algorithm.model_validate(data.settings.get("algorithm") or {})
    regrading = Regrading(
        functions, algorithm, known, str(data.settings.get("prompt", "auto")), tokenizer, notes
    )
    steps: list[tuple[int, list[RegradedGroup]]] = []
    for step, file in kept:
        steps.append((step, regrading.groups(file)))
        told(len(steps), len(kept))
    if regrading.changed:
        notes.append(
            f"{len(regrading.changed)} questions stand in the task's rows with other words now "
            f"({min(regrading.changed)}): they were graded by what the rollouts say of them."
        )
    if output is not None:
        output = claimed_name(output)  # another rescoring may have taken the name meanwhile
        write_jsonl(output, itertools.chain.from_iterable(_rows(step, pairs) for step, pairs in steps))
    whole = [pair for _, pairs in steps for pair in pairs]
    return Rescored(
        str(run), data.name, dict(rewards), tuple(_figures(step, pairs) for step, pairs in steps), _figures(0, whole),
        output, tuple(notes), _flipped(steps),
    )  # fmt: skip


def _stage(run: Path, name: str | None) -> StageData:
    """The stage whose rollouts are graded."""
    stages = read_run(run).stages
    fit = [s for s in stages if stored.step_files(s.folder) and name in (None, s.name)]
    if not fit:
        having = ", ".join(s.name for s in stages if stored.step_files(s.folder)) or "none"
        raise AhaError(
            f"{run} has no stored rollouts{f' of stage {name}' if name else ''}. Stages that have: {having}."
        )
    return fit[0]


def _tokenizer(stage: Path) -> tuple[Any, list[str]]:
    """The stage's tokenizer: token ids are not stored, and some rewards read them."""
    places = [stage / "final", *sorted(stage.glob("checkpoints/step-*"), reverse=True)]
    place = next((p for p in places if (p / "tokenizer.json").exists()), None)
    if place is None:
        return None, ["There is no checkpoint: rewards that read token ids, such as repetition, see none."]
    return modeling.load_tokenizer(str(place)), []


@dataclass(frozen=True, slots=True)
class RegradedGroup:
    """One group under both gradings: advantages [G] are NaN where a completion was left out."""

    before: Group
    after: Group
    advantages_before: np.ndarray
    advantages_after: np.ndarray


@dataclass(frozen=True, slots=True)
class Regrading:
    """How stored groups are graded anew."""

    rewards: WeightedRewards
    algorithm: Algorithm
    known: Mapping[str, Problem]
    prompt: str
    tokenizer: Any
    faults: list[str]  # what could not be read of the files
    changed: set[str] = field(default_factory=set[str])  # ids whose questions are others in the task's rows

    def groups(self, file: Path) -> list[RegradedGroup]:
        """Those of one file, under both gradings."""
        rows = list(read_lines(file, self.faults))
        self.changed.update(stored.asked_otherwise(rows, self.known))
        before = stored.groups(rows, self.known, self.prompt)
        after = [self._graded(group) for group in before]
        left = iter(rows)
        old = [
            np.array([_number(number(next(left).get("advantage"))) for _ in group.members])
            for group in before
        ]
        new = self._advantages([np.array([_number(m.reward) for m in group.members]) for group in after])
        return [RegradedGroup(*four) for four in zip(before, after, old, new, strict=True)]

    def _graded(self, group: Group) -> Group:
        rollouts = [self._with_ids(member.rollout) for member in group.members]
        return score_group(group.problem, rollouts, self.rewards)

    def _with_ids(self, rollout: Rollout) -> Rollout:
        """The rollout with its text's token ids, as many as it had tokens: what is missing is the end of the text."""
        if self.tokenizer is None:
            return rollout
        ids = self.tokenizer.encode(rollout.text, add_special_tokens=False)[: len(rollout.completion_ids)]
        ids += [self.tokenizer.eos_token_id] * (len(rollout.completion_ids) - len(ids))
        return replace(rollout, completion_ids=np.array(ids, np.int32))

    def _advantages(self, rewards: Sequence[np.ndarray]) -> list[np.ndarray]:
        """By the run's own estimator; by the group's mean where that would need another completion (ReMax)."""
        if self.algorithm.advantage == "greedy_baseline":
            return [group_mean(r) for r in rewards]
        return self.algorithm.advantages(rewards)


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def _rows(step: int, groups: Sequence[RegradedGroup]) -> Iterator[dict[str, Any]]:
    """What is written of each rollout: both rewards, both advantages, and the new scores with their notes."""
    for group in groups:
        pairs = zip(group.before.members, group.after.members, strict=True)
        for i, (old, new) in enumerate(pairs):
            yield {
                "step": step,
                "problem_id": group.before.problem.id,
                "member": i,
                "reward_before": old.reward,
                "reward": new.reward,
                "advantage_before": _or_none(group.advantages_before[i]),
                "advantage": _or_none(group.advantages_after[i]),
                "scores": {name: {"value": s.value, "note": s.note} for name, s in new.scores.items()},
                "text": old.rollout.text,
            }


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 5)


def _figures(step: int, groups: Sequence[RegradedGroup]) -> RescoredStep:
    before, after = (_rewards([getattr(g, name) for g in groups]) for name in ("before", "after"))
    old, new = (_joined([getattr(g, f"advantages_{name}") for g in groups]) for name in ("before", "after"))
    counted = (np.abs(np.nan_to_num(old)) > FLAT) & (np.abs(np.nan_to_num(new)) > FLAT)
    return RescoredStep(
        step=step,
        completions=len(before),
        reward_before=_mean(before),
        reward_after=_mean(after),
        ungradable_before=float(np.isnan(before).mean()) if len(before) else 0.0,
        ungradable_after=float(np.isnan(after).mean()) if len(after) else 0.0,
        silent_before=float(np.mean([not g.before.has_signal for g in groups])) if groups else 0.0,
        silent_after=float(np.mean([not g.after.has_signal for g in groups])) if groups else 0.0,
        flips=float((np.sign(old[counted]) != np.sign(new[counted])).mean()) if counted.any() else None,
        agreement=_agreement(groups),
    )


def _flipped(steps: Sequence[tuple[int, Sequence[RegradedGroup]]]) -> tuple[RescoredFlip, ...]:
    """The completions whose advantage changes its sign, the largest changes first."""
    flips = (
        (abs(a - b), step, group, i)
        for step, groups in steps
        for group in groups
        for i, (a, b) in enumerate(zip(group.advantages_before, group.advantages_after, strict=True))
        if abs(a) > FLAT and abs(b) > FLAT and (a > 0) != (b > 0)  # NaN is above nothing
    )
    largest = heapq.nlargest(MOST_FLIPS, flips, key=lambda one: one[0])
    return tuple(_flip(step, group, i) for _, step, group, i in largest)


def _flip(step: int, group: RegradedGroup, i: int) -> RescoredFlip:
    old, new = group.before.members[i], group.after.members[i]
    scores = (
        f"{name} {_number(s.value):g}{f' ({s.note})' if s.note else ''}" for name, s in new.scores.items()
    )
    return RescoredFlip(
        step, group.before.problem.id, i, old.reward, new.reward, float(group.advantages_before[i]),
        float(group.advantages_after[i]), "; ".join(scores), old.rollout.text,
    )  # fmt: skip


def _rewards(groups: Sequence[Group]) -> np.ndarray:
    return np.array([_number(m.reward) for g in groups for m in g.members], np.float64)


def _joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate(parts) if parts else np.zeros(0)


def _mean(values: np.ndarray) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None


def _agreement(groups: Sequence[RegradedGroup]) -> float | None:
    """The correlation of rewards within groups, over completions that both could grade."""
    parts: list[tuple[np.ndarray, np.ndarray]] = []
    for group in groups:
        a, b = _rewards([group.before]), _rewards([group.after])
        both = ~np.isnan(a) & ~np.isnan(b)
        if both.sum() > 1:
            parts.append((a[both] - a[both].mean(), b[both] - b[both].mean()))
    x, y = (_joined([part[i] for part in parts]) for i in (0, 1))
    size = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / size if size > 1e-12 else None
