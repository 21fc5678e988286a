"""vLLM's own engines are given what we send them: run by vLLM's Python, without a GPU. What CUDA and NCCL would do is
played; everything else is vLLM's."""

from __future__ import annotations

import contextlib
import inspect
from types import SimpleNamespace
from unittest import mock

import torch
from torch.multiprocessing import reductions
from vllm.distributed.weight_transfer import WeightTransferEngineFactory, packed_tensor
from vllm.distributed.weight_transfer import ipc_engine as ipc
from vllm.distributed.weight_transfer import nccl_engine as nccl

from aha.sampling.vllm import transfer as vllm_transfer
from aha.sampling.vllm import worker as vllm_worker
from aha.sampling.vllm.transfer import BACKENDS, described, pieces, plain_handle, update_info
from aha.sampling.vllm.wire import Join

UUID = "1234abcd-0000-0000-0000-000000000001"
WEIGHTS = {
    "a": torch.randn(3, 5).to(torch.bfloat16),
    "b": torch.randn(7),
    "c": torch.randn(2, 4).t(),
    "scalar": torch.tensor(2.5),
    "big": torch.randn(64, 9),
}


class Model:
    """Keeps what it is given."""

    def __init__(self):
        self.found = {}

    def load_weights(self, weights):
        self.found |= {name: t.clone() for name, t in weights}


def engine_of(cls):
    config = SimpleNamespace(parallel_config=None, model_config=None)
    return cls(None, config, torch.device("cuda", 3), Model())


def joined(engine, transfer):
    """As the worker joins it, but for NCCL's group."""
    message = Join(transfer, "AAAA" * 42 + "AAA=", 2)  # 128 bytes of nothing
    info = engine.parse_init_info(vllm_worker._join_info(message))
    with mock.patch.object(nccl, "worker_init_process_group", return_value=Group()):
        engine.init_transfer_engine(info)
    return info


def laid(piece, room=4096):
    buffer, at = torch.zeros(room, dtype=torch.uint8), 0
    for t in piece.values():
        size = t.numel() * t.element_size()
        buffer[at : at + size] = t.contiguous().reshape(-1).view(torch.uint8)
        at += size
    return buffer, at


def check(answers):
    assert list(answers) == list(WEIGHTS)
    for name, t in WEIGHTS.items():
        assert torch.equal(answers[name], t), name
        assert answers[name].dtype == t.dtype


def by_ipc():
    engine = engine_of(ipc.IPCWeightTransferEngine)
    joined(engine, "ipc")
    assert engine.packed
    opened, memory = [], torch.zeros(4096, dtype=torch.uint8)

    def rebuild(*arguments):
        opened.append(arguments)
        assert arguments[6] == 3  # the number that the GPU has there
        return memory

    handle = plain_handle(
        UUID,
        (reductions.rebuild_cuda_tensor, (torch.Tensor, torch.Size([4096]), (1,), 0, torch.storage.TypedStorage,
         torch.uint8, 0, b"h" * 66, 4096, 0, False, b"/torch_1_2_3", 0, b"e" * 64, True)),
    )  # fmt: skip
    props = SimpleNamespace(uuid=UUID)
    with (
        mock.patch.object(torch.cuda, "get_device_properties", return_value=props),
        mock.patch.object(reductions, "rebuild_cuda_tensor", rebuild),
    ):
        for piece in pieces(WEIGHTS, 80):
            memory.copy_(laid(piece)[0])
            info = update_info(described(piece, [handle]), "ipc")
            engine.receive_weights(engine.parse_update_info(info))
    check(engine.model.found)
    assert len(opened) == 1  # mapped once, and given back once


class Group:
    """Broadcasts what lies ready."""

    ready: torch.Tensor

    def broadcast(self, tensor, src, stream=None):
        assert src == 0
        assert tensor.numel() == self.ready.numel()
        tensor.copy_(self.ready)


def by_nccl():
    engine = engine_of(nccl.NCCLWeightTransferEngine)
    info = joined(engine, "nccl")
    assert (info.rank_offset, info.world_size, len(info.nccl_unique_id_bytes)) == (1, 2, 128)
    engine.device = torch.device("cpu")
    stream = SimpleNamespace(synchronize=lambda: None)
    with (
        mock.patch.object(packed_tensor, "_get_streams", lambda _, n: [stream] * n),
        mock.patch.object(torch.accelerator, "current_device_index", return_value=0),
        mock.patch.object(torch.cuda, "stream", return_value=contextlib.nullcontext()),
    ):
        for piece in pieces(WEIGHTS, 80):
            buffer, size = laid(piece)
            engine.model_update_group.ready = buffer[:size]  # one broadcast a piece, of its bytes
            told = update_info(described(piece), "nccl")
            engine.receive_weights(engine.parse_update_info(told))
    check(engine.model.found)


if __name__ == "__main__":
    from aha.sampling.vllm import extension as vllm_extension

    assert vllm_extension.BACKENDS is BACKENDS
    known = WeightTransferEngineFactory._registry
    assert set(BACKENDS.values()) <= set(known)
    assert known[BACKENDS["host"]]().__name__ == "HostWeightTransferEngine"
    assert tuple(inspect.signature(reductions.rebuild_cuda_tensor).parameters) == vllm_transfer.PARAMETERS
    by_ipc()
    by_nccl()
    print("both took everything")
