"""A batch that requests join and leave while it runs.

One thread owns the model, and every token is told as it is drawn. What a sample draws depends on its request's seed and
its number alone, not on its company.
"""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from aha import attention
from aha.modeling import max_context
from aha.sampling.engine import Request
from aha.sampling.http.refusing import TOO_LONG, RequestRefusedError
from aha.sampling.local.engine import LocalEngine
from aha.sampling.local.scheduler import Scheduler, _Pending
from aha.sampling.local.scoring import Top, likeliest, score_prompts
from aha.sampling.sampler import SamplingParams, restrict, sample
from aha.types import AhaError, Rollout

ROWS = 256
"""Completions in flight at most; others wait."""


class Shaper(Protocol):
    """Changes the logits of one completion's next token."""

    def shape(self, logits: Tensor, ids: np.ndarray) -> None:
        """Change ``logits`` [V] in place, after the completion's tokens ``ids`` [C]."""
        ...


@dataclass(slots=True, eq=False)
class LiveRequest:
    """A request with who wants to know of it.

    ``shaper`` makes those of one sample. ``on_token`` is told (sample, token, log probability, the ``top`` likeliest)
    from the engine's thread, ``on_end`` the rollouts or what went wrong.
    """

    request: Request
    on_end: Callable[[tuple[Rollout, ...] | BaseException], None]
    on_token: Callable[[int, int, float, Top], None] | None = None
    top: int = 0
    shaper: Callable[[], Sequence[Shaper]] | None = None
    shapers: dict[int, Sequence[Shaper]] = field(default_factory=dict)
    cancelled: bool = False


class _Batch(Scheduler):
    """The rows in flight, with a job behind each."""

    def __init__(self, engine: LocalEngine, rows: int):
        limit = min(max_context(engine.model), engine.largest_capacity())
        super().__init__(engine, (), SamplingParams(max_tokens=limit), 0, rows=rows)
        self.may_stop = True
        self.numbers = itertools.count()
        self.jobs: dict[int, LiveRequest] = {}

    def join(self, job: LiveRequest) -> None:
        """Let a job's samples wait for rows."""
        pending = _Pending(next(self.numbers), job.request)
        self.jobs[pending.index] = job
        self.untaken[pending.index] = pending
        self.waiting.extend(self._samples(pending))

    def drop_cancelled(self) -> None:
        """Rows and waiting samples of cancelled jobs leave."""
        gone = {index for index, job in self.jobs.items() if job.cancelled}
        if not gone:
            return
        kept = [one for one in self.waiting if one.pending.index not in gone]
        self.waiting.clear()
        self.waiting.extend(kept)
        self._compact(
            np.array([i for i, one in enumerate(self.owner) if one.pending.index in gone], np.int64)
        )
        for index in gone:
            del self.jobs[index], self.untaken[index]

    def _draw(self, hidden: Tensor, rows: np.ndarray, uniform: Tensor) -> None:
        self._append(self.head.logits(hidden), rows, uniform)

    def _append(self, logits: Tensor, rows: np.ndarray, uniform: Tensor) -> None:
        by_params: dict[SamplingParams, list[int]] = {}
        for i, row in enumerate(rows.tolist()):
            by_params.setdefault(self.params_of(self.owner[row].pending), []).append(i)
            self._shape(logits[i], row)
        for params, some in by_params.items():
            at = torch.tensor(some, device=logits.device)
            part = logits if len(some) == len(rows) else logits[at]
            tokens, logprobs = sample(part, uniform[at], params)
            which = rows[some]
            self.tokens[which, self.made[which]] = tokens.cpu().numpy()
            self.logprobs[which, self.made[which]] = logprobs.float().cpu().numpy()
            self._tell(part, params, which)
        self.made[rows] += 1

    def _shape(self, logits: Tensor, row: int) -> None:
        one = self.owner[row]
        job = self.jobs[one.pending.index]
        if job.shaper is not None:
            if one.number not in job.shapers:
                job.shapers[one.number] = job.shaper()
            for shaper in job.shapers[one.number]:
                shaper.shape(logits, self.tokens[row, : self.made[row]])

    def _tell(self, logits: Tensor, params: SamplingParams, rows: np.ndarray) -> None:
        for i, row in enumerate(rows.tolist()):
            job = self.jobs[self.owner[row].pending.index]
            if job.on_token is not None:
                at = self.made[row]
                likely = _alternatives(logits[i : i + 1], job.top, params)
                job.on_token(
                    self.owner[row].number, int(self.tokens[row, at]), float(self.logprobs[row, at]), likely
                )

    def end_finished(self) -> None:
        """Tell the jobs whose every sample has ended."""
        for index, rollouts in self.take_finished():
            self.jobs.pop(index).on_end(rollouts)


def _alternatives(logits: Tensor, top: int, params: SamplingParams) -> Top:
    """The likeliest tokens [1, V] of the distribution that is drawn from; of a greedy draw those of temperature 1."""
    if top and params.temperature:
        logits = restrict(logits.float() / params.temperature, params)
    return likeliest(logits, top)[0]


class LiveEngine:
    """Samples jobs as they come, in a thread of its own; ``call`` runs anything else there."""

    def __init__(self, engine: LocalEngine, rows: int = ROWS):
        self.engine, self.rows = engine, min(rows, engine.max_rows)
        self._inbox: queue.Queue[LiveRequest | Callable[[], None]] = queue.Queue()
        self._new: list[LiveRequest] = []  # came in, and did not join the batch yet
        threading.Thread(target=self._work, name="sampling", daemon=True).start()

    def submit(self, job: LiveRequest) -> None:
        """Take a job up. Raises AhaError where its prompt leaves no room for its completion."""
        params = job.request.params
        assert params is not None
        limit = min(max_context(self.engine.model), self.engine.largest_capacity())
        size = len(job.request.prompt_ids)
        if not size:
            raise AhaError("The prompt is empty: there is nothing to continue.")
        if size + params.max_tokens > limit:
            raise RequestRefusedError(
                f"The prompt has {size} tokens; with max_tokens={params.max_tokens} it exceeds the model's context of "
                f"{limit} tokens. Shorten the prompt, or lower max_tokens.",
                "max_tokens" if size < limit else "messages",
                code=TOO_LONG,
            )
        self._inbox.put(job)

    def call(self, work: Callable[[], Any]) -> Any:
        """The result of ``work`` in the thread that owns the model."""
        done: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue()

        def run() -> None:
            try:
                with torch.inference_mode():
                    done.put((work(), None))
            except Exception as error:  # it is raised where it was asked for
                done.put((None, error))

        self._inbox.put(run)
        result, error = done.get()
        if error is not None:
            raise error
        return result

    def score(self, prompts: Sequence[Sequence[int]], top: int) -> list[tuple[list[float], list[Top]]]:
        """Of each prompt the log probabilities [P - 1] of its tokens after the first, and the ``top`` likeliest at each
        place. All of them go through the model as one batch without padding."""
        return self.call(lambda: score_prompts(self.engine, prompts, top))

    # --- the thread ----------------------------------------------------------------------------------------

    def _work(self) -> None:
        batch: _Batch | None = None
        while True:
            self._take(batch, wait=not self._new and (batch is None or not batch.busy))
            jobs: Iterable[LiveRequest] = ()
            try:
                if batch is None:
                    jobs = self._new  # without a batch none of them can join
                    batch = self._fresh()
                jobs = batch.jobs.values()
                self._step(batch)
            except Exception as error:  # the jobs are told; the server goes on with an empty batch
                told = [*jobs]
                self._new = [job for job in self._new if job not in told]
                for job in told:
                    job.on_end(error)
                batch = None

    def _take(self, batch: _Batch | None, wait: bool) -> None:
        """Let everything in that came; with ``wait`` at least one thing."""
        with suppress(queue.Empty):
            while True:
                item = self._inbox.get(block=wait)
                wait = False
                if isinstance(item, LiveRequest):
                    self._new.append(item)
                else:
                    item()

    def _fresh(self) -> _Batch:
        attention.install(self.engine.model)
        with torch.inference_mode():
            return _Batch(self.engine, self.rows)

    def _step(self, batch: _Batch) -> None:
        with torch.inference_mode():
            while self._new:
                job = self._new.pop(0)
                if not job.cancelled:
                    batch.join(job)
            batch.drop_cancelled()
            if batch.busy:
                batch.admit()
                batch.decode()
                batch.end_finished()
            if not batch.busy:
                self.engine.rest()
