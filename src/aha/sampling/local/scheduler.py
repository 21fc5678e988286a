"""The scheduler of the in-process engine: the rows that are running, and the samples that wait.

Prompts are prefilled once for all their samples, packed without padding; very long ones in pieces. Then every
row decodes one token a step; finished rows leave at once, the last rows move into their slots, and waiting
samples enter. Where the rows outgrow the cache, the youngest are preempted and wait again, with what they have:
the numbers a sample draws depend on its key and position alone, so it goes on as it would have.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from aha import attention, kernels
from aha.modeling import Head
from aha.sampling.engine import Request
from aha.sampling.local.graphs import CacheLost
from aha.sampling.local.kv_cache import GROWTH
from aha.sampling.sampler import SamplingParams, draw, sample, sample_seed, uniforms
from aha.types import Finish, Rollout

if TYPE_CHECKING:
    from aha.sampling.local.engine import LocalEngine

PREFILL_TOKENS = 8192
"""Tokens of one prefill pass."""


@dataclass(slots=True, eq=False)
class _Pending:
    """A request with the completions it still waits for."""

    index: int
    request: Request
    done: list[Rollout | None] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.done = [None] * self.request.n


@dataclass(slots=True, eq=False)
class _Completion:
    """One completion that waits or is in flight, with what there is of it."""

    pending: _Pending
    number: int
    partial: Rollout | None = None

    @property
    def made(self) -> int:
        """Tokens of the completion that are there already."""
        return 0 if self.partial is None else len(self.partial.completion_ids)

    @property
    def source(self) -> tuple[int, int]:
        """Samples of one source begin with the same tokens."""
        return self.pending.index, self.number if self.made else -1

    @property
    def ids(self) -> np.ndarray:
        """The prompt, and what there is of the completion: int64."""
        parts = [self.pending.request.prompt_ids, *([self.partial.completion_ids] if self.partial else [])]
        return np.concatenate([np.asarray(p, np.int64) for p in parts])

    def size(self) -> int:
        """How many ``ids`` there are."""
        return len(self.pending.request.prompt_ids) + self.made


class Scheduler:
    """One call's rows that are running, and its samples that wait."""

    def __init__(
        self,
        engine: LocalEngine,
        requests: Sequence[Request],
        params: SamplingParams,
        seed: int,
        rows: int | None = None,
    ):
        self.engine, self.params, self.seed = engine, params, seed
        self.head = Head.of(engine.model)
        self.device = self.head.weight.device
        self.finished: deque[_Pending] = deque()
        self.untaken = {i: _Pending(i, request) for i, request in enumerate(requests)}
        self.waiting = deque(s for p in self.untaken.values() for s in self._samples(p))
        self.capacity = max((len(s.pending.request.prompt_ids) for s in self.waiting), default=0)
        self.capacity += params.max_tokens
        self.rows = max(1, min(engine.max_rows, len(self.waiting))) if rows is None else rows
        self.cache = engine.cache_for(self.rows, self.capacity)
        self.eos = np.array(sorted(engine.eos_ids))
        self.may_stop = bool(params.stop) or any(r.params and r.params.stop for r in requests)
        self.turn = count()
        # State of the rows in flight; rows 0..active-1 are live.
        self.active = 0
        self.owner: list[_Completion] = []
        self.entered = np.zeros(self.rows, np.int64)  # whose turn it was to enter
        self.lengths = np.zeros(self.rows, np.int64)  # tokens in the cache
        self.made = np.zeros(self.rows, np.int64)  # tokens sampled
        self.prefix = np.zeros(self.rows, np.int64)  # which shared prefix each row begins with
        self.prefixes = 0
        self.shared = np.zeros(self.rows, np.int64)  # tokens that were prefilled
        self.seeds = np.zeros(self.rows, np.uint64)
        self.limits = np.zeros(self.rows, np.int64)  # tokens of the longest completion
        self.tokens = np.zeros((self.rows, params.max_tokens), np.int64)
        self.logprobs = np.zeros((self.rows, params.max_tokens), np.float32)

    @property
    def busy(self) -> bool:
        """Whether anything waits, is in flight, or was not yet taken."""
        return bool(self.waiting or self.active or self.finished)

    def _samples(self, pending: _Pending) -> Iterator[_Completion]:
        """The completions of a request that have not ended."""
        request = pending.request
        for number in range(request.n):
            partial = request.partials[number] if request.partials else None
            if partial is not None and partial.finish is not Finish.ABORT:
                pending.done[number] = partial
            elif partial is not None and len(partial.completion_ids) >= self.params_of(pending).max_tokens:
                pending.done[number] = self._rollout(
                    pending, partial.completion_ids, partial.logprobs, Finish.LENGTH, partial
                )
            else:
                yield _Completion(pending, number, partial)
        if all(r is not None for r in pending.done):
            self.finished.append(pending)

    def params_of(self, pending: _Pending) -> SamplingParams:
        """How a request is sampled."""
        return pending.request.params or self.params

    # --- entering ----------------------------------------------------------------------------------------

    def admit(self) -> None:
        """Let waiting samples enter free rows: equal beginnings are prefilled once."""
        while self.waiting and self.active < self.rows:
            # Wait until a good part is free: many small prefills cost more than a few idle rows.
            if self.active and self.rows - self.active < min(len(self.waiting), max(1, self.rows // 8)):
                return
            entries = self._next_entries()
            if not entries:
                return
            self._enter(entries)

    def _next_entries(self) -> list[_Completion]:
        """The next to enter: as many as the rows, the cache and one prefill pass hold; one if none is live."""
        entries: list[_Completion] = []
        sources: set[tuple[int, int]] = set()
        tokens, longest = 0, int(self.lengths[: self.active].max(initial=0))
        while self.waiting and self.active + len(entries) < self.rows:
            one = self.waiting[0]
            size = one.size()
            longest = max(longest, size)
            rows = self.active + len(entries)
            # With room to grow in: rows that entered only to be preempted again would be prefilled for nothing.
            grown = min(longest + longest // 4 + 8 * GROWTH, self.capacity + GROWTH)
            if rows and (rows + 1) * grown > self.cache.tokens:
                break
            if one.source not in sources:
                if sources and tokens + size > PREFILL_TOKENS:
                    break
                sources.add(one.source)
                tokens += size
            entries.append(self.waiting.popleft())
        return entries

    def _enter(self, entries: list[_Completion]) -> None:
        self.cache.expect(self.active, len(entries), int(self.lengths[: self.active].max(initial=0)))
        rows = np.arange(self.active, self.active + len(entries))
        first = {one.source: i for i, one in reversed(list(enumerate(entries)))}
        distinct = sorted(set(first.values()))
        source = np.array([distinct.index(first[one.source]) for one in entries])
        sizes = np.array([entries[i].size() for i in distinct])
        self.owner.extend(entries)
        self.active += len(entries)
        for row, one in zip(rows, entries, strict=True):
            self._set_row(int(row), one)
        last = self._prefill([entries[i].ids for i in distinct], rows, source)
        self.lengths[rows] = self.shared[rows] = sizes[source]
        self.prefix[rows] = self.prefixes + source
        self.prefixes += len(distinct)
        self.cache.groups = None
        logits = self.head.logits(last).index_select(0, self._tensor(source))
        self._append(logits, rows, self._uniforms(rows))

    def _set_row(self, row: int, one: _Completion) -> None:
        request, sampled = one.pending.request, one.made
        seed = self.seed if request.seed is None else request.seed
        self.seeds[row] = sample_seed(seed, request.key, one.number)
        self.limits[row] = self.params_of(one.pending).max_tokens
        self.entered[row], self.made[row] = next(self.turn), sampled
        if one.partial is not None:
            self.tokens[row, :sampled] = one.partial.completion_ids
            self.logprobs[row, :sampled] = one.partial.logprobs

    def _prefill(self, texts: list[np.ndarray], rows: np.ndarray, source: np.ndarray) -> Tensor:
        """Put ``texts[source[i]]`` into the cache of ``rows[i]``; returns each text's last hidden state."""
        if len(texts) == 1 and len(texts[0]) > attention.piece_length(len(texts[0])):
            kept, last = self._in_pieces(texts[0])
            self.cache.write_prompt(self._tensor(rows), kept, 0, len(texts[0]))
            return last
        sizes = [len(ids) for ids in texts]
        starts = np.cumsum([0, *sizes[:-1]])
        segments = np.array([(a, n, 0, 0) for a, n in zip(starts, sizes, strict=True)])
        context = attention.Packed(attention.make_plan(segments, self.device), keep=True)
        positions = np.concatenate([np.arange(n) for n in sizes])
        hidden = self._forward(np.concatenate(texts), positions, context)
        for i in range(len(texts)):
            self.cache.write_prompt(self._tensor(rows[source == i]), context.kept, int(starts[i]), sizes[i])
        return hidden.index_select(0, self._tensor(starts + np.array(sizes) - 1))

    def _in_pieces(self, ids: np.ndarray) -> tuple[dict[int, tuple[Tensor, Tensor]], Tensor]:
        """Keys and values of one long text, computed piece by piece, and its last hidden state [1, hidden]."""
        context = attention.Continued(len(ids))
        step = min(attention.piece_length(len(ids)), PREFILL_TOKENS)
        hidden = None
        for start in range(0, len(ids), step):
            positions = np.arange(start, min(start + step, len(ids)))
            context.begin(start)
            hidden = self._forward(ids[positions], positions, context)
        assert hidden is not None
        return context.kept, hidden[-1:]

    def _forward(self, ids: np.ndarray, positions: np.ndarray, context: Any) -> Tensor:
        """Hidden states [T, hidden]."""
        return self.engine.forward(self._tensor(ids)[None], self._tensor(positions)[None], context)[0]

    # --- decoding ----------------------------------------------------------------------------------------

    def decode(self) -> int:
        """One token for every live row that has not ended; returns how many were sampled."""
        self._retire()
        self._preempt()
        n = self.active
        if n == 0:
            return 0
        rows = np.arange(n)
        uniform = self._uniforms(rows)  # before the step, for which a copy to the device would wait
        if self.cache.groups is None:
            self.cache.groups = kernels.Groups.of(self.prefix[:n], self.shared[:n])
        try:
            ids = self.tokens[rows, self.made[:n] - 1]
            hidden = self.engine.decode(ids, self.lengths[:n], self.cache)
        except CacheLost:
            self._start_over()
            return 0
        self.lengths[:n] += 1
        self._draw(hidden, rows, uniform)
        return n

    def _uniforms(self, rows: np.ndarray) -> Tensor:
        """The numbers that the next tokens of ``rows`` [n] are drawn by [n]."""
        return self._tensor(uniforms(self.seeds[rows], self.made[rows]))

    def _append(self, logits: Tensor, rows: np.ndarray, uniform: Tensor) -> None:
        """Sample a token for each of ``rows`` from ``logits`` by ``uniform`` and note it."""
        self._note(sample(logits, uniform, self.params), rows)

    def _draw(self, hidden: Tensor, rows: np.ndarray, uniform: Tensor) -> None:
        """The same from ``hidden`` states."""
        self._note(draw(self.head, hidden, uniform, self.params), rows)

    def _note(self, drawn: tuple[Tensor, Tensor], rows: np.ndarray) -> None:
        tokens, logprobs = drawn
        at = self.made[rows]
        self.tokens[rows, at] = tokens.cpu().numpy()
        self.logprobs[rows, at] = logprobs.float().cpu().numpy()
        self.made[rows] += 1

    def _preempt(self) -> None:
        """Preempt the youngest rows until the next token of every other one fits the cache. The oldest row
        always stays, so that every sample ends at some time."""
        while self.active > 1 and not self.cache.holds(
            self.active, int(self.lengths[: self.active].max()) + 1
        ):
            row = int(self.entered[: self.active].argmax())
            self._wait_again(row)
            self.engine.preempted += 1
            self._compact(np.array([row]))

    def _start_over(self) -> None:
        """Every row waits again: the cache is to be filled anew."""
        for row in self.entered[: self.active].argsort()[::-1]:
            self._wait_again(int(row))
        self.owner.clear()
        self.active = 0
        self.cache.clear()

    def _wait_again(self, row: int) -> None:
        """A row's sample is the next to enter, with what it has."""
        one = self.owner[row]
        one.partial = self._so_far(row)
        self.waiting.appendleft(one)

    # --- leaving -----------------------------------------------------------------------------------------

    def _retire(self) -> None:
        """Rows that ended leave; the last live rows take their places."""
        n = self.active
        last = self.tokens[np.arange(n), self.made[:n] - 1]
        stopped = (last[:, None] == self.eos).any(1)
        leaving = stopped | (self.made[:n] >= self.limits[:n])
        texts = self._stop_strings(~stopped)
        for row in np.flatnonzero(leaving).tolist():
            if row not in texts:
                self._finish(row, Finish.STOP if stopped[row] else Finish.LENGTH, None)
        for row, text in texts.items():
            self._finish(row, Finish.STOP, text)
        leaving[list(texts)] = True
        self._compact(np.flatnonzero(leaving))

    def _stop_strings(self, among: np.ndarray) -> dict[int, str]:
        """The text of each of the rows ``among`` [n] that has a stop string, up to it."""
        texts = dict[int, str]()
        for row in np.flatnonzero(among).tolist() if self.may_stop else ():
            stops = self.params_of(self.owner[row].pending).stop
            if not stops:
                continue
            # A token stands for a byte at least, so a stop string has no more tokens than bytes.
            sampled, longest = int(self.made[row]), max(len(stop.encode()) for stop in stops) + 8
            tail = self._text(self.tokens[row, max(0, sampled - longest) : sampled])
            if any(stop in tail for stop in stops):
                whole = self._text(self.tokens[row, :sampled])
                ends = [at for stop in stops if (at := whole.find(stop)) >= 0]
                if ends:
                    texts[row] = whole[: min(ends)]
        return texts

    def _finish(self, row: int, finish: Finish, text: str | None) -> None:
        one, sampled = self.owner[row], int(self.made[row])
        pending = one.pending
        pending.done[one.number] = self._rollout(
            pending, self.tokens[row, :sampled], self.logprobs[row, :sampled], finish, one.partial, text
        )
        if all(r is not None for r in pending.done):
            self.finished.append(pending)

    def _rollout(
        self,
        pending: _Pending,
        ids: np.ndarray,
        logprobs: np.ndarray,
        finish: Finish,
        partial: Rollout | None,
        text: str | None = None,
    ) -> Rollout:
        if text is None and finish is not Finish.ABORT:
            text = self._text(ids[:-1] if ids[-1] in self.engine.eos_ids else ids)
        version = self.engine.version
        version_spans = partial.version_spans if partial is not None and len(partial.completion_ids) else ()
        if (
            partial is not None
            and len(ids) > len(partial.completion_ids) > 0
            and partial.policy_version != version
        ):
            version_spans = (
                *(version_spans or ((0, partial.policy_version),)),
                (len(partial.completion_ids), version),
            )
        return Rollout(
            prompt_ids=np.asarray(pending.request.prompt_ids, np.int32),
            completion_ids=ids.astype(np.int32),
            logprobs=logprobs.astype(np.float32),
            text=text or "",
            finish=finish,
            policy_version=version
            if partial is None or len(ids) > len(partial.completion_ids)
            else partial.policy_version,
            opened_think=pending.request.opened_think,
            version_spans=version_spans,
        )

    def _so_far(self, row: int) -> Rollout:
        """What there is of a row that has not ended."""
        one, sampled = self.owner[row], int(self.made[row])
        ids, logprobs = self.tokens[row, :sampled], self.logprobs[row, :sampled]
        return self._rollout(one.pending, ids, logprobs, Finish.ABORT, one.partial)

    def _compact(self, leaving: np.ndarray) -> None:
        if not len(leaving):
            return
        kept = self.active - len(leaving)
        holes = leaving[leaving < kept]
        gone = set(leaving.tolist())
        movers = np.array([r for r in range(kept, self.active) if r not in gone], dtype=np.int64)
        if len(movers):
            length = int(self.lengths[movers].max())
            self.cache.move(self._tensor(movers), self._tensor(holes), length)
            for array in (
                self.entered, self.lengths, self.made, self.prefix, self.shared,
                self.seeds, self.tokens, self.logprobs, self.limits,
            ):  # fmt: skip
                array[holes] = array[movers]
            for hole, mover in zip(holes.tolist(), movers.tolist(), strict=True):
                self.owner[hole] = self.owner[mover]
        del self.owner[kept:]
        self.active, self.cache.groups = kept, None

    def take_finished(self) -> Iterator[tuple[int, tuple[Rollout, ...]]]:
        """The requests whose every sample has ended and that were not yet taken."""
        while self.finished:
            pending = self.finished.popleft()
            del self.untaken[pending.index]
            yield pending.index, tuple(r for r in pending.done if r is not None)

    def leftovers(self) -> dict[int, tuple[Rollout, ...]]:
        """What there is of every request that was not taken: rollouts [n] by its index."""
        self._retire()
        there = {(one.pending.index, one.number): self._so_far(row) for row, one in enumerate(self.owner)}
        there |= {
            (one.pending.index, one.number): one.partial for one in self.waiting if one.partial is not None
        }
        nothing = np.zeros(0, np.float32)
        return {
            p.index: tuple(
                r
                or there.get((p.index, i))
                or self._rollout(p, nothing.astype(np.int32), nothing, Finish.ABORT, None)
                for i, r in enumerate(p.done)
            )
            for p in self.untaken.values()
        }

    def _text(self, ids: np.ndarray) -> str:
        return self.engine.tokenizer.decode(ids.tolist(), skip_special_tokens=False)

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)
