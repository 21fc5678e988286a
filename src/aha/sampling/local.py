"""The in-process engine: continuous batching over the policy's own modules. No copy of the weights exists.

Prompts are prefilled once for all their samples, packed without padding. Then every row decodes one token a
step; finished rows leave at once, the last rows move into their slots, and waiting prompts enter.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aha import attention
from aha.modeling import Head, max_context
from aha.sampling.fused import FusedDecoder, supports
from aha.sampling.kv_cache import SlotCache, bytes_per_token
from aha.sampling.sampler import SamplingParams, row_seeds, sample, uniforms
from aha.types import AhaError, Finish, Rollout

CACHE_BYTES = 2 << 30
PREFILL_TOKENS = 8192
DECODE_ROWS = 512


@dataclass(frozen=True, slots=True)
class Request:
    """``n`` completions of one prompt. ``key`` picks the random streams: equal keys draw equal numbers."""

    prompt_ids: Sequence[int]
    n: int
    key: int
    opened_think: bool = False


@dataclass(slots=True)
class _Pending:
    """A request with the completions it still waits for."""

    index: int
    request: Request
    done: list[Rollout | None] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.done = [None] * self.request.n


class LocalEngine:
    """Samples with ``model`` (any causal LM of transformers) as it is at the moment of the call."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        max_rows: int = DECODE_ROWS,
        cache_bytes: int = CACHE_BYTES,
    ):
        attention.install(model)
        self.model, self.tokenizer = model, tokenizer
        self.max_rows, self.cache_bytes = max_rows, cache_bytes
        self.version = 0
        self.eos_ids = ending_ids(model, tokenizer)
        self.fused = supports(model)
        self._cache: SlotCache | None = None
        self._decoder: FusedDecoder | None = None

    def generate(
        self,
        requests: Sequence[Request],
        params: SamplingParams,
        *,
        seed: int = 0,
        progress: Callable[[int], None] | None = None,
    ) -> Iterator[tuple[int, tuple[Rollout, ...]]]:
        """Yield (index of the request, its ``n`` rollouts) as requests finish, in order of finishing.

        ``progress`` is told the number of tokens sampled at each step. Raises AhaError if a prompt leaves
        no room in the model's context.
        """
        check_room(requests, params, max_context(self.model))
        attention.install(self.model)
        run = _Run(self, requests, params, seed)
        with torch.inference_mode():
            while run.busy:
                run.admit()
                sampled = run.decode()
                if progress is not None:
                    progress(sampled)
                yield from run.take_finished()

    def cache_for(self, rows: int, capacity: int) -> SlotCache:
        """A cache for ``rows`` rows of ``capacity`` tokens, kept from call to call while it fits."""
        if self._cache is None or not self._cache.fits(rows, capacity):
            self._cache = None  # free it before the larger one is made
            self._cache = SlotCache(self.model, rows, capacity)
        self._cache.clear()
        return self._cache

    def rows_for(self, capacity: int) -> int:
        """How many rows of that length the cache budget allows, at most ``max_rows``."""
        return max(1, min(self.max_rows, self.cache_bytes // (capacity * bytes_per_token(self.model))))

    def forward(self, ids: Tensor, positions: Tensor, context: attention.Context) -> Tensor:
        """Hidden states of ``ids`` [B, T] under an attention context."""
        out = self.model.base_model(input_ids=ids, position_ids=positions, context=context, use_cache=False)
        return out.last_hidden_state

    def decode(self, ids: Tensor, positions: Tensor, cache: SlotCache) -> Tensor:
        """Hidden states [R, hidden] of one new token a row: fused where the family allows it."""
        if not self.fused:
            return self.forward(ids[:, None], positions[:, None], cache)[:, 0]
        if self._decoder is None or self._decoder.capacity < cache.capacity:
            self._decoder = FusedDecoder(self.model, cache.capacity)
        return self._decoder.forward(ids, positions, cache)


def sample_seed(seed: int, key: int, sample: int) -> np.uint64:
    """The random stream of one sample of the request of that ``key``."""
    return row_seeds(seed, np.array([key], np.uint64) * np.uint64(1_000_003) + np.uint64(sample))[0]


def check_room(requests: Sequence[Request], params: SamplingParams, limit: int) -> None:
    """Raise AhaError for an empty prompt, and for one that leaves no room among ``limit`` tokens."""
    for i, request in enumerate(requests):
        if not len(request.prompt_ids):
            raise AhaError(f"Prompt {i} is empty: there is nothing to continue.")
        if len(request.prompt_ids) + params.max_tokens > limit:
            raise AhaError(
                f"Prompt {i} has {len(request.prompt_ids)} tokens; with max_tokens={params.max_tokens} it "
                f"exceeds the model's context of {limit} tokens. Shorten the prompt, filter long ones "
                "out, or lower max_tokens."
            )


def ending_ids(model: Any, tokenizer: Any) -> frozenset[int]:
    """Every id that ends a completion: the tokenizer's EOS and those of the generation config."""
    ids = {int(tokenizer.eos_token_id)}
    configured = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    if configured is not None:
        ids.update([configured] if isinstance(configured, int) else configured)
    return frozenset(ids)


class _Run:
    """One call of ``generate``: the rows in flight and the prompts that wait."""

    def __init__(self, engine: LocalEngine, requests: Sequence[Request], params: SamplingParams, seed: int):
        self.engine, self.params, self.seed = engine, params, seed
        self.head = Head.of(engine.model)
        self.device = self.head.weight.device
        longest = max((len(r.prompt_ids) for r in requests), default=0)
        total = sum(r.n for r in requests)
        self.capacity = longest + params.max_tokens
        self.rows = min(engine.rows_for(self.capacity), max(total, 1))
        self.cache = engine.cache_for(self.rows, self.capacity)
        self.waiting = deque(
            (p, s) for p in map(_Pending, range(len(requests)), requests) for s in range(p.request.n)
        )
        self.finished: list[_Pending] = []
        self.eos = np.array(sorted(engine.eos_ids))
        # State of the rows in flight; rows 0..active-1 are live.
        self.active = 0
        self.owner: list[tuple[_Pending, int]] = []
        self.lengths = np.zeros(self.rows, np.int64)  # tokens in the cache
        self.made = np.zeros(self.rows, np.int64)  # tokens sampled
        self.seeds = np.zeros(self.rows, np.uint64)
        self.tokens = np.zeros((self.rows, params.max_tokens), np.int64)
        self.logprobs = np.zeros((self.rows, params.max_tokens), np.float32)

    @property
    def busy(self) -> bool:
        return bool(self.waiting or self.active)

    # --- entering ----------------------------------------------------------------------------------------

    def admit(self) -> None:
        """Let waiting samples enter free rows: their prompts are prefilled, each once."""
        while self.waiting and self.active < self.rows:
            # Wait until a good part is free: many small prefills cost more than a few idle rows.
            if self.active and self.rows - self.active < min(len(self.waiting), max(1, self.rows // 8)):
                return
            self._prefill(self._next_entries())

    def _next_entries(self) -> list[tuple[_Pending, int]]:
        entries, prompts, tokens = [], set(), 0
        while self.waiting and self.active + len(entries) < self.rows:
            pending = self.waiting[0][0]
            if pending.index not in prompts:
                size = len(pending.request.prompt_ids)
                if prompts and tokens + size > PREFILL_TOKENS:
                    break
                prompts.add(pending.index)
                tokens += size
            entries.append(self.waiting.popleft())
        return entries

    def _prefill(self, entries: list[tuple[_Pending, int]]) -> None:
        prompts = list({p.index: p for p, _ in entries}.values())
        sizes = [len(p.request.prompt_ids) for p in prompts]
        starts = np.cumsum([0, *sizes[:-1]])
        segments = np.array([(a, n, 0, 0) for a, n in zip(starts, sizes, strict=True)])
        context = attention.Packed(attention.make_plan(segments, self.device), keep=True)
        ids = np.concatenate([np.asarray(p.request.prompt_ids, np.int64) for p in prompts])
        positions = np.concatenate([np.arange(n) for n in sizes])
        hidden = self.engine.forward(self._tensor(ids)[None], self._tensor(positions)[None], context)[0]
        first = {p.index: i for i, p in enumerate(prompts)}
        rows = np.arange(self.active, self.active + len(entries))
        source = np.array([first[p.index] for p, _ in entries])
        for i in range(len(prompts)):
            self.cache.write_prompt(self._tensor(rows[source == i]), context.kept, int(starts[i]), sizes[i])
        self.owner.extend(entries)
        self.active += len(entries)
        self.lengths[rows], self.made[rows] = np.array(sizes)[source], 0
        for pending, sample_index in entries:
            row = rows[0]
            rows = rows[1:]
            self.seeds[row] = sample_seed(self.seed, pending.request.key, sample_index)
        last = hidden.index_select(0, self._tensor(starts + np.array(sizes) - 1))
        logits = self.head.logits(last).index_select(0, self._tensor(source))
        self._append(logits, np.arange(self.active - len(entries), self.active))

    # --- decoding ----------------------------------------------------------------------------------------

    def decode(self) -> int:
        """One token for every live row that has not ended; returns how many were sampled."""
        self._retire()
        n = self.active
        if n == 0:
            return 0
        ids = self.tokens[np.arange(n), self.made[:n] - 1]
        lengths = self._tensor(self.lengths[:n])
        self.cache.begin_step(lengths)
        hidden = self.engine.decode(self._tensor(ids), lengths, self.cache)
        self.lengths[:n] += 1
        self._append(self.head.logits(hidden), np.arange(n))
        return n

    def _append(self, logits: Tensor, rows: np.ndarray) -> None:
        """Sample a token for each of ``rows`` from ``logits`` and note it."""
        uniform = uniforms(self.seeds[rows], self.made[rows])
        tokens, logprobs = sample(logits, uniform, self.params)
        at = self.made[rows]
        self.tokens[rows, at] = tokens.cpu().numpy()
        self.logprobs[rows, at] = logprobs.float().cpu().numpy()
        self.made[rows] += 1

    # --- leaving -----------------------------------------------------------------------------------------

    def _retire(self) -> None:
        """Rows that ended leave; the last live rows take their places."""
        n = self.active
        rows = np.arange(n)
        last = self.tokens[rows, self.made[:n] - 1]
        ended = np.isin(last, self.eos)
        finish = np.where(
            ended, Finish.STOP, np.where(self.made[:n] >= self.params.max_tokens, Finish.LENGTH, "")
        )
        texts: dict[int, str] = {}
        if self.params.stop:
            self._match_stop_strings(finish, texts)
        leaving = np.flatnonzero(finish != "")
        for row in leaving:
            self._finish(int(row), Finish(str(finish[row])), texts.get(int(row)))
        self._compact(leaving)

    def _match_stop_strings(self, finish: np.ndarray, texts: dict[int, str]) -> None:
        longest = max(map(len, self.params.stop)) + 8
        for row in np.flatnonzero(finish == ""):
            made = int(self.made[row])
            tail = self._text(self.tokens[row, max(0, made - longest) : made])
            if any(stop in tail for stop in self.params.stop):
                whole = self._text(self.tokens[row, :made])
                cut = min(at for stop in self.params.stop if (at := whole.find(stop)) >= 0)
                finish[row], texts[int(row)] = Finish.STOP, whole[:cut]

    def _finish(self, row: int, finish: Finish, text: str | None) -> None:
        pending, sample_index = self.owner[row]
        made = int(self.made[row])
        ids = self.tokens[row, :made].astype(np.int32)
        if text is None:
            text = self._text(ids[:-1] if ids[-1] in self.engine.eos_ids else ids)
        pending.done[sample_index] = Rollout(
            prompt_ids=np.asarray(pending.request.prompt_ids, np.int32),
            completion_ids=ids,
            logprobs=self.logprobs[row, :made].copy(),
            text=text,
            finish=finish,
            policy_version=self.engine.version,
            opened_think=pending.request.opened_think,
        )
        if all(r is not None for r in pending.done):
            self.finished.append(pending)

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
            for array in (self.lengths, self.made, self.seeds, self.tokens, self.logprobs):
                array[holes] = array[movers]
            for hole, mover in zip(holes.tolist(), movers.tolist(), strict=True):
                self.owner[hole] = self.owner[mover]
        del self.owner[kept:]
        self.active = kept

    def take_finished(self) -> Iterator[tuple[int, tuple[Rollout, ...]]]:
        """The requests whose every sample has ended since the last call."""
        finished, self.finished = self.finished, []
        for pending in finished:
            yield pending.index, tuple(r for r in pending.done if r is not None)

    def _text(self, ids: np.ndarray) -> str:
        return self.engine.tokenizer.decode(ids.tolist(), skip_special_tokens=False)

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)
