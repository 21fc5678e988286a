"""Preference losses: what chosen and rejected completions, or labelled ones, teach by their log probabilities.

A completion's log probability is the sum over its tokens; its *log ratio* is that less the reference's. Each loss is a
function of these sums alone, so it is computed on whole completions and spread over their tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from aha.training.policy import Loss, TokenView
from aha.types import AhaError, Batch

PreferenceLoss = Literal["dpo", "ipo", "orpo", "simpo", "kto"]
BETAS: dict[PreferenceLoss, float] = {"dpo": 0.1, "ipo": 0.1, "orpo": 0.1, "simpo": 2.0, "kto": 0.1}
"""What beta is where none is given: the papers' and TRL's."""
REFERENCE_FREE = ("orpo", "simpo")
SURE = -1e-6
"""The mean log probability of a token above which odds are no longer told apart: float32 ends there."""


@dataclass(frozen=True, slots=True)
class SequenceLogprobs:
    """Completions [N]: the sum of their tokens' log probabilities, the reference's (0 without one), their tokens."""

    logprobs: Tensor
    reference: Tensor
    lengths: Tensor

    @property
    def ratios(self) -> Tensor:
        """log(policy / reference) of the whole completions [N]."""
        return self.logprobs - self.reference

    @property
    def means(self) -> Tensor:
        """Log probability of a token in the mean [N]."""
        return self.logprobs / self.lengths

    def __getitem__(self, which: slice | Tensor) -> SequenceLogprobs:
        return SequenceLogprobs(self.logprobs[which], self.reference[which], self.lengths[which])


# --- the losses ------------------------------------------------------------------------------------------


def dpo(margins: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """-log sigma(m) [P] of ``margins``, beta times the difference of log ratios (Rafailov, arXiv 2305.18290, eq. 7).

    ``label_smoothing`` e takes that part of the pairs for swapped: -(1 - e) log sigma(m) - e log sigma(-m),
    conservative DPO (Mitchell, 2023, "A note on DPO with noisy preferences", eq. 3).
    """
    return -(1 - label_smoothing) * F.logsigmoid(margins) - label_smoothing * F.logsigmoid(-margins)


def ipo(chosen: SequenceLogprobs, rejected: SequenceLogprobs, beta: float) -> Tensor:
    """(h - 1 / (2 beta))^2 [P], h the difference of log ratios (Azar et al., arXiv 2310.12036, eq. 17; beta: its tau).

    Log ratios are means over tokens, as the authors computed them: of sums, the square would grow with the length.
    """
    h = chosen.ratios / chosen.lengths - rejected.ratios / rejected.lengths
    return (h - 1 / (2 * beta)).square()


def log_odds(means: Tensor) -> Tensor:
    """log(p / (1 - p)) [N] of mean log probabilities."""
    sure = means.clamp(max=SURE)
    return sure - torch.log(-torch.expm1(sure))


def orpo(chosen: SequenceLogprobs, rejected: SequenceLogprobs, beta: float) -> Tensor:
    """-beta log sigma(log odds of chosen - log odds of rejected) [P], the odds of the completions' mean probabilities
    (Hong et al., arXiv 2403.07691, eq. 4, 6, 7; beta is its lambda). The SFT term of its eq. 6 is ``nll``."""
    return -beta * F.logsigmoid(log_odds(chosen.means) - log_odds(rejected.means))


def simpo(
    chosen: SequenceLogprobs,
    rejected: SequenceLogprobs,
    beta: float,
    gamma: float,
    label_smoothing: float = 0.0,
) -> Tensor:
    """-log sigma(beta (mean of chosen - mean of rejected) - gamma) [P] (Meng et al., arXiv 2405.14734, eq. 6)."""
    return dpo(beta * (chosen.means - rejected.means) - gamma, label_smoothing)


def kto(
    rewards: Tensor, desirable: Tensor, baseline: float, weights: tuple[float, float] = (1.0, 1.0)
) -> Tensor:
    """w (1 - sigma(r - z)) of ``desirable`` completions, w (1 - sigma(z - r)) of the others [N] (Ethayarajh et al.,
    arXiv 2402.01306, eq. 7 and 8). ``rewards`` are beta times log ratios, ``baseline`` z is beta times the KL estimate,
    ``weights`` those of desirable and undesirable ones."""
    good = weights[0] * (1 - torch.sigmoid(rewards - baseline))
    return torch.where(desirable, good, weights[1] * (1 - torch.sigmoid(baseline - rewards)))


def nll(chosen: SequenceLogprobs) -> Tensor:
    """-log p of a token in the mean [P]: the SFT term of ORPO, and of DPO for reasoning (Pang, arXiv 2404.19733)."""
    return -chosen.means


# --- one of them, with its settings ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Preference:
    """A loss by name with its settings. ``beta`` None is the loss's own; ``nll_coef`` None is 1 for ORPO, else 0.

    Completions come in one order: of pairs, chosen and rejected in turn; with ``kto``, any, by their labels.
    """

    loss: PreferenceLoss = "dpo"
    beta: float | None = None
    label_smoothing: float = 0.0
    gamma: float = 1.0  # SimPO's margin
    length_normalized: bool = False  # DPO's log ratios as means over tokens
    nll_coef: float | None = None
    desirable_weight: float = 1.0
    undesirable_weight: float = 1.0

    @property
    def strength(self) -> float:
        """Beta, as it was given or the loss's own."""
        return BETAS[self.loss] if self.beta is None else self.beta

    @property
    def sft(self) -> float:
        """The weight of ``nll``."""
        return float(self.loss == "orpo") if self.nll_coef is None else self.nll_coef

    @property
    def paired(self) -> bool:
        """Whether it learns from pairs."""
        return self.loss != "kto"

    @property
    def needs_reference(self) -> bool:
        """Whether it has log ratios."""
        return self.loss not in REFERENCE_FREE

    def rewards(self, rows: SequenceLogprobs) -> Tensor:
        """The implicit reward of each completion [N]: beta times its log ratio, or its mean log probability."""
        if not self.needs_reference:
            return self.strength * rows.means
        ratios = rows.ratios / rows.lengths if self.length_normalized and self.loss == "dpo" else rows.ratios
        return self.strength * ratios

    def losses(self, rows: SequenceLogprobs, labels: Tensor, kl: float = 0.0) -> Tensor:
        """The loss of each completion [N]: a pair's stands at both. ``labels`` [N]: 1 chosen or desirable, 0 else;
        ``kl``: the estimate that KTO compares with."""
        if self.loss == "kto":
            weights = (self.desirable_weight, self.undesirable_weight)
            loss = kto(self.rewards(rows), labels > 0, self.strength * max(0.0, kl), weights)
            return loss - self.sft * torch.where(labels > 0, rows.means, 0.0) if self.sft else loss
        chosen, rejected = rows[0::2], rows[1::2]
        loss = self._of_pairs(chosen, rejected)
        if self.sft:
            loss = loss + self.sft * nll(chosen)
        return loss.repeat_interleave(2)

    def _of_pairs(self, chosen: SequenceLogprobs, rejected: SequenceLogprobs) -> Tensor:
        if self.loss == "ipo":
            return ipo(chosen, rejected, self.strength)
        if self.loss == "orpo":
            return orpo(chosen, rejected, self.strength)
        if self.loss == "simpo":
            return simpo(chosen, rejected, self.strength, self.gamma, self.label_smoothing)
        return dpo(self.rewards(chosen) - self.rewards(rejected), self.label_smoothing)

    def figures(self, rows: SequenceLogprobs, labels: Tensor, share: float) -> dict[str, Tensor]:
        """Figures [N] by TRL's names, whose means over all completions of a step are what is reported. ``share`` of the
        step's completions are chosen or desirable."""
        rewards = self.rewards(rows).detach()
        good, bad = labels / max(share, 1e-9), (1 - labels) / max(1 - share, 1e-9)
        logps = rows.logprobs.detach()
        columns = {
            "rewards/chosen": rewards * good,
            "rewards/rejected": rewards * bad,
            "logps/chosen": logps * good,
            "logps/rejected": logps * bad,
        }
        if self.paired:
            right = (rewards[0::2] > rewards[1::2]).to(rewards.dtype)
            columns["rewards/accuracies"] = right.repeat_interleave(2)
        if self.sft:
            columns["nll_loss"] = -rows.means.detach() * good
        return columns


# --- on packed batches -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StepCompletions:
    """All completions [N] of one optimizer step beside their log probabilities, in the order of its examples: labels
    (1 chosen or desirable), the reference's sums, where each ends when all are laid end to end, and KTO's estimate."""

    labels: np.ndarray
    reference: np.ndarray
    lengths: np.ndarray
    ends: np.ndarray
    kl: float = 0.0

    @property
    def share(self) -> float:
        """The part that is chosen or desirable."""
        return float(self.labels.mean())


def wide(device: torch.device) -> torch.dtype:
    """The type that sums over long completions are made in."""
    return torch.float32 if device.type == "mps" else torch.float64


def owners(batch: Batch, ends: np.ndarray) -> np.ndarray:
    """Which example each completion of a batch is of [S], in the order in which ``TokenView.sequence`` counts them."""
    trained = np.flatnonzero((batch.weights != 0) & (batch.predictor >= 0))
    _, first = np.unique(batch.sequence[trained], return_index=True)
    return np.searchsorted(ends, batch.origin[trained[first]], side="right")


def preference_loss(preference: Preference, step: StepCompletions) -> Callable[[Batch], Loss]:
    """For each batch of a step the loss that ``Policy.backward`` takes. With weights of ``sequence_mean`` over the
    step's examples its sum is the mean over pairs, or over labelled completions, however the step was packed.

    Raises AhaError where a pair is split over two batches.
    """

    def of_batch(batch: Batch) -> Loss:
        which = owners(batch, step.ends)
        order = np.argsort(which, kind="stable")
        if preference.paired and not _whole_pairs(which[order]):
            raise AhaError("A pair of completions was split over two batches: raise max_tokens_per_batch.")

        def loss(logprobs: Tensor, entropy: Tensor, view: TokenView) -> tuple[Tensor, dict[str, Tensor]]:
            kind, device = wide(logprobs.device), logprobs.device
            sums = torch.zeros(len(which), dtype=kind, device=device)
            sums = sums.index_add(0, view.sequence, logprobs.to(kind))

            def column(values: np.ndarray) -> Tensor:
                return torch.from_numpy(values[which[order]]).to(device, kind)

            places = torch.from_numpy(order).to(device)
            rows = SequenceLogprobs(sums[places], column(step.reference), column(step.lengths))
            labels = column(step.labels)
            back = torch.argsort(places)[view.sequence]
            figures = preference.figures(rows, labels, step.share)
            losses = preference.losses(rows, labels, step.kl)
            return losses[back].to(logprobs.dtype), {
                k: v[back].to(logprobs.dtype) for k, v in figures.items()
            }

        return loss

    return of_batch


def _whole_pairs(which: np.ndarray) -> bool:
    """Whether sorted numbers of examples are pairs 2i, 2i + 1."""
    return len(which) % 2 == 0 and bool(
        (which[0::2] % 2 == 0).all() and (which[0::2] + 1 == which[1::2]).all()
    )
