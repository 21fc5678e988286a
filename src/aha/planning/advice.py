"""Whether a workload fits, and which changes would make it fit: each is tried on the memory model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from aha.planning import memory
from aha.planning.machines import GB, GPUS, Machine
from aha.planning.memory import Memory
from aha.planning.shapes import Shape
from aha.planning.workload import Workload, check

MOST_GPUS = 4096


@dataclass(frozen=True, slots=True)
class Verdict:
    """One workload on one machine."""

    memory: Memory
    sharded: bool
    room: float  # bytes of one GPU

    @property
    def fits(self) -> bool:
        """Whether the peak is within the GPU's memory."""
        return self.memory.peak <= self.room


def judge(shape: Shape, work: Workload, machine: Machine, parallel: str | None = None) -> Verdict:
    """The verdict with training ``replicated`` or ``sharded``; None: replicated where that fits, else sharded."""
    found = [
        Verdict(memory.estimate(shape, work, machine.count, sharded), sharded, machine.gpu.memory)
        for sharded in _modes(machine, "replicated" if work.lora else parallel)
    ]
    return next((verdict for verdict in found if verdict.fits), found[-1])


def _modes(machine: Machine, parallel: str | None) -> tuple[bool, ...]:
    if machine.count == 1 or parallel == "replicated":
        return (False,)
    return (True,) if parallel == "sharded" else (False, True)


def settings(work: Workload) -> Iterator[tuple[str, Workload]]:
    """Changes of settings that need less memory, from those that cost least: words and the changed workload."""
    name = f"{work.name}." if work.name else ""
    if not work.recompute and "checkpoint_layers" in work.fields:
        yield f"{name}checkpoint_layers=true", replace(work, recompute=True)
    smaller = max(work.longest, work.batch_tokens // 2)
    while smaller < work.batch_tokens:
        yield f"{name}max_batch_tokens={smaller}", replace(work, batch_tokens=smaller)
        if smaller == work.longest:
            break
        smaller = max(work.longest, smaller // 2)
    if work.reference:
        yield f"{name}algorithm.preset=grpo_no_kl", replace(work, reference=False)
    if work.decode_rows > 32:
        yield f"{name}decode_rows=32", replace(work, decode_rows=32)
    if not work.lora and "lora_rank" in work.fields:
        yield f"{name}lora_rank=32", replace(work, lora=32)


def shorter(work: Workload) -> Iterator[tuple[str, Workload]]:
    """The same with shorter completions, down to 256 tokens: another experiment, so it comes last."""
    field = "max_length" if work.kind == "sft" else "max_tokens"
    name, length = f"{work.name}." if work.name else "", work.completion // 2
    while length >= 256:
        batch = min(work.batch_tokens, max(work.prompt + length, 1024))
        words = f"{name}{field}={length} {name}max_batch_tokens={batch}"
        yield words, replace(work, completion=length, batch_tokens=batch)
        length //= 2


def suggestions(shape: Shape, work: Workload, machine: Machine, parallel: str | None = None) -> list[str]:
    """What would make it fit, at most one line of each kind: settings, lengths, machines."""
    work = replace(work, batch_tokens=max(work.batch_tokens, work.longest))
    found: list[str] = []
    if machine.count > 1 and parallel == "replicated" and judge(shape, work, machine, "sharded").fits:
        found.append("--parallel sharded")
    for change in (_settings_that_fit, _length_that_fits):
        words = change(shape, work, machine, parallel)
        found += [words] if words else []
    for more in (replace(machine, count=count) for count in _more(machine)):
        verdict = judge(shape, work, more, parallel)
        if verdict.fits:
            found.append(f"{more.count} GPUs of this kind" + (", sharded" if verdict.sharded else ""))
            break
    larger = [gpu for gpu in GPUS.values() if gpu.memory > machine.gpu.memory]
    for gpu in sorted(larger, key=lambda gpu: gpu.memory):
        if judge(shape, work, replace(machine, gpu=gpu), parallel).fits:
            found.append(f"{gpu.name}, {gpu.memory / GB:.0f} GB each")
            break
    return found


def _more(machine: Machine) -> Iterator[int]:
    count = machine.count * 2
    while count <= MOST_GPUS:
        yield count
        count *= 2


def _settings_that_fit(shape: Shape, work: Workload, machine: Machine, parallel: str | None) -> str | None:
    """The first setting that is enough by itself, or else as many as it takes, the cheapest first."""
    options = list(settings(work))
    for words, changed in options:
        if judge(shape, changed, machine, parallel).fits:
            return words
    taken: dict[str, str] = {}
    while options:
        words, work = options[0]
        taken[words.split("=")[0]] = words
        if judge(shape, work, machine, parallel).fits:
            return " ".join(taken.values())
        options = list(settings(work))
    return None


def _length_that_fits(shape: Shape, work: Workload, machine: Machine, parallel: str | None) -> str | None:
    can = "checkpoint_layers" in work.fields
    base = replace(work, recompute=work.recompute or can)
    for words, changed in shorter(base):
        if judge(shape, changed, machine, parallel).fits:
            prefix = f"{work.name}." if work.name else ""
            more = f" {prefix}checkpoint_layers=true" if can and not work.recompute else ""
            return words + more
    return None


def refused(shape: Shape, work: Workload) -> list[str]:
    """What the stage itself would refuse, whatever the machine."""
    return check(work, shape.context)


def refused_parallel(work: Workload, parallel: str | None) -> list[str]:
    """What ``training.sharding`` refuses."""
    if work.lora and parallel == "sharded":
        return ["Adapters beside frozen weights cannot be sharded: give --parallel replicated."]
    return []


def gigabytes(size: float) -> str:
    """Bytes in GB with as many digits as are meant."""
    return f"{size / GB:,.0f} GB" if size >= 100 * GB else f"{size / GB:.1f} GB"
