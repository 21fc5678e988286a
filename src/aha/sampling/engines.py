"""The engines by their names; a new one is a file with a subclass of ``Engine`` and an entry here."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from aha.hints import nearest
from aha.types import AhaError

if TYPE_CHECKING:
    from aha.sampling.engine import Engine

ENGINES: dict[str, str] = {
    "local": "aha.sampling.local.engine:LocalEngine",
    "vllm": "aha.sampling.vllm.engine:VllmEngine",
    "ray": "aha.cluster.engine:RayEngine",
}
"""Name -> module and class; a module is imported when its engine is asked for."""


def engine_class(name: str) -> type[Engine]:
    """The engine of that name. Raises AhaError with the known ones."""
    place = ENGINES.get(name)
    if place is None:
        raise AhaError(f"Unknown engine '{name}'. {nearest(name, ENGINES)}")
    module, _, attribute = place.partition(":")
    return getattr(import_module(module), attribute)
