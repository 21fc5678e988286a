"""Sample and score, once, for every use: reinforcement learning, rejection, distillation, evaluation."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any, Protocol

from aha import chat
from aha.sampling.local import Request
from aha.sampling.sampler import SamplingParams
from aha.types import AhaError, Group, Problem, Reward, Rollout, Score, Scored

Rewards = Mapping[str, tuple[float, Reward]]
"""Name -> (weight, reward)."""


class Engine(Protocol):
    """What samples: in process, vLLM, or an endpoint."""

    version: int

    def generate(
        self,
        requests: Sequence[Request],
        params: SamplingParams,
        *,
        seed: int = 0,
        progress: Callable[[int], None] | None = None,
    ) -> Iterator[tuple[int, tuple[Rollout, ...]]]: ...


class Prompter:
    """Problems to token ids, by one template and one tokenizer; each problem is rendered once."""

    def __init__(self, tokenizer: Any, template: chat.Template = "auto"):
        self.tokenizer = tokenizer
        self.template: chat.Template = template
        self._cache: dict[str, tuple[list[int], bool]] = {}

    def render(self, problem: Problem) -> chat.Rendered:
        """The prompt's text, for showing."""
        return chat.render(problem.messages, self.tokenizer, template=self.template)

    def encode(self, problem: Problem) -> tuple[list[int], bool]:
        """(token ids of the prompt, whether it opened the thinking)."""
        if problem.id not in self._cache:
            rendered = self.render(problem)
            ids = chat.encode_prompt(rendered, self.tokenizer)
            self._cache[problem.id] = (ids, rendered.opened_think)
        return self._cache[problem.id]

    def requests(self, problems: Sequence[Problem], n: int, first_key: int = 0) -> list[Request]:
        """One request of ``n`` samples for each problem, with keys from ``first_key`` on."""
        encoded = (self.encode(p) for p in problems)
        return [Request(ids, n, first_key + i, opened) for i, (ids, opened) in enumerate(encoded)]

    def drop_long(self, problems: Sequence[Problem], max_prompt_tokens: int) -> list[Problem]:
        """Problems whose prompt fits. Raises AhaError if none does."""
        kept = [p for p in problems if len(self.encode(p)[0]) <= max_prompt_tokens]
        if not kept:
            raise AhaError(
                f"Every prompt is longer than {max_prompt_tokens} tokens. Raise max_prompt_tokens, or lower "
                "max_tokens so that the model's context has room for the prompts."
            )
        return kept


def sample_groups(
    engine: Engine,
    prompter: Prompter,
    problems: Sequence[Problem],
    n: int,
    params: SamplingParams,
    rewards: Rewards,
    *,
    seed: int,
    progress: Callable[[int], None] | None = None,
) -> list[Group]:
    """``n`` scored rollouts of each problem, in the order of ``problems``."""
    stream = stream_groups(engine, prompter, problems, n, params, rewards, seed=seed, progress=progress)
    groups = dict(stream)
    return [groups[i] for i in range(len(problems))]


def stream_groups(
    engine: Engine,
    prompter: Prompter,
    problems: Sequence[Problem],
    n: int,
    params: SamplingParams,
    rewards: Rewards,
    *,
    seed: int,
    progress: Callable[[int], None] | None = None,
    requests: Sequence[Request] | None = None,
    leftovers: dict[int, tuple[Rollout, ...]] | None = None,
) -> Generator[tuple[int, Group], None, None]:
    """(index of the problem, its scored group) as groups finish. Closing the iterator cancels the rest; where
    ``leftovers`` is given, which the in-process engine knows, it gets what there is of them.

    ``requests`` stand in place of new ones, where some of the completions are begun.
    """
    requests = prompter.requests(problems, n) if requests is None else requests
    more: dict[str, Any] = {} if leftovers is None else {"leftovers": leftovers}
    stream = engine.generate(requests, params, seed=seed, progress=progress, **more)
    try:
        for index, rollouts in stream:
            yield index, score_group(problems[index], rollouts, rewards)
    finally:
        if isinstance(stream, Generator):
            stream.close()


def score_group(problem: Problem, rollouts: Sequence[Rollout], rewards: Rewards) -> Group:
    """Grade all rollouts of one problem with every reward. Raises AhaError if a reward loses one."""
    columns: dict[str, Sequence[Score]] = {}
    for name, (_, reward) in rewards.items():
        columns[name] = reward(problem, rollouts)
        if len(columns[name]) != len(rollouts):
            raise AhaError(
                f"Reward '{name}' gave {len(columns[name])} scores for {len(rollouts)} rollouts of {problem.id}."
            )
    members = []
    for i, rollout in enumerate(rollouts):
        scores = {name: column[i] for name, column in columns.items()}
        members.append(Scored(rollout, scores, _total(scores, rewards)))
    return Group(problem, tuple(members))


def _total(scores: Mapping[str, Score], rewards: Rewards) -> float | None:
    """The weighted sum; None as soon as one score is None, for it is never 0."""
    values = [(rewards[name][0], score.value) for name, score in scores.items()]
    if any(value is None for _, value in values):
        return None
    return float(sum(weight * value for weight, value in values if value is not None))
