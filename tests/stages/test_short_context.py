"""Lengths made for longer models, given to one whose context is shorter than its answers may be."""

from __future__ import annotations

import logging

import pytest

from aha.sampling.rollouts import Prompter
from aha.stages.engines import AnswerSource
from aha.tasks import get_task
from aha.types import AhaError


@pytest.fixture
def source(tokenizer):
    return lambda context: AnswerSource(None, Prompter(tokenizer, "r1_zero"), tokenizer, context)  # type: ignore[arg-type]


def test_answers_end_where_the_context_does(source, caplog):
    problems = get_task("countdown").load("train", 8, 0)
    longest = max(len(source(1024).prompter.encode(p)[0]) for p in problems)
    with caplog.at_level(logging.WARNING):
        kept, tokens = source(9 * longest).fit(problems, 8 * longest)
        assert (len(kept), tokens) == (8, 8 * longest)
        assert not caplog.records
        kept, tokens = source(4 * longest).fit(problems, 8 * longest)
        assert (len(kept), tokens) == (8, 3 * longest)
    assert "has room for" in caplog.text


def test_a_context_without_room_for_a_prompt_is_refused(source):
    with pytest.raises(AhaError, match="Every prompt is longer than 9 tokens"):
        source(10).fit(get_task("countdown").load("train", 2, 0), 2048)
