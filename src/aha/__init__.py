"""aha: from a base language model to a reasoning model, the way DeepSeek-R1 was trained.

In Python: ``aha.zero()``, ``aha.r1()``, ``aha.sft(data)``, ``aha.dpo(data)``, ``aha.reward_model(data)``,
``aha.run(stages)``, ``aha.evaluate(model)``, ``aha.load(model)`` (docs/python.md). Nothing heavy is imported before
one of them is used.
"""

from __future__ import annotations

import os as _os
from importlib import import_module

TORCHS_ENVIRONMENT = {"GOMP_SPINCOUNT": "3000", "THP_MEM_ALLOC_ENABLE": "1"}
"""What torch reads once, as it is loaded and at its first tensor, unless it is set already.

GOMP_SPINCOUNT: turns that a thread waits for the others before it sleeps, some ten microseconds; GNU OpenMP's own
300,000 keep a core that another program could use. On two cores with six programs beside it, products by two threads
were 4 times as fast so. THP_MEM_ALLOC_ENABLE: large tensors in pages of 2 MB, on Linux; each page of 4 kB costs a fault
and a place among the few whose address a CPU remembers. Products with results of 40 MB were 2 to 3 times as fast so.
"""
for _name, _value in TORCHS_ENVIRONMENT.items():
    if _name != "GOMP_SPINCOUNT" or "OMP_WAIT_POLICY" not in _os.environ:
        _os.environ.setdefault(_name, _value)

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
