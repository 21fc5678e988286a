"""A local model behind the server: what it samples is what the engine samples."""

from __future__ import annotations

import json
import queue
import socket
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from aha.sampling.client.endpoint import Client, Endpoint
from aha.sampling.client.engine import RemoteEngine, chat
from aha.sampling.client.refusals import TooLongError
from aha.sampling.engine import Request
from aha.sampling.http import Server
from aha.sampling.http.live import LiveEngine, LiveRequest
from aha.sampling.http.model import ModelBackend
from aha.sampling.local.engine import LocalEngine
from aha.sampling.sampler import SamplingParams
from aha.types import AhaError, Finish

PARAMS = SamplingParams(max_tokens=12)


@pytest.fixture
def served(model, tokenizer):
    with Server(ModelBackend(LocalEngine(model, tokenizer), tokenizer, "random")) as server:
        yield Client(Endpoint(server.url, "random"))


def test_tokens_in_tokens_out_and_company_changes_nothing(served, model, tokenizer):
    prompts = [tokenizer.encode(text, add_special_tokens=False) for text in ("1+2=", "wait, no. 13*4", "so ")]
    engine = RemoteEngine(served, token_ids=True)
    requests = [Request(ids, 2, i) for i, ids in enumerate(prompts)]
    together = dict(engine.generate(requests, PARAMS, seed=1))
    assert len(together) == 3
    fresh = Client(served.endpoint)
    for i, request in enumerate(requests):
        [(_, alone)] = list(RemoteEngine(fresh, token_ids=True).generate([request], PARAMS, seed=1))
        for a, b in zip(alone, together[i], strict=True):
            assert a.completion_ids.tolist() == b.completion_ids.tolist()
            assert a.prompt_ids.tolist() == prompts[i]
            assert len(a.logprobs) == len(a.completion_ids)
            assert (a.logprobs <= 0).all()
    assert together[0][0].completion_ids.tolist() != together[0][1].completion_ids.tolist()


def test_a_conversation_is_rendered_and_answered(served):
    reply = chat(served, [{"role": "user", "content": "1+1=?"}], max_tokens=8, temperature=0)
    assert 0 < reply.completion_tokens <= 8
    again = chat(Client(served.endpoint), [{"role": "user", "content": "1+1=?"}], max_tokens=8, temperature=0)
    assert again.text == reply.text


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"top_p": 7}, "out of range"),
        ({"temperature": "hot"}, "no number"),
    ],
)
def test_what_the_model_cannot_do_is_said(served, options, words):
    with pytest.raises(AhaError, match=words):
        chat(served, [{"role": "user", "content": "hi"}], **options)


def test_more_tokens_than_the_context_has_room_for_are_refused(served):
    """``chat`` asks again for as many as there is room for; what is sent as it stands is told."""
    asked = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 100_000}
    with pytest.raises(TooLongError, match="context") as refused:
        served.post("/chat/completions", asked)
    assert 0 < refused.value.limit.room < refused.value.limit.context < 100_000


# --- what a request may ask for ---------------------------------------------------------------------------


def post(client, path, **body):
    return client.post(path, {"max_tokens": 6, **body})


def texts(answer):
    return [c["text"] for c in answer["choices"]]


def stream(client, path, **body):
    """The events of a stream, read as they come."""
    data = json.dumps({"model": client.endpoint.model, "stream": True, **body}).encode()
    request = urllib.request.Request(client.endpoint.url(path), data, {"Content-Type": "application/json"})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=60) as response:
        for line in response:
            if line.startswith(b"data: ") and b"[DONE]" not in line:
                yield json.loads(line[6:])


def test_no_seed_is_a_fresh_draw_and_a_seed_is_always_the_same(served):
    fresh = {
        texts(Client(served.endpoint).post("/completions", {"prompt": "1+", "max_tokens": 12}))[0]
        for _ in range(5)
    }
    assert len(fresh) == 5
    seeded = [
        texts(Client(served.endpoint).post("/completions", {"prompt": "1+", "max_tokens": 12, "seed": 7}))[0]
        for _ in range(2)
    ]
    assert seeded[0] == seeded[1]


def test_lists_of_prompts_and_several_samples(served, tokenizer):
    ids = [tokenizer.encode(t, add_special_tokens=False) for t in ("1+2=", "so ")]
    many = post(served, "/completions", prompt=["1+2=", "so "], n=2, temperature=0)
    assert [c["index"] for c in many["choices"]] == [0, 1, 2, 3]
    assert texts(many) == texts(post(served, "/completions", prompt=ids, n=2, temperature=0))
    assert many["usage"]["prompt_tokens"] == sum(map(len, ids))


def test_echoed_prompts_have_transformers_log_probabilities(served, model, tokenizer):
    ids = tokenizer.encode("13*4+22=52+22=74 yes", add_special_tokens=False)
    (choice,) = post(served, "/completions", prompt=ids, echo=True, logprobs=3, max_tokens=1, temperature=0)[
        "choices"
    ]
    logprobs = choice["logprobs"]
    attention = model.config._attn_implementation
    model.set_attn_implementation("eager")
    with torch.no_grad():
        expected = torch.log_softmax(model(torch.tensor([ids])).logits[0].double(), -1)
    model.set_attn_implementation(attention)
    own = expected[:-1].gather(1, torch.tensor(ids)[1:, None])[:, 0]
    assert logprobs["token_logprobs"][0] is None
    assert logprobs["token_logprobs"][1 : len(ids)] == pytest.approx(own.tolist(), abs=2e-4)
    for at in range(1, len(ids)):
        best = expected[at - 1].topk(3).values.tolist()
        values = sorted(
            logprobs["top_logprobs"][at].values(), reverse=True
        )  # halves of characters have one text
        assert values[0] == pytest.approx(best[0], abs=2e-4)
        assert len(values) <= 3
    assert len(logprobs["tokens"]) == len(ids) + 1
    assert choice["text"].startswith("13*4+22=52+22=74 yes")
    two = post(served, "/completions", prompt=[ids[3:], ids], echo=True, logprobs=1, max_tokens=1)["choices"]
    assert two[1]["logprobs"]["token_logprobs"][1 : len(ids)] == pytest.approx(own.tolist(), abs=2e-4)
    ends = {str(tokenizer.eos_token_id): 100}  # as many scores as tokens, the end of text among them
    (ended,) = post(served, "/completions", prompt=ids, echo=True, logprobs=1, max_tokens=3, logit_bias=ends)[
        "choices"
    ]
    assert len(ended["logprobs"]["token_logprobs"]) == len(ids) + 1
    (only,) = post(served, "/completions", prompt=ids, echo=True, logprobs=0, max_tokens=0)["choices"]
    assert (len(only["logprobs"]["tokens"]), only["finish_reason"]) == (len(ids), "length")


def test_a_chats_logprobs_name_their_tokens(served):
    answer = post(
        served,
        "/chat/completions",
        messages=[{"role": "user", "content": "hi"}],
        logprobs=True,
        top_logprobs=2,
        temperature=0,
    )
    (choice,) = answer["choices"]
    for token in choice["logprobs"]["content"]:
        assert bytes(token["bytes"]).decode(errors="replace") == token["token"]
        assert token["top_logprobs"][0]["logprob"] == pytest.approx(token["logprob"], abs=1e-4), (
            "greedy takes the likeliest"
        )
        assert len(token["top_logprobs"]) == 2
    assert "".join(t["token"] for t in choice["logprobs"]["content"]).startswith(
        choice["message"]["content"][:3]
    )


def test_a_stream_is_the_whole_in_pieces(served):
    body = {"messages": [{"role": "user", "content": "13*4"}], "max_tokens": 30, "seed": 3}
    whole = served.post("/chat/completions", body)["choices"][0]
    chunks = list(stream(served, "/chat/completions", **body))
    deltas = [c for chunk in chunks for c in chunk["choices"]]
    said = "".join(c["delta"].get("content") or "" for c in deltas)
    assert said == whole["message"]["content"]
    assert len([c for c in deltas if c["delta"].get("content")]) > 3, "not all at once"
    assert deltas[-1]["finish_reason"] == whole["finish_reason"]
    text = {"prompt": "13*4", "max_tokens": 30, "seed": 3, "logprobs": 1, "n": 2}
    two = served.post("/completions", text)["choices"]
    parts = [c for chunk in stream(served, "/completions", **text) for c in chunk["choices"]]
    for i in (0, 1):
        own = [c for c in parts if c["index"] == i]
        assert "".join(c["text"] for c in own) == two[i]["text"]
        assert [t for c in own if c["logprobs"] for t in c["logprobs"]["tokens"]] == two[i]["logprobs"][
            "tokens"
        ]
        assert [o for c in own if c["logprobs"] for o in c["logprobs"]["text_offset"]] == two[i]["logprobs"][
            "text_offset"
        ]


def test_stop_strings_also_on_the_last_token_and_across_tokens(served):
    whole = texts(post(served, "/completions", prompt="13*4", max_tokens=24, seed=5))[0]
    for at in (3, 7, len(whole) - 2):
        stop = whole[at : at + 2]
        answer = post(served, "/completions", prompt="13*4", max_tokens=24, seed=5, stop=[stop])["choices"][0]
        assert answer["text"] == whole[: whole.index(stop)]
        assert answer["finish_reason"] == "stop"
        streamed = stream(served, "/completions", prompt="13*4", max_tokens=24, seed=5, stop=[stop])
        assert "".join(c["text"] for chunk in streamed for c in chunk["choices"]) == answer["text"]


class Says:
    """Makes a completion say given tokens, one after the other."""

    def __init__(self, ids):
        self.ids = ids

    def shape(self, logits, ids):
        logits.fill_(-torch.inf)
        logits[self.ids[len(ids)]] = 0.0


@pytest.mark.parametrize("at_the_end", [False, True])
def test_a_long_stop_string_of_many_bytes_is_found(model, tokenizer, at_the_end):
    """Nine characters that are three tokens each, also where the last allowed token completes them."""
    stop = "鳐鳕鳗鳘鳙鳚鳛鳜鳝"
    ids = tokenizer.encode(f"wait {stop}" + ("" if at_the_end else " and more"), add_special_tokens=False)
    assert len(tokenizer.encode(stop, add_special_tokens=False)) == 27
    params = SamplingParams(max_tokens=len(ids), stop=(stop,))
    done: queue.Queue = queue.Queue()
    job = LiveRequest(Request([5], 1, 0, params=params), done.put, shaper=lambda: [Says(ids)])
    LiveEngine(LocalEngine(model, tokenizer)).submit(job)
    (rollout,) = done.get(timeout=60)
    assert (rollout.text.strip(), rollout.finish) == ("wait", Finish.STOP)


def test_a_batch_that_cannot_begin_is_told_and_keeps_nobody_waiting(model, tokenizer):
    """As where memory is short: who asked is told, and the next one is answered."""
    live, real, results = LiveEngine(LocalEngine(model, tokenizer)), LiveEngine._fresh, queue.Queue()
    faults = [RuntimeError("out of memory")]
    live._fresh = lambda: (_ for _ in ()).throw(faults.pop()) if faults else real(live)
    for _ in range(2):
        live.submit(LiveRequest(Request([5], 1, 0, params=SamplingParams(max_tokens=3)), results.put))
    told = [results.get(timeout=60) for _ in range(2)]
    assert "out of memory" in str(told[0])
    live.submit(LiveRequest(Request([5], 1, 0, params=SamplingParams(max_tokens=3)), results.put))
    (rollout,) = results.get(timeout=60)
    assert 1 <= len(rollout.completion_ids) <= 3


def test_biases_and_penalties_change_what_is_said(served, tokenizer):
    only = tokenizer.encode("4", add_special_tokens=False)[0]
    biased = post(served, "/completions", prompt="1+2=", logit_bias={str(only): 100})
    assert texts(biased)[0] == tokenizer.decode([only] * 6)
    other = post(
        served,
        "/completions",
        prompt="1+2=",
        logit_bias={str(only): 9},
        frequency_penalty=2,
        presence_penalty=2,
        max_tokens=30,
        seed=1,
    )
    free = post(served, "/completions", prompt="1+2=", logit_bias={str(only): 9}, max_tokens=30, seed=1)
    assert texts(other)[0].count("4") < texts(free)[0].count("4")
    with pytest.raises(AhaError, match="logit_bias"):
        post(served, "/completions", prompt="1", logit_bias={"99999999": 1})


def test_requests_of_all_kinds_share_one_batch(served):
    """Each answers as it would alone, whatever runs beside it."""
    kinds = [
        {"temperature": t, "seed": s, "max_tokens": m}
        for t in (0, 0.7, 1.0)
        for s, m in ((1, 5), (2, 17), (3, 40))
    ]
    alone = [texts(Client(served.endpoint).post("/completions", {"prompt": "7*8", **k}))[0] for k in kinds]
    with ThreadPoolExecutor(9) as pool:
        fresh = Client(served.endpoint)
        together = list(
            pool.map(lambda k: texts(fresh.post("/completions", {"prompt": "7*8", **k}))[0], kinds)
        )
    assert together == alone


def test_a_client_that_leaves_stops_its_request(model, tokenizer):
    backend = ModelBackend(LocalEngine(model, tokenizer), tokenizer, "random")
    seen: list[LiveRequest] = []
    submit = backend.live.submit
    backend.live.submit = lambda job: (seen.append(job), submit(job))[1]
    with Server(backend) as server:
        host, port = server.url.split("//")[1].split("/")[0].split(":")
        for extra in ({}, {"stream": True}):
            body = json.dumps(
                {
                    "model": "random",
                    "prompt": "1",
                    "max_tokens": 400,
                    "n": 4,
                    "logit_bias": no_end(tokenizer),
                    **extra,
                }
            ).encode()
            with socket.create_connection((host, int(port))) as connection:
                connection.sendall(
                    b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b"
                    % (len(body), body)
                )
                deadline = time.monotonic() + 120
                while not seen and time.monotonic() < deadline:
                    time.sleep(0.01)
            while not (seen and seen[-1].cancelled) and time.monotonic() < deadline:
                time.sleep(0.02)
            assert seen.pop().cancelled
        assert texts(
            Client(Endpoint(server.url, "random")).post("/completions", {"prompt": "1", "max_tokens": 3})
        )


def no_end(tokenizer):
    return {str(tokenizer.eos_token_id): -100}


@pytest.mark.parametrize("size", [40, 200])
def test_many_streams_at_once(served, size):
    def read(i):
        chunks = stream(served, "/completions", prompt=f"{i}+1=", max_tokens=12, seed=i)
        return "".join(c["text"] for chunk in chunks for c in chunk["choices"])

    with ThreadPoolExecutor(size) as pool:
        answers = list(pool.map(read, range(size)))
    fresh = Client(served.endpoint)
    for i in range(0, size, 20):
        assert (
            answers[i]
            == texts(fresh.post("/completions", {"prompt": f"{i}+1=", "max_tokens": 12, "seed": i}))[0]
        )


SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 5},
        "age": {"type": "integer", "minimum": 0, "maximum": 99},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}


def test_a_schema_is_kept_by_a_model_that_knows_no_json(served_smollm2):
    form = {"type": "json_schema", "json_schema": {"name": "person", "schema": SCHEMA, "strict": True}}
    for seed in range(3):
        answer = served_smollm2.post(
            "/chat/completions",
            {
                "messages": [{"role": "user", "content": "Who?"}],
                "response_format": form,
                "max_tokens": 60,
                "seed": seed,
            },
        )
        parsed = json.loads(answer["choices"][0]["message"]["content"])
        assert set(parsed) == {"name", "age"}
        assert 0 <= parsed["age"] <= 99
        assert answer["choices"][0]["finish_reason"] == "stop"


def test_a_forced_tool_is_called(served_smollm2):
    tool = {
        "type": "function",
        "function": {
            "name": "weather",
            "parameters": {
                "type": "object",
                "properties": {"city": {"enum": ["Ulm", "Bonn"]}},
                "required": ["city"],
                "additionalProperties": False,
            },
        },
    }
    body = {
        "messages": [{"role": "user", "content": "Weather?"}],
        "tools": [tool],
        "tool_choice": "required",
        "max_tokens": 40,
        "seed": 1,
    }
    choice = served_smollm2.post("/chat/completions", body)["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    (call,) = choice["message"]["tool_calls"]
    assert call["function"]["name"] == "weather"
    assert json.loads(call["function"]["arguments"])["city"] in ("Ulm", "Bonn")
    deltas = [c for chunk in stream(served_smollm2, "/chat/completions", **body) for c in chunk["choices"]]
    (streamed,) = [c["delta"]["tool_calls"][0] for c in deltas if c["delta"].get("tool_calls")]
    assert streamed["function"] == call["function"]
    assert deltas[-1]["finish_reason"] == "tool_calls"


def test_a_schema_that_cannot_be_kept_is_refused(served_smollm2):
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "nonsense"}}}
    with pytest.raises(AhaError, match="schema cannot be kept"):
        served_smollm2.post(
            "/chat/completions", {"messages": [{"role": "user", "content": "?"}], "response_format": form}
        )


@pytest.fixture
def served_smollm2(smollm2_server):
    return Client(Endpoint(smollm2_server.url, "smollm2"))
