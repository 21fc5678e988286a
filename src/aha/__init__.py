"""aha: from a base language model to a reasoning model, the way DeepSeek-R1 was trained.

In Python: ``aha.zero()``, ``aha.r1()``, ``aha.sft(data)``, ``aha.dpo(data)``, ``aha.reward_model(data)``,
``aha.run(stages)``, ``aha.evaluate(model)``, ``aha.load(model)`` (docs/python.md). Nothing heavy is imported before
one of them is used.
"""

from __future__ import annotations

import os as _os
from importlib import import_module

SPINS = "3000"
"""Turns that a thread of torch's waits for the others before it sleeps, some ten microseconds; GNU OpenMP's own 300,000
keep a core that another program could use. On two cores with six programs beside it, products by two threads were 4
times as fast so."""
if "OMP_WAIT_POLICY" not in _os.environ:
    _os.environ.setdefault("GOMP_SPINCOUNT", SPINS)  # read once, when torch is loaded

__version__ = "0.2.0"

_API = (
    "Evaluated",
    "Model",
    "Result",
    "answer_of",
    "dpo",
    "evaluate",
    "load",
    "r1",
    "reward_model",
    "run",
    "sft",
    "zero",
)
__all__ = ["__version__", *_API]


def __getattr__(name: str) -> object:
    """The functions of ``aha.api``, when they are asked for. Their types are in ``__init__.pyi``."""
    if name in _API:
        return getattr(import_module("aha.api"), name)
    raise AttributeError(f"module 'aha' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *_API})
