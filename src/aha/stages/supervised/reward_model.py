"""Reward models: helpfulness from pairs on the final summary only, safety from labels on the whole response.

The paper (DeepSeek-R1, arXiv 2501.12948): the R1 architecture with a scalar head; pairwise loss for helpful
answers, pointwise for safe ones; batch 256, learning rate 6e-6, one epoch, 8,192 tokens at most.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
import torch

from aha import aside, chat, hardware, modeling
from aha.aside import Aside
from aha.data.schemas import Record, read_source
from aha.data.schemas import flat as said_text
from aha.judges.asking import final_text
from aha.judges.injection import neutral
from aha.runs.console import Console
from aha.runs.pipeline import Context, Stage
from aha.settings import setting
from aha.stages import asking, groups, inputs
from aha.stages.supervised import reliability
from aha.stages.supervised.fitting import Fitting
from aha.stages.supervised.preference_rows import question_of
from aha.training import schedule, sharding
from aha.training.classifier import is_classifier, load_classifier
from aha.training.scalar import ScalarModel, load_scalar, pairwise, pointwise, save_scalar, text_example
from aha.training.trainer import OptimizerConfig
from aha.types import AhaError, Example

RewardKind = Literal["helpful", "safety"]
Scale = Literal["unit", "raw"]
LOWEST = 3.0
"""Standard deviations below the mean: the raw score of a helpful answer that says nothing after its thinking."""


def scored_text(kind: RewardKind, text: str) -> str:
    """What a reward model reads of an answer: the final summary (helpful), or all of it (safety). Of a summary,
    sentences that ask for a grade are left away, as they are before a judge: a model that was never shown any may take
    them for more of an answer. Of a whole response nothing is: what is unsafe might stand in them."""
    return neutral(final_text(text), "", None)[0] if kind == "helpful" else text


def encode(
    kind: RewardKind,
    messages: Sequence[Mapping[str, str]],
    text: str,
    tokenizer: Any,
    prompt: chat.Prompt,
    group: int = -1,
) -> Example:
    """A question and an answer to it as a reward model of that kind reads them, ids [L]."""
    return encode_read(messages, scored_text(kind, text), tokenizer, prompt, group)


def encode_read(
    messages: Sequence[Mapping[str, str]], read: str, tokenizer: Any, prompt: chat.Prompt, group: int = -1
) -> Example:
    """As ``encode``, of what is read of the answer."""
    rendered = chat.render(messages, tokenizer, prompt=prompt)
    # The summary stands alone: a thinking that the prompt opened would have to be closed in front of it.
    plain = replace(rendered, text=rendered.text.rstrip().removesuffix(chat.THINK), opened_think=False)
    said = chat.render_completion({"role": "assistant", "content": read}, plain)
    ids, end = chat.encode_prompt(plain, tokenizer), chat.turn_end(tokenizer, prompt)
    said_ids = [*tokenizer.encode(said, add_special_tokens=False), *end[:-1]]
    return text_example(ids, said_ids, end[-1], group)


@dataclass(slots=True)
class LossTerm:
    """What one loss term needs: a pair (chosen, rejected), or one answer with its label."""

    examples: tuple[Example, ...]
    label: float = 1.0

    @property
    def packed(self) -> int:
        """Tokens it takes in a batch, the shared prompt once."""
        shared = self.examples[0].prompt_length * (len(self.examples) - 1)
        return sum(len(e.token_ids) for e in self.examples) - shared


class RewardModel(
    groups.SeedSettings,
    groups.TrainedModelSettings,
    groups.SourceSettings,
    groups.PreferenceKindSettings,
    groups.LengthSettings,
    groups.PromptSettings,
    groups.EpochSettings,
    groups.OptimizerSettings,
    groups.GradientClipSettings,
    groups.DtypeSettings,
    groups.CheckpointSettings,
    Stage,
    batch_size=256,
    lr=6e-6,
    max_length=8192,
    save_every=50,
):
    """A scalar model trained on judged answers."""

    all_ranks: ClassVar[bool] = True
    heading: ClassVar[str] = "data"

    max_tokens_per_batch: int = setting(
        16_384, "packed tokens of one pass", under="memory", unit="tokens", ge=16
    )
    held_out: float = setting(0.1, "share of questions whose rows only measure", gt=0, lt=1)

    def data_files(self) -> list[str]:
        """The files among the sources."""
        return [source for source in self.data if isinstance(source, str)]

    def check_inputs(self, context: Context) -> None:
        """What it is given from outside."""
        inputs.machine(context, self.dtype)
        if isinstance(self.model, str) and is_classifier(self.model.partition("@")[0]):
            inputs.reward_model(self.model)
        else:
            inputs.model(self.model)
        inputs.rows(self.data)

    def run(self, context: Context) -> dict[str, Any]:
        """Train, or continue; returns the summary with accuracy and calibration on held-out rows. A classifier is
        measured as it is, on all rows."""
        if isinstance(self.model, str) and is_classifier(self.model.partition("@")[0]):
            return self._measured(context, self.model)
        session = RewardModelSession(self, context)
        with session.console:
            session.train()
            return session.finish()

    def _measured(self, context: Context, name: str) -> dict[str, Any]:
        """Accuracy and calibration of a classifier that is here already."""
        device = hardware.pick_device(context.device)
        classifier = load_classifier(name, device, hardware.pick_dtype(context.dtype, device))
        rows = judged(self.kind, [context.data_path(source) for source in self.data])
        pairs = self.kind == "helpful"
        encoded = [
            [classifier.encode(row.prompt, scored_text(self.kind, said_text(side))) for side in sides]
            for row in rows
            for sides in [(row.messages[-1], *row.rejected) if pairs else (row.messages[-1],)]
        ]
        fits = [i for i, ids in enumerate(encoded) if max(map(len, ids)) <= classifier.longest]
        if not fits:
            raise AhaError(f"Every row is longer than the {classifier.longest} tokens that '{name}' reads.")
        scores = classifier.score([ids for i in fits for ids in encoded[i]])
        labels = [rows[i].label or 0.0 for i in fits]
        measured = (
            reliability.of_pairs(scores[0::2], scores[1::2])
            if pairs
            else reliability.of_labels(scores, labels)
        )
        said = {"kind": self.kind, "rows": 0, "held_out": len(fits), "too_long": len(rows) - len(fits)}
        spread = {"mean": round(float(scores.mean()), 6), "std": round(float(scores.std()), 6)}
        return said | measured | {"measured": name, "scores": spread}

    def lr_at(self, step: int, steps: int) -> float:
        """A cosine from ``lr`` to ``min_lr_ratio`` of it."""
        return self.lr * schedule.cosine((step - 1) / max(1, steps - 1), self.min_lr_ratio)


class RewardModelSession(Fitting[LossTerm]):
    """The live parts of one training of a reward model."""

    def __init__(self, config: RewardModel, context: Context):
        hardware.set_threads(context.threads)
        device = hardware.pick_device(context.device)
        chosen = context.dtype if context.dtype != "auto" else config.dtype
        path = context.model_path(config.model)
        self.config, self.folder = config, context.folder
        self.tokenizer = modeling.load_tokenizer(path)
        model = modeling.load_model(path, device, hardware.pick_dtype(chosen, device))
        self.prompt = asking.for_rows(config.prompt, self.tokenizer)
        self.dropped = 0
        rows = judged(config.kind, [context.data_path(source) for source in config.data])
        train, held_out = split_by_problem(rows, config.held_out, config.seed)
        longest = min(config.max_length, modeling.max_context(model))
        self.train_set, self.held_out = self._items(train, longest), self._items(held_out, longest)
        if not self.train_set or not self.held_out:
            raise AhaError(
                f"{len(rows)} rows, {self.dropped} of them too long, leave {len(self.train_set)} to train on and "
                f"{len(self.held_out)} to measure with: give more rows, or raise max_length."
            )
        optimizer = OptimizerConfig(lr=config.lr, max_grad_norm=config.max_grad_norm)
        sharded = sharding.chosen(context.parallel, model)
        self.scalar = self.learner = ScalarModel(model, optimizer, sharded=sharded)
        self.console = Console(config.name, self.steps, plain=context.plain)
        asking.keep(model, self.tokenizer, self.prompt)
        self.resume()

    def _items(self, rows: Sequence[Record], longest: int) -> list[LossTerm]:
        """Rows as items; those that do not fit are counted."""
        c, terms = self.config, []
        for row in rows:
            sides = (row.messages[-1], *row.rejected) if c.kind == "helpful" else (row.messages[-1],)
            examples = tuple(
                encode(c.kind, row.prompt, said_text(side), self.tokenizer, self.prompt) for side in sides
            )
            item = LossTerm(examples, 1.0 if row.label is None else row.label)
            fits = (
                max(len(e.token_ids) for e in examples) <= longest and item.packed <= c.max_tokens_per_batch
            )
            self.dropped += not fits
            terms += [item] if fits else []
        return terms

    def step(self, step: int) -> tuple[dict[str, Any], int]:
        """One optimizer step: its metrics, and the tokens that went through the model."""
        items = self.batch_of(step)
        totals = self.learn(items)
        lr = self.config.lr_at(step, self.steps)
        norm = self.scalar.step(lr)
        row = {
            "step": step,
            "loss": round(totals["loss"], 6),
            "accuracy": round(totals["right"] / len(items), 6),
            "grad_norm": round(norm, 5),
            "lr": lr,
        }
        return row, sum(item.packed for item in items)

    def learn(self, items: Sequence[LossTerm]) -> dict[str, float]:
        """Add the gradient of the mean loss over ``items``."""
        examples = flat(items)
        if self.config.kind == "helpful":
            loss = pairwise(len(items))
        else:
            loss = pointwise(np.array([item.label for item in items]))
        return self.scalar.learn(examples, self.config.max_tokens_per_batch, loss)

    def finish(self) -> dict[str, Any]:
        """Measure on what was held out, write the final model; returns the summary."""
        scores = self.scalar.score(flat(self.held_out), self.config.max_tokens_per_batch, deal=True)
        if self.config.kind == "helpful":
            measured = reliability.of_pairs(scores[0::2], scores[1::2])
        else:
            measured = reliability.of_labels(scores, [item.label for item in self.held_out])
        trained = self.scalar.score(flat(self.train_set), self.config.max_tokens_per_batch, deal=True)
        calibration = {
            "kind": self.config.kind, "prompt": self.prompt.name,
            "mean": float(trained.mean()), "std": float(trained.std()),
            "max_batch_tokens": self.config.max_tokens_per_batch, "max_length": self.config.max_length,
        }  # fmt: skip
        summary = {
            "kind": self.config.kind,
            "prompt": self.prompt.name,
            "rows": len(self.train_set),
            "held_out": len(self.held_out),
            **measured,
            "too_long": self.dropped,
            "steps": self.steps,
            "seconds": round(self.seconds, 1),
            "scores": {k: round(calibration[k], 6) for k in ("mean", "std")},
            "seed": self.config.seed,
        }
        text = (
            f"# A {self.config.kind} reward model\n\nA scalar head (`value_head.safetensors`) read at the last token. "
            f"Accuracy on {len(self.held_out)} held-out rows: {summary['accuracy']:.1%}.\n\n"
            f"{reliability.table(measured)}"
        )
        save_scalar(self.scalar, self.tokenizer, self.folder / "final", calibration, text)
        return summary


def flat(items: Sequence[LossTerm]) -> list[Example]:
    """The items' examples one after another; those of one pair share their prompt and stay in one batch."""
    return [replace(e, group=i) for i, item in enumerate(items) for e in item.examples]


def judged(kind: RewardKind, sources: Sequence[str]) -> list[Record]:
    """The rows of the sources that a reward model of that kind learns from; others are set aside with the reason.

    Raises AhaError where too many are.
    """
    kept: list[Record] = []
    for source in sources:
        records = read_source(source)[0]
        bad = [Aside(r.where, why) for r in records if (why := _unfit(kind, r))]
        aside.report(f"{source} ({kind})", len(records), bad)
        kept += [record for record in records if not _unfit(kind, record)]
    return kept


def _unfit(kind: RewardKind, record: Record) -> str:
    """Why a row says nothing to a reward model of that kind; "" where it does."""
    if record.prompt == record.messages:
        return "it has no completion"
    if kind == "helpful":
        return "" if record.rejected else "it has no chosen and rejected answer"
    return "it has no label" if record.label is None else ""


def split_by_problem(rows: Sequence[Record], share: float, seed: int) -> tuple[list[Record], list[Record]]:
    """(to train on, held out), all rows of a question on one side; one question held out at least."""
    keys = sorted({question_of(row) for row in rows})
    n = min(len(keys) - 1, max(1, round(share * len(keys)))) if keys else 0
    out = set(random.Random(f"{seed}:held_out").sample(keys, n))
    kept, held_out = (
        [r for r in rows if question_of(r) not in out],
        [r for r in rows if question_of(r) in out],
    )
    return kept, held_out


class Scorer:
    """A trained reward model that scores answers, brought to 0..1 by its own calibration or as they are."""

    def __init__(self, folder: str, context: Context, scale: Scale = "unit"):
        self.device, self.home = hardware.pick_device(context.device), torch.device("cpu")
        self.scalar, self.calibration = load_scalar(
            folder, self.device, hardware.pick_dtype(context.dtype, self.device)
        )
        self.scalar.move(self.home)
        self.tokenizer = modeling.load_tokenizer(folder)
        self.prompt = asking.for_rows("auto", self.tokenizer)
        self.kind: RewardKind = self.calibration["kind"]
        self.scale: Scale = scale
        self.longest = min(int(self.calibration["max_length"]), modeling.max_context(self.scalar.model))

    def encode(self, messages: Sequence[Mapping[str, str]], answer: str) -> Example:
        """A conversation and what is read of the answer to it as one row."""
        return encode_read(messages, answer, self.tokenizer, self.prompt)

    def length(self, row: Example) -> int:
        """Tokens of a row."""
        return len(row.token_ids)

    def score(self, rows: Sequence[Example]) -> np.ndarray:
        """The head's outputs [N], float64. On a GPU the weights stand there only meanwhile: between, the policy
        trains there."""
        budget = max(self.longest, int(self.calibration["max_batch_tokens"]))
        self.scalar.move(self.device)
        try:
            return self.scalar.score(rows, budget) if rows else np.zeros(0)
        finally:
            self.scalar.move(self.home)

    def scores(self, messages: Sequence[Mapping[str, str]], texts: Sequence[str]) -> list[float | None]:
        """One number for each answer. On the scale "unit" it lies in 0..1: helpful ones sigma((score - mean) /
        std) over the training texts, safe ones the probability of being safe; on "raw" it is the head's output.
        None for an answer too long to read; the lowest (0, or ``LOWEST``) where a helpful model finds nothing
        after the thinking."""
        read = [scored_text(self.kind, text) for text in texts]
        rows = [self.encode(messages, text) for text in read]
        readable = [i for i, row in enumerate(rows) if self.length(row) <= self.longest]
        values_of: list[float | None] = [None] * len(texts)
        for i, value in zip(readable, self.score([rows[i] for i in readable]), strict=True):
            silent = not read[i].strip()
            values_of[i] = scaled(float(value), silent, self.scale, own_scale(self.kind, self.calibration))
        return values_of


@dataclass(frozen=True, slots=True)
class ScoreScale:
    """How raw scores become numbers in 0..1: sigma((score - mean) / std). ``lowest`` is the raw score of an answer
    that says nothing."""

    mean: float = 0.0
    std: float = 1.0
    lowest: float = -LOWEST


def own_scale(kind: RewardKind, calibration: Mapping[str, Any]) -> ScoreScale:
    """That of a model of ours: by its training texts where it is a helpful one; a safety model's is a log odds."""
    mean, std = float(calibration["mean"]), float(calibration["std"])
    lowest = mean - LOWEST * std
    if kind != "helpful":
        return ScoreScale(lowest=lowest)
    return ScoreScale(mean, max(std, 1e-6), lowest)


def scaled(value: float, silent: bool, scale: Scale, by: ScoreScale) -> float:
    """A raw score on a scale; the lowest for an answer that says nothing."""
    if scale == "raw":
        return by.lowest if silent else value
    return 0.0 if silent else 1 / (1 + math.exp(-max(-60.0, min(60.0, (value - by.mean) / by.std))))
