"""Preference optimisation: a model learns from pairs of completions, or from labelled ones, without a reward model.

DPO and its kin (``training.preferences`` has formulas and papers). The reference's log probabilities are computed
once, before the first step, and kept in the stage's folder.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch

from aha import hardware, modeling, ranks
from aha.files import read_jsonl
from aha.planning import fitted as room
from aha.runs.console import Console
from aha.runs.pipeline import Context, Stage
from aha.settings import setting
from aha.stages import asking, inputs
from aha.stages.supervised import preference_rows
from aha.stages.supervised.fitting import METRICS, FitSettings, Fitting, card
from aha.stages.supervised.preference_rows import PreferenceRow, flat
from aha.stages.supervised.sft import source_names
from aha.training import checkpoint, parallel, reference, sharding
from aha.training.batching import pack, sequence_mean
from aha.training.policy import Policy
from aha.training.preferences import (
    Preference,
    PreferenceLoss,
    SequenceLogprobs,
    StepCompletions,
    preference_loss,
)
from aha.types import AhaError, Batch, Example

REFERENCE = "reference.jsonl"
"""What the reference says of the rows, in the stage's folder."""


class DPO(
    FitSettings,
    lr=1e-6,
    min_lr_ratio=0.1,
    max_length=8192,
    max_tokens_per_batch=16_384,
):
    """Preference optimisation of a model on pairs, or on labelled completions (KTO)."""

    heading: ClassVar[str] = "algorithm"

    loss: PreferenceLoss = setting("dpo", "dpo, ipo, orpo, simpo: pairs; kto: pairs or labels")
    reference: str | Stage | None = setting(
        None, "what log ratios compare with; none: the model as it starts"
    )
    beta: float | None = setting(
        None, "strength of the loss; none: 0.1, and 2 for simpo (ipo: tau, orpo: lambda)", gt=0
    )
    label_smoothing: float = setting(
        0.0, "part of the pairs that may be swapped: conservative DPO (dpo, simpo)", ge=0, lt=0.5
    )
    gamma: float = setting(1.0, "the margin that simpo asks for", ge=0)
    length_normalized: bool = setting(False, "log ratios of dpo as means over tokens (beta is then 1 to 10)")
    nll_coef: float | None = setting(
        None, "weight of -log p of chosen completions beside the loss; none: 1 for orpo, else 0", ge=0
    )
    desirable_weight: float = setting(1.0, "of desirable completions (kto)", gt=0)
    undesirable_weight: float = setting(1.0, "of undesirable completions (kto)", gt=0)

    sequences_per_row: ClassVar[int] = 2
    """For a plan of the memory: a pair's completions, or one and its mismatch."""

    def without_effect(self) -> dict[str, str]:
        """Settings of another loss."""
        idle = {} if self.loss == "simpo" else {"gamma": f"set {self.name}.loss=simpo too"}
        if self.loss != "kto":
            idle |= dict.fromkeys(("desirable_weight", "undesirable_weight"), f"set {self.name}.loss=kto too")
        return idle

    def data_files(self) -> list[str]:
        """The files among the sources."""
        return [source for source in self.data if isinstance(source, str)]

    def preference(self) -> Preference:
        """The loss with its settings."""
        return Preference(
            self.loss, self.beta, self.label_smoothing, self.gamma, self.length_normalized, self.nll_coef,
            self.desirable_weight, self.undesirable_weight,
        )  # fmt: skip

    def check_inputs(self, context: Context) -> None:
        """What it is given from outside, and that its settings go together."""
        self._check_loss()
        if self.context_parallel_size > 1:
            raise AhaError(
                f"{self.name}: context_parallel_size={self.context_parallel_size} parts a completion among ranks, and "
                "a preference loss needs each whole: leave it at 1, and lower max_length or set gradient_checkpointing."
            )
        inputs.machine(context, self.dtype)
        tokenizer = inputs.model(self.model)
        _check_vocabulary(tokenizer, inputs.model(self.reference), str(self.reference))
        inputs.rows(self.data)

    def _check_loss(self) -> None:
        """Raise AhaError for settings that the loss does not have."""
        wrong = {
            "label_smoothing": bool(self.label_smoothing) and self.loss not in ("dpo", "simpo"),
            "length_normalized": self.length_normalized and self.loss != "dpo",
            "reference": self.reference is not None and not self.preference().needs_reference,
        }
        for name in (name for name, is_wrong in wrong.items() if is_wrong):
            raise AhaError(
                f"{self.name}: the loss {self.loss} has no {name}. Leave it out, or take loss=dpo."
            )

    def run(self, context: Context) -> dict[str, Any]:
        """Train, or continue; returns the summary."""
        session = DPOSession(self, context)
        with session.console:
            session.prepare()
            session.train()
        return session.finish()


def _check_vocabulary(tokenizer: Any, other: Any, name: str) -> None:
    """Raise AhaError where a reference reads other tokens than the model."""
    if tokenizer is not None and other is not None and tokenizer.get_vocab() != other.get_vocab():
        raise AhaError(
            f"The reference '{name}' has another vocabulary than the model: give one of its family, or none."
        )


class DPOSession(Fitting[PreferenceRow]):
    """The live parts of one preference optimisation."""

    def __init__(self, config: DPO, context: Context):
        hardware.set_threads(context.threads)
        device = hardware.pick_device(context.device)
        chosen = context.dtype if context.dtype != "auto" else config.dtype
        self.config, self.context, self.folder = config, context, context.folder
        self.source, self.preference = context.model_path(config.model), config.preference()
        self.dtype = hardware.pick_dtype(chosen, device)
        self.tokenizer = modeling.load_tokenizer(self.source)
        free = room.free(device)
        model = modeling.load_model(self.source, device, self.dtype)
        self.prompt = asking.for_rows(config.prompt, self.tokenizer)
        self.train_set, self.held_out = self._load(min(config.max_length, modeling.max_context(model)))
        rows = [*self.train_set, *self.held_out]
        longest = max(max(row.packed, *(len(e.token_ids) for e in row.asked)) for row in rows)
        if longest > config.max_tokens_per_batch:
            raise AhaError(
                f"max_tokens_per_batch={config.max_tokens_per_batch} is less than the longest row, {longest} tokens "
                f"(a pair goes in one pass). Raise {config.name}.max_tokens_per_batch or lower "
                f"{config.name}.max_length."
            )
        self.config, tell = room.fitted(config, context, model, free, self.source, longest)
        self.policy = self.learner = self.config.policy(model, context)
        self.console = Console(f"{config.name} ({config.loss})", self.steps, plain=context.plain)
        asking.warn(self.console, self.prompt, self.tokenizer, self.source)
        asking.keep(model, self.tokenizer, self.prompt)
        tell(self.console)

    # --- rows ---------------------------------------------------------------------------------------------

    def _load(self, longest: int) -> tuple[list[PreferenceRow], list[PreferenceRow]]:
        """(to train on, held out). Raises AhaError if nothing is left."""
        c, paired = self.config, self.preference.paired
        records, counts = preference_rows.read_preferences(
            [self.context.data_path(s) for s in c.data], paired
        )
        self.sources = source_names(c.data, counts)
        if c.max_rows is not None and c.max_rows < len(records):
            kept = random.Random(f"{c.seed}:rows").sample(range(len(records)), c.max_rows)
            records = [records[i] for i in sorted(kept)]
        rows, self.dropped = preference_rows.to_rows(records, self.tokenizer, self.prompt, paired, longest)
        if not rows:
            raise AhaError(
                f"No row of {len(records)} can be trained on: {dict(self.dropped)}. Raise max_length, or give "
                "rows with different answers."
            )
        if not paired:
            rows = preference_rows.mismatched(rows, longest, c.seed)
        return preference_rows.split_by_question(rows, c.validation_share, c.seed)

    # --- before the first step ----------------------------------------------------------------------------

    def prepare(self) -> None:
        """The reference's log probabilities, computed or read; then the newest checkpoint."""
        if self.preference.needs_reference:
            self._ask_reference()
        self.resume()

    def _ask_reference(self) -> None:
        rows = [*self.train_set, *self.held_out]
        tick = self.console.counter(len(rows), "the reference")
        logprobs = reference.kept_logprobs(
            self.folder / REFERENCE, rows, self._reference, self.config.max_tokens_per_batch, tick
        )
        rows = [replace(row, reference=tuple(sums)) for row, sums in zip(rows, logprobs, strict=True)]
        self.train_set, self.held_out = rows[: len(self.train_set)], rows[len(self.train_set) :]

    def _reference(self) -> Policy:
        """The policy before its first step, or another checkpoint."""
        c = self.config
        if c.reference is None:
            return self.policy
        path = self.context.model_path(c.reference)
        _check_vocabulary(self.tokenizer, modeling.load_tokenizer(path), path)
        model = modeling.load_model(path, self.policy.device, self.dtype)
        sharded = self.policy.shards is not None
        other = Policy(model, shards=sharding.Shards(model, trains=False) if sharded else None)
        other.context = self.policy.context
        return other

    # --- training -----------------------------------------------------------------------------------------

    def step(self, step: int) -> tuple[dict[str, Any], int]:
        """One optimizer step: its metrics, and the tokens that went through the model."""
        rows = self.batch_of(step)
        kl, used = self.estimated_kl(rows)
        examples = flat(rows)
        completions = self.completions(rows, examples, kl or 0.0)
        loss = preference_loss(self.preference, completions)
        chunks = partial(whole_rows, examples, max(row.packed for row in rows))
        batches = parallel.balance(chunks, self.config.max_tokens_per_batch, self.policy.dp_size)
        totals = self.policy.map_microbatches(batches, lambda b: self.policy.backward(b, loss(b)))
        lr = self.config.lr_at(step, self.steps)
        norm = self.policy.step(lr)
        sums = {key: float(sum(t[key] for t in totals)) for key in totals[0] if key != "weight"}
        row = {"step": step, "epoch": round(step / self.per_epoch, 4), **figures(sums, completions.share, kl)}
        return row | {"grad_norm": round(norm, 5), "lr": lr}, used + sum(len(b.token_ids) for b in batches)

    def completions(
        self, rows: Sequence[PreferenceRow], examples: Sequence[Example], kl: float = 0.0
    ) -> StepCompletions:
        """What a loss needs of the rows' completions, in their order."""
        labels = [label for row in rows for label in row.labels]
        known = [logp for row in rows for logp in (row.reference or (0.0,) * 2)[: len(row.examples)]]
        return StepCompletions(
            np.array(labels, np.float64),
            np.array(known, np.float64),
            np.array([float(e.mask.sum()) for e in examples]),
            np.cumsum([len(e.token_ids) for e in examples]),
            kl,
        )

    def estimated_kl(self, rows: Sequence[PreferenceRow]) -> tuple[float | None, int]:
        """(KTO's estimate, tokens computed for it): the mean log ratio of completions behind prompts of others, 0 at
        least; None for losses that have none."""
        asked = [(row.mismatch, row.reference[-1]) for row in rows if row.mismatch is not None]
        if self.preference.paired or not asked:
            return (None if self.preference.paired else 0.0), 0
        examples = [example for example, _ in asked]
        now = reference.sequence_logprobs(self.policy, examples, self.config.max_tokens_per_batch)
        estimate = float((now - np.array([logp for _, logp in asked])).mean())
        return max(0.0, estimate), sum(len(e.token_ids) for e in examples)

    def validation(self) -> dict[str, Any]:
        """Figures of what is held out, each with ``validation_`` in front; none where nothing is."""
        if not self.held_out:
            return {"validation_loss": None}
        kl, _ = self.estimated_kl(self.held_out)
        examples = flat(self.held_out)
        sums = reference.sequence_logprobs(self.policy, examples, self.config.max_tokens_per_batch)
        step = self.completions(self.held_out, examples, kl or 0.0)
        rows = SequenceLogprobs(*map(torch.from_numpy, (sums, step.reference, step.lengths)))
        labels = torch.from_numpy(step.labels)
        measured = self.preference.figures(rows, labels, step.share)
        measured["loss"] = self.preference.losses(rows, labels, step.kl)
        means = figures({k: float(v.mean()) for k, v in measured.items()}, step.share, kl)
        return {
            f"validation_{key}": value for key, value in means.items() if key.partition("/")[0] != "logps"
        }

    def finish(self) -> dict[str, Any]:
        """Write the final checkpoint with its card; returns the summary."""
        rows = ranks.broadcast_object(lambda: read_jsonl(self.folder / METRICS))
        measured = [row for row in rows if row.get("validation_loss") is not None]
        summary = {
            "model": self.source if isinstance(self.config.model, str) else self.config.model.name,
            "objective": self.config.loss,
            "rows": len(self.train_set),
            "held_out": len(self.held_out),
            "sources": self.sources,
            "dropped": dict(self.dropped),
            "prompt": self.prompt.name,
            "epochs": self.config.epochs,
            "steps": self.steps,
            **{key: rows[-1].get(key) for key in ("loss", "rewards/accuracies", "rewards/margins")},
            **{key: _ends(measured, key) for key in ("validation_loss", "validation_rewards/accuracies")},
            "tokens": self.tokens,
            "seconds": round(self.seconds, 1),
            "seed": self.config.seed,
        }
        how = f"preference optimisation, loss {summary['objective']}"
        text = card(summary, "tuned on preferences", how)
        checkpoint.save_model(self.policy, self.tokenizer, self.folder / "final", text)
        return summary


def whole_rows(examples: Sequence[Example], longest: int, max_tokens: int) -> list[Batch]:
    """The examples packed, those of a row in one batch. Raises AhaError where the ``longest`` row does not fit."""
    if longest > max_tokens:
        raise AhaError(
            f"A row of {longest} tokens does not fit a pass of {max_tokens}: raise max_tokens_per_batch."
        )
    return pack(examples, sequence_mean, max_tokens)


def figures(sums: dict[str, float], share: float, kl: float | None) -> dict[str, float | None]:
    """A step's figures by TRL's names, from means over its completions, of which ``share`` are chosen or desirable.
    Those of a kind that did not occur are None."""
    values: dict[str, float | None] = {key: round(value, 6) for key, value in sums.items()}
    for name, there in (("chosen", share > 0), ("rejected", share < 1)):
        for key in (f"rewards/{name}", f"logps/{name}"):
            values[key] = values[key] if there else None
    if 0 < share < 1:
        values["rewards/margins"] = round(sums["rewards/chosen"] - sums["rewards/rejected"], 6)
    return values if kl is None else {**values, "kl": round(kl, 6)}


def _ends(rows: Sequence[dict[str, Any]], key: str) -> dict[str, float] | None:
    """A figure before and after; None where it was not measured."""
    known = [row[key] for row in rows if row.get(key) is not None]
    return {"before": known[0], "after": known[-1]} if known else None
