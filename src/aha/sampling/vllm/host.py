"""Weights through host memory, as an engine that vLLM's ``WeightTransferEngineFactory`` makes: it reads a parcel.

Imported in vLLM's environment only.
"""
# pyright: reportMissingImports=false, reportUntypedBaseClass=false

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from vllm.distributed.weight_transfer.base import (
    WeightTransferEngine,
    WeightTransferInitInfo,
    WeightTransferUpdateInfo,
)

from aha.sampling.vllm.weights import mapped


@dataclass
class HostInitInfo(WeightTransferInitInfo):
    """Nothing needs to be agreed on."""


@dataclass
class HostUpdateInfo(WeightTransferUpdateInfo):
    """Where the parcel lies."""

    path: str


class HostWeightTransferEngine(WeightTransferEngine[HostInitInfo, HostUpdateInfo]):
    """Loads what lies in a parcel, tensor by tensor, out of the memory that holds it."""

    init_info_cls = HostInitInfo
    update_info_cls = HostUpdateInfo

    def init_transfer_engine(self, init_info: HostInitInfo) -> None:
        """Nothing to do."""

    def start_weight_update(self) -> None:
        """Layers are filled one by one, each when all of it has come."""
        from vllm.model_executor.model_loader.reload import initialize_layerwise_reload

        initialize_layerwise_reload(self.model)

    def finish_weight_update(self) -> None:
        """The layers that are left, attention among them."""
        from vllm.model_executor.model_loader.reload import finalize_layerwise_reload

        finalize_layerwise_reload(self.model, self.model_config)

    def update_weights(self, update_info: dict[str, Any]) -> None:
        """As vLLM's, which asks for an accelerator to wait for: a CPU is none."""
        self.receive_weights(self.parse_update_info(update_info))
        if torch.accelerator.is_available():
            torch.accelerator.synchronize()

    def receive_weights(self, update_info: HostUpdateInfo) -> None:
        """Load a parcel's tensors. Raises ValueError if it is none."""
        self.model.load_weights(mapped(update_info.path).items())

    def shutdown(self) -> None:
        """Nothing is held."""
