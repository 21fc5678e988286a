"""What is asked. A task is one file and one entry here."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from aha.types import AhaError

if TYPE_CHECKING:
    from aha.tasks.base import Task

DESCRIPTIONS: dict[str, str] = {
    "countdown": "reach a target with 3 numbers of 1..25 and + - *, one solution each (made by the program)",
    "countdown_full": "TinyZero's range: 3 or 4 numbers of 1..99, + - * /, targets 10..100 (made)",
    "gsm8k": "grade-school word problems (hub: openai/gsm8k, or --data FILE)",
    "math": "any questions with a final answer (--data FILE or hub name)",
}


def get_task(name: str, data: str | None = None, test_data: str | None = None) -> Task:
    """The task of that name; ``data`` is a file or hub name for tasks that read rows.

    Raises AhaError for an unknown task, and for one that needs data and has none.
    """
    from aha.tasks import countdown, math_word

    made: dict[str, Callable[[], Task]] = {
        "countdown": partial(countdown.task, countdown.TINY),
        "countdown_full": partial(countdown.task, countdown.FULL, "countdown_full"),
    }
    if name in made:
        if data:
            raise AhaError(f"Task '{name}' makes its own problems; it takes no --data.")
        return made[name]()
    if name == "gsm8k":
        return math_word.task(
            data or "openai/gsm8k:main", "gsm8k", test_data or (None if data else "openai/gsm8k:main")
        )
    if name == "math":
        if not data:
            raise AhaError("Task 'math' reads your questions: give --data FILE or a hub name.")
        return math_word.task(data, "math", test_data)
    import difflib

    close = difflib.get_close_matches(name, DESCRIPTIONS, n=1)
    hint = f"Did you mean '{close[0]}'?" if close else f"Known: {', '.join(DESCRIPTIONS)}."
    raise AhaError(f"Unknown task '{name}'. {hint}")
