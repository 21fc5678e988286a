"""The policy: a model with its optimizer. The one place where token t is predicted from what precedes it.

Working weights are in the compute type (bf16 where the machine is fast at it) and are the very modules the
sampler runs; the float32 master copy and the gradients' float32 sums live in the optimizer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aha import attention
from aha.modeling import Head
from aha.types import AhaError, Batch

HEAD_CHUNK_ELEMENTS = 1 << 23
"""Logits that exist at once, in float32 elements: bounds memory whatever vocabulary and batch are."""


@dataclass(frozen=True, slots=True)
class TokenView:
    """The trained tokens of a batch, n of them, as tensors: what a loss function sees."""

    weights: Tensor  # [n]
    advantages: Tensor  # [n]
    old_logprobs: Tensor  # [n] of the policy that sampled
    reference_logprobs: Tensor | None  # [n]
    sequence: Tensor  # [n] which completion, 0..S-1 in order of appearance


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
        rows = max(1, HEAD_CHUNK_ELEMENTS // weight.shape[0])
        logprobs, entropies = [], []
        for h, t in zip(hidden.split(rows), tokens.split(rows), strict=True):
            logp = torch.log_softmax(head.logits(h) / temperature, dim=-1)
            logprobs.append(logp.gather(1, t[:, None])[:, 0])
            entropies.append(-(logp.exp() * logp).sum(-1))
        ctx.save_for_backward(hidden, weight, tokens)
        ctx.head, ctx.bias, ctx.temperature, ctx.rows = head, bias, temperature, rows
        return torch.cat(logprobs), torch.cat(entropies)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        grad_logprob, grad_entropy = grads
        hidden, weight, tokens = ctx.saved_tensors
        head, precise = ctx.head, hidden.device.type == "cpu"
        kind = torch.float32 if precise else hidden.dtype
        w, grad_w = weight.to(kind), torch.zeros_like(weight, dtype=torch.float32)
        grad_b = None if ctx.bias is None else torch.zeros_like(ctx.bias, dtype=torch.float32)
        grad_hidden = []
        for start in range(0, len(hidden), ctx.rows):
            part = slice(start, start + ctx.rows)
            z = head.logits(hidden[part])
            logp = torch.log_softmax(z / ctx.temperature, dim=-1)
            p = logp.exp()
            dz = -p * grad_logprob[part, None]
            dz.scatter_add_(1, tokens[part, None], grad_logprob[part, None])
            if grad_entropy is not None and grad_entropy.any():
                entropy = -(p * logp).sum(-1, keepdim=True)
                dz -= p * (logp + entropy) * grad_entropy[part, None]
            dz /= ctx.temperature
            if head.softcap:
                dz *= 1 - (z / head.softcap) ** 2
            dz = (dz * head.scale).to(kind)
            grad_hidden.append((dz @ w).to(hidden.dtype))
            grad_w += dz.T @ hidden[part].to(kind)
            if grad_b is not None:
                grad_b += dz.float().sum(0)
        bias_grad = None if ctx.bias is None or grad_b is None else grad_b.to(ctx.bias.dtype)
        return torch.cat(grad_hidden), grad_w.to(weight.dtype), bias_grad, None, None, None


@dataclass(frozen=True, slots=True)
class OptimizerConfig:
    """AdamW on float32 masters. ``lr`` is the peak; schedules pass their own to ``step``."""

    lr: float = 1e-6
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    muon_lr: float | None = None  # matrices of the layers by Muon at this rate; the rest stays with AdamW


class Policy:
    """A causal LM that can be asked for logprobs, given gradients and stepped."""

    def __init__(self, model: Any, optimizer: OptimizerConfig | None = None):
        attention.install(model)
        self.model, self.config = model, optimizer
        self.device = next(model.parameters()).device
        self.params = [p for p in model.parameters() if p.requires_grad]
        self.version = 0
        self.last_logprobs: tuple[np.ndarray, np.ndarray] | None = None  # of the last backward: where, what
        if optimizer is not None:
            self._attach_optimizer(optimizer)

    def _attach_optimizer(self, config: OptimizerConfig) -> None:
        self.masters = [p.detach().to(torch.float32, copy=True) for p in self.params]
        for master in self.masters:
            master.grad = torch.zeros_like(master)
        self.optimizers = make_optimizers(self.masters, self._outer(), config)
        for param, master in zip(self.params, self.masters, strict=True):
            param.register_post_accumulate_grad_hook(_add_into(master))

    def _outer(self) -> list[bool]:
        """Which parameters are embeddings or the output head."""
        ends = (self.model.get_input_embeddings().weight, self.model.get_output_embeddings().weight)
        return [any(p is end for end in ends) for p in self.params]

    # --- forward -----------------------------------------------------------------------------------------

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
        model = self.model
        attention.install(model)  # whoever shares the model may have changed it; wrong attention is silent
        context = attention.Packed(attention.make_plan(batch.segments, self.device))
        ids, positions = (self._tensor(a)[None] for a in (batch.token_ids, batch.positions))
        hidden = model.base_model(
            input_ids=ids, position_ids=positions, context=context, use_cache=False
        ).last_hidden_state[0]
        hidden = hidden.index_select(0, self._tensor(batch.predictor[chosen]))
        head = Head.of(model)
        tokens = self._tensor(batch.token_ids[chosen])
        return _LogprobHead.apply(hidden, head.weight, head.bias, head, tokens, temperature)  # type: ignore[return-value]

    def _tensor(self, array: np.ndarray) -> Tensor:
        kind = np.int64 if np.issubdtype(array.dtype, np.integer) else np.float32
        return torch.from_numpy(np.ascontiguousarray(array, dtype=kind)).to(self.device)

    # --- backward and step -------------------------------------------------------------------------------

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
        if not torch.isfinite(total):
            raise AhaError(
                "The loss is not finite (NaN or infinity). The step was not taken; the last checkpoint is "
                "sound. Lower the learning rate, or look for NaN in the data or the starting weights."
            )
        total.backward()
        self.last_logprobs = (chosen, logprobs.detach().cpu().numpy())
        sums = {name: (value.detach() * view.weights).sum() for name, value in stats.items()}
        sums["entropy"] = (entropy.detach() * view.weights).sum()
        sums |= {"loss": total.detach(), "weight": view.weights.sum()}
        return {name: float(value) for name, value in sums.items()}

    def _view(self, batch: Batch, chosen: np.ndarray) -> TokenView:
        _, sequence = np.unique(batch.sequence[chosen], return_inverse=True)
        reference = batch.reference_logprobs
        return TokenView(
            self._tensor(batch.weights[chosen]),
            self._tensor(batch.advantages[chosen]),
            self._tensor(batch.sampler_logprobs[chosen]),
            None if reference is None else self._tensor(reference[chosen]),
            self._tensor(sequence),
        )

    def step(self, lr: float | None = None) -> float:
        """Clip the gradient, update the masters, copy them into the working weights, clear the gradient.

        Returns the gradient's norm before clipping. Raises AhaError if it is not finite.
        """
        assert self.config is not None
        norm = torch.nn.utils.clip_grad_norm_(self.masters, self.config.max_grad_norm or math.inf)
        if not torch.isfinite(norm):
            raise AhaError(
                "The gradient is not finite. The step was not taken; the last checkpoint is sound."
            )
        scale = 1.0 if lr is None else lr / self.config.lr
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["peak_lr"] * scale
            optimizer.step()
        self._copy_masters()
        self.zero_grad()
        self.version += 1
        return float(norm)

    def zero_grad(self) -> None:
        """Forget accumulated gradients."""
        for master in self.masters:
            if master.grad is not None:
                master.grad.zero_()

    @torch.no_grad()
    def _copy_masters(self) -> None:
        for param, master in zip(self.params, self.masters, strict=True):
            param.copy_(master)

    # --- state -------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Everything that a resumed run needs to continue bit for bit."""
        optimizers = [optimizer.state_dict() for optimizer in self.optimizers]
        return {"masters": self.masters, "optimizers": optimizers, "version": self.version}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state()``."""
        with torch.no_grad():
            for master, saved in zip(self.masters, state["masters"], strict=True):
                master.copy_(saved)
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.version = int(state["version"])
        self._copy_masters()


def make_optimizers(
    masters: Sequence[Tensor], outer: Sequence[bool], config: OptimizerConfig
) -> list[torch.optim.Optimizer]:
    """AdamW for everything, or, with ``muon_lr``, Muon (Jordan et al., 2024) for the layers' matrices."""
    inner = [m for m, out in zip(masters, outer, strict=True) if m.ndim == 2 and not out]
    use_muon = config.muon_lr is not None
    rest = [m for m in masters if not (use_muon and any(m is i for i in inner))]
    groups = [
        {
            "params": [m for m in rest if m.ndim >= 2],
            "weight_decay": 0.0 if use_muon else config.weight_decay,
        },
        {"params": [m for m in rest if m.ndim < 2], "weight_decay": 0.0},
    ]
    adamw = torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, eps=config.eps, fused=True)
    optimizers: list[torch.optim.Optimizer] = [adamw]
    if config.muon_lr is not None:
        optimizers.append(torch.optim.Muon(inner, lr=config.muon_lr, weight_decay=config.weight_decay))
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["peak_lr"] = group["lr"]
    return optimizers


def _add_into(master: Tensor) -> Callable[[Tensor], None]:
    """Sum micro-batch gradients in float32: bf16 sums lose what many small batches add up to."""

    def hook(param: Tensor) -> None:
        assert master.grad is not None
        assert param.grad is not None
        master.grad.add_(param.grad)
        param.grad = None

    return hook
