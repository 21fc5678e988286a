"""Changes to a model's config before its weights are loaded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aha.types import AhaError


def change_config(config: Any, changes: Mapping[str, Any]) -> None:
    """Change a model's config in place, before its weights are loaded.

    ``rope_theta`` and ``rope_scaling`` (a dict with ``rope_type``, ``factor`` and so on) speak of the rotary
    positions, wherever the family keeps them; where layers differ, of the layers with full attention.
    Everything else, such as ``max_position_embeddings``, must be a field that the config already has.
    Raises AhaError for a field that it has not.
    """
    for key, value in changes.items():
        if key in ("rope_theta", "rope_scaling"):
            _change_rope(config, key, value)
        elif hasattr(config, key):
            setattr(config, key, value)
        else:
            raise AhaError(f"The config of a {config.model_type} model has no field '{key}' to change.")


def _change_rope(config: Any, key: str, value: Any) -> None:
    rope = getattr(config, "rope_parameters", None)
    if not isinstance(rope, dict):
        raise AhaError(f"A {config.model_type} model has no rotary positions: '{key}' cannot be changed.")
    place = rope.get("full_attention", rope)
    if key == "rope_theta":
        place["rope_theta"] = float(value)
        return
    kept = {k: place[k] for k in ("rope_theta", "partial_rotary_factor") if k in place}
    scaling = dict(value or {"rope_type": "default"})
    scaling.setdefault("rope_type", scaling.pop("type", "default"))  # older recipes call it "type"
    place.clear()
    place.update(kept | scaling)
