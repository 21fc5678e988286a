"""One generation of trainer ranks: they start together, and together they end, well or by a fault.

What counts as progress is that work went on (``ranks.progress``): tokens were sampled or trained on, groups graded,
files written, ranks met. Ranks wait for each other, so that one which hangs brings all to a stand sooner or later,
and a generation hangs once none of its ranks has made progress for too long; while one still does, it is slow.
"""

from __future__ import annotations

import codecs
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, TextIO

import aha
from aha import ranks
from aha.cluster.connect import Cluster
from aha.cluster.rank_actor import RankActor, RankHello, RankNews
from aha.cluster.settings import RankSettings
from aha.cluster.watchdog import Watchdog
from aha.types import AhaError

TURN_SECONDS = 1.0
UNWATCHED = 5.0
"""Seconds between two looks from which on nobody looked."""
GRACE_SECONDS = 30.0
"""After one rank failed: for the others to notice and to say what they have to say."""
END_SECONDS = 15.0
INTERRUPTED = 130
TOLD = (1, 2, INTERRUPTED)
"""Exit codes of a command that said why it ended: nothing that another start could change."""
TAIL = 4000  # characters of a later rank's last words
_UTF8 = codecs.getincrementaldecoder("utf-8")


class Fault(Exception):
    """The ranks were lost, and are to be started again."""


@dataclass(frozen=True, slots=True)
class Command:
    """What the ranks run: ``aha WORDS`` in a folder that all machines see."""

    words: tuple[str, ...]
    folder: str


@dataclass(eq=False)
class Rank:
    """One rank: the actor that keeps it, the call to it that is awaited, and what is known of it."""

    number: int
    actor: Any
    pid: int = 0  # the actor's
    asked: Any = None
    code: int | None = None
    said: str = ""  # the end of what it wrote as errors
    watch: Watchdog = field(default_factory=Watchdog)
    decoders: tuple[Any, Any] = field(default_factory=lambda: (_UTF8("replace"), _UTF8("replace")))


class Generation:
    """``n`` ranks of one command, each in its bundle of the cluster; the first one's output goes to ``out`` and
    ``err`` as it comes. ``run`` once, then ``end``."""

    def __init__(self, cluster: Cluster, settings: RankSettings, command: Command, out: TextIO, err: TextIO):
        self.cluster, self.settings, self.command = cluster, settings, command
        self.out, self.err = out, err
        self.ranks: list[Rank] = []
        self._looked = 0.0
        self._failing = 0.0  # since when one rank has failed

    def run(self) -> int:
        """The command's exit code. Raises Fault where ranks died, hung or crashed, and AhaError for what another
        start would not change; Ctrl-C reaches the ranks, and is raised unless the first one answered it."""
        self._start()
        try:
            while True:
                self._turn()
                code = self._verdict()
                if code is not None:
                    return code
        except KeyboardInterrupt:
            self._interrupt()
            if self.ranks[0].code in TOLD:
                return INTERRUPTED
            raise

    # --- starting -----------------------------------------------------------------------------------------

    def _start(self) -> None:
        bundles = self.cluster.bundles
        self.ranks = [Rank(i, self.cluster.actor(RankActor, i, b)) for i, b in enumerate(bundles)]
        hellos: list[RankHello] = self._all("hello", [()] * len(bundles))
        for rank, hello in zip(self.ranks, hellos, strict=True):
            rank.pid = hello.pid
            _check(rank.number, hello)
        per_rank = environments(hellos, self.cluster.nodes(), self.cluster.address)
        words = (self.command.words, self.command.folder)
        self._all("begin", [(*words, environment) for environment in per_rank])
        self._looked = time.monotonic()
        for rank in self.ranks:
            rank.watch.begin(self._looked, self.settings.start_timeout)
            self._ask(rank)

    def _all(self, method: str, args: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Every actor's answer, within the time that a start may take."""
        refs = [getattr(r.actor, method).remote(*a) for r, a in zip(self.ranks, args, strict=True)]
        deadline = time.monotonic() + self.settings.start_timeout
        return [
            self._get(rank, ref, deadline - time.monotonic())
            for rank, ref in zip(self.ranks, refs, strict=True)
        ]

    def _get(self, rank: Rank, ref: Any, timeout: float) -> Any:
        failures = self.cluster.ray.exceptions
        try:
            return self.cluster.ray.get(ref, timeout=max(0.1, timeout))
        except failures.GetTimeoutError as error:
            raise Fault(f"the actor of rank {rank.number} did not start in time") from error
        except failures.RayTaskError as error:
            cause = error.cause
            raise AhaError(
                str(cause) if isinstance(cause, AhaError) else f"Rank {rank.number}: {error}"
            ) from error
        except failures.RayError as error:
            why = " ".join(str(error).split())[:200]
            raise Fault(f"the actor of rank {rank.number} died ({why})") from error

    # --- watching -----------------------------------------------------------------------------------------

    def _ask(self, rank: Rank) -> None:
        rank.asked = rank.actor.news.remote()

    def _turn(self) -> None:
        """Take what the ranks have to tell, or wait for a while for the first of it."""
        asked = {r.asked: r for r in self.ranks if r.asked is not None}
        now = time.monotonic()
        if now - self._looked > UNWATCHED:
            for rank in self.ranks:
                rank.watch.unseen(now - self._looked)
        ready = self.cluster.ready(list(asked), TURN_SECONDS)
        self._looked = time.monotonic()
        for ref in ready:
            self._hear(asked[ref], self._get(asked[ref], ref, END_SECONDS))

    def _hear(self, rank: Rank, news: RankNews) -> None:
        out, err = (
            decoder.decode(part) for decoder, part in zip(rank.decoders, (news.out, news.err), strict=True)
        )
        rank.said = (rank.said + err)[-TAIL:]
        if rank.number == 0:
            _show(self.out, out)
            _show(self.err, err)
        if news.count:  # it has met the others
            rank.watch.limit = self.settings.hang_timeout
        rank.watch.seen(news.count, self._looked)
        rank.code, rank.asked = news.code, None
        if rank.code is None:
            self._ask(rank)

    def _verdict(self) -> int | None:
        """The exit code, once it is known. Raises Fault."""
        codes = {r.number: r.code for r in self.ranks if r.code is not None}
        for number, code in codes.items():
            if code < 0:
                raise Fault(f"rank {number} was killed by {signal.Signals(-code).name}")
        failed = {number: code for number, code in codes.items() if code}
        over = len(codes) == len(self.ranks)
        if failed:
            self._failing = self._failing or self._looked
            if over or self._looked - self._failing > GRACE_SECONDS:
                return self._failed(failed)
        elif over:
            return 0
        self._raise_hung()
        return None

    def _raise_hung(self) -> None:
        going = [r for r in self.ranks if r.code is None]
        if going and all(r.watch.hung(self._looked) for r in going):
            seconds = self._looked - max(r.watch.since for r in going)
            raise Fault(f"no rank made progress for {seconds:.0f} s (ranks.hang_timeout): hung")

    def _failed(self, failed: dict[int, int]) -> int:
        """The exit code of a command that explained its error. Raises Fault where no rank did."""
        told = [number for number, code in failed.items() if code in TOLD]
        if told:
            if 0 not in told:
                _show(self.err, self.ranks[told[0]].said)
            return failed[told[0]]
        crashed = [number for number, code in failed.items() if code != ranks.LOST]
        if not crashed:
            raise Fault("the ranks lost each other")
        if crashed[0]:
            _show(self.err, f"Rank {crashed[0]}:\n{self.ranks[crashed[0]].said}\n")
        raise Fault(f"rank {crashed[0]} ended with exit code {failed[crashed[0]]}")

    # --- ending -------------------------------------------------------------------------------------------

    def _interrupt(self) -> None:
        """Hand Ctrl-C on, and let the ranks say what they have to say."""
        for rank in self.ranks:
            rank.actor.interrupt.remote()
        deadline = time.monotonic() + GRACE_SECONDS
        while any(r.code is None for r in self.ranks) and time.monotonic() < deadline:
            try:
                self._turn()
            except Fault:
                return

    def end(self) -> None:
        """Kill what is left of the ranks, and their actors."""
        asked = [rank.actor.end.remote() for rank in self.ranks]
        asked += [rank.asked for rank in self.ranks if rank.asked is not None]
        if asked:
            self.cluster.wait(asked, len(asked), END_SECONDS)
        for rank in self.ranks:
            self.cluster.kill(rank.actor, rank.number, rank.pid)  # and with it its child: see ``leash``


def environments(
    hellos: Sequence[RankHello], nodes: Sequence[tuple[str, str]], ray_address: str
) -> list[dict[str, str]]:
    """What torchrun would set for each rank, given the (id, address) of each one's machine. The ranks of a machine
    see each other's GPUs, each its own at the place of its local rank."""
    per_rank = []
    for number, (node, _) in enumerate(nodes):
        here = [i for i, (other, _) in enumerate(nodes) if other == node]
        gpus = ",".join(name for i in here for name in hellos[i].gpus)
        per_rank.append(
            {
                "RANK": str(number),
                "WORLD_SIZE": str(len(nodes)),
                "LOCAL_RANK": str(here.index(number)),
                "LOCAL_WORLD_SIZE": str(len(here)),
                "MASTER_ADDR": nodes[0][1],
                "MASTER_PORT": str(hellos[0].port),
                "CUDA_VISIBLE_DEVICES": gpus,
                "RAY_ADDRESS": ray_address,  # for workers beside them
            }
        )
    return per_rank


def _check(number: int, hello: RankHello) -> None:
    for package, ours in {"aha": aha.__version__, "torch": version("torch")}.items():
        if getattr(hello, package) != ours:
            raise AhaError(
                f"The machine of rank {number} has {package} {getattr(hello, package)}, this one {ours}: their "
                "numbers could differ. Install the same versions on all machines of the cluster."
            )


def _show(stream: TextIO, text: str) -> None:
    if text:
        stream.write(text)
        stream.flush()
