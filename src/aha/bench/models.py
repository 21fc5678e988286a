"""The model of a benchmark: a checkpoint, or random weights of a named shape made on the spot."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aha.hints import nearest
from aha.options import whole
from aha.types import AhaError

if TYPE_CHECKING:
    import torch

_QWEN = {"vocab_size": 151_936, "max_position_embeddings": 32_768, "rope_theta": 1_000_000.0}
_TOY = {"vocab_size": 128, "max_position_embeddings": 32_768, "rope_theta": 10_000.0}
SHAPES: dict[str, dict[str, Any]] = {
    # A toy that runs anywhere in a moment: for trying a command, not for figures.
    "tiny": _TOY
    | {
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "intermediate_size": 128,
    },
    # 4.8 million parameters.
    "small": _TOY
    | {
        "hidden_size": 256,
        "num_hidden_layers": 6,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 768,
    },
    # The published configurations of Qwen2.5.
    "qwen2.5-0.5b": _QWEN
    | {
        "hidden_size": 896,
        "num_hidden_layers": 24,
        "num_attention_heads": 14,
        "num_key_value_heads": 2,
        "intermediate_size": 4864,
    },
    "qwen2.5-1.5b": _QWEN
    | {
        "hidden_size": 1536,
        "num_hidden_layers": 28,
        "num_attention_heads": 12,
        "num_key_value_heads": 2,
        "intermediate_size": 8960,
    },
}


@dataclass(frozen=True, slots=True)
class BenchModel:
    """What is measured: a model on its device, its tokenizer, and what to call it."""

    model: Any
    tokenizer: Any
    name: str
    device: torch.device
    dtype: torch.dtype

    def describe(self) -> dict[str, Any]:
        """What a figure must be read with."""
        return {
            "name": self.name,
            "parameters": sum(p.numel() for p in self.model.parameters()),
            "dtype": str(self.dtype).removeprefix("torch."),
            "device": str(self.device),
        }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options that every benchmark with a model shares."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--model", default="tiny", help="tiny, a folder or a hub name (default: %(default)s)")
    which.add_argument("--shape", choices=tuple(SHAPES), help="random weights of this shape instead")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N, mps")
    parser.add_argument("--dtype", default="auto", help="auto, bfloat16, float32")
    parser.add_argument("--threads", type=whole(), default=0, help="CPU threads (default: every core)")


def load(args: argparse.Namespace) -> BenchModel:
    """The model that the options name, ready to run. Raises AhaError if it cannot be had."""
    from aha import hardware, modeling

    hardware.set_threads(args.threads)
    device = hardware.pick_device(args.device)
    dtype = hardware.pick_dtype(args.dtype, device)
    if args.shape:
        modeling.quiet_transformers()
        return BenchModel(
            random_model(args.shape, device, dtype), random_tokenizer(args.shape), args.shape, device, dtype
        )
    model = modeling.load_model(args.model, device, dtype)
    name = Path(args.model).name if Path(args.model).is_dir() else args.model
    return BenchModel(model, modeling.load_tokenizer(args.model), name, device, dtype)


def random_model(shape: str, device: torch.device | str, dtype: torch.dtype) -> Any:
    """A Qwen2 of that shape with random weights, the same every time. Raises AhaError for unknown shapes."""
    import torch
    from transformers import AutoModelForCausalLM, Qwen2Config

    if shape not in SHAPES:
        raise AhaError(f"Unknown shape '{shape}'. {nearest(shape, SHAPES)}")
    settings = dict(SHAPES[shape])
    rope = {"rope_type": "default", "rope_theta": settings.pop("rope_theta")}
    eos = settings["vocab_size"] - 1
    config = Qwen2Config(
        **settings,
        rope_parameters=rope,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=eos,
        pad_token_id=eos - 1,
    )
    torch.manual_seed(0)
    with torch.device(device):
        model: Any = AutoModelForCausalLM.from_config(config, dtype=dtype)
    return model.to(device).eval()


def random_tokenizer(shape: str) -> Any:
    """One word for each id, so that text and ids say the same: word ``t17`` is token 17."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    size = SHAPES[shape]["vocab_size"]
    words = [f"t{i}" for i in range(size - 2)] + ["<|pad|>", "<|end|>"]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="t0"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # type: ignore[assignment]
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|end|>",
        pad_token="<|pad|>",
        clean_up_tokenization_spaces=False,
    )


def random_prompts(subject: BenchModel, count: int, length: int) -> list[list[int]]:
    """Token ids [count][length], the same every time; none of them ends or pads a text."""
    import numpy as np

    size = min(subject.model.config.vocab_size, len(subject.tokenizer))
    special = set(subject.tokenizer.all_special_ids)
    usable = np.array([i for i in range(size) if i not in special])
    return np.random.default_rng(0).choice(usable, (count, length)).tolist()


def prompt_texts(subject: BenchModel, count: int, length: int) -> list[str]:
    """Prompts as text, each of about ``length`` tokens: for programs that take no ids."""
    import numpy as np

    rng = np.random.default_rng(0)
    texts = []
    for _ in range(count):
        if subject.name in SHAPES:
            words = [f"t{i}" for i in rng.integers(0, SHAPES[subject.name]["vocab_size"] - 2, length)]
            texts.append(" ".join(words))
            continue
        sentence = "Using the numbers {}, {} and {}, create an equation that equals {}. "
        text = "".join(sentence.format(*rng.integers(1, 100, 4)) for _ in range(1 + length // 8))
        ids = subject.tokenizer.encode(text, add_special_tokens=False)[:length]
        texts.append(subject.tokenizer.decode(ids).strip())
    return texts


def save(subject: BenchModel, folder: Path) -> Path:
    """A Hugging Face checkpoint of the subject, for programs that load their own."""
    subject.model.save_pretrained(folder)
    subject.tokenizer.save_pretrained(folder)
    return folder
