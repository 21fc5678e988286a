"""The worker pool: limits, kills, threads, asyncio, forks, and that nothing of a model's text runs."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from aha.rewards.math import Outcome, Pool, verify, workers

SUM = ("\\sum_{k=1}^{100} k", "\\boxed{5050}")


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    pool = Pool(workers=1)
    pool.compare("1", "1")  # starts the nursery, which takes its time
    yield pool
    pool.close()


@pytest.fixture(scope="module")
def patient() -> Iterator[Pool]:
    """Workers whose grades are right however busy the machine is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workers, "HARD_SECONDS", 120.0)
        patch.setattr(workers, "START_SECONDS", 300.0)
        pool = Pool(workers=1, seconds=100.0)
        pool.compare("1", "1")
        yield pool
        pool.close()


def test_a_stated_gold_is_worked_out(patient: Pool) -> None:
    assert verify(*SUM, pool=patient).outcome is Outcome.CORRECT
    assert verify(SUM[0], "\\boxed{5051}", pool=patient).outcome is Outcome.WRONG


def test_no_process_without_need() -> None:
    pool = Pool()
    assert verify("x^2-1", "\\boxed{(x-1)(x+1)}", pool=pool).outcome is Outcome.CORRECT
    assert pool._all == []


def test_a_slow_grade_is_killed_and_costs_only_itself(pool: Pool) -> None:
    started = time.monotonic()
    verdict = pool.compare("\\sum_{k=1}^{300000} k!", "\\sum_{k=1}^{300001} k!")
    assert verdict.outcome is Outcome.UNKNOWN
    assert time.monotonic() - started < 60, "the sum takes hours"
    assert verify(*SUM, pool=pool).outcome is not Outcome.WRONG


def test_a_dead_worker_costs_one_grade(patient: Pool) -> None:
    process = patient._all[0].process
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    outcomes = {verify(*SUM, pool=patient).outcome for _ in range(2)}
    assert Outcome.CORRECT in outcomes
    assert Outcome.WRONG not in outcomes


def test_threads_share_the_pool(patient: Pool) -> None:
    outcomes: list[Outcome] = []
    threads = [
        threading.Thread(target=lambda: outcomes.append(verify(*SUM, pool=patient).outcome)) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes == [Outcome.CORRECT] * 4


def test_asyncio(patient: Pool) -> None:
    async def both() -> list[Outcome]:
        verdicts = await asyncio.gather(*(asyncio.to_thread(verify, *SUM, pool=patient) for _ in range(2)))
        return [verdict.outcome for verdict in verdicts]

    assert asyncio.run(both()) == [Outcome.CORRECT] * 2


def test_a_forked_process_starts_its_own(patient: Pool) -> None:
    child = os.fork()
    if child == 0:
        try:
            good = verify(*SUM, pool=patient).outcome is Outcome.CORRECT
            patient.close()
        except BaseException:
            good = False
        os._exit(0 if good else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert verify(*SUM, pool=patient).outcome is Outcome.CORRECT  # the parent's worker is unharmed


@pytest.mark.parametrize(
    "payload",
    [
        "__import__('os').system('touch {path}')",
        "open('{path}','w')",
        "(lambda:open('{path}','w'))()",
        "exec(\"open('{path}','w')\")",
        "\\sum_{{k=1}}^{{open('{path}','w')}} k",
        "[x for x in [open('{path}','w')]]",
    ],
)
def test_model_text_is_never_run(payload: str, tmp_path: Path, pool: Pool) -> None:
    target = tmp_path / "written"
    text = payload.format(path=target)
    for gold in ("3", "\\sum_{k=1}^{2} k", "x^2", "(1,2)"):
        assert verify(gold, f"\\boxed{{{text}}}", pool=pool).outcome is not Outcome.CORRECT
        pool.compare(gold, text)  # even past the gate
    assert not target.exists()


def test_the_gate_refuses_what_is_no_mathematics() -> None:
    assert workers.refuses("1", "x" * 2000)
    assert workers.refuses("1", "\\write18{ls}")
    assert workers.refuses("1", "9" * 50)
    assert not workers.refuses("\\sum_{k=1}^{n} k", "\\frac{n(n+1)}{2}")
