"""The client against a real server on loopback, in all the ways an endpoint fails."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import numpy as np
import pytest
from scripted import ASK, KEY, Scripted, client, cut, good

from aha.sampling.client import engine as remote
from aha.sampling.client.endpoint import Endpoint
from aha.sampling.client.engine import ChatPrompter, ChatRequest, RemoteEngine, chat, complete, complete_many
from aha.sampling.client.metering import AnswerCache, Bill, RateLimit, request_key
from aha.types import AhaError, Finish, Problem


def test_a_plain_answer_and_what_was_sent(monkeypatch):
    monkeypatch.setenv(KEY, "secret-key")
    with Scripted(good()) as server:
        c = client(server, price_in=1.0, price_out=10.0, options={"seed": 7})
        assert complete(c, ASK, temperature=0.5) == "hello"
    path, body, headers = server.requests[0]
    assert path == "/v1/chat/completions"
    assert body == {"model": "m", "messages": ASK, "temperature": 0.5, "seed": 7}
    assert headers["Authorization"] == "Bearer secret-key"
    assert c.usage.as_dict() == {
        "requests": 1, "retries": 0, "cached": 0, "prompt_tokens": 10, "completion_tokens": 4,
        "cost": pytest.approx((10 * 1 + 4 * 10) / 1e6),
    }  # fmt: skip


@pytest.mark.parametrize(
    "failure",
    [
        (500, {"error": {"message": "oops"}}),
        (429, {"error": {"message": "slow down"}}),
        (503, b"<html>gateway</html>"),
        cut,
        (200, b'{"choices": [truncated'),
        (200, b"[1]"),
        (200, {"error": {"message": "upstream"}}),
        (200, {"id": "x", "usage": {}}),
        (200, {"choices": []}),
        (200, {"choices": [{"message": {"role": "assistant", "content": None}, "finish_reason": "stop"}]}),
        (200, {"choices": [{"message": None, "finish_reason": "stop"}]}),
    ],
    ids=[
        "500",
        "429",
        "503",
        "cut",
        "malformed",
        "not-an-object",
        "error-in-200",
        "no-choices",
        "empty",
        "null",
        "nothing",
    ],
)
def test_what_may_pass_is_tried_again(failure):
    sleeps = []
    with Scripted(failure, failure, good()) as server:
        c = client(server, sleeps=sleeps)
        assert complete(c, ASK) == "hello"
    assert len(server.requests) == 3
    assert (c.usage.requests, c.usage.retries) == (1, 2)
    assert sleeps == [0.5, 1.0], "the wait doubles"


def test_an_answer_that_says_nothing_is_never_kept(tmp_path):
    """Neither now nor where an earlier version put one into the cache."""
    path, nothing = (
        tmp_path / "cache.jsonl",
        {"choices": [{"message": {"content": None}, "finish_reason": "stop"}]},
    )
    with Scripted(nothing) as server:
        c = client(server, path, attempts=2)
        with pytest.raises(AhaError, match="neither content nor reasoning"):
            complete(c, ASK)
        assert not path.exists() or "null" not in path.read_text()
        c.cache.put(request_key("/chat/completions", {"model": "m", "messages": ASK}), nothing)
    with Scripted(good("at last")) as server:
        assert complete(client(server, path), ASK) == "at last"


@pytest.mark.parametrize(
    ("content", "text", "thought"),
    [
        ([{"type": "text", "text": "one "}, {"type": "text", "text": "two"}], "one two", None),
        ([{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"text": "4"}], "4", "hm"),
        ([{"type": "reasoning", "text": "hm"}, "4"], "4", "hm"),
    ],
)  # fmt: skip
def test_contents_in_parts_are_read(content, text, thought):
    (reply,) = remote.read_replies({"choices": [{"message": {"content": content}, "finish_reason": "stop"}]})
    assert (reply.content, reply.reasoning) == (text, thought)


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (401, {"error": {"message": "bad key"}}, f"(401: bad key). The environment variable {KEY} is not set"),
        (404, {"error": {"message": "no model"}}, "Is the model 'm' served there"),
        (400, {"error": {"message": "too long"}}, "refused the request (400: too long)"),
        (429, {"error": {"message": "x", "code": "insufficient_quota"}}, "quota is used up"),
        (302, b"", "redirects to"),
    ],
)  # fmt: skip
def test_what_will_not_pass_is_said_at_once(status, body, words):
    with Scripted((status, body)) as server, pytest.raises(AhaError) as error:
        complete(client(server), ASK)
    assert words in str(error.value)
    assert server.url in str(error.value)
    assert len(server.requests) == 1
    if status == 404:
        assert "Served there: served-model." in str(error.value)


def test_exhaustion_names_cause_and_way_out():
    with Scripted((429, {"error": {"message": "busy"}})) as server, pytest.raises(AhaError) as error:
        complete(client(server), ASK)
    assert "no answer in 4 attempts; the last: status 429: busy" in str(error.value)
    assert "requests_per_minute" in str(error.value)


def test_nothing_listens():
    with Scripted(good()) as server:
        pass
    with pytest.raises(AhaError, match=r"Nothing answers at http.*refused"):
        complete(client(server), ASK)


def test_no_endpoint_at_all():
    for address in ("localhost:8000", "ftp://x/v1", ""):
        with pytest.raises(AhaError, match="is no endpoint"):
            Endpoint(address, "m")


def test_the_key_is_neither_in_errors_nor_in_the_cache(monkeypatch, tmp_path):
    monkeypatch.setenv(KEY, "secret-key")
    with Scripted(good(), (401, {"error": {"message": "no"}})) as server:
        c = client(server, tmp_path / "cache.jsonl")
        complete(c, ASK)
        with pytest.raises(AhaError) as error:
            complete(c, [{"role": "user", "content": "other"}])
    assert "secret-key" not in str(error.value)
    assert "secret-key" not in (tmp_path / "cache.jsonl").read_text()


# --- what is paid once ---------------------------------------------------------------------------------


def asks(n):
    return [[{"role": "user", "content": f"question {i}"}] for i in range(n)]


def test_a_killed_run_pays_only_for_what_was_missing(tmp_path):
    cache = tmp_path / "cache.jsonl"

    def answer(handler, body):
        return good(body["messages"][0]["content"].upper())

    def dies_after_three(handler, body):
        return answer(handler, body) if len(first.requests) <= 3 else (400, {"error": {"message": "killed"}})

    with Scripted(dies_after_three) as first, pytest.raises(AhaError, match="killed"):
        complete_many(client(first, cache, concurrency=1), asks(8))
    with open(cache, "ab") as f:
        f.write(b'{"key": "torn by the ki')
    with Scripted(answer) as second:
        c = client(second, cache)
        completed = complete_many(c, asks(8))
    assert completed == [f"QUESTION {i}" for i in range(8)]
    assert len(second.requests) == 5
    assert (c.usage.requests, c.usage.cached) == (5, 3)
    with Scripted((500, {})) as third:
        assert complete_many(client(third, cache), asks(8)) == completed
        assert third.requests == []


def test_halves_of_a_surrogate_pair_end_nothing(tmp_path):
    """JSON can hold them, in answers and in questions; files, hashes and tokenizers cannot."""
    half = b'{"choices": [{"message": {"content": "a \\ud83d b \\ud83d\\ude00"}}]}'
    asked = [{"role": "user", "content": "what is \ud83d?"}]
    with Scripted((200, half)) as server:
        c = client(server, tmp_path / "cache.jsonl")
        assert complete(c, asked) == "a \ufffd b \U0001f600"
        assert complete(client(server, tmp_path / "cache.jsonl"), asked) == "a \ufffd b \U0001f600"
        assert complete(c, asked) == "a \ufffd b \U0001f600"
    assert [body["messages"][0]["content"] for _, body, _ in server.requests] == ["what is \ufffd?"]


def test_a_damaged_cache_is_named(tmp_path):
    path = tmp_path / "cache.jsonl"
    path.write_text('{"key": "a", "response": {}}\nnonsense\n')
    with pytest.raises(AhaError, match="line 2, is no answer of ours"):
        AnswerCache(path)


def test_equal_requests_in_flight_are_sent_once(monkeypatch):
    others = threading.Event()  # three wait for the one that was sent

    def slow(handler, body):
        assert others.wait(60)
        return good()

    with Scripted(slow) as server:
        c = client(server)
        count = c.bill.count

        def counted(**what):
            count(**what)
            if c.usage.cached == 3:
                others.set()

        monkeypatch.setattr(c.bill, "count", counted)
        assert complete_many(c, [ASK] * 4) == ["hello"] * 4
    assert len(server.requests) == 1


def test_other_options_are_another_request():
    assert request_key("/x", {"a": 1, "b": 2}) == request_key("/x", {"b": 2, "a": 1})
    assert request_key("/x", {"a": 1}) != request_key("/x", {"a": 2}) != request_key("/y", {"a": 2})


def test_the_budget_stops_spending():
    with Scripted(good()) as server:
        c = client(server, price_out=1e6, max_cost=7.0, concurrency=1)
        with pytest.raises(AhaError, match="budget of 7 is spent"):
            complete_many(c, asks(5))
    assert len(server.requests) == 2, "4 each: after two the budget is gone"


def test_the_bill_adds_up():
    bill = Bill(2.0, 6.0)
    bill.add(1_000_000, 500_000)
    assert bill.usage.cost == pytest.approx(5.0)


class Time:
    """A clock that sleeping moves."""

    def __init__(self):
        self.now = 0.0

    def clock(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


@pytest.mark.parametrize("units", [1, 2.5])
def test_no_minute_holds_more_than_the_limit(units):
    t = Time()
    limit = RateLimit(10, clock=t.clock, sleep=t.sleep)
    taken = []
    for _ in range(35):
        limit.take(units)
        taken.append(t.now)
        t.now += 0.5
    for start in taken:
        assert sum(units for when in taken if start <= when < start + 60) <= 10


def test_estimates_are_corrected():
    t = Time()
    limit = RateLimit(100, clock=t.clock, sleep=t.sleep)
    limit.correct(limit.take(100), 10)
    limit.take(90)
    assert t.now == 0
    limit.take(50)
    assert t.now == pytest.approx(60)


def test_more_than_the_limit_at_once_passes_alone():
    t = Time()
    limit = RateLimit(10, clock=t.clock, sleep=t.sleep)
    limit.take(50)
    assert t.now == 0
    limit.take(1)
    assert t.now == pytest.approx(60)


# --- replies and the engine ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content"])
def test_reasoning_is_put_back_in_front(name):
    with Scripted(good("4", **{name: "2+2"})) as server:
        reply = chat(client(server), ASK)
    assert (reply.reasoning, reply.content, reply.text) == ("2+2", "4", "<think>2+2</think>4")


def test_an_answer_without_choices_is_refused():
    with pytest.raises(AhaError, match="no choices"):
        remote.read_replies({"choices": []})


def params(**changes):
    usual = {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "min_p": 0.0, "max_tokens": 9, "stop": ()}
    return SimpleNamespace(**(usual | changes))


def test_the_engine_gives_every_sample_its_own_seed_and_keeps_order():
    def answer(handler, body):
        finish = "length" if "1" in body["messages"][-1]["content"] else "stop"
        choice = {
            "message": {"content": f"{body['messages'][-1]['content']} {body['seed']}"},
            "finish_reason": finish,
        }
        return {"choices": [choice], "usage": {"prompt_tokens": 3, "completion_tokens": 5}}

    problems = [Problem(str(i), "t", ({"role": "user", "content": f"q{i}"},)) for i in range(3)]
    requests = ChatPrompter("be brief").requests(problems, 2)
    ticks = []
    with Scripted(answer) as server:
        engine = RemoteEngine(client(server))
        sampled = dict(engine.generate(requests, params(), seed=3, progress=ticks.append))
    assert sorted(sampled) == [0, 1, 2]
    seeds = {r.text.split()[1] for rollouts in sampled.values() for r in rollouts}
    assert len(seeds) == 6
    for i, rollouts in sampled.items():
        assert all(r.text.startswith(f"q{i} ") for r in rollouts)
        assert {r.finish for r in rollouts} == {Finish.LENGTH if i == 1 else Finish.STOP}
        assert all(
            (r.completion_ids == remote.UNKNOWN_TOKEN).all() and len(r.completion_ids) == 5 for r in rollouts
        )
        assert all(np.isnan(r.logprobs).all() for r in rollouts)
    assert sum(ticks) == 30
    assert server.requests[0][1]["messages"][0] == {"role": "system", "content": "be brief"}


def test_token_ids_travel_where_the_endpoint_knows_them():
    answer = {
        "choices": [
            {
                "text": "ab",
                "finish_reason": "stop",
                "token_ids": [5, 6],
                "logprobs": {"token_logprobs": [-0.5, -1.0]},
            }
        ]
    }
    request = SimpleNamespace(prompt_ids=[1, 2, 3], n=1, key=0, opened_think=True)
    with Scripted(answer) as server:
        engine = RemoteEngine(client(server), token_ids=True)
        [(index, (rollout,))] = list(engine.generate([request], params()))
    path, body, _ = server.requests[0]
    assert (path, body["prompt"], body["return_token_ids"]) == ("/v1/completions", [1, 2, 3], True)
    assert index == 0
    assert rollout.prompt_ids.tolist() == [1, 2, 3]
    assert rollout.completion_ids.tolist() == [5, 6]
    assert rollout.logprobs.tolist() == [-0.5, -1.0]
    assert rollout.opened_think


def test_a_failure_stops_the_engine():
    with (
        Scripted(good(), (400, {"error": {"message": "no"}})) as server,
        pytest.raises(AhaError, match="400: no"),
    ):
        list(RemoteEngine(client(server, concurrency=1)).generate([ChatRequest(tuple(ASK), 50, 0)], params()))
    assert len(server.requests) < 50


def test_top_k_is_refused_where_the_schema_has_none():
    with Scripted(good()) as server, pytest.raises(AhaError, match="top_k"):
        list(RemoteEngine(client(server)).generate([ChatRequest(tuple(ASK), 1, 0)], params(top_k=5)))
