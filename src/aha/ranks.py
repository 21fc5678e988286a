"""The processes of one run, as torchrun or ``--ray-ranks`` starts them: who this one is, how they meet, what only the
first does.

Without those there is one rank, and nothing here imports torch. Ranks read the same files and take the same
decisions; whatever could differ between them (a file that is being written, what was sampled) is asked of the
first rank or gathered from all.
"""

from __future__ import annotations

import atexit
import os
import random
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, NoReturn, TypeVar

from aha.types import AhaError

T = TypeVar("T")
PATIENCE = timedelta(days=7)
"""How long a rank waits for the others: stages that one rank runs take hours. A rank that ends breaks its
connections, which ends the others at once."""

LEAVING = 10.0
"""Seconds that leaving a broken group may take."""

LOOPBACK = "lo" if sys.platform == "linux" else "lo0"
PORTS = range(12_000, 32_000)
"""Where ranks meet: below what operating systems give to connections by themselves."""

PULSE = "AHA_RANK_PULSE"
"""Names the file whose time a rank moves as its work goes on, where somebody watches over it."""
PULSE_SECONDS = 1.0
LOST, CRASHED = 75, 70
"""Exit codes of a watched rank that another one was lost to, and of one with an error that nobody explained."""

_pulse_at = 0.0  # when the file's time was moved last
_alone = 0  # how many `alone` blocks this process is in


class LostRank(AhaError):
    """Ranks cannot reach each other, or no longer: not this one's doing."""


def launched() -> int:
    """How many processes torchrun started together with this one, itself included."""
    return int(os.environ.get("WORLD_SIZE") or 1)


def number() -> int:
    """Which of them this process is, also before they meet and after they parted."""
    return int(os.environ.get("RANK") or 0) if launched() > 1 else 0


def real_world() -> tuple[int, int]:
    """(rank, number of ranks) of this process, also within ``alone``."""
    dist = sys.modules.get("torch.distributed")
    if dist is None or not dist.is_available() or not dist.is_initialized():
        return 0, 1
    return dist.get_rank(), dist.get_world_size()


def world() -> tuple[int, int]:
    """(rank, number of ranks) among which work is dealt: (0, 1) without torchrun and within ``alone``."""
    return (0, 1) if _alone else real_world()


def is_main() -> bool:
    """Whether this process is the one that writes files and speaks."""
    return real_world()[0] == 0


@contextmanager
def alone() -> Iterator[None]:
    """Within it this process works by itself: nothing is dealt and nothing is summed over ranks."""
    global _alone
    _alone += 1
    try:
        yield
    finally:
        _alone -= 1


def alone_here() -> bool:
    """Whether this process works while the other ranks wait for it."""
    return _alone > 0


def share(n: int) -> range:
    """Which of ``n`` pieces of work are this rank's."""
    rank, size = world()
    return range(rank, n, size)


def gather(value: T) -> list[T]:
    """Every rank's ``value``, in the order of ranks, on every rank."""
    size = world()[1]
    if size == 1:
        return [value]
    import torch.distributed as dist

    values: list[Any] = [None] * size
    dist.all_gather_object(values, value)
    progress()
    return values


def all_gather(mine: Mapping[int, T]) -> dict[int, T]:
    """The ranks' results by number, together, on every rank; in the order of numbers where there are several."""
    parts = gather(dict(mine))
    if len(parts) == 1:
        return parts[0]
    return dict(sorted(item for part in parts for item in part.items()))


def barrier() -> None:
    """Wait until every rank is here."""
    gather(None)


def broadcast_object(work: Callable[[], T]) -> T:
    """What ``work`` returns on the first rank, which runs it alone; an AhaError there ends every rank."""
    rank, size = world()
    if size == 1:
        return work()
    import torch.distributed as dist

    box: list[Any] = [None, False]
    error: AhaError | None = None
    if rank == 0:
        try:
            with alone():
                box[0] = work()
        except AhaError as failure:
            error, box[1] = failure, True
    dist.broadcast_object_list(box, src=0)
    progress()
    if error is not None:
        raise error
    if box[1]:
        raise SystemExit(1)  # the first rank says why
    return box[0]


# --- being watched over ----------------------------------------------------------------------------------


def watched() -> bool:
    """Whether somebody watches over this rank, and starts all of them again where one is lost."""
    return PULSE in os.environ


def progress() -> None:
    """Say that work went on: tokens were sampled or trained on, a group was graded, ranks met. A rank that says
    it is slow at worst. Cheap, and nothing where nobody watches."""
    global _pulse_at
    if (path := os.environ.get(PULSE)) and time.monotonic() - _pulse_at >= PULSE_SECONDS:
        _pulse_at = time.monotonic()
        with suppress(OSError):
            os.utime(path)


def exit_code(error: AhaError) -> int:
    """Of a command that ends with this error: 1, or what tells whoever watches that another rank was lost."""
    return LOST if watched() and isinstance(error, LostRank) else 1


# --- meeting ---------------------------------------------------------------------------------------------


def free_port(host: str = "127.0.0.1") -> int:
    """A TCP port at which ranks can meet in a moment: one that nobody listens at, and that no connection is given
    by itself meanwhile. Raises AhaError if there is none."""
    for port in random.SystemRandom().sample(PORTS, 200):
        with socket.socket() as s, suppress(OSError):
            s.bind((host, port))
            return port
    raise AhaError(f"No free port from {PORTS.start} to {PORTS.stop - 1} for the ranks to meet at.")


def variables(size: int, port: int) -> list[dict[str, str]]:
    """What the environment of each of ``size`` ranks on this machine says, as torchrun sets it. gloo keeps to the
    loopback, whatever the network is."""
    shared = {
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
        "WORLD_SIZE": str(size), "LOCAL_WORLD_SIZE": str(size), "GLOO_SOCKET_IFNAME": LOOPBACK,
    }  # fmt: skip
    return [shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(size)]


@contextmanager
def joined(device: str = "auto") -> Iterator[None]:
    """Meet the other ranks, if torchrun started several; within it only the first rank writes and speaks.

    gloo on CPUs; nccl on GPUs, one GPU a rank. Raises AhaError if there is no GPU for this rank, if the ranks
    cannot meet, or if one of them ends before its time.
    """
    if launched() == 1:
        yield
        return
    import torch.distributed as dist

    _join(device)
    rank, size = real_world()
    before = sys.stdout
    if rank:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    interrupted = _noting_interrupts()
    try:
        yield
        dist.destroy_process_group()
    except BaseException as error:
        _leave()
        if interrupted and not isinstance(error, KeyboardInterrupt):
            raise KeyboardInterrupt from error  # whatever the others' end then made of it on the way here
        if isinstance(error, AhaError):
            raise type(error)(f"{error} (rank {rank} of {size})" if rank else str(error)) from error
        if not isinstance(error, RuntimeError) or not _lost(error):
            raise
        way = "the ranks are started again." if watched() else "give the same command again to continue."
        raise LostRank(
            f"Rank {rank} of {size} lost another rank, which failed (its own message says why) or was killed. "
            f"What was written up to the last checkpoint is sound: {way}"
        ) from error
    finally:
        sys.stdout = before


def _join(device: str) -> None:
    import torch
    import torch.distributed as dist

    missing = [k for k in ("RANK", "MASTER_ADDR", "MASTER_PORT") if k not in os.environ]
    if missing:
        raise AhaError(
            f"WORLD_SIZE={launched()} is set without {', '.join(missing)}: start several ranks with "
            "torchrun --nproc-per-node N -m aha ..., or unset WORLD_SIZE."
        )
    kind = device.split(":")[0]
    if kind == "cuda" or (kind == "auto" and torch.cuda.is_available()):
        local, gpus = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
        if local >= gpus or ":" in device:
            raise AhaError(
                f"Rank {os.environ['RANK']} needs a GPU of its own, number {local} of this machine's {gpus}. Start "
                "at most one rank a GPU, with --device cuda or auto; or give --device cpu."
            )
        torch.cuda.set_device(local)
        backend = "cpu:gloo,cuda:nccl"
    elif kind == "mps":
        raise AhaError("Several ranks need CPUs or CUDA GPUs: give --device cpu, or start one process.")
    else:
        backend = "gloo"
    try:
        dist.init_process_group(backend, timeout=PATIENCE)
    except (RuntimeError, ValueError) as error:
        raise LostRank(
            f"The ranks cannot meet at {os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}: {error}. Check "
            "the address given to torchrun, and that the machines reach each other."
        ) from error


def _noting_interrupts() -> list[bool]:
    """Becomes true at a Ctrl-C, which otherwise does what it does: the error of a connection that other ranks, who
    heard it too, break meanwhile can take its place."""
    heard: list[bool] = []

    def handler(number: int, frame: Any) -> None:
        heard.append(True)
        signal.default_int_handler(number, frame)

    usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if usual and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, handler)
    return heard


def _leave() -> None:
    """Leave a group of gloo's in which something failed: a thread of it that drops a tensor while the interpreter
    ends would abort the process. Not for longer than LEAVING: others may hold what is under way."""
    import torch.distributed as dist

    def leave() -> None:
        with suppress(RuntimeError):
            dist.destroy_process_group()

    if dist.is_initialized() and dist.get_backend() == "gloo":
        leaving = threading.Thread(target=leave, daemon=True)
        leaving.start()
        leaving.join(LEAVING)


def end(code: int) -> NoReturn:
    """End this process with what it has to clear away cleared away. One of several ranks does not take the
    interpreter apart besides: where a thread of gloo's still drops a tensor, that aborts a rank whose work is done.
    """
    if launched() == 1:
        sys.exit(code)
    # as the interpreter does: executors' idle threads are told, then all are waited for
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _lost(error: RuntimeError) -> bool:
    """Whether an error of torch.distributed speaks of a connection to another rank."""
    import torch.distributed as dist

    text = str(error)
    words = ("gloo", "NCCL", "onnection", "Broken pipe", "remote process", "peer")
    return isinstance(error, dist.DistError) or any(word in text for word in words)
