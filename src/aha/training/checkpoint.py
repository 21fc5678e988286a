"""Checkpoints that load in transformers and resume exactly: written whole or not at all."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from aha import ranks
from aha.files import disk_errors, new_folder, partial_name, read_json, write_json
from aha.modeling import ASKED
from aha.training import sharding
from aha.training.critic import HEAD
from aha.training.trainer import Trainer
from aha.types import AhaError

KEEP = 2
PARTS = "parts"
"""The folder of what ranks wrote in parts, within a checkpoint."""


def save_model(policy: Trainer, tokenizer: Any, folder: Path, card: str = "") -> None:
    """A Hugging Face checkpoint in ``folder``: working weights, tokenizer, config."""
    weights = policy.weights()
    if not ranks.is_main():
        return
    with new_folder(folder) as place:
        _write_model(policy, tokenizer, place, weights)
        if card:
            (place / "README.md").write_text(card, encoding="utf-8")


def write_weights(policy: Trainer, place: Path, weights: Mapping[str, Tensor] | None) -> None:
    """Weights and configs as transformers loads them; ``weights`` are those of ``policy.weights()``."""
    if weights is None:
        policy.model.save_pretrained(place)
    else:
        known = {k: v for k, v in weights.items() if k != HEAD}  # a critic's head is no part of the model
        policy.model.save_pretrained(place, state_dict=known)


def write_tokenizer(tokenizer: Any, place: Path) -> None:
    """Tokenizer and chat template, and what the model is to be asked with where that is known."""
    tokenizer.save_pretrained(place)
    if asked := getattr(tokenizer, "aha", None):
        write_json(place / ASKED, asked)


def _write_model(policy: Trainer, tokenizer: Any, place: Path, weights: Mapping[str, Tensor] | None) -> None:
    """Weights, config, generation config, tokenizer and chat template; adapters merged, and beside it alone."""
    if policy.adapters is None:
        write_weights(policy, place, weights)
    else:
        with policy.adapters.merged():
            policy.model.save_pretrained(place, state_dict=dict(policy.adapters.plain_state()))
        policy.adapters.save(place / "adapters")
    write_tokenizer(tokenizer, place)


def save(
    root: Path,
    step: int,
    policy: Trainer,
    tokenizer: Any,
    progress: Mapping[str, Any],
    extra: Mapping[str, Any],
) -> Path:
    """Checkpoint ``root/step-NNNNNN``: the model as transformers loads it, and all state to continue.

    ``progress`` is JSON, ``extra`` may hold tensors, and trainers, whose state is kept as the policy's is. The
    newest two are kept. Every rank calls it. Where weights are sharded each rank writes its parts, in the
    format of torch.distributed.checkpoint, which any number of ranks can read.
    """
    folder = root / f"step-{step:06d}"
    weights = policy.weights()
    trainers = {"policy": policy} | {k: v for k, v in extra.items() if isinstance(v, Trainer)}
    parts: dict[str, Tensor] = {}
    state = {name: _state_of(name, trainer, parts) for name, trainer in trainers.items()}
    if not parts and not ranks.is_main():
        return folder
    with new_folder(folder) if ranks.is_main() else nullcontext(partial_name(folder)) as place:
        if parts:
            _write_parts(parts, place / PARTS)
        if ranks.is_main():
            _write_model(policy, tokenizer, place, weights)
            kept = {"policy": state.pop("policy"), "extra": {**extra, **state}}
            torch.save(kept, place / "state.pt")
            write_json(place / "progress.json", {"step": step, **progress})
    if not ranks.is_main():
        return folder
    for old in sorted(root.glob("step-*"))[:-KEEP]:
        shutil.rmtree(old, ignore_errors=True)
    return folder


def latest(root: Path) -> Path | None:
    """The newest checkpoint, if there is one."""
    folders = sorted(p for p in root.glob("step-*") if (p / "progress.json").exists())
    return folders[-1] if folders else None


def load(
    folder: Path, policy: Trainer, others: Mapping[str, Trainer] | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Put ``policy``, and the trainers that were saved as ``extra``, where the checkpoint left them; returns
    (progress, the rest of extra). The number of ranks, and what each keeps, may be others than at saving."""
    trainers = {"policy": policy, **(others or {})}
    try:
        place = policy.device if policy.shards is None else "cpu"
        state = torch.load(folder / "state.pt", map_location=place, weights_only=True)
        extra = state["extra"]
        states = {name: state["policy"] if name == "policy" else extra.pop(name) for name in trainers}
        parts = {name: trainers[name].empty_parts(s) for name, s in states.items() if "masters" not in s}
        if parts:
            _read_parts(parts, folder / PARTS)
        for name, trainer in trainers.items():
            trainer.load_state(
                trainer.with_parts(states[name], parts[name]) if name in parts else states[name]
            )
    except AhaError:
        raise
    except (
        Exception
    ) as error:  # torch and pickle raise many kinds: all mean that the file is not what was saved
        raise AhaError(
            f"The checkpoint {folder} cannot be continued: {_reason(error, folder)}. Remove that folder to continue "
            f"{_before(folder)}."
        ) from error
    return read_json(folder / "progress.json"), extra


def _reason(error: Exception, folder: Path) -> str:
    state = folder / "state.pt"
    if state.exists() and state.stat().st_size == 0:
        return "state.pt is empty"
    return (
        f"state.pt is damaged ({type(error).__name__}: {(str(error).strip().splitlines() or [''])[0][:200]})"
    )


def _before(folder: Path) -> str:
    """Where a run continues once a checkpoint is away."""
    earlier = sorted(p.name for p in folder.parent.glob("step-*") if p.name < folder.name)
    return f"from the one before it, {earlier[-1]}" if earlier else "from the stage's beginning"


# --- parts -----------------------------------------------------------------------------------------------


def _state_of(name: str, trainer: Trainer, parts: dict[str, Tensor]) -> dict[str, Any]:
    """The state of a trainer; where it is sharded, the rest of it, and its tensors go into ``parts``."""
    if trainer.shards is None:
        return trainer.state()
    rest, own = trainer.split_state()
    parts |= {f"{name}.{key}": value for key, value in own.items()}
    return rest


def _write_parts(parts: dict[str, Tensor], place: Path) -> None:
    from torch.distributed.checkpoint.state_dict_saver import save as save_parts

    ranks.barrier()  # the folder is there
    with disk_errors(place):
        save_parts(parts, checkpoint_id=place)
    ranks.barrier()


def _read_parts(parts: Mapping[str, dict[str, Tensor]], place: Path) -> None:
    """Fill tensors, whole ones or parts of them, with what any number of ranks wrote."""
    from torch.distributed.checkpoint.api import CheckpointException
    from torch.distributed.checkpoint.state_dict_loader import load as load_parts

    flat = {f"{name}.{key}": value for name, own in parts.items() for key, value in own.items()}
    alone = not any(sharding.is_part(v) for v in flat.values())
    try:
        with warnings.catch_warnings():  # that one process reads them is meant
            warnings.simplefilter("ignore", UserWarning)
            load_parts(flat, checkpoint_id=place, no_dist=alone)
    except CheckpointException as error:
        raise RuntimeError(str(error)) from error
