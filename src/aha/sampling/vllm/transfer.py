"""How weights reach vLLM: through host memory, by CUDA IPC, or by NCCL; and the handles that IPC needs, as plain data.

Both sides import this module; nothing but torch is needed. Handles are what ``reduce_tensor`` of
torch.multiprocessing makes of a buffer on a GPU. They travel field by field, and what comes is checked before a
tensor is made of it.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from aha.sampling.hashes import NAMES, Tensors
from aha.sampling.vllm.wire import WeightPiece, WireError

BACKENDS = {"host": "aha_host", "ipc": "ipc", "nccl": "nccl"}
"""What vLLM calls the ways: the first is ours (``vllm_host``), the others its own."""
CHUNK = 1 << 28
"""Bytes of a piece, unless one tensor is larger: what is on the GPU a second time."""
DTYPES = {str(dtype).removeprefix("torch."): dtype for dtype in NAMES}
LONGEST = 4096  # bytes of a handle


# --- which way ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Places:
    """Where both sides are: UUIDs of GPUs, and NCCL's versions."""

    ours: str  # the policy's GPU; empty on a CPU
    seen: Sequence[str]  # GPUs that the policy's process can use
    theirs: Sequence[str]  # vLLM's, by rank; empty on a CPU
    our_nccl: str = ""
    their_nccl: str = ""
    named: bool = False  # vLLM was given GPUs of its own


def plain_uuid(uuid: object) -> str:
    """A GPU's UUID without the prefix that some tools give it."""
    return str(uuid).lower().removeprefix("gpu-")


def obstacle(transfer: str, at: Places) -> str:
    """Why weights cannot be moved that way; empty if they can."""
    if transfer == "host":
        return ""
    if not at.ours or not at.theirs:
        return "the policy is on a CPU" if not at.ours else "vLLM is on a CPU"
    ours, seen, theirs = plain_uuid(at.ours), set(map(plain_uuid, at.seen)), list(map(plain_uuid, at.theirs))
    if transfer == "ipc":
        return (
            ""
            if set(theirs) <= seen
            else "the trainer does not see all of vLLM's GPUs (CUDA_VISIBLE_DEVICES)"
        )
    if ours in theirs:
        return "vLLM is on the policy's own GPU, which NCCL takes only once: give it others by rl.vllm.gpus"
    if not at.named and not set(theirs) <= seen:
        return "vLLM's GPUs cannot be told from the policy's: name them by rl.vllm.gpus"
    if at.our_nccl != at.their_nccl or not at.our_nccl:
        versions = (
            f"{at.our_nccl or 'not there'} here and {at.their_nccl or 'not there'} in vLLM's environment"
        )
        return f"NCCL is {versions}, and must be one version"
    return ""


def choose(asked: str, at: Places) -> tuple[str, str]:
    """(the way, why it is not the one that was wanted). ``auto``: IPC where vLLM is on the policy's GPU, NCCL where
    it is on others, host memory where that cannot be and on CPUs. Any other is taken or, with a reason, refused."""
    if asked != "auto":
        return asked, obstacle(asked, at)
    if not at.ours or not at.theirs:
        return "host", ""
    way = "ipc" if plain_uuid(at.ours) in map(plain_uuid, at.theirs) else "nccl"
    why = obstacle(way, at)
    return ("host", f"{way}: {why}") if why else (way, "")


def nccl_version() -> str:
    """Of the NCCL that this process's torch brings; empty without one, or without a GPU."""
    if not torch.cuda.is_available() or not hasattr(torch._C, "_nccl_version"):
        return ""
    from torch.cuda import nccl

    return ".".join(map(str, nccl.version()[:3]))


# --- pieces ---------------------------------------------------------------------------------------------------


def pieces(tensors: Tensors, limit: int = CHUNK) -> Iterator[dict[str, Tensor]]:
    """Tensors in their order, in pieces of at most ``limit`` bytes or one tensor. Within a piece, laid end to end,
    each starts at a multiple of its element's size."""
    piece: dict[str, Tensor] = {}
    at = 0
    for name, t in tensors.items():
        size = t.numel() * t.element_size()
        if piece and (at + size > limit or at % t.element_size()):
            yield piece
            piece, at = {}, 0
        piece[name] = t
        at += size
    if piece:
        yield piece


def described(piece: Mapping[str, Tensor], handles: Sequence[dict[str, Any]] = ()) -> WeightPiece:
    """The message that tells of a piece."""
    return WeightPiece(
        names=list(piece),
        dtypes=[str(t.dtype).removeprefix("torch.") for t in piece.values()],
        shapes=[list(t.shape) for t in piece.values()],
        sizes=[t.numel() * t.element_size() for t in piece.values()],
        path="",
        handles=list(handles),
    )


def update_info(piece: WeightPiece, transfer: str) -> dict[str, Any]:
    """What vLLM's ``update_weights`` takes for a piece. Raises WireError for one that is not well formed."""
    if transfer == "host":
        if not isinstance(piece.path, str) or not piece.path:
            raise WireError("weights in host memory come without a path")
        return {"path": piece.path}
    _check(piece)
    info: dict[str, Any] = {"names": piece.names, "dtype_names": piece.dtypes, "shapes": piece.shapes}
    if transfer == "ipc":
        handles = dict(handle_arguments(plain) for plain in piece.handles)
        if not handles or any(size < sum(piece.sizes) for (_, (size,), *_) in handles.values()):
            raise WireError("a buffer is smaller than the weights that are said to be in it")
        info |= {"ipc_handles": handles, "tensor_sizes": piece.sizes}
    return info


def _check(piece: WeightPiece) -> None:
    columns = (piece.names, piece.dtypes, piece.shapes, piece.sizes)
    if not all(isinstance(c, list) for c in columns) or len({len(c) for c in columns}) != 1:
        raise WireError("names, types, shapes and sizes of weights are not equally many")
    for name, dtype, shape, size in zip(*columns, strict=True):
        right = (
            isinstance(name, str) and isinstance(dtype, str) and dtype in DTYPES and isinstance(shape, list)
        )
        if not right or not all(_natural(n) for n in shape):
            raise WireError(f"weights of an unknown kind: {name!r} is {dtype!r} {shape!r}")
        if size != math.prod(shape) * DTYPES[dtype].itemsize:
            raise WireError(f"{name!r} is said to have {size!r} bytes")


def _natural(n: object) -> bool:
    return type(n) is int and 0 <= n < 1 << 62


# --- handles --------------------------------------------------------------------------------------------------

PARAMETERS = (
    "tensor_cls", "tensor_size", "tensor_stride", "tensor_offset", "storage_cls", "dtype", "storage_device",
    "storage_handle", "storage_size_bytes", "storage_offset_bytes", "requires_grad", "ref_counter_handle",
    "ref_counter_offset", "event_handle", "event_sync_required",
)  # fmt: skip
"""What ``rebuild_cuda_tensor`` takes, in its order: vLLM calls it with what is decoded here."""
NUMBERS = (
    "tensor_offset",
    "storage_device",
    "storage_size_bytes",
    "storage_offset_bytes",
    "ref_counter_offset",
)
BYTES = ("storage_handle", "ref_counter_handle", "event_handle")
HANDLE = {"uuid", "size", "event_sync_required", *NUMBERS, *BYTES}


def plain_handle(uuid: str, reduced: tuple[Callable[..., Tensor], tuple[Any, ...]]) -> dict[str, Any]:
    """What ``reduce_tensor`` made of a buffer, uint8 [n], on the GPU ``uuid``, as JSON can carry it.

    Raises WireError if this torch makes something else of it.
    """
    rebuild, arguments = reduced
    if rebuild.__name__ != "rebuild_cuda_tensor" or len(arguments) != len(PARAMETERS):
        raise WireError("this torch shares tensors on GPUs in an unknown way")
    named = dict(zip(PARAMETERS, arguments, strict=True))
    if named["dtype"] is not torch.uint8 or tuple(named["tensor_stride"]) != (1,) or named["requires_grad"]:
        raise WireError("only flat buffers of bytes are shared")
    plain: dict[str, Any] = {"uuid": uuid, "size": next(iter(named["tensor_size"]))}
    plain |= {name: int(named[name]) for name in NUMBERS}
    plain |= {name: base64.b64encode(bytes(named[name])).decode() for name in BYTES}
    return plain | {"event_sync_required": bool(named["event_sync_required"])}


def handle_arguments(plain: object) -> tuple[str, tuple[Any, ...]]:
    """(UUID of the GPU, arguments of ``rebuild_cuda_tensor``) of what ``plain_handle`` made.

    Raises WireError for anything else.
    """
    if not isinstance(plain, dict) or set(plain) != HANDLE:
        raise WireError("a handle of an unknown shape")
    fields: dict[str, Any] = dict(plain)
    if not isinstance(fields["uuid"], str) or type(fields["event_sync_required"]) is not bool:
        raise WireError("a handle of an unknown kind")
    for name in ("size", *NUMBERS):
        if not _natural(fields[name]):
            raise WireError(f"a handle whose {name} is {fields[name]!r}")
    for name in BYTES:
        fields[name] = _decoded(fields[name], name)
    if fields["tensor_offset"] + fields["size"] > fields["storage_size_bytes"] or not fields["size"]:
        raise WireError("a handle to more than its memory")
    values = fields | {
        "tensor_cls": torch.Tensor,
        "tensor_size": torch.Size([fields["size"]]),
        "tensor_stride": (1,),
        "storage_cls": torch.storage.TypedStorage,
        "dtype": torch.uint8,
        "requires_grad": False,
    }
    return fields["uuid"], tuple(values[name] for name in PARAMETERS)


def _decoded(text: object, name: str) -> bytes:
    try:
        content = base64.b64decode(text, validate=True) if isinstance(text, str) else b""
    except (binascii.Error, ValueError):
        content = b""
    if not 0 < len(content) <= LONGEST:
        raise WireError(f"a handle whose {name} cannot be read")
    return content
