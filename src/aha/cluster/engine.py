"""An engine over rollout workers: each an in-process engine with a copy of the weights, in a process of its own.

A sample's random numbers depend on its key alone, so which worker draws it changes nothing, nor does drawing it
again after a worker was lost.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch

from aha import ranks
from aha.cluster.connect import Cluster
from aha.cluster.graders import Graders
from aha.cluster.load_balancing import cost, deal
from aha.cluster.settings import ClusterSettings
from aha.cluster.worker_pool import Member, WorkerPool
from aha.cluster.workers import News, RewardSpec, RolloutWorker, Spec, pack, writable
from aha.modeling import max_context
from aha.sampling.engine import (
    UNLOADED,
    Engine,
    EngineSetup,
    LostWorker,
    Partials,
    Proof,
    Request,
    check_room,
)
from aha.sampling.hashes import digests, hash_of_all
from aha.sampling.sampler import SamplingParams
from aha.types import AhaError, Finish, Rollout

TURN_SECONDS = 0.5


class RayEngine(Engine):
    """Rollouts from ``workers`` processes; ``rows`` completions at once in each of them.

    Use it in a ``with``, or ``close`` it. Nothing is sampled before ``load_weights``. ``model`` gives the
    architecture, not the weights. Raises AhaError where Ray is missing or has not got the resources.
    """

    for_all = True
    computes_alike = True
    continues = True
    samples_beside = True
    has_workers = True
    made_from_unsharded = True  # its size is what the object store is made for

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        settings: ClusterSettings | None = None,
        *,
        workers: int = 2,
        rows: int = 512,
        rewards: RewardSpec | None = None,
    ):
        self.settings = s = settings or ClusterSettings.model_validate({})
        self.tokenizer, self.workers = tokenizer, workers
        self.version, self.hash = UNLOADED, ""
        self.max_len = max_context(model)
        own = {"CPU": s.cpus} | ({"GPU": s.gpus} if s.gpus else {})
        graders = s.reward_workers if rewards is not None else 0
        weights = sum(p.numel() * p.element_size() for p in model.parameters())
        self.cluster = Cluster(
            [own] * workers + [{"CPU": 1.0}] * graders,
            s.address,
            store_bytes=4 * weights,
            spread=s.spread,
            timeout=s.start_timeout,
        )
        self._sent: tuple[Any, int, dict[str, str]] | None = None  # parcel, version, hashes
        self._held: dict[int, int] = {}  # version by worker
        self._work: dict[int, dict[int, Request]] = {}  # by worker, what it has not finished
        self._call: tuple[SamplingParams, int] | None = None
        self._finished: list[tuple[int, tuple[Rollout, ...]]] = []
        self._sampled = self._calls = 0
        self._lengths = (0.0, 0)  # tokens and number of completions that ended
        try:
            threads = max(1, int(s.cpus))
            self.pool = WorkerPool(
                self.cluster, RolloutWorker, workers, 0, spec_of(model, tokenizer, s, rows, threads), s,
                name="rollout worker", resources=own, begin=self._ready,
            )  # fmt: skip
            self.graders = None
            if rewards is not None and graders:
                self.graders = Graders(self.cluster, rewards, graders, workers, s)
        except BaseException:
            self.cluster.close()
            raise

    @classmethod
    def check(cls, stage: Any) -> None:
        """Raise AhaError where Ray is not installed."""
        if find_spec("ray") is None:
            raise AhaError(f"{stage.name}.engine=ray needs Ray: pip install ray, or leave engine=local.")

    @classmethod
    def cluster_cpus(cls, stage: Any) -> float:
        """Those of its workers, where they are on the cluster that the ranks are on."""
        beside = not stage.cluster.address
        return stage.rollout_workers * stage.cluster.cpus + stage.cluster.reward_workers if beside else 0.0

    @classmethod
    def grades(cls, stage: Any) -> bool:
        """Where it has workers for that."""
        return stage.cluster.reward_workers > 0

    @classmethod
    def make(cls, model: Any, tokenizer: Any, setup: EngineSetup) -> RayEngine:
        """With the workers that the stage's settings ask for."""
        stage = setup.stage
        return cls(
            model,
            tokenizer,
            stage.cluster,
            workers=stage.rollout_workers,
            rows=setup.rows,
            rewards=setup.rewards,
        )

    @property
    def grader(self) -> Graders | None:
        """Its workers that grade, if there are any."""
        return self.graders

    # --- weights ------------------------------------------------------------------------------------------

    def load_weights(
        self,
        tensors: Mapping[str, torch.Tensor],
        version: int,
        expected: Mapping[str, torch.Tensor] | None = None,
    ) -> str:
        """Give every worker these weights, put into the object store once; returns the one hash of all.

        Each worker answers with the hashes of what its model holds afterwards. Raises AhaError if one holds
        anything but ``expected`` (``tensors``, unless a check says otherwise), naming the worker and the first
        tensor; nothing is sampled then.
        """
        self._cancel({})
        self.version, self._sent = UNLOADED, None
        self._held.clear()
        hashes = digests(tensors if expected is None else expected)
        self._sent = (self.cluster.ray.put(pack(tensors)), version, hashes)
        for member in self.pool.members:
            if member.ready:
                self._give_weights(member)
        while any(self._held.get(m.number) != version for m in self.pool.members):
            self.pool.turn(TURN_SECONDS)
        self.version, self.hash = version, hash_of_all(hashes)[:16]
        return self.hash

    def altered(
        self, tensors: Mapping[str, torch.Tensor], sound: Mapping[str, torch.Tensor], version: int
    ) -> str:
        """What the first worker that was given ``tensors`` in place of the ``sound`` ones says; empty if none does."""
        try:
            self.load_weights(tensors, version, expected=sound)
        except AhaError as error:
            return str(error)
        return ""

    def prove(self, tensors: Mapping[str, torch.Tensor]) -> Proof:
        """Have every worker hash what it holds now. Raises AhaError if it is not ``tensors``."""
        started = time.perf_counter()
        self._cancel({})
        expected, proven = digests(tensors), set()

        def compare(member: Member, hashes: dict[str, str]) -> None:
            self._compare(member, expected, hashes)
            proven.add(member.number)

        while len(proven) < self.workers:
            for (
                member
            ) in self.pool.members:  # one that is replaced meanwhile is asked when it has the weights
                idle = member.asked is None and self._held.get(member.number) == self.version
                if idle and member.number not in proven:
                    self.pool.ask(member, "held", then=compare, limit=self.settings.start_timeout)
            self.pool.turn(TURN_SECONDS)
        seconds = time.perf_counter() - started
        return Proof(self.version, hash_of_all(expected)[:16], self.workers * len(expected), seconds=seconds)

    def _ready(self, member: Member) -> None:
        """A worker has started, at first or in place of a lost one."""
        self._held.pop(member.number, None)
        if self._sent is not None:
            self._give_weights(member)

    def _give_weights(self, member: Member) -> None:
        assert self._sent is not None
        parcel, version, _ = self._sent
        limit = self.settings.start_timeout
        self.pool.ask(member, "load", parcel, version, then=self._loaded, limit=limit)

    def _loaded(self, member: Member, hashes: dict[str, str]) -> None:
        assert self._sent is not None
        _, version, expected = self._sent
        self._compare(member, expected, hashes)
        self._held[member.number] = version
        self._begin(member)

    def _compare(self, member: Member, expected: Mapping[str, str], hashes: Mapping[str, str]) -> None:
        """Raise AhaError, and sample no more, if a worker holds anything but what is wanted."""
        wrong = sorted(n for n in expected.keys() | hashes.keys() if expected.get(n) != hashes.get(n))
        if wrong:
            self.version, self._sent = UNLOADED, None
            raise AhaError(
                f"{member.name} does not hold the policy's weights: {len(wrong)} of {len(expected)} tensors differ, "
                f"first '{wrong[0]}'. Nothing is sampled from them. Its memory or the way to it is broken, or it "
                "builds another model: run aha doctor --engine ray, or sample with engine=local."
            )

    # --- sampling -----------------------------------------------------------------------------------------

    def generate(
        self,
        requests: Sequence[Request],
        params: SamplingParams,
        *,
        seed: int = 0,
        progress: Callable[[int], None] | None = None,
        leftovers: Partials | None = None,
    ) -> Iterator[tuple[int, tuple[Rollout, ...]]]:
        """Yield (index of the request, its ``n`` rollouts) as requests finish, as the in-process engine does,
        with ``leftovers`` where the iterator is closed early. ``progress`` is told of the tokens since it was
        told last, also if there are none, and may raise.

        Raises AhaError if no weights were loaded, if a prompt leaves no room, and if workers are lost again and
        again.
        """
        check_room(requests, params, self.max_len)
        if self.version == UNLOADED:
            raise AhaError(
                "The workers have been given no weights that were proven: call load_weights first."
            )
        self._cancel({})
        self._finished.clear()
        self._calls += 1
        number, self._call = self._calls, (params, seed)
        untaken = dict(enumerate(requests))
        costs = [cost(r, self._expected(params), params.max_tokens) for r in requests]
        shares = deal(costs, self.workers)
        for member in self.pool.members:
            self._work[member.number] = {i: requests[i] for i in shares[member.number]}
            if self._held.get(member.number) == self.version:
                self._begin(member)
        try:
            while untaken:
                if number != self._calls or self._call is None:
                    raise AhaError(
                        "This call was ended by a later one: the workers answer one call at a time."
                    )
                self.pool.turn(TURN_SECONDS)
                if self.graders is not None:
                    self.graders.pump()
                sampled, self._sampled = self._sampled, 0
                if sampled:
                    ranks.progress()
                if progress is not None:
                    progress(sampled)
                while self._finished:
                    index, rollouts = self._finished.pop(0)
                    del untaken[index]
                    yield index, rollouts
        finally:
            partials: Partials = {}
            if number == self._calls:
                partials |= dict(self._finished)
                self._finished.clear()
                self._cancel(partials)
            if leftovers is not None:
                leftovers |= {i: partials.get(i) or _as_partials(r) for i, r in untaken.items()}

    def _expected(self, params: SamplingParams) -> float:
        """Tokens of a completion, by those that ended so far."""
        tokens, n = self._lengths
        return tokens / n if n else float(params.max_tokens)

    def _begin(self, member: Member) -> None:
        work = self._work.get(member.number)
        if work and self._call is not None:
            counted = 0

            def heard(member: Member, news: News) -> None:
                nonlocal counted
                if self._work.get(member.number) is not work:
                    return  # a worker's last news may come after the call that it sampled for has ended
                self._sampled += max(0, news.count - counted)
                counted = max(counted, news.count)
                self._hear(member, news, work)

            self.pool.work(member, list(work.items()), *self._call, then=heard)

    def _hear(self, member: Member, news: News, work: dict[int, Request]) -> None:
        """Take what a worker has finished of its ``work``."""
        for index, rollouts in news.items:
            if index in work:
                del work[index]
                self._finished.append((index, tuple(writable(r) for r in rollouts)))
                tokens, n = self._lengths
                self._lengths = (tokens + sum(len(r.completion_ids) for r in rollouts), n + len(rollouts))
        if news.over and work:
            self.pool.replace(member, f"it ended with {len(work)} of its requests undone")

    def _cancel(self, partials: Partials) -> None:
        """End what is running; ``partials`` gets what there is of it."""
        busy = [m for m in self.pool.members if m.ready and self._work.get(m.number)]
        self._work.clear()
        self._call = None

        def cancelled(member: Member, answer: tuple[list[Any], Partials]) -> None:
            items, left = answer
            for index, rollouts in [*items, *left.items()]:
                partials[index] = tuple(writable(r) for r in rollouts)

        waiting = []
        for member in busy:
            if self._held.get(member.number) == self.version and member.job:
                self.pool.ask(
                    member,
                    "cancel",
                    member.job,
                    member.taken,
                    then=cancelled,
                    limit=self.settings.hang_timeout,
                )
                waiting.append((member, member.asked))
        while any(member.asked is ref for member, ref in waiting):
            self.pool.turn(TURN_SECONDS)

    # --- watching, ending -----------------------------------------------------------------------------------

    def events(self) -> list[LostWorker]:
        """Workers that were lost and replaced since this was last asked."""
        pools = [self.pool] + ([self.graders.pool] if self.graders else [])
        lost = [event for pool in pools for event in pool.events]
        for pool in pools:
            pool.events.clear()
        return lost

    def close(self) -> None:
        """End the workers, and the cluster if it was started here."""
        for pool in [self.pool] + ([self.graders.pool] if self.graders else []):
            pool.close()
        self.cluster.close()

    def __enter__(self) -> RayEngine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def spec_of(model: Any, tokenizer: Any, settings: ClusterSettings, rows: int, threads: int) -> Spec:
    """What a worker builds an engine like the trainer's from."""
    dtype = str(next(model.parameters()).dtype).removeprefix("torch.")
    cache = None if settings.kv_cache_gib is None else int(settings.kv_cache_gib * 2**30)
    # Workers of one machine share its memory: as many as the GPUs hold, or twice as many CPUs as each takes.
    share = min(1.0, settings.gpus) if settings.gpus else 0.5
    return Spec(
        # Written out and read again: without the attention that this process has installed in it.
        config=type(model.config).from_dict(model.config.to_dict()),
        dtype=dtype,
        tokenizer=tokenizer,
        generation=getattr(model, "generation_config", None),
        rows=rows,
        cache_bytes=cache,
        cache_share=share,
        threads=threads,
        device="cuda" if settings.gpus else "cpu",
    )


def _as_partials(request: Request) -> tuple[Rollout, ...]:
    """What there was of a request before a call of which nothing is known."""
    if request.partials:
        return request.partials
    nothing = np.zeros(0, np.float32)
    prompt = np.asarray(request.prompt_ids, np.int32)
    empty = Rollout(prompt, nothing.astype(np.int32), nothing, "", Finish.ABORT, 0, request.opened_think)
    return tuple(replace(empty) for _ in range(request.n))
