"""Models and tokenizers made on the spot: small, random, of stock architectures."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

if "PYTEST_XDIST_WORKER" in os.environ:  # another worker has the other cores
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
from hypothesis import HealthCheck, settings

from aha.corpus import tiny
from aha.corpus import tokenizer as tiny_tokenizer

# The same examples every time, on a busy machine too: a suite that fails must fail again.
# HYPOTHESIS_PROFILE=default explores.
settings.register_profile(
    "repeatable", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))


LONGEST = (
    "stages/test_rl.py", "stages/test_r1_recipe.py", "training/test_local_ranks.py", "training/test_context_ranks.py",
    "training/test_ranks.py", "sandbox/test_sandbox.py", "test_tutorials.py", "stages/test_r1_asked.py",
    "api/test_api.py", "stages/test_resumed.py",
)  # fmt: skip
"""Files that take longest, longest first: begun first, they do not keep one core busy when all others are done."""


def pytest_collection_modifyitems(items):
    """The longest files first, the others in their order."""
    place = {name: number for number, name in enumerate(LONGEST)}

    def rank(item):
        path = item.path.as_posix()
        return next((n for name, n in place.items() if path.endswith(f"tests/{name}")), len(place))

    items.sort(key=rank)


def pytest_collection_finish():
    """What imports and collection made stays until the end: the collector need not look at it after each module."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def memory_is_given_back():
    """A process runs hundreds of modules: what one leaves behind goes back to the machine."""
    yield
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # glibc's own
        ctypes.CDLL("libc.so.6").malloc_trim(0)


@pytest.fixture(scope="session")
def tokenizer():
    return tiny_tokenizer.build(tiny.documents("tests", 2000))


def make_model(tokenizer, dtype=torch.float32, seed=0, family="llama", **changes):
    """A random model of a stock family with the tiny tokenizer's vocabulary."""
    from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config, Qwen3Config

    config_type = {"llama": LlamaConfig, "qwen2": Qwen2Config, "qwen3": Qwen3Config}[family]
    settings = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "max_position_embeddings": 512,
        "tie_word_embeddings": True,
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "initializer_range": 0.2,  # far from uniform, so that a wrong position or mask shows
    } | changes
    torch.manual_seed(seed)
    return AutoModelForCausalLM.from_config(config_type(**settings), dtype=torch.float32).to(dtype).eval()


def make_experts(tokenizer):
    """A random mixture of experts, whose checkpoints have them apart and which itself holds them together."""
    from transformers import AutoModelForCausalLM, Qwen3MoeConfig

    torch.manual_seed(1)
    config = Qwen3MoeConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, moe_intermediate_size=16, num_experts=4,
        num_experts_per_tok=2, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1, head_dim=8,
    )  # fmt: skip
    return AutoModelForCausalLM.from_config(config)


@pytest.fixture
def model(tokenizer):
    return make_model(tokenizer)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory, tokenizer):
    """A folder with a random Llama and the tiny tokenizer."""
    folder = tmp_path_factory.mktemp("model") / "random-base"
    make_model(tokenizer).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _public(name):
    """The folder of a pretrained model's checkpoint, which pip brings and one process converts at the first use."""
    from aha.checkpoints import public
    from aha.modeling import quiet_transformers

    quiet_transformers()
    return public.checkpoint(name)


@pytest.fixture(scope="session")
def smollm2():
    """SmolLM2-135M-Instruct: a Llama of 30 layers with a ChatML template."""
    return _public("smollm2")


@pytest.fixture(scope="session")
def smollm2_server(smollm2):
    """SmolLM2-135M-Instruct, served as ``smollm2``."""
    from aha import hardware, modeling
    from aha.sampling.http import Server
    from aha.sampling.http.model import ModelBackend
    from aha.sampling.local.engine import LocalEngine

    model = modeling.load_model(str(smollm2), dtype=hardware.pick_dtype())
    tokenizer = modeling.load_tokenizer(str(smollm2))
    with Server(ModelBackend(LocalEngine(model, tokenizer), tokenizer, "smollm2")) as server:
        yield server


@pytest.fixture(scope="session")
def qwen():
    """Qwen2.5-Coder-0.5B-Instruct. Only for tests that are marked ``real``."""
    return _public("qwen")


@pytest.fixture(scope="session")
def gemma3():
    """Gemma 3 270M, a base model. Only for tests that are marked ``real``."""
    return _public("gemma3")


VECTORS = {"native": None, "eight lanes": ("-mavx2", "-mfma"), "four lanes": ()}
"""Flags of the compiler for the vectors of other CPUs."""


@pytest.fixture(params=VECTORS)
def lanes(request, monkeypatch):
    """The kernels compiled for this CPU, and for the vectors of others."""
    from aha.kernels import build, dispatch

    flags = VECTORS[request.param]
    if flags is not None:
        if build.platform.machine() != "x86_64":
            pytest.skip("its flags are of x86-64")
        kept = [flag for flag in build.FLAGS if flag != "-march=native"]
        monkeypatch.setattr(build, "FLAGS", (*kept, *flags))
    build.library.cache_clear()
    dispatch._function.cache_clear()
    yield request.param
    build.library.cache_clear()
    dispatch._function.cache_clear()
