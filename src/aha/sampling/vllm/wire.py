"""Messages between us and vLLM's process: typed, length-framed, JSON and raw arrays. Nothing is unpickled.

A frame is a header (four magic bytes, the JSON's length, the arrays' length), then the JSON, then the arrays'
bytes one after another. Both sides import this module; vLLM's environment has numpy but nothing else of ours.
"""

from __future__ import annotations

import json
import select
import socket
import struct
import threading
from dataclasses import dataclass, field, fields
from typing import Any, get_args

import numpy as np

MAGIC = b"aha1"
HEADER = struct.Struct(">4sIQ")
MAX_JSON, MAX_ARRAYS = 64 << 20, 1 << 34
DTYPES = ("int32", "int64", "uint64", "float32")


class WireError(Exception):
    """What came is no message of ours."""


class Closed(WireError):
    """The other side is gone."""


@dataclass(frozen=True, slots=True)
class Start:
    """Make the engine for the model whose config and tokenizer are in ``folder``; its weights come later."""

    folder: str
    dtype: str
    max_len: int  # tokens of prompt and completion
    max_rows: int
    cache_bytes: int
    gpu_memory_utilization: float  # of a GPU
    eager: bool
    sleep: bool
    ranks: int  # of tensor parallelism
    transfer: str  # how weights are to come: auto, host, ipc, nccl
    gpu: str  # UUID of the policy's GPU; empty on a CPU
    gpus: list[str]  # UUIDs of those that its process sees
    nccl: str  # NCCL's version there
    named: bool  # whether vLLM is given GPUs of its own


@dataclass(frozen=True, slots=True)
class Ready:
    """The engine is there. Weights come by ``transfer``; ``why`` not by the one that was wanted."""

    version: str
    device: str
    transfer: str
    why: str
    gpus: list[str]  # UUIDs of those that the model is on, by rank


@dataclass(frozen=True, slots=True)
class Join:
    """Weights come by ``transfer`` from now on. For nccl, ``group`` is the id, in base64, of a group of ``size``
    in which the sender is the first."""

    transfer: str
    group: str
    size: int


@dataclass(frozen=True, slots=True)
class Begin:
    """New weights come."""


@dataclass(frozen=True, slots=True)
class WeightPiece:
    """Some of the weights: tensors by name, with their types, shapes and sizes in bytes. They lie, all of them, in
    the safetensors file at ``path``; or one after another in a buffer on each GPU, whose ``handles`` come with
    them; or are broadcast so."""

    names: list[str]
    dtypes: list[str]
    shapes: list[list[int]]
    sizes: list[int]
    path: str
    handles: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Taken:
    """Done so."""


@dataclass(frozen=True, slots=True)
class TransferRefused:
    """That could not be done with the weights; the engine lives on, without any."""

    error: str


@dataclass(frozen=True, slots=True)
class End:
    """All weights have come; they are the policy's of ``version``."""

    version: int


@dataclass(frozen=True, slots=True)
class HashWeights:
    """Hash what the model holds."""


@dataclass(frozen=True, slots=True)
class WeightHashes:
    """SHA-256 by canonical name: of the tensors as they were ``delivered`` (empty for ``HashWeights``), and of those
    that can be read off the model's own layout, ``read_back``. ``hidden`` names those that cannot be."""

    version: int
    delivered: dict[str, str]
    read_back: dict[str, str]
    hidden: list[str]


@dataclass(frozen=True, slots=True)
class Generate:
    """Sample. Prompts lie end to end in ``prompts`` [sum of lengths]; prompt i is wanted ``counts[i]`` times,
    each time with a seed of its own, in ``seeds`` [sum of counts]."""

    call: int
    prompts: np.ndarray
    lengths: np.ndarray
    counts: np.ndarray
    seeds: np.ndarray
    temperature: float
    top_p: float
    top_k: int
    min_p: float
    max_tokens: int
    stop: list[str]
    stop_ids: list[int]


@dataclass(frozen=True, slots=True)
class Finished:
    """All samples of one prompt: ``tokens`` and ``logprobs`` end to end, ``lengths`` and ``finish`` of each."""

    call: int
    index: int
    version: int
    tokens: np.ndarray
    logprobs: np.ndarray
    lengths: np.ndarray
    finish: list[str]


@dataclass(frozen=True, slots=True)
class Cancel:
    """Drop what is left of the call."""

    call: int


@dataclass(frozen=True, slots=True)
class Done:
    """Nothing of the call is left."""

    call: int


@dataclass(frozen=True, slots=True)
class Rest:
    """Give back the accelerator's memory until there is work again."""


@dataclass(frozen=True, slots=True)
class Rested:
    """Done so."""


@dataclass(frozen=True, slots=True)
class WorkerFailed:
    """What was asked could not be done."""

    error: str


WireMessage = (
    Start | Ready | Join | Begin | WeightPiece | Taken | TransferRefused | End | HashWeights | WeightHashes
    | Generate | Finished | Cancel | Done | Rest | Rested | WorkerFailed
)  # fmt: skip
KINDS: dict[str, type[Any]] = {kind.__name__: kind for kind in get_args(WireMessage)}


def encode(message: WireMessage) -> bytes:
    """One frame."""
    plain: dict[str, Any] = {}
    arrays: list[tuple[str, str, int]] = []
    raw: list[bytes] = []
    for entry in fields(message):
        value = getattr(message, entry.name)
        if isinstance(value, np.ndarray):
            if value.ndim != 1 or value.dtype.name not in DTYPES:
                raise WireError(f"{entry.name} is {value.dtype} of {value.ndim} dimensions")
            arrays.append((entry.name, value.dtype.name, len(value)))
            raw.append(value.astype(value.dtype.newbyteorder("<")).tobytes())
        else:
            plain[entry.name] = value
    text = json.dumps({"kind": type(message).__name__, "fields": plain, "arrays": arrays}).encode()
    return b"".join([HEADER.pack(MAGIC, len(text), sum(map(len, raw))), text, *raw])


def decode(text: bytes, raw: bytes) -> WireMessage:
    """The message of a frame's two parts. Raises WireError for anything else."""
    try:
        parts = json.loads(text)
        kind, values, arrays = parts["kind"], dict(parts["fields"]), list(parts["arrays"])
        at = 0
        for name, dtype, length in arrays:
            if dtype not in DTYPES:
                raise WireError(f"arrays of {dtype} are not sent")
            wire = np.dtype(dtype).newbyteorder("<")
            values[name] = np.frombuffer(raw, wire, int(length), at).astype(dtype)
            at += int(length) * wire.itemsize
    except (ValueError, KeyError, TypeError) as error:
        raise WireError(f"a damaged message: {error}") from error
    if kind not in KINDS or at != len(raw) or set(values) != {f.name for f in fields(KINDS[kind])}:
        raise WireError(f"a message of an unknown shape: {kind} with {sorted(values)}")
    return KINDS[kind](**values)


@dataclass(slots=True)
class Wire:
    """One end of a stream socket. Any thread may send; one receives."""

    sock: socket.socket
    _sending: threading.Lock = field(default_factory=threading.Lock)

    def send(self, message: WireMessage) -> None:
        """Send a message. Raises Closed if the other side is gone."""
        try:
            with self._sending:
                self.sock.sendall(encode(message))
        except OSError as error:
            raise Closed("the other side is gone") from error

    def receive(self) -> WireMessage:
        """Wait for a message. Raises Closed if the other side is gone, WireError if it is no message."""
        magic, text, raw = HEADER.unpack(self._exactly(HEADER.size))
        if magic != MAGIC or text > MAX_JSON or raw > MAX_ARRAYS:
            raise WireError(f"a frame that starts with {magic!r}, {text} and {raw} bytes long")
        return decode(self._exactly(text), self._exactly(raw))

    def ready(self, seconds: float = 0.0) -> bool:
        """Whether something came, or the other side is gone, within ``seconds``."""
        poll = select.poll()
        poll.register(self.sock, select.POLLIN)
        return bool(poll.poll(seconds * 1000))

    def close(self) -> None:
        """Close this end."""
        self.sock.close()

    def _exactly(self, size: int) -> bytes:
        content = bytearray(size)
        view, at = memoryview(content), 0
        while at < size:
            try:
                got = self.sock.recv_into(view[at:])
            except OSError as error:
                raise Closed("the other side is gone") from error
            if not got:
                raise Closed("the other side is gone")
            at += got
        return bytes(content)
