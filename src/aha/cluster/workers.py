"""What runs inside the workers' processes. Nothing here knows Ray: the classes are made actors elsewhere.

A worker does one job at a time, in a thread of its own. It is asked for news again and again: the answer holds what
was finished since, and a counter that moves while there is progress.
"""

from __future__ import annotations

import os
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

import aha
from aha import hardware, plugins
from aha.modeling import own_weights
from aha.rewards import get_rewards
from aha.sampling.engine import Request
from aha.sampling.hashes import NAMES, TYPES, digests, raw
from aha.sampling.local.engine import LocalEngine
from aha.sampling.rollouts import WeightedRewards, score_group
from aha.sampling.sampler import SamplingParams
from aha.tasks import get_task
from aha.types import AhaError, Problem, Rollout, Verdict

NEWS_SECONDS = 0.2
"""For so long a worker waits for news before it answers that there is none."""

Parcel = dict[str, tuple[str, tuple[int, ...], np.ndarray]]
"""Tensors on their way: type, shape and bytes by name. Ray hands the bytes over without copying them."""


def pack(tensors: Mapping[str, Tensor]) -> Parcel:
    """Tensors as they travel."""
    return {name: (NAMES[t.dtype], tuple(t.shape), raw(t).numpy()) for name, t in tensors.items()}


def unpack(entry: tuple[str, tuple[int, ...], np.ndarray]) -> Tensor:
    """One tensor of a parcel, as a copy."""
    kind, shape, data = entry
    if not data.size:
        return torch.empty(shape, dtype=TYPES[kind])
    return torch.from_numpy(np.array(data)).view(TYPES[kind]).reshape(shape)


@dataclass(frozen=True, slots=True)
class Hello:
    """Who a worker is."""

    pid: int
    aha: str
    torch: str


@dataclass(frozen=True, slots=True)
class News:
    """What a job has come to since it was last asked."""

    items: list[Any]
    count: int  # moves while there is progress
    over: bool
    error: str = ""  # of an AhaError, as it is
    failure: str = ""  # the traceback of any other exception


class WorkerStopped(Exception):
    """The job was told to end."""


class WorkerJob:
    """One piece of work in a thread: what it makes is kept until it has been acknowledged."""

    def __init__(self, work: Callable[[WorkerJob], None]):
        self._work, self._news = work, threading.Condition()
        self._items: list[Any] = []
        self._taken = 0
        self.count, self.stop, self.over = 0, False, False
        self.error = self.failure = ""
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Begin; apart from making it, so that the work finds its worker's ``job`` in place."""
        self._thread.start()

    def _run(self) -> None:
        try:
            self._work(self)
        except WorkerStopped:
            pass
        except AhaError as error:
            self.error = str(error)
        except BaseException:
            self.failure = traceback.format_exc()
        with self._news:
            self.over = True
            self._news.notify_all()

    def progress(self, count: int = 1) -> None:
        """Something went on. Raises Stopped where the job is to end."""
        self.count += count
        if self.stop:
            raise WorkerStopped

    def put(self, item: Any) -> None:
        """Something was finished."""
        with self._news:
            self._items.append(item)
            self._news.notify_all()

    def news(self, taken: int, wait: float = NEWS_SECONDS) -> News:
        """All that was finished after the first ``taken`` items, which are forgotten."""
        with self._news:
            del self._items[: taken - self._taken]
            self._taken = taken
            self._news.wait_for(lambda: self._items or self.over, wait)
            return News(list(self._items), self.count, self.over, self.error, self.failure)

    def end(self) -> None:
        """Have it end, and wait until it has."""
        self.stop = True
        self._thread.join()


class Worker:
    """What all workers have in common: who they are, and one job."""

    def __init__(self) -> None:
        self.job: WorkerJob | None = None
        self.number = 0  # of the newest job
        self._turn = threading.Lock()  # calls come in several threads

    def hello(self) -> Hello:
        """Who this is."""
        return Hello(os.getpid(), aha.__version__, torch.__version__)

    def news(self, number: int, taken: int) -> News:
        """Of job ``number``; nothing, and over, if that is another one."""
        job = self.job
        return News([], 0, True) if job is None or number != self.number else job.news(taken)

    def _begin(self, number: int, work: Callable[[WorkerJob], None]) -> None:
        with self._turn:
            if number > self.number:  # else it was called off before it came to its turn
                self._end()
                self.number, self.job = number, WorkerJob(work)
                self.job.start()

    def _end(self) -> None:
        if self.job is not None:
            self.job.end()
        self.job = None


@dataclass(frozen=True, slots=True)
class Spec:
    """What a rollout worker builds its engine from: the model's config, and weights follow."""

    config: Any
    dtype: str
    tokenizer: Any
    generation: Any  # its generation config, which names tokens that end a completion
    rows: int
    cache_bytes: int | None
    cache_share: float  # of what an engine alone on the machine would take
    threads: int
    device: str


class RolloutWorker(Worker):
    """One in-process engine with a copy of the weights."""

    engine: LocalEngine
    spec: Spec

    def __init__(self) -> None:
        super().__init__()
        self.left: dict[int, tuple[Rollout, ...]] = {}  # of a job that was cancelled

    def prepare(self, spec: Spec) -> Hello:
        """Build the engine, with weights that mean nothing yet."""
        from transformers import AutoModelForCausalLM

        from aha.modeling import quiet_transformers

        quiet_transformers()
        hardware.set_threads(spec.threads)
        dtype = getattr(torch, spec.dtype)
        model: Any = AutoModelForCausalLM.from_config(spec.config, dtype=dtype)
        model = model.to(hardware.pick_device(spec.device)).eval()
        for p in model.parameters():
            p.requires_grad_(False)
        model.generation_config = spec.generation
        self.spec, self.engine = spec, LocalEngine(model, spec.tokenizer, max_rows=spec.rows)
        own = int(self.engine.cache_bytes * spec.cache_share)
        self.engine.cache_bytes = own if spec.cache_bytes is None else spec.cache_bytes
        return self.hello()

    def load(self, parcel: Parcel, version: int) -> dict[str, str]:
        """Take these weights; returns the hash of every tensor as the model now holds it."""
        with self._turn:
            self._end()
        weights = own_weights(self.engine.model)
        with torch.no_grad():
            for name, entry in parcel.items():
                tensor = unpack(entry)
                if name not in weights or weights[name].shape != tensor.shape:
                    raise AhaError(
                        f"The rollout worker's model has no place for '{name}' {tuple(tensor.shape)}: its "
                        "architecture differs from the policy's. Are all machines' packages the same?"
                    )
                weights[name].copy_(tensor)
        self.engine.version = version
        return self.held()

    def held(self) -> dict[str, str]:
        """The hash of every tensor as the model holds it now."""
        return digests(own_weights(self.engine.model))

    def begin(
        self, number: int, requests: Sequence[tuple[int, Request]], params: SamplingParams, seed: int
    ) -> None:
        """Start to sample. Items of the news: (index, rollouts) of each request that is finished."""

        def work(job: WorkerJob) -> None:
            hardware.set_threads(self.spec.threads)
            left: dict[int, tuple[Rollout, ...]] = {}
            self.left = {}
            try:
                asked = [request for _, request in requests]
                for at, rollouts in self.engine.generate(
                    asked, params, seed=seed, progress=job.progress, leftovers=left
                ):
                    job.put((requests[at][0], rollouts))
            finally:
                self.left = {requests[at][0]: rollouts for at, rollouts in left.items()}

        self._begin(number, work)

    def cancel(self, number: int, taken: int) -> tuple[list[Any], dict[int, tuple[Rollout, ...]]]:
        """End job ``number``; returns the finished after the first ``taken``, and what there is of the rest."""
        with self._turn:
            job, self.job = self.job, None
            known, self.number = self.number, max(number, self.number)
            if job is None or number != known:
                return [], {}
            job.end()
            return job.news(taken, wait=0).items, self.left


class RewardWorker(Worker):
    """Grades groups with a task's verifier, in a sandbox of its own."""

    rewards: WeightedRewards

    def prepare(self, spec: RewardSpec) -> Hello:
        """Make the rewards."""
        hardware.set_threads(1)
        plugins.install(spec.files)
        task = get_task(spec.task, spec.data, spec.test_data)

        def counted(verify: Callable[[Problem, str], Verdict]) -> Callable[[Problem, str], Verdict]:
            def call(problem: Problem, text: str) -> Verdict:
                if self.job is not None:
                    self.job.count += 1
                return verify(problem, text)

            return call

        self.rewards = get_rewards(spec.rewards, counted(task.verify), counted(task.verify_lenient))
        return self.hello()

    def begin(self, number: int, problem: Problem, rollouts: Sequence[Rollout]) -> None:
        """Start to grade. The one item of the news: (scores by name, reward) of each rollout."""

        def work(job: WorkerJob) -> None:
            group = score_group(problem, [writable(r) for r in rollouts], self.rewards)
            job.put([(m.scores, m.reward) for m in group.members])

        self._begin(number, work)


@dataclass(frozen=True, slots=True)
class RewardSpec:
    """What a reward worker makes its rewards from."""

    task: str
    data: str | None
    test_data: str | None
    rewards: Mapping[str, float]
    files: plugins.Parcel = ()  # of one's own parts, with their text: another machine need not have them


def writable(rollout: Rollout) -> Rollout:
    """The rollout with arrays of its own: those that Ray hands over cannot be written to."""
    arrays = {name: np.array(getattr(rollout, name)) for name in ("prompt_ids", "completion_ids", "logprobs")}
    return replace(rollout, **arrays)
