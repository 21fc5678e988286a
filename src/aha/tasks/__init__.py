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
    "logic": "knights and knaves with 2 or 3 people, one solution each, English and Chinese (made)",
    "logic_full": "knights and knaves with 3 to 5 people (made)",
    "code": "small Python functions by examples (made); or programming rows (--data FILE or hub name)",
    "code_full": "the same functions with large numbers and more hidden tests (made)",
    "general": "a closed world of everyday and harmful requests, graded by rubric (made)",
    "gsm8k": "grade-school word problems (hub: openai/gsm8k, or --data FILE)",
    "math": "any questions with a final answer (--data FILE or hub name)",
    "choice": "multiple choice, answered by letter (--data FILE or hub name)",
    "A:0.7,B=FILE:0.3": "several of these in proportions, as one task",
}
TASKS = tuple(name for name in DESCRIPTIONS if ":" not in name)
_NEED_DATA = {"math": "your questions", "choice": "your questions with options"}


def _made() -> dict[str, Callable[[], Task]]:
    """The tasks that make their own problems."""
    from aha.tasks import code, countdown, general, logic

    return {
        "countdown": partial(countdown.task, countdown.TINY),
        "countdown_full": partial(countdown.task, countdown.FULL, "countdown_full"),
        "logic": logic.task,
        "logic_full": partial(logic.task, logic.FULL, "logic_full"),
        "code": code.task,
        "code_full": partial(code.task, code.FULL, "code_full"),
        "general": general.task,
    }


def _read(name: str, data: str, test_data: str | None) -> Task:
    """A task over rows."""
    from aha.tasks import choice, code_rows, math_word

    readers = {"choice": choice.task, "code": code_rows.task}
    return readers.get(name, math_word.task)(data, name, test_data)


def get_task(name: str, data: str | None = None, test_data: str | None = None) -> Task:
    """The task of that name; ``data`` is a file or hub name for tasks that read rows. A name with shares in
    it is a mixture (``mixture.parse``).

    Raises AhaError for an unknown task, and for one that needs data and has none.
    """
    if ":" in name:
        return _mixture(name, data)
    if name == "code" and data:
        return _read(name, data, test_data)
    made = _made()
    if name in made:
        if data:
            raise AhaError(f"Task '{name}' makes its own problems; it takes no --data.")
        return made[name]()
    if name == "gsm8k":
        return _read(name, data or "openai/gsm8k:main", test_data or (None if data else "openai/gsm8k:main"))
    if name in _NEED_DATA:
        if not data:
            raise AhaError(f"Task '{name}' reads {_NEED_DATA[name]}: give --data FILE or a hub name.")
        return _read(name, data, test_data)
    import difflib

    close = difflib.get_close_matches(name, TASKS, n=1)
    hint = f"Did you mean '{close[0]}'?" if close else f"Known: {', '.join(TASKS)}."
    raise AhaError(f"Unknown task '{name}'. {hint}")


def _mixture(name: str, data: str | None) -> Task:
    from aha.tasks import mixture

    if data:
        raise AhaError("A mixture names its data in itself: write TASK=FILE:SHARE instead of --data.")
    parts = mixture.parse(name)
    return mixture.task({part: (get_task(part, rows), share) for part, (rows, share) in parts.items()})
