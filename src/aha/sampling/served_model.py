"""A local model as a server's backend: requests that arrive together are sampled together."""

from __future__ import annotations

import queue
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from aha import chat
from aha.sampling.local import LocalEngine, Request
from aha.sampling.sampler import SamplingParams
from aha.sampling.served import Answer
from aha.types import AhaError, Finish, Rollout

GATHER_SECONDS = 0.01
"""How long the first of several requests waits for others."""


@dataclass(slots=True)
class _Job:
    request: Request
    params: SamplingParams
    result: Future[tuple[Rollout, ...]] = field(default_factory=Future)


class ModelBackend:
    """Serves one model. One thread owns the engine; requests with equal parameters share its batch, and what
    each draws depends on its own ``seed`` alone, not on its company."""

    def __init__(
        self,
        engine: LocalEngine,
        tokenizer: Any,
        name: str,
        prompt: str | chat.Prompt = "auto",
        max_tokens: int = 512,
    ):
        self.engine, self.tokenizer, self.name = engine, tokenizer, name
        self.prompt = chat.choose(prompt, tokenizer)
        self.max_tokens = max_tokens
        self._jobs: queue.Queue[_Job] = queue.Queue()
        threading.Thread(target=self._work, daemon=True).start()

    @property
    def models(self) -> Sequence[str]:
        """The one name."""
        return [self.name]

    def chat(self, body: Mapping[str, Any]) -> list[Answer]:
        """Completions of a conversation, rendered by the prompt: what the checkpoint was trained with, unless another
        was chosen."""
        rendered = chat.render(body["messages"], self.tokenizer, prompt=self.prompt)
        ids = chat.encode_prompt(rendered, self.tokenizer)
        return self._answers(ids, body, "<think>" if rendered.opened_think else "")

    def complete(self, body: Mapping[str, Any]) -> list[Answer]:
        """Continuations of a text, or of token ids as they are."""
        prompt = body["prompt"]
        if isinstance(prompt, str):
            rendered = chat.Rendered(prompt, False, "")
            return self._answers(chat.encode_prompt(rendered, self.tokenizer), body, "")
        if not all(0 <= i < len(self.tokenizer) for i in prompt):
            raise AhaError(f"The prompt holds token ids outside the vocabulary of {len(self.tokenizer)}.")
        return self._answers(prompt, body, "")

    def _answers(self, ids: Sequence[int], body: Mapping[str, Any], opened: str) -> list[Answer]:
        # The engine takes 32-bit keys; those of equal requests without a seed are equal too.
        key = int(body.get("seed") or 0) & 0xFFFFFFFF
        job = _Job(Request(ids, int(body.get("n") or 1), key, bool(opened)), self._params(body))
        self._jobs.put(job)
        return [
            Answer(
                opened + rollout.text,
                "length" if rollout.finish is Finish.LENGTH else "stop",
                len(ids),
                len(rollout.completion_ids),
                tuple(int(i) for i in rollout.prompt_ids),
                tuple(int(i) for i in rollout.completion_ids),
                tuple(float(x) for x in rollout.logprobs),
            )
            for rollout in job.result.result()
        ]

    def _params(self, body: Mapping[str, Any]) -> SamplingParams:
        stop = body.get("stop") or ()
        limit = body.get("max_completion_tokens") or body.get("max_tokens") or self.max_tokens
        try:
            return SamplingParams(
                temperature=_number(body, "temperature", 1.0),
                top_p=_number(body, "top_p", 1.0),
                top_k=max(0, int(_number(body, "top_k", 0))),
                min_p=_number(body, "min_p", 0.0),
                max_tokens=int(limit),
                stop=(stop,) if isinstance(stop, str) else tuple(map(str, stop)),
            )
        except (TypeError, ValueError) as error:
            raise AhaError(f"A sampling parameter is no number: {error}.") from error

    def _work(self) -> None:
        while True:
            jobs = [self._jobs.get()]
            threading.Event().wait(GATHER_SECONDS)
            while not self._jobs.empty():
                jobs.append(self._jobs.get())
            by_params: dict[SamplingParams, list[_Job]] = {}
            for job in jobs:
                by_params.setdefault(job.params, []).append(job)
            for params, together in by_params.items():
                self._sample(together, params)

    def _sample(self, jobs: list[_Job], params: SamplingParams) -> None:
        try:
            for index, rollouts in self.engine.generate([job.request for job in jobs], params):
                jobs[index].result.set_result(rollouts)
        except Exception as error:
            if len(jobs) > 1:  # one bad request must not take its company with it
                for job in jobs:
                    if not job.result.done():
                        self._sample([job], params)
            else:
                jobs[0].result.set_exception(error)


def _number(body: Mapping[str, Any], name: str, default: float) -> float:
    value = body.get(name)
    return default if value is None else float(value)
