"""A run examines itself as it starts: the doctor's quick checks on the session's own parts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from aha.doctor import suite
from aha.doctor.finding import Finding
from aha.doctor.subject import Plan, Subject
from aha.types import Example, Group

if TYPE_CHECKING:
    from aha.stages.rl import RL
    from aha.stages.rl_setup import Session


def plan_of(config: RL) -> Plan:
    """What of a stage's settings the examination needs."""
    return Plan(
        algorithm=config.algorithm,
        rewards=tuple(config.rewards),
        temperature=config.temperature,
        max_tokens=max(config.max_tokens, (config.later_max_tokens or (0, 0))[1]),
        group_size=config.group_size,
        prompts_per_step=config.prompts_per_step,
        max_batch_tokens=config.max_batch_tokens,
        decode_rows=config.decode_rows,
        seed=config.seed,
    )


def examine(session: Session, source: str) -> list[Finding]:
    """Examine the session before its first step. Raises AhaError with check, figure, cause and fix."""
    findings = suite.at_start(patient(session, source))
    passed = len({f.name for f in findings if f.ok})
    seconds = sum(f.seconds for f in findings)
    session.console.note(
        f"Doctor: {passed} quick checks passed in {seconds:.1f} s (all of them: aha doctor)."
    )
    return findings


def patient(session: Session, source: str) -> Subject:
    """The session as the doctor sees it."""
    return Subject(
        model=session.policy.model,
        tokenizer=session.tokenizer,
        task=session.task,
        problems=session.problems,
        prompter=session.prompter,
        engine=session.engine,
        policy=session.policy,
        plan=plan_of(session.config),
        folder=session.folder,
        to_examples=_to_examples,
        source=source,
    )


def _to_examples(groups: Sequence[Group], advantages: Sequence[np.ndarray]) -> list[Example]:
    from aha.stages import rl  # the loop imports the setting up, which imports this

    return rl.to_examples(groups, advantages)
