"""Working weights with float32 masters: gradient sums, the optimizer step, and all state to continue.

Working weights are in the compute type (bf16 where the machine is fast at it) and are the very modules the
sampler runs; the float32 master copy and the gradients' float32 sums live here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from aha import attention, ranks
from aha.modeling import max_context, outgrows
from aha.training import context, parallel
from aha.training.accumulate import accumulate
from aha.training.compiled import torch_compile
from aha.training.offload import Offloaded
from aha.training.sharding import Shards, layers, like, own_part, unsharded
from aha.types import AhaError, Batch

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class OptimizerConfig:
    """AdamW on float32 masters. ``lr`` is the peak; schedules pass their own to ``step``."""

    lr: float = 1e-6
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    muon_lr: float | None = None  # matrices of the layers by Muon at this rate; the rest stays with AdamW
    gradient_checkpointing: bool = (
        False  # keep only each layer's input and compute the layer again: less memory
    )
    activation_offload: bool = False  # keep what the backward pass needs in the CPU's memory
    torch_compile: bool = False  # norms and feed-forward through torch.compile
    context_parallel_size: int = 1  # consecutive ranks that share each micro-batch


class Trainer:
    """A causal LM's layers under an optimizer; what is read off their output is the subclass's."""

    adapters: Any = None  # those of ``lora``, where only they are trained

    def __init__(
        self,
        model: Any,
        optimizer: OptimizerConfig | None,
        params: Sequence[torch.nn.Parameter],
        shards: Shards | None = None,
    ):
        attention.install(model)
        self.model, self.config, self.shards = model, optimizer, shards
        self.params = list(params)
        self.device = next(model.parameters()).device
        self.version = 0
        self.context = None if optimizer is None else context.join(optimizer.context_parallel_size)
        if optimizer is not None:
            self._attach_optimizer(optimizer)
            if optimizer.torch_compile:
                torch_compile(model)

    def _attach_optimizer(self, config: OptimizerConfig) -> None:
        if self.shards is None:
            self.masters = [p.detach().to(torch.float32, copy=True) for p in self.params]
        else:
            self.masters: list[Tensor] = list(self.params)
        for master in self.masters:
            master.grad = torch.zeros_like(master)
        self.optimizers = make_optimizers(self.masters, self._outer(), config)
        if self.shards is None:
            for param, master in zip(self.params, self.masters, strict=True):
                param.register_post_accumulate_grad_hook(_add_into(master))

    @property
    def sampler(self) -> Any:
        """The model to sample with: where weights are sharded it has them within ``unsharded`` only."""
        return self.model if self.shards is None else self.shards.replica

    @contextmanager
    def unsharded(self) -> Iterator[None]:
        """Within it ``sampler`` has all weights. Every rank must enter it at the same time."""
        with nullcontext() if self.shards is None else self.shards.unsharded():
            yield

    @property
    def dp_size(self) -> int:
        """Among how many micro-batches are dealt: the ranks, or the groups that share each."""
        size = parallel.world()[1]
        return size if self.context is None or size == 1 else self.context.count

    def map_microbatches(
        self, batches: Sequence[Batch], work: Callable[[Batch], T], *, trains: bool = True
    ) -> list[T]:
        """``work(batch)`` of every batch, in order, on every rank; each rank, or group, does its share of the work.

        ``trains``: ``work`` goes backward. Where weights are sharded every rank must go forward and backward
        equally often, so one with a batch less makes up for it with two tokens of weight 0.
        """
        rank, size = parallel.world()
        if size == 1:
            return [work(batch) for batch in batches]
        index, within = (rank, 0) if self.context is None else (self.context.index, self.context.rank)
        mine = parallel.dealt(batches, index, self.dp_size)
        results = {i: work(batches[i]) for i in mine}
        if self.shards is not None and len(mine) < math.ceil(len(batches) / self.dp_size):
            self._idle(trains)
        gathered = ranks.all_gather({} if within else results)  # a group's ranks have the same ones
        return list(gathered.values())

    def _idle(self, trains: bool) -> None:
        with torch.set_grad_enabled(trains):
            nothing = self._values_of(_NOTHING) * 0
        if trains:
            nothing.sum().backward()

    def _values_of(self, batch: Batch) -> Tensor:
        """One number for each token that has a predictor: what this model is trained on."""
        raise NotImplementedError

    def _run(self, work: Callable[[], T]) -> T:
        """A forward pass: the layers and what is read off them."""
        return work() if self.shards is None else self.shards.run(work)

    def _outer(self) -> list[bool]:
        """Which parameters are embeddings or an output head."""
        ends = (self.model.get_input_embeddings().weight, self.model.get_output_embeddings().weight)
        return [any(p is end for end in ends) for p in self.params]

    def _read(
        self, batch: Batch, chosen: np.ndarray, read: Callable[[Tensor, np.ndarray], tuple[Tensor, ...]]
    ) -> tuple[Tensor, ...]:
        """``read(hidden [n, hidden], chosen)``: values [n] of the ``chosen`` tokens, of each kind, off what the layers
        make at their predictors. Of ranks that share the batch each reads off its own tokens; all get all."""
        if self.context is None or parallel.world()[1] == 1:
            return self._run(lambda: read(self._hidden(batch, chosen), chosen))
        share = context.Share(batch, self.context, self.device)
        readers = share.readers(batch.predictor[chosen])
        own = chosen[readers.own]
        return context.together(self._run(lambda: read(self._hidden(batch, own, share), own)), readers)

    def _hidden(self, batch: Batch, chosen: np.ndarray, share: context.Share | None = None) -> Tensor:
        """What the layers make [n, hidden] at the tokens that predict the ``chosen`` ones. With ``share`` only its
        tokens are computed, of which the predictors are."""
        ranks.progress()
        attention.install(self.model)  # whoever shares the model may have changed it
        self._check_positions(batch)
        at, tokens = batch.predictor[chosen], np.arange(len(batch.token_ids))
        if share is None:
            seen = attention.Packed(attention.make_plan(batch.segments, self.device))
        else:
            seen, at, tokens = share.attention(), share.place(at), share.own
        ids, positions = (self._tensor(a[tokens])[None] for a in (batch.token_ids, batch.positions))
        again = self.config is not None and self.config.gradient_checkpointing and torch.is_grad_enabled()
        away = self.config is not None and self.config.activation_offload and torch.is_grad_enabled()
        with (
            layers_recomputed(self.model) if again else nullcontext(),
            Offloaded() if away else nullcontext(),
        ):
            out = self.model.base_model(input_ids=ids, position_ids=positions, context=seen, use_cache=False)
        return out.last_hidden_state[0].index_select(0, self._tensor(at))

    def _check_positions(self, batch: Batch) -> None:
        longest = int(batch.positions.max()) + 1
        if outgrows(self.model, longest):
            raise AhaError(
                f"A sequence of {longest} tokens is longer than the {max_context(self.model)} within which this "
                "model's rotary positions stay fixed. Shorten it, or load the model with another rope_scaling "
                "(yarn, linear or llama3)."
            )

    def _tensor(self, array: np.ndarray) -> Tensor:
        kind = np.int64 if np.issubdtype(array.dtype, np.integer) else np.float32
        return torch.from_numpy(np.ascontiguousarray(array, dtype=kind)).to(self.device)

    def _accumulate(self, total: Tensor) -> None:
        """Add the gradient of ``total``; raises AhaError if it is not finite, before any weight is touched."""
        if not torch.isfinite(total):
            raise AhaError(
                "The loss is not finite (NaN or infinity). The step was not taken; the last checkpoint is "
                "sound. Lower the learning rate, or look for NaN in the data or the starting weights."
            )
        total.backward()

    def step(self, lr: float | None = None) -> float:
        """Clip the gradient, update the masters, copy them into the working weights, clear the gradient.

        Returns the gradient's norm before clipping. Raises AhaError if it is not finite.
        """
        assert self.config is not None
        limit = self.config.max_grad_norm or math.inf
        if self.shards is None:
            parallel.sum_gradients(self.masters)
            norm = torch.nn.utils.clip_grad_norm_(self.masters, limit)
        else:  # summed as they were scattered; the norm is that of all parts
            norm = unsharded(
                torch.nn.utils.get_total_norm([m.grad for m in self.masters if m.grad is not None])
            )
            torch.nn.utils.clip_grads_with_norm_(self.masters, limit, norm)
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
        if self.shards is not None:
            return  # the working weights are made of the masters whenever they are used
        for param, master in zip(self.params, self.masters, strict=True):
            param.copy_(master)

    @torch.no_grad()
    def set_masters(self, values: Sequence[Tensor]) -> None:
        """Start from other float32 ``values``, whole on every rank, than those of the working weights."""
        for master, value in zip(self.masters, values, strict=True):
            master.copy_(like(value, master))
        self._copy_masters()

    # --- state -------------------------------------------------------------------------------------------

    def weights(self) -> dict[str, Tensor] | None:
        """Where weights are sharded the whole model's, on the first rank; every rank must call it. Else None."""
        return None if self.shards is None else self.shards.state_dict()

    def load_weights(self, state: Mapping[str, Tensor]) -> None:
        """Put the whole model's weights, by name, in place; for models without an optimizer."""
        if self.shards is None:
            self.model.load_state_dict(state)
            return
        with torch.no_grad():
            for name, param in self.model.named_parameters():
                param.copy_(like(state[name], param))

    def state(self) -> dict[str, Any]:
        """Everything that a resumed run needs to continue bit for bit."""
        optimizers = [optimizer.state_dict() for optimizer in self.optimizers]
        return {"masters": self.masters, "optimizers": optimizers, "version": self.version}

    def split_state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """``state()`` in two: the tensors of the masters' shapes by name, of which a rank may have parts, and
        the rest, in which their names stand for them."""
        parts = {f"masters.{i}": master.detach() for i, master in enumerate(self.masters)}
        optimizers = []
        for number, optimizer in enumerate(self.optimizers):
            saved, params = optimizer.state_dict(), _params(optimizer)
            saved["state"] = {index: dict(values) for index, values in saved["state"].items()}
            for index, values in saved["state"].items():
                for key in [k for k, v in values.items() if is_like(v, params[index])]:
                    name = f"optimizers.{number}.{index}.{key}"
                    parts[name], values[key] = values[key], name
            optimizers.append(saved)
        return {"optimizers": optimizers, "version": self.version}, parts

    def empty_parts(self, rest: Mapping[str, Any]) -> dict[str, Tensor]:
        """Room for the tensors that ``rest`` of ``split_state`` names, as this trainer keeps its masters."""
        parts = {f"masters.{i}": torch.zeros_like(m.detach()) for i, m in enumerate(self.masters)}
        for saved, optimizer in zip(rest["optimizers"], self.optimizers, strict=True):
            params = _params(optimizer)
            for index, values in saved["state"].items():
                names = [v for v in values.values() if isinstance(v, str)]
                parts |= {name: torch.zeros_like(params[index].detach()) for name in names}
        return parts

    def with_parts(self, rest: Mapping[str, Any], parts: Mapping[str, Tensor]) -> dict[str, Any]:
        """``state()`` again, of what ``split_state`` gave."""
        optimizers = [
            {
                **saved,
                "state": {
                    index: {k: parts[v] if isinstance(v, str) else v for k, v in values.items()}
                    for index, values in saved["state"].items()
                },
            }
            for saved in rest["optimizers"]
        ]
        masters = [parts[f"masters.{i}"] for i in range(len(self.masters))]
        return {"masters": masters, "optimizers": optimizers, "version": rest["version"]}

    def optimizer_bytes(self) -> int:
        """What this rank's optimizer keeps for its next steps: nothing before the first, nor without one."""
        if self.config is None:
            return 0
        values: list[Any] = [v for o in self.optimizers for state in o.state.values() for v in state.values()]
        local = [own_part(v) for v in values if torch.is_tensor(v)]
        return sum(v.numel() * v.element_size() for v in local)

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state()``."""
        with torch.no_grad():
            for master, saved in zip(self.masters, state["masters"], strict=True):
                master.copy_(like(saved, master))
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved if self.shards is None else _sharded(saved, optimizer))
        self.version = int(state["version"])
        self._copy_masters()


@contextmanager
def layers_recomputed(model: Any) -> Iterator[None]:
    """Within it, a forward call keeps only the input of each layer; the backward pass computes the rest again.

    transformers' own layers know how to, in training mode; here they stay in evaluation mode otherwise (no
    dropout), and the sampler, which shares them, never notices.
    """
    modules: list[Any] = layers(model)
    if not modules:
        raise AhaError(
            f"{type(model).__name__} cannot compute its layers again; set gradient_checkpointing=false."
        )
    before = [layer.training for layer in modules]
    for layer in modules:
        layer.training, layer.gradient_checkpointing = True, True
        setattr(layer, "_gradient_checkpointing_func", partial(checkpoint, use_reentrant=False))  # noqa: B010
    try:
        yield
    finally:
        for layer, was in zip(modules, before, strict=True):
            layer.training, layer.gradient_checkpointing = was, False


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


def _sharded(saved: Mapping[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """An optimizer's saved state with what is as large as its parameter sharded as that is."""
    params = _params(optimizer)
    state = {
        index: {k: like(v, params[index]) if is_like(v, params[index]) else v for k, v in values.items()}
        for index, values in saved["state"].items()
    }
    return {**saved, "state": state}


def _params(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """The optimizer's parameters by the numbers that its state has."""
    return [p for group in optimizer.param_groups for p in group["params"]]


def is_like(value: Any, param: Tensor) -> bool:
    """Whether a value of an optimizer's state is a tensor of its parameter's shape, of one dimension or more."""
    return isinstance(value, Tensor) and value.ndim > 0 and value.shape == param.shape


_NOTHING = Batch(
    token_ids=np.array([0, 1]),
    positions=np.array([0, 1]),
    segments=np.array([[0, 2, 0, 0]]),
    predictor=np.array([-1, 0]),
    sequence=np.array([0, 0]),
    weights=np.zeros(2, np.float32),
    advantages=np.zeros(2, np.float32),
    sampler_logprobs=np.zeros(2, np.float32),
    origin=np.array([0, 1]),
)


def _add_into(master: Tensor) -> Callable[[Tensor], None]:
    """Sum micro-batch gradients in float32: bf16 sums lose what many small batches add up to."""

    def hook(param: Tensor) -> None:
        assert master.grad is not None
        assert param.grad is not None
        accumulate(master.grad, param.grad)
        param.grad = None

    return hook
