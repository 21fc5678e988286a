"""One step's rollouts: which problems, sampled and graded, until enough groups carry a signal."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from aha import ranks
from aha.rewards import PROCESS_REWARDS
from aha.sampling.engine import Engine, GroupGrader
from aha.sampling.rollouts import (
    Prompter,
    WeightedRewards,
    gather_groups,
    sample_groups,
    samplers,
    stream_groups,
)
from aha.sampling.sampler import SamplingParams, seed_for
from aha.stages.rl.partial_rollouts import PartialRollout, PartialRollouts
from aha.training.algorithm import Algorithm
from aha.training.curriculum import Curriculum
from aha.training.sequences import is_right
from aha.types import Finish, Group, Problem, Rollout, Scored

LEAST_SIGNAL = 0.25  # assumed share of groups with signal when estimating how many more to sample


WORDS = {
    "introductory": 1, "easy": 1, "beginner": 1, "elementary": 1, "medium": 2, "interview": 2, "intermediate": 2,
    "medium_hard": 2.5, "hard": 3, "competition": 3, "advanced": 3, "very_hard": 4, "expert": 4,
}  # fmt: skip
"""Levels that data sets say in words, easy to hard."""


def difficulties(problems: Sequence[Problem]) -> list[float] | None:
    """How hard every problem is, by the number under 'difficulty' or 'level'; one without (MATH has "Level ?")
    stands in the middle. None if fewer than half of them have one."""
    levels = [p.metadata.get("difficulty", p.metadata.get("level")) for p in problems]
    numbers = [_number(value) for value in levels]
    known = sorted(n for n in numbers if n is not None)
    if not known or 2 * len(known) < len(numbers):
        return None
    return [known[len(known) // 2] if n is None else n for n in numbers]


def _number(value: Any) -> float | None:
    """``3``, ``"3"`` and ``"Level 3"`` are 3; a word is where it stands in ``WORDS``."""
    words = str(value).split()
    try:
        number = float(words[-1])
    except (ValueError, IndexError):
        return WORDS.get("_".join(words).lower().replace("-", "_"))
    return number if math.isfinite(number) else None


class Collector:
    """Draws problems by the curriculum and samples them with one engine."""

    def __init__(
        self,
        engine: Engine,
        prompter: Prompter,
        problems: Sequence[Problem],
        rewards: WeightedRewards,
        algorithm: Algorithm,
        seed: int,
        grader: GroupGrader | None = None,
    ):
        self.grader = grader
        self.engine, self.prompter, self.problems = engine, prompter, problems
        self.rewards, self.algorithm, self.seed = rewards, algorithm, seed
        self.curriculum = Curriculum(
            len(problems),
            algorithm.curriculum,
            seed=seed,
            difficulty=difficulties(problems),
            easy_share=algorithm.easy_share,
            keep=algorithm.pass_rate_range,
        )
        self.rounds = 0  # of sampling, in the last step
        self.partial_rollouts = PartialRollouts(algorithm.partial_rollouts)
        self.has_outcome = any(name.partition(":")[0] not in PROCESS_REWARDS for name in rewards)

    def collect(
        self,
        step: int,
        prompts: int,
        n: int,
        params: SamplingParams,
        progress: float,
        tick: Callable[[int], None] | None = None,
    ) -> list[Group]:
        """Groups of ``n`` for ``prompts`` problems; more, where too few of them carry a signal (DAPO).

        Whatever was sampled is returned: groups without signal are the algorithm's to leave out. With
        ``oversample`` more problems are started, and the step ends as soon as enough groups are there; the
        slowest are cancelled, which favours problems with short answers, or go on in the next one
        (``partial_rollouts``).
        """
        needed = math.ceil(prompts * self.algorithm.dynamic_sampling)
        collected: list[Group] = []
        self.rounds, count, going_on = 0, prompts, self.partial_rollouts.take(step)
        while True:
            started = math.ceil(count * (1 + self.algorithm.oversample))
            seed = seed_for(self.seed, "rollout" if not self.rounds else f"rollout{self.rounds}", step)
            more = self.curriculum.take(max(0, started - len(going_on)), progress)
            going_on += self._new(more, n, step, seed)
            enough = partial(self._enough, collected, count, needed) if started > count else None
            for problem, group in self._sample(going_on, n, params, seed, tick, enough):
                self.curriculum.note(problem, *successes(group))
                collected.append(group)
            going_on = []
            self.rounds += 1
            signal = sum(g.has_signal for g in collected)
            if signal >= needed or self.rounds >= self.algorithm.dynamic_sampling_rounds:
                return collected
            rate = max(LEAST_SIGNAL, signal / len(collected))
            count = min(prompts, math.ceil((needed - signal) / rate))

    def _sample(
        self,
        asked: Sequence[PartialRollout],
        n: int,
        params: SamplingParams,
        seed: int,
        tick: Callable[[int], None] | None,
        enough: Callable[[list[Group]], bool] | None,
    ) -> list[tuple[int, Group]]:
        """(number of the problem, its group) of those that ended until there were ``enough``; what there is of the
        others is kept for the next step."""
        problems = [self.problems[one.problem] for one in asked]
        left: dict[int, tuple[Rollout, ...]] | None = {} if self.partial_rollouts.steps else None
        size = samplers(self.engine)  # each ends when its share is enough
        stream = stream_groups(
            self.engine,
            self.prompter,
            problems,
            n,
            params,
            self.rewards,
            seed=seed,
            progress=tick,
            requests=[one.request for one in asked],
            leftovers=left,
            grader=self.grader,
        )
        done: dict[int, Group] = {}
        for index, group in stream:
            done[index] = group
            if enough is not None and enough([*done.values()] * size):
                stream.close()
                break
        done = gather_groups(done, problems)
        for index, rollouts in ranks.all_gather(left or {}).items():
            one = asked[index]
            self.partial_rollouts.kept.append(replace(one, request=replace(one.request, partials=rollouts)))
        return [(asked[index].problem, done[index]) for index in sorted(done)]

    def _new(self, chosen: Sequence[int], n: int, step: int, seed: int) -> list[PartialRollout]:
        """These problems, of which nothing is there yet."""
        requests = self.prompter.requests([self.problems[i] for i in chosen], n)
        return [PartialRollout(i, step, replace(r, seed=seed)) for i, r in zip(chosen, requests, strict=True)]

    def _enough(self, collected: list[Group], count: int, needed: int, groups: list[Group]) -> bool:
        """Whether an oversampled round can end: it has as many groups as asked for, or with signal as wanted, those of
        earlier rounds among them."""
        if not needed:
            return len(groups) >= count
        return sum(g.has_signal for g in [*collected, *groups]) >= needed

    def greedy_rewards(self, groups: Sequence[Group], params: SamplingParams) -> np.ndarray:
        """The reward of one greedy completion of each group's problem; NaN where ungradable (ReMax)."""
        greedy = SamplingParams(temperature=0.0, max_tokens=params.max_tokens)
        problems = [g.problem for g in groups]
        one = sample_groups(self.engine, self.prompter, problems, 1, greedy, self.rewards, seed=0)
        return np.array([np.nan if g.members[0].reward is None else g.members[0].reward for g in one])

    def outcome(self, group: Group) -> np.ndarray:
        """Rewards [G], NaN where ungradable; under process supervision without those given by steps."""
        return np.array([self._outcome(m) for m in group.members], np.float64)

    def _outcome(self, member: Scored) -> float:
        if member.reward is None:
            return math.nan
        if not self.algorithm.process:
            return member.reward
        by_steps = sum(self.rewards[k][0] * (s.value or 0.0) for k, s in member.scores.items() if s.steps)
        return member.reward - by_steps

    def steps(self, member: Scored) -> tuple[tuple[int, float], ...]:
        """Rewards of steps as (index of the last token among the completion's, weighted reward)."""
        if not self.algorithm.process:
            return ()
        ends = text_ends(self.prompter.tokenizer, member.rollout.completion_ids)
        scored_steps = []
        for name, score in member.scores.items():
            for end, value in score.steps:
                at = min(int(np.searchsorted(ends, end)), len(ends) - 1)
                scored_steps.append((at, self.rewards[name][0] * value))
        return tuple(scored_steps)


def text_ends(tokenizer: Any, ids: np.ndarray) -> np.ndarray:
    """How many characters of text the first t + 1 tokens make, for each t."""
    texts = [tokenizer.decode(ids[: t + 1].tolist(), skip_special_tokens=False) for t in range(len(ids))]
    return np.maximum.accumulate([len(text) for text in texts])


def successes(group: Group) -> tuple[int, int]:
    """(right answers, graded members): by accuracy where it is rewarded, else by a positive reward."""
    right = [is_right(m) for m in group.members if m.reward is not None]
    return sum(right), len(right)


def keep(algorithm: Algorithm, groups: Sequence[Group], advantages: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Advantages with NaN where the algorithm leaves a completion out: truncated, or in a silent group."""
    kept = []
    for group, values in zip(groups, advantages, strict=True):
        values = values.copy()
        if algorithm.filter_zero_variance and not group.has_signal:
            values[:] = np.nan
        if algorithm.mask_truncated:
            cut = np.array([m.rollout.finish is Finish.LENGTH for m in group.members])
            values[cut] = np.nan
        kept.append(values)
    return kept
