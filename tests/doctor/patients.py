"""Patients for the doctor: a small random model under a run's settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from conftest import make_model

from aha.doctor.finding import Finding, examine
from aha.doctor.subject import DoctorContext, ExaminationPlan
from aha.sampling.local import engine as local
from aha.sampling.rollouts import Prompter
from aha.tasks import get_task
from aha.training import policy as policies
from aha.training import sequences
from aha.training.algorithm import Algorithm

_PROBLEMS: dict[int, Any] = {}


def patient(
    tokenizer: Any,
    folder: Path,
    *,
    seed: int = 0,
    data_seed: int = 0,
    dtype: torch.dtype = torch.float32,
    algorithm: Any = "grpo",
    model: Any = None,
    **plan: Any,
) -> DoctorContext:
    """A run that is about to start. Everything is made anew, so that a planted bug is in all of it."""
    task = get_task("countdown")
    if data_seed not in _PROBLEMS:
        _PROBLEMS[data_seed] = task.load("train", 12, data_seed)
    model = make_model(tokenizer, dtype=dtype, seed=seed) if model is None else model
    settings = {"max_tokens": 64, "group_size": 4, "prompts_per_step": 3} | plan
    return DoctorContext(
        model=model,
        tokenizer=tokenizer,
        task=task,
        problems=_PROBLEMS[data_seed],
        prompter=Prompter(tokenizer, "r1_zero"),
        engine=local.LocalEngine(model, tokenizer),
        policy=policies.Policy(model, policies.OptimizerConfig(lr=1e-4)),
        plan=ExaminationPlan(algorithm=Algorithm.model_validate(algorithm), **settings),
        folder=folder,
        to_examples=lambda groups, advantages: sequences.to_examples(groups, advantages),
        source="random-base",
        data_seed=data_seed,
        _sizes=(16, 4),
    )


def findings(subject: DoctorContext, *names: str) -> list[Finding]:
    """What the checks of these names find; all of them without names."""
    from aha.doctor.full.suite import CHECKS

    unknown = set(names) - {c.name for c in CHECKS}
    assert not unknown, unknown
    return examine([c for c in CHECKS if not names or c.name in names], subject)


def describe(results: list[Finding]) -> str:
    """Failed findings in words, for assertions."""
    return "\n".join(f"{f.name}: {f.compared}: {f.figure} ({f.threshold})" for f in results if f.ok is False)
