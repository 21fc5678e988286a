"""What is examined: a model with its tokenizer and engine, a task, and a run's settings."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from aha.doctor import exact
from aha.doctor.finding import NotApplicable
from aha.doctor.memory import free_memory, model_bytes
from aha.doctor.sharded import ShardRequest
from aha.rewards import get_rewards
from aha.sampling import rollouts, sampler
from aha.sampling.local import engine as local
from aha.tasks.base import Task
from aha.training import policy as policies
from aha.training.algorithm import Algorithm
from aha.types import Example, Finish, Group, Problem, Rollout, Scored

LARGEST_COPY = 4 << 30
"""Bytes of a model up to which checks may copy it to float32 and step on it."""
LARGEST_SAVED = 1 << 30
"""Bytes of a model up to which checks write it to the disk."""


@dataclass(frozen=True, slots=True)
class ExaminationPlan:
    """The settings of the run that the examination is for."""

    algorithm: Algorithm = field(default_factory=lambda: Algorithm.model_validate({}))
    rewards: tuple[str, ...] = ("accuracy", "format")
    temperature: float = 1.0
    max_tokens: int = 320
    group_size: int = 16
    prompts_per_step: int = 32
    max_tokens_per_batch: int = 4096
    max_num_seqs: int = 512
    gradient_checkpointing: bool = False
    lora_rank: int = 0
    seed: int = 0


@dataclass
class DoctorContext:
    """The patient. ``policy`` and ``engine`` are the run's own, where there is a run.

    ``to_examples`` is the stage's way from groups and advantages to examples; it is handed in, since the
    stages stand above this package. ``folder`` is where the run will be written.
    """

    model: Any
    tokenizer: Any
    task: Task
    problems: Sequence[Problem]
    prompter: rollouts.Prompter
    engine: rollouts.Engine
    policy: policies.Policy | ShardRequest
    plan: ExaminationPlan
    folder: Path
    to_examples: Callable[[Sequence[Group], Sequence[np.ndarray]], list[Example]] | None = None
    source: str = ""
    data_seed: int = 0
    shares: int = 1  # ranks among which weights and optimizer state are divided
    wanted_tokens: int = 0  # the run's longest completion, where the plan's was fitted to the model's context
    miniature: DoctorContext | None = None  # see doctor.miniature
    _groups: list[Group] | None = None
    _exact: exact.Exact | None = None
    _pace: float | None = None
    _sizes: tuple[int, int] = (24, 4)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.model.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The compute type."""
        return next(self.model.parameters()).dtype

    @property
    def precise(self) -> bool:
        """Whether the arithmetic is float32 or better, so that tight thresholds hold."""
        return self.dtype in (torch.float32, torch.float64)

    def rewards(self) -> rollouts.WeightedRewards:
        """The run's rewards."""
        return get_rewards(dict.fromkeys(self.plan.rewards, 1.0), self.task.verify, self.task.verify_lenient)

    def tokens(self) -> int:
        """How long the completions of the checks are: short, and within the model's context."""
        return min(self._sizes[0], self.plan.max_tokens)

    def some_problems(self) -> list[Problem]:
        """Three problems whose prompts are not long."""
        ordered = sorted(self.problems[:64], key=lambda p: len(self.prompter.encode(p)[0]))
        return ordered[:1] + ordered[len(ordered) // 4 :][:2]

    def groups(self) -> list[Group]:
        """A few real groups, sampled and scored once at the run's temperature from the weights as they are."""
        if self._groups is None:
            self._groups = self.sample(self.plan.temperature, seed=1000 + self.data_seed)
        return self._groups

    def sample(
        self, temperature: float = 1.0, *, seed: int, alone: bool = False, **params: Any
    ) -> list[Group]:
        """Groups of four from the run's engine; ``alone``, one completion of one problem."""
        settings = sampler.SamplingParams(temperature=temperature, max_tokens=self.tokens(), **params)
        return rollouts.sample_groups(
            self.engine,
            self.prompter,
            self.some_problems()[:1] if alone else self.some_problems(),
            1 if alone else self._sizes[1],
            settings,
            self.rewards(),
            seed=seed,
        )

    # --- what transformers is asked -----------------------------------------------------------------------

    @property
    def exact(self) -> exact.Exact:
        """The truth about the model as it is."""
        if self._exact is None:
            self._exact = exact.Exact(self.model)
        return self._exact

    def pace(self) -> float:
        """Seconds that a token takes in transformers' own forward pass on this machine; measured once."""
        if self._pace is None:
            self._pace = exact.seconds_per_token(self.model, usable_vocabulary(self))
        return self._pace

    def some_of(self, rollouts: Sequence[Rollout], seconds: float = 1.0) -> list[int]:
        """Which of the rollouts are held against transformers: as many as one pass of so many seconds has room for,
        spread over all, at least two."""
        length = float(np.mean([len(r.prompt_ids) + len(r.completion_ids) for r in rollouts]))
        most = max(2, int(seconds / (self.pace() * length)))
        return list(range(0, len(rollouts), max(1, -(-len(rollouts) // most))))

    # --- copies, for checks that move weights ---------------------------------------------------------------

    def copy_model(self, dtype: torch.dtype | None = None) -> Any:
        """The model again, for the check to change. Raises NotApplicable if it is too large for that."""
        self.require_room(3 if dtype is torch.float64 else 2)
        model = copy.deepcopy(self.model)
        for param in model.parameters():
            param.grad = None
        return model.to(dtype or self.dtype)

    def require_room(self, copies: int) -> None:
        """Raises NotApplicable if so many float32 copies of the model are too much for this machine."""
        size = 4 * sum(p.numel() for p in self.model.parameters())
        free = free_memory(self.device)
        if size > LARGEST_COPY or copies * size > 0.8 * free:
            raise NotApplicable(
                f"a float32 copy of the model takes {size / 2**30:.1f} GiB, {copies} are needed and "
                f"{free / 2**30:.1f} GiB are free; checks that move weights run on models up to "
                f"{LARGEST_COPY / 2**30:.0f} GiB (aha doctor --model tiny examines the program itself)"
            )

    def require_savable(self) -> None:
        """Raises NotApplicable if the model is too large to be written to the disk a few times."""
        size = model_bytes(self.model)
        if size > LARGEST_SAVED:
            raise NotApplicable(
                f"the model would be written several times, {size / 2**30:.1f} GiB each; aha doctor --model "
                "tiny examines checkpoints and stages"
            )

    def new_policy(self, **optimizer: Any) -> policies.Policy:
        """A policy of its own on a float32 copy of the model."""
        config = policies.OptimizerConfig(**optimizer)
        return policies.Policy(self.copy_model(torch.float32), config)

    def new_engine(self, model: Any, **options: Any) -> local.LocalEngine:
        """An engine of its own on ``model``."""
        return local.LocalEngine(model, self.tokenizer, **options)

    def scratch(self) -> tempfile.TemporaryDirectory[str]:
        """A folder that is gone at the end, beside the run's own: the same disk is examined."""
        place = self.folder
        while not place.exists():
            place = place.parent
        try:
            return tempfile.TemporaryDirectory(prefix=".doctor-", dir=place, ignore_cleanup_errors=True)
        except OSError:
            return tempfile.TemporaryDirectory(prefix="doctor-", ignore_cleanup_errors=True)


def made_groups(
    subject: DoctorContext, lengths: Sequence[int], members: int, *, seed: int = 0, end: bool = True
) -> list[Group]:
    """Groups that were never sampled: random prompts of ``lengths`` and random completions.

    Their sampler logprobs are noise, so that ratios differ from 1 and clips bite; their rewards are random.
    Half of the completions end in EOS, the others were cut. They serve to examine what is computed from
    rollouts, whatever a model would write.
    """
    rng = np.random.default_rng(seed + 7919 * subject.data_seed)
    eos, vocabulary = int(subject.tokenizer.eos_token_id), usable_vocabulary(subject)
    draw = lambda n: rng.choice(vocabulary, n).astype(np.int32)  # noqa: E731
    groups = []
    for index, length in enumerate(lengths):
        prompt, completions = draw(length), []
        for member in range(members):
            completion = draw(int(rng.integers(2, 14)))
            stopped = end and member % 2 == 0
            if stopped:
                completion[-1] = eos
            logprobs = -np.abs(rng.normal(2.0, 1.0, len(completion))).astype(np.float32)
            finish = Finish.STOP if stopped else Finish.LENGTH
            text = f"{index}:{member}"
            completions.append(
                Scored(Rollout(prompt, completion, logprobs, text, finish), {}, float(rng.integers(0, 3)))
            )
        groups.append(Group(Problem(f"made-{index}", "made", ()), tuple(completions)))
    return groups


def usable_vocabulary(subject: DoctorContext) -> np.ndarray:
    """Token ids that are no special tokens."""
    special = set(map(int, subject.tokenizer.all_special_ids))
    rows = int(subject.model.get_input_embeddings().weight.shape[0])
    return np.array([i for i in range(min(len(subject.tokenizer), rows)) if i not in special], np.int64)


__all__ = ["DoctorContext", "ExaminationPlan", "made_groups", "model_bytes", "usable_vocabulary"]
