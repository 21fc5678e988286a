"""The policy's side of a transfer of weights to vLLM: what is prepared, moved, and kept until it was taken.

Tensors may be anywhere, a CPU included: those for a GPU are copied into its buffers piece by piece, so that no more
than a piece of the model is on it a second time.
"""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from aha.sampling.hashes import Tensors
from aha.sampling.vllm import wire
from aha.sampling.vllm.process import VllmProcess
from aha.sampling.vllm.transfer import CHUNK, described, pieces, plain_handle, plain_uuid
from aha.sampling.vllm.weights import WeightFile
from aha.types import AhaError

JOIN_SECONDS = 300.0
"""How long vLLM's ranks and we wait for each other."""
LAND_SECONDS = 30.0
"""How long a broadcast that the other side has answered may still take."""
OTHERWISE = "Continue with rl.vllm.weight_transfer=host."
MOST_ELEMENTS = (1 << 31) - 1
"""Of one broadcast, for torch."""


class TransferRefusedError(Exception):
    """vLLM, or this machine, could not do it in this way; the process lives on."""


class Sender(Protocol):
    """One way to move weights. ``join`` is called once; then ``pieces``, ``move`` for each, ``release``."""

    def join(self, process: VllmProcess) -> None:
        """Make the way. Raises TransferRefusedError where that cannot be."""
        ...

    def pieces(self, tensors: Tensors) -> Iterator[wire.WeightPiece]:
        """The messages that tell of the weights; each is valid until the next is asked for."""
        ...

    def move(self) -> None:
        """Do what the other side waits for, after it was told of a piece. Raises AhaError if that fails."""
        ...

    def landed(self) -> None:
        """Whatever was moved has arrived. Raises AhaError if it never will."""
        ...

    def release(self) -> None:
        """Give back what only this delivery needed."""
        ...

    def close(self) -> None:
        """Give back everything."""
        ...


def ask(process: VllmProcess, message: wire.WireMessage) -> None:
    """Send and wait until it is done. Raises TransferRefusedError."""
    process.send(message)
    check(process.receive(wire.Taken, wire.TransferRefused))


def check(answer: wire.WireMessage) -> None:
    """Raises TransferRefusedError if that is what the answer says."""
    if isinstance(answer, wire.TransferRefused):
        raise TransferRefusedError(answer.error)


def deliver(process: VllmProcess, sender: Sender, tensors: Tensors, version: int) -> wire.WeightHashes:
    """Give vLLM new weights: begin, piece by piece, end. Raises TransferRefusedError and AhaError."""
    ask(process, wire.Begin())
    try:
        for piece in sender.pieces(tensors):
            process.send(piece)
            sender.move()
            answer = process.receive(wire.Taken, wire.TransferRefused)
            sender.landed()  # also where it was refused: else the way is blocked
            check(answer)
        process.send(wire.End(version))
        hashes = process.receive(wire.WeightHashes, wire.TransferRefused)
        check(hashes)
    except (RuntimeError, OSError, wire.WireError) as error:  # of CUDA; what has begun is given up there
        raise TransferRefusedError(f"{type(error).__name__}: {error}") from error
    finally:
        sender.release()
    assert isinstance(hashes, wire.WeightHashes)
    return hashes


class HostSender:
    """Through a file in memory that both processes map."""

    def __init__(self) -> None:
        self.parcel = WeightFile()

    def join(self, process: VllmProcess) -> None:
        """Nothing but a word is needed."""
        ask(process, wire.Join("host", "", 0))

    def pieces(self, tensors: Tensors) -> Iterator[wire.WeightPiece]:
        """All of it at once: vLLM reads tensor by tensor."""
        self.parcel.write(tensors)
        yield wire.WeightPiece([], [], [], [], self.parcel.path, [])

    def move(self) -> None:
        """It is there."""

    def landed(self) -> None:
        """It is there."""

    def release(self) -> None:
        """The memory is kept for the next version."""

    def close(self) -> None:
        """Free the memory."""
        self.parcel.close()


class IpcSender:
    """Through a buffer on each of vLLM's GPUs, which its ranks map. ``gpus`` are their UUIDs."""

    def __init__(self, gpus: Sequence[str]):
        places = visible_gpus()
        self.places = {places[plain_uuid(gpu)][1]: places[plain_uuid(gpu)][0] for gpu in gpus}
        self.buffers: list[Tensor] = []

    def join(self, process: VllmProcess) -> None:
        """Nothing but a word is needed."""
        ask(process, wire.Join("ipc", "", 0))

    def pieces(self, tensors: Tensors) -> Iterator[wire.WeightPiece]:
        """Each piece is laid into the buffers, whose handles come with all of them."""
        from torch.multiprocessing.reductions import reduce_tensor

        sizes = [t.numel() * t.element_size() for t in tensors.values()]
        room = max(1, min(sum(sizes), max(CHUNK, *sizes)))
        self.buffers = [
            torch.empty(room, dtype=torch.uint8, device=f"cuda:{i}") for i in self.places.values()
        ]
        # Shared once: one that maps them gives them back once.
        handles = [
            plain_handle(uuid, reduce_tensor(buffer))
            for uuid, buffer in zip(self.places, self.buffers, strict=True)
        ]
        for piece in pieces(tensors, room):
            for buffer in self.buffers:
                lay(piece, buffer)
                torch.cuda.synchronize(buffer.device)
            yield described(piece, handles)

    def move(self) -> None:
        """It is there."""

    def landed(self) -> None:
        """It is there."""

    def release(self) -> None:
        """vLLM has closed its maps: the buffers may go."""
        self.buffers = []
        torch.cuda.ipc_collect()

    def close(self) -> None:
        """Nothing is kept."""
        self.buffers = []


class NcclSender:
    """By broadcasts of which this process is the source, the first of a group with vLLM's ranks.

    vLLM takes a group's id from whoever made it, so that torch's own NCCL can be the first of the group: after
    joining all ranks sum one number, then every piece is one broadcast of bytes.
    """

    def __init__(self, device: torch.device, ranks: int):
        self.device, self.size = device, ranks + 1
        self.stream: Any = None
        self.flat: Tensor | None = None
        self._comm: Any = None

    def join(self, process: VllmProcess) -> None:
        """Meet vLLM's ranks. Raises TransferRefusedError where one cannot, AhaError if they do not come."""
        from torch.cuda import nccl

        try:
            group = nccl.unique_id()
        except RuntimeError as error:
            raise TransferRefusedError(f"NCCL: {error}") from error
        process.send(wire.Join("nccl", base64.b64encode(group).decode(), self.size))
        failed: list[Exception] = []
        thread = threading.Thread(target=self._meet, args=(group, failed), daemon=True)
        thread.start()
        if not _answers(process, failed):
            why = f": {failed[0]}" if failed else f" in {JOIN_SECONDS:.0f} s"
            raise AhaError(f"vLLM's ranks did not join the NCCL group{why}. {OTHERWISE}")
        check(process.receive(wire.Taken, wire.TransferRefused))
        thread.join(JOIN_SECONDS)
        if failed or self._comm is None:
            raise TransferRefusedError(f"NCCL: {failed[0] if failed else 'the group was not made'}")

    def _meet(self, group: bytes, failed: list[Exception]) -> None:
        from torch.cuda import nccl

        try:
            with torch.cuda.device(self.device):
                comm = nccl.init_rank(self.size, group, 0)
                nccl.all_reduce([torch.zeros(1, device=self.device)], comms=[comm])
                torch.cuda.current_stream().synchronize()
            self.stream, self._comm = torch.cuda.Stream(self.device), comm
        except Exception as error:  # told by who waits
            failed.append(error)

    def pieces(self, tensors: Tensors) -> Iterator[wire.WeightPiece]:
        """Each piece is laid into one buffer on our GPU, which is sent when the other side knows of it."""
        for piece in pieces(tensors):
            first = next(iter(piece.values()))
            size = sum(t.numel() * t.element_size() for t in piece.values())
            # More than torch counts goes by the tensor's own elements: what NCCL broadcasts is bytes in any case.
            kind = first.dtype if size > MOST_ELEMENTS and len(piece) == 1 else torch.uint8
            buffer = torch.empty(size, dtype=torch.uint8, device=self.device)
            lay(piece, buffer)
            torch.cuda.current_stream(self.device).synchronize()
            self.flat = buffer.view(kind)
            yield described(piece)

    def move(self) -> None:
        """Broadcast the piece, in a stream of its own: one that hangs holds nothing else up."""
        from torch.cuda import nccl

        assert self.flat is not None
        try:
            with torch.cuda.device(self.device):
                nccl.broadcast([self.flat], 0, [self.stream], [self._comm])
        except RuntimeError as error:  # vLLM waits for it, and can be told nothing
            raise AhaError(f"Weights could not be broadcast to vLLM: {error}. {OTHERWISE}") from error

    def landed(self) -> None:
        """The broadcast is over. Raises AhaError if the other side has left it half done."""
        end = time.monotonic() + LAND_SECONDS
        while not self.stream.query():
            if time.monotonic() > end:
                raise AhaError(f"A broadcast of weights to vLLM hangs. {OTHERWISE}")
            time.sleep(0.0005)

    def release(self) -> None:
        """Free the last piece's buffer."""
        self.flat = None

    def close(self) -> None:
        """Leave the group."""
        self._comm = self.flat = None


def _answers(process: VllmProcess, failed: Sequence[Exception]) -> bool:
    """Whether the other side answers in time: in less of it once we have ``failed``, for it may wait for us."""
    end = time.monotonic() + JOIN_SECONDS
    while time.monotonic() < end and not failed:
        if process.wire.ready(0.2):
            return True
    return process.wire.ready(min(LAND_SECONDS, JOIN_SECONDS))


def lay(piece: Mapping[str, Tensor], buffer: Tensor) -> None:
    """Copy tensors end to end into ``buffer``, uint8 [at least their bytes]."""
    at = 0
    for t in piece.values():
        size = t.numel() * t.element_size()
        place = buffer[at : at + size].view(t.dtype)
        place.copy_(t.detach().reshape(-1), non_blocking=True)
        at += size


def visible_gpus() -> dict[str, tuple[int, str]]:
    """(number here, UUID as torch writes it) of the GPUs that this process can use, by plain UUID."""
    gpus = {}
    for i in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        uuid = str(torch.cuda.get_device_properties(i).uuid)
        gpus[plain_uuid(uuid)] = (i, uuid)
    return gpus


def make(transfer: str, gpus: Sequence[str], device: torch.device) -> Sender:
    """The sender for a way that ``choose`` found; ``gpus`` are vLLM's, by rank."""
    if transfer == "ipc":
        return IpcSender(gpus)
    return NcclSender(device, len(gpus)) if transfer == "nccl" else HostSender()
