"""Asynchronous rollouts: workers sample for later steps while the policy is updated.

Problems for step t + k are begun when step t is. As soon as an update is done, sampling halts, the new weights are
loaded, and what was begun goes on with them. No token of a group that step t trains on is older than k steps: what
would become too old with the next update is waited for, so that nothing is favoured for being short.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from aha import ranks
from aha.sampling.engine import Engine, GroupGrader
from aha.sampling.rollouts import score_group
from aha.sampling.sampler import SamplingParams
from aha.stages.rl import partial_rollouts
from aha.stages.rl.collect import Collector, seed_for, successes
from aha.stages.rl.partial_rollouts import PartialRollout
from aha.stages.rl.settings import RLSettings
from aha.types import Group, Problem, Rollout

TICK_SECONDS = 0.2


class _Halt(Exception):
    """Sampling is to stop where it is."""


@dataclass(slots=True)
class _OpenProblem:
    """A problem that was begun and not yet trained on."""

    partial: PartialRollout
    collector: Collector
    sampled: bool = False
    submitted: bool = False  # to the grader
    group: Group | None = None  # once it is graded

    @property
    def problem(self) -> Problem:
        return self.collector.problems[self.partial.problem]


class AsynchronousRollouts:
    """Sampling in the background for at most ``limit`` steps ahead. ``collector_at`` gives each step's collector.

    All methods are for the trainer's thread. Between ``collect`` and ``halt`` the engine belongs to this object.
    """

    def __init__(
        self,
        engine: Engine,
        collector_at: Callable[[int], Collector],
        *,
        limit: int,
        prompts: int,
        group_size: int,
        steps: int,
        grader: GroupGrader | None = None,
    ):
        self.engine, self.collector_at, self.grader = engine, collector_at, grader
        self.limit, self.prompts, self.group_size, self.steps = limit, prompts, group_size, steps
        self.open: dict[int, _OpenProblem] = {}  # by ticket, in the order they were started
        self.tickets = self.trained = self.dropped = self.dropped_now = 0
        self.waited = 0.0  # seconds, in the last step
        self._news = threading.Condition()
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._halting = False
        self._sampled = 0  # tokens since they were last shown

    # --- a step -------------------------------------------------------------------------------------------

    def collect(
        self,
        step: int,
        params: SamplingParams,
        progress: float,
        tick: Callable[[int], None] = lambda tokens: None,
    ) -> list[Group]:
        """The groups that this step trains on; afterwards the workers go on. The engine must hold the weights
        of this step, and ``halt`` must have been called before they were loaded."""
        self._drop(step)
        self._begin(step, progress)
        self._start(params)
        started = time.perf_counter()
        chosen = self._wait(step, tick)
        self.waited = time.perf_counter() - started
        groups = []
        for ticket in chosen:
            one = self.open.pop(ticket)
            group = one.group or self._score(one)
            one.collector.curriculum.note(one.partial.problem, *successes(group))
            groups.append(group)
        self.trained += len(groups)
        return groups

    def _drop(self, step: int) -> None:
        """Let go of what is too old for this step, as after a change of the limit."""
        old = [t for t, one in self.open.items() if step - one.partial.step > self.limit]
        for ticket in old:
            del self.open[ticket]
        self.dropped_now = len(old)
        self.dropped += len(old)

    def _begin(self, step: int, progress: float) -> None:
        collector = self.collector_at(step)
        seed = seed_for(collector.seed, "rollout", step)
        ahead = min(self.limit, self.steps - step)
        count = max(0, (ahead + 1) * self.prompts - len(self.open))
        chosen = collector.curriculum.take(count, progress)
        problems = [collector.problems[i] for i in chosen]
        requests = collector.prompter.requests(problems, self.group_size)
        for index, request in zip(chosen, requests, strict=True):
            partial = PartialRollout(index, step, replace(request, seed=seed))
            self.open[self.tickets] = _OpenProblem(partial, collector)
            self.tickets += 1

    def _wait(self, step: int, tick: Callable[[int], None]) -> list[int]:
        """Tickets of the step's groups: all that the next update would make too old, and the first others."""
        due = [t for t, one in self.open.items() if step - one.partial.step >= self.limit]
        while True:
            with self._news:
                ready = [t for t, one in self.open.items() if self._is_ready(one)]
                rest = [t for t in ready if t not in due]
                if set(due) <= set(ready) and len(due) + len(rest) >= min(self.prompts, len(self.open)):
                    return sorted([*due, *rest[: max(0, self.prompts - len(due))]])
                if self._error is not None:
                    raise self._error
                self._news.wait(TICK_SECONDS)
                sampled, self._sampled = self._sampled, 0
            tick(sampled)

    def _is_ready(self, one: _OpenProblem) -> bool:
        return one.sampled and (self.grader is None or one.group is not None)

    def _score(self, one: _OpenProblem) -> Group:
        return score_group(one.problem, one.partial.request.partials, one.collector.rewards)

    # --- in the background --------------------------------------------------------------------------------

    def _start(self, params: SamplingParams) -> None:
        self._halting, self._error = False, None
        waiting = {t: one for t, one in self.open.items() if not one.sampled}
        self._thread = threading.Thread(target=self._work, args=(waiting, params), daemon=True)
        self._thread.start()

    def halt(self) -> None:
        """Stop sampling and keep what there is. Raises what went wrong in the background, if anything did."""
        if self._thread is None:
            return
        with self._news:
            self._halting = True
            self._news.notify_all()
        self._thread.join()
        self._thread = None
        if self._error is not None:
            raise self._error

    def _work(self, waiting: Mapping[int, _OpenProblem], params: SamplingParams) -> None:
        tickets, left = list(waiting), {}
        requests = [waiting[t].partial.request for t in tickets]
        more: dict[str, Any] = {"progress": self._progress, "leftovers": left}
        try:
            for index, rollouts in self.engine.generate(requests, params, **more):
                self._keep(waiting[tickets[index]], rollouts, sampled=True)
            while self.grader is not None and any(one.group is None for one in list(self.open.values())):
                self._progress(0)
                with self._news:
                    self._news.wait(TICK_SECONDS)
        except _Halt:
            pass
        except BaseException as error:
            self._error = error
        for index, rollouts in left.items():
            self._keep(waiting[tickets[index]], rollouts, sampled=False)
        with self._news:
            self._news.notify_all()

    def _progress(self, tokens: int) -> None:
        with self._news:
            self._sampled += tokens
        if self._halting:
            raise _Halt
        if self.grader is not None:
            self._grade(self.grader)

    def _grade(self, grader: GroupGrader) -> None:
        """Hand over what was sampled, and take what is graded."""
        for ticket, one in list(self.open.items()):
            if one.sampled and not one.submitted:
                one.submitted = True
                grader.submit(ticket, one.problem, one.partial.request.partials)
        graded = grader.finished(wait=False)
        with self._news:
            for ticket, group in graded:
                if ticket in self.open:
                    self.open[ticket].group = group
            self._news.notify_all()

    def _keep(self, one: _OpenProblem, rollouts: Sequence[Rollout], *, sampled: bool) -> None:
        with self._news:
            one.partial = replace(one.partial, request=replace(one.partial.request, partials=tuple(rollouts)))
            one.sampled = sampled
            self._news.notify_all()

    # --- figures, state -----------------------------------------------------------------------------------

    def figures(self) -> dict[str, float]:
        """For the metrics: problems begun and not yet trained on, those of them sampled, those dropped for
        their age, and the seconds that the trainer waited."""
        with self._news:
            sampled = sum(one.sampled for one in self.open.values())
        return {
            "asynchronous/open": len(self.open),
            "asynchronous/sampled": sampled,
            "asynchronous/dropped": self.dropped_now,
            "asynchronous/waited": round(self.waited, 3),
        }

    def state(self) -> dict[str, Any]:
        """For a checkpoint, while halted: every problem that was begun and not trained on, with what there is."""
        rows = [one.partial.state() for one in self.open.values()]
        counts = {"tickets": self.tickets, "trained": self.trained, "dropped": self.dropped}
        return {"open": rows, "counts": counts}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state()``: what was sampled whole is graded anew, the rest is continued."""
        for name, value in state["counts"].items():
            setattr(self, name, int(value))
        rows = state["open"]
        loaded = [partial_rollouts.load(row) for row in rows]
        self.open = {
            self.tickets - len(rows) + i: _OpenProblem(one, self.collector_at(one.step))
            for i, one in enumerate(loaded)
        }


def make(
    config: RLSettings, engine: Engine, collector_at: Callable[[int], Collector], grader: GroupGrader | None
) -> AsynchronousRollouts | None:
    """What samples ahead for a stage, on the first rank; None where it does not, and on the others."""
    if not config.max_staleness or not ranks.is_main():
        return None
    return AsynchronousRollouts(
        engine,
        collector_at,
        limit=config.max_staleness,
        prompts=config.prompts_per_step,
        group_size=config.group_size,
        steps=config.steps,
        grader=grader,
    )


def collect(one: AsynchronousRollouts | None, *asked: Any) -> list[Group]:
    """What ``collect`` of the first rank's object gives, on every rank; the others have none."""

    def work() -> list[Group]:
        assert one is not None
        return one.collect(*asked)

    return ranks.broadcast_object(work)
