"""Handing a checkpoint over to vLLM's own server: what it is told, and, where vLLM is installed, that it does it."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from aha import chat, modeling
from aha.cli import main
from aha.sampling.client.endpoint import Client, Endpoint
from aha.sampling.http import Server
from aha.sampling.http.model import ModelBackend
from aha.sampling.local.engine import LocalEngine
from aha.sampling.serving import Serving
from aha.sampling.vllm.serving import VllmServer, prepared
from aha.types import AhaError

QUESTIONS = (
    "24 7 3 -> 171",
    "Using the numbers [3, 5, 7], create an equation that equals 22.",
    "What is 2 + 2?",
)


def words_of(words, name):
    return words[words.index(name) + 1]


@pytest.mark.parametrize("prompt", ["auto", "boxed", "bare"])
def test_vllm_is_told_the_prompt_and_what_ends_an_answer(tmp_path, prompt):
    tokenizer = modeling.load_tokenizer("tiny")
    chosen, words = prepared(Serving("tiny", "t", prompt, more=("--max-num-seqs", "4")), tmp_path, 8123)
    template = Path(words_of(words, "--chat-template")).read_text()
    asked = [{"role": "user", "content": QUESTIONS[0]}]
    told = chat.render(asked, tokenizer, prompt=chat.Prompt("told", words=template))
    expected = chat.encode_prompt(chat.render(asked, tokenizer, prompt=chosen), tokenizer)
    assert tokenizer.encode(told.text, add_special_tokens=False) == expected
    kept = json.loads((Path(words_of(words, "--generation-config")) / "generation_config.json").read_text())
    assert kept == {"eos_token_id": sorted(chat.stop_ids(tokenizer))}
    assert words[-2:] == ["--max-num-seqs", "4"]
    assert words_of(words, "--port") == "8123"


def test_the_form_of_calls_is_known_from_the_template(tmp_path, tokenizer):
    own = "{% if tools %}<tool_call>{% endif %}{% for m in messages %}{{ m.content }}{% endfor %}"
    file = tmp_path / "own.jinja"
    file.write_text(own)
    _, words = prepared(Serving("tiny", "t", str(file)), tmp_path, 1)
    assert words_of(words, "--tool-call-parser") == "hermes"
    _, words = prepared(Serving("tiny", "t", str(file), more=("--tool-call-parser", "mistral")), tmp_path, 1)
    assert words.count("--tool-call-parser") == 1


def test_without_vllm_the_way_to_it_is_named(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("AHA_PEERS", str(tmp_path))
    monkeypatch.delenv("AHA_VLLM_PYTHON", raising=False)
    assert main(["serve", "tiny", "--engine", "vllm", "--port", "0"]) == 1
    assert "aha bench peers install vllm" in capsys.readouterr().err
    assert main(["serve", "tiny", "--vllm-args=--max-num-seqs 4"]) == 1
    assert main(["serve", "tiny", "--engine", "vllm", "--guard", "self"]) == 1
    assert "--guard" in capsys.readouterr().err
    assert main(["serve", "tiny", "--engine", "vllm", "--max-tokens", "64"]) == 1
    assert "Name max_tokens in requests" in capsys.readouterr().err
    assert main(["serve", "tiny", "--guard-everything"]) == 1
    assert "--guard" in capsys.readouterr().err
    assert main(["serve", "tiny", "--engine", "vllm", "--vllm-args", "--served 'x"]) == 1
    assert "no words of a command line" in capsys.readouterr().err


def test_a_server_that_does_not_start_shows_its_last_words(monkeypatch):
    """A Python that has no vLLM, really started."""
    monkeypatch.setenv("AHA_VLLM_PYTHON", sys.executable)
    with VllmServer(Serving("tiny", "t", port=0)) as server:
        folder = server.folder
        with pytest.raises(AhaError, match="No module named 'vllm'"):
            server.wait()
    assert not folder.exists()


# --- for real ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def both():
    """The same base behind vLLM's server and behind ours, in float32."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    model, tokenizer = modeling.load_model("tiny"), modeling.load_tokenizer("tiny")
    try:
        server = VllmServer(
            Serving("tiny", "tiny", port=0, dtype="float32", threads=1, more=("--max-num-seqs", "8"))
        )
    except AhaError as error:
        pytest.skip(str(error))
    with server, Server(ModelBackend(LocalEngine(model, tokenizer), tokenizer, "tiny")) as ours:
        server.wait()
        yield Client(Endpoint(server.url, "tiny")), Client(Endpoint(ours.url, "tiny"))


@pytest.mark.peers
@pytest.mark.parametrize("question", QUESTIONS)
def test_vllm_answers_as_our_own_engine_does(both, question):
    """Greedy, in float32: the same prompt, word for word the same answer, and the same end."""
    body = {"messages": [{"role": "user", "content": question}], "temperature": 0, "max_tokens": 60}
    theirs, ours = (client.post("/chat/completions", dict(body)) for client in both)

    def said(answer):
        message = answer["choices"][0]["message"]
        thought = message.get("reasoning") or message.get("reasoning_content") or ""
        return "".join((thought + (message["content"] or "")).split())

    def plain(text):
        for tag in ("<think>", "</think>"):
            text = text.replace(tag, "")
        return text

    assert theirs["usage"] == {**theirs["usage"], **ours["usage"]}
    assert plain(said(theirs)) == plain(said(ours))
    assert theirs["choices"][0]["finish_reason"] == ours["choices"][0]["finish_reason"]


@pytest.mark.peers
def test_vllm_draws_by_the_requests_settings_alone(both):
    """No temperature asked is 1, whatever the checkpoint's generation config says: eight draws differ."""
    body = {"messages": [{"role": "user", "content": QUESTIONS[0]}], "n": 8, "max_tokens": 40}
    texts = {c["message"]["content"] for c in both[0].post("/chat/completions", body)["choices"]}
    assert len(texts) > 1
