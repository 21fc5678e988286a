"""Figures of one step's groups by which ``runs.health`` knows an illness: made while a run is trained, and again from
what an older run has stored.

What a reward pays for is read off the rewards themselves: within a group, among completions that are equally right, no
reward should depend on how long a text is or how often it repeats itself. It takes one step to see that, where a
policy that follows such a reward takes many.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from aha import chat
from aha.data import words
from aha.data.readable import repeated_share
from aha.rewards.accuracy import full_text
from aha.rewards.code import find_program
from aha.rewards.places import choice_text, stated
from aha.rewards.ritual import empty_chain
from aha.tasks import rubric
from aha.types import Finish, Group, Problem, Rollout, Scored

CORRECTNESS = ("accuracy", "lenient", "code", "tinyzero", "cosine", "kimi_length")
"""Rewards that say whether an answer is right, the plainest first."""
NGRAM = 8
"""Words of the runs that are counted as repeated, as in curation."""
GUESSING = 4
"""Words beside the answer that a chain may have and still be a guess."""
LONGEST_GUESS = 120
"""And characters: longer ones need not be read."""

Measure = Callable[[Rollout], float]


def step_figures(groups: Sequence[Group]) -> dict[str, float]:
    """Of one step's groups. ``answers/missing``: of the completions that came to an end, where there are any, the share
    that is not right and has no answer where the prompt asked for one. ``chains/answer_only``: the share whose thinking
    is the answer alone. ``completions/repetition``: the mean share of repeated runs of eight words. ``paid/length``,
    ``paid/repetition`` (of four words): ``paid_for`` them, in the kind of questions where it is most. Questions of
    which nothing says what is right have a ``paid/length_unjudged``, where they are enough to tell."""
    members = [(group.problem, member) for group in groups for member in group.members]
    said = {id(member.rollout): words.tokens(member.rollout.text) for _, member in members}
    ended = [(p, m) for p, m in members if m.rollout.finish is not Finish.LENGTH]
    missing = {"answers/missing": _mean([is_missing(p, m) for p, m in ended])} if ended else {}
    kinds = _kinds(groups)
    judged = [kind for name, kind in kinds.items() if name != UNJUDGED]
    unjudged = {}
    if spread(open_ := kinds.get(UNJUDGED, [])) >= LEAST_SPREAD:
        unjudged = {"paid/length_unjudged": round(paid_for(open_, length), 6)}
    return (
        missing
        | unjudged
        | {
            "chains/answer_only": _mean([answers_alone(member.rollout) for _, member in members]),
            "completions/repetition": _mean([repeated_share(text, NGRAM) for text in said.values()]),
            "paid/length": most_paid(judged, length),
            "paid/repetition": most_paid(kinds.values(), lambda r: repeated_share(said[id(r)], NGRAM // 2)),
        }
    )


def by_rule(groups: Sequence[Group]) -> dict[str, float]:
    """``rewards/NAME/mean`` of rewards that had nothing to say of some questions, over the others; nothing where all
    rewards speak of all questions. Older runs have counted such silence as 0."""
    members = [member for group in groups for member in group.members]
    silent = {name for member in members for name, score in member.scores.items() if score.silent}
    means = {}
    for name in silent:
        scores = [member.scores[name] for member in members if name in member.scores]
        values = [s.value for s in scores if s.value is not None and not s.silent]
        means[f"rewards/{name}/mean"] = _mean(values) if values else float("nan")
    return means


def length(rollout: Rollout) -> float:
    """In tokens."""
    return float(len(rollout.completion_ids))


def repetition(rollout: Rollout) -> float:
    """The share of runs of eight words that stood before in the same text."""
    return repeated_share(words.tokens(rollout.text), NGRAM)


def correctness(member: Scored) -> float | None:
    """What the reward that knows says of an answer; None where none knows, or has nothing to say of the question."""
    told = (name for name in CORRECTNESS if name in member.scores and not member.scores[name].silent)
    name = next(told, None)
    return None if name is None else member.scores[name].value


def truth(problem: Problem, member: Scored) -> float | None:
    """What is known of how good an answer is, apart from what it is paid: by a rule, else by a question's rubric; None
    where nothing says it."""
    value = correctness(member)
    if value is not None or not problem.metadata.get("rubric"):
        return value
    judged = rubric.score(rubric.Rubric.from_dict(problem.metadata["rubric"]), full_text(member.rollout))
    return round(judged.helpful, 2) if judged.safe else -1.0


def is_missing(problem: Problem, member: Scored) -> bool:
    """Whether a completion that came to an end has no answer where the prompt asked for one, and was not held for right
    either: a verifier of one's own may look elsewhere."""
    value = correctness(member)
    if member.rollout.finish is Finish.LENGTH or (value is not None and value > 0):
        return False
    return not has_answer(problem, full_text(member.rollout))


def has_answer(problem: Problem, text: str) -> bool:
    """Whether an answer stands where it was asked for. Anything is one to a question of no known kind."""
    kind = chat.kind_of(problem)
    if kind == "program":
        return bool(find_program(text))
    if kind == "choice":
        return bool((choice_text(problem, text) or "").strip())
    if kind == "final":
        return bool((stated(problem, text) or "").strip())
    return bool(text.strip())


def answers_alone(rollout: Rollout) -> bool:
    """Whether the thinking is the answer again with four more words at most: "maybe 3*4+5" was not thought about."""
    parsed = chat.parse(rollout.text, opened_think=rollout.opened_think)
    answer, chain = (parsed.answer or "").strip(), parsed.think or ""
    if not answer or answer not in chain:
        return False
    rest = chain.replace(answer, " ")
    if len(rest.strip()) > LONGEST_GUESS:
        return False
    reckons = any(c.isdigit() for c in rest)
    return (len(words.tokens(rest)) <= GUESSING and not reckons) or bool(empty_chain(rest, answer))


RULED, BY_RUBRIC, UNJUDGED = "ruled", "by rubric", "unjudged"
"""Kinds of questions: with a rule, with a rubric, and those where nothing says what is right."""
LEAST_SPREAD = 60
"""Completions beyond the first of each set of equally good ones, from which a kind of questions is looked at by
itself: a share of 0.06 is chance in three steps of a hundred there."""


def _kinds(groups: Iterable[Group]) -> dict[str, list[Group]]:
    """Groups by what says how good their answers are."""
    kinds: dict[str, list[Group]] = {}
    for group in groups:
        ruled = any(correctness(m) is not None for m in group.members)
        kind = RULED if ruled else BY_RUBRIC if group.problem.metadata.get("rubric") else UNJUDGED
        kinds.setdefault(kind, []).append(group)
    return kinds


def most_paid(kinds: Iterable[Sequence[Group]], measure: Measure) -> float:
    """The largest of the shares that are paid for a measure: of all groups together, and of each kind by itself that
    has enough of them. Among all, a kind whose rewards differ little would hide behind one whose rewards are 0 and 1,
    though each group is learned from alike."""
    kinds = list(kinds)
    together = paid_for([group for kind in kinds for group in kind], measure)
    alone = [paid_for(kind, measure) for kind in kinds if spread(kind) >= LEAST_SPREAD]
    return round(max([together, *alone]), 6)


def spread(groups: Iterable[Group]) -> int:
    """Completions beyond the first of each set of equally good ones of a question."""
    cells = (
        cell
        for g in groups
        for cell in _equally_right(g.problem, [m for m in g.members if m.reward is not None])
    )
    return sum(len(cell) - 1 for cell in cells)


def paid_for(groups: Iterable[Group], measure: Measure) -> float:
    """The share 0..1 of the rewards' variance within groups that a measure of the text explains among completions of
    one group that are equally right; 0 where more of it is not paid more.

    With r and m the reward and the rank of the measure, less their means over each such set of completions, the share
    is (sum r m)^2 / sum m^2, over the sum of squares of rewards less their group's mean.
    """
    total, both, squares = 0.0, 0.0, 0.0
    for group in groups:
        graded = [m for m in group.members if m.reward is not None]
        if len(graded) < 2:
            continue
        rewards = np.array([m.reward for m in graded], np.float64)
        total += float(((rewards - rewards.mean()) ** 2).sum())
        ranks = _ranks([measure(m.rollout) for m in graded])
        for cell in _equally_right(group.problem, graded):
            r, m = rewards[cell] - rewards[cell].mean(), ranks[cell] - ranks[cell].mean()
            both, squares = both + float(r @ m), squares + float(m @ m)
    if both <= 0 or not total or not squares:
        return 0.0
    return min(1.0, both * both / squares / total)


def _equally_right(problem: Problem, members: Sequence[Scored]) -> list[np.ndarray]:
    """Indices of members, one array for each value of what is known of their truth."""
    values = np.array([np.nan if (value := truth(problem, m)) is None else value for m in members])
    known = [np.flatnonzero(values == value) for value in np.unique(values[~np.isnan(values)])]
    return [cell for cell in (*known, np.flatnonzero(np.isnan(values))) if len(cell)]


def _ranks(values: Sequence[float]) -> np.ndarray:
    """Ranks from 0 to 1, equal values alike."""
    _, place, counts = np.unique(np.array(values), return_inverse=True, return_counts=True)
    middle = np.cumsum(counts) - (counts + 1) / 2
    return middle[place] / max(1, len(values) - 1)


def _mean(values: Sequence[float | bool]) -> float:
    return round(float(np.mean(values)), 6) if values else 0.0
