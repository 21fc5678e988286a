"""Supervised fine-tuning on conversations: the cold start, both of R1's SFT stages, and distillation.

The paper (DeepSeek-R1, arXiv 2501.12948): 2 to 3 epochs, a cosine from the peak to a tenth of it, context
32,768, batch 128 (64 for students). The loss is on the completion only, each token counting the same.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from aha import hardware, modeling, ranks
from aha.files import read_jsonl
from aha.planning import fitted as room
from aha.runs.console import Console
from aha.runs.pipeline import Context, Stage
from aha.settings import setting
from aha.stages import asking, inputs
from aha.stages.data.conversations import Conversations, LearnedTurns, load
from aha.stages.supervised.fitting import METRICS, FitSettings, Fitting, card
from aha.training import checkpoint, parallel
from aha.training.batching import pack, token_mean
from aha.training.losses import negative_log_likelihood
from aha.types import AhaError, Example


class SFT(
    FitSettings,
    epochs=2,
    lr=5e-5,
    min_lr_ratio=0.1,
    max_tokens_per_batch=32_768,
):
    """Fine-tuning of a model on the completions of conversations."""

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
        self._check_proportions()
        inputs.rows(self.data)

    def _check_proportions(self) -> None:
        """Raise AhaError for other proportions than one above 0 of each source."""
        shares = self.proportions
        if shares and (len(shares) != len(self.data) or min(shares) <= 0):
            raise AhaError(
                f"{self.name}.proportions={list(shares)} for {len(self.data)} sources of data: give a number above 0 "
                "for each, or none."
            )

    def run(self, context: Context) -> dict[str, Any]:
        """Train, or continue; returns the summary."""
        session = SFTSession(self, context)
        with session.console:
            session.train()
        return session.finish()


class SFTSession(Fitting[Example]):
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
        longest = max(len(example.token_ids) for example in self.rows_read.examples)
        self.config, tell = room.fitted(config, context, model, free, source, longest)
        self.policy = self.learner = self.config.policy(model, context)
        self.console = Console(config.name, self.steps, plain=context.plain)
        asking.warn(self.console, self.prompt, self.tokenizer, source)
        asking.keep(model, self.tokenizer, self.prompt)
        tell(self.console)
        self.resume()

    def _load(self, context: Context, longest: int) -> Conversations:
        c = self.config
        if longest > c.max_tokens_per_batch:
            raise AhaError(
                f"max_tokens_per_batch={c.max_tokens_per_batch} is smaller than the longest conversation allowed, "
                f"{longest} tokens. Raise {c.name}.max_tokens_per_batch or lower {c.name}.max_length."
            )
        paths = [context.data_path(source) for source in c.data]
        return load(paths, c.proportions, c.max_rows, self.tokenizer, self.prompt, longest, c.seed, c.turns)

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

    def validation(self) -> dict[str, float | None]:
        """Mean -log p of the held-out completions' tokens; None where nothing is held out."""
        if not self.held_out:
            return {"validation_loss": None}
        batches = pack(self.held_out, token_mean, self.config.max_tokens_per_batch)
        total = 0.0
        for batch, of_batch in zip(
            batches, self.policy.map_microbatches(batches, self.policy.logprobs, trains=False), strict=True
        ):
            total -= float((of_batch.astype(np.float64) * batch.weights).sum())
        return {"validation_loss": round(total, 6)}

    def finish(self) -> dict[str, Any]:
        """Write the final checkpoint with its card; returns the summary."""
        rows = ranks.broadcast_object(lambda: read_jsonl(self.folder / METRICS))
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
        text = card(summary, "fine-tuned", "supervised fine-tuning on completions", "conversations")
        checkpoint.save_model(self.policy, self.tokenizer, self.folder / "final", text)
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
