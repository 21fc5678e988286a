"""Completions of problems, and of texts that were begun: what every way of thinking longer is made of.

What is drawn depends on the seed, on what it is drawn for, on the problem's place among all and on the sample's number
alone; so a problem that is asked again draws the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from aha import chat
from aha.benchmarks.records import GradedAnswer, record
from aha.rewards.accuracy import accuracy
from aha.rewards.format import strict_format
from aha.sampling.engine import Request
from aha.sampling.rollouts import WeightedRewards, score_group
from aha.sampling.sampler import SamplingParams, seed_for
from aha.stages.engines import AnswerSource
from aha.tasks.base import Task
from aha.types import AhaError, Finish, Problem, Rollout

SPREAD = 4096
"""Texts that may be begun for one problem at a time; each has a random stream of its own."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A text that was begun: the prompt's ids [P], the ids behind it [C] (sampled or appended), how many tokens were
    sampled for it, and why it stands where it does (None: it was appended to)."""

    prompt_ids: tuple[int, ...]
    ids: tuple[int, ...] = ()
    sampled: int = 0
    finish: Finish | None = None
    opened_think: bool = False


@dataclass(slots=True)
class ThinkingWriter:
    """One model on one task. ``places``: each problem's number among all. ``progress`` is told of tokens."""

    source: AnswerSource
    task: Task
    params: SamplingParams
    seed: int = 0
    strict: bool = True
    places: Mapping[str, int] = field(default_factory=dict)
    progress: Callable[[int], None] | None = None

    @property
    def rewards(self) -> WeightedRewards:
        """How answers are graded, as in every evaluation."""
        return {"accuracy": (1.0, accuracy(self.task.verify, parts=False)), "format": (0.0, strict_format())}

    @property
    def tokenizer(self) -> Any:
        """The model's. Raises AhaError behind an endpoint, which continues no text by its tokens."""
        if self.source.tokenizer is None:
            raise AhaError(
                "An endpoint's text cannot be continued by its tokens: ask it with --methods votes,refine,length, or "
                "give a checkpoint."
            )
        return self.source.tokenizer

    def answers(self, problems: Sequence[Problem], n: int, purpose: str) -> list[tuple[Rollout, ...]]:
        """``n`` whole completions of each problem."""
        asked = [self.source.prompter.requests([p], n, self.places[p.id])[0] for p in problems]
        return self._ask(asked, self.params, purpose)

    def room(self, problem: Problem) -> int:
        """Tokens that a completion of a problem may have; as many as it likes behind an endpoint."""
        if self.source.tokenizer is None:
            return self.params.max_tokens
        return min(self.params.max_tokens, self.source.context - len(self.source.prompter.encode(problem)[0]))

    def begin(self, problem: Problem) -> Draft:
        """A draft with nothing behind its prompt."""
        _ = self.tokenizer
        ids, opened = self.source.prompter.encode(problem)
        return Draft(tuple(ids), opened_think=opened)

    def go_on(
        self,
        drafts: Sequence[tuple[Problem, Draft]],
        purpose: str,
        *,
        most: int | None = None,
        within: int | None = None,
        stop: tuple[str, ...] = (),
        n: int = 1,
    ) -> list[tuple[Draft, ...]]:
        """``n`` continuations of each draft up to one of the texts ``stop``, which is kept: by ``most`` tokens at most,
        and to no more than ``within`` behind the prompt. A draft without room comes back as it is, cut."""
        numbered: dict[str, int] = {}
        requests, places = [], []
        for at, (problem, draft) in enumerate(drafts):
            number = numbered[problem.id] = numbered.get(problem.id, -1) + 1
            left = self.source.context - len(draft.prompt_ids)
            room = min(left if within is None else within, left) - len(draft.ids)
            room = room if most is None else min(most, room)
            if room > 0:
                places.append(at)
                key = self.places[problem.id] * SPREAD + number
                own = replace(self.params, max_tokens=room, stop=stop)
                requests.append(
                    Request([*draft.prompt_ids, *draft.ids], n, key, draft.opened_think, params=own)
                )
        grown = [(replace(draft, finish=Finish.LENGTH),) * n for _, draft in drafts]
        for at, rollouts in zip(places, self._fitted(requests, purpose), strict=True):
            grown[at] = tuple(_grown(drafts[at][1], rollout) for rollout in rollouts)
        return grown

    def _fitted(self, requests: Sequence[Request], purpose: str) -> list[tuple[Rollout, ...]]:
        """Ask requests with limits of their own, in calls whose longest prompt has room for the largest limit."""
        answers: dict[int, tuple[Rollout, ...]] = {}
        left = list(range(len(requests)))
        while left:
            limits = [params.max_tokens for i in left if (params := requests[i].params)]
            sizes = {i: len(requests[i].prompt_ids) for i in left}
            call = [i for i in left if sizes[i] + max(limits) <= self.source.context]
            limit = replace(self.params, max_tokens=max(limits))
            if not call:  # the longest prompt alone has less room than another's limit
                call = [max(left, key=lambda i: sizes[i])]
                limit = requests[call[0]].params or self.params
            answers |= zip(call, self._ask([requests[i] for i in call], limit, purpose), strict=True)
            left = [i for i in left if i not in answers]
        return [answers[i] for i in range(len(requests))]

    def _ask(
        self, requests: Sequence[Any], params: SamplingParams, purpose: str
    ) -> list[tuple[Rollout, ...]]:
        answers: dict[int, tuple[Rollout, ...]] = {}
        stream = self.source.engine.generate(
            requests, params, seed=seed_for(self.seed, purpose, 0), progress=self.progress
        )
        for index, rollouts in stream if requests else ():
            answers[index] = rollouts
        return [answers[i] for i in range(len(requests))]

    # --- texts ---------------------------------------------------------------------------------------------

    def text(self, draft: Draft) -> str:
        """What stands behind the prompt."""
        ends = self._ends
        kept = [i for i in draft.ids if i not in ends]
        return self.tokenizer.decode(kept, skip_special_tokens=True)

    @property
    def _ends(self) -> frozenset[int]:
        return getattr(self.source.engine, "eos_ids", frozenset()) or frozenset(chat.stop_ids(self.tokenizer))

    def ended(self, draft: Draft) -> bool:
        """Whether the model itself ended its text."""
        return draft.finish is Finish.STOP and bool(draft.ids) and draft.ids[-1] in self._ends

    def append(self, draft: Draft, text: str) -> Draft:
        """The draft with ``text`` behind it, its own end taken away."""
        ids = draft.ids[:-1] if self.ended(draft) else draft.ids
        return replace(draft, ids=(*ids, *self.encode(text)), finish=None)

    def encode(self, text: str) -> list[int]:
        """Token ids of a text that follows another."""
        return [int(i) for i in self.tokenizer.encode(text, add_special_tokens=False)]

    def cut_before(self, draft: Draft, mark: str) -> Draft:
        """The draft up to the first ``mark`` in its text: its own tokens, but for one that the mark begins within."""
        whole = self.text(draft)
        if mark not in whole:
            return draft
        before, ids = whole[: whole.index(mark)], list(draft.ids)
        while ids and not before.startswith(self.text(replace(draft, ids=tuple(ids)))):
            ids.pop()
        rest = before[len(self.text(replace(draft, ids=tuple(ids)))) :]
        return replace(draft, ids=(*ids, *self.encode(rest)) if rest else tuple(ids), finish=None)

    def rollout(self, draft: Draft) -> Rollout:
        """The draft as a completion, to be graded."""
        ids = np.asarray(draft.ids, np.int64)
        finish = draft.finish or Finish.LENGTH
        return Rollout(
            np.asarray(draft.prompt_ids, np.int64), ids, np.full(len(ids), np.nan, np.float32), self.text(draft),
            finish, 0, draft.opened_think,
        )  # fmt: skip

    def grade(self, problem: Problem, rollouts: Sequence[Rollout]) -> tuple[GradedAnswer, ...]:
        """Right or wrong, by the task, and each answer's vote."""
        graded, _ = record(score_group(problem, rollouts, self.rewards), self.task, self.strict)
        return graded.samples


def _grown(draft: Draft, rollout: Rollout) -> Draft:
    more = tuple(int(i) for i in rollout.completion_ids)
    return replace(draft, ids=(*draft.ids, *more), sampled=draft.sampled + len(more), finish=rollout.finish)
