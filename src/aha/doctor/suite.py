"""The table of checks, and the part of it that every run goes through as it starts."""

from __future__ import annotations

from collections.abc import Sequence

from aha.doctor import (
    advantage_checks,
    gradient_checks,
    loss_checks,
    optimizer_checks,
    sampling_checks,
    state_checks,
    token_checks,
    verifier_checks,
    weight_checks,
)
from aha.doctor.finding import Check, Finding, examine, raise_on_failure
from aha.doctor.subject import DoctorContext
from aha.hints import nearest
from aha.types import AhaError

CHECKS: tuple[Check, ...] = (
    *state_checks.CHECKS[:3],
    *sampling_checks.CHECKS,
    *weight_checks.CHECKS,
    *gradient_checks.CHECKS,
    *loss_checks.CHECKS,
    *token_checks.CHECKS,
    *advantage_checks.CHECKS,
    *verifier_checks.CHECKS,
    *optimizer_checks.CHECKS,
    *state_checks.CHECKS[3:],
)
"""Everything below the stages, in the order in which it is examined."""


def choose(checks: Sequence[Check], only: Sequence[str], *, quick: bool) -> list[Check]:
    """The checks named in ``only``, else all, else the quick ones. Raises AhaError for an unknown name."""
    names = [c.name for c in checks]
    for name in only:
        if name not in names:
            raise AhaError(f"No check '{name}'. {nearest(name, names)}")
    if only:
        return [c for c in checks if c.name in only]
    return [c for c in checks if c.quick or not quick]


def at_start(subject: DoctorContext) -> list[Finding]:
    """The quick checks. Raises AhaError on the first that fails, naming figure, cause and fix.

    They sample and ask for log probabilities with the run's own engine and policy, change no weight, take
    no random number but by position, and so leave the run's own numbers as they are.
    """
    findings = examine([c for c in CHECKS if c.quick], subject)
    raise_on_failure(findings)
    return findings
