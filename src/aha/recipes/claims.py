"""The whole recipe and the stages beside it that the paper's claims need: what happens without the language
reward, with preference rewards for too long, and with PPO in the place of GRPO.

All stages of ``r1`` are the same, so in the folder of a finished ``aha r1`` only the new ones run. Settings given
to ``aha r1`` have to be given again, and to the new stages by their own names.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aha.recipes import r1
from aha.runs.pipeline import Stage, ordered
from aha.stages.evaluation.compare import Compare
from aha.stages.rl import RL

PAPER = r1.PAPER
LONGER = 4
"""The hacked stage has so many times the steps with preference rewards that ``r1`` has, and their weight as many
times: in the paper hacking sets in where preference rewards are used for long (figure 6)."""
SHARED = (
    *("clip_low", "clip_high", "clip_dual", "aggregation", "constant_length", "kl", "kl_coef", "kl_place"),
    *("reference_every", "entropy_coef"),
)
"""What PPO takes over from the algorithm of ``zero``: they differ in their advantages alone."""


def build(
    model: str | None = None,
    task: str | None = None,
    student: str | None = None,
    teacher: str | None = None,
    seed: int = 0,
    data: str | None = None,
    test_data: str | None = None,
    **prompts: str,
) -> Sequence[Stage]:
    """The stages of ``r1`` with the same options, and those of the claims with a comparison of their own."""
    whole = r1.build(model, task, student, teacher, seed, data, test_data, **prompts)
    stages: dict[str, Any] = {stage.name: stage for stage in ordered(whole)}
    more = (
        without_language(stages["dev2"]),
        hacked(stages["r1"], r1.prompts_of(prompts.get("general"), prompts.get("harmful"))),
        ppo(stages["zero"], "ppo", 1.0),
        ppo(stages["zero"], "ppo_095", 0.95),
    )
    names = tuple(stage.name for stage in more)
    table = changed(stages["compare"], Compare, name="compare_claims", models=more, names=names)
    return [*whole, table]


def changed(stage: Stage, kind: type[Stage], /, **changes: Any) -> Any:
    """A stage like another one, its inputs the same objects and its algorithm a copy, with changes."""
    fields = {name: getattr(stage, name) for name in type(stage).model_fields}
    if "algorithm" in fields:
        fields["algorithm"] = stage.algorithm.model_copy()  # type: ignore[attr-defined]
    return kind.model_validate(fields | changes)


def without_language(dev2: RL) -> RL:
    """``dev2`` without the language reward, for as many steps."""
    rewards = {name: weight for name, weight in dev2.rewards.items() if name.partition(":")[0] != "language"}
    return changed(dev2, RL, name="dev2_no_language", rewards=rewards)


def hacked(last: RL, task: str) -> RL:
    """``r1`` on general prompts alone, with preference rewards from the first step, heavier and longer; proxy
    and truth are evaluated seven times on the way."""
    steps = LONGER * (last.steps - last.preference_start_step + 1)
    return changed(
        last, RL, name="hacked", task=task, data=None, test_data=None, steps=steps, preference_start_step=1,
        preference_weight=LONGER * last.preference_weight, eval_every=max(1, steps // 7),
    )  # fmt: skip


def ppo(zero: RL, name: str, lam: float) -> RL:
    """``zero`` by PPO with a critic, lambda of actor and critic alike, on rollouts of the same size, for the first
    half of its steps. Its learning rate goes as that of ``zero`` does, so that equal steps can be compared."""
    half = max(1, zero.steps // 2)
    fall = max(1, half - zero.warmup_steps) / max(1, zero.steps - zero.warmup_steps)
    taken = {key: getattr(zero.algorithm, key) for key in SHARED}
    algorithm = type(zero.algorithm).model_validate({"preset": "ppo", "lam": lam, "lam_critic": lam} | taken)
    return changed(
        zero, RL, name=name, algorithm=algorithm, steps=half, min_lr_ratio=1 - (1 - zero.min_lr_ratio) * fall
    )
