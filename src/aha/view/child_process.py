"""Another process of this program, which finds its modules where this one did and nowhere else."""

from __future__ import annotations

import sys
from pathlib import Path

_START = (
    "import sys; sys.path.append(sys.argv.pop(1)); import runpy; "
    "runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)"
)


def child_command(module: str, *words: str | Path) -> list[str]:
    """The command that runs a module of the package. ``python -m`` would look into the folder that one stands in first:
    a ``json.py`` in a run that somebody sent would be run by looking at it."""
    return [sys.executable, "-P", "-c", _START, str(Path(__file__).parents[2]), module, *map(str, words)]
