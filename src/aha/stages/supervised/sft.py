"""Supervised fine-tuning on conversations: the cold start, both of R1's SFT stages, and distillation.

The paper (DeepSeek-R1, arXiv 2501.12948): 2 to 3 epochs, a cosine from the peak to a tenth of it, context
32,768, batch 128 (64 for students). The loss is on the completion only, each token counting the same.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from aha import hardware, modeling, ranks
from aha.files import append_jsonl, read_jsonl, write_jsonl
from aha.planning import fitted as room
from aha.runs import interrupts
from aha.runs.console import Console
from aha.runs.pipeline import Context, Stage
from aha.settings import setting
from aha.stages import asking, groups, inputs
from aha.stages.data.conversations import Conversations, LearnedTurns, load
from aha.training import checkpoint, parallel, schedule, sharding
from aha.training.batching import pack, token_mean
from aha.training.lora import Adapters, LoraSettings
from aha.training.losses import negative_log_likelihood
from aha.training.policy import OptimizerConfig, Policy
from aha.types import AhaError, Example


class SFT(
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
    epochs=2,
    lr=5e-5,
    min_lr_ratio=0.1,
    max_tokens_per_batch=32_768,
):
    """Fine-tuning of a model on the completions of conversations."""

    all_ranks: ClassVar[bool] = True
    heading: ClassVar[str] = "data"

    proportions: tuple[float, ...] = setting((), "proportions of the sources; none: all rows of each")
    turns: LearnedTurns = setting("all", "which of the assistant's turns are learned: all, or the last")
    rope_theta: float | None = setting(
        None, "base of the rotary positions, changed before training (Open-R1: 300000)", gt=0
    )
    max_position_embeddings: int | None = setting(
        None, "the model's context, changed as well (Open-R1: 32768)", unit="tokens", ge=2
    )

    def data_files(self) -> list[str]:
        """The files among the sources."""
        return [source for source in self.data if isinstance(source, str)]

    def goes_on_from(self, before: Mapping[str, Any], reached: int) -> bool:
        """With more epochs, where the learning rate does not fall towards the last step."""
        changed = {key for key, value in self.essential().items() if before.get(key) != value}
        more = self.epochs >= before.get("epochs", self.epochs)
        return changed == {"epochs"} and self.min_lr_ratio == 1 and more

    def changes(self) -> dict[str, Any]:
        """What is changed in the model's config before its weights are loaded."""
        settings = {"rope_theta": self.rope_theta, "max_position_embeddings": self.max_position_embeddings}
        return {key: value for key, value in settings.items() if value is not None}

    def check_inputs(self, context: Context) -> None:
        """What it is given from outside."""
        inputs.machine(context, self.dtype)
        inputs.model(self.model)
        inputs.rows(self.data)

    def run(self, context: Context) -> dict[str, Any]:
        """Train, or continue; returns the summary."""
        session = SFTSession(self, context)
        with session.console:
            session.train()
        return session.finish()

    def lr_at(self, step: int, steps: int) -> float:
        """Linear warm-up times a cosine from the peak at the first step to ``min_lr_ratio`` of it at the last."""
        done = (step - 1) / max(1, steps - 1)
        return self.lr * schedule.warm_up(step, self.warmup_steps) * schedule.cosine(done, self.min_lr_ratio)


class SFTSession:
    """The live parts of one fine-tuning."""

    def __init__(self, config: SFT, context: Context):
        hardware.set_threads(context.threads)
        device = hardware.pick_device(context.device)
        chosen = context.dtype if context.dtype != "auto" else config.dtype
        source = context.model_path(config.model)
        self.config, self.folder, self.source = config, context.folder, source
        self.tokenizer = modeling.load_tokenizer(source)
        free = room.free(device)
        model = modeling.load_model(source, device, hardware.pick_dtype(chosen, device), config.changes())
        self.prompt = asking.for_rows(config.prompt, self.tokenizer)
        self.rows_read = self._load(context, min(config.max_length, modeling.max_context(model)))
        self.train_set, self.held_out = split(self.rows_read.examples, config.validation_share, config.seed)
        self.per_epoch = math.ceil(len(self.train_set) / config.batch_size)
        self.steps = self.per_epoch * config.epochs
        longest = max(len(example.token_ids) for example in self.rows_read.examples)
        self.config, tell = room.fitted(config, context, model, free, source, longest)
        config = self.config
        settings = OptimizerConfig(
            lr=config.lr,
            weight_decay=config.weight_decay,
            max_grad_norm=config.max_grad_norm,
            gradient_checkpointing=config.gradient_checkpointing,
            activation_offload=config.activation_offload,
            context_parallel_size=config.context_parallel_size,
            torch_compile=config.torch_compile,
        )
        adapters = Adapters(model, LoraSettings(config.lora_rank), config.seed) if config.lora_rank else None
        self.policy = Policy(model, settings, adapters, sharding.shards(context.parallel, model))
        self.console = Console(config.name, self.steps, plain=context.plain)
        asking.warn(self.console, self.prompt, self.tokenizer, source)
        asking.keep(model, self.tokenizer, self.prompt)
        tell(self.console)
        self.start, self.saved, self.seconds, self.tokens = 0, 0, 0.0, 0
        self._resume()

    def _load(self, context: Context, longest: int) -> Conversations:
        c = self.config
        if longest > c.max_tokens_per_batch:
            raise AhaError(
                f"max_tokens_per_batch={c.max_tokens_per_batch} is smaller than the longest conversation allowed, "
                f"{longest} tokens. Raise {c.name}.max_tokens_per_batch or lower {c.name}.max_length."
            )
        paths = [context.data_path(source) for source in c.data]
        return load(paths, c.proportions, c.max_rows, self.tokenizer, self.prompt, longest, c.seed, c.turns)

    def _resume(self) -> None:
        """Continue from the newest checkpoint; what was written after it is taken back."""
        saved = ranks.broadcast_object(lambda: checkpoint.latest(self.folder / "checkpoints"))
        if saved is not None:
            progress, _ = checkpoint.load(saved, self.policy)
            self.start, self.tokens = int(progress["step"]), int(progress["tokens"])
            self.seconds = float(progress["seconds"])
            self.saved = self.start
            self.console.note(f"Continuing after step {self.start}.")
        metrics = self.folder / "metrics.jsonl"
        before = None if self.start else self.validation_loss()
        rows = [row for row in read_jsonl(metrics) if row["step"] <= self.start]
        write_jsonl(metrics, rows if self.start else [{"step": 0, "validation_loss": before}])

    # --- training -----------------------------------------------------------------------------------------

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
            row["validation_loss"] = self.validation_loss()
        append_jsonl(self.folder / "metrics.jsonl", [row])
        self.console.step({k: v for k, v in row.items() if v is not None})

    def save(self, step: int) -> None:
        """Checkpoint everything that the next step depends on."""
        progress = {"seconds": self.seconds, "tokens": self.tokens}
        checkpoint.save(self.folder / "checkpoints", step, self.policy, self.tokenizer, progress, {})
        self.saved = step

    def batch_of(self, step: int) -> list[Example]:
        """The conversations of a step (from 1): each epoch is a new order, a function of seed and epoch."""
        epoch, at = divmod(step - 1, self.per_epoch)
        order = list(range(len(self.train_set)))
        random.Random(f"{self.config.seed}:epoch:{epoch}").shuffle(order)
        size = self.config.batch_size
        return [self.train_set[i] for i in order[at * size : (at + 1) * size]]

    def step(self, step: int) -> tuple[dict[str, Any], int]:
        """One optimizer step: its metrics, and the tokens that went through the model."""
        rows = self.batch_of(step)
        chunks = partial(pack, rows, token_mean)
        batches = parallel.balance(chunks, self.config.max_tokens_per_batch, self.policy.dp_size)
        totals = self.policy.map_microbatches(
            batches, lambda b: self.policy.backward(b, negative_log_likelihood)
        )
        lr = self.config.lr_at(step, self.steps)
        norm = self.policy.step(lr)
        row = {
            "step": step,
            "epoch": round(step / self.per_epoch, 4),
            "loss": round(sum(t["loss"] for t in totals), 6),
            "entropy": round(sum(t["entropy"] for t in totals), 6),
            "grad_norm": round(norm, 5),
            "lr": lr,
        }
        return row, sum(len(batch.token_ids) for batch in batches)

    def validation_loss(self) -> float | None:
        """Mean -log p of the held-out completions' tokens; None where nothing is held out."""
        if not self.held_out:
            return None
        batches = pack(self.held_out, token_mean, self.config.max_tokens_per_batch)
        total = 0.0
        for batch, of_batch in zip(
            batches, self.policy.map_microbatches(batches, self.policy.logprobs, trains=False), strict=True
        ):
            total -= float((of_batch.astype(np.float64) * batch.weights).sum())
        return round(total, 6)

    def finish(self) -> dict[str, Any]:
        """Write the final checkpoint with its card; returns the summary."""
        rows = ranks.broadcast_object(lambda: read_jsonl(self.folder / "metrics.jsonl"))
        losses = [row["validation_loss"] for row in rows if row.get("validation_loss") is not None]
        summary = {
            "model": self.source if isinstance(self.config.model, str) else self.config.model.name,
            "rows": len(self.train_set),
            "held_out": len(self.held_out),
            "sources": source_names(self.config.data, self.rows_read.sources),
            "dropped": dict(self.rows_read.dropped),
            "prompt": self.prompt.name,
            "epochs": self.config.epochs,
            "steps": self.steps,
            "loss": rows[-1].get("loss"),
            "validation_loss": {"before": losses[0], "after": losses[-1]} if losses else None,
            "tokens": self.tokens,
            "seconds": round(self.seconds, 1),
            "seed": self.config.seed,
        }
        checkpoint.save_model(self.policy, self.tokenizer, self.folder / "final", card(summary))
        return summary


def source_names(data: Sequence[str | Stage], counts: dict[str, int]) -> dict[str, int]:
    """Rows taken of each source, by the stage's name or the file's."""
    names = [s.name if isinstance(s, Stage) else Path(s).name for s in data]
    by_name: dict[str, int] = {}
    for name, n in zip(names, counts.values(), strict=True):
        by_name[name] = by_name.get(name, 0) + n
    return by_name


def split(examples: Sequence[Example], share: float, seed: int) -> tuple[list[Example], list[Example]]:
    """(to train on, held out): one held out at least where ``share`` is above 0 and there are two."""
    n = min(len(examples) - 1, max(1, round(share * len(examples)))) if share else 0
    out = set(random.Random(f"{seed}:validation").sample(range(len(examples)), n))
    train = [e for i, e in enumerate(examples) if i not in out]
    return train, [examples[i] for i in sorted(out)]


def card(summary: dict[str, Any]) -> str:
    """The README of a fine-tuned checkpoint."""
    sources = "\n".join(f"- {name}: {n} conversations" for name, n in summary["sources"].items())
    return (
        f"# `{summary['model']}`, fine-tuned\n\nMade with aha: supervised fine-tuning on completions, "
        f"{summary['epochs']} epochs, {summary['steps']} steps, {summary['tokens']:,} tokens, seed "
        f"{summary['seed']}. Asked with prompt={summary['prompt']}, which its chat template is.\n\n{sources}\n"
    )
