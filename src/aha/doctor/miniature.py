"""A miniature of the patient: a layer of each kind, as wide as the model's own and with its weights, and a
vocabulary of a few hundred tokens.

How a batch is cut, an optimizer steps or a stage resumes does not depend on how many layers there are. On a real model
the checks of these things would take most of an hour, and their figures would be the same.
"""

from __future__ import annotations

import copy
import re
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from aha import modeling
from aha.doctor.subject import DoctorContext
from aha.sampling.local import engine as local
from aha.sampling.rollouts import Prompter
from aha.tasks import get_task
from aha.training import policy as policies

WHOLE = 1 << 23
"""Parameters up to which a model is its own miniature."""
LAYERS = 2
TOKENIZER = "tiny"
TOKENS = 16


def of(subject: DoctorContext) -> DoctorContext:
    """The patient's miniature, made once; the patient itself where it is small."""
    if sum(p.numel() for p in subject.model.parameters()) <= WHOLE:
        return subject
    if subject.miniature is None:
        subject.miniature = _made(subject)
    return subject.miniature


def _made(subject: DoctorContext) -> DoctorContext:
    tokenizer = modeling.load_tokenizer(TOKENIZER)
    model = cut(subject.model, tokenizer)
    task, prompter = get_task("countdown"), Prompter(tokenizer, "r1_zero")
    problems = prompter.asked(task.load("train", 12, subject.data_seed))
    plan = replace(subject.plan, max_tokens=min(64, subject.plan.max_tokens), rewards=("accuracy", "format"))
    return DoctorContext(
        model=model, tokenizer=tokenizer, task=task, problems=problems, prompter=prompter,
        engine=local.LocalEngine(model, tokenizer),
        policy=policies.Policy(model), plan=plan, folder=subject.folder, to_examples=subject.to_examples,
        source=f"a miniature of {subject.source}", data_seed=subject.data_seed, _sizes=(TOKENS, 4),
    )  # fmt: skip


def cut(model: Any, tokenizer: Any) -> Any:
    """``model`` with some of its layers and as many rows of its embeddings as ``tokenizer`` has tokens."""
    from transformers import AutoModelForCausalLM

    config = copy.deepcopy(model.config)
    chosen = chosen_layers(config)
    for key, value in vars(config).items():  # what is said of each layer
        if isinstance(value, list) and len(value) == model.config.num_hidden_layers:
            setattr(config, key, [value[i] for i in chosen])
    config.num_hidden_layers = len(chosen)
    config.vocab_size = len(tokenizer)
    config.pad_token_id, config.eos_token_id = tokenizer.pad_token_id, tokenizer.eos_token_id
    config.bos_token_id = tokenizer.bos_token_id
    config._attn_implementation = "sdpa" if model._supports_sdpa else "eager"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        small: Any = AutoModelForCausalLM.from_config(config, dtype=next(model.parameters()).dtype)
    _fill(small, model, chosen)
    return small.to(next(model.parameters()).device).eval()


def chosen_layers(config: Any) -> list[int]:
    """The first layers, and the first of each kind that is not among them."""
    count = config.num_hidden_layers
    kinds = getattr(config, "layer_types", None) or [""] * count
    first = list(range(min(LAYERS, count)))
    others = [kinds.index(kind) for kind in dict.fromkeys(kinds)]
    return sorted({*first[: max(1, LAYERS - len(set(kinds)) + 1)], *others})


@torch.no_grad()
def _fill(small: Any, model: Any, chosen: list[int]) -> None:
    """Weights of the model: of the layers that were chosen, and rows from all over the vocabulary. What has another
    place or shape there stays as it was drawn."""
    source = model.state_dict()
    rows = len(model.get_input_embeddings().weight)
    for name, tensor in small.state_dict().items():
        number = re.search(r"\.(\d+)\.", name)
        there = name
        if number:
            there = f"{name[: number.start(1)]}{chosen[int(number[1])]}{name[number.end(1) :]}"
        values: Tensor | None = source.get(there)
        if values is not None and values.shape != tensor.shape and len(values) == rows:
            values = values[torch.linspace(rows // 50, rows - 1, len(tensor)).long()]
        if values is not None and values.shape == tensor.shape:
            tensor.copy_(values)
