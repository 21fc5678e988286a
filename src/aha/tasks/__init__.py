"""What is asked. A task is one file and one entry here, or one of your own (``aha.tasks.own``)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from aha import plugins
from aha.hints import nearest
from aha.types import AhaError

if TYPE_CHECKING:
    from aha.tasks.base import Task
    from aha.tasks.rows import RowReader

DESCRIPTIONS: dict[str, str] = {
    "countdown": "reach a target with 3 numbers of 1..25 and + - *, one solution each (made by the program)",
    "countdown_full": "TinyZero's range: 3 or 4 numbers of 1..99, + - * /, targets 10..100 (made)",
    "logic": "knights and knaves with 2 or 3 people, one solution each, English and Chinese (made)",
    "logic_full": "knights and knaves with 3 to 5 people (made)",
    "code": "small Python functions by examples (made); or programming rows (--data FILE or hub name)",
    "code_full": "the same functions with large numbers and more hidden tests (made)",
    "general": "a closed world of everyday and harmful requests, graded by rubric (made); or prompts (--data FILE)",
    "harmful": "harmful prompts, and benign ones that look so (--data FILE or hub name)",
    "arithmetic": "sums, differences, products and short word problems, for small real models (made)",
    "gsm8k": "grade-school word problems (hub: openai/gsm8k, or --data FILE)",
    "math": "any questions with a final answer (--data FILE or hub name)",
    "choice": "multiple choice, answered by letter (--data FILE or hub name)",
    "ifeval": "instructions that rules can check: IFEval (--data FILE or hub name)",
    "drop": "reading with numbers and spans, by F1: DROP (--data FILE or hub name)",
    "function_calls": "calls of functions, matched by syntax tree as in BFCL (--data FILE or hub name)",
    "json_output": "answers as JSON that keep a schema (--data FILE or hub name)",
    "A:0.7,B=FILE:0.3": "several of these in proportions, as one task",
}
TASKS = tuple(name for name in DESCRIPTIONS if ":" not in name)
_NEED_DATA = {
    "ifeval": "prompts with instruction_id_list and kwargs",
    "harmful": "prompts",
    "math": "your questions",
    "choice": "your questions with options",
    "drop": "passages with questions",
    "function_calls": "questions with functions and ground_truth",
    "json_output": "questions with a schema",
}
_READ_ROWS = {
    **dict.fromkeys(("gsm8k", "math", "choice", "ifeval", "drop", "function_calls", "json_output"), 2),
    "code": 1,
}
_MAY_READ = ("code", "countdown", "countdown_full", "general", "harmful")
"""Tasks that can read rows; 2: that make no problems of their own."""
Rows = tuple[str | None, str | None]
"""(data, test_data) of a task."""


def _made() -> dict[str, Callable[[], Task]]:
    """The tasks that make their own problems."""
    from aha.tasks import arithmetic, code, countdown, general, logic

    return {
        "arithmetic": arithmetic.task,
        "countdown": partial(countdown.task, countdown.TINY),
        "countdown_full": partial(countdown.task, countdown.FULL, "countdown_full"),
        "logic": logic.task,
        "logic_full": partial(logic.task, logic.FULL, "logic_full"),
        "code": code.task,
        "code_full": partial(code.task, code.FULL, "code_full"),
        "general": general.task,
    }


def _of_rows() -> dict[str, tuple[Callable[..., Task], RowReader]]:
    """The tasks that read rows: what makes each, and how it reads them."""
    from aha.tasks import (
        choice,
        code_rows,
        countdown_rows,
        drop,
        function_calls,
        general_rows,
        ifeval,
        json_output,
        math_word,
    )

    maths = math_word.task, math_word.READER
    countdowns = countdown_rows.task, countdown_rows.READER
    return {
        "drop": (drop.task, drop.READER),
        "function_calls": (function_calls.task, function_calls.READER),
        "json_output": (json_output.task, json_output.READER),
        "general": (general_rows.task, general_rows.READER),
        "harmful": (general_rows.task, general_rows.HARMFUL_READER),
        "math": maths,
        "gsm8k": maths,
        "choice": (choice.task, choice.READER),
        "code": (code_rows.task, code_rows.READER),
        "ifeval": (ifeval.task, ifeval.READER),
        "countdown": countdowns,
        "countdown_full": countdowns,
    }


def _read(name: str, data: str | None, test_data: str | None) -> Task:
    """A task over rows; one that is not listed reads them as mathematics."""
    known = _of_rows()
    make, _ = known.get(name, known["math"])
    return make(data, name, test_data)


def reader_of(name: str) -> RowReader:
    """How a task reads its rows. Raises AhaError for one that reads none."""
    known = _of_rows()
    if name not in known:
        raise AhaError(f"Task '{name}' reads no rows. Those that do: {', '.join(known)}.")
    return known[name][1]


def get_task(name: str, data: str | None = None, test_data: str | None = None) -> Task:
    """The task of that name; ``data`` is a file or hub name for tasks that read rows. A name with shares in
    it is a mixture (``mixture.parse``); ``file.py:name`` and ``package.module:name`` are one's own, and so are names
    from an installed package's entry points.

    Raises AhaError for an unknown task, and for one that needs data and has none.
    """
    if is_mixture(name):
        return _mixture(name, data, test_data)
    if (own := own_reference(name)) is not None:
        from aha.tasks.own import own_task

        return own_task(own, data, test_data)
    if name in _MAY_READ and (data or test_data):
        return _read(name, data, test_data)
    makers = _made()
    if name in makers:
        if data or test_data:
            raise AhaError(f"Task '{name}' makes its own problems; it takes no --data.")
        return makers[name]()
    if name == "gsm8k":
        whole = data is None and test_data is None
        return _read(
            name, "openai/gsm8k:main" if whole else data, "openai/gsm8k:main" if whole else test_data
        )
    if name in _NEED_DATA:
        if not (data or test_data):
            raise AhaError(f"Task '{name}' reads {_NEED_DATA[name]}: give --data FILE or a hub name.")
        return _read(name, data, test_data)
    raise AhaError(
        f"Unknown task '{name}'. {plugins.of_file(name) or nearest(name, TASKS)} One of your own is FILE.py:NAME or "
        "PACKAGE.MODULE:NAME."
    )


def is_mixture(name: str) -> bool:
    """Whether a name is several tasks with their shares."""
    return ":" in name and not plugins.is_reference(name)


def own_reference(name: str) -> str | None:
    """The reference that a name stands for; None for the package's own tasks and for no task."""
    if plugins.is_reference(name):
        return name
    base, _, options = name.partition(":")
    reference = None if base in DESCRIPTIONS or is_mixture(name) else plugins.entry("tasks", base)
    return f"{reference}:{options}" if reference and options else reference


def _mixture(name: str, data: str | None, test_data: str | None) -> Task:
    from aha.tasks import mixture

    parts = mixture.parse(name)
    dealt = deal_rows([part for part, (own, _) in parts.items() if not own], data, test_data)
    rows = {part: (own, None) if own else dealt[part] for part, (own, _) in parts.items()}
    return mixture.task({part: (get_task(part, *rows[part]), share) for part, (_, share) in parts.items()})


def deal_rows(names: Sequence[str], data: str | None, test_data: str | None) -> dict[str, Rows]:
    """Of several tasks, which one ``data`` is for: the one that reads rows and names none itself.

    Raises AhaError where rows are given and it is none of them, or several.
    """
    dealt: dict[str, Rows] = dict.fromkeys(names, (None, None))
    if not (data or test_data):
        return dealt
    most = max(map(_reads_rows, names), default=0)
    readers = [name for name in dealt if most and _reads_rows(name) == most]
    if len(readers) != 1:
        none = f"none of {', '.join(names)}" if names else "no task"
        which = f"are for {' or '.join(readers) if readers else none}"
        raise AhaError(f"The rows {which}. Write TASK=FILE:SHARE in a mixture instead of --data.")
    dealt[readers[0]] = (data, test_data)
    return dealt


def _reads_rows(name: str) -> int:
    """0: never; 1: if it is given any; 2: always. Of a mixture, its parts that name none themselves."""
    if not is_mixture(name):
        return _READ_ROWS.get(name, 0)
    from aha.tasks import mixture

    return max(
        (_READ_ROWS.get(part, 0) for part, (own, _) in mixture.parse(name).items() if not own), default=0
    )


def reads_rows(name: str, data: str | None = None, test_data: str | None = None) -> bool:
    """Whether all problems of a task are rows of a source, which has an end."""
    if is_mixture(name):
        return False
    return _READ_ROWS.get(name) == 2 or (name in _MAY_READ and bool(data or test_data))


def row_sources(name: str, data: str | None = None, test_data: str | None = None) -> list[str]:
    """The files and hub names whose rows a task reads, those that a mixture names among them."""
    sources = [data, test_data]
    if is_mixture(name):
        from aha.tasks import mixture

        sources += [own for own, _ in mixture.parse(name).values()]
    return [source for source in sources if source]
