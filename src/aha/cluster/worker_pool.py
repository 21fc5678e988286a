"""The workers of one kind, seen from the trainer: asked, listened to, watched, and replaced where they are lost."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

import aha
from aha.cluster.connect import Cluster, gone
from aha.cluster.settings import ClusterSettings
from aha.cluster.watchdog import Watchdog
from aha.cluster.workers import Hello, News
from aha.sampling.engine import LostWorker
from aha.types import AhaError

LOG = logging.getLogger("aha.cluster")
UNWATCHED = 2.0
"""Seconds between two looks from which on nobody looked."""


@dataclass(eq=False)
class Member:
    """One worker: its process, the one call to it that is awaited, and what is done with the answer."""

    name: str
    number: int
    actor: Any = None
    pid: int = 0
    ready: bool = False
    asked: Any = None
    then: Callable[[Member, Any], None] | None = None
    watch: Watchdog = field(default_factory=Watchdog)
    failures: int = 0  # in a row
    job: int = 0
    taken: int = 0  # items of the job's news


class WorkerPool:
    """``n`` workers of class ``kind``, each in a room of its own from number ``first`` on, prepared with ``spec``.

    ``begin`` is called with each member when it is ready for work: after its start, and after a replacement's.
    """

    def __init__(
        self,
        cluster: Cluster,
        kind: type,
        n: int,
        first: int,
        spec: Any,
        settings: ClusterSettings,
        *,
        name: str,
        resources: Mapping[str, float],
        begin: Callable[[Member], None],
    ):
        self.cluster, self.kind, self.settings, self.begin = cluster, kind, settings, begin
        self.first, self.resources = first, resources
        self.events: list[LostWorker] = []
        self._spec = cluster.ray.put(spec)
        self._looked = time.monotonic()
        self.members = [Member(f"{name} {i}", i) for i in range(n)]
        for member in self.members:
            self._start(member)

    # --- asking -------------------------------------------------------------------------------------------

    def ask(
        self,
        member: Member,
        method: str,
        *args: Any,
        then: Callable[[Member, Any], None] | None = None,
        limit: float | None = None,
    ) -> None:
        """Call a method; ``then`` gets the answer. With ``limit`` a new piece of work begins, which may stand
        still for so long; without, the call belongs to the one before."""
        if limit is not None:
            member.watch.begin(time.monotonic(), limit)
        member.asked, member.then = getattr(member.actor, method).remote(*args), then

    def work(self, member: Member, *args: Any, then: Callable[[Member, News], None]) -> None:
        """Begin a job with these arguments; ``then`` gets its news again and again until it is over."""
        member.job, member.taken = member.job + 1, 0

        def listen(member: Member, _: Any) -> None:
            self.ask(member, "news", member.job, member.taken, then=hear)

        def hear(member: Member, news: News) -> None:
            member.watch.seen(news.count, time.monotonic())
            if news.error or news.failure:
                raise AhaError(news.error or f"{member.name} failed:\n{news.failure}")
            if news.items:
                member.failures = 0
            member.taken += len(news.items)
            if not news.over:
                listen(member, None)
            then(member, news)

        self.ask(member, "begin", member.job, *args, then=listen, limit=self.settings.hang_timeout)

    def turn(self, wait: float) -> None:
        """Take the answers that are there, or the first within ``wait`` seconds; replace who is lost."""
        asked = {m.asked: m for m in self.members if m.asked is not None}
        if not asked:
            return
        now = time.monotonic()
        if now - self._looked > UNWATCHED:
            for member in asked.values():
                member.watch.unseen(now - self._looked)
        ready = self.cluster.ready(list(asked), wait)
        self._looked = time.monotonic()
        for ref in ready:
            self._answered(asked[ref], ref)
        for member in self.members:
            if member.asked is not None and member.watch.hung(self._looked):
                seconds = self._looked - member.watch.since
                self._lost(member, f"no progress for {seconds:.0f} s (cluster.hang_timeout): hung")

    def _answered(self, member: Member, ref: Any) -> None:
        if member.asked is not ref:  # replaced, or asked something else, by another answer of this turn
            return
        failures = self.cluster.ray.exceptions
        try:
            answer = self.cluster.ray.get(ref)
        except (failures.RayActorError, failures.WorkerCrashedError, failures.ObjectLostError) as error:
            self._lost(member, _reason(error))
            return
        except failures.RayTaskError as error:
            cause = error.cause
            raise AhaError(
                str(cause) if isinstance(cause, AhaError) else f"{member.name}: {error}"
            ) from error
        except failures.RayError as error:
            raise gone(error) from error
        then, member.asked, member.then = member.then, None, None
        if then is not None:
            then(member, answer)

    # --- starting, replacing, ending ------------------------------------------------------------------------

    def _start(self, member: Member) -> None:
        member.ready, member.pid = False, 0
        bundle = self.first + member.number
        member.actor = self.cluster.actor(self.kind, bundle, self.resources)
        self.ask(member, "hello", then=self._met, limit=self.settings.start_timeout)

    def _met(self, member: Member, hello: Hello) -> None:
        member.pid = hello.pid  # known before anything long is asked, so that it can be ended
        ours = {"aha": aha.__version__, "torch": torch.__version__}
        for package, version in ours.items():
            if getattr(hello, package) != version:
                raise AhaError(
                    f"{member.name} has {package} {getattr(hello, package)}, the trainer {version}: their numbers "
                    "could differ. Install the same versions on all machines of the cluster."
                )
        self.ask(member, "prepare", self._spec, then=self._prepared, limit=self.settings.start_timeout)

    def _prepared(self, member: Member, _: Hello) -> None:
        member.ready = True
        self.begin(member)

    def _lost(self, member: Member, reason: str) -> None:
        member.failures += 1
        member.ready, member.asked = False, None
        event = LostWorker(member.name, reason)
        self.events.append(event)
        LOG.warning("%s lost: %s", event.worker, event.reason)
        self.cluster.kill(member.actor, self.first + member.number, member.pid)
        if member.failures >= self.settings.max_failures:
            raise AhaError(
                f"{member.name} was lost {member.failures} times in a row without finishing anything, last: {reason}. "
                "Memory that runs out looks like this: give workers fewer completions at once (max_num_seqs), or "
                "lower workers. The same command continues from the last checkpoint."
            )
        self._start(member)

    def replace(self, member: Member, reason: str) -> None:
        """End a worker and start another in its place."""
        self._lost(member, reason)

    def close(self) -> None:
        """End all of them."""
        for member in self.members:
            self.cluster.kill(member.actor, self.first + member.number, member.pid)
            member.asked = None


def _reason(error: Exception) -> str:
    """Ray's words in one line."""
    text = " ".join(str(error).split())
    return f"its process died ({text[:200]})" if text else "its process died"
