"""The memory model beside measurements: a training step and a rollout of a random model in a process of its own.

On a CPU every tensor's storage is counted from its making to its end; on a GPU torch's allocator says it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from aha.planning.shapes import Shape, from_config
from aha.planning.workload import Workload
from aha.types import AhaError

CONFIGS: dict[str, dict[str, Any]] = {
    "narrow": {
        "hidden_size": 128,
        "intermediate_size": 352,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "num_key_value_heads": 1,
        "vocab_size": 512,
    },
    "small": {
        "hidden_size": 256,
        "intermediate_size": 704,
        "num_hidden_layers": 6,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 4096,
    },
    "medium": {
        "hidden_size": 512,
        "intermediate_size": 1408,
        "num_hidden_layers": 8,
        "num_attention_heads": 8,
        "num_key_value_heads": 2,
        "vocab_size": 16384,
    },
}
"""Qwen2 models that any machine can train a step of in seconds."""
WORK = Workload("rl", 1, 8, 4, 32, 96, 832, 1, max_num_seqs=8, number_bytes=4)
"""Two questions, four completions of each: 2 (32 + 4 * 96) = 832 packed tokens."""
FACTOR = 1.15
"""How far a predicted peak may lie from the measured one, either way."""


@dataclass(frozen=True, slots=True)
class Case:
    """What is measured: a size, and how it is trained."""

    size: str
    recompute: bool = False
    reference: bool = False
    dtype: str = "float32"
    device: str = "cpu"
    factor: int = 1  # times as many tokens in each completion
    questions: int = 2
    samples: bool = True  # else completions are made up, and training alone is measured

    def work(self) -> Workload:
        """The workload of the case."""
        return replace(
            WORK,
            sequences=self.questions * WORK.group,
            completion=WORK.completion * self.factor,
            batch_tokens=self.questions * (WORK.prompt + WORK.group * WORK.completion * self.factor),
            recompute=self.recompute,
            reference=self.reference,
            number_bytes=2 if self.dtype == "bfloat16" else 4,
        )


def check(case: Case) -> dict[str, Any]:
    """Predicted and measured bytes of a case by part, with their ratios. Raises AhaError if it cannot run."""
    from aha.planning import memory

    # What no tensor holds is not measured.
    predicted = memory.estimate(shape_of(case), case.work(), room=16e9, tensors_only=True)
    cache = predicted.resident.pop("sampler's cache")
    figures = {
        "resident": sum(predicted.resident.values()),
        "training": sum(predicted.training.values()),
        "sampling": cache + sum(predicted.sampling.values()),
    }
    if case.samples:
        kept = figures["resident"] + cache
        figures["peak"] = max(kept + figures["training"], figures["resident"] + figures["sampling"])
    else:
        del figures["sampling"]
        figures["peak"] = figures["resident"] + figures["training"]
    measured = in_subprocess(case)
    parts = {
        name: {"predicted": value, "measured": measured[name], "ratio": value / measured[name]}
        for name, value in figures.items()
    }
    return {**asdict(case), "parts": parts, "process_bytes": measured["process"]}


def shape_of(case: Case) -> Shape:
    """The shape of the model that is measured."""
    return from_config(_config(case).to_dict(), case.size)


def in_subprocess(case: Case) -> dict[str, float]:
    """Run the case in a fresh interpreter, so that nothing of this one's memory is counted."""
    paths = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "aha.planning.measure", json.dumps(asdict(case))]
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise AhaError(f"The measurement of '{case.size}' on {case.device} failed: {reason}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def _config(case: Case) -> Any:
    from transformers import Qwen2Config

    if case.size not in CONFIGS:
        raise AhaError(f"No size '{case.size}' to measure. Known: {', '.join(CONFIGS)}.")
    ends = {"bos_token_id": None, "eos_token_id": 1, "pad_token_id": 0, "tie_word_embeddings": True}
    return Qwen2Config(**CONFIGS[case.size], **ends, max_position_embeddings=4096)


# --- inside the process ------------------------------------------------------------------------------------


class _Counter:
    """Bytes in tensors now and at most, from torch's allocator."""

    def __init__(self, device: Any):
        import torch

        self.cuda, self.device = torch.cuda, device

    def start(self) -> None:
        self.cuda.reset_peak_memory_stats(self.device)

    @property
    def now(self) -> float:
        return float(self.cuda.memory_allocated(self.device))

    @property
    def peak(self) -> float:
        return float(self.cuda.max_memory_allocated(self.device))

    @contextmanager
    def watching(self) -> Iterator[None]:
        yield


class _StorageCounter:
    """Bytes in tensors now and at most: every operation's results are looked at as they come."""

    def __init__(self) -> None:
        self.now = self.peak = 0.0
        self.known: set[int] = set()

    def start(self) -> None:
        self.peak = self.now

    def note(self, tensor: Any) -> None:
        """Count a tensor's storage, until it goes."""
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self.known or not size:
            return
        self.known.add(key)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._gone, key, size)

    def _gone(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.now -= size

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Within it results of operations are counted."""
        import torch
        from torch.utils._python_dispatch import TorchDispatchMode

        note = self.note

        class MemoryWatch(TorchDispatchMode):
            def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
                out = func(*args, **(kwargs or {}))
                for leaf in out if isinstance(out, (tuple, list)) else (out,):
                    if isinstance(leaf, torch.Tensor):
                        note(leaf)
                return out

        with MemoryWatch():
            yield


def run(case: Case) -> dict[str, float]:
    """Sample a rollout, take an optimizer step, then measure both once more with everything in place."""
    import copy

    import torch
    from transformers import AutoModelForCausalLM

    from aha import kernels
    from aha.training.batching import pack, token_mean
    from aha.training.policy import OptimizerConfig, Policy

    torch.manual_seed(0)
    device, dtype = torch.device(case.device), getattr(torch, case.dtype)
    counter: Any = _Counter(device) if device.type == "cuda" else _StorageCounter()
    work = case.work()
    # As on a GPU: the kernels of CPUs keep less.
    with kernels.without(), counter.watching():
        model: Any = AutoModelForCausalLM.from_config(_config(case), dtype=dtype)
        model = model.to(device).eval()
        trained = Policy(model, OptimizerConfig(gradient_checkpointing=case.recompute))
        reference = copy.deepcopy(model) if case.reference else None
        rollouts = _sample(model, work) if case.samples else _made_up(model, case)
        short, batch = (
            pack(_examples(rollouts, n), token_mean, work.batch_tokens)[0] for n in (16, work.completion)
        )
        _step(trained, short)  # makes the optimizer's state
        engine = _engine(model)
        resident, sampling, cache = counter.now, 0.0, 0.0
        if case.samples:
            counter.start()
            _sample(model, work, engine)
            sampling, cache = counter.peak - resident, counter.now - resident
        counter.start()
        _step(trained, batch)
        training = counter.peak - resident - cache
    del reference
    peak = resident + max(sampling, training + cache)
    peaks = {"resident": resident, "sampling": sampling, "training": training, "peak": peak}
    return {**peaks, "process": _process_peak()}


def cases(device: str) -> list[Case]:
    """What ``aha plan --check`` measures: three sizes and four lengths, with and without recomputation, in
    the compute type that the device trains in (float32 on CPUs)."""
    dtype = "float32" if device == "cpu" else "bfloat16"
    plans = (("small", False, 1), ("small", True, 4), ("medium", False, 1), ("medium", True, 2))
    listed = [Case(size, again, False, dtype, device, factor) for size, again, factor in plans]
    return [*listed, long_case(dtype, device)]


def long_case(dtype: str = "float32", device: str = "cpu") -> Case:
    """Completions so long that their attention goes in pieces."""
    return Case("narrow", True, False, dtype, device, factor=32, questions=1, samples=False)


def _engine(model: Any) -> Any:
    from aha.sampling.local.engine import LocalEngine

    class StandInTokenizer:
        eos_token_id = 1

        def decode(self, ids: Any, **kwargs: Any) -> str:
            return ""

    return LocalEngine(model, StandInTokenizer(), max_rows=WORK.max_num_seqs)


def _made_up(model: Any, case: Case) -> list[Any]:
    """A rollout by question of random tokens."""
    import numpy as np

    from aha.types import Finish, Rollout

    rng, work = np.random.default_rng(0), case.work()

    def draw(length: int) -> Any:
        return rng.integers(2, model.config.vocab_size, length).astype(np.int32)

    def one(prompt: Any) -> Rollout:
        return Rollout(
            prompt, draw(work.completion), np.zeros(work.completion, np.float32), "", Finish.LENGTH
        )

    prompts = [draw(work.prompt) for _ in range(case.questions)]
    return [tuple(one(prompt) for _ in range(work.group)) for prompt in prompts]


def _sample(model: Any, work: Workload, engine: Any = None) -> list[Any]:
    """A rollout; greedy or not makes no difference to memory, and none ends early but by chance."""
    import numpy as np

    from aha.sampling.engine import Request
    from aha.sampling.sampler import SamplingParams

    rng = np.random.default_rng(0)
    prompts = rng.integers(2, model.config.vocab_size, (work.sequences // work.group, work.prompt))
    requests = [Request(p.tolist(), work.group, i) for i, p in enumerate(prompts)]
    rollouts = dict((engine or _engine(model)).generate(requests, SamplingParams(max_tokens=work.completion)))
    return [rollouts[i] for i in sorted(rollouts)]


def _examples(rollouts: list[Any], length: int) -> list[Any]:
    """The completions, each filled up to ``length`` tokens, since memory is planned for the longest."""
    import numpy as np

    from aha.types import Example

    examples = []
    for index, group in enumerate(rollouts):
        for r in group:
            completion = np.resize(np.asarray(r.completion_ids), length)
            ids = np.concatenate([r.prompt_ids, completion]).astype(np.int64)
            mask, ones = np.arange(len(ids)) >= len(r.prompt_ids), np.ones(len(ids), np.float32)
            prompt = len(r.prompt_ids)
            examples.append(Example(ids, mask, ones, np.zeros(len(ids), np.float32), prompt, index))
    return examples


def _step(trained: Any, batch: Any) -> None:
    from aha.training.losses import negative_log_likelihood

    trained.backward(batch, negative_log_likelihood)
    trained.step()


def _process_peak() -> float:
    """The most that this process had in memory, in bytes (everything included)."""
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)


if __name__ == "__main__":
    print(json.dumps(run(Case(**json.loads(sys.argv[1])))))
