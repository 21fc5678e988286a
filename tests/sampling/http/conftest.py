"""One server of a real model for all tests that need one."""

from __future__ import annotations

import pytest
import torch

from aha import modeling
from aha.sampling.http import Server
from aha.sampling.http.model import ModelBackend
from aha.sampling.local.engine import LocalEngine


@pytest.fixture(scope="session")
def smollm2_server(smollm2):
    """SmolLM2-135M-Instruct, served as ``smollm2``."""
    model = modeling.load_model(str(smollm2), dtype=torch.bfloat16)
    tokenizer = modeling.load_tokenizer(str(smollm2))
    with Server(ModelBackend(LocalEngine(model, tokenizer), tokenizer, "smollm2")) as server:
        yield server
