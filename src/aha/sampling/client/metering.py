"""What keeps a client of a paid endpoint in bounds: rate limits, the bill, and a cache that is never paid twice."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from aha.files import disk_errors, well_formed
from aha.types import AhaError

MINUTE = 60.0


class RateLimit:
    """At most ``limit`` units (requests or tokens) in any 60 seconds, for any number of threads.

    ``take`` waits its turn. More units at once than the limit pass alone, once the minute is empty.
    """

    def __init__(
        self,
        limit: float | None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ):
        self.limit, self._clock, self._sleep = limit, clock, sleep
        self._taken: deque[list[float]] = deque()  # [when, units], the oldest first
        self._lock = threading.Lock()

    def take(self, units: float) -> list[float] | None:
        """Wait until ``units`` fit; returns the entry, for ``correct``. None without a limit."""
        if self.limit is None:
            return None
        while True:
            with self._lock:
                wait = self._wait(units)
                if wait <= 0:
                    entry = [self._clock(), units]
                    self._taken.append(entry)
                    return entry
            self._sleep(wait)

    def _wait(self, units: float) -> float:
        now = self._clock()
        while self._taken and self._taken[0][0] <= now - MINUTE:
            self._taken.popleft()
        assert self.limit is not None
        excess = sum(n for _, n in self._taken) + units - self.limit
        if excess <= 0 or not self._taken:
            return 0.0
        for when, n in self._taken:  # until enough of the oldest have left the minute
            excess -= n
            if excess <= 0:
                return max(when + MINUTE - now, 1e-3)
        return max(self._taken[-1][0] + MINUTE - now, 1e-3)

    def correct(self, entry: list[float] | None, units: float) -> None:
        """Put what was really used in the place of what was estimated."""
        if entry is not None:
            with self._lock:
                entry[1] = units


@dataclass(slots=True)
class Usage:
    """What was asked of an endpoint, and what it cost. Cached answers cost nothing and are counted apart."""

    requests: int = 0
    retries: int = 0
    cached: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0  # in the currency of the prices

    def as_dict(self) -> dict[str, float]:
        """For metrics and files."""
        return asdict(self)


class Bill:
    """Counts usage over threads and stops spending at ``max_cost``. Prices are per million tokens."""

    def __init__(self, price_in: float = 0.0, price_out: float = 0.0, max_cost: float | None = None):
        self.price_in, self.price_out, self.max_cost = price_in, price_out, max_cost
        self.usage = Usage()
        self._lock = threading.Lock()

    def check(self) -> None:
        """Raise AhaError if the budget is spent."""
        if self.max_cost is not None and self.usage.cost >= self.max_cost:
            raise AhaError(
                f"The budget of {self.max_cost:g} is spent ({self.usage.cost:.4f} for {self.usage.requests} "
                "requests). Raise max_cost and give the same command again: with a cache, what was answered "
                "is not paid again."
            )

    def add(self, prompt_tokens: int, completion_tokens: int) -> None:
        """One paid answer."""
        with self._lock:
            self.usage.requests += 1
            self.usage.prompt_tokens += prompt_tokens
            self.usage.completion_tokens += completion_tokens
            self.usage.cost += (prompt_tokens * self.price_in + completion_tokens * self.price_out) / 1e6

    def count(self, *, retries: int = 0, cached: int = 0) -> None:
        """Attempts that failed, and answers that the cache had."""
        with self._lock:
            self.usage.retries += retries
            self.usage.cached += cached


def request_key(path: str, body: Mapping[str, Any]) -> str:
    """SHA-256 of a request: its path and its whole body. Neither the address nor the API key is in it, so
    that a cache survives a move of the endpoint."""
    text = json.dumps([path, body], sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(well_formed(text).encode()).hexdigest()


class AnswerCache:
    """Answers by request, in a JSON Lines file that only grows. A line torn by a kill is dropped and asked
    again; every whole line was flushed before its answer was used."""

    def __init__(self, path: Path | None):
        self.path = path
        self._answers: dict[str, Any] = {}
        self._lock = threading.Lock()
        if path is not None and path.exists():
            self._load(path)

    def _load(self, path: Path) -> None:
        raw = path.read_bytes()
        whole = raw[: raw.rfind(b"\n") + 1]
        for number, line in enumerate(whole.split(b"\n"), 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
                self._answers[row["key"]] = row["response"]
            except (ValueError, KeyError, TypeError) as error:
                raise AhaError(
                    f"{path}, line {number}, is no answer of ours ({error!r}). Give another cache file, or "
                    "remove that line."
                ) from error
        if len(whole) < len(raw):
            os.truncate(path, len(whole))

    def get(self, key: str) -> Any | None:
        """The answer to a request, or None."""
        return self._answers.get(key)

    def values(self) -> list[Any]:
        """All answers that are there."""
        return list(self._answers.values())

    def put(self, key: str, response: Any) -> None:
        """Remember an answer: in the file first, then here."""
        with self._lock:
            if self.path is not None:
                line = json.dumps({"key": key, "response": response}, ensure_ascii=False) + "\n"
                with disk_errors(self.path):
                    self.path.parent.mkdir(parents=True, exist_ok=True)
                    with open(self.path, "a", encoding="utf-8") as f:
                        f.write(line)
            self._answers[key] = response
