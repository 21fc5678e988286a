"""The figures of one rollout's updates, summed over passes and mini-batches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


def add(sums: dict[str, float], more: Mapping[str, float], scale: float = 1.0) -> None:
    """Add ``scale`` times the figures of ``more`` to ``sums``."""
    for name, value in more.items():
        sums[name] = sums.get(name, 0.0) + scale * value


@dataclass(slots=True)
class UpdateTotals:
    """What passes and updates report: ``sums`` over tokens, with their ``weight``; the ``loss``, which is a sum
    already; gradient norms; and the critic's means."""

    sums: dict[str, float] = field(default_factory=dict)
    weight: float = 0.0
    loss: float = 0.0
    grad_norms: float = 0.0
    updates: int = 0
    critic: dict[str, float] = field(default_factory=dict)

    def note_pass(self, figures: Mapping[str, float]) -> None:
        """One pass of the policy: ``loss``, ``weight`` and sums weighted by it."""
        self.loss += figures.get("loss", 0.0)
        self.weight += figures.get("weight", 0.0)
        add(self.sums, {k: v for k, v in figures.items() if k not in ("loss", "weight")})

    def note_critic(self, figures: Mapping[str, float], share: float) -> None:
        """The critic's passes over one mini-batch, which is ``share`` of the rollout."""
        add(self.critic, figures, share)

    def note_update(self, update: UpdateTotals, grad_norm: float) -> None:
        """All passes of one mini-batch, and the norm of the gradient that they came to."""
        self.loss, self.weight = self.loss + update.loss, self.weight + update.weight
        add(self.sums, update.sums)
        self.grad_norms, self.updates = self.grad_norms + grad_norm, self.updates + 1

    def figures(self) -> dict[str, float]:
        """Means over tokens, the loss, the mean norm of gradients, and the critic's."""
        if not self.updates:
            return dict(self.critic)
        means = {name: value / (self.weight or 1.0) for name, value in self.sums.items()}
        loss = {"loss": self.loss} if self.sums else {}  # none where no completion was trained on
        return self.critic | means | loss | {"grad_norm": self.grad_norms / self.updates}
