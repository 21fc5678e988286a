"""Untrusted Python, run behind a wall: ``run`` one program, ``Sandbox`` for many, judges for tests.

>>> from aha.sandbox import Sandbox
>>> with Sandbox(workers=2) as sandbox:
...     sandbox.run("print(6 * 7)").stdout
b'42\\n'
"""

from .execution import Execution, Isolation, Limits, Status
from .pool import Sandbox, run

__all__ = ["Execution", "Isolation", "Limits", "Sandbox", "Status", "run"]
