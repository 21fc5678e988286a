"""Groups graded in threads while sampling goes on: a judge behind an endpoint answers many questions at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from aha.sampling.client.engine import IDLE_SECONDS
from aha.sampling.rollouts import WeightedRewards, score_group
from aha.types import Group, Problem, Rollout


class ThreadedGrader:
    """A ``GroupGrader`` over threads. What a grader raises is raised where its group is taken. ``idle`` is called now
    and then while nothing is graded."""

    def __init__(self, rewards: WeightedRewards, threads: int, idle: Callable[[], object] | None = None):
        self.rewards, self._idle = rewards, idle
        self._pool = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="judging")
        self._waiting: dict[Future[Group], int] = {}

    def submit(self, ticket: int, problem: Problem, rollouts: Sequence[Rollout]) -> None:
        """Grade a group as soon as a thread is free."""
        self._waiting[self._pool.submit(score_group, problem, rollouts, self.rewards)] = ticket

    def finished(self, *, wait: bool) -> list[tuple[int, Group]]:
        """Those graded since; with ``wait`` of one at least, if any is left."""
        done = _done(self._waiting, block=wait)
        while wait and self._waiting and not done:
            if self._idle is not None:
                self._idle()
            done = _done(self._waiting, block=True)
        return [(self._waiting.pop(future), future.result()) for future in done]

    def clear(self) -> None:
        """Forget what was submitted."""
        for future in self._waiting:
            future.cancel()
        self._waiting.clear()

    def close(self) -> None:
        """End the threads, when what they are at is done."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _done(waiting: dict[Future[Group], int], *, block: bool) -> list[Future[Group]]:
    if not waiting:
        return []
    done, _ = wait(waiting, timeout=IDLE_SECONDS if block else 0, return_when=FIRST_COMPLETED)
    return sorted(done, key=lambda future: waiting[future])
