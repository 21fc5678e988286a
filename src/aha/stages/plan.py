"""What a run would do, before it does it: stages, what is finished, inputs, settings, time, memory and disk.

Times are upper bounds from the tokens a stage may sample or train on and the median speed of earlier runs'
metrics; without any, none is named. Nothing is loaded: parameters are counted in files' headers.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aha import modeling
from aha.files import read_jsonl
from aha.runs.pipeline import DATA, Stage, is_done, ordered
from aha.types import AhaError

TRAINING_BYTES = 20
"""A parameter under training: weights, float32 master, gradient sum and AdamW's two moments."""
CHECKPOINT_BYTES = 16
"""A parameter in a checkpoint: weights, master and moments."""


def plan(stages: Sequence[Stage], folder: Path, paper: Mapping[str, Mapping[str, Any]] | None = None) -> str:
    """The plan in words, one paragraph a stage, and sums. ``paper``: settings to compare with, by stage."""
    lines, total, unknown, disk = [], 0.0, 0, 0.0
    sampling, training = speeds(folder.parent)
    done: set[str] = set()
    for stage in ordered(stages):
        if is_done(folder / stage.name, stage):
            done.add(stage.name)
        state = "finished, will not run again" if stage.name in done else "will run"
        lines.append(f"{stage.name} ({type(stage).__name__}): {state}")
        if stage.inputs():
            lines.append(f"  inputs   {', '.join(dict.fromkeys(s.name for s in stage.inputs()))}")
        changed = differing(stage, (paper or {}).get(stage.name, {}))
        lines += [f"  setting  {text}" for text in changed]
        if stage.name in done:
            continue
        seconds = duration(stage, folder, sampling, training)
        total, unknown = total + (seconds or 0.0), unknown + (seconds is None)
        memory, written = bytes_of(stage)
        disk += written
        lines.append(f"  needs    {_needs(stage, seconds, memory, written)}")
    lines += ["", _sum(len(ordered(stages)), len(done), total, unknown, disk, sampling)]
    return "\n".join(lines)


def differing(stage: Stage, paper: Mapping[str, Any]) -> list[str]:
    """Settings that are not the stage's defaults, with the paper's value where it is another."""
    found = []
    settings, skip = stage.settings(), ["name", *_input_fields(stage)]
    for name, field in type(stage).model_fields.items():
        default = field.get_default(call_default_factory=True)
        if name in skip or getattr(stage, name) == default:
            continue
        value = settings[name]
        if hasattr(default, "model_dump"):
            base = json.loads(default.model_dump_json())
            value = {k: v for k, v in value.items() if base.get(k) != v}
        text = f"{name} = {json.dumps(value, ensure_ascii=False)}"
        theirs = paper.get(name)
        shown = json.loads(json.dumps(theirs))
        if theirs is not None and shown not in (settings[name], value):
            text += f"  (paper: {json.dumps(theirs)}{_ratio(settings[name], theirs)})"
        found.append(text)
    return found


def _ratio(ours: Any, theirs: Any) -> str:
    numbers = [v for v in (ours, theirs) if isinstance(v, (int, float)) and not isinstance(v, bool)]
    if len(numbers) < 2 or not ours or not theirs:
        return ""
    factor = theirs / ours
    return f", 1/{factor:.3g} of it" if factor > 1 else f", {1 / factor:.3g} times it"


def _input_fields(stage: Stage) -> list[str]:
    def holds(value: Any) -> bool:
        members = value if isinstance(value, (list, tuple)) else [value]
        return any(isinstance(m, Stage) for m in members)

    return [name for name in type(stage).model_fields if holds(getattr(stage, name))]


# --- estimates -------------------------------------------------------------------------------------------


def speeds(runs: Path) -> tuple[float | None, float | None]:
    """Median tokens a second of sampling and learning together (reinforcement learning), and of learning
    alone (fine-tuning), over the metrics of the runs in a folder; None where there are none."""
    both: list[float] = []
    learning: list[float] = []
    for path in runs.glob("*/*/metrics.jsonl"):
        for row in read_jsonl(path)[-50:]:
            speed = row.get("tokens_per_second")
            if isinstance(speed, (int, float)) and speed > 0:
                (both if "reward" in row else learning).append(float(speed))
    return tuple(statistics.median(v) if v else None for v in (both, learning))  # type: ignore[return-value]


def duration(stage: Stage, folder: Path, sampling: float | None, training: float | None) -> float | None:
    """Seconds at most, or None where tokens or speed are not known."""
    work = stage.work()
    if "sampled" in work:
        return work["sampled"] / sampling if sampling else None
    tokens = data_tokens(stage, folder)
    return tokens / training if tokens and training else None


def data_tokens(stage: Stage, folder: Path) -> float | None:
    """Tokens of a tuning stage's data times its epochs, where the stages that make it have finished."""
    sources = [folder / s.name / DATA for s in stage.inputs() if (folder / s.name / DATA).exists()]
    epochs = getattr(stage, "epochs", None)
    if not sources or epochs is None:
        return None
    return float(epochs * sum(row.get("tokens", 0) for path in sources for row in read_jsonl(path)))


def bytes_of(stage: Stage) -> tuple[float | None, float]:
    """(memory at its peak without activations, disk) in bytes, by the parameters of the stage's model."""
    parameters = parameters_of(getattr(stage, "model", None))
    if parameters is None:
        return None, 0.0
    if "save_every" not in type(stage).model_fields:  # it only samples
        return 4.0 * parameters, 0.0
    copies = [getattr(stage, name, None) for name in ("helpful_model", "safety_model")]
    algorithm = getattr(stage, "algorithm", None)
    more = 4 * sum(c is not None for c in copies) + 4 * bool(getattr(algorithm, "needs_reference", False))
    more += TRAINING_BYTES * bool(getattr(algorithm, "critic", False))
    return parameters * float(TRAINING_BYTES + more), parameters * float(2 * CHECKPOINT_BYTES + 4)


def parameters_of(model: Any) -> int | None:
    """Parameters of a model by the headers of its files, through the stages to their base; None if unknown."""
    while isinstance(model, Stage):
        model = getattr(model, "model", None)
    if not isinstance(model, str) or "://" in model:
        return None
    try:
        place = Path(modeling.resolve(model))
    except AhaError:
        return None
    return sum(count_parameters(file) for file in place.glob("*.safetensors")) or None


def count_parameters(file: Path) -> int:
    """Numbers in a safetensors file, from its header alone."""
    with open(file, "rb") as f:
        header = json.loads(f.read(int.from_bytes(f.read(8), "little")))
    total = 0
    for name, tensor in header.items():
        size = 1
        for n in tensor.get("shape", ()) if name != "__metadata__" else (0,):
            size *= n
        total += size
    return total


def _needs(stage: Stage, seconds: float | None, memory: float | None, disk: float) -> str:
    work = stage.work()
    parts = [f"at most {n / 1e6:,.3g} million tokens {kind}" for kind, n in work.items()]
    parts.append("time unknown" if seconds is None else f"at most {clock(seconds)}")
    parts.append("memory unknown" if memory is None else f"{size(memory)} of memory and activations")
    parts += [f"{size(disk)} of disk"] if disk else []
    return "; ".join(parts)


def _sum(stages: int, done: int, total: float, unknown: int, disk: float, speed: float | None) -> str:
    text = f"{stages} stages, {done} finished. At most {clock(total)} for those that can be estimated"
    text += f", {unknown} cannot" if unknown else ""
    text += f"; about {size(disk)} of checkpoints."
    if speed is None:
        text += " No earlier run here to take a speed from: run the first stage, then ask again."
    return text


def clock(seconds: float) -> str:
    """A duration in words."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def size(number: float) -> str:
    """Bytes in words."""
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} TB"
