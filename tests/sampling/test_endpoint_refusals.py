"""Requests that endpoints refuse for what they hold, in the words that each publishes: too long for the context, asked
again shorter where that can help; a content that is not taken; and what is no such thing."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from scripted import ASK, Scripted, client, good

from aha.judges.asking import Judge, Teacher, over
from aha.sampling.client import engine as remote
from aha.sampling.client import fitting, refusals
from aha.sampling.client.engine import ChatRequest, RemoteEngine, complete
from aha.sampling.client.refusals import ContextLimit, FilteredError, TooLongError
from aha.sampling.client.replies import read_replies
from aha.types import AhaError, Finish

SAID = json.loads((Path(__file__).parent / "endpoint_refusals.json").read_text(encoding="utf-8"))
"""What endpoints publish, or wrote in reports of their users: of each status and body, and what is to be read of it."""
TOO_LONG, FILTERED, OTHERS = SAID["too_long"], SAID["filtered"], SAID["others"]


def of(message, **more):
    return {"error": {"message": message, **more}}


def reply(told):
    """What a server answers."""
    return told["status"], raw(told["body"])


def raw(body):
    return body.encode() if isinstance(body, str) else json.dumps(body).encode()


@pytest.mark.parametrize("name", TOO_LONG)
def test_too_long_is_known_by_each_endpoints_words(name):
    told = TOO_LONG[name]
    error = refusals.of_one_request(*reply(told), "http://x/v1")
    assert isinstance(error, TooLongError)
    assert error.limit == ContextLimit(told["context"], told["room"])
    assert "shorten the prompt" in str(error)


@pytest.mark.parametrize("name", FILTERED)
def test_a_content_that_is_not_taken_is_known(name):
    assert isinstance(refusals.of_one_request(*reply(FILTERED[name]), "http://x/v1"), FilteredError)


@pytest.mark.parametrize("name", OTHERS)
def test_any_other_refusal_ends_it_and_names_the_field(name):
    told = OTHERS[name]
    with Scripted(reply(told)) as server, pytest.raises(AhaError) as error:
        list(RemoteEngine(client(server)).generate([ChatRequest(tuple(ASK), 1, 0)], params()))
    assert not isinstance(error.value, refusals.RefusedRequestError)
    assert told["names"] in str(error.value)
    assert len(server.requests) == 1


def test_a_server_that_was_slow_is_no_long_prompt():
    assert (
        refusals.of_one_request(500, raw(of("The request took too long: context length unknown")), "x")
        is None
    )
    assert refusals.of_one_request(429, raw(of("Too many tokens per minute")), "x") is None


def params(**changes):
    usual = {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "min_p": 0.0, "max_tokens": 500, "stop": ()}
    return SimpleNamespace(**(usual | changes))


class Limited:
    """An endpoint whose model has a context, and words of its own for what does not fit. A word is a token."""

    def __init__(self, context, words, strict=False, usage=True):
        self.context, self.words, self.strict, self.usage, self.asked = context, words, strict, usage, []

    def __call__(self, handler, body):
        prompt, most = len(body["messages"][-1]["content"].split()), body["max_tokens"]
        self.asked.append(most)
        if prompt + most + self.strict > self.context:
            return 400, of(self.words(self.context, prompt, most))
        answer = good(" ".join(["word"] * most))
        answer["choices"][0]["finish_reason"] = "length"
        return answer | (
            {"usage": {"prompt_tokens": prompt, "completion_tokens": most}} if self.usage else {"usage": {}}
        )


def openai(c, p, m):
    return f"This model's maximum context length is {c} tokens. However, you requested {p + m} tokens ({p} in the messages, {m} in the completion)."  # noqa: E501


def at_least(c, p, m):
    return f"This model's maximum context length is {c} tokens. However, you requested {m} output tokens and your prompt contains at least {c - m + 1} input tokens, for a total of at least {c + 1} tokens."  # noqa: E501


def sglang(c, p, m):
    return f"Requested token count exceeds the model's maximum context length of {c} tokens. You requested a total of {p + m} tokens: {p} tokens from the input messages and {m} tokens for the completion."  # noqa: E501


def mute(c, p, m):
    return "Please reduce the length of the messages or completion."


@pytest.mark.parametrize(
    ("words", "strict", "usage", "limits"),
    [
        (openai, False, True, [500, 80]),
        (sglang, True, True, [500, 80, 79]),
        (at_least, False, True, [500, 1, 80]),
        (at_least, False, False, [500, 1, 250, 125, 62]),
        (mute, False, True, [500, 1, 250, 125, 62]),
    ],
)
def test_an_answer_is_asked_for_again_with_the_tokens_that_fit(words, strict, usage, limits, caplog):
    """Twenty words in a context of a hundred."""
    endpoint = Limited(100, words, strict, usage)
    ask = ({"role": "user", "content": "w " * 20},)
    with Scripted(endpoint) as server:
        [(_, (rollout,))] = RemoteEngine(client(server)).generate([ChatRequest(ask, 1, 0)], params())
    assert endpoint.asked == limits
    assert (rollout.finish, rollout.text.split().count("word")) == (Finish.LENGTH, limits[-1])
    (told,) = [r.getMessage() for r in caplog.records]
    assert "1 of 1 requests have no room for max_tokens=500" in told
    assert f"the shortest {limits[-1]} tokens" in told


@pytest.mark.parametrize("words", [openai, sglang, at_least, mute])
def test_one_long_prompt_is_one_rows(words, caplog):
    """The other rows are answered, and a warning says how many were not."""
    long, short = ({"role": "user", "content": "w " * 120},), ({"role": "user", "content": "hi"},)
    with Scripted(Limited(100, words)) as server:
        engine = RemoteEngine(client(server))
        requests = [ChatRequest(long if i in (1, 3) else short, 2, i) for i in range(5)]
        sampled = dict(engine.generate(requests, params(max_tokens=4)))
    assert [sampled[i][0].finish for i in range(5)] == [
        Finish.ABORT if i in (1, 3) else Finish.LENGTH for i in range(5)
    ]
    assert [len(sampled[i][0].completion_ids) for i in (1, 2)] == [0, 4]
    (told,) = [r.getMessage() for r in caplog.records]
    assert "2 of 5 requests were not answered, since they are too long" in told


def test_a_content_that_is_not_taken_is_one_rows(caplog):
    def endpoint(handler, body):
        bad = "bad" in body["messages"][0]["content"]
        return reply(FILTERED["Azure"]) if bad else good()

    asks = [({"role": "user", "content": text},) for text in ("a", "bad", "c")]
    with Scripted(endpoint) as server:
        engine = RemoteEngine(client(server))
        sampled = dict(engine.generate([ChatRequest(a, 1, i) for i, a in enumerate(asks)], params()))
    assert [sampled[i][0].finish for i in range(3)] == [Finish.STOP, Finish.ERROR, Finish.STOP]
    (told,) = [r.getMessage() for r in caplog.records]
    assert "1 of 3 requests were not answered, since their content is not taken" in told
    assert "Azure OpenAI's content management policy" in told


def test_an_answer_of_which_a_filter_leaves_nothing_is_read():
    """Azure gives a choice without content then; asking again would give no more."""
    for message in ({"role": "assistant"}, {"role": "assistant", "content": None}, {"content": "half a"}):
        (reply,) = read_replies({"choices": [{"message": message, "finish_reason": "content_filter"}]})
        assert (reply.text, reply.finish) == (message.get("content") or "", Finish.ERROR)


def test_a_judge_and_a_teacher_that_do_not_take_a_question_leave_it_unread(caplog):
    with Scripted(reply(TOO_LONG["llama.cpp"])) as server:
        judge = Judge(over(client(server)))
        assert [judge.correct("q", "r", "s"), judge.correct("q", "r", "t")] == [None, None]
        teacher = Teacher(over(client(server)))
        assert teacher.rewrite("q", "d") is None
    assert (judge.counts["correctness/unread"], judge.counts["correctness/not_taken"]) == (2, 2)
    assert (teacher.counts["unread"], teacher.counts["not_taken"]) == (1, 1)
    assert sum("not asked" in r.getMessage() for r in caplog.records) == 2, "each says it once"


def test_a_judges_answer_is_made_to_fit_too():
    endpoint = Limited(100, openai)
    with Scripted(endpoint) as server:
        assert complete(client(server), ASK, max_tokens=2048).split().count("word") == 99
    assert endpoint.asked == [2048, 99]


def test_a_request_without_a_number_of_tokens_is_not_asked_twice():
    with Scripted(reply(TOO_LONG["vLLM 0.9"])) as server, pytest.raises(TooLongError):
        fitting.post(client(server), "/chat/completions", {"messages": ASK})
    assert len(server.requests) == 1
    assert remote.UNKNOWN_TOKEN == -1
