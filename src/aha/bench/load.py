"""From files to the first token, and back to files: seconds and peak memory, beside transformers.

Each reading is a process of its own, since a process's peak memory never falls.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aha.bench import interleave, models
from aha.options import whole
from aha.types import AhaError

HELP = "time and memory of loading, of the first token, of saving"
SIDES = (interleave.OURS, "transformers")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The checkpoint and how often."""
    models.add_arguments(parser)
    parser.add_argument(
        "--runs", type=whole(1), default=3, help="measured processes of each side (%(default)s)"
    )
    parser.add_argument("--against", choices=SIDES[1:], help="the peer, in turn in the same run")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")


def run(args: argparse.Namespace) -> int:
    """Measure in turn, print medians."""
    with tempfile.TemporaryDirectory() as place:
        folder, described = _checkpoint(args, Path(place) / "model")
        job = {"folder": folder, "device": args.device, "dtype": described["dtype"], "threads": args.threads}
        job["out"] = str(Path(place) / "saved")
        sides = [interleave.OURS, *([args.against] if args.against else [])]
        readings: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
        for i in range(args.runs + 1):
            for side in sides:
                reading = _process(job | {"side": side})
                if i:  # the first fills the page cache
                    readings[side].append(reading)
        size = sum(file.stat().st_size for file in Path(folder).glob("*.safetensors"))
    figures = _result(readings, described, size)
    if args.json:
        from aha import hardware

        print(json.dumps(figures | {"machine": hardware.describe_machine()}, indent=1))
    else:
        print("\n".join(_page(figures)))
    return 0


def _checkpoint(args: argparse.Namespace, place: Path) -> tuple[str, dict[str, Any]]:
    """A folder on disk, and what it holds. Random weights and hub models are written first: that is no part
    of what is measured."""
    subject = models.load(args)
    return str(models.save(subject, place)), subject.describe()


def _process(job: dict[str, Any]) -> dict[str, float]:
    command = [sys.executable, "-m", "aha.bench.load", json.dumps(job)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise AhaError(f"Loading failed in a process of its own:\n{done.stderr.strip()[-800:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def _result(
    readings: dict[str, list[dict[str, float]]], described: dict[str, Any], size: int
) -> dict[str, Any]:
    sides = {}
    for side, runs in readings.items():
        sides[side] = {key: round(statistics.median(r[key] for r in runs), 4) for key in runs[0]}
        loads = [r["load_seconds"] for r in runs]
        sides[side]["spread"] = round((max(loads) - min(loads)) / statistics.median(loads), 4)
        sides[side]["load_gb_per_second"] = round(size / sides[side]["load_seconds"] / 1e9, 3)
    result: dict[str, Any] = {
        "benchmark": "load",
        "model": described,
        "checkpoint_bytes": size,
        "sides": sides,
    }
    if len(sides) == 2:
        ours, peer = sides.values()
        result["peer"] = list(sides)[1]
        result["ratio"] = round(peer["load_seconds"] / ours["load_seconds"], 3)
    return result


def _page(figures: dict[str, Any]) -> list[str]:
    model = figures["model"]
    lines = [f"{model['name']}: {figures['checkpoint_bytes'] / 2**20:,.1f} MB in {model['dtype']}"]
    for side, s in figures["sides"].items():
        lines.append(
            f"  {side:<14} imports {s['import_seconds']:.2f} s, load {s['load_seconds']:.3f} s "
            f"(spread {s['spread']:.1%}), first token {s['first_token_seconds']:.3f} s, "
            f"save {s['save_seconds']:.3f} s, peak memory {s['load_peak_mb']:,.0f} MB loaded, "
            f"{s['peak_mb']:,.0f} MB at the end, of it {s['import_mb']:,.0f} MB imports"
        )
    if "ratio" in figures:
        lines.append(f"  loads {figures['ratio']} times as fast as {figures['peer']}")
    return lines


# --- inside the process -----------------------------------------------------------------------------------


def work(job: dict[str, Any]) -> dict[str, float]:
    """Load, sample one token, save; called once in a fresh process."""
    started = time.perf_counter()
    import torch  # noqa: F401  imports are counted apart, those that transformers puts off too
    from transformers import AutoConfig, AutoTokenizer  # noqa: F401
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

    from aha import hardware
    from aha.sampling.local.engine import LocalEngine  # noqa: F401
    from aha.training.policy import Policy  # noqa: F401

    MODEL_FOR_CAUSAL_LM_MAPPING[type(AutoConfig.from_pretrained(job["folder"]))]
    figures = {"import_seconds": time.perf_counter() - started, "import_mb": _peak_mb()}
    hardware.set_threads(job["threads"])
    device = hardware.pick_device(job["device"])
    side = _ours if job["side"] == interleave.OURS else _transformers
    load, first_token, save = side(job, device, hardware.pick_dtype(job["dtype"], device))
    for name, part in (("load", load), ("first_token", first_token), ("save", save)):
        figures[f"{name}_seconds"] = interleave.timed(part, device)()[1]
        if name == "load":
            figures["load_peak_mb"] = _peak_mb()
    return figures | {"peak_mb": _peak_mb()} | _gpu_peak(device)


Parts = tuple[Callable[[], float], Callable[[], float], Callable[[], float]]
_PROMPT = 16


def _ours(job: dict[str, Any], device: Any, dtype: Any) -> Parts:
    """Ours: checked weights, ready to sample and to be saved."""
    from aha import modeling
    from aha.sampling.engine import Request
    from aha.sampling.local.engine import LocalEngine
    from aha.sampling.sampler import SamplingParams
    from aha.training import checkpoint
    from aha.training.policy import Policy

    loaded: dict[str, Any] = {}

    def load() -> float:
        model = modeling.load_model(job["folder"], device, dtype)
        loaded["engine"] = LocalEngine(model, modeling.load_tokenizer(job["folder"]))
        return 1.0

    def first_token() -> float:
        request = Request(list(range(_PROMPT)), 1, 0)
        return float(len(list(loaded["engine"].generate([request], SamplingParams(max_tokens=1)))))

    def save() -> float:
        engine = loaded["engine"]
        checkpoint.save_model(Policy(engine.model), engine.tokenizer, Path(job["out"]))
        return 1.0

    return load, first_token, save


def _transformers(job: dict[str, Any], device: Any, dtype: Any) -> Parts:
    """transformers' own way."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from aha.modeling import quiet_transformers

    quiet_transformers()
    loaded: dict[str, Any] = {}

    def load() -> float:
        loaded["model"] = AutoModelForCausalLM.from_pretrained(job["folder"], dtype=dtype).to(device).eval()
        loaded["tokenizer"] = AutoTokenizer.from_pretrained(job["folder"])
        return 1.0

    def first_token() -> float:
        ids = torch.arange(_PROMPT, device=device)[None]
        mask = torch.ones_like(ids)
        with torch.inference_mode():
            loaded["model"].generate(
                ids, attention_mask=mask, do_sample=True, max_new_tokens=1, pad_token_id=0
            )
        return 1.0

    def save() -> float:
        loaded["model"].save_pretrained(job["out"])
        loaded["tokenizer"].save_pretrained(job["out"])
        return 1.0

    return load, first_token, save


def _peak_mb() -> float:
    """The largest memory that this process ever held."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def _gpu_peak(device: Any) -> dict[str, float]:
    import torch

    return {"gpu_peak_mb": torch.cuda.max_memory_allocated(device) / 2**20} if device.type == "cuda" else {}


if __name__ == "__main__":
    print(json.dumps(work(json.loads(sys.argv[1]))))
