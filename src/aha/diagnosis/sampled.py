"""How the samples of a stage end, and whether those of one question differ at all."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from aha.diagnosis.findings import Illness
from aha.rewards.accuracy import full_text
from aha.types import Finish, Group, Rollout

FIRST = 3
"""Steps in which copies are no consequence of training yet."""
ALIKE, LEAST_GROUPS = 0.6, 6
"""The share of groups whose samples are all one text, and of how many."""
CUT, ANSWERED = 0.2, 0.5
"""The share of completions that are cut, and of those the share that had answered long before."""
ENDS = (
    "</answer>", "\\boxed{", "<|endoftext|>", "<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<｜end▁of▁sentence｜>",
    "</s>", "<|im_start|>", "<|start_header_id|>", "<start_of_turn>", "\nUser:", " User: ",
)  # fmt: skip
"""What stands where an answer is over."""
AFTER = 80
"""Characters behind an answer from which it is no ending."""


@dataclass(slots=True)
class Sampled:
    """What was counted until now, over all steps and, for copies, over the first ones."""

    steps: set[int] = field(default_factory=set)
    groups: int = 0
    alike: int = 0
    completions: int = 0
    cut: int = 0
    went_on: int = 0
    went_on_at: int = 0

    def note(self, step: int, groups: Iterable[Group]) -> None:
        """One step's groups."""
        early = step in self.steps or len(self.steps) < FIRST
        if early:
            self.steps.add(step)
        for group in groups:
            if early and len(group.members) > 1:
                self.groups += 1
                self.alike += len({m.rollout.text for m in group.members}) == 1
            for member in group.members:
                self._note(step, member.rollout)

    def _note(self, step: int, rollout: Rollout) -> None:
        self.completions += 1
        if rollout.finish is Finish.LENGTH:
            self.cut += 1
            if goes_on(rollout):
                self.went_on += 1
                self.went_on_at = self.went_on_at or step

    def found(self, stage: str) -> list[Illness]:
        """The causes that this speaks for."""
        illnesses = []
        if self.groups >= LEAST_GROUPS and self.alike > ALIKE * self.groups:
            of = f"{self.alike} of {self.groups} groups"
            words = f"in the first {len(self.steps)} steps all samples are one text in {of}"
            illnesses.append(Illness("no_diversity", stage, min(self.steps), (words,)))
        if self.cut > CUT * self.completions and self.went_on > ANSWERED * self.cut:
            words = (
                f"of {self.cut} completions that were cut (of {self.completions}) {self.went_on} had come to their end "
                "before, and went on"
            )
            illnesses.append(Illness("never_ends", stage, self.went_on_at, (words,)))
        return illnesses


def goes_on(rollout: Rollout) -> bool:
    """Whether a text has come to its end well before it was cut: an answer in tags that were closed or in a box, a
    mark that ends a turn, or the beginning of another one."""
    text = full_text(rollout)
    return any(0 <= text.find(mark) < len(text) - AFTER for mark in ENDS)
