"""What questions and graders alone show, gathered group by group: copies, leaks, reference answers and graders that
cannot be used. The same live, with every step's groups, and afterwards with stored ones."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from aha import chat
from aha.diagnosis.findings import Illness
from aha.diagnosis.sampled import Sampled
from aha.rewards.ritual import question_of
from aha.types import Group, Outcome, Problem, Score, Verdict

Verify = Callable[[Problem, str], Verdict]
SHARE = 0.05
"""Of problems or completions that must be concerned, and two at least."""
_ERROR = re.compile(r"^the verifier failed|\.py:\d+\b|\bline \d+\b")
"""What the note of a grader says that raised, or took too long."""
_TELLING = re.compile(
    r"(?i)(?:answer|solution|result|antwort|lösung|réponse|respuesta|答案|解答)\s*(?:is|are|ist|est|es|=|:|：|是|为)?\s*$|"
    r"(?:####|\\boxed\{|<answer>)\s*$"
)
"""What stands in front of an answer that is told."""


@dataclass(slots=True)
class _Asked:
    """One problem: in which step first, how often asked, how often no answer to it could be graded."""

    step: int
    times: int = 0
    ungraded: int = 0
    note: str = ""


@dataclass(slots=True)
class Seen:
    """What was seen of a stage's rollouts. ``verify`` is the task's, None where it could not be had."""

    verify: Verify | None = None
    asked: dict[str, _Asked] = field(default_factory=dict)
    ids: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))  # by what is asked
    first: dict[str, int] = field(default_factory=dict)  # step, by what is asked
    leaks: dict[str, int] = field(default_factory=dict)  # step, by id
    failures: Counter[str] = field(default_factory=Counter)  # by note, in groups of which some were graded
    whole: Counter[str] = field(default_factory=Counter)  # and in groups of which none was
    failed_at: dict[str, int] = field(default_factory=dict)
    completions: int = 0
    sampled: Sampled = field(default_factory=Sampled)

    def note(self, step: int, groups: Iterable[Group]) -> None:
        """One step's groups."""
        groups = list(groups)
        self.sampled.note(step, groups)
        for group in groups:
            problem = group.problem
            known = self.asked.get(problem.id)
            if known is None:
                known = self.asked[problem.id] = _Asked(step)
                self._note_question(step, problem)
            self._note_grades(step, known, group)

    def is_copied(self, problem: Problem) -> bool:
        """Whether another problem asks the same."""
        return len(self.ids.get(_plain(problem), ())) > 1

    def _note_question(self, step: int, problem: Problem) -> None:
        text = _plain(problem)
        self.ids[text].add(problem.id)
        self.first.setdefault(text, step)
        if leaks(problem, self.verify):
            self.leaks[problem.id] = step

    def _note_grades(self, step: int, known: _Asked, group: Group) -> None:
        known.times += 1
        faults = [next((s for s in m.scores.values() if s.value is None), None) for m in group.members]
        whole = all(fault is not None for fault in faults)
        self.completions += len(faults)
        for fault in faults:
            if fault is not None and _ERROR.search(fault.note):
                note = fault.note[:160]
                (self.whole if whole else self.failures)[note] += 1
                self.failed_at.setdefault(note, step)
        if faults and whole:
            known.ungraded += 1
            known.note = _first(faults).note

    def found(self, stage: str) -> list[Illness]:
        """The causes that what was seen until now speaks for."""
        candidates = (self._duplicates(stage), self._leaks(stage), self._golds(stage), self._errors(stage))
        return [illness for illness in candidates if illness is not None] + self.sampled.found(stage)

    def _duplicates(self, stage: str) -> Illness | None:
        copies = {text: ids for text, ids in self.ids.items() if len(ids) > 1}
        extra = sum(len(ids) - 1 for ids in copies.values())
        if not _enough(extra, len(self.asked)):
            return None
        text, ids = max(copies.items(), key=lambda item: len(item[1]))
        words = (
            f"{extra} of {len(self.asked)} problems that were asked repeat another one's question; the most frequent "
            f"stands in {len(ids)} rows: {text[:160]!r}"
        )
        return Illness("duplicate_prompts", stage, self.first[text], (words,))

    def _leaks(self, stage: str) -> Illness | None:
        if not _enough(len(self.leaks), len(self.asked)):
            return None
        words = (
            f"{len(self.leaks)} of {len(self.asked)} questions hold their own answer, told as such or in full "
            f"(for example {', '.join(sorted(self.leaks)[:3])})"
        )
        return Illness("leaking_prompts", stage, min(self.leaks.values()), (words,))

    def _golds(self, stage: str) -> Illness | None:
        """Problems of which no answer was ever graded, where others' answers are."""
        bad = self._never_graded()
        if not _enough(len(bad), len(self.asked)) or self._all_fail(bad):
            return None
        name, worst = next(iter(bad.items()))
        words = (
            f"to {len(bad)} of {len(self.asked)} problems no answer at all could be graded (for example {name}: "
            f"{worst.note[:160]})"
        )
        return Illness("ungradable_golds", stage, worst.step, (words,))

    def _never_graded(self) -> dict[str, _Asked]:
        return {name: a for name, a in self.asked.items() if a.ungraded == a.times}

    def _all_fail(self, bad: Mapping[str, _Asked]) -> bool:
        """Whether it is no reference answer's fault: nearly no problem's answers could be graded."""
        return len(bad) > 0.9 * len(self.asked)

    def _errors(self, stage: str) -> Illness | None:
        """Graders that raise or take too long: where a question's answers all fail, that may be its own fault."""
        failures = self.failures + (self.whole if self._all_fail(self._never_graded()) else Counter())
        failed = sum(failures.values())
        if not _enough(failed, self.completions):
            return None
        note, count = failures.most_common(1)[0]
        words = f"a grader failed on {failed} of {self.completions} completions: {note} ({count} times)"
        return Illness("grader_errors", stage, min(self.failed_at.values()), (words,))


def _plain(problem: Problem) -> str:
    """What is asked, whatever its spaces and capitals."""
    return " ".join(question_of(problem).split()).casefold()


def _enough(count: int, total: int) -> bool:
    return count >= 2 and count >= SHARE * total


def _first(faults: Sequence[Score | None]) -> Score:
    return next(fault for fault in faults if fault is not None)


def leaks(problem: Problem, verify: Verify | None) -> bool:
    """Whether a question tells its answer: behind a word that says so, or, from twelve characters on, anywhere in full.
    With ``verify`` only what would be graded as right counts: a target is no equation that reaches it."""
    if not isinstance(problem.answer, str) or problem.metadata.get("options"):
        return False
    gold, asked = problem.answer.strip(), question_of(problem)
    if not gold or not _told(gold, asked):
        return False
    if verify is None:
        return True
    place = problem.metadata.get(chat.PLACE)
    said = f"<think>It is told.</think> <answer>{gold}</answer>" if place != "boxed" else f"\\boxed{{{gold}}}"
    return verify(problem, said).outcome is Outcome.CORRECT


def _told(gold: str, asked: str) -> bool:
    at = asked.find(gold)
    while at >= 0:
        end = at + len(gold)
        alone = not (_in_word(asked[at - 1 : at]) or _in_word(asked[end : end + 1]))
        if alone and (len(gold) >= 12 or _TELLING.search(asked[max(0, at - 40) : at])):
            return True
        at = asked.find(gold, at + 1)
    return False


def _in_word(character: str) -> bool:
    """Whether a word goes on with it; Chinese and Japanese ones have no ends that could be seen."""
    return character.isalnum() and character < "\u2e80"
