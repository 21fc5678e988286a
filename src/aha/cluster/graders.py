"""Grading in processes of its own, beside the sampling."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from aha.cluster.connect import Cluster
from aha.cluster.settings import ClusterSettings
from aha.cluster.worker_pool import Member, WorkerPool
from aha.cluster.workers import News, RewardSpec, RewardWorker
from aha.rewards import reward_names
from aha.types import Group, Problem, Rollout, Score, Scored

ATTEMPTS = 2
"""A group that its worker was lost with so often is ungradable, which is never wrong."""


@dataclass(slots=True)
class _Task:
    ticket: int
    problem: Problem
    rollouts: tuple[Rollout, ...]
    attempts: int = 0


class Graders:
    """Reward workers: groups go in by a ticket and come out scored, in any order."""

    def __init__(self, cluster: Cluster, spec: RewardSpec, n: int, first: int, settings: ClusterSettings):
        self._names = reward_names(spec.rewards)
        self._waiting: deque[_Task] = deque()
        self._at: dict[int, _Task] = {}  # by worker
        self._done: list[tuple[int, Group]] = []
        self.pool = WorkerPool(
            cluster, RewardWorker, n, first, spec, settings,
            name="reward worker", resources={"CPU": 1.0}, begin=self._ready,
        )  # fmt: skip

    def submit(self, ticket: int, problem: Problem, rollouts: Sequence[Rollout]) -> None:
        """Have a group graded."""
        self._waiting.append(_Task(ticket, problem, tuple(rollouts)))
        self._assign()

    def pump(self) -> None:
        """Hand out work and take answers, without waiting."""
        self.pool.turn(0)

    def finished(self, *, wait: bool) -> list[tuple[int, Group]]:
        """(ticket, scored group) of those graded since; with ``wait`` of one at least, if any is left."""
        self.pool.turn(0)
        while wait and not self._done and (self._waiting or self._at):
            self.pool.turn(0.5)
        done, self._done = self._done, []
        return done

    def clear(self) -> None:
        """Forget what was submitted."""
        self._waiting.clear()
        self._at.clear()
        self._done.clear()

    def _ready(self, member: Member) -> None:
        """A worker has started; one in place of a lost one takes up what that was at."""
        task = self._at.pop(member.number, None)
        if task is not None:
            task.attempts += 1
            if task.attempts < ATTEMPTS:
                self._waiting.appendleft(task)
            else:
                self._done.append((task.ticket, self._ungradable(task)))
        self._assign()

    def _assign(self) -> None:
        for member in self.pool.members:
            if self._waiting and member.ready and member.asked is None and member.number not in self._at:
                task = self._at[member.number] = self._waiting.popleft()
                self.pool.work(member, task.problem, task.rollouts, then=self._hear)

    def _hear(self, member: Member, news: News) -> None:
        if news.items and (task := self._at.pop(member.number, None)) is not None:
            scored = zip(task.rollouts, news.items[0], strict=True)
            members = tuple(Scored(r, scores, reward) for r, (scores, reward) in scored)
            self._done.append((task.ticket, Group(task.problem, members)))
        if news.over:
            self._assign()

    def _ungradable(self, task: _Task) -> Group:
        scores = {
            name: Score(None, "the reward worker was lost while it graded this") for name in self._names
        }
        return Group(task.problem, tuple(Scored(r, scores, None) for r in task.rollouts))
