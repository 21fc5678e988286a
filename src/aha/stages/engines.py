"""Where a stage's answers come from: a checkpoint in this process, vLLM, an endpoint by its address, or a program.

An endpoint is written ``http://host:port/v1#MODEL``: what stands after ``#`` is the model's name there.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aha import hardware, modeling, plugins, ranks
from aha.judges.asking import Complete, over, own
from aha.sampling.client.endpoint import Client, Endpoint
from aha.sampling.client.engine import ChatPrompter, RemoteEngine
from aha.sampling.engine import Engine, EngineSetup, FirstRanksEngine
from aha.sampling.engines import engine_class
from aha.sampling.local.engine import LocalEngine
from aha.sampling.rollouts import Prompter
from aha.stages.local_judge import LocalComplete
from aha.training.policy import Policy
from aha.types import AhaError, Problem

if TYPE_CHECKING:
    from aha.runs.pipeline import Context, Stage

_log = logging.getLogger(__name__)

ANSWERS = "answers.jsonl"
"""Every answer of an endpoint, by request: what a stage that was killed does not pay for again."""


@dataclass(slots=True)
class AnswerSource:
    """An engine with what renders for it; ``tokenizer`` is None behind an endpoint."""

    engine: Engine
    prompter: Any  # Prompter or ChatPrompter
    tokenizer: Any
    context: int  # longest sequence, in tokens

    def fit(self, problems: Sequence[Problem], max_tokens: int) -> tuple[list[Problem], int]:
        """The problems whose prompts leave room for ``max_tokens``, and that number. Where the context is too short for
        it beside any prompt: shorter completions, and a warning. Raises AhaError where no prompt fits at all."""
        room = self.context - max_tokens
        asked = [] if self.tokenizer is None else self.prompter.asked(problems)
        lengths = [len(self.prompter.encode(p)[0]) for p in asked]
        if not lengths or room >= min(lengths):
            return self.prompter.drop_long(problems, room), max_tokens
        kept = self.prompter.drop_long(problems, min(self.context - 1, max(min(lengths), self.context // 2)))
        left = self.context - max(len(self.prompter.encode(p)[0]) for p in kept)
        _log.warning("The model's context of %d tokens has room for %d beside prompts: completions end there, not at "
                     "max_tokens=%d.", self.context, left, max_tokens)  # fmt: skip
        return kept, left


def is_endpoint(source: object) -> bool:
    """Whether a model is named by an address."""
    return isinstance(source, str) and source.startswith(("http://", "https://"))


def connect(address: str, folder: Path, **options: Any) -> Client:
    """A client of ``http://host:port/v1#MODEL`` that remembers its answers in ``folder``; ``options`` of ``Endpoint``.

    Raises AhaError for an address without a model's name.
    """
    base, _, model = address.partition("#")
    if not model:
        raise AhaError(f"'{address}' names no model. Write the address and the model: {address}#MODEL.")
    return Client(Endpoint(base, model, **options), folder / ANSWERS)


def open_source(
    context: Context, source: str | Stage, prompt: str, dtype_name: str = "auto", rows: int = 512
) -> AnswerSource:
    """The engine behind a model's name, a stage or an address. ``rows``: completions sampled at once."""
    if isinstance(source, str) and is_endpoint(source):
        return AnswerSource(
            RemoteEngine(connect(source, context.folder)), ChatPrompter(prompt=prompt), None, 1 << 30
        )
    path = context.model_path(source)
    hardware.set_threads(context.threads)
    device = hardware.pick_device(context.device)
    dtype = hardware.pick_dtype(context.dtype if context.dtype != "auto" else dtype_name, device)
    model, tokenizer = modeling.load_model(path, device, dtype), modeling.load_tokenizer(path)
    engine = LocalEngine(model, tokenizer, max_rows=rows)
    return AnswerSource(engine, Prompter(tokenizer, prompt), tokenizer, modeling.max_context(model))


def completer(context: Context, address: str | None, program: Complete, **options: Any) -> Complete:
    """Who judges or teaches: the endpoint at ``address``, a checkpoint, or ``program`` where none is given.
    ``options``: ``temperature`` and ``max_tokens`` of the replies."""
    if address is None:
        return program
    if (part := own_judge(address)) is not None:
        return own(part)
    if not is_endpoint(address):
        return local(context, address, **options)
    return over(connect(address, context.folder), **options)


def judging(stage: Any) -> dict[str, Any]:
    """How a stage's judge is asked, as options of ``completer``."""
    return {"max_tokens": stage.judge_reply_tokens, "schema": stage.judge_schema}


def local(context: Context, path: str, **options: Any) -> LocalComplete:
    """A checkpoint as judge or teacher; its answers are remembered in the stage's folder. Raises AhaError where its
    verdicts are to keep a schema, which only servers know."""
    if options.pop("schema", False):
        raise AhaError(f"'{path}' is a checkpoint, and judge_schema needs a server: aha serve {path}.")
    return LocalComplete(
        path, context.folder / ANSWERS, device=context.device, dtype=context.dtype, **options
    )


def own_judge(address: str) -> str | None:
    """The reference that a judge or teacher is named by; None for an address."""
    return address if plugins.is_reference(address) else plugins.entry("judges", address)


def concurrency(address: str | None) -> int:
    """How many questions may be asked at once: programs are asked one after another."""
    asked = address is not None and own_judge(address) is None
    return Endpoint.__dataclass_fields__["concurrency"].default if asked else 1


# --- for a policy that is trained -----------------------------------------------------------------------------


def for_policy(name: str, policy: Policy, tokenizer: Any, setup: EngineSetup) -> Engine:
    """The engine of that name that samples from ``policy``.

    Every rank calls it: an engine that is driven by the first rank is made there, and the others get what stands in
    its place.
    """
    kind = engine_class(name)
    if not kind.for_all:
        return kind.make(policy.sampler, tokenizer, setup)
    engines: list[Engine] = []
    with policy.unsharded() if kind.made_from_unsharded else nullcontext():
        ranks.broadcast_object(lambda: engines.append(kind.make(policy.sampler, tokenizer, setup)))
    return engines[0] if engines else FirstRanksEngine()


def ready(engine: Engine, policy: Policy) -> AbstractContextManager[None]:
    """Within it ``engine`` can sample: one that shares the policy's modules needs all weights in them, any other has
    its own. Every rank must enter it at the same time."""
    return policy.unsharded() if engine.shares_modules else nullcontext()


def sync(engine: Engine, policy: Policy) -> float:
    """Bring the policy's weights and version to its engine, proven; returns the seconds it took.

    One that shares the modules, and a rank whose engine is driven by the first, only note the version; where weights
    are sharded such a rank gives its parts: parameter by parameter they come together on the first rank's CPU. Every
    rank must call it. Raises AhaError if the engine does not hold what was sent.
    """
    started = time.perf_counter()
    parts = policy.shards is not None and not engine.shares_modules
    if not (ranks.broadcast_object(lambda: _old(engine, policy)) if parts else _old(engine, policy)):
        engine.version = policy.version
        return 0.0
    state = policy.weights() if parts else None
    if not engine.takes_weights:
        engine.version = policy.version
        return 0.0
    if policy.adapters is None:
        engine.load_weights(engine.weights_of(policy.sampler, state), policy.version)
    else:
        with policy.adapters.merged():
            engine.load_weights(
                engine.weights_of(policy.model, policy.adapters.plain_state()), policy.version
            )
    return time.perf_counter() - started


def _old(engine: Engine, policy: Policy) -> bool:
    """Whether an engine with weights of its own has others than the policy's."""
    return engine.takes_weights and engine.version != policy.version
