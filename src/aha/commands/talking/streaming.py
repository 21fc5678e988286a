"""An answer on the terminal while it is sampled: thinking dimmed, or counted where it is folded."""

from __future__ import annotations

import queue
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from rich.console import Console
from rich.text import Text

from aha.runs.charts import clean
from aha.sampling.engine import Request
from aha.sampling.http.live import LiveEngine, LiveRequest
from aha.sampling.http.text import Splitter, TextStream
from aha.sampling.local.engine import LocalEngine
from aha.sampling.sampler import SamplingParams
from aha.types import Rollout

ROWS = 2
LOOK_SECONDS = 0.2
"""How often a waiting answer looks for Ctrl-C."""
EVERY = 20
"""Tokens after which a folded thinking's count is written anew."""


class StreamingEngine:
    """A local engine that tells of each piece of an answer as it is sampled."""

    def __init__(self, engine: LocalEngine, tokenizer: Any):
        self.live, self.tokenizer, self.eos = LiveEngine(engine, ROWS), tokenizer, engine.eos_ids

    def answer(
        self, request: Request, params: SamplingParams, seed: int, told: Callable[[str, int], None]
    ) -> Rollout:
        """The rollout of a request; ``told`` hears each piece of its new text, with how many tokens there are by then.
        Whatever ends the waiting (Ctrl-C) ends the sampling."""
        news: queue.Queue[Any] = queue.Queue()
        key = (seed * 1_000_003 + request.key) & 0xFFFFFFFF  # the live batch has one seed for all
        job = LiveRequest(
            replace(request, key=key, params=params),
            news.put,
            lambda sample, token, logprob, top: news.put(token),
        )
        self.live.submit(job)
        try:
            return self._followed(news, request, told)
        finally:
            job.cancelled = True

    def _followed(
        self, news: queue.Queue[Any], request: Request, told: Callable[[str, int], None]
    ) -> Rollout:
        before = request.partials[0].text if request.partials else ""
        stream, count = TextStream(self._decode), 0
        while True:
            try:
                item = news.get(timeout=LOOK_SECONDS)
            except queue.Empty:
                continue
            if isinstance(item, BaseException):
                raise item
            if isinstance(item, tuple):
                rollout: Rollout = item[0]
                told(stream.close(rollout.text.removeprefix(before)), count)
                return rollout
            count += 1
            if item not in self.eos:
                told(stream.feed(item), count)

    def _decode(self, ids: list[int]) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=False))


class Screen:
    """Writes one answer as it grows. ``fold``: of its thinking the length alone."""

    def __init__(self, opened: bool, fold: bool):
        self.split, self.fold = Splitter(opened), fold
        self.console = Console(highlight=False)
        self.kind, self.thought = "", 0
        self.folding = False

    def tell(self, piece: str, tokens: int) -> None:
        """One more piece of text, after so many tokens."""
        for kind, text in self.split.feed(piece):
            self._show(kind, text, tokens)

    def end(self) -> None:
        """What was held back, and the end of the line."""
        for kind, text in self.split.close():
            self._show(kind, text, self.thought)
        if self.folding:
            self._write("\r(thought, and came to no answer; /thought shows it)", "dim")
        self._write("\n", "")

    def _show(self, kind: str, text: str, tokens: int) -> None:
        if kind == "reasoning" and self.fold:
            if not self.folding or tokens - self.thought >= EVERY:
                self._write(f"\r(thinking, {tokens} tokens)", "dim")
                self.folding, self.thought = True, tokens
            return
        if self.folding:
            self._write(f"\r(thought for {tokens} tokens; /thought shows it)\n", "dim")
            self.folding = False
        elif kind != self.kind and self.kind:
            self._write("\n", "")
        self.kind = kind
        self._write(clean(text), "dim" if kind == "reasoning" else "bold")

    def _write(self, text: str, style: str) -> None:
        self.console.print(Text(text, style), end="", soft_wrap=True)
        self.console.file.flush()
