"""Sample and score, once, for every use: reinforcement learning, rejection, distillation, evaluation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any

from aha import aside, chat, ranks
from aha.sampling.engine import Engine, GroupGrader, Request
from aha.sampling.sampler import SamplingParams
from aha.types import AhaError, Group, Problem, Reward, Rollout, Score, Scored

WeightedRewards = Mapping[str, tuple[float, Reward]]
"""Name -> (weight, reward)."""


_Asked = tuple[tuple[tuple[str, str], ...], str]
"""All that a rendered prompt depends on: (role, content) of each message, and the instruction that is added."""


class Prompter:
    """Problems to token ids, by one prompt and one tokenizer; each problem is rendered once."""

    def __init__(self, tokenizer: Any, prompt: str | chat.Prompt = "auto"):
        self.tokenizer = tokenizer
        self.setting = prompt
        self.prompt = chat.choose(prompt, tokenizer)
        self._cache: dict[_Asked, tuple[list[int], bool]] = {}

    def asked(self, problems: Sequence[Problem]) -> list[Problem]:
        """The problems, each with the place where this prompt asks for its answer."""
        return [self.prompt.asked(p) for p in problems]

    def render(self, problem: Problem) -> chat.Rendered:
        """The prompt's text, for showing."""
        instruction, _ = self.prompt.asks(problem)
        return chat.render(problem.messages, self.tokenizer, prompt=self.prompt, instruction=instruction)

    def encode(self, problem: Problem) -> tuple[list[int], bool]:
        """(token ids of the prompt, whether it opened the thinking)."""
        said = tuple((str(m.get("role")), str(m.get("content"))) for m in problem.messages)
        key = (said, self.prompt.asks(problem)[0])  # not the id: rows of two files may be numbered alike
        if key not in self._cache:
            rendered = self.render(problem)
            ids = chat.encode_prompt(rendered, self.tokenizer)
            self._cache[key] = (ids, rendered.opened_think)
        return self._cache[key]

    def requests(self, problems: Sequence[Problem], n: int, first_key: int = 0) -> list[Request]:
        """One request of ``n`` samples for each problem, with keys from ``first_key`` on."""
        encoded = (self.encode(p) for p in problems)
        return [Request(ids, n, first_key + i, opened) for i, (ids, opened) in enumerate(encoded)]

    def drop_long(self, problems: Sequence[Problem], max_prompt_tokens: int) -> list[Problem]:
        """Problems whose prompt fits, as ``asked``; of each task that loses some it is said how many. Raises AhaError
        if none fits."""
        kept = [p for p in self.asked(problems) if len(self.encode(p)[0]) <= max_prompt_tokens]
        if kept and len(kept) < len(problems):
            left, whole = Counter(p.task for p in kept), Counter(p.task for p in problems)
            lost = ", ".join(
                f"{n - left[name]:,} of {n:,} of {name}" for name, n in whole.items() if n > left[name]
            )
            aside.note(f"Prompts longer than {max_prompt_tokens:,} tokens are not asked: {lost}.")
        if not kept:
            raise AhaError(
                f"Every prompt is longer than {max_prompt_tokens} tokens. Raise max_prompt_tokens, or lower "
                "max_tokens so that the model's context has room for the prompts."
            )
        return kept


def share_of(engine: Engine, n: int) -> range:
    """Which of ``n`` questions this rank asks."""
    rank, size = ranks.world()[0], samplers(engine)
    return range(rank if rank < size else n, n, size)


def samplers(engine: Engine) -> int:
    """How many ranks sample: all, each with its own engine, or the first alone with one for all."""
    return 1 if getattr(engine, "for_all", False) else ranks.world()[1]


def sample_groups(
    engine: Engine,
    prompter: Prompter,
    problems: Sequence[Problem],
    n: int,
    params: SamplingParams,
    rewards: WeightedRewards,
    *,
    seed: int,
    progress: Callable[[int], None] | None = None,
    seen: Callable[[Group], None] | None = None,
) -> list[Group]:
    """``n`` scored rollouts of each problem, in the order of ``problems``; ranks share the work. ``seen`` is shown each
    group of this rank as it is graded."""
    stream = stream_groups(engine, prompter, problems, n, params, rewards, seed=seed, progress=progress)
    mine: dict[int, Group] = {}
    for index, group in stream:
        mine[index] = group
        if seen is not None:
            seen(group)
    groups = gather_groups(mine, problems)
    return [groups[i] for i in range(len(problems))]


def stream_groups(
    engine: Engine,
    prompter: Prompter,
    problems: Sequence[Problem],
    n: int,
    params: SamplingParams,
    rewards: WeightedRewards,
    *,
    seed: int,
    progress: Callable[[int], None] | None = None,
    requests: Sequence[Request] | None = None,
    leftovers: dict[int, tuple[Rollout, ...]] | None = None,
    grader: GroupGrader | None = None,
) -> Generator[tuple[int, Group], None, None]:
    """(index of the problem, its scored group) as groups finish. Closing the iterator cancels the rest; where
    ``leftovers`` is given, which in-process engines know, it gets what there is of them.

    ``requests`` stand in place of new ones, where some of the completions are begun. A ``grader`` gives the
    rewards in place of ``rewards``, while sampling goes on. Of several ranks each samples and grades its share, or
    the first does all of it where its engine is ``for_all``; ``gather_groups`` brings them together. A request's key is
    its problem's index among all, so what is drawn does not depend on the number of ranks.
    """
    mine = share_of(engine, len(problems))
    if not mine:
        return
    if several := next((p.id for p in problems if p.metadata.get("turns")), None):
        raise AhaError(
            f"{several} asks several turns, one after another: `aha eval MODEL --tasks NAME=FILE` does. Here give "
            "rows of one question, or of a conversation up to one."
        )
    requests = prompter.requests(problems, n) if requests is None else requests
    left: dict[int, tuple[Rollout, ...]] = {}
    more: dict[str, Any] = {} if leftovers is None else {"leftovers": left}
    stream = engine.generate([requests[i] for i in mine], params, seed=seed, progress=progress, **more)
    try:
        answered = ((mine[at], rollouts) for at, rollouts in stream)
        if grader is None:
            for index, rollouts in answered:
                yield index, score_group(problems[index], rollouts, rewards)
        else:
            yield from _graded(answered, problems, grader, leftovers)
    finally:
        if isinstance(stream, Generator):
            stream.close()
        if leftovers is not None:
            leftovers.update((mine[at], rollouts) for at, rollouts in left.items())


def gather_groups(groups: Mapping[int, Group], problems: Sequence[Problem]) -> dict[int, Group]:
    """All ranks' groups, by the index of their problem, on every rank."""
    if ranks.world()[1] == 1:
        return dict(groups)
    members = ranks.all_gather({index: group.members for index, group in groups.items()})
    return {index: Group(problems[index], scored) for index, scored in members.items()}


def _graded(
    stream: Iterator[tuple[int, tuple[Rollout, ...]]],
    problems: Sequence[Problem],
    grader: GroupGrader,
    leftovers: dict[int, tuple[Rollout, ...]] | None,
) -> Generator[tuple[int, Group], None, None]:
    """Groups as they are graded; what is not when the iterator is closed is among the ``leftovers``."""
    waiting: dict[int, tuple[Rollout, ...]] = {}
    grader.clear()
    try:
        for index, rollouts in stream:
            waiting[index] = rollouts
            grader.submit(index, problems[index], rollouts)
            for ticket, group in grader.finished(wait=False):
                del waiting[ticket]
                yield ticket, group
        while waiting:
            for ticket, group in grader.finished(wait=True):
                del waiting[ticket]
                yield ticket, group
    finally:
        grader.clear()
        if leftovers is not None:
            leftovers.update(waiting)


def score_group(problem: Problem, rollouts: Sequence[Rollout], rewards: WeightedRewards) -> Group:
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
    ranks.progress()
    return Group(problem, tuple(members))


def _total(scores: Mapping[str, Score], rewards: WeightedRewards) -> float | None:
    """The weighted sum; None as soon as one score is None, for it is never 0."""
    values = [(rewards[name][0], score.value) for name, score in scores.items()]
    if any(value is None for _, value in values):
        return None
    return float(sum(weight * value for weight, value in values if value is not None))
