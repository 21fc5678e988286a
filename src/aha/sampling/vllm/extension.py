"""What is added to vLLM's worker class: hashing the weights that its transfer brings, and those that the model
computes with.

Weights come by vLLM's own lifecycle: ``init_weight_transfer_engine`` once, then for every version
``start_weight_update``, ``update_weights`` for each piece, ``finish_weight_update``.

vLLM fuses projections and, on CPUs, packs matrices into layouts that cannot be read. Fused ones are split again;
a packed one is read back by sending the identity through the layer: what comes out is what it multiplies by.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from aha.sampling.hashes import digest, digests
from aha.sampling.vllm.transfer import BACKENDS

READ_BACK = 1e12
"""Multiplications for reading packed matrices back: more would take longer than the sampling."""
ROWS = 512


class Extension:
    """Mixed into vLLM's worker, whose lifecycle of weights it uses."""

    model_runner: Any
    vllm_config: Any
    device: torch.device
    weight_transfer_engine: Any
    _weight_update_active: bool
    _aha_delivered: dict[str, str]
    _aha_shapes: dict[str, tuple[int, ...]]
    _aha_dtypes: dict[str, torch.dtype]

    def aha_join(self, transfer: str, info: dict[str, Any]) -> None:
        """Have weights come that way from now on: with the engine that was configured, or another one instead."""
        self.aha_abandon()
        if self.vllm_config.weight_transfer_config.backend != BACKENDS[transfer]:
            self._aha_replace(BACKENDS[transfer])
        self.init_weight_transfer_engine(info)  # type: ignore[attr-defined]

    def _aha_replace(self, backend: str) -> None:
        from vllm.distributed.weight_transfer import WeightTransferEngineFactory  # pyright: ignore

        config = self.vllm_config.weight_transfer_config
        config.backend = backend
        self.weight_transfer_engine.shutdown()
        self.weight_transfer_engine = WeightTransferEngineFactory.create_engine(
            config, self.vllm_config, self.device, self.model_runner.get_model()
        )

    def aha_begin(self) -> None:
        """New weights come; what was left half done is given up."""
        self.aha_abandon()
        self._aha_delivered, self._aha_shapes, self._aha_dtypes = {}, {}, {}
        self.start_weight_update()  # type: ignore[attr-defined]

    def aha_take(self, info: dict[str, Any]) -> None:
        """Load a piece; every tensor is hashed as it comes out of vLLM's engine."""
        engine = self.weight_transfer_engine
        model, engine.model = engine.model, _Listening(engine.model, self._aha_hear)
        try:
            self.update_weights(info)  # type: ignore[attr-defined]
        except BaseException:
            self._weight_update_active = True  # the model is half loaded, whatever vLLM thinks
            raise
        finally:
            engine.model = model

    def _aha_hear(self, tensors: dict[str, Tensor]) -> None:
        if any(t.is_cuda for t in tensors.values()):
            torch.cuda.current_stream().synchronize()  # the threads that hash have streams of their own
        self._aha_delivered |= digests(tensors)
        self._aha_shapes |= {name: tuple(t.shape) for name, t in tensors.items()}
        self._aha_dtypes |= {name: t.dtype for name, t in tensors.items()}

    def aha_end(self) -> dict[str, str]:
        """All weights have come. Returns the hash of each tensor as it came."""
        self.finish_weight_update()  # type: ignore[attr-defined]
        self.model_runner.reset_encoder_cache()
        self.model_runner.reset_mm_cache()
        _pack_again(self.model_runner.get_model())
        return self._aha_delivered

    def aha_abandon(self) -> None:
        """End an update that failed: layers get back what they had, or what there is of the new."""
        if self._weight_update_active:
            self.finish_weight_update()  # type: ignore[attr-defined]

    def aha_held(self) -> tuple[dict[str, str], list[str]]:
        """(hash by canonical name of what the model computes with, names that its layout hides)."""
        hashes: dict[str, str] = {}
        if _ranks() == 1:
            for name, tensor in _held(self.model_runner.get_model(), self._aha_shapes):
                value = digest(tensor.to(self._aha_dtypes[name]))
                if hashes.setdefault(name, value) != value:  # a tied head that computes with another one
                    hashes[name] = "not the same everywhere"
        return hashes, sorted(set(self._aha_shapes) - set(hashes))


class _Listening:
    """The model as vLLM's transfer engine loads into it: what passes is heard first."""

    def __init__(self, model: Any, hear: Any):
        self._model, self._hear = model, hear

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> Any:
        """Load, and tell of each tensor."""
        came = list(weights)
        self._hear(dict(came))
        return self._model.load_weights(came)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)


def _ranks() -> int:
    from vllm.distributed import get_tensor_model_parallel_world_size  # pyright: ignore

    return get_tensor_model_parallel_world_size()


def _pack_again(model: Any) -> None:
    """A head tied to the embedding is not loaded but keeps, on CPUs, a packed copy of its own."""
    for module in model.modules():
        if _packed(module) and module.weight.numel():
            module.quant_method.process_weights_after_loading(module)


def _packed(module: Any) -> bool:
    return callable(getattr(module, "cpu_linear", None)) and hasattr(module, "quant_method")


def _held(model: Any, shapes: dict[str, tuple[int, ...]]) -> Iterator[tuple[str, Tensor]]:
    """(canonical name, tensor) wherever the model holds one of the tensors whose ``shapes`` are given."""
    fused, budget = dict(getattr(model, "packed_modules_mapping", None) or {}), READ_BACK
    names = {id(p): name for name, p in model.named_parameters()}  # the first of tied ones
    for path, module in model.named_modules():
        for own, param in module.named_parameters(recurse=False):
            name = f"{path}.{own}"
            tied = name not in shapes and names.get(id(param)) in shapes
            before, _, last = (names[id(param)] if tied else name).removesuffix(f".{own}").rpartition(".")
            members = [f"{before}.{part}.{own}".lstrip(".") for part in fused.get(last, (last,))]
            if not all(part in shapes for part in members):
                continue
            rows = [shapes[part][0] if shapes[part] else 1 for part in members]
            places = []
            if (place := _as_it_is(module, param, sum(rows), shapes[members[0]])) is not None:
                places.append(place)
            if own == "weight" and _multiplies(module, param):
                inputs = shapes[members[0]][-1]
                budget -= inputs**2 * getattr(module, "output_size_per_partition", sum(rows))
                if budget > 0:
                    places.append(_read_back(module, inputs, param.dtype)[: sum(rows)])
            for whole in places:
                yield from zip(members, whole.split(rows), strict=True)


def _as_it_is(module: Any, param: Tensor, rows: int, shape: tuple[int, ...]) -> Tensor | None:
    """The parameter, without the rows that pad a vocabulary; None if it is not kept in this shape."""
    padded = param.dim() == len(shape) > 0 and param.shape[1:] == shape[1:] and param.shape[0] >= rows
    whole = param.shape[0] == rows or hasattr(module, "org_vocab_size") if padded else False
    return param.detach()[:rows] if whole and param.numel() else None


def _multiplies(module: Any, param: Tensor) -> bool:
    """Whether a packed copy is multiplied by. A table that is looked up has one too, unused."""
    matrix = param.dim() == 2 or not param.numel()
    return matrix and _packed(module) and type(module).__name__ != "VocabParallelEmbedding"


@torch.inference_mode()
def _read_back(module: Any, inputs: int, dtype: torch.dtype) -> Tensor:
    """The matrix [outputs, inputs] that the layer multiplies by: 1 w + 0 + ... is w, exactly."""
    parts = []
    for first in range(0, inputs, ROWS):
        x = torch.zeros(min(ROWS, inputs - first), inputs, dtype=dtype)
        x[torch.arange(len(x)), torch.arange(first, first + len(x))] = 1
        parts.append(module.quant_method.apply(module, x, None))
    return torch.cat(parts).t().contiguous()


def _register() -> None:
    """Tell vLLM of the way through host memory, in each of its processes: all of them import this module."""
    from vllm.distributed.weight_transfer import WeightTransferEngineFactory  # pyright: ignore

    WeightTransferEngineFactory.register_engine(
        BACKENDS["host"], "aha.sampling.vllm.host", "HostWeightTransferEngine"
    )


if importlib.util.find_spec("vllm") is not None:
    _register()
