"""Completions that a step did not wait for: they go on in the next ones, with the weights of then.

(Kimi k1.5, arXiv 2501.12599, section 2.6: partial rollouts.) Each token keeps the log probability and the version
of the policy that sampled it, so the ratio of the update knows how old it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from aha.sampling.engine import Request
from aha.training.sequences import token_versions
from aha.types import Finish, Group, Rollout


@dataclass(frozen=True, slots=True)
class PartialRollout:
    """A problem whose completions have not all ended: its number, the step it was started in, and what there is."""

    problem: int
    step: int
    request: Request

    def state(self) -> dict[str, Any]:
        """Tensors and numbers, for a checkpoint."""
        r = self.request
        rollouts = [
            {
                "prompt_ids": torch.from_numpy(np.asarray(x.prompt_ids)),
                "completion_ids": torch.from_numpy(x.completion_ids),
                "logprobs": torch.from_numpy(x.logprobs),
                "text": x.text,
                "finish": x.finish.value,
                "policy_version": x.policy_version,
                "opened_think": x.opened_think,
                "stretches": [list(s) for s in x.version_spans],
            }
            for x in r.partials
        ]
        request = {"n": r.n, "key": r.key, "seed": r.seed, "opened_think": r.opened_think}
        prompt = torch.tensor(list(r.prompt_ids))
        return {
            "problem": self.problem,
            "step": self.step,
            "request": request,
            "prompt": prompt,
            "begun": rollouts,
        }


def load(state: Mapping[str, Any]) -> PartialRollout:
    """Out of ``PartialRollout.state()``."""
    partials = tuple(
        Rollout(
            **{name: row[name].numpy() for name in ("prompt_ids", "completion_ids", "logprobs")},
            **{name: row[name] for name in ("text", "policy_version", "opened_think")},
            finish=Finish(row["finish"]),
            version_spans=tuple((int(at), int(version)) for at, version in row["stretches"]),
        )
        for row in state["begun"]
    )
    request = Request(state["prompt"].tolist(), partials=partials, **state["request"])
    return PartialRollout(int(state["problem"]), int(state["step"]), request)


class PartialRollouts:
    """What goes on from step to step, for at most ``steps`` of them; 0 keeps nothing."""

    def __init__(self, steps: int):
        self.steps = steps
        self.kept: list[PartialRollout] = []
        self.dropped = 0  # in the last step, for their age

    def take(self, step: int) -> list[PartialRollout]:
        """What goes on in this step; what has become too old is dropped and counted."""
        due = [c for c in self.kept if step - c.step <= self.steps]
        self.dropped, self.kept = len(self.kept) - len(due), []
        return due

    def state(self) -> list[dict[str, Any]]:
        """For a checkpoint."""
        return [c.state() for c in self.kept]

    def load_state(self, state: Sequence[Mapping[str, Any]]) -> None:
        """Continue from ``state()``."""
        self.kept = [load(row) for row in state]

    def figures(self, groups: Sequence[Group], version: int) -> dict[str, float]:
        """For the metrics: problems that go on and that were dropped, the share of tokens that an earlier version
        of the policy sampled, and the largest number of versions between."""
        if not self.steps:
            return {}
        return {
            "partial_rollouts/kept": len(self.kept),
            "partial_rollouts/dropped": self.dropped,
            **staleness(groups, version),
        }


def staleness(groups: Sequence[Group], version: int) -> dict[str, float]:
    """For the metrics: the share of tokens that a version before this one sampled, and the most versions between."""
    ages = np.concatenate([version - token_versions(m.rollout) for g in groups for m in g.members])
    return {"stale/tokens": round(float((ages > 0).mean()), 6), "stale/versions": int(ages.max())}
