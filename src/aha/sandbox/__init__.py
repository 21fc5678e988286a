"""Untrusted Python, run behind a wall: ``run`` one program, ``Sandbox`` for many, judges for tests.

>>> from aha.sandbox import Sandbox
>>> with Sandbox(workers=2) as sandbox:
...     sandbox.run("print(6 * 7)").stdout
b'42\\n'
"""

from .asserts import check_source, judge_asserts
from .compare import same_output, same_value
from .execution import Execution, Isolation, Limits, Status
from .judge import (
    Judgement,
    ResultComparison,
    TestResult,
    check_call,
    judge_function,
    judge_stdio,
    results_of,
)
from .names import imported as imported_modules
from .packages import modules as sandbox_modules
from .pool import Sandbox, default_sandbox, run

__all__ = [
    "Execution",
    "Isolation",
    "Judgement",
    "Limits",
    "ResultComparison",
    "Sandbox",
    "Status",
    "TestResult",
    "check_call",
    "check_source",
    "default_sandbox",
    "imported_modules",
    "judge_asserts",
    "judge_function",
    "judge_stdio",
    "results_of",
    "run",
    "same_output",
    "same_value",
    "sandbox_modules",
]
