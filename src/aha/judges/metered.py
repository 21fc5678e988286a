"""A judge with a memory and a budget: equal questions are asked once, on this disk, and no more than was allowed."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from aha.judges.asking import BudgetSpentError, Complete
from aha.sampling.client.endpoint import CHARS_PER_TOKEN
from aha.sampling.client.metering import AnswerCache, request_key
from aha.types import Message


class Metered:
    """``Complete`` that remembers its replies in ``cache`` by judge, messages and seed, and stops at ``max_calls`` or
    ``max_tokens`` (estimated from characters, question and reply). What stands in the cache counts as spent, so that a
    run that is resumed has no more than one that was not. Safe over threads."""

    def __init__(
        self,
        complete: Complete,
        who: str,
        cache: Path | None = None,
        *,
        max_calls: int | None = None,
        max_tokens: int | None = None,
    ):
        self.complete, self.who = complete, who
        self.max_calls, self.max_tokens = max_calls, max_tokens
        self.cache = AnswerCache(cache)
        known = list(self.cache.values())
        self.calls, self.tokens = len(known), sum(int(reply["tokens"]) for reply in known)
        self.counts: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._asking: dict[str, threading.Lock] = {}

    def __call__(self, messages: Sequence[Message], seed: int) -> str:
        """The reply. Raises BudgetSpentError where it is not known and nothing may be asked any more."""
        key = request_key(self.who, {"messages": [dict(m) for m in messages], "seed": seed})
        with self._lock:
            turn = self._asking.setdefault(key, threading.Lock())
        with turn:  # equal answers of a group are judged at the same time, and get one verdict
            known = self.cache.get(key)
            if known is None:
                try:
                    return self._ask(key, messages, seed)
                finally:
                    with self._lock:
                        self._asking.pop(key, None)
        self._note("cached")
        return str(known["text"])

    def _ask(self, key: str, messages: Sequence[Message], seed: int) -> str:
        with self._lock:
            if self.spent:
                self.counts["over_budget"] += 1
                raise BudgetSpentError
            self.calls += 1
        text = self.complete(messages, seed)
        tokens = round((sum(len(m["content"]) for m in messages) + len(text)) / CHARS_PER_TOKEN)
        with self._lock:
            self.tokens += tokens
        self.cache.put(key, {"text": text, "tokens": tokens})
        return text

    @property
    def spent(self) -> bool:
        """Whether nothing may be asked any more."""
        over = self.max_tokens is not None and self.tokens >= self.max_tokens
        return over or (self.max_calls is not None and self.calls >= self.max_calls)

    def _note(self, name: str) -> None:
        with self._lock:
            self.counts[name] += 1
