"""Whether a workload fits, and which changes would make it fit: each is tried on the memory model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from aha.planning import colocated, limits, memory
from aha.planning.fit import fit
from aha.planning.machines import GB, GPUS, Machine
from aha.planning.memory import Memory
from aha.planning.shapes import Shape
from aha.planning.workload import Workload, check

MOST_GPUS = 4096


@dataclass(frozen=True, slots=True)
class FitVerdict:
    """One workload on one machine."""

    memory: Memory
    sharded: bool
    room: float  # bytes of one GPU
    work: Workload  # as the stage would do it there (``fit``)
    lacks: tuple[str, ...] = ()  # why an engine beside could not sample

    @property
    def fits(self) -> bool:
        """Whether the peak is within the GPU's memory, and an engine's needs within its share."""
        return self.memory.peak <= self.room and not self.lacks


def judge(shape: Shape, work: Workload, machine: Machine, parallel: str | None = None) -> FitVerdict:
    """The verdict with passes as large as fit, and training ``replicated`` or ``sharded``; None: replicated where
    that fits, else sharded."""
    room, lacks = machine.gpu.memory, colocated.lacks(shape, work, machine)
    verdicts = []
    for sharded in _modes(machine, "replicated" if work.lora else parallel):
        taken = fit(shape, work, room, machine.count, sharded)
        verdicts.append(FitVerdict(taken.memory, sharded, room, taken.work, tuple(lacks)))
        if verdicts[-1].fits:
            break
    return verdicts[-1]


def _modes(machine: Machine, parallel: str | None) -> tuple[bool, ...]:
    if machine.count == 1 or parallel == "replicated":
        return (False,)
    return (True,) if parallel == "sharded" else (False, True)


def settings(shape: Shape, work: Workload, machine: Machine) -> Iterator[tuple[str, dict[str, Any]]]:
    """Changes of settings that need less memory, beyond those that the stage makes by itself (``fit``), from those
    that cost least: words and what they change. Of the numbers of ranks that could share each pass, and of those
    that an engine beside could have, all come, the largest last."""
    name = f"{work.name}." if work.name else ""
    if "context_parallel_size" in work.fields:
        for ranks in range(work.context + 1, machine.count + 1):
            if machine.count % ranks == 0:
                yield f"{name}context_parallel_size={ranks}", {"context": ranks}
    if work.reference:
        yield f"{name}algorithm.kl_coef=0", {"reference": False}
    for words, changed in colocated.choices(shape, work, machine):
        yield words, {"colocated": changed, "policy_again": True}
    if not work.lora and "lora_rank" in work.fields:
        yield f"{name}lora_rank=32", {"lora": 32}


def shorter(work: Workload) -> Iterator[tuple[str, Workload]]:
    """The same with shorter completions, down to 256 tokens: another experiment, so it comes last."""
    field = "max_length" if work.kind == "sft" else "max_tokens"
    name, length = f"{work.name}." if work.name else "", work.completion // 2
    while length >= 256:
        least = max(0, work.least_pass - (work.completion - length))
        yield f"{name}{field}={length}", replace(work, completion=length, least_pass=least)
        length //= 2


def suggestions(shape: Shape, work: Workload, machine: Machine, parallel: str | None = None) -> list[str]:
    """What would make it fit, at most one line of each kind: settings, lengths, machines."""
    work = replace(work, batch_tokens=max(work.batch_tokens, work.longest))
    lines: list[str] = []
    if machine.count > 1 and parallel == "replicated" and judge(shape, work, machine, "sharded").fits:
        lines.append("--parallel sharded")
    for change in (_settings_that_fit, _length_that_fits):
        words = change(shape, work, machine, parallel)
        lines += [words] if words else []
    enough = bool(lines)
    for others in (_more(machine), _larger(machine)):
        words = _machine_that_fits(shape, work, others, parallel, unchanged=enough)
        lines += [words] if words else []
    return lines


def _more(machine: Machine) -> Iterator[Machine]:
    count = machine.count * 2
    while count <= MOST_GPUS:
        yield replace(machine, count=count)
        count *= 2


def _larger(machine: Machine) -> Iterator[Machine]:
    for gpu in sorted(GPUS.values(), key=lambda gpu: gpu.memory):
        if gpu.memory > machine.gpu.memory:
            yield replace(machine, gpu=gpu)


def _machine_that_fits(
    shape: Shape, work: Workload, machines: Iterator[Machine], parallel: str | None, unchanged: bool
) -> str | None:
    """The first machine on which the workload fits ``unchanged``, or else with other settings."""
    with_settings = None
    for machine in machines:
        verdict = judge(shape, work, machine, parallel)
        if verdict.fits:
            return machine.describe() + (", sharded" if verdict.sharded else "")
        if with_settings is None and not unchanged:
            words = _settings_that_fit(shape, work, machine, parallel)
            with_settings = f"{machine.describe()} with {words}" if words else None
    return with_settings


def _settings_that_fit(shape: Shape, work: Workload, machine: Machine, parallel: str | None) -> str | None:
    """The first setting that is enough by itself, or else as many as it takes, the cheapest first."""

    def fits(options: Sequence[tuple[str, dict[str, Any]]]) -> bool:
        changes = {key: value for _, change in options for key, value in change.items()}
        return judge(shape, replace(work, **changes), machine, parallel).fits

    options = list(settings(shape, work, machine))
    alone = next((option for option in options if fits([option])), None)
    if alone:
        return alone[0]
    for key in ("context", "colocated"):  # of alike ones the last
        last = next((change[key] for _, change in reversed(options) if key in change), None)
        options = [(words, change) for words, change in options if change.get(key, last) == last]
    taken = next((options[:n] for n in range(2, len(options) + 1) if fits(options[:n])), None)
    if taken is None:
        return None
    for option in reversed(taken):  # what a later one made unnecessary goes again, the dearest first
        rest = [other for other in taken if other is not option]
        taken = rest if fits(rest) else taken
    return " ".join(words for words, _ in taken)


def _length_that_fits(shape: Shape, work: Workload, machine: Machine, parallel: str | None) -> str | None:
    shorter_ones = shorter(work)
    return next((words for words, less in shorter_ones if judge(shape, less, machine, parallel).fits), None)


def refused(shape: Shape, work: Workload, machine: Machine) -> list[str]:
    """What the stage itself would refuse as it starts."""
    reasons = check(work, shape.context)
    room = machine.gpu.memory
    if machine.count % work.context:
        reasons.append(
            f"context_parallel_size={work.context} does not divide {machine.count} GPUs: give another, or more GPUs."
        )
    reasons += colocated.lacks(shape, work, machine)
    if (
        work.kind == "rl"
        and work.colocated is None
        and memory.cache_tokens(shape, work, room, machine.count) < work.longest
    ):
        reasons.append(
            f"The sampler's cache, {limits.CACHE_SHARE:.1%} of the GPU's memory, does not hold one completion of "
            f"{work.longest} tokens: lower max_tokens."
        )
    return reasons


def refused_parallel(work: Workload, parallel: str | None) -> list[str]:
    """What ``training.sharding`` refuses."""
    if work.lora and parallel == "sharded":
        return ["Adapters beside frozen weights cannot be sharded: give --parallel replicated."]
    return []


def gigabytes(size: float) -> str:
    """Bytes in GB with as many digits as are meant."""
    return f"{size / GB:,.0f} GB" if size >= 100 * GB else f"{size / GB:.1f} GB"
