"""Conversations turn by turn: every first question, then every second one behind the model's own answer, and so on.

An answer goes into the conversation without its thinking, as R1's chat template has it. A turn of all conversations is
one batch of whatever engine there is. What is drawn depends on the seed, the turn and the conversation's place.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from aha import chat
from aha.benchmarks import keeping
from aha.benchmarks.records import GradedProblem
from aha.benchmarks.turns import grading, saying
from aha.benchmarks.turns.saying import Conversation, SaidTurns
from aha.rewards.accuracy import full_text, given_up
from aha.sampling.client.engine import in_parallel
from aha.sampling.engine import Request
from aha.sampling.rollouts import WeightedRewards, score_group, share_of
from aha.sampling.sampler import SamplingParams, seed_for
from aha.stages.engines import AnswerSource
from aha.tasks import turns
from aha.tasks.base import Task
from aha.types import Finish, Group, Problem, Rollout

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TurnSampling:
    """How conversations are sampled and graded: ``k`` of each problem; ``strict``: an answer must keep its format."""

    source: AnswerSource
    task: Task
    rewards: WeightedRewards
    params: SamplingParams
    k: int
    seed: int
    strict: bool = True
    threads: int = 0  # in which is graded; 0: one after another
    progress: Callable[[int], None] | None = None


def sample(
    how: TurnSampling,
    problems: Sequence[Problem],
    waiting: Sequence[Problem],
    file: Path,
    done: dict[str, GradedProblem],
) -> None:
    """Ask the waiting problems turn by turn, each by the keys that it has among all; write each when its last turn is
    graded."""
    place = {problem.id: index for index, problem in enumerate(problems)}
    mine = [waiting[i] for i in share_of(how.source.engine, len(waiting))]
    longest = max(map(turns.count, waiting))
    with keeping.kept(file, done) as keep, saying.kept(file) as said:
        for turn in range(longest):
            _ask(how, [p for p in mine if turns.count(p) > turn], place, turn, said)
            for problem, groups in _graded(how, [p for p in mine if turns.count(p) == turn + 1], said):
                keep(*grading.record(problem, groups, how.task, how.strict))


def _ask(
    how: TurnSampling, problems: Sequence[Problem], place: dict[str, int], turn: int, said: SaidTurns
) -> None:
    """One turn of all conversations that have not answered it. One that has no room left is broken off."""
    requests: list[Request] = []
    conversations: list[Conversation] = []
    for problem in problems:
        for number in range(how.k):
            name = (problem.id, number)
            if len(said.of(name)) > turn:
                continue
            if turn and given_up(said.of(name)[-1]) is not None:
                said.add(name, _nothing())
                continue
            now = turns.at_turn(problem, [answer_of(r) for r in said.of(name)])
            requests += how.source.prompter.requests([now], 1, place[problem.id] * how.k + number)
            conversations.append(name)
    _sample_turn(how, requests, conversations, turn, said)


def _sample_turn(
    how: TurnSampling,
    requests: Sequence[Request],
    conversations: Sequence[Conversation],
    turn: int,
    said: SaidTurns,
) -> None:
    fits = [_fits(how, request) for request in requests]
    for name in (n for n, fit in zip(conversations, fits, strict=True) if not fit):
        said.add(name, _nothing())
    if not all(fits):
        lost = fits.count(False), len(fits), turn + 1, how.source.context
        _log.warning("%d of %d conversations have no room left for turn %d in the model's context of %d tokens: "
                     "they are not graded from there on.", *lost)  # fmt: skip
    asked = [(r, n) for r, n, fit in zip(requests, conversations, fits, strict=True) if fit]
    if not asked:
        return
    seed = seed_for(how.seed, "turn", turn) if turn else how.seed
    stream = how.source.engine.generate([r for r, _ in asked], how.params, seed=seed, progress=how.progress)
    for at, (rollout,) in stream:
        said.add(asked[at][1], rollout)


def _fits(how: TurnSampling, request: Request) -> bool:
    """Whether a turn leaves room for an answer; an endpoint's room is not known."""
    ids = getattr(request, "prompt_ids", ())
    return len(ids) + how.params.max_tokens <= how.source.context


def answer_of(rollout: Rollout) -> str:
    """An answer as it stands in the conversation: without its thinking."""
    parsed = chat.parse(full_text(rollout), require_answer=False)
    return rollout.text.strip() if parsed.think is None else parsed.body


def _nothing() -> Rollout:
    """The answer to a turn that was not asked."""
    empty = np.zeros(0, np.int64)
    return Rollout(empty, empty, np.zeros(0, np.float32), "", Finish.ABORT)


def _graded(
    how: TurnSampling, problems: Sequence[Problem], said: SaidTurns
) -> Iterator[tuple[Problem, list[list[Group]]]]:
    """Each problem with its samples' turns, graded."""

    def grade(problem: Problem) -> list[list[Group]]:
        return [_conversation(how, problem, said.of((problem.id, number))) for number in range(how.k)]

    if not how.threads:
        yield from ((problem, grade(problem)) for problem in problems)
        return
    jobs = [lambda problem=problem: grade(problem) for problem in problems]
    progress = how.progress
    idle = None if progress is None else lambda: progress(0)
    for at, groups in in_parallel(jobs, how.threads, idle):
        yield problems[at], groups


def _conversation(how: TurnSampling, problem: Problem, rollouts: Sequence[Rollout]) -> list[Group]:
    """A conversation's turns as groups of one answer."""
    answers = [answer_of(rollout) for rollout in rollouts]
    asked = [turns.at_turn(problem, answers[:turn]) for turn in range(len(rollouts))]
    asked = how.source.prompter.asked(asked)
    return [
        score_group(now, (rollout,), grading.rewards_of(now, how.rewards))
        for now, rollout in zip(asked, rollouts, strict=True)
    ]
