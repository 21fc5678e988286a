"""A checkpoint of this machine as judge or teacher, behind the interface of an endpoint.

What several threads ask at once is answered as one batch; what is said depends on the messages and the seed alone.
On a GPU the weights wait in the CPU's memory between uses, so that they do not stand beside a policy that trains.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from aha import chat, hardware, modeling
from aha.sampling.client.metering import AnswerCache, request_key
from aha.sampling.engine import Request
from aha.sampling.local.engine import LocalEngine
from aha.sampling.sampler import SamplingParams
from aha.types import Message

_log = logging.getLogger(__name__)
_Call = tuple[tuple[Message, ...], int, "Future[str]"]


class LocalComplete:
    """``judges.asking.Complete`` by a checkpoint, loaded at the first question. ``cache``: a file of its answers, by
    model, messages and seed. ``reasoning``: whether replies keep their thinking."""

    def __init__(
        self, path: str, cache: Path | None, *, device: str = "auto", dtype: str = "auto",
        max_tokens: int = 1024, temperature: float = 0.0, reasoning: bool = False,
    ):  # fmt: skip
        self.path, self.device, self.dtype = path, hardware.pick_device(device), dtype
        self.params = SamplingParams(temperature=temperature, max_tokens=max_tokens)
        self.reasoning = reasoning
        self.cache = AnswerCache(cache)
        self._waiting: list[_Call] = []
        self._lock, self._turn = threading.Lock(), threading.Lock()
        self._engine: LocalEngine | None = None
        self._tokenizer: Any = None

    def __call__(self, messages: Sequence[Message], seed: int) -> str:
        """The reply, "" to a conversation that leaves no room for one."""
        call: _Call = (tuple(messages), seed, Future())
        with self._lock:
            self._waiting.append(call)
        with self._turn:
            with self._lock:
                batch, self._waiting = self._waiting, []
            if batch:
                self._answer(batch)
        return call[2].result()

    def _answer(self, batch: Sequence[_Call]) -> None:
        keys = [self._key(messages, seed) for messages, seed, _ in batch]
        try:
            fresh = {key: call for key, call in zip(keys, batch, strict=True) if self.cache.get(key) is None}
            if fresh:
                self._generate(fresh)
        except BaseException as error:
            for _, _, future in batch:
                future.set_exception(error)
            return
        for key, (_, _, future) in zip(keys, batch, strict=True):
            future.set_result(str((self.cache.get(key) or {"text": ""})["text"]))

    def _key(self, messages: Sequence[Message], seed: int) -> str:
        asked = {"messages": [dict(m) for m in messages], "seed": seed, "reasoning": self.reasoning}
        return request_key(
            self.path, asked | {"max_tokens": self.params.max_tokens, "temperature": self.params.temperature}
        )

    def _generate(self, fresh: dict[str, _Call]) -> None:
        engine, limit = self._loaded(), 0
        requests: list[Request] = []
        keys: list[str] = []
        for key, (messages, seed, _) in fresh.items():
            rendered = chat.render(messages, self._tokenizer, prompt="bare")
            ids = chat.encode_prompt(rendered, self._tokenizer)
            if len(ids) + self.params.max_tokens > modeling.max_context(engine.model):
                limit += 1
                self.cache.put(key, {"text": ""})
                continue
            requests.append(Request(ids, 1, 0, rendered.opened_think, seed=seed))
            keys.append(key)
        if limit:
            _log.warning(
                "%d questions leave the judge %s no room to answer: they count as unread.", limit, self.path
            )
        for index, (rollout,) in engine.generate(requests, self.params) if requests else ():
            text = "<think>" + rollout.text if rollout.opened_think else rollout.text
            self.cache.put(keys[index], {"text": text if self.reasoning else _said(text)})
        self._rest()

    def _loaded(self) -> LocalEngine:
        if self._engine is None:
            dtype = hardware.pick_dtype(self.dtype, self.device)
            self._tokenizer = modeling.load_tokenizer(self.path)
            self._engine = LocalEngine(
                modeling.load_model(self.path, self.device, dtype), self._tokenizer, max_rows=64
            )
        elif self.device.type != "cpu":
            self._engine.model.to(self.device)
        return self._engine

    def _rest(self) -> None:
        if self.device.type == "cpu" or self._engine is None:
            return
        model = self._engine.model.to("cpu")
        self._engine = LocalEngine(
            model, self._tokenizer, max_rows=64
        )  # without the cache of keys and values


def _said(text: str) -> str:
    """What stands after the thinking, or all of it where there is none."""
    parsed = chat.parse(text, require_answer=False)
    return parsed.body if parsed.think is not None else text
