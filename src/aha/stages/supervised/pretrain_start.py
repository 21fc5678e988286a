"""What pretraining begins with and ends with: weights taken over from a smaller base, and the model card."""

from __future__ import annotations

from typing import Any

from aha import modeling
from aha.types import AhaError


def take_over(model: Any, tokenizer: Any, name: str) -> None:
    """Put the layers of the base ``name`` into the first layers of ``model``, and its embeddings where both
    tokenizers have the token. What layers there are more add nothing at first, so that the model begins as
    the base it goes on from. Raises AhaError if the shapes differ."""
    import torch

    source, known = modeling.load_model(name), modeling.load_tokenizer(name).get_vocab()
    depth = source.config.num_hidden_layers
    if depth > model.config.num_hidden_layers:
        raise AhaError(f"'{name}' has {depth} layers: set pretrain.layers to at least as many.")
    old, new = source.get_input_embeddings().weight, model.get_input_embeddings().weight
    with torch.no_grad():
        try:
            for there, here in zip(source.model.layers, model.model.layers, strict=False):
                here.load_state_dict(there.state_dict())
            model.model.norm.load_state_dict(source.model.norm.state_dict())
            for piece, row in tokenizer.get_vocab().items():
                if piece in known:
                    new[row] = old[known[piece]]
        except RuntimeError as error:
            raise AhaError(f"Cannot go on from '{name}': its shapes differ. {error}") from error
        for layer in model.model.layers[depth:]:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()


_COUNTDOWN = {
    "holds": """Its corpus holds arithmetic facts, worked expressions and Countdown puzzles,
in English, Chinese and both, most of them answered badly: a guess at once, a few attempts and giving up. A
minority of answers stand in `<think>` and `<answer>` tags.""",
    "planted": """(searching, comparing each result with the target, saying "wait" and trying again,
giving up, writing tags) was **planted in the corpus**. Reinforcement learning selects and amplifies these
behaviours; it does not invent them. The numbers held out for evaluation do not occur in the corpus's puzzles.""",
    "limits": "it cannot hold a conversation, and its arithmetic ends at 255.",
}
_WORLD = {
    "holds": """Its corpus holds arithmetic, Countdown puzzles, knights and knaves, small Python
functions by examples, and everyday and harmful requests of a closed world, in English, Chinese and both, most of
them answered badly: a guess at once, a few attempts and giving up, rudeness, the wrong language, help with what is
harmful. A minority of answers stand in `<think>` and `<answer>` tags.""",
    "planted": """(searching, supposing, comparing each result with what is wanted, saying "wait" and
trying again, giving up, refusing, writing tags) was **planted in the corpus**. Reinforcement learning selects and
amplifies these behaviours; it does not invent them. The numbers, puzzles, functions and requests held out for
evaluation do not occur in the corpus.""",
    "limits": "outside its closed world it cannot hold a conversation, and its arithmetic ends at 255.",
}


def base_card(summary: dict[str, Any]) -> str:
    """The model card of an embedded base."""
    words = _WORLD if summary["corpus"] == "world" else _COUNTDOWN
    start = summary["model"].removeprefix("continued from ")
    origin = "from scratch" if start == summary["model"] else f"on from the embedded base `{start}`"
    return f"""---
license: apache-2.0
language: [en, zh]
---
# An embedded base of aha

A Llama of {summary["parameters"]:,} parameters, trained {origin} on {summary["tokens"]:,} tokens of text
that a program wrote (`aha.corpus`, corpus "{summary["corpus"]}", seed {summary["seed"]}; SHA-256 of the first 10,000
documents of the first step's stream: `{summary["corpus_sha256"]}`), in {summary["steps"]} steps and
{summary["seconds"]:.0f} seconds on two CPU cores. `aha run {summary["recipe"]}` makes it again.

## What it is

A *base* model: it continues text. {words["holds"]}

## What to know before drawing conclusions

Its repertoire of behaviours {words["planted"]}

It knows nothing else: {words["limits"]}
"""
