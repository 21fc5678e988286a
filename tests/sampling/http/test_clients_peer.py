"""The `openai` package and LangChain for real, in an environment of their own, against a served model:
`python3 -m venv .peers/clients; .peers/clients/bin/pip install openai langchain-openai` makes it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from aha.bench import peers

pytestmark = pytest.mark.peers


def test_real_clients_get_what_they_ask_for(smollm2_server):
    python = peers.folder("clients") / "bin" / "python"
    if not python.exists():
        pytest.skip(f"the clients are not installed: {python}")
    words = [python, Path(__file__).with_name("clients_driver.py"), smollm2_server.url, "smollm2"]
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr[-3000:]
    results = json.loads(done.stdout.splitlines()[-1])
    assert results["models"] == ["smollm2"]
    streamed, whole, tokens = results["stream"]
    assert streamed == whole
    assert 0 < tokens <= 12
    assert 0 < results["logprobs"] <= 12
    assert set(results["n"]) <= {"stop", "length"}
    assert len(results["n"]) == 3
    assert results["parsed"].keys() == {"name", "age"}
    assert results["tool"] == results["bound"] == "weather"
    assert results["refused"] == "top_p"
    assert results["langchain"] == [whole, tokens]
    assert results["json_schema"] == results["function_calling"] == "Person"
    assert results["after"] == "ai"
