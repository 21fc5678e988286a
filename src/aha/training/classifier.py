"""Reward models as Hugging Face keeps them: a sequence classifier with one output, and its own chat template.

(Skywork-Reward, ArmoRM's kin, Llama's and Qwen's heads; encoders that read a pair of texts.) A row's score depends on
nothing but the row: on CPUs each is read alone; on GPUs rows are padded on the right, which later tokens of a causal
model cannot see, and encoders get rows of one length only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aha import modeling
from aha.types import AhaError

ONE_OUTPUT = 1
NO_PAD = -1
"""Stands for the padding token of a model that has none: no token is it, so none is taken for padding."""


class Classifier:
    """A sequence classifier that gives one number for a conversation, or for one label of several."""

    def __init__(self, model: Any, tokenizer: Any, label: int = 0, device: torch.device | str = "cpu"):
        self.model, self.tokenizer, self.label = model.eval().requires_grad_(False), tokenizer, label
        self.device, self.home = torch.device(device), torch.device("cpu")
        text = model.config.get_text_config()
        self.causal = isinstance(getattr(model, "score", None), torch.nn.Linear) and hasattr(model, "model")
        self.pad = NO_PAD if text.pad_token_id is None else int(text.pad_token_id)
        if self.pad == NO_PAD:
            text.pad_token_id = (
                NO_PAD  # without one transformers reads a single row at a time, at its last token
            )
        said = int(min(getattr(tokenizer, "model_max_length", None) or 1 << 30, 1 << 30))
        self.longest = min(modeling.max_context(model), said)

    def encode(self, messages: Sequence[Mapping[str, str]], answer: str) -> list[int]:
        """Ids [L] of a conversation with an answer to it, by the model's own chat template; encoders without one read
        the question and the answer as a pair."""
        if getattr(self.tokenizer, "chat_template", None):
            whole = [*({"role": m["role"], "content": m["content"]} for m in messages),
                     {"role": "assistant", "content": answer}]  # fmt: skip
            text = self.tokenizer.apply_chat_template(whole, tokenize=False)
            return [int(i) for i in self.tokenizer.encode(text, add_special_tokens=False)]
        asked = "\n\n".join(str(m["content"]) for m in messages)
        return [int(i) for i in self.tokenizer(asked, answer)["input_ids"]]

    def length(self, row: Sequence[int]) -> int:
        """Tokens of a row."""
        return len(row)

    def score(self, rows: Sequence[Sequence[int]], max_tokens: int = 0) -> np.ndarray:
        """Scores [N], float64, of rows of ids in their order. ``max_tokens``: of a padded batch; 0: each row alone on a
        CPU, and 16,384 elsewhere. Raises AhaError for a score that is not finite."""
        budget = max_tokens or (1 if self.device.type == "cpu" else 16_384)
        scores = np.full(len(rows), np.nan)
        self._to(self.device)
        try:
            for chosen in self._batches([len(row) for row in rows], budget):
                scores[chosen] = self._forward([rows[i] for i in chosen])
        finally:
            self._to(self.home)
        if not np.isfinite(scores).all():
            raise AhaError("The reward model gives a score that is not finite: its checkpoint is damaged, or its type "
                           "too narrow (dtype=float32).")  # fmt: skip
        return scores

    def _to(self, device: torch.device) -> None:
        """The weights stand on a GPU only while they are used: between, the policy trains there."""
        if self.device.type != "cpu":
            self.model.to(device)

    def _batches(self, lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
        """Rows of one batch, by length: at most ``budget`` tokens with padding, or one row."""
        order, batch = sorted(range(len(lengths)), key=lambda i: (lengths[i], i)), list[int]()
        for i in order:
            other = bool(batch) and not self.causal and lengths[batch[-1]] != lengths[i]
            if batch and (other or (len(batch) + 1) * lengths[i] > budget):
                yield batch
                batch = []
            batch.append(i)
        if batch:
            yield batch

    @torch.inference_mode()
    def _forward(self, rows: Sequence[Sequence[int]]) -> np.ndarray:
        length = max(map(len, rows))
        ids = torch.zeros((len(rows), length), dtype=torch.long)
        mask = torch.zeros_like(ids)
        for i, row in enumerate(rows):
            ids[i, : len(row)] = torch.tensor(row)
            mask[i, : len(row)] = 1
        ids, mask = ids.to(self.device), mask.to(self.device)
        logits = (
            self._pooled(ids, mask) if self.causal else self.model(input_ids=ids, attention_mask=mask).logits
        )
        return logits.float()[:, self.label].cpu().double().numpy()

    def _pooled(self, ids: Tensor, mask: Tensor) -> Tensor:
        """The head's output where transformers reads it of each row alone: at the last token that is no padding."""
        inner = getattr(self.model, self.model.base_model_prefix)
        hidden = inner(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
        places = torch.arange(ids.shape[1], device=ids.device)
        last = (places * ((ids != self.pad) & (mask == 1))).argmax(-1)
        return self.model.score(hidden[torch.arange(len(ids), device=ids.device), last])


def is_classifier(name: str) -> bool:
    """Whether a checkpoint is a sequence classifier by its config."""
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(modeling.resolve(name))
    except (OSError, ValueError):
        return False
    return any(
        str(kind).endswith("ForSequenceClassification")
        for kind in getattr(config, "architectures", None) or ()
    )


def load_classifier(
    name: str, device: torch.device | str = "cpu", dtype: torch.dtype | None = None
) -> Classifier:
    """The classifier of a checkpoint. Its folder's name may be followed by ``@LABEL``, which of several outputs is the
    score. Raises AhaError for one with several outputs and no label named, and for weights that are missing."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    modeling.quiet_transformers()
    base, _, label = name.partition("@")
    path = modeling.resolve(base)
    try:
        model, info = AutoModelForSequenceClassification.from_pretrained(
            path, dtype=dtype or torch.float32, output_loading_info=True
        )
        tokenizer = AutoTokenizer.from_pretrained(path)
    except Exception as error:  # transformers raises many kinds here; all mean: this model cannot be loaded
        raise AhaError(
            f"Cannot load the reward model '{base}': {str(error).strip().splitlines()[0][:300]}"
        ) from error
    if missing := sorted(info["missing_keys"]):
        raise AhaError(f"The reward model '{base}' lacks {missing[0]}: it is no trained classifier.")
    _check_template(model, tokenizer, base)
    return Classifier(model, tokenizer, _label(model.config, label, base), device)


def check_classifier(name: str) -> None:
    """Raise AhaError for a classifier whose output cannot be taken for a score, by its files alone."""
    from transformers import AutoConfig, AutoTokenizer

    base, _, label = name.partition("@")
    path = modeling.resolve(base)
    try:
        config, _ = AutoConfig.from_pretrained(path), AutoTokenizer.from_pretrained(path)
    except Exception as error:  # transformers and tokenizers raise many kinds here
        raise AhaError(
            f"Cannot load the reward model '{base}': {str(error).strip().splitlines()[0][:300]}"
        ) from error
    _label(config, label, base)
    modeling.check_files(base)


def _check_template(model: Any, tokenizer: Any, name: str) -> None:
    decoder = hasattr(model, "score") and hasattr(model, "model")
    if decoder and not getattr(tokenizer, "chat_template", None):
        raise AhaError(
            f"The tokenizer of the reward model '{name}' has no chat template: how it reads a question and an answer "
            "is not known. Put the template that it was trained with into its folder (chat_template.jinja)."
        )


def _label(config: Any, label: str, name: str) -> int:
    """Which output is the score."""
    labels = {str(text): int(i) for i, text in (config.id2label or {}).items()}
    if config.num_labels == ONE_OUTPUT and not label:
        return 0
    if label in labels:
        return labels[label]
    if label.isdecimal() and int(label) < config.num_labels:
        return int(label)
    raise AhaError(
        f"The classifier '{name}' has {config.num_labels} outputs ({', '.join(labels)}): which is the score? Name it "
        f"behind the folder: {name}@{next(iter(labels), '0')}."
    )
