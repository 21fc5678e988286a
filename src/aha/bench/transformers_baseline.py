"""transformers as its users run it, in our process: the peer that everybody has."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import torch

    from aha.bench.models import BenchModel
    from aha.training.trainer import OptimizerConfig


def stock_copy(subject: BenchModel, attention: str = "sdpa") -> Any:
    """The same weights in a model of its own, with transformers' own attention."""
    peer = copy.deepcopy(subject.model)
    peer.set_attn_implementation(attention)
    for config in (peer.config, peer.generation_config):
        config.eos_token_id = None  # nothing ends early
    return peer


def generate(subject: BenchModel, prompts: list[list[int]], n: int, tokens: int) -> Callable[[], float]:
    """``n`` completions of each prompt by ``model.generate``, with the log probability of each token."""
    import torch
    from transformers import LogitsProcessorList

    peer = stock_copy(subject)
    ids = torch.tensor(prompts, device=subject.device).repeat_interleave(n, 0)

    def sample() -> float:
        kept = logprob_keeper()
        with torch.inference_mode():
            out = peer.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                do_sample=True,
                temperature=1.0,
                top_p=1.0,
                top_k=0,
                max_new_tokens=tokens,
                pad_token_id=0,
                logits_processor=LogitsProcessorList([kept]),
            )
            logprobs = kept.finish(out)
        assert logprobs.shape == (len(ids), tokens)
        return float(logprobs.numel())

    return sample


def logprob_keeper() -> Any:
    """A logits processor that keeps the log probability of what was drawn, and nothing else: asking generate
    for all scores would hold [tokens, rows, vocabulary]."""
    import torch
    from transformers import LogitsProcessor

    class Keeper(LogitsProcessor):
        def __init__(self) -> None:
            self.last: torch.Tensor | None = None
            self.logprobs: list[torch.Tensor] = []

        def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
            self._note(input_ids)
            self.last = torch.log_softmax(scores.float(), dim=-1)
            return scores

        def _note(self, input_ids: torch.Tensor) -> None:
            if self.last is not None:
                self.logprobs.append(self.last.gather(1, input_ids[:, -1:])[:, 0])

        def finish(self, input_ids: torch.Tensor) -> torch.Tensor:
            self._note(input_ids)
            return torch.stack(self.logprobs, dim=1).cpu()

    return Keeper()


def continuous(subject: BenchModel, prompts: list[list[int]], n: int, tokens: int) -> Callable[[], float]:
    """``n`` completions of each prompt by transformers' continuous batching, kept warm from call to call."""
    import logging

    from transformers import GenerationConfig
    from transformers.generation.configuration_utils import ContinuousBatchingConfig

    logging.getLogger("ContinuousBatchingLogger").setLevel(logging.ERROR)  # advice for other callers
    peer = stock_copy(subject)
    page = 32
    rows = len(prompts) * n
    longest = max(map(len, prompts)) + tokens
    on_cpu = subject.device.type == "cpu"
    # Enough for all rows at once: on a CPU the default takes nine tenths of the memory for the cache.
    room: dict[str, Any] = {
        "page_size": page,
        "num_blocks": rows * -(-(longest + 1) // page) + 16,
        "max_batch_tokens": max(rows, 2048),
    }
    batching = ContinuousBatchingConfig(
        return_logprobs=True,
        max_requests_per_batch=rows,
        allow_block_sharing=True,
        **(room if on_cpu else {}),
    )
    config = GenerationConfig(
        do_sample=True,
        temperature=1.0,
        top_p=1.0,
        top_k=0,
        max_new_tokens=tokens,
        eos_token_id=-1,
        pad_token_id=0,
        num_return_sequences=n,
    )

    def sample() -> float:
        outputs = peer.generate_batch(
            prompts,
            generation_config=config,
            continuous_batching_config=batching,
            persistent_manager=True,
        )
        done = [
            len(o.generated_tokens) for o in outputs.values() if len(o.logprobs) == len(o.generated_tokens)
        ]
        if len(done) != rows:
            from aha.types import AhaError

            raise AhaError(f"transformers' continuous batching finished {len(done)} of {rows} completions.")
        return float(sum(done))

    return sample


class PaddedTrainer:
    """A plain loop over transformers' model: padded batches, autocast or bf16 weights, AdamW, clipping.

    ``precision``: "autocast" keeps the weights in float32 and computes in bf16; "masters" keeps bf16 weights
    and float32 masters, as ours does.
    """

    def __init__(self, subject: BenchModel, config: OptimizerConfig, precision: str):
        import torch

        self.device, self.dtype = subject.device, subject.dtype
        self.autocast = precision == "autocast" and subject.dtype == torch.bfloat16
        self.model = stock_copy(subject).train()
        if self.autocast:
            self.model = self.model.float()
        self.config = config
        self.params = [p for p in self.model.parameters() if p.requires_grad]
        self.masters = self.params
        if not self.autocast:
            self.masters = [p.detach().float().clone() for p in self.params]
        self.optimizer = torch.optim.AdamW(
            self.masters,
            lr=config.lr,
            betas=config.betas,
            eps=config.eps,
            weight_decay=config.weight_decay,
            fused=True,
        )

    def step(self, batches: Sequence[Sequence[np.ndarray]]) -> float:
        """One optimizer step over all batches; returns the mean loss of a token."""
        import torch

        trained = sum(len(ids) - 1 for batch in batches for ids in batch)
        total = torch.zeros((), device=self.device)
        for batch in batches:
            ids, mask, labels = self._pad(batch)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast):
                out = self.model(
                    input_ids=ids,
                    attention_mask=mask,
                    labels=labels,
                    num_items_in_batch=trained,
                    use_cache=False,
                )
            out.loss.backward()
            total += out.loss.detach()
        self._update()
        return float(total)

    def _update(self) -> None:
        import torch

        if self.masters is not self.params:
            for master, param in zip(self.masters, self.params, strict=True):
                master.grad = None if param.grad is None else param.grad.float()
                param.grad = None
        torch.nn.utils.clip_grad_norm_(self.masters, self.config.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.masters is not self.params:
            with torch.no_grad():
                for master, param in zip(self.masters, self.params, strict=True):
                    param.copy_(master)

    def _pad(self, batch: Sequence[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        import torch

        longest = max(map(len, batch))
        ids = torch.zeros(len(batch), longest, dtype=torch.int64)
        mask = torch.zeros_like(ids)
        for row, tokens in enumerate(batch):
            ids[row, : len(tokens)] = torch.from_numpy(tokens)
            mask[row, : len(tokens)] = 1
        labels = ids.masked_fill(mask == 0, -100)
        return ids.to(self.device), mask.to(self.device), labels.to(self.device)
