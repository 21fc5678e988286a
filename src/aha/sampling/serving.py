"""What an engine's own server of a checkpoint is asked for, and what every such server is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

from aha import chat


@dataclass(frozen=True, slots=True)
class Serving:
    """What is served, where. ``more``: words for the server's own command line, which it takes last."""

    model: str
    name: str
    prompt: str = "auto"
    host: str = "127.0.0.1"
    port: int = 8000
    origin: str = "*"
    dtype: str = "auto"
    on_cpu: bool = True
    threads: int = 0
    api_key: str | None = None
    more: tuple[str, ...] = ()


class EngineServer(Protocol):
    """A server in a process of its own, until it is closed; used in a ``with``."""

    prompt: chat.Prompt
    log: Path

    def __init__(self, asked: Serving): ...

    @property
    def url(self) -> str:
        """The base address, ending in /v1."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def wait(self) -> None:
        """Wait until it answers. Raises AhaError where it never does."""
        ...

    def serve(self) -> None:
        """Until it ends, or Ctrl-C."""
        ...
