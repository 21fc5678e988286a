"""A reward model made here: SmolLM2's layers with a head trained in the test, as transformers keeps them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from aha.training.classifier import load_classifier

pytestmark = pytest.mark.real
QUESTIONS = (
    "What is 2 + 3?",
    "Name a fruit.",
    "Say hello.",
    "What colour is grass?",
    "How many legs has a cat?",
    "Thank me.",
)
GOOD = (
    "It is 5.",
    "An apple.",
    "Hello! How can I help you?",
    "Grass is green.",
    "A cat has four legs.",
    "Thank you!",
)
BAD = ("zzz zzz zzz", "!!!! ????", "qwxk", "zz zz", "?!?!", "xx xx xx xx")


def head_trained_on_summaries(folder, source):
    """SmolLM2 as a classifier with one output, its head fitted to frozen states: good answers above bad ones."""
    model = AutoModelForSequenceClassification.from_pretrained(
        source, num_labels=1, dtype=torch.float32
    ).eval()
    tokenizer = AutoTokenizer.from_pretrained(source)
    model.config.pad_token_id = tokenizer.pad_token_id
    states = {}
    for side, answers in (("good", GOOD), ("bad", BAD)):
        rows = []
        for question, answer in zip(QUESTIONS, answers, strict=True):
            whole = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
            ids = tokenizer(tokenizer.apply_chat_template(whole, tokenize=False), add_special_tokens=False)[
                "input_ids"
            ]
            last = max(i for i, token in enumerate(ids) if token != model.config.pad_token_id)
            with torch.no_grad():
                rows.append(model.model(input_ids=torch.tensor([ids])).last_hidden_state[0, last])
        states[side] = torch.stack(rows)
    head = model.score.weight
    optimizer = torch.optim.Adam([head], lr=1e-2)
    for _ in range(200):
        gap = (states["good"] - states["bad"]) @ head[0]
        optimizer.zero_grad()
        (-torch.nn.functional.logsigmoid(gap).mean()).backward()
        optimizer.step()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model, tokenizer


def test_scores_are_transformers_own_and_good_answers_stand_above(tmp_path, smollm2):
    model, tokenizer = head_trained_on_summaries(tmp_path / "head", smollm2)
    scorer = load_classifier(str(tmp_path / "head"))
    rows, expected = [], []
    for question, *answers in zip(QUESTIONS, GOOD, BAD, strict=True):
        for answer in answers:
            asked = ({"role": "user", "content": question},)
            whole = [*asked, {"role": "assistant", "content": answer}]
            ids = tokenizer(
                tokenizer.apply_chat_template(whole, tokenize=False),
                add_special_tokens=False,
                return_tensors="pt",
            )
            with torch.no_grad():
                expected.append(float(model(input_ids=ids["input_ids"]).logits[0, 0]))
            rows.append(scorer.encode(asked, answer))
            assert rows[-1] == ids["input_ids"][0].tolist()
    alone = scorer.score(rows)
    np.testing.assert_allclose(alone, expected, atol=2e-4, rtol=1e-4)
    np.testing.assert_allclose(scorer.score(rows, 4096), alone, atol=2e-4, rtol=1e-4)
    assert (alone[0::2] > alone[1::2]).all()
