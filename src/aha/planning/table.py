"""Which model fits which machine: the table of docs/scale.md, made of the published shapes."""

from __future__ import annotations

from dataclasses import replace

from aha.planning import advice, colocated, published
from aha.planning.machines import Machine, machine
from aha.planning.shapes import Shape, from_config
from aha.planning.workload import Workload, sample_workload

MODELS = {
    "0.5B": "Qwen/Qwen2.5-0.5B",
    "1.5B": "Qwen/Qwen2.5-1.5B",
    "3B": "Qwen/Qwen2.5-3B",
    "7B": "Qwen/Qwen2.5-7B",
    "14B": "Qwen/Qwen2.5-14B",
    "32B": "Qwen/Qwen2.5-32B",
    "70B": "meta-llama/Llama-3.1-70B",
    "30B-A3B": "Qwen/Qwen3-30B-A3B",
    "671B-A37B": "deepseek-ai/DeepSeek-V3-Base",
}
MACHINES = {
    "1 x 24 GB": ("rtx-4090", 1),
    "1 x 80 GB": ("h100", 1),
    "1 x 141 GB": ("h200", 1),
    "8 x 80 GB": ("h100", 8),
    "8 x 141 GB": ("h200", 8),
    "4 x 8 x 80 GB": ("h100", 32),
    "16 x 8 x 80 GB": ("h100", 128),
    "64 x 8 x 80 GB": ("h800", 512),
}
BEGIN, END = "<!-- aha plan --table -->", "<!-- end of aha plan --table -->"
"""What stands around the table in the documentation."""


def works() -> dict[str, Workload]:
    """The columns' workloads by their letter; V as F, with vLLM or its like where the machine allows it."""
    rl = sample_workload("rl")
    return {"F": rl, "V": rl, "L": replace(rl, lora=32), "S": sample_workload("sft")}


def cell(shape: Shape, on: Machine) -> str:
    """Letters of what fits, small where only sharded, and a dash where nothing does."""
    letters = []
    for letter, work in works().items():
        tries = _beside(shape, work, on) if letter == "V" else [work]
        verdicts = (advice.judge(shape, each, on) for each in tries)
        fitting = [verdict for verdict in verdicts if verdict.fits]
        if fitting:
            letters.append(letter.lower() if all(verdict.sharded for verdict in fitting) else letter)
    return " ".join(letters) or "-"


def _beside(shape: Shape, work: Workload, on: Machine) -> list[Workload]:
    """The work sampled by an engine of its own, in each way that could be suggested; on one GPU it sleeps meanwhile."""
    alone = [replace(engine, sleep=True) for _, engine in colocated.unset_engines()] if on.count == 1 else []
    ways = [*alone, *(way for _, way in colocated.choices(shape, work, on))]
    return [replace(work, colocated=way, policy_again=True) for way in ways]


def table() -> str:
    """The table in Markdown."""
    lines = ["| | " + " | ".join(MACHINES) + " |", "| --- |" + " --- |" * len(MACHINES)]
    for label, name in MODELS.items():
        shape = from_config(published.PUBLISHED[name], name)
        cells = [cell(shape, machine(gpu, count)) for gpu, count in MACHINES.values()]
        lines.append(f"| {label} ({name.rsplit('/', 1)[-1]}) | " + " | ".join(cells) + " |")
    return "\n".join(lines)
