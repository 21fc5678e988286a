"""Pretraining from scratch on text that a program writes: how the embedded base is made."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from aha import hardware, modeling, ranks
from aha.corpus import full, tiny, world, world_tokens
from aha.corpus import tokenizer as tiny_tokenizer
from aha.files import append_jsonl, read_jsonl, write_jsonl, write_text
from aha.runs import interrupts
from aha.runs.console import Console
from aha.runs.pipeline import Context, Stage
from aha.settings import setting
from aha.stages import groups, inputs
from aha.stages.supervised.pretrain_start import base_card, take_over
from aha.training import checkpoint, parallel, schedule, sharding
from aha.training.batching import pack, token_mean
from aha.training.losses import negative_log_likelihood
from aha.training.policy import OptimizerConfig, Policy
from aha.types import AhaError, Example

VOCABULARY_DOCUMENTS = {"tiny": 20_000, "full": 20_000, "world": 6_000}
RECIPES = {"tiny": "tiny_base", "full": "countdown_base", "world": "world_base"}
TRAINING_CARD = "training.json"


class Pretrain(
    groups.SeedSettings,
    groups.OptimizerSettings,
    groups.WarmupSettings,
    groups.WeightDecaySettings,
    groups.TokenBatchSettings,
    groups.DtypeSettings,
    groups.CheckpointSettings,
    Stage,
    lr=2e-3,
    min_lr_ratio=0.04,
    warmup_steps=60,
    weight_decay=0.05,
):
    """A small Llama trained on a corpus that the program writes."""

    all_ranks: ClassVar[bool] = True
    heading: ClassVar[str] = "architecture"

    corpus: Literal["tiny", "full", "world"] = setting(
        "tiny", "which corpus the program writes", under="data"
    )
    init_from: str | None = setting(None, "a base to go on from, of the same widths; else from scratch")
    steps: int = setting(1100, "optimizer steps", under="optimizer", unit="steps", ge=1)
    tokens_per_step: int = setting(12_288, "tokens of one step", under="optimizer", unit="tokens", ge=1)
    muon_lr: float = setting(
        0.015, "Muon's learning rate, for the layers' matrices; lr is AdamW's", under="optimizer", gt=0
    )
    hidden_size: int = setting(192, "width", ge=8)
    layers: int = setting(4, "depth", ge=1)
    heads: int = setting(6, "attention heads", ge=1)
    kv_heads: int = setting(2, "key-value heads", ge=1)
    intermediate_size: int = setting(512, "width of the feed-forward layers", ge=8)
    context_length: int = setting(1024, "longest sequence", unit="tokens", ge=64)

    def work(self) -> dict[str, float]:
        """Tokens trained on."""
        return {"trained": float(self.steps * self.tokens_per_step)}

    def check_inputs(self, context: Context) -> None:
        """The base that it goes on from."""
        hardware.pick_device(context.device)
        inputs.model(self.init_from)

    def goes_on_from(self, before: Mapping[str, Any], reached: int) -> bool:
        """With more steps, where the learning rate does not fall towards the last."""
        changed = {key for key, value in self.essential().items() if before.get(key) != value}
        return changed == {"steps"} and self.min_lr_ratio == 1 and self.steps >= reached

    def run(self, context: Context) -> dict[str, Any]:
        """Train, or continue; returns the summary."""
        hardware.set_threads(context.threads)
        device = hardware.pick_device(context.device)
        dtype = hardware.pick_dtype(context.dtype if context.dtype != "auto" else self.dtype, device)
        tokenizer = self.new_tokenizer()
        policy = self.new_policy(tokenizer, device, dtype, context.parallel)
        root, metrics = context.folder / "checkpoints", context.folder / "metrics.jsonl"
        start, seconds, tokens = 0, 0.0, 0
        latest = ranks.broadcast_object(lambda: checkpoint.latest(root))
        if latest is not None:
            progress, _ = checkpoint.load(latest, policy)
            start, seconds, tokens = (
                int(progress["step"]),
                float(progress["seconds"]),
                int(progress["tokens"]),
            )
        rows = [r for r in read_jsonl(metrics) if r["step"] <= start]
        write_jsonl(metrics, rows)
        row = rows[-1] if rows else {"loss": None}  # killed after the last step, its figures are there
        with Console(self.name, self.steps, plain=context.plain) as console:
            saved = start
            for step in range(start + 1, self.steps + 1):
                with interrupts.GuardedStep(step, saved) as guard:
                    clock = time.perf_counter()
                    row, used = self.step(policy, tokenizer, step)
                    seconds += time.perf_counter() - clock
                    tokens += used
                    row["tokens_per_second"] = round(used / (time.perf_counter() - clock), 1)
                    append_jsonl(metrics, [row])
                    console.step(row)
                    if guard.asked() or step % self.save_every == 0 or step == self.steps:
                        progress = {"seconds": seconds, "tokens": tokens}
                        checkpoint.save(root, step, policy, tokenizer, progress, {})
                        saved = step
                guard.leave()
        return self._finish(context.folder, policy, tokenizer, seconds, tokens, row)

    def step(self, policy: Policy, tokenizer: Any, step: int) -> tuple[dict[str, Any], int]:
        """One optimizer step on its own documents; returns its metrics and the tokens used."""
        rows = self.examples(tokenizer, step)
        batches = parallel.balance(lambda tokens: pack(rows, token_mean, tokens), self.max_tokens_per_batch)
        passes = policy.map_microbatches(
            batches, lambda batch: policy.backward(batch, negative_log_likelihood)
        )
        loss = sum(sums["loss"] for sums in passes)
        norm = policy.step(self.lr_at(step))
        row = {"step": step, "loss": round(loss, 5), "grad_norm": round(norm, 4), "lr": self.lr_at(step)}
        return row, sum(len(batch.token_ids) for batch in batches)

    def writer(self, seed: str) -> tiny.Writer:
        """The corpus's writer of documents."""
        return {"tiny": tiny.Writer, "full": full.FullWriter, "world": world.WorldWriter}[self.corpus](seed)

    def new_tokenizer(self) -> Any:
        """A tokenizer for the corpus's frequent words."""
        writer = self.writer("vocabulary")
        sample = (writer.document() for _ in range(VOCABULARY_DOCUMENTS[self.corpus]))
        if self.corpus == "world":
            return world_tokens.build(sample)
        return tiny_tokenizer.build(sample, operators=writer.difficulty.operators)

    def new_policy(self, tokenizer: Any, device: Any, dtype: Any, split: str = "replicated") -> Policy:
        """Fresh weights, or those of ``start``; the float32 masters start from the float32 values."""
        import torch
        from transformers import AutoModelForCausalLM, LlamaConfig

        modeling.quiet_transformers()
        if self.hidden_size % self.heads or self.heads % self.kv_heads:
            raise AhaError("heads must divide hidden_size, and kv_heads must divide heads.")
        config = LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=self.hidden_size,
            intermediate_size=self.intermediate_size,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=self.kv_heads,
            head_dim=self.hidden_size // self.heads,
            max_position_embeddings=self.context_length,
            tie_word_embeddings=True,
            rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
        torch.manual_seed(self.seed)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        if self.init_from is not None:
            take_over(model, tokenizer, self.init_from)
        model = model.to(device)
        exact = [p.detach().clone() for p in model.parameters()]
        settings = OptimizerConfig(lr=self.lr, muon_lr=self.muon_lr, weight_decay=self.weight_decay)
        model = model.to(dtype)
        policy = Policy(model, settings, shards=sharding.shards(split, model))
        policy.set_masters(exact)
        return policy

    def examples(self, tokenizer: Any, step: int) -> list[Example]:
        """The documents of one step: a pure function of seed and step, so a run resumes exactly."""
        writer = self.writer(f"{self.seed}:{step - 1}")
        learned: list[Example] = []
        length = 0
        while length < self.tokens_per_step:
            texts = [writer.document() for _ in range(40)]
            for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]:
                ids = np.array([*ids, tokenizer.eos_token_id])
                mask = np.ones(len(ids), bool)
                mask[0] = False  # nothing predicts the first token
                learned.append(Example(ids, mask, np.zeros(len(ids))))
                length += len(ids)
                if length >= self.tokens_per_step:
                    break
        return learned

    def lr_at(self, step: int) -> float:
        """Linear warm-up times a cosine from 1 to ``min_lr_ratio``."""
        warm = schedule.warm_up(step, self.warmup_steps)
        return self.lr * warm * schedule.cosine((step - 1) / self.steps, self.min_lr_ratio)

    def _finish(
        self, folder: Path, policy: Policy, tokenizer: Any, seconds: float, tokens: int, row: dict[str, Any]
    ) -> dict[str, Any]:
        summary = {
            "model": f"continued from {self.init_from}" if self.init_from else "from scratch",
            "recipe": RECIPES[self.corpus],
            "corpus": self.corpus,
            "parameters": sum(p.numel() for p in policy.params),
            "loss": row["loss"],
            "steps": self.steps,
            "tokens": tokens,
            "seconds": round(seconds, 1),
            "seed": self.seed,
            "corpus_sha256": tiny.corpus_hash(self.writer(f"{self.seed}:0")),
            "vocabulary": tiny_tokenizer.describe(tokenizer),
        }
        checkpoint.save_model(policy, tokenizer, folder / "final", base_card(summary))
        write_text(folder / "final" / TRAINING_CARD, json.dumps(summary, indent=1) + "\n")
        return summary
