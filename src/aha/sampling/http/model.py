"""A local model as a server's backend: requests join its batch as they come, whatever they ask for."""

from __future__ import annotations

import queue
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from aha import chat
from aha.modeling import Head, max_context
from aha.sampling.engine import Request
from aha.sampling.http.asked import CompletionRequest
from aha.sampling.http.live import LiveEngine, LiveRequest, Shaper
from aha.sampling.http.refusing import TOO_LONG, RequestRefusedError
from aha.sampling.http.shaping import LogitAdjustment, Schemas
from aha.sampling.http.text import TextStream
from aha.sampling.http.tokens import Tokens
from aha.sampling.http.tool_words import PROBE, in_words
from aha.sampling.http.work import Choice, TextDelta, TokenScore
from aha.sampling.local.engine import LocalEngine
from aha.sampling.local.scoring import Top
from aha.sampling.sampler import SamplingParams
from aha.types import AhaError, Finish, Rollout


@dataclass(frozen=True, slots=True)
class _Prompt:
    """A prompt as tokens, with its text as it was given or rendered."""

    ids: tuple[int, ...]
    text: str
    opened: bool = False
    scores: tuple[TokenScore, ...] = ()


class ModelBackend:
    """Serves one model under one name. ``max_tokens``: of completions that name no length."""

    def __init__(
        self,
        engine: LocalEngine,
        tokenizer: Any,
        name: str,
        prompt: str | chat.Prompt = "auto",
        max_tokens: int = 512,
    ):
        self.live, self.tokenizer, self.name = LiveEngine(engine), tokenizer, name
        self.prompt = chat.choose(prompt, tokenizer)
        self.max_tokens, self.eos = max_tokens, engine.eos_ids
        self.context = max_context(engine.model)
        self.tokens = Tokens(tokenizer)
        self.vocabulary = int(Head.of(engine.model).weight.shape[0])
        self.schemas = Schemas(tokenizer, self.vocabulary, int(tokenizer.eos_token_id), self.eos)

    @property
    def models(self) -> Sequence[str]:
        """The one name."""
        return [self.name]

    def begin(self, asked: CompletionRequest) -> ModelAnswer:
        """Let every prompt of the request join the batch. Conversations are rendered by the prompt: what the checkpoint
        was trained with, unless another was chosen."""
        prompts = [self._conversation(asked)] if asked.is_chat else [self._prompt(p) for p in asked.prompts]
        if asked.echo and asked.logprobs:
            prompts = self._scored(prompts, asked.top_logprobs)
        work = ModelAnswer(self, asked, prompts)
        shaper = self._shapers(asked, prompts[0].opened)
        if asked.stream and asked.echo:
            work.tell_prompts()
        if asked.sampling.max_tokens == 0:
            work.end_empty()
            return work
        seed = asked.sampling.seed
        for i, prompt in enumerate(prompts):
            # The engine takes 32-bit keys: a seed given is the same stream wherever the request is asked.
            key = random.SystemRandom().getrandbits(32) if seed is None else (seed + i) & 0xFFFFFFFF
            params = self._params(asked, len(prompt.ids))
            request = Request(prompt.ids, asked.sampling.n, key, prompt.opened, params=params)
            work.submit(i, LiveRequest(request, lambda _: None, top=asked.top_logprobs, shaper=shaper))
        return work

    def _conversation(self, asked: CompletionRequest) -> _Prompt:
        options = dict(asked.template_options or {})
        tools = [dict(tool) for tool in asked.tools.offered] if asked.tools is not None else []
        messages = asked.messages
        if self.knows_tools:
            options |= {"tools": tools} if tools else {}
        else:
            messages = in_words(messages, tools, fold=self.folds_system)
        try:
            rendered = chat.render(messages, self.tokenizer, prompt=self.prompt, chat_options=options)
        except AhaError as error:
            raise RequestRefusedError(str(error), "messages") from None
        if tools and not rendered.turns:
            raise RequestRefusedError(
                "this model has no chat template, and so no way to be told of tools", "tools"
            )
        return _Prompt(
            tuple(chat.encode_prompt(rendered, self.tokenizer)), rendered.text, rendered.opened_think
        )

    @cached_property
    def knows_tools(self) -> bool:
        """Whether the chat template writes tools down; one that leaves them out or refuses them does not."""
        try:
            plain, told = (
                chat.render(
                    [{"role": "user", "content": "x"}],
                    self.tokenizer,
                    prompt=self.prompt,
                    chat_options=options,
                )
                for options in ({}, {"tools": list(PROBE)})
            )
        except AhaError:
            return False
        return plain.text != told.text

    @cached_property
    def folds_system(self) -> bool:
        """Whether the chat template has no place for system messages."""
        return self.prompt.own is not None and chat.folds_system(self.tokenizer, self.prompt.own)

    def _prompt(self, prompt: str | tuple[int, ...]) -> _Prompt:
        if isinstance(prompt, str):
            return _Prompt(
                tuple(chat.encode_prompt(chat.Rendered(prompt, False, ""), self.tokenizer)), prompt
            )
        if not all(0 <= i < self.vocabulary for i in prompt):
            raise RequestRefusedError(
                f"prompt holds token ids outside the vocabulary of {self.vocabulary}", "prompt"
            )
        return _Prompt(prompt, self.tokenizer.decode(list(prompt), skip_special_tokens=False))

    def _scored(self, prompts: Sequence[_Prompt], top: int) -> list[_Prompt]:
        """The prompts with the scores of their tokens."""
        longest = max(len(prompt.ids) for prompt in prompts)
        if longest > self.context:
            raise _too_long(f"The prompt has {longest} tokens, the model's context {self.context}.", "prompt")
        scored = []
        for prompt, (values, tops) in zip(
            prompts, self.live.score([p.ids for p in prompts], top), strict=True
        ):
            scores = self.tokens.scores(prompt.ids, [None, *values], [(), *tops])
            scored.append(_Prompt(prompt.ids, prompt.text, prompt.opened, scores))
        return scored

    def _params(self, asked: CompletionRequest, prompt: int) -> SamplingParams:
        s = asked.sampling
        limit = min(self.max_tokens, max(1, self.context - prompt)) if s.max_tokens is None else s.max_tokens
        return SamplingParams(s.temperature, s.top_p, s.top_k, s.min_p, limit, s.stop)

    def _shapers(self, asked: CompletionRequest, opened: bool) -> Any:
        """What makes the shapers of one sample; None where there are none. A schema is tried out at once, so that one
        which cannot be kept is refused."""
        schema, field = asked.schema, "response_format"
        if asked.tools is not None and asked.tools.must_call:
            schema, field = asked.tools.schema(), "tools"
        weights = LogitAdjustment(asked.sampling) if LogitAdjustment.needed(asked.sampling) else None
        if any(token >= self.vocabulary or token < 0 for token, _ in asked.sampling.logit_bias):
            raise RequestRefusedError(
                f"logit_bias names tokens outside the vocabulary of {self.vocabulary}", "logit_bias"
            )
        if schema is not None:
            self.schemas.try_out(schema, field)
        if schema is None and weights is None:
            return None

        def make() -> list[Shaper]:
            return [
                *([weights] if weights else []),
                *([self.schemas.guide(schema, opened=opened)] if schema is not None else []),
            ]

        return make


def _too_long(message: str, field: str) -> RequestRefusedError:
    return RequestRefusedError(message, field, code=TOO_LONG)


@dataclass(slots=True)
class _Growing:
    """One choice while it is being sampled."""

    stream: TextStream
    tops: list[Top] = field(default_factory=list)
    scores: list[TokenScore] = field(default_factory=list)


class ModelAnswer:
    """A request in the batch; choice ``p * n + s`` is sample s of prompt p."""

    def __init__(self, backend: ModelBackend, asked: CompletionRequest, prompts: Sequence[_Prompt]):
        self.backend, self.asked, self.prompts = backend, asked, prompts
        self.opened = prompts[0].opened
        self._news: queue.Queue[Any] = queue.Queue()
        self._jobs: list[LiveRequest] = []
        self._growing: dict[int, _Growing] = {}

    def submit(self, number: int, job: LiveRequest) -> None:
        """Sample a prompt."""
        n, news = self.asked.sampling.n, self._news
        job.on_end = lambda result: news.put((number, result))
        if self.asked.stream or self.asked.top_logprobs:
            job.on_token = lambda s, *token: news.put((number * n + s, token))
        self._jobs.append(job)
        try:
            self.backend.live.submit(job)
        except AhaError as error:
            self.cancel()
            raise _too_long(str(error), self.asked.asks) from None

    def tell_prompts(self) -> None:
        """A stream that echoes begins with the prompts."""
        for i, prompt in enumerate(self.prompts):
            for s in range(self.asked.sampling.n):
                self._news.put(TextDelta(i * self.asked.sampling.n + s, prompt.text, prompt.scores))

    def end_empty(self) -> None:
        """Nothing is to be sampled: only the prompts are given back."""
        for i in range(len(self.prompts) * self.asked.sampling.n):
            self._news.put(i)

    def cancel(self) -> None:
        """The rows leave the batch with its next step."""
        for job in self._jobs:
            job.cancelled = True

    def wait(self, seconds: float) -> Sequence[TextDelta | tuple[int, Choice]]:
        """What there is since the last call."""
        events: list[TextDelta | tuple[int, Choice]] = []
        until = time.monotonic() + seconds
        while not events and (left := until - time.monotonic()) > 0:
            try:
                events += self._told(self._news.get(timeout=left))
            except queue.Empty:
                break
        return events

    def _told(self, news: Any) -> Sequence[TextDelta | tuple[int, Choice]]:
        if isinstance(news, TextDelta):
            return [news]
        if isinstance(news, int):
            return [(news, self._choice(news // self.asked.sampling.n))]
        number, what = news
        if isinstance(what, BaseException):
            raise what
        if isinstance(what[0], Rollout):
            return [one for s, rollout in enumerate(what) for one in self._end(number, s, rollout)]
        return self._token(number, *what)

    def _token(self, index: int, token: int, logprob: float, top: Top) -> Sequence[TextDelta]:
        one = self._growing.setdefault(index, _Growing(TextStream(self._decode, self.asked.sampling.stop)))
        one.tops.append(top)
        ends = token in self.backend.eos
        if self.asked.logprobs and self._shown(ends):
            one.scores.append(self.backend.tokens.score(token, logprob, top))
        if not self.asked.stream:
            return []
        text = "" if ends else one.stream.feed(token)
        return [TextDelta(index, text, self._scores_of(one))] if text else []

    def _scores_of(self, one: _Growing) -> tuple[TokenScore, ...]:
        scores, one.scores = tuple(one.scores), []
        return scores

    def _shown(self, ends: bool) -> bool:
        """Whether a token is among the logprobs: in a chat without token ids the end of text is not. In a text it is,
        so that there are as many as were sampled."""
        return not ends or self.asked.token_ids or not self.asked.is_chat

    def _decode(self, ids: list[int]) -> str:
        return str(self.backend.tokenizer.decode(ids, skip_special_tokens=False))

    def _end(self, number: int, sample: int, rollout: Rollout) -> Sequence[TextDelta | tuple[int, Choice]]:
        index = number * self.asked.sampling.n + sample
        one = self._growing.pop(index, None)
        events: list[TextDelta | tuple[int, Choice]] = []
        if one is not None and self.asked.stream:
            rest = one.stream.close(rollout.text)
            scores = self._scores_of(one)
            events += [TextDelta(index, rest, scores)] if rest or scores else []
        elif self.asked.stream and rollout.text:
            events.append(TextDelta(index, rollout.text))
        return [*events, (index, self._choice(number, rollout, one.tops if one else ()))]

    def _choice(self, number: int, rollout: Rollout | None = None, tops: Sequence[Top] = ()) -> Choice:
        prompt = self.prompts[number]
        about = {"prompt_tokens": len(prompt.ids), "opened": prompt.opened, "prompt_ids": prompt.ids}
        if self.asked.echo:
            about |= {"prompt_text": prompt.text, "prompt_scores": prompt.scores}
        if rollout is None:
            return Choice("", "length", **about)
        ids = tuple(int(i) for i in rollout.completion_ids)
        scores: tuple[TokenScore, ...] = ()
        if self.asked.logprobs:
            kept = len(ids) if self._shown(bool(ids) and ids[-1] in self.backend.eos) else len(ids) - 1
            scores = self.backend.tokens.scores(ids[:kept], rollout.logprobs[:kept].tolist(), tops[:kept])
        finish = "length" if rollout.finish is Finish.LENGTH else "stop"
        return Choice(rollout.text, finish, completion_tokens=len(ids), token_ids=ids, scores=scores, **about)
