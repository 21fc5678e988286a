"""The policy: log probabilities of tokens, and gradients of losses of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aha import kernels
from aha.modeling import Head
from aha.training.accumulate import accumulate
from aha.training.lora import Adapters
from aha.training.sharding import Shards
from aha.training.trainer import OptimizerConfig, Trainer
from aha.types import Batch

HEAD_CHUNK_ELEMENTS = 1 << 25
"""Logits that exist at once, in float32 elements: bounds memory whatever vocabulary and batch are. Each chunk adds to
the gradient of the whole head, which with a large vocabulary is more to read and write than the chunk."""
LOGITS_KEPT = 1 << 23
"""Logits of a batch that stay between the passes, if they are no more."""
FUSED_CHUNKS = 4
"""Chunks that are taken as one where kernels never write float32 logits: their gradient in bf16 is no more than what
others need for one, and the gradient of the whole head is added to a fourth as often."""


@dataclass(frozen=True, slots=True)
class TokenView:
    """The trained tokens of a batch, n of them, as tensors: what a loss function sees."""

    weights: Tensor  # [n]
    advantages: Tensor  # [n]
    old_logprobs: Tensor  # [n] of the policy the ratio starts from
    reference_logprobs: Tensor | None  # [n]
    sequence: Tensor  # [n] which completion, 0..S-1 in order of appearance
    imitation: Tensor | None = None  # [n] weight of -log p beside the loss (VAPO)


Loss = Callable[[Tensor, Tensor, TokenView], tuple[Tensor, dict[str, Tensor]]]
"""(logprobs [n], entropy [n], view) -> (loss per token [n], statistics per token by name, each [n])."""


class _LogprobHead(torch.autograd.Function):
    """log softmax(head(hidden) / temperature) of given tokens, and its entropy, in chunks of rows.

    Logits are computed again in the backward pass, so that [tokens, vocabulary] never exists whole.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        head: Head,
        tokens: Tensor,
        temperature: float,
    ) -> tuple[Tensor, Tensor]:
        scored, z = [], None
        fused = not head.softcap and kernels.can_fuse(hidden, weight)
        rows = _even(len(hidden), HEAD_CHUNK_ELEMENTS * (FUSED_CHUNKS if fused else 1) // weight.shape[0])
        for h, t in zip(hidden.split(rows), tokens.split(rows), strict=True):
            if fused:
                scored.append(kernels.project_score(h, weight, bias, t, head.scale / temperature))
                continue
            z = head.logits(h)
            scored.append(_scores(z, t, temperature))
        logprobs, entropies, sums = map(torch.cat, zip(*scored, strict=True))
        ctx.save_for_backward(hidden, weight, tokens, entropies, sums)
        ctx.head, ctx.bias, ctx.temperature, ctx.rows, ctx.fused = head, bias, temperature, rows, fused
        few = len(hidden) <= rows and len(hidden) * weight.shape[0] <= LOGITS_KEPT
        ctx.logits = z if few and any(ctx.needs_input_grad) else None
        return logprobs, entropies

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, tokens, entropies, sums = ctx.saved_tensors
        head = ctx.head
        wants_w, wants_b = ctx.needs_input_grad[1:3]  # a frozen head, under adapters, wants none
        grad_w = None
        grad_b = torch.zeros_like(ctx.bias, dtype=torch.float32) if wants_b else None
        grad_hidden = []
        for start in range(0, max(1, len(hidden)), ctx.rows):  # a rank may have no tokens to read
            part = slice(start, start + ctx.rows)
            spread = grads[1][part] if grads[1] is not None and grads[1].any() else None
            known, gradients = (entropies[part], sums[part]), (grads[0][part], spread)
            if ctx.fused:
                factor = head.scale / ctx.temperature
                dz = kernels.project_gradient(
                    hidden[part], weight, ctx.bias, tokens[part], factor, known, gradients, factor
                )
            else:
                z = head.logits(hidden[part]) if ctx.logits is None else ctx.logits
                ctx.logits = None  # it is written over
                dz = _score_gradient(z, tokens[part], ctx.temperature, head, known, gradients)
                dz = dz.to(hidden.dtype)  # as the gradients of every other layer
            grad_hidden.append(dz @ weight)
            if wants_w:
                grad_w = _added(grad_w, kernels.weight_gradient(dz, hidden[part]))
            if grad_b is not None:
                grad_b += dz.float().sum(0)
            del dz  # before the next is made
        weight_grad = None if grad_w is None else grad_w.to(weight.dtype)
        bias_grad = None if grad_b is None else grad_b.to(ctx.bias.dtype)
        return torch.cat(grad_hidden), weight_grad, bias_grad, None, None, None


def _even(tokens: int, most: int) -> int:
    """Rows of a chunk, ``most`` at most, so that all chunks have about as many."""
    chunks = -(-tokens // max(1, most))
    return max(1, -(-tokens // max(1, chunks)))


def _added(total: Tensor | None, part: Tensor) -> Tensor:
    """A sum in float32 of one part after another; the first stays what it is until there is a second."""
    if total is None:
        return part
    return accumulate(total.float(), part)


def _scores(z: Tensor, tokens: Tensor, temperature: float) -> tuple[Tensor, Tensor, Tensor]:
    """Of softmax(z / temperature) [n, V]: the log probability of ``tokens`` [n], the entropy and the log of the
    sum."""
    if kernels.can_score(z):
        return kernels.score(z, tokens, temperature)
    z = z / temperature
    sums = z.logsumexp(-1)
    logp = torch.log_softmax(z, dim=-1)
    return logp.gather(1, tokens[:, None])[:, 0], -(logp.exp() * logp).sum(-1), sums


def _score_gradient(
    z: Tensor,
    tokens: Tensor,
    temperature: float,
    head: Head,
    known: tuple[Tensor, Tensor],
    gradients: tuple[Tensor, Tensor | None],
) -> Tensor:
    """The gradient [n, V] of what ``z`` was made of, before scale and cap; ``known``: entropies and sums."""
    entropies, sums = known
    grad_logprob, grad_entropy = gradients
    if kernels.can_score(z) and not head.softcap:
        kernels.score_gradient(z, tokens, temperature, entropies, sums, gradients, head.scale)
        return z
    logp = z / temperature - sums[:, None]
    p = logp.exp()
    dz = -p * grad_logprob[:, None]
    dz.scatter_add_(1, tokens[:, None], grad_logprob[:, None])
    if grad_entropy is not None:
        dz -= p * (logp + entropies[:, None]) * grad_entropy[:, None]
    dz /= temperature
    if head.softcap:
        dz *= 1 - (z / head.softcap) ** 2
    return dz * head.scale


class Policy(Trainer):
    """A causal LM that can be asked for logprobs, given gradients and stepped.

    With ``adapters`` (put into ``model`` before) only they are trained.
    """

    def __init__(
        self,
        model: Any,
        optimizer: OptimizerConfig | None = None,
        adapters: Adapters | None = None,
        shards: Shards | None = None,
    ):
        self.adapters = adapters
        super().__init__(model, optimizer, [p for p in model.parameters() if p.requires_grad], shards)
        self.last_logprobs: tuple[np.ndarray, np.ndarray] | None = None  # of the last backward: where, what

    def logprobs(self, batch: Batch, temperature: float = 1.0) -> np.ndarray:
        """Log probability of every token of the batch that has a predictor [T]; 0 where there is none."""
        out = np.zeros(len(batch.token_ids), np.float32)
        chosen = np.flatnonzero(batch.predictor >= 0)
        with torch.no_grad():
            values, _ = self._forward(batch, chosen, temperature)
        out[chosen] = values.cpu().numpy()
        return out

    def _forward(self, batch: Batch, chosen: np.ndarray, temperature: float) -> tuple[Tensor, Tensor]:
        """Logprobs and entropies [n] of the ``chosen`` tokens."""

        def read(hidden: Tensor, which: np.ndarray) -> tuple[Tensor, ...]:
            head = Head.of(self.model)
            tokens = self._tensor(batch.token_ids[which])
            return _LogprobHead.apply(hidden, head.weight, head.bias, head, tokens, temperature)  # type: ignore[return-value]

        logprobs, entropies = self._read(batch, chosen, read)
        return logprobs, entropies

    def _values_of(self, batch: Batch) -> Tensor:
        return self._forward(batch, np.flatnonzero(batch.predictor >= 0), 1.0)[0]

    def backward(self, batch: Batch, loss: Loss, temperature: float = 1.0) -> dict[str, float]:
        """Add this batch's share of the gradient of ``(token_loss * weight).sum()``.

        Returns sums over tokens: ``loss``, ``weight`` and each statistic times the token weights. Raises
        AhaError on a loss that is not finite, before any weight is touched.
        """
        chosen = np.flatnonzero((batch.weights != 0) & (batch.predictor >= 0))
        logprobs, entropy = self._forward(batch, chosen, temperature)
        view = self._view(batch, chosen)
        token_loss, stats = loss(logprobs, entropy, view)
        total = (token_loss * view.weights).sum()
        self._accumulate(total)
        self.last_logprobs = (chosen, logprobs.detach().cpu().numpy())
        sums = {name: (value.detach() * view.weights).sum() for name, value in stats.items()}
        sums["entropy"] = (entropy.detach() * view.weights).sum()
        sums |= {"loss": total.detach(), "weight": view.weights.sum()}
        return {name: float(value) for name, value in sums.items()}

    def _view(self, batch: Batch, chosen: np.ndarray) -> TokenView:
        _, sequence = np.unique(batch.sequence[chosen], return_inverse=True)
        old = batch.sampler_logprobs if batch.policy_logprobs is None else batch.policy_logprobs

        def pick(column: np.ndarray | None) -> Tensor | None:
            return None if column is None else self._tensor(column[chosen])

        return TokenView(
            self._tensor(batch.weights[chosen]),
            self._tensor(batch.advantages[chosen]),
            self._tensor(old[chosen]),
            pick(batch.reference_logprobs),
            self._tensor(sequence),
            pick(batch.imitation),
        )
