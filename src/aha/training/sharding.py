"""Weights, gradients and optimizer state in parts, one a rank: FSDP2 (``torch.distributed.fsdp.fully_shard``).

Each layer is one unit, and what is left (embeddings, last norm, head) is another. A rank keeps float32 masters of
its part only; before a unit computes, its working weights are gathered in the compute type, and are freed after.
Gradients are summed in float32 as they are scattered. The masters are the model's own parameters here.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from aha import attention, ranks
from aha.types import AhaError


class Shards:
    """The sharded form of ``model``, which is changed in place; every rank makes it at the same time.

    With ``trains`` parameters become float32; else they stay as they are. With ``samples`` there is a replica of
    the model, an ordinary one without shards, whose weights are there within ``unsharded``.
    """

    def __init__(self, model: Any, *, trains: bool, samples: bool = False):
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import (
            FSDPModule,
            MixedPrecisionPolicy,
            fully_shard,
            register_fsdp_forward_method,
        )

        weight = next(model.parameters())
        if any(not p.requires_grad for p in model.parameters()) and trains:
            raise AhaError(
                "Adapters beside frozen weights cannot be sharded: give --parallel replicated, or train all "
                "weights (lora_rank=0)."
            )
        attention.install(model)  # which tries the model out, as a plain one
        self.model, self.dtype = model, weight.dtype
        self.replica = _replica(model) if samples else None
        if self.replica is not None:
            attention.install(self.replica)  # while it has weights
        mesh = init_device_mesh(weight.device.type, (ranks.real_world()[1],))
        mixed = MixedPrecisionPolicy(
            param_dtype=self.dtype if trains and self.dtype != torch.float32 else None,
            reduce_dtype=torch.float32,
            cast_forward_inputs=False,
        )
        for unit in [*layers(model), model]:
            if trains:
                for param in unit.parameters():
                    param.data = param.data.float()
            fully_shard(unit, mesh=mesh, mp_policy=mixed, reshard_after_forward=True)
        for module in model.modules():
            if isinstance(module, FSDPModule):  # sums, as everywhere here: the weights hold the mean
                module.set_gradient_divide_factor(1.0)
                module.set_force_sum_reduction_for_comms(True)
        model.within = lambda work: work()
        register_fsdp_forward_method(model, "within")
        if self.replica is not None:
            _free(self.replica)

    def run(self, work: Callable[[], Any]) -> Any:
        """``work()``, a forward pass through parts of the model, with the embeddings and the head in place."""
        return self.model.within(work)

    @contextmanager
    def unsharded(self) -> Iterator[None]:
        """Within it the replica has the weights as they are now, in the compute type, on every rank."""
        assert self.replica is not None
        places = dict(self.replica.named_parameters())
        for name, param in self.model.named_parameters():
            places[name].data = unsharded(param.detach().to(self.dtype))
        try:
            yield
        finally:
            _free(self.replica)

    def state_dict(self) -> dict[str, Tensor]:
        """The whole model's weights in the compute type, on the CPU of the first rank; {} on the others.

        Every rank must call it. One parameter at a time is whole on the ranks' devices.
        """
        first = {id(p): name for name, p in self.model.named_parameters()}
        names = [(name, first[id(p)]) for name, p in self.model.named_parameters(remove_duplicate=False)]
        tensors: dict[str, Tensor] = {}
        for name, param in self.model.named_parameters():
            value = unsharded(param.detach().to(self.dtype))
            if ranks.is_main():
                tensors[name] = value.cpu()
        if not ranks.is_main():
            return {}
        tensors = {name: tensors[own] for name, own in names}
        return tensors | {k: v.cpu() for k, v in self.model.state_dict().items() if k not in tensors}


SHARE_OF_MEMORY = 0.5
BYTES_PER_WEIGHT = 4 + 4 + 8  # float32 master, gradient sum, two moments; the working weights come on top


def chosen(parallel: str, model: Any) -> bool:
    """Whether to shard ``model`` over the ranks: as ``parallel`` says, "auto", "replicated" or "sharded". By
    itself only where whole optimizer state would take half of a GPU's memory. Never on one rank."""
    if ranks.world()[1] == 1 or parallel == "replicated":
        return False
    weight = next(model.parameters())
    frozen = any(not p.requires_grad for p in model.parameters())  # adapters beside weights that stay
    if parallel == "sharded" or frozen or weight.device.type != "cuda":
        return parallel == "sharded"
    numbers = sum(p.numel() for p in model.parameters())
    size = numbers * (BYTES_PER_WEIGHT + weight.element_size())
    return size > SHARE_OF_MEMORY * torch.cuda.get_device_properties(weight.device).total_memory


def shards(parallel: str, model: Any, *, samples: bool = False) -> Shards | None:
    """``Shards`` to train ``model`` with, where ``chosen`` says so."""
    return Shards(model, trains=True, samples=samples) if chosen(parallel, model) else None


def layers(model: Any) -> list[nn.Module]:
    """The modules that transformers can compute again: the model's layers."""
    from transformers.modeling_layers import GradientCheckpointingLayer

    return [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]


def unsharded(value: Tensor) -> Tensor:
    """All of a tensor, of which each rank may have a part; every rank must call it."""
    from torch.distributed.tensor import DTensor

    return value.full_tensor() if isinstance(value, DTensor) else value


def own_part(value: Tensor) -> Tensor:
    """What this rank has of a tensor: all of it, where it is not sharded."""
    from torch.distributed.tensor import DTensor

    return value.to_local() if isinstance(value, DTensor) else value


def like(value: Tensor, model: Tensor) -> Tensor:
    """``value``, whole on every rank, sharded as ``model`` is."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    if not isinstance(model, DTensor) or isinstance(value, DTensor):
        return value
    return distribute_tensor(value.to(model.device), model.device_mesh, model.placements, src_data_rank=None)


def is_part(value: Tensor) -> bool:
    """Whether this rank has only a part of a tensor."""
    from torch.distributed.tensor import DTensor

    return isinstance(value, DTensor)


def _replica(model: Any) -> Any:
    """A model of its own modules on the same storage, which keeps it when ``model`` is given other."""
    replica = copy.deepcopy(model, {id(p): p for p in model.parameters()})
    own: dict[int, nn.Parameter] = {}
    for module in replica.modules():
        for name, param in module._parameters.items():
            if param is not None:
                own.setdefault(id(param), nn.Parameter(param.data, requires_grad=False))
                module._parameters[name] = own[id(param)]
    return replica


def _free(model: Any) -> None:
    for param in model.parameters():
        param.data = param.data.new_empty(0)
