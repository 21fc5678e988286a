"""What a stage asks of a machine, read off its settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from aha.sampling.colocated import Colocated
from aha.sampling.engines import ENGINES, engine_class
from aha.types import AhaError

PROMPT_TOKENS = 256
"""Tokens taken for a prompt where a stage only bounds them; R1's own mathematics averages 122, logic 420."""

RL_FIELDS = frozenset(
    {"gradient_checkpointing", "lora_rank", *(e.group for e in ENGINES.values() if e.group)}
)
"""Settings of a stage of reinforcement learning that advice may change."""


@dataclass(frozen=True, slots=True)
class Workload:
    """One stage. Every sequence is taken to be as long as it may get."""

    kind: Literal["rl", "sft"]
    steps: int
    sequences: int  # of one step: all completions of all questions, or conversations
    group: int  # completions that share a prompt
    prompt: int  # tokens before the first one trained on
    completion: int
    batch_tokens: int  # packed tokens of one forward and backward pass
    mini_batches: int = 1
    recompute: bool = False  # layers computed again going backward
    lora: int = 0
    reference: bool = False
    critic: bool = False
    policy_again: bool = False  # the policy's own logprobs are computed before the update
    max_num_seqs: int = 0
    number_bytes: int = 2  # of the compute type
    least_pass: int = 0  # tokens that a pass must take, longer prompts than ``prompt`` included
    context: int = 1  # ranks that share each pass
    colocated: Colocated | None = None  # what samples, if not the policy's own processes
    name: str = ""
    fields: frozenset[str] = frozenset({"gradient_checkpointing", "lora_rank"})  # settings that the stage has

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence."""
        return self.prompt + self.completion

    @property
    def tokens(self) -> int:
        """Tokens trained on in one step; a prompt that a group shares counts once."""
        return self.sequences * self.completion + self.sequences // self.group * self.prompt


def from_stage(stage: Any) -> Workload | None:
    """The workload of a stage of reinforcement learning or fine-tuning; None for any other."""
    get = lambda name, default=None: getattr(stage, name, default)  # noqa: E731
    number_bytes = 4 if get("dtype") == "float32" else 2
    common: dict[str, Any] = {
        "recompute": bool(get("gradient_checkpointing", False)),
        "lora": int(get("lora_rank", 0) or 0),
        "context": int(get("context_parallel_size") or 1),
        "fields": frozenset(type(stage).model_fields),
    }
    if get("prompts_per_step") is not None and get("group_size") is not None:
        algorithm: Any = get("algorithm")
        completion = stage.longest_completion
        return Workload(
            kind="rl",
            steps=stage.steps,
            sequences=stage.prompts_per_step * stage.group_size,
            group=stage.group_size,
            prompt=min(stage.max_prompt_tokens, PROMPT_TOKENS),
            completion=completion,
            batch_tokens=stage.max_tokens_per_batch,
            mini_batches=stage.mini_batches,
            reference=bool(algorithm.needs_reference),
            critic=bool(algorithm.critic),
            policy_again=algorithm.importance_sampling != "none",
            max_num_seqs=stage.max_num_seqs,
            least_pass=stage.max_prompt_tokens + completion,
            colocated=engine_class(str(get("engine", "local"))).colocated(stage),
            number_bytes=number_bytes,
            name=stage.name,
            **common,
        )
    if get("max_length") is not None and get("batch_size") is not None and get("epochs") is not None:
        return Workload(
            kind="sft",
            steps=0,  # nobody knows before the data is there
            sequences=stage.batch_size * int(get("sequences_per_row") or 1),
            group=int(get("sequences_per_row") or 1),
            prompt=0,
            completion=stage.max_length,
            batch_tokens=stage.max_tokens_per_batch,
            number_bytes=number_bytes,
            name=stage.name,
            **common,
        )
    return None


def check(workload: Workload, context: int) -> list[str]:
    """What the stage would refuse when it starts, in words."""
    reasons = []
    if workload.longest > workload.batch_tokens:
        reasons.append(
            f"A sequence of {workload.longest} tokens does not fit a training batch of "
            f"{workload.batch_tokens}: raise max_tokens_per_batch or lower the maximum length."
        )
    if workload.longest > context:
        reasons.append(
            f"A sequence of {workload.longest} tokens is longer than the model's context of {context}: lower "
            "the maximum length, or stretch the context with another rope_scaling."
        )
    return reasons


def sample_workload(kind: str, **changes: Any) -> Workload:
    """What the table of machines asks of each: a rollout of 512 completions of up to 2,048 tokens, or 128
    conversations of up to 4,096. Raises AhaError for another kind."""
    from dataclasses import replace

    base = {
        "rl": Workload(
            "rl", 500, 512, 8, 256, 2048, 8192, 2, recompute=True, max_num_seqs=512, fields=RL_FIELDS
        ),
        "sft": Workload("sft", 500, 128, 1, 0, 4096, 4096, recompute=True),
    }
    if kind not in base:
        raise AhaError(f"No workload '{kind}'. Known: {', '.join(base)}.")
    return replace(base[kind], **changes)
