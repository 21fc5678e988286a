"""Log probabilities of given texts, against transformers' own logits of each text alone."""

from __future__ import annotations

import pytest
import torch

from aha import modeling
from aha.sampling.local import scoring
from aha.sampling.local.engine import LocalEngine
from aha.types import AhaError

CASES = [
    ((5, 9, 12, 7), ((3,), (4, 8), (6, 2, 11))),
    ((20,), ((1, 2), (2,))),
    (tuple(range(30, 60)), ((14, 15, 16, 17), (3,), (3, 3))),
]


@pytest.fixture(scope="module")
def engine():
    model = modeling.load_model("tiny", torch.device("cpu"), torch.float32)
    return LocalEngine(model, modeling.load_tokenizer("tiny"), max_rows=4)


@pytest.fixture(scope="module")
def plain():
    """The checkpoint as transformers loads it, without anything of ours."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(modeling.EMBEDDED["tiny"], dtype=torch.float32).eval()


def alone(model, context, text):
    with torch.inference_mode():
        logits = model(torch.tensor([[*context, *text]])).logits[0, len(context) - 1 : -1]
    logp = torch.log_softmax(logits, -1)
    targets = torch.tensor(text)
    return float(logp.gather(1, targets[:, None]).sum()), bool((logits.argmax(-1) == targets).all())


def test_continuations_of_shared_contexts_are_scored_as_alone(engine, plain):
    scored = list(scoring.score_continuations(engine, CASES))
    for (context, texts), scores in zip(CASES, scored, strict=True):
        for text, score in zip(texts, scores, strict=True):
            logprob, greedy = alone(plain, context, text)
            assert score.logprob == pytest.approx(logprob, abs=2e-4)
            assert (score.greedy, score.tokens) == (greedy, len(text))


def test_what_the_model_would_write_is_greedy(engine, plain):
    context = [5, 9, 12, 7]
    written = []
    for _ in range(4):
        with torch.inference_mode():
            written.append(int(plain(torch.tensor([[*context, *written]])).logits[0, -1].argmax()))
    ((score, other),) = scoring.score_continuations(engine, [(context, (written, [*written[:-1], 3]))])
    assert score.greedy
    assert not other.greedy
    assert score.logprob > other.logprob


def test_parts_of_a_call_do_not_change_it(engine, monkeypatch):
    whole = list(scoring.score_continuations(engine, CASES))
    monkeypatch.setattr(scoring, "PACKED", 8)
    monkeypatch.setattr(scoring, "SCORED", 2)
    for one, other in zip(whole, scoring.score_continuations(engine, CASES), strict=True):
        assert [s.logprob for s in one] == pytest.approx([s.logprob for s in other], abs=2e-4)


def test_whole_prompts(engine, plain):
    prompts = [(5, 9, 12, 7), (20, 3)]
    with torch.inference_mode():
        for prompt, (values, tops) in zip(prompts, scoring.score_prompts(engine, prompts, 2), strict=True):
            logp = torch.log_softmax(plain(torch.tensor([prompt])).logits[0], -1)
            expected = [float(logp[i, prompt[i + 1]]) for i in range(len(prompt) - 1)]
            assert values == pytest.approx(expected, abs=2e-4)
            assert tops[0][0][0] == int(logp[0].argmax())


def test_texts_that_cannot_be_scored_are_refused(engine):
    with pytest.raises(AhaError, match="empty"):
        list(scoring.score_continuations(engine, [((), ((1,),))]))
    with pytest.raises(AhaError, match="Text 0 to be scored has 5000"):
        list(scoring.score_continuations(engine, [((1,) * 4999, ((1,),))]))
