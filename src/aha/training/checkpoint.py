"""Checkpoints that load in transformers and resume exactly: written whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from aha.files import new_folder, read_json, write_json
from aha.training.policy import Policy
from aha.types import AhaError

KEEP = 2


def save_model(policy: Policy, tokenizer: Any, folder: Path, card: str = "") -> None:
    """A Hugging Face checkpoint in ``folder``: working weights, tokenizer, config."""
    with new_folder(folder) as place:
        _write_model(policy, tokenizer, place)
        if card:
            (place / "README.md").write_text(card, encoding="utf-8")


def _write_model(policy: Policy, tokenizer: Any, place: Path) -> None:
    """Weights, config, generation config, tokenizer and chat template; adapters merged, and beside it alone."""
    if policy.adapters is None:
        policy.model.save_pretrained(place)
    else:
        with policy.adapters.merged():
            policy.model.save_pretrained(place, state_dict=dict(policy.adapters.plain_state()))
        policy.adapters.save(place / "adapters")
    tokenizer.save_pretrained(place)


def save(
    root: Path,
    step: int,
    policy: Policy,
    tokenizer: Any,
    progress: Mapping[str, Any],
    extra: Mapping[str, Any],
) -> Path:
    """Checkpoint ``root/step-NNNNNN``: the model as transformers loads it, and all state to continue.

    ``progress`` is JSON, ``extra`` may hold tensors. The newest two are kept.
    """
    folder = root / f"step-{step:06d}"
    with new_folder(folder) as place:
        _write_model(policy, tokenizer, place)
        torch.save({"policy": policy.state(), "extra": dict(extra)}, place / "state.pt")
        write_json(place / "progress.json", {"step": step, **progress})
    for old in sorted(root.glob("step-*"))[:-KEEP]:
        shutil.rmtree(old, ignore_errors=True)
    return folder


def latest(root: Path) -> Path | None:
    """The newest checkpoint, if there is one."""
    found = sorted(p for p in root.glob("step-*") if (p / "progress.json").exists())
    return found[-1] if found else None


def load(folder: Path, policy: Policy) -> tuple[dict[str, Any], dict[str, Any]]:
    """Put ``policy`` where the checkpoint left it; returns (progress, extra)."""
    try:
        state = torch.load(folder / "state.pt", map_location=policy.device, weights_only=True)
        policy.load_state(state["policy"])
    except (RuntimeError, OSError, KeyError, ValueError) as error:
        raise AhaError(
            f"The checkpoint {folder} cannot be continued: {error}. Remove that folder to continue from the "
            "one before it, or the whole stage's folder to start over."
        ) from error
    return read_json(folder / "progress.json"), state["extra"]
