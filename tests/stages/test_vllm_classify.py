"""A reward model behind vLLM's server: requests and answers as vLLM's own sources (from 0.16 on) have them. vLLM itself
does not run here; what stands in its place holds to that form."""

from __future__ import annotations

import json
import math
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from aha.runs.pipeline import Context
from aha.stages.supervised.scorers import open_scorer
from aha.types import AhaError

FIELDS = {
    "model", "user", "messages", "truncate_prompt_tokens", "truncation_side", "padding", "request_id", "priority",
    "mm_processor_kwargs", "cache_salt", "add_generation_prompt", "continue_final_message", "add_special_tokens",
    "chat_template", "chat_template_kwargs", "media_io_kwargs", "use_activation",
}  # fmt: skip
"""What ``ClassificationChatRequest`` declares; others it drops without a word."""
ASKED = ({"role": "system", "content": "Be brief."}, {"role": "user", "content": "1 + 2?"})
LONGEST = 12


def raw(messages):
    """The head's outputs: two numbers of the conversation."""
    said = messages[-1]["content"]
    return [len(said) / 4 - 3, float(len(messages))]


class Classify(BaseHTTPRequestHandler):
    outputs, seen = 1, []

    def log_message(self, *args):
        pass

    def answer(self, status, body):
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_GET(self):
        card = {"id": "org/head", "object": "model", "created": 1, "owned_by": "vllm", "root": "org/head",
                "parent": None, "max_model_len": LONGEST, "permission": []}  # fmt: skip
        known = self.path == "/v1/models"
        self.answer(
            200 if known else 404, {"object": "list", "data": [card]} if known else {"detail": "Not Found"}
        )

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.seen.append(body)
        if self.path != "/classify":  # it has no /v1/classify
            return self.answer(404, {"detail": "Not Found"})
        if len(body["messages"][-1]["content"].split()) > LONGEST:
            told = (
                f"This model's maximum context length is {LONGEST} tokens. However, you requested 99 tokens in the "
                "input for classification. Please reduce the length of the input."
            )
            error = {"message": told, "type": "BadRequestError", "param": None, "code": 400}
            return self.answer(400, {"error": error})
        probs = raw(body["messages"])[: self.outputs]
        if body.get("use_activation") is not False:
            probs = [1 / (1 + math.exp(-p)) for p in probs]
        data = [{"index": 0, "label": "LABEL_0", "probs": probs, "num_classes": len(probs)}]
        usage = {"prompt_tokens": 9, "total_tokens": 9, "completion_tokens": 0, "prompt_tokens_details": None}
        whole = {"id": "classify-9bf1", "object": "list", "created": 1745383213, "model": "org/head"}
        return self.answer(200, whole | {"data": data, "usage": usage})


@pytest.fixture
def vllm(monkeypatch):
    monkeypatch.setattr(Classify, "seen", [])
    server = ThreadingHTTPServer(("127.0.0.1", 0), Classify)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1#org/head"
    server.shutdown()
    server.server_close()


def opened(address, folder, scale="raw"):
    return open_scorer(address, Context(folder, plain=True), "safety", scale)


def test_scores_are_the_heads_own_numbers(vllm, tmp_path):
    said = ["yes", "It is three.", "word " * 40]
    assert opened(vllm, tmp_path).scores(ASKED, said) == [3 / 4 - 3, 0.0, None]
    for body in Classify.seen:
        assert body.keys() <= FIELDS, "vLLM would drop the others"
        assert body["model"] == "org/head"
        assert [m["role"] for m in body["messages"]] == ["system", "user", "assistant"]


def test_of_several_outputs_one_is_numbered(vllm, tmp_path, monkeypatch):
    monkeypatch.setattr(Classify, "outputs", 2)
    assert opened(f"{vllm}@1", tmp_path).scores(ASKED, ["yes"]) == [3.0]
    with pytest.raises(AhaError, match="has 2 outputs: which is the score"):
        opened(vllm, tmp_path).scores(ASKED, ["yes"])
