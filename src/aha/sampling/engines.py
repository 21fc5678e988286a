"""The engines by their names; a new one is a folder with a subclass of ``Engine`` and an entry here, or one's own.

An entry says where an engine's parts stand; each is imported when it is asked for. Everything else that is known of an
engine stands on its class.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from importlib import import_module
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from aha import plugins
from aha.hints import nearest
from aha.types import AhaError

if TYPE_CHECKING:
    from aha.sampling.engine import Engine
    from aha.sampling.serving import EngineServer
    from aha.settings import Settings


@dataclass(frozen=True, slots=True)
class EngineEntry:
    """An engine's parts, each as ``module:name``: its class; its ``settings``, and the ``group`` that stages have them
    as; its own ``server`` of a checkpoint. ``about``: what samples then, in words."""

    engine: str
    title: str
    about: str
    group: str = ""
    settings: str = ""
    server: str = ""

    @property
    def settings_class(self) -> type[Settings]:
        """Its settings; only where it has a ``group``."""
        return _part(self.settings)


ENGINES: dict[str, EngineEntry] = {
    "local": EngineEntry("aha.sampling.local.engine:LocalEngine", "the package's own engine", "the policy itself"),
    "vllm": EngineEntry(
        "aha.sampling.vllm.engine:VllmEngine",
        "vLLM",
        "vLLM beside it",
        group="vllm",
        settings="aha.sampling.vllm.settings:VllmSettings",
        server="aha.sampling.vllm.serving:VllmServer",
    ),
    "ray": EngineEntry(
        "aha.cluster.engine:RayEngine",
        "Ray",
        "workers through Ray",
        group="cluster",
        settings="aha.cluster.settings:ClusterSettings",
    ),
}  # fmt: skip
"""Name -> the engine's parts."""


def engine_class(name: str) -> type[Engine]:
    """The engine of that name; ``file.py:name`` and ``package.module:name`` are one's own. Raises AhaError with the
    known ones."""
    entry = ENGINES.get(name)
    own = name if plugins.is_reference(name) else None if entry else plugins.entry("engines", name)
    if own is not None:
        return _own(own)
    if entry is None:
        hint = plugins.of_file(name) or nearest(name, ENGINES)
        raise AhaError(f"Unknown engine '{name}'. {hint} One of your own is FILE.py:NAME.")
    return _part(entry.engine)


def unset() -> SimpleNamespace:
    """The settings of every engine where nobody set any, in place of a stage's."""
    grouped = [entry for entry in ENGINES.values() if entry.group]
    return SimpleNamespace(**{entry.group: entry.settings_class.model_validate({}) for entry in grouped})


def servers() -> list[str]:
    """The engines that have a server of a checkpoint of their own."""
    return [name for name, entry in ENGINES.items() if entry.server]


def server_class(name: str) -> type[EngineServer]:
    """An engine's own server."""
    return _part(ENGINES[name].server)


def choices() -> str:
    """What may sample, in words."""
    return ", ".join(f"{name} ({entry.about})" for name, entry in ENGINES.items())


def _part(place: str) -> Any:
    module, _, attribute = place.partition(":")
    return getattr(import_module(module), attribute)


def _own(reference: str) -> type[Engine]:
    """An engine from outside the package. Raises AhaError for what is no subclass of ``Engine``."""
    from aha.sampling.engine import Engine

    part = plugins.resolve(reference)
    if not (inspect.isclass(part) and issubclass(part, Engine)):
        raise AhaError(f"The engine '{reference}' must be a subclass of aha.sampling.engine.Engine.")
    return part
