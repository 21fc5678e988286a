"""The engines by their names; a new one is a file with a subclass of ``Engine`` and an entry here, or one's own."""

from __future__ import annotations

import inspect
from importlib import import_module
from typing import TYPE_CHECKING

from aha import plugins
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
    """The engine of that name; ``file.py:name`` and ``package.module:name`` are one's own. Raises AhaError with the
    known ones."""
    place = ENGINES.get(name)
    own = name if plugins.is_reference(name) else None if place else plugins.entry("engines", name)
    if own is not None:
        return _own(own)
    if place is None:
        raise AhaError(f"Unknown engine '{name}'. {nearest(name, ENGINES)} One of your own is FILE.py:NAME.")
    module, _, attribute = place.partition(":")
    return getattr(import_module(module), attribute)


def _own(reference: str) -> type[Engine]:
    """An engine from outside the package. Raises AhaError for what is no subclass of ``Engine``."""
    from aha.sampling.engine import Engine

    part = plugins.resolve(reference)
    if not (inspect.isclass(part) and issubclass(part, Engine)):
        raise AhaError(f"The engine '{reference}' must be a subclass of aha.sampling.engine.Engine.")
    return part
