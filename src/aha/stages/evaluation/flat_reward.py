"""Why no answer earns anything: said in the first minute, with counts and one example, before hours are spent."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from aha.rewards.accuracy import full_text
from aha.tasks.base import Task
from aha.types import Finish, Group, Outcome, Problem, Scored, Verdict

FIRST_SAMPLES = 64  # are looked at, or what there is
_SHOWN = 160  # characters of the example


class FirstLook:
    """Looks at the first groups of an evaluation as they are graded, and speaks once if none of them is right."""

    def __init__(self, task: Task, template: str, max_tokens: int, say: Callable[[str], None]):
        self.task, self.template, self.max_tokens, self.say = task, template, max_tokens, say
        self.groups: list[Group] = []
        self.done = False

    def note(self, group: Group) -> None:
        """One more group; after ``FIRST_SAMPLES`` samples it is judged."""
        if not self.done:
            self.groups.append(group)
            if sum(len(g.members) for g in self.groups) >= FIRST_SAMPLES:
                self.close()

    def close(self) -> None:
        """Judge what was seen; later groups are not looked at."""
        if not self.done and self.groups:
            reason = explain(self.groups, self.task, self.template, self.max_tokens)
            if reason:
                self.say(reason)
        self.done = True


def explain(groups: Sequence[Group], task: Task, template: str, max_tokens: int) -> str:
    """Why none of the graded answers is right, in words with counts, an example and what would help; "" where one is.

    ``template`` names the prompt. The causes are looked for in the order in which they hide each other: answers that
    could not be graded, that were cut, that stand nowhere where they are looked for, and that are wrong.
    """
    pairs = [(group, member) for group in groups for member in group.members]
    if not pairs or any(_accuracy(m) not in (None, 0.0) for _, m in pairs):
        return ""
    ungraded = [p for p in pairs if _accuracy(p[1]) is None]
    cut = [p for p in pairs if _is_cut(p)]
    silent = [p for p in pairs if not _is_cut(p) and _outcome(task.verify, p) is Outcome.NO_ANSWER]
    for hits, words in ((ungraded, _ungraded), (cut, _cut), (silent, _silent)):
        if 2 * len(hits) > len(pairs):
            return words(hits, len(pairs), task, template, max_tokens) + _example(hits[0])
    return _wrong(pairs, task) + _example(pairs[0])


_Pair = tuple[Group, Scored]


def _ungraded(hits: Sequence[_Pair], total: int, *_: object) -> str:
    note = hits[0][1].scores["accuracy"].note
    return f"{len(hits)} of the first {total} answers could not be graded ({note}): nothing can be learned from them."


def _cut(hits: Sequence[_Pair], total: int, task: Task, template: str, max_tokens: int) -> str:
    return (
        f"None of the first {total} answers is right: {len(hits)} were cut at max_tokens={max_tokens} before they "
        "came to an end. Raise max_tokens, or take questions with shorter answers."
    )


def _silent(hits: Sequence[_Pair], total: int, task: Task, template: str, max_tokens: int) -> str:
    outcomes = [_outcome(task.verify_lenient, pair) for pair in hits]
    somewhere = sum(o is not Outcome.NO_ANSWER for o in outcomes)
    right = sum(o is Outcome.CORRECT for o in outcomes)
    if not any(full_text(m.rollout).strip() for _, m in hits):
        return f"None of the first {total} answers is right: {len(hits)} are empty. Is this the prompt of this model?"
    asked = template in ("boxed", "think", "r1_zero")
    remedy = (
        f"prompt={template} asks for it, and this model does not do so yet: the format reward may teach it, "
        "otherwise begin with supervised fine-tuning on a few answers"
        if asked
        else "prompt=boxed would ask for it"
    )
    return (
        f"None of the first {total} answers earns anything: {somewhere} hold an answer somewhere in their text "
        f"({right} the right one), but {len(hits)} have none {_where(template)}, where it is looked for: "
        f"{remedy}."
    )


def _where(template: str) -> str:
    return {"boxed": "in \\boxed{}", "think": "in <answer>", "r1_zero": "in <answer>"}.get(
        template, "in \\boxed{} or <answer>"
    )


def _wrong(pairs: Sequence[_Pair], task: Task) -> str:
    right = sum(_outcome(task.verify_lenient, pair) is Outcome.CORRECT for pair in pairs)
    counted = f" ({right} hold the right one somewhere else in their text)" if right else ""
    return (
        f"None of the first {len(pairs)} answers is right{counted}: groups of equal rewards teach nothing. Take easier "
        "questions, larger groups, or a model that solves some of them."
    )


def _example(pair: _Pair) -> str:
    group, member = pair
    text = " ".join(full_text(member.rollout).split())
    shown = text if len(text) <= _SHOWN else f"{text[: _SHOWN // 2]} ... {text[-_SHOWN // 2 :]}"
    gold = f" (reference: {group.problem.answer[:40]})" if isinstance(group.problem.answer, str) else ""
    return f" For example: {shown!r}{gold}."


def _is_cut(pair: _Pair) -> bool:
    return pair[1].rollout.finish is Finish.LENGTH


def _accuracy(member: Scored) -> float | None:
    return member.scores["accuracy"].value


def _outcome(verify: Callable[[Problem, str], Verdict], pair: _Pair) -> Outcome:
    group, member = pair
    return verify(group.problem, full_text(member.rollout)).outcome
