"""What fine-tuning, preference optimisation and reward models share: epochs over rows, steps, checkpoints, resuming."""

from __future__ import annotations

import math
import random
import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from aha import ranks
from aha.files import append_jsonl, read_jsonl, write_jsonl
from aha.runs import interrupts
from aha.runs.console import Console
from aha.runs.pipeline import Context, Stage
from aha.stages import groups
from aha.training import checkpoint, schedule, sharding
from aha.training.lora import Adapters, LoraSettings
from aha.training.policy import OptimizerConfig, Policy

METRICS, CHECKPOINTS = "metrics.jsonl", "checkpoints"
Row = TypeVar("Row")


class FitSettings(
    groups.SeedSettings,
    groups.TrainedModelSettings,
    groups.RowSettings,
    groups.PromptSettings,
    groups.LengthSettings,
    groups.OptimizerSettings,
    groups.WarmupSettings,
    groups.GradientClipSettings,
    groups.WeightDecaySettings,
    groups.EpochSettings,
    groups.AdapterSettings,
    groups.MemorySettings,
    groups.DtypeSettings,
    groups.ContextParallelSettings,
    groups.CheckpointSettings,
    Stage,
):
    """A stage that tunes a whole model on rows."""

    all_ranks: ClassVar[bool] = True

    def lr_at(self, step: int, steps: int) -> float:
        """Linear warm-up times a cosine from the peak at the first step to ``min_lr_ratio`` of it at the last."""
        done = (step - 1) / max(1, steps - 1)
        return self.lr * schedule.warm_up(step, self.warmup_steps) * schedule.cosine(done, self.min_lr_ratio)

    def policy(self, model: Any, context: Context) -> Policy:
        """``model`` with its optimizer, adapters and parts as the settings have them."""
        settings = OptimizerConfig(
            lr=self.lr,
            weight_decay=self.weight_decay,
            max_grad_norm=self.max_grad_norm,
            gradient_checkpointing=self.gradient_checkpointing,
            activation_offload=self.activation_offload,
            context_parallel_size=self.context_parallel_size,
            torch_compile=self.torch_compile,
        )
        adapters = Adapters(model, LoraSettings(self.lora_rank), self.seed) if self.lora_rank else None
        return Policy(model, settings, adapters, sharding.shards(context.parallel, model))


class Epochs(Protocol):
    """The settings that the loop reads."""

    seed: int
    batch_size: int
    epochs: int
    save_every: int


class Fitting(Generic[Row]):
    """The live parts of a training by epochs. A subclass sets the attributes below, calls ``resume``, and says what a
    step is."""

    config: Any
    folder: Path
    console: Console
    tokenizer: Any
    train_set: Sequence[Row]
    learner: Any  # what a checkpoint holds: a policy, or a scalar model
    start: int = 0
    saved: int = 0
    seconds: float = 0.0
    tokens: int = 0

    @property
    def per_epoch(self) -> int:
        """Steps of one epoch."""
        return math.ceil(len(self.train_set) / self.config.batch_size)

    @property
    def steps(self) -> int:
        """All of them."""
        return self.per_epoch * self.config.epochs

    @abstractmethod
    def step(self, step: int) -> tuple[dict[str, Any], int]:
        """One optimizer step: its metrics, and the tokens that went through the model."""

    def validation(self) -> dict[str, Any]:
        """Figures of what is held out, measured before the first step and after each epoch; {} for none."""
        return {}

    def resume(self) -> None:
        """Continue from the newest checkpoint; what was written after it is taken back."""
        latest = ranks.broadcast_object(lambda: checkpoint.latest(self.folder / CHECKPOINTS))
        if latest is not None:
            progress, _ = checkpoint.load(latest, self.learner)
            self.start = self.saved = int(progress["step"])
            self.seconds, self.tokens = float(progress["seconds"]), int(progress.get("tokens", 0))
            self.console.note(f"Continuing after step {self.start}.")
        before = {} if self.start else self.validation()
        rows = [row for row in read_jsonl(self.folder / METRICS) if row["step"] <= self.start]
        write_jsonl(self.folder / METRICS, rows if self.start else [{"step": 0, **before}] if before else [])

    def train(self) -> None:
        """Every step from where the last process stopped."""
        for step in range(self.start + 1, self.steps + 1):
            with interrupts.GuardedStep(step, self.saved) as guard:
                self.take(step)
                due = step % self.config.save_every == 0 or step == self.steps
                interrupts.saving(guard, due, partial(self.save, step))
            guard.leave()

    def take(self, step: int) -> None:
        """One step, and its row of figures."""
        clock = time.perf_counter()
        row, used = self.step(step)
        elapsed = time.perf_counter() - clock
        self.seconds += elapsed
        self.tokens += used
        row |= {"num_tokens": self.tokens, "tokens_per_second": round(used / elapsed, 1)}
        if step % self.per_epoch == 0:
            row |= self.validation()
        append_jsonl(self.folder / METRICS, [row])
        self.console.step({k: v for k, v in row.items() if v is not None})

    def save(self, step: int) -> None:
        """Checkpoint everything that the next step depends on."""
        progress = {"seconds": self.seconds, "tokens": self.tokens}
        checkpoint.save(self.folder / CHECKPOINTS, step, self.learner, self.tokenizer, progress, {})
        self.saved = step

    def batch_of(self, step: int) -> list[Row]:
        """The rows of a step (from 1): each epoch is a new order, a function of seed and epoch."""
        epoch, at = divmod(step - 1, self.per_epoch)
        order = list(range(len(self.train_set)))
        random.Random(f"{self.config.seed}:epoch:{epoch}").shuffle(order)
        size = self.config.batch_size
        return [self.train_set[i] for i in order[at * size : (at + 1) * size]]


def card(summary: Mapping[str, Any], tuned: str, how: str, rows: str = "rows") -> str:
    """The README of a checkpoint that was ``tuned`` and ``how``."""
    sources = "\n".join(f"- {name}: {n} {rows}" for name, n in summary["sources"].items())
    return (
        f"# `{summary['model']}`, {tuned}\n\nMade with aha: {how}, {summary['epochs']} epochs, {summary['steps']} "
        f"steps, {summary['tokens']:,} tokens, seed {summary['seed']}. Asked with prompt={summary['prompt']}, which "
        f"its chat template is.\n\n{sources}\n"
    )
