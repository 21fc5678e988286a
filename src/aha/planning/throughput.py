"""How long a run may take: the tokens its stages may sample and train on, over the speeds of this machine.

Speeds are those of earlier runs' metrics; without any, a model on this machine is tried for a few seconds. How much
of their room completions fill is not known before; the first runs of the embedded bases came to a third.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aha import modeling
from aha.files import read_jsonl
from aha.planning import published
from aha.planning.shapes import from_config
from aha.runs import headers
from aha.runs.pipeline import DATA, Stage
from aha.types import AhaError

TYPICAL_FILL = 1 / 3
"""The mean length of completions as a part of the longest, where nothing is known."""
TRIED_PARAMETERS = 200e6
"""Larger models are not loaded for a trial."""


@dataclass(frozen=True, slots=True)
class Speeds:
    """Tokens a second; None where unknown. ``filled``: the mean completion as a part of the longest;
    ``parameters``: of the model that they are of, where that is known."""

    sampling: float | None
    training: float | None
    filled: float = TYPICAL_FILL
    source: str = ""
    parameters: float | None = None

    def seconds(
        self, work: Mapping[str, float], parameters: float | None = None
    ) -> tuple[float, float] | None:
        """(expected, at most) for ``sampled`` and ``trained`` tokens at most; None where a speed is missing. A model
        of other ``parameters`` than the one that was measured takes as many times the time.

        Tokens trained on that were not sampled, a corpus, are there whole.
        """
        total, times = 0.0, parameters / self.parameters if parameters and self.parameters else 1.0
        for kind, speed in (("sampled", self.sampling), ("trained", self.training)):
            if work.get(kind):
                if not speed:
                    return None
                total += times * work[kind] / speed
        return total * (self.filled if "sampled" in work else 1.0), total


def of_runs(runs: Path) -> Speeds:
    """Medians over the metrics of the runs in a folder, as of a model of their median size."""
    sampling: list[float] = []
    training: list[float] = []
    filled: list[float] = []
    paths = list(runs.glob("*/*/metrics.jsonl"))
    sizes = {path: size for path in paths if (size := trained_in(path.parent))}
    typical = _median(list(map(float, sizes.values())))
    for path in paths:
        times = sizes[path] / typical if typical and path in sizes else 1.0
        for row in read_jsonl(path)[-50:]:
            speed = times * float(row.get("tokens_per_second") or 0)
            if "reward" not in row:
                training += [speed] if speed > 0 else []
            elif row.get("time/sampling") and row.get("time/training"):
                tokens = speed * row["step_time"]
                sampling.append(tokens / row["time/sampling"])
                training.append(tokens / row["time/training"])
                filled.append(row["completions/mean_length"] / row["max_tokens"])
    return Speeds(
        _median(sampling), _median(training), _median(filled) or TYPICAL_FILL, "of earlier runs here", typical
    )


def trained_in(stage: Path) -> int | None:
    """Parameters of the model that a stage's folder has; None where it has none."""
    files = [*stage.glob("final/*.safetensors")]
    if not files:
        newest = max(stage.glob("checkpoints/*/"), key=lambda p: p.stat().st_mtime, default=None)
        files = [] if newest is None else [*newest.rglob("model*.safetensors")]
    return sum(count_parameters(file) for file in files) or None


def known(runs: Path, stages: Iterable[Stage]) -> Speeds:
    """The speeds of earlier runs; what they do not tell, of a trial of the first model that is here."""
    speeds = of_runs(runs)
    if speeds.sampling and speeds.training:
        return speeds
    for stage in stages:
        model = getattr(stage, "model", None)
        if isinstance(model, str) and (tried := trial(model, getattr(stage, "dtype", "auto"))):
            return Speeds(tried.sampling, tried.training, speeds.filled, tried.source, tried.parameters)
    return speeds


def trial(name: str, precision: str = "auto") -> Speeds | None:
    """Speeds of the model ``name``, tried out: 256 rows decode 32 tokens, and one pass and step of 4,096 tokens.
    None for a model that is not on this machine, or is large."""
    import numpy as np

    from aha import hardware
    from aha.sampling.engine import Request
    from aha.sampling.local.engine import LocalEngine
    from aha.sampling.sampler import SamplingParams
    from aha.training.batching import pack, token_mean
    from aha.training.losses import negative_log_likelihood
    from aha.training.policy import OptimizerConfig, Policy
    from aha.types import Example

    if not 0 < (parameters_of(name) or 0) <= TRIED_PARAMETERS:
        return None
    hardware.set_threads()
    device = hardware.pick_device()
    model = modeling.load_model(name, device, hardware.pick_dtype(precision, device))
    engine = LocalEngine(model, modeling.load_tokenizer(name))
    rng, vocabulary = np.random.default_rng(0), model.config.vocab_size
    requests = [Request(rng.integers(0, vocabulary, 24).tolist(), 16, key) for key in range(16)]
    params = SamplingParams(max_tokens=32)
    sampled = [0]
    seconds = _timed(
        lambda: sampled.append(
            sum(len(r.completion_ids) for _, g in engine.generate(requests, params) for r in g)
        )
    )
    policy = Policy(model, OptimizerConfig())
    ids = [rng.integers(0, vocabulary, 128) for _ in range(32)]
    (batch,) = pack([Example(i, np.ones(128, bool), np.zeros(128)) for i in ids], token_mean, 4096)

    def learn() -> None:
        policy.backward(batch, negative_log_likelihood)
        policy.step(0.0)

    size = parameters_of(name)
    return Speeds(
        sampled[-1] / seconds, 4096 / _timed(learn), source=f"from a trial of {name}", parameters=size
    )


def _timed(work: Callable[[], Any]) -> float:
    times = []
    for _ in range(4):  # the first time allocates; others may use the machine meanwhile
        clock = time.perf_counter()
        work()
        times.append(time.perf_counter() - clock)
    return min(times)


def _median(values: list[float]) -> float | None:
    return statistics.median(values) if values else None


# --- what there is to do ---------------------------------------------------------------------------------


def work_of(stage: Stage, folder: Path, filled: float) -> dict[str, float]:
    """Tokens a stage samples and trains on at most; of a tuning stage those of its data, counted where they are
    there, else from what the stages that make them may keep."""
    if work := stage.work():
        return work
    epochs = getattr(stage, "epochs", None)
    sources = stage.inputs()
    if epochs is None or not sources:
        return {}
    tokens = 0.0
    for source in sources:
        path = folder / source.name / DATA
        if path.exists():
            tokens += sum(row.get("tokens", 0) for row in read_jsonl(path))
        else:
            tokens += _rows(source) * filled * getattr(source, "max_tokens", 0)
    return {"trained": float(epochs * tokens)} if tokens else {}


def _rows(stage: Stage) -> float:
    """Rows that a stage which makes data may keep."""
    each = [getattr(stage, name, None) for name in ("max_per_problem", "pairs_per_problem", "samples")]
    return getattr(stage, "problems", 0) * next((n for n in each if n), 1)


def parameters_of(model: Any) -> int | None:
    """Parameters of a model by the headers of its files, through the stages to their base; of one that is not here,
    by its published shape. None if unknown."""
    while isinstance(model, Stage):
        model = getattr(model, "model", None)
    if not isinstance(model, str) or "://" in model:
        return None
    try:
        place = Path(modeling.resolve(model))
    except AhaError:
        place = Path(model)
    here = sum(count_parameters(file) for file in place.glob("*.safetensors"))
    config = None if here else published.find(model)
    return here or (from_config(config, model).parameters if config else None)


def count_parameters(file: Path) -> int:
    """Numbers in a safetensors file, from its header alone; 0 for one that cannot be read."""
    return sum(math.prod(shape) for shape in headers.shapes(file).values())
