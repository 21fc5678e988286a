"""Sampling from an OpenAI-compatible endpoint: as an engine, and as plain ``complete(messages) -> text``.

Reasoning that an endpoint sends apart (``reasoning`` or ``reasoning_content``) is put back in front, between
think tags, so that everything after this sees one kind of text.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from aha.sampling.client import fitting
from aha.sampling.client.endpoint import Client
from aha.sampling.client.refusals import FilteredError, RefusedRequestError
from aha.sampling.client.replies import EndpointReply, read_replies
from aha.sampling.engine import Engine, Partials
from aha.types import AhaError, Finish, Message, Problem, Rollout

if TYPE_CHECKING:
    from aha.chat import Rendered
    from aha.sampling.sampler import SamplingParams

_log = logging.getLogger(__name__)

IDLE_SECONDS = 10.0
UNKNOWN_TOKEN = -1
"""Stands for each token of a completion whose ids the endpoint did not say: its length is known, its tokens
are not, and training on it fails at once."""


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """``n`` completions of a conversation, which the endpoint's own template renders."""

    messages: tuple[Message, ...]
    n: int
    key: int
    opened_think: bool = False


def message_with_reasoning(text: str) -> dict[str, str]:
    """An assistant message for ``text``: its thinking in both fields in use, the rest as content."""
    from aha.chat import parse

    parsed = parse(text, require_answer=False)
    if parsed.think is None:
        return {"role": "assistant", "content": text}
    think = parsed.think
    return {"role": "assistant", "content": parsed.body, "reasoning": think, "reasoning_content": think}


def chat(client: Client, messages: Sequence[Message], **options: Any) -> EndpointReply:
    """The endpoint's answer to a conversation; ``options`` go into the request (temperature, seed, ...). Raises
    RefusedRequestError where it takes this conversation not at all."""
    body = {"messages": [dict(message) for message in messages], **options}
    return read_replies(fitting.post(client, "/chat/completions", body).answer)[0]


def complete(client: Client, messages: Sequence[Message], **options: Any) -> str:
    """The text of the answer to a conversation, without its reasoning."""
    return chat(client, messages, **options).content


def complete_many(client: Client, conversations: Sequence[Sequence[Message]], **options: Any) -> list[str]:
    """``complete`` for many conversations at once, in their order. The first failure stops the rest."""
    texts: list[str] = [""] * len(conversations)
    for index, text in in_parallel(
        [lambda m=messages: complete(client, m, **options) for messages in conversations],
        client.endpoint.concurrency,
    ):
        texts[index] = text
    return texts


def in_parallel(
    jobs: Sequence[Callable[[], Any]], threads: int, idle: Callable[[], object] | None = None
) -> Iterator[tuple[int, Any]]:
    """(index, result) of each job as it is done. A job that raises stops those not yet begun, and its error
    is raised; so does leaving the loop early. ``idle`` is called every ``IDLE_SECONDS`` in which none was done."""
    pool = ThreadPoolExecutor(max_workers=threads)
    pending: dict[Any, int] = {}
    queue = iter(enumerate(jobs))
    try:
        while True:
            while len(pending) < 2 * threads and (item := next(queue, None)) is not None:
                pending[pool.submit(item[1])] = item[0]
            if not pending:
                return
            done, _ = wait(pending, IDLE_SECONDS if idle is not None else None, return_when=FIRST_COMPLETED)
            if not done and idle is not None:
                idle()
            for future in done:
                yield pending.pop(future), future.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


class RemoteEngine(Engine):
    """The engine behind an endpoint: takes ``ChatRequest``s, or ``local.Request``s of token ids for an
    endpoint that continues those (``/completions``).

    Every sample is a request of its own with its own seed: so a run that was killed resumes in the middle of a
    group, and endpoints that know no ``n`` serve too. Logprobs and token ids are asked for where
    ``token_ids`` says that the endpoint knows ``return_token_ids``; else they are NaN and ``UNKNOWN_TOKEN``.
    """

    takes_weights = False

    def __init__(self, client: Client, *, token_ids: bool = False, top_k: bool = False):
        self.client, self.token_ids, self.top_k = client, token_ids, top_k
        self.version = 0

    def generate(
        self,
        requests: Sequence[Any],
        params: SamplingParams,
        *,
        seed: int = 0,
        progress: Callable[[int], None] | None = None,
        leftovers: Partials | None = None,
    ) -> Iterator[tuple[int, tuple[Rollout, ...]]]:
        """Yield (index of the request, its rollouts) as requests finish. A request that is refused for what it holds
        ends in Finish.ABORT where it is too long, in Finish.ERROR where its content is not taken, and a warning says
        how many those are. Raises AhaError for any other that cannot be answered; what was answered before is in the
        client's cache."""
        owners = [(i, s) for i, request in enumerate(requests) for s in range(request.n)]
        jobs = [lambda request=requests[i], s=s: self._one(request, s, params, seed) for i, s in owners]
        done: dict[int, dict[int, Rollout]] = {}
        told = Refusals(len(requests), params.max_tokens)
        idle = None if progress is None else lambda: progress(0)  # whoever shows it says that it goes on
        for index, (rollout, limit, refusal) in in_parallel(jobs, self.client.endpoint.concurrency, idle):
            i, s = owners[index]
            told.note(i, limit, refusal)
            done.setdefault(i, {})[s] = rollout
            if progress is not None:
                progress(len(rollout.completion_ids))
            if len(done[i]) == requests[i].n:
                samples = done.pop(i)
                yield i, tuple(samples[s] for s in range(requests[i].n))
        told.warn()

    def _one(
        self, request: Any, sample: int, params: SamplingParams, seed: int
    ) -> tuple[Rollout, int, RefusedRequestError | None]:
        """A request's sample, the most tokens that it had, and why there is none."""
        body: dict[str, Any] = {
            "max_tokens": params.max_tokens,
            "temperature": params.temperature,
            "top_p": params.top_p,
            "seed": _seed(seed, request.key, sample),
        }
        if params.stop:
            body["stop"] = list(params.stop)
        if self.top_k:  # not of the OpenAI schema: only for servers that know them
            body |= {"top_k": params.top_k or -1, "min_p": params.min_p}
        elif params.top_k or params.min_p:
            raise AhaError(
                "top_k and min_p are not of the OpenAI schema: set RemoteEngine(top_k=True) or drop them."
            )
        if self.token_ids:
            body["return_token_ids"] = True
        if isinstance(request, ChatRequest):
            if self.token_ids:
                body["logprobs"] = True
            path, body = "/chat/completions", {"messages": [dict(m) for m in request.messages], **body}
            prompt: Sequence[int] = ()
        else:
            prompt = [int(i) for i in request.prompt_ids]
            body["logprobs"] = 0 if self.token_ids else None
            body = {k: v for k, v in body.items() if v is not None}
            path, body = "/completions", {"prompt": list(prompt), **body}
        try:
            fitted = fitting.post(self.client, path, body)
        except RefusedRequestError as error:
            return self._nothing(prompt, error, request.opened_think), params.max_tokens, error
        rollout = self._rollout(read_replies(fitted.answer)[0], prompt, request.opened_think)
        return rollout, fitted.max_tokens or params.max_tokens, None

    def _nothing(self, prompt: Sequence[int], error: RefusedRequestError, opened_think: bool) -> Rollout:
        ids, none = np.zeros(0, np.int64), np.zeros(0, np.float32)
        return Rollout(np.array(prompt, np.int64), ids, none, "", error.finish, self.version, opened_think)

    def _rollout(self, reply: EndpointReply, prompt: Sequence[int], opened_think: bool) -> Rollout:
        ids = np.array(reply.token_ids or [UNKNOWN_TOKEN] * reply.completion_tokens, np.int64)
        logprobs = np.full(len(ids), np.nan, np.float32)
        if len(reply.logprobs) == len(ids):
            logprobs = np.array(reply.logprobs, np.float32)
        return Rollout(
            np.array(prompt or reply.prompt_ids, np.int64),
            ids,
            logprobs,
            reply.text,
            reply.finish,
            self.version,
            opened_think,
        )


class Refusals:
    """What was refused of so many ``requests`` for answers of ``max_tokens``, to be told once."""

    def __init__(self, requests: int, max_tokens: int):
        self.requests, self.max_tokens = requests, max_tokens
        self.shorter: dict[int, int] = {}  # request -> the fewest tokens that an answer to it had room for
        self.refused: dict[Finish, dict[int, RefusedRequestError]] = {}  # request -> the first, by kind

    def note(self, request: int, limit: int, refusal: RefusedRequestError | None) -> None:
        """One sample of a request."""
        if refusal is not None:
            self.refused.setdefault(refusal.finish, {}).setdefault(request, refusal)
        elif limit < self.max_tokens:
            self.shorter[request] = min(limit, self.shorter.get(request, limit))

    def warn(self) -> None:
        """How many requests were not answered, or with less room, and why."""
        if self.shorter:
            _log.warning(
                "%d of %d requests have no room for max_tokens=%d in the endpoint's context: their answers had less, "
                "the shortest %d tokens.", len(self.shorter), self.requests, self.max_tokens,
                min(self.shorter.values()),
            )  # fmt: skip
        for finish, own in self.refused.items():
            filtered = finish is FilteredError.finish
            why = "their content is not taken" if filtered else "they are too long for the endpoint's context"
            _log.warning("%d of %d requests were not answered, since %s. The first: %s",
                         len(own), self.requests, why, own[min(own)])  # fmt: skip


def _seed(seed: int, key: int, sample: int) -> int:
    """A 31-bit seed of each sample's own: endpoints take signed 32-bit numbers."""
    import hashlib

    digest = hashlib.sha256(f"{seed}:{key}:{sample}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


class EndpointTokenizer:
    """What stands for the tokenizer of an endpoint: it renders conversations by a chat template of its own."""

    chat_template = "the endpoint's own"


class ChatPrompter:
    """Problems to requests for an endpoint that renders conversations itself; has ``Prompter``'s methods."""

    def __init__(self, system: str | None = None, prompt: str = "auto"):
        from aha.chat import choose

        self.system = system
        self.setting = prompt
        self.prompt = choose(prompt, EndpointTokenizer)

    def asked(self, problems: Sequence[Problem]) -> list[Problem]:
        """The problems, each with the place where this prompt asks for its answer."""
        return [self.prompt.asked(p) for p in problems]

    def _messages(self, problem: Problem) -> tuple[Message, ...]:
        from aha.chat import in_messages

        system: tuple[Message, ...] = ({"role": "system", "content": self.system},) if self.system else ()
        return (*system, *in_messages(problem, self.prompt))

    def render(self, problem: Problem) -> Rendered:
        """The conversation as text, for showing: the endpoint's own template is not known here."""
        from aha.chat import Rendered

        text = "\n\n".join(m["content"] for m in self._messages(problem))
        return Rendered(text, False, self.prompt.name, turns=True)

    def requests(self, problems: Sequence[Problem], n: int, first_key: int = 0) -> list[ChatRequest]:
        """One request of ``n`` samples for each problem, with keys from ``first_key`` on."""
        return [ChatRequest(self._messages(p), n, first_key + i) for i, p in enumerate(problems)]

    def drop_long(self, problems: Sequence[Problem], max_prompt_tokens: int) -> list[Problem]:
        """All problems: how many tokens they have is not known here."""
        return self.asked(problems)
