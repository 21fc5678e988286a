"""What a check finds, and how checks are run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from aha.types import AhaError

if TYPE_CHECKING:
    from aha.doctor.subject import DoctorContext


@dataclass(frozen=True, slots=True)
class Finding:
    """One comparison: what was compared, the figure, the threshold it must keep, and, where it does not,
    the likely cause and the fix. ``ok`` None = not applicable, with the reason as ``cause``."""

    name: str
    ok: bool | None
    compared: str
    figure: str = ""
    threshold: str = ""
    cause: str = ""
    fix: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Check:
    """A named check. ``quick`` ones run at the start of every training run and leave the weights alone."""

    name: str
    about: str
    run: Callable[[DoctorContext], Iterator[Finding]]
    quick: bool = False


class NotApplicable(Exception):
    """A check does not apply to this model or run; the message says why."""


def at_most(
    compared: str, value: float, limit: float, *, cause: str, fix: str, more: str = "", unit: str = ""
) -> Finding:
    """``value`` must be a number and at most ``limit``."""
    figure = f"{value:.3g}{unit}" + (f" ({more})" if more else "")
    ok = bool(value <= limit)  # False for NaN
    return Finding("", ok, compared, figure, f"at most {limit:.3g}{unit}", *_why(ok, cause, fix))


def at_least(
    compared: str, value: float, limit: float, *, cause: str, fix: str, more: str = "", unit: str = ""
) -> Finding:
    """``value`` must be a number and at least ``limit``."""
    figure = f"{value:.3g}{unit}" + (f" ({more})" if more else "")
    ok = bool(value >= limit)
    return Finding("", ok, compared, figure, f"at least {limit:.3g}{unit}", *_why(ok, cause, fix))


def holds(compared: str, ok: bool, figure: str, *, cause: str, fix: str, threshold: str = "") -> Finding:
    """A statement that must be true."""
    return Finding("", bool(ok), compared, figure, threshold or "must hold", *_why(bool(ok), cause, fix))


def count(compared: str, wrong: Sequence[str], total: int, *, cause: str, fix: str) -> Finding:
    """None of ``total`` cases may be among the ``wrong`` ones."""
    figure = f"{len(wrong)} of {total} wrong" + (f": {'; '.join(wrong[:3])}" if wrong else "")
    return Finding(
        "", not wrong and total > 0, compared, figure, "0 wrong", *_why(not wrong and total > 0, cause, fix)
    )


def _why(ok: bool, cause: str, fix: str) -> tuple[str, str]:
    return ("", "") if ok else (cause, fix)


def examine(
    checks: Sequence[Check],
    subject: DoctorContext,
    *,
    starting: Callable[[Check], None] = lambda check: None,
    finished: Callable[[Finding], None] = lambda finding: None,
    debug: bool = False,
) -> list[Finding]:
    """Run the checks in order; every finding is also told to ``finished`` as it is made. With ``debug`` what a
    check raises is raised, instead of being a finding."""
    findings = []
    for check in checks:
        starting(check)
        for finding in _run(check, subject, debug):
            findings.append(finding)
            finished(finding)
    return findings


def _run(check: Check, subject: DoctorContext, debug: bool) -> Iterator[Finding]:
    """The findings of one check, each with the seconds since the one before. A check that raises has
    failed: the examined code could not do what was asked of it."""
    clock = time.perf_counter()
    try:
        for finding in check.run(subject):
            now = time.perf_counter()
            yield replace(finding, name=check.name, seconds=round(now - clock, 3))
            clock = now
    except NotApplicable as reason:
        yield Finding(check.name, None, check.about, cause=str(reason), seconds=_since(clock))
    except NotImplementedError:
        cause = "the engine does not say what it holds: it has no prove and altered of its own"
        yield Finding(check.name, None, check.about, cause=cause, seconds=_since(clock))
    except MemoryError as error:
        if debug:
            raise
        yield _raised(check, error, "this machine's memory", "use a smaller model or --quick", clock)
    except AhaError as error:
        if debug:
            raise
        yield _raised(check, error, "see the message", "do what the message says", clock)
    except Exception as error:  # whatever a broken program raises is the finding
        if debug:
            raise
        yield _raised(
            check,
            error,
            "the code under examination raised",
            "see it with --debug --only " + check.name,
            clock,
        )


def _raised(check: Check, error: BaseException, cause: str, fix: str, clock: float) -> Finding:
    words = " ".join(f"{type(error).__name__}: {error}".split())[:400]
    return Finding(check.name, False, check.about, words, "no error", cause, fix, _since(clock))


def _since(clock: float) -> float:
    return round(time.perf_counter() - clock, 3)


def failures(findings: Sequence[Finding]) -> list[Finding]:
    """Those that failed."""
    return [f for f in findings if f.ok is False]


def raise_on_failure(findings: Sequence[Finding]) -> None:
    """Raises AhaError, naming check, figure, threshold, cause and fix of the first that failed."""
    failed = failures(findings)
    if failed:
        f = failed[0]
        others = sorted({x.name for x in failed[1:]} - {f.name})
        more = f" Also failed: {', '.join(others)}." if others else ""
        raise AhaError(
            f"The doctor stopped the run: {f.name} failed. {f.compared}: {f.figure} (threshold: "
            f"{f.threshold}). Likely cause: {f.cause}. Fix: {f.fix}.{more} All checks: aha doctor; without "
            "them: --no-doctor."
        )
