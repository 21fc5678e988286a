"""A model over a pipe: what is taken back before it has begun is not sampled for nobody."""

from __future__ import annotations

import threading
import time

from aha.sampling.http.model import ModelBackend
from aha.sampling.http.piped import Pipe
from aha.sampling.local.engine import LocalEngine


def test_a_question_that_is_taken_back_at_once_is_not_answered(model, tokenizer):
    said, ended = [], threading.Event()

    def write(what):
        said.append(what)
        if "end" in what or "error" in what:
            ended.set()

    pipe = Pipe(ModelBackend(LocalEngine(model, tokenizer), tokenizer, "random"), write)
    question = '{"id": 1, "messages": [{"role": "user", "content": "1+2"}], "max_tokens": 40}'
    pipe.serve([question, '{"cancel": 1}', '{"cancel": 7}'])
    assert ended.wait(120)
    assert said[-1]["end"]["finish"] == "stopped"
    until = time.monotonic() + 120
    while pipe.running and time.monotonic() < until:
        time.sleep(0.01)
    assert not pipe.running
