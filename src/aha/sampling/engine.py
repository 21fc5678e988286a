"""What every engine is: what it is asked, what is known of it before it is made, and its whole life.

``make`` -> ``load_weights`` (or the policy's own modules) -> ``generate`` -> ``rest`` -> ... -> ``close``. An engine of
one's own is a subclass in a folder and one entry in ``engines.ENGINES``: nothing else asks which engine there is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from torch import Tensor

from aha import chat
from aha.modeling import own_weights
from aha.sampling.colocated import Colocated
from aha.sampling.sampler import SamplingParams
from aha.types import AhaError, Finish, Group, Problem, Rollout

UNLOADED = -1
"""The version of an engine that has been given no weights yet."""

Partials = dict[int, tuple[Rollout, ...]]
"""Partial rollouts: what there is of requests that have not ended, by the request's index."""


@dataclass(frozen=True, slots=True)
class Request:
    """``n`` completions of one prompt. ``key`` picks the random streams: equal keys draw equal numbers.

    ``partials`` [n] is what an earlier call made of the completions: those that ended stand, those with
    Finish.ABORT are continued, with the weights as they now are. ``seed`` is that call's, so that they draw the
    numbers they would have drawn. ``params`` are its own, in place of the call's.
    """

    prompt_ids: Sequence[int]
    n: int
    key: int
    opened_think: bool = False
    partials: tuple[Rollout, ...] = ()
    seed: int | None = None
    params: SamplingParams | None = None


@dataclass(frozen=True, slots=True)
class EngineSetup:
    """What an engine is made for. ``rows``: completions sampled at once; ``longest``: tokens of a sequence; ``stage``:
    the settings that ask for it, among which an engine finds its own; ``rewards``: what graders beside it grade by."""

    rows: int
    longest: int
    threads: int = 0
    stage: Any = None
    rewards: Any = None


@dataclass(frozen=True, slots=True)
class Proof:
    """That the engine holds the weights of ``version``: one hash of all of them, how many tensors were read back
    off the model itself and how many its layout hides, and the seconds it took."""

    version: int
    hash: str
    tensors: int
    hidden: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class LostWorker:
    """A worker that was lost and replaced, and why."""

    worker: str
    reason: str


class GroupGrader(Protocol):
    """Grades groups beside the sampling. They go in by a ticket and come out scored, in any order."""

    def submit(self, ticket: int, problem: Problem, rollouts: Sequence[Rollout]) -> None: ...

    def finished(self, *, wait: bool) -> list[tuple[int, Group]]:
        """Those graded since; with ``wait`` of one at least, if any is left."""
        ...

    def clear(self) -> None:
        """Forget what was submitted."""
        ...


class Engine:
    """What samples. One that shares the policy's modules needs ``make`` and ``generate``; one with weights of its own
    also ``load_weights``, ``prove`` and ``altered``, by which the doctor sees that they are the policy's."""

    shares_modules: ClassVar[bool] = False
    """It samples with the policy's own modules: nothing is sent, and all weights must be in them meanwhile."""
    takes_weights: ClassVar[bool] = True
    """It has weights of its own, which ``load_weights`` brings."""
    for_all: bool = False
    """The first of several ranks drives it, and it samples for all of them."""
    computes_alike: ClassVar[bool] = False
    """It computes as the trainer does: its log probabilities need no correction."""
    continues: ClassVar[bool] = False
    """It goes on with partial rollouts, and hands back those of a call that is closed early."""
    samples_beside: ClassVar[bool] = False
    """It may sample while the policy is updated."""
    has_workers: ClassVar[bool] = False
    """It has workers that may be lost and replaced."""
    made_from_unsharded: ClassVar[bool] = False
    """It is made from a model with all weights in it, also where ranks keep parts."""

    version: int = UNLOADED

    # --- before it is made --------------------------------------------------------------------------------

    @classmethod
    def check(cls, stage: Any) -> None:
        """Raise AhaError where a stage with these settings cannot have it: not installed, or not with these."""

    @classmethod
    def cluster_cpus(cls, stage: Any) -> float:
        """CPUs that it takes of the cluster which the trainer's ranks are on."""
        return 0.0

    @classmethod
    def colocated(cls, stage: Any) -> Colocated | None:
        """What it takes of the trainer's GPUs, where its weights and its cache lie there beside the policy."""
        return None

    @classmethod
    def grades(cls, stage: Any) -> bool:
        """Whether it grades beside the sampling, in processes that are given one's own rewards."""
        return False

    @classmethod
    def make(cls, model: Any, tokenizer: Any, setup: EngineSetup) -> Engine:
        """The engine that samples from ``model``, whose weights are another's affair if it ``takes_weights``."""
        raise NotImplementedError

    # --- weights ------------------------------------------------------------------------------------------

    def weights_of(self, model: Any, state: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        """A model's tensors by the names that ``load_weights`` takes; ``state`` stands in for the model's own."""
        return own_weights(model, state)

    def load_weights(self, tensors: Mapping[str, Tensor], version: int) -> Any:
        """Sample with these from now on, as ``version``. Raises AhaError, naming tensors, if it does not hold them."""
        raise NotImplementedError

    def prove(self, tensors: Mapping[str, Tensor]) -> Proof:
        """Ask the engine itself what it holds, now. Raises AhaError if that is not ``tensors``."""
        raise NotImplementedError

    def altered(self, tensors: Mapping[str, Tensor], sound: Mapping[str, Tensor], version: int) -> str:
        """What it says to ``tensors`` in place of the ``sound`` ones; empty where it notices nothing."""
        raise NotImplementedError

    # --- at work ------------------------------------------------------------------------------------------

    def generate(
        self,
        requests: Sequence[Request],
        params: SamplingParams,
        *,
        seed: int = 0,
        progress: Callable[[int], None] | None = None,
        leftovers: Partials | None = None,
    ) -> Iterator[tuple[int, tuple[Rollout, ...]]]:
        """Yield (index of the request, its ``n`` rollouts) as requests finish; closing the iterator cancels the rest.

        ``progress`` is told of tokens as they are sampled. One that ``continues`` is given ``leftovers``, which get
        what there is of the requests that were not yielded.
        """
        raise NotImplementedError

    @property
    def grader(self) -> GroupGrader | None:
        """What grades beside it, if anything does."""
        return None

    def rest(self) -> None:
        """Nothing is sampled for a while: memory on the trainer's GPU may be given back."""

    def events(self) -> list[LostWorker]:
        """Workers that were lost and replaced since this was last asked."""
        return []

    def close(self) -> None:
        """End what it started. Harmless the second time."""


class FirstRanksEngine(Engine):
    """What a rank has in place of an engine that the first rank drives: the version, and nothing to ask."""

    for_all = True
    takes_weights = False
    version = 0

    def generate(self, *_: object, **more: object) -> Iterator[tuple[int, tuple[Rollout, ...]]]:
        """Never asked: the first rank samples. Raises AhaError."""
        raise AhaError("The first rank alone samples with this engine; its rollouts come from there.")


def check_room(requests: Sequence[Request], params: SamplingParams, limit: int) -> None:
    """Raise AhaError for an empty prompt, and for one that leaves no room among ``limit`` tokens."""
    for i, request in enumerate(requests):
        if not len(request.prompt_ids):
            raise AhaError(f"Prompt {i} is empty: there is nothing to continue.")
        if len(request.prompt_ids) + params.max_tokens > limit:
            raise AhaError(
                f"Prompt {i} has {len(request.prompt_ids)} tokens; with max_tokens={params.max_tokens} it "
                f"exceeds the model's context of {limit} tokens. Shorten the prompt, filter long ones "
                "out, or lower max_tokens."
            )


def ending_ids(model: Any, tokenizer: Any) -> frozenset[int]:
    """Every id that ends a completion: the tokenizer's EOS, what ends a turn in its chat template, and those of the
    generation config."""
    ids = set(chat.stop_ids(tokenizer))
    configured = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    if configured is not None:
        ids.update([configured] if isinstance(configured, int) else configured)
    return frozenset(ids)


def as_rollout(
    request: Request,
    ids: Sequence[int],
    logprobs: Sequence[float],
    tokenizer: Any,
    ends: frozenset[int],
    version: int,
) -> Rollout:
    """What an engine sampled of a request, ids and logprobs [C], as a rollout: cut behind the first id that ends it."""
    end = next((i for i, token in enumerate(ids) if int(token) in ends), None)
    kept = len(ids) if end is None else end + 1
    text = tokenizer.decode([int(t) for t in (ids if end is None else ids[:end])], skip_special_tokens=True)
    return Rollout(
        np.asarray(request.prompt_ids, np.int32),
        np.asarray(ids[:kept], np.int32),
        np.asarray(logprobs[:kept], np.float32),
        text,
        Finish.LENGTH if end is None else Finish.STOP,
        version,
        request.opened_think,
    )
