"""The policy loss, per token. How tokens are averaged is not decided here but by their weights."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from aha.training.policy import Loss, TokenView

Objective = Literal["clipped", "cispo", "logprob", "mirror"]
Ratio = Literal["token", "sequence", "sequence_product"]
Kl = Literal["none", "k1", "k2", "k3"]


def sequence_sum(values: Tensor, sequence: Tensor) -> tuple[Tensor, Tensor]:
    """(sum over each token's completion, that completion's number of tokens), both [n]."""
    count = int(sequence.max()) + 1 if len(sequence) else 0
    zeros = torch.zeros(count, dtype=values.dtype, device=values.device)
    total = zeros.index_add(0, sequence, values)
    length = zeros.index_add(0, sequence, torch.ones_like(values))
    return total[sequence], length[sequence]


def log_ratio(logprobs: Tensor, view: TokenView, ratio: Ratio) -> Tensor:
    """log(policy / old policy) [n] of each token, at the level of ``ratio``.

    ``token``: DeepSeekMath's GRPO. ``sequence``: the mean over the completion's tokens, GSPO
    (arXiv 2507.18071, eq. 7). ``sequence_product``: the sum, the ratio of whole completions as the R1 paper
    writes it (arXiv 2501.12948, eq. 1).
    """
    per_token = logprobs - view.old_logprobs
    if ratio == "token":
        return per_token
    total, length = sequence_sum(per_token, view.sequence)
    return total / length if ratio == "sequence" else total


def kl_estimate(logprobs: Tensor, reference: Tensor, kind: Kl) -> Tensor:
    """Estimates of KL(policy || reference) per token from samples of the policy (Schulman, 2020).

    k1 = -log u, k2 = (log u)^2 / 2, k3 = u - log u - 1, with u = reference / policy.
    """
    log_u = reference - logprobs
    if kind == "k1":
        return -log_u
    if kind == "k2":
        return log_u.square() / 2
    if kind == "k3":
        return log_u.exp() - log_u - 1
    return torch.zeros_like(logprobs)


Surrogate = tuple[Tensor, dict[str, Tensor]]


def _clipped(r: Tensor, a: Tensor, low: float, high: float, dual: float | None) -> Surrogate:
    token_loss = -torch.minimum(r * a, r.clamp(1 - low, 1 + high) * a)
    if dual is not None:
        token_loss = torch.where(a < 0, torch.minimum(token_loss, -dual * a), token_loss)
    below, above = (r < 1 - low) & (a < 0), (r > 1 + high) & (a > 0)
    if dual is not None:
        above = above | ((r > dual) & (a < 0))
    return token_loss, _clip_stats(below, above, r)


def _cispo(r: Tensor, a: Tensor, low: float, high: float, logprobs: Tensor) -> Surrogate:
    """The clipped ratio is a constant weight of the log probability: no token loses its gradient."""
    weight = r.detach().clamp(1 - low, 1 + high)
    return -weight * a * logprobs, _clip_stats(r < 1 - low, r > 1 + high, r)


def _clip_stats(low: Tensor, high: Tensor, r: Tensor) -> dict[str, Tensor]:
    return {
        "clip_ratio/low_mean": low.float(),
        "clip_ratio/high_mean": high.float(),
        "clip_ratio/region_mean": (low | high).float(),
        "ratio": r,
    }


def policy_loss(
    *,
    objective: Objective | Loss = "clipped",
    clip_low: float = 0.2,
    clip_high: float = 0.2,
    clip_dual: float | None = None,
    ratio: Ratio = "token",
    kl: Kl = "none",
    kl_coef: float = 0.0,
    kl_unbiased: bool = False,
    entropy_coef: float = 0.0,
    mirror_coef: float = 0.0,
) -> Loss:
    """One surrogate of the advantage, plus kl_coef * KL, minus entropy_coef * H, plus imitation, per token.

    - ``clipped``: -min(r A, clip(r, 1 - clip_low, 1 + clip_high) A), PPO (arXiv 1707.06347, eq. 7) and GRPO
      (arXiv 2501.12948, eq. 1); DAPO's clip-higher is clip_high > clip_low. With ``clip_dual`` c, the loss
      of A < 0 is at most -c A (dual clip, arXiv 1912.09729).
    - ``cispo``: -stop_gradient(clip(r)) A log p (MiniMax-M1, arXiv 2506.13585).
    - ``logprob``: -A log p, the score function alone: REINFORCE, GPG, RAFT, AGRO.
    - ``mirror``: -A log p + mirror_coef / 2 * (log of the completions' ratio)^2, Kimi k1.5's online mirror
      descent (arXiv 2501.12599, section 2.3.2); the square belongs to the completion and is spread over its tokens.
    - a function of (logprobs, entropy, view): its own loss per token, with statistics by name.

    ``kl_unbiased`` multiplies the estimate by policy / old policy, so that samples of the old policy give
    the policy's KL and its gradient (DeepSeek-V3.2, arXiv 2512.02556). Statistics: ``clip_ratio/low_mean``,
    ``clip_ratio/high_mean``, ``clip_ratio/region_mean`` (share of tokens whose gradient the clip changed),
    ``ratio``, ``kl``.
    """

    def surrogate(logprobs: Tensor, view: TokenView) -> Surrogate:
        a = view.advantages
        if objective == "logprob":
            return -a * logprobs, {}
        if objective == "mirror":
            total, length = sequence_sum(logprobs - view.old_logprobs, view.sequence)
            return -a * logprobs + mirror_coef / 2 * total.square() / length, {"ratio": total.exp()}
        r = log_ratio(logprobs, view, ratio).exp()
        if objective == "cispo":
            return _cispo(r, a, clip_low, clip_high, logprobs)
        return _clipped(r, a, clip_low, clip_high, clip_dual)

    def loss(logprobs: Tensor, entropy: Tensor, view: TokenView) -> Surrogate:
        token_loss, stats = (
            objective(logprobs, entropy, view) if callable(objective) else surrogate(logprobs, view)
        )
        if kl != "none" and view.reference_logprobs is not None:
            divergence = kl_estimate(logprobs, view.reference_logprobs, kl)
            if kl_unbiased:
                divergence = divergence * (logprobs - view.old_logprobs).exp()
            token_loss = token_loss + kl_coef * divergence
            stats["kl"] = divergence
        if entropy_coef:
            token_loss = token_loss - entropy_coef * entropy
        if view.imitation is not None:
            token_loss = token_loss - view.imitation * logprobs
        return token_loss, stats

    return loss


def clipped_loss(**settings: float) -> Loss:
    """``policy_loss`` with the clipped surrogate."""
    return policy_loss(objective="clipped", **settings)  # type: ignore[arg-type]


def negative_log_likelihood(
    logprobs: Tensor, entropy: Tensor, view: TokenView
) -> tuple[Tensor, dict[str, Tensor]]:
    """Pretraining and SFT: -log p of each trained token."""
    return -logprobs, {}


def value_loss(values: Tensor, old_values: Tensor, returns: Tensor, clip: float | None) -> Tensor:
    """Half the squared error of the critic [n]; with ``clip``, the worse of it and of the error of the value
    moved at most ``clip`` from what it was when the completion was sampled (PPO's value clip)."""
    error = (values - returns).square()
    if clip is not None:
        near = old_values + (values - old_values).clamp(-clip, clip)
        error = torch.maximum(error, (near - returns).square())
    return error / 2
