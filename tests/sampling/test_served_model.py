"""A local model behind the server: what it samples is what the engine samples."""

from __future__ import annotations

import pytest

from aha.sampling.endpoint import Client, Endpoint
from aha.sampling.local import LocalEngine, Request
from aha.sampling.remote import RemoteEngine, chat
from aha.sampling.sampler import SamplingParams
from aha.sampling.served import Server
from aha.sampling.served_model import ModelBackend
from aha.types import AhaError

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
        ({"max_tokens": 100_000}, "context"),
        ({"top_p": 7}, "out of range"),
        ({"temperature": "hot"}, "no number"),
    ],
)
def test_what_the_model_cannot_do_is_said(served, options, words):
    with pytest.raises(AhaError, match=words):
        chat(served, [{"role": "user", "content": "hi"}], **options)
