"""Asking a judge or a teacher, whatever it is; every answer that cannot be read is counted."""

from __future__ import annotations

import inspect
import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, TypeVar

from aha import plugins
from aha.chat import TAGS, parse
from aha.judges import prompts, verdicts
from aha.judges.injection import neutral
from aha.sampling.client import engine as remote
from aha.sampling.client.endpoint import Client
from aha.sampling.client.refusals import RefusedRequestError
from aha.tasks.rubric import refuses
from aha.types import AhaError, Message

_log = logging.getLogger(__name__)

_Item = TypeVar("_Item")
_Found = TypeVar("_Found")
Complete = Callable[[Sequence[Message], int], str]
"""(messages, seed) -> text: an endpoint by ``over(client)``, a program of ``judges.programs``, or one's ``own``."""


def over(
    client: Client, *, temperature: float = 0.0, max_tokens: int = 2048, schema: bool = False
) -> Complete:
    """An endpoint as ``Complete``. The seed goes into the request: so the calls of one comparison are
    different requests, also to the client's cache. ``schema``: verdicts in JSON are asked for by their schema."""

    def call(messages: Sequence[Message], seed: int) -> str:
        options: dict[str, Any] = {"seed": seed, "temperature": temperature, "max_tokens": max_tokens}
        if schema and (form := prompts.SCHEMAS.get(messages[0]["content"])):
            form_schema = {"name": "verdict", "strict": True, "schema": form}
            options["response_format"] = {"type": "json_schema", "json_schema": form_schema}
        return remote.complete(client, messages, **options)

    return call


def own(reference: str) -> Complete:
    """A judge or teacher of one's own: a function of (messages, seed), or of messages alone, that returns text. Where
    it fails, the line is named, and its reply counts as one that cannot be read. Raises AhaError for no function."""
    function = plugins.resolve(reference)
    if inspect.isclass(function):
        try:
            function = function(**plugins.options(reference, plugins.reference(reference).options))
        except Exception as error:
            raise AhaError(
                f"The judge '{reference}' cannot be made: {plugins.location(error, '')}."
            ) from error
    if not callable(function):
        raise AhaError(
            f"'{reference}' is {type(function).__name__}: a judge is a function of (messages, seed)."
        )
    file = getattr(getattr(function, "__code__", None), "co_filename", "")
    parameters = inspect.signature(function).parameters.values()
    collected = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    needed = [p.name for p in parameters if p.default is p.empty and p.kind not in collected]
    if len(needed) > 2 or not parameters:
        raise AhaError(
            f"The judge '{reference}' takes ({', '.join(needed)}): it is called with (messages, seed)."
        )
    said: set[str] = set()

    def call(messages: Sequence[Message], seed: int) -> str:
        arguments = (list(messages), seed) if len(needed) > 1 else (list(messages),)
        try:
            reply = plugins.call(function, *arguments, file=file)
            if not isinstance(reply, str):
                raise plugins.CallFailed(f"it gave {type(reply).__name__}, no text")
            return reply
        except plugins.CallFailed as error:
            if str(error) not in said and len(said) < 20:
                said.add(str(error))
                _log.warning("%s gave no reply: %s. Such replies are counted as unread.", reference, error)
            return ""

    return call


class BudgetSpentError(Exception):
    """Nothing may be asked of a judge any more."""


def final_text(text: str) -> str:
    """What a judge is shown of an answer: the answer tags' content, else what follows the thinking."""
    parsed = parse(text)
    return parsed.answer if parsed.answer is not None else parsed.body


class Judge:
    """Asks for verdicts. ``counts``: how often each kind was ``asked`` and ``unread``, and how often a verdict agreed
    with a rule; safe over threads. ``threads``: how many questions may be open at once."""

    def __init__(self, complete: Complete, threads: int = 1):
        self.complete, self.threads = complete, threads
        self.counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def _count(self, kind: str, read: bool, said: str = "") -> None:
        """Count a question, whether its verdict could be read, and whether the judge declined to judge."""
        with self._lock:
            self.counts[f"{kind}/asked"] += 1
            self.counts[f"{kind}/unread"] += not read
            if not read and refuses(said):
                self.counts[f"{kind}/refused"] += 1

    def each(self, ask: Callable[[_Item], _Found], items: Iterable[_Item]) -> list[_Found]:
        """``ask`` of every item, several at once where the judge takes that, in their order."""
        if self.threads == 1:
            return [ask(item) for item in items]
        with ThreadPoolExecutor(self.threads) as pool:
            return list(pool.map(ask, items))

    def against_rule(self, verdict: bool | None, rule: float | None) -> None:
        """Count whether a verdict and a rule's score say the same of an answer."""
        if verdict is not None and rule is not None:
            with self._lock:
                self.counts["rule/agreed" if verdict == (rule > 0.5) else "rule/differed"] += 1

    def _say(self, kind: str, messages: Sequence[Message], seed: int) -> str:
        """The reply; "" where the budget is spent, and where the judge's endpoint does not take this question."""
        try:
            return self.complete(messages, seed)
        except BudgetSpentError:
            with self._lock:
                self.counts[f"{kind}/over_budget"] += 1
        except RefusedRequestError as error:
            with self._lock:
                self.counts[f"{kind}/not_taken"] += 1
                first = self.counts[f"{kind}/not_taken"] == 1
            if first:
                _log.warning("The judge was not asked: %s Such verdicts are counted as unread.", error)
        return ""

    def _shown(self, kind: str, *texts: str) -> list[str]:
        """What the judge may read of answers; attempts to speak to it are counted."""
        neutralised = [neutral(text) for text in texts]
        with self._lock:
            if attempts := sum(n > 0 for _, n in neutralised):
                self.counts[f"{kind}/injected"] += attempts
        return [text for text, _ in neutralised]

    def compare(self, question: str, a: str, b: str, seed: int = 0) -> float | None:
        """The margin of answer ``a`` over ``b``: -3, -1, 0, 1, 3; None if the verdict could not be read."""
        said = self._say("pair", prompts.pair(question, *self._shown("pair", a, b)), seed)
        margin = verdicts.read_pair(said)
        self._count("pair", margin is not None, said)
        return margin

    def both_orders(self, question: str, a: str, b: str, seed: int = 0) -> float | None:
        """The mean margin of ``a`` over ``b`` in both orders, so that a liking for what stands first cancels; None
        unless both verdicts could be read."""
        first, second = self.compare(question, a, b, seed), self.compare(question, b, a, seed)
        return None if first is None or second is None else (first - second) / 2

    def grade(
        self,
        question: str,
        response: str,
        rubric: str = prompts.RUBRIC,
        reference: str | None = None,
        seed: int = 0,
    ) -> float | None:
        """The response's score by a rubric, 1 to 10; None if the verdict could not be read."""
        (shown,) = self._shown("grade", response)
        said = self._say("grade", prompts.grade(question, shown, rubric, reference), seed)
        score = verdicts.read_number(said, "score", 1, 10)
        self._count("grade", score is not None, said)
        return score

    def grade_turn(self, conversation: Sequence[prompts.JudgedTurn], seed: int = 0) -> float | None:
        """The score of a conversation's last response, 1 to 10; None if the verdict could not be read."""
        shown = self._shown("turn", *(one.response for one in conversation))
        asked = [replace(one, response=text) for one, text in zip(conversation, shown, strict=True)]
        said = self._say("turn", prompts.turn(asked), seed)
        score = verdicts.read_number(said, "score", 1, 10)
        self._count("turn", score is not None, said)
        return score

    def correct(self, question: str, reference: str, response: str, seed: int = 0) -> bool | None:
        """Whether the response's result is the reference's; None if the verdict could not be read."""
        (shown,) = self._shown("correctness", response)
        said = self._say("correctness", prompts.correctness(question, reference, shown), seed)
        verdict = verdicts.read_field(said, "correctness", ("correct", "incorrect"))
        self._count("correctness", verdict is not None, said)
        return None if verdict is None else verdict == "correct"

    def attempt(self, question: str, reference: str, response: str, seed: int = 0) -> str | None:
        """ "correct", "incorrect" or "not_attempted"; None if the verdict could not be read."""
        (shown,) = self._shown("attempt", response)
        said = self._say("attempt", prompts.attempt(question, reference, shown), seed)
        verdict = verdicts.read_field(said, "verdict", ("correct", "incorrect", "not_attempted"))
        self._count("attempt", verdict is not None, said)
        return verdict

    def safety(self, question: str, response: str, seed: int = 0) -> str | None:
        """ "safe", "unsafe" or "reject"; None if the verdict could not be read."""
        (shown,) = self._shown("safety", response)
        said = self._say("safety", prompts.safety(question, shown), seed)
        verdict = verdicts.read_field(said, "verdict", ("safe", "unsafe", "reject"))
        self._count("safety", verdict is not None, said)
        return verdict

    def same(self, original: str, translated: str, seed: int = 0) -> bool | None:
        """Whether a translation says what the original does; None if the verdict could not be read."""
        said = self._say(
            "translation check", prompts.same(*self._shown("translation check", original, translated)), seed
        )
        verdict = verdicts.read_field(said, "meaning", ("same", "other"))
        self._count("translation check", verdict is not None, said)
        return None if verdict is None else verdict == "same"


class Teacher:
    """Asks for chains rewritten into the readable format."""

    def __init__(self, complete: Complete, form: str = "boxed"):
        self.complete, self.form = complete, form
        self.counts: Counter[str] = Counter()

    def rewrite(self, question: str, draft: str, language: str = "en", seed: int = 0) -> str | None:
        """``<think>...</think>`` and a summary that ends in the answer; None if the reply has not the form.

        That the rewritten answer is right is for the task's verifier to say: ask it again.
        """
        try:
            reply = self.complete(prompts.teacher(question, draft, language, self.form), seed)
        except RefusedRequestError as error:
            self.counts["not_taken"] += 1
            if self.counts["not_taken"] == 1:
                _log.warning("The teacher was not asked: %s Such replies are counted as unread.", error)
            reply = ""
        sections = verdicts.read_sections(reply)
        right = sections is not None and not any(tag in sections[0] for tag in TAGS)
        self.counts["asked"] += 1
        self.counts["unread"] += not right
        if sections is None or not right:
            return None
        return f"<think>{sections[0]}</think> {sections[1]}"
