"""The policy loss, per token. How tokens are averaged is not decided here but by their weights."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from aha.training.policy import Loss, TokenView

Ratio = Literal["token", "sequence", "sequence_product"]
Kl = Literal["none", "k1", "k2", "k3"]


def log_ratio(logprobs: Tensor, view: TokenView, ratio: Ratio) -> Tensor:
    """log(policy / old policy) [n] of each token, at the level of ``ratio``.

    ``token``: DeepSeekMath's GRPO. ``sequence``: the mean over the completion's tokens, GSPO
    (arXiv 2507.18071, eq. 7). ``sequence_product``: the sum, the ratio of whole completions as the R1 paper
    writes it (arXiv 2501.12948, eq. 1).
    """
    per_token = logprobs - view.old_logprobs
    if ratio == "token":
        return per_token
    count = int(view.sequence.max()) + 1 if len(view.sequence) else 0
    zeros = torch.zeros(count, dtype=per_token.dtype, device=per_token.device)
    total = zeros.index_add(0, view.sequence, per_token)
    if ratio == "sequence":
        total = total / zeros.index_add(0, view.sequence, torch.ones_like(per_token))
    return total[view.sequence]


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


def clipped_loss(
    *,
    clip_low: float = 0.2,
    clip_high: float = 0.2,
    ratio: Ratio = "token",
    kl: Kl = "none",
    kl_coef: float = 0.0,
    entropy_coef: float = 0.0,
) -> Loss:
    """-min(r A, clip(r, 1 - clip_low, 1 + clip_high) A) + kl_coef * KL - entropy_coef * H, per token.

    GRPO (arXiv 2501.12948, eq. 1) with k3 and clip_low = clip_high; DAPO's clip-higher is clip_high >
    clip_low. Statistics: ``clip_ratio/low_mean``, ``clip_ratio/high_mean``, ``clip_ratio/region_mean``
    (share of tokens whose gradient the clip removed), ``ratio``, ``kl``.
    """

    def loss(logprobs: Tensor, entropy: Tensor, view: TokenView) -> tuple[Tensor, dict[str, Tensor]]:
        r = log_ratio(logprobs, view, ratio).exp()
        a = view.advantages
        token_loss = -torch.minimum(r * a, r.clamp(1 - clip_low, 1 + clip_high) * a)
        low, high = (r < 1 - clip_low) & (a < 0), (r > 1 + clip_high) & (a > 0)
        stats = {
            "clip_ratio/low_mean": low.float(),
            "clip_ratio/high_mean": high.float(),
            "clip_ratio/region_mean": (low | high).float(),
            "ratio": r,
        }
        if kl != "none" and view.reference_logprobs is not None:
            divergence = kl_estimate(logprobs, view.reference_logprobs, kl)
            token_loss = token_loss + kl_coef * divergence
            stats["kl"] = divergence
        if entropy_coef:
            token_loss = token_loss - entropy_coef * entropy
        return token_loss, stats

    return loss


def negative_log_likelihood(
    logprobs: Tensor, entropy: Tensor, view: TokenView
) -> tuple[Tensor, dict[str, Tensor]]:
    """Pretraining and SFT: -log p of each trained token."""
    return -logprobs, {}
