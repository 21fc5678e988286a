"""Ctrl-C and SIGTERM in a loop of steps: the step under way is finished and saved; a second one ends it at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from aha import ranks

NAMES = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}
AGAIN = "Give the same command again to continue."


class Interrupted(KeyboardInterrupt):
    """Somebody asked for the end; the text says what is saved and what will be done again."""

    def __init__(self, text: str, number: int = signal.SIGINT):
        super().__init__(text)
        self.code = 128 + number


class GuardedStep:
    """Within it the first signal waits for the end of the step; ``asked`` tells of it, and ``leave`` ends.

    ``saved`` is the last step of which there is a checkpoint. Of several ranks all end together, whichever heard.
    """

    _heard = 0  # the signal that came first, in this process

    def __init__(self, number: int, saved: int):
        self.number, self.saved, self.ends = number, saved, 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> GuardedStep:
        if threading.current_thread() is threading.main_thread():
            for number in NAMES:
                if (before := signal.getsignal(number)) not in (signal.SIG_IGN, None):
                    self._before[number] = before
                    signal.signal(number, self._handle)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)
        if kind is not None and issubclass(kind, KeyboardInterrupt):
            number, GuardedStep._heard = GuardedStep._heard or signal.SIGINT, 0
            raise Interrupted(f"Interrupted at once: {self._repeated()}. {AGAIN}", number) from error

    def asked(self) -> bool:
        """Whether a rank was asked to end. Every rank must call it."""
        self.ends = max(ranks.gather(GuardedStep._heard))
        return bool(self.ends)

    def leave(self) -> None:
        """End where that was asked for. Raises Interrupted."""
        if self.ends:
            GuardedStep._heard = 0
            raise Interrupted(f"Interrupted after step {self.number}, which is saved. {AGAIN}", self.ends)

    def _handle(self, number: int, frame: Any) -> None:
        if GuardedStep._heard:
            before = self._before.get(number)
            (before if callable(before) else signal.default_int_handler)(number, frame)
            return
        GuardedStep._heard = number
        if ranks.is_main():
            _write(
                f"\n{NAMES[signal.Signals(number)]}: step {self.number} is finished and saved first. Once more ends at "
                f"once: {self._repeated()}.\n"
            )

    def _repeated(self) -> str:
        first = self.saved + 1
        return f"step {first} will be done again" if first >= self.number else (
            f"steps {first} to {self.number} will be done again"
        )  # fmt: skip


def _write(text: str) -> None:
    """Past all buffers: a signal may have come in the middle of writing to one."""
    with suppress(OSError):
        os.write(2, text.encode())


def saving(step: GuardedStep, due: bool, save: Callable[[], object]) -> None:
    """Save where it is due, or where somebody asked for the end."""
    if step.asked() or due:
        save()
