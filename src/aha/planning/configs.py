"""A model's shape by its name: published ones, a folder's config.json, or the hub's, of which only the config
is fetched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aha import modeling
from aha.planning import published
from aha.planning.shapes import FAMILIES, Shape, from_config
from aha.types import AhaError


def shape_of(name: str) -> tuple[Shape, str]:
    """(shape, where it is from). Folders and embedded bases come first, then published shapes, then the hub.

    Raises AhaError where there is no config to be had.
    """
    local = name in modeling.EMBEDDED or Path(name).expanduser().exists()
    config = None if local else published.find(name)
    if config is not None:
        return from_config(config, name), "published shape"
    model_config = read_config(name)
    return shape_of_config(
        model_config, name
    ), f"{modeling.resolve(name)}/config.json" if local else "the hub's config"


def read_config(name: str) -> Any:
    """transformers' config of a folder or a hub name; of the hub config.json alone is fetched."""
    from transformers import AutoConfig

    path = modeling.resolve(name)
    modeling.check_config(name)
    try:
        config: Any = AutoConfig.from_pretrained(path)
    except Exception as error:  # transformers raises many kinds here; all mean: there is no config
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
        raise AhaError(
            f"No config of '{name}' can be had: {reason}\n"
            "Give a folder with a config.json, a name on the hub (network needed), or one of the published "
            f"shapes: {', '.join(n.rsplit('/', 1)[-1] for n in published.PUBLISHED)}."
        ) from error
    return config.get_text_config(decoder=True)


def shape_of_model(model: Any, name: str) -> Shape | None:
    """The shape of a model as it stands; None where its config does not tell."""
    from dataclasses import replace

    try:
        shape = from_config(model.config.get_text_config(decoder=True).to_dict(), name)
    except (KeyError, ValueError, TypeError, AttributeError):
        return None
    return replace(shape, counted=sum(p.numel() for p in model.parameters()))


def shape_of_config(config: Any, name: str) -> Shape:
    """The shape of transformers' config. Parameters are those of the modules it builds, without memory.

    Raises AhaError for configs of models that are no causal language models.
    """
    from dataclasses import replace

    try:
        counted = count(config)
        shape = from_config(config.to_dict(), name)
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise AhaError(
            f"The config of '{name}' ({getattr(config, 'model_type', 'unknown')}) is not that of a causal "
            f"language model with softmax attention: {error}. Plan with a model of the same size instead."
        ) from error
    exact = shape.family in FAMILIES and shape.parameters == counted
    return shape if exact else replace(shape, counted=counted)


def count(config: Any) -> int:
    """Parameters of the causal language model that transformers builds of a config, on the meta device."""
    import torch
    from transformers import AutoModelForCausalLM

    modeling.quiet_transformers()
    with torch.device("meta"):
        model: Any = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    return sum(p.numel() for p in model.parameters())
