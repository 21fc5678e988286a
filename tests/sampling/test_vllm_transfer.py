"""Which way weights go to vLLM, pieces and handles as plain data, and the lifecycle, without vLLM and without a GPU."""

from __future__ import annotations

import base64
import contextlib
import inspect
import re
import socket
import threading
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.multiprocessing import reductions

from aha.sampling.vllm import process as vllm_process
from aha.sampling.vllm import senders as vllm_senders
from aha.sampling.vllm import transfer as vllm_transfer
from aha.sampling.vllm import wire as vllm_wire
from aha.sampling.vllm.settings import VllmSettings
from aha.sampling.vllm.transfer import (
    Places,
    choose,
    described,
    handle_arguments,
    pieces,
    plain_handle,
    update_info,
)
from aha.sampling.vllm.weights import mapped
from aha.sampling.vllm.wire import (
    Begin,
    End,
    Join,
    Taken,
    TransferRefused,
    WeightHashes,
    WeightPiece,
    Wire,
    WireError,
)
from aha.types import AhaError

ONE, TWO, FOUR = (f"1234abcd-0000-0000-0000-00000000000{i}" for i in (1, 2, 4))


def at(theirs, ours=ONE, seen=(ONE, TWO), nccl=("2.27.5", "2.27.5"), named=False):
    return Places(ours, seen, theirs, *nccl, named)


# --- which way ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "places", "way", "why"),
    [
        ("auto", at([ONE]), "ipc", ""),
        ("auto", at([f"GPU-{ONE.upper()}"]), "ipc", ""),  # as NVML writes it
        ("auto", at([ONE, TWO]), "ipc", ""),
        ("auto", at([TWO, ONE], ours=TWO), "ipc", ""),
        ("auto", at([TWO]), "nccl", ""),
        ("auto", at([TWO, FOUR], named=True), "nccl", ""),  # which the trainer need not see
        ("auto", at([FOUR]), "host", "nccl: .*cannot be told from the policy's"),
        ("auto", at(["unknown 0"]), "host", "nccl: .*cannot be told"),
        ("auto", at([ONE, FOUR]), "host", "ipc: .*does not see all"),
        ("auto", at([TWO], nccl=("2.27.5", "2.26.2")), "host", "nccl: NCCL is 2.27.5 here and 2.26.2"),
        ("auto", at([TWO], nccl=("", "")), "host", "nccl: .*not there"),
        ("auto", at([], ours=""), "host", "^$"),
        ("auto", at([]), "host", "^$"),
        ("auto", at([ONE], ours=""), "host", "^$"),
        ("host", at([ONE]), "host", "^$"),
        ("ipc", at([ONE]), "ipc", "^$"),
        ("ipc", at([TWO]), "ipc", "^$"),
        ("ipc", at([FOUR]), "ipc", "does not see all"),
        ("ipc", at([ONE], ours=""), "ipc", "the policy is on a CPU"),
        ("ipc", at([]), "ipc", "vLLM is on a CPU"),
        ("nccl", at([TWO]), "nccl", "^$"),
        ("nccl", at([ONE]), "nccl", "takes only once: .*vllm.gpus"),
        ("nccl", at([TWO, ONE]), "nccl", "takes only once"),
        ("nccl", at([TWO], nccl=("2.27.5", "")), "nccl", "not there in vLLM"),
    ],
)
def test_which_way_weights_go(asked, places, way, why):
    chosen, said = choose(asked, places)
    assert chosen == way
    assert re.search(why or "^$", said), said


def test_settings_of_transfers():
    assert VllmSettings.model_validate({}).weight_transfer == "auto"
    for gpus in ("0", "2,3", f"GPU-{ONE}", f"MIG-{ONE},4"):
        assert VllmSettings.model_validate({"gpus": gpus}).gpus == gpus
    for wrong in (
        {"gpus": ""},
        {"gpus": "0,"},
        {"gpus": "cuda:1"},
        {"gpus": "0; rm"},
        {"weight_transfer": "rdma"},
    ):
        with pytest.raises(ValueError):
            VllmSettings.model_validate(wrong)
    with pytest.raises(AhaError, match=r"vllm\.gpus=3 are too few for vllm\.tensor_parallel_size=2"):
        VllmSettings.model_validate({"gpus": "3", "tensor_parallel_size": 2})
    with pytest.raises(AhaError, match="too few"):
        VllmSettings.model_validate({"gpus": "3,3", "tensor_parallel_size": 2})


def test_its_process_sees_the_gpus_that_were_given(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5")
    assert vllm_process.environment(tmp_path, 1)["CUDA_VISIBLE_DEVICES"] == "5"
    assert vllm_process.environment(tmp_path, 1, "2,3")["CUDA_VISIBLE_DEVICES"] == "2,3"


# --- pieces ---------------------------------------------------------------------------------------------------

WEIGHTS = {
    "a": torch.randn(3, 5).to(torch.bfloat16),  # 30 bytes: what follows must not start there
    "b": torch.randn(7),
    "c": torch.randn(2, 4).t(),
    "empty": torch.zeros(0, 3),
    "scalar": torch.tensor(2.5),
    "big": torch.randn(64, 9),
}


@pytest.mark.parametrize("limit", [1, 40, 100, 1 << 20])
def test_pieces_hold_everything_once_in_order_and_within_the_limit(limit):
    parts = list(pieces(WEIGHTS, limit))
    assert [name for piece in parts for name in piece] == list(WEIGHTS)
    for piece in parts:
        sizes = described(piece).sizes
        assert len([s for s in sizes if s]) <= 1 or sum(sizes) <= limit
        starts = np.cumsum([0, *sizes[:-1]])
        assert all(s % t.element_size() == 0 for s, t in zip(starts, piece.values(), strict=True))
    assert "b" not in parts[0]


def test_what_is_laid_into_a_buffer_can_be_taken_apart():
    for piece in pieces(WEIGHTS, 200):
        told = described(piece)
        buffer = torch.full((3000,), 7, dtype=torch.uint8)
        vllm_senders.lay(piece, buffer)
        parts = buffer[: sum(told.sizes)].split(told.sizes)
        for part, dtype, shape, t in zip(parts, told.dtypes, told.shapes, piece.values(), strict=True):
            assert torch.equal(part.view(getattr(torch, dtype)).view(shape), t)
        assert (buffer[sum(told.sizes) :] == 7).all()


GOOD = described({"w": torch.zeros(2, 3), "b": torch.zeros(2)})


def test_a_piece_tells_vllm_what_it_needs():
    assert update_info(replace(GOOD, path="/x"), "host") == {"path": "/x"}
    expected = {"names": ["w", "b"], "dtype_names": ["float32"] * 2, "shapes": [[2, 3], [2]]}
    assert update_info(GOOD, "nccl") == expected
    info = update_info(replace(GOOD, handles=[plain(64)]), "ipc")
    assert info["tensor_sizes"] == [24, 8]
    assert list(info["ipc_handles"]) == [ONE]
    assert info["ipc_handles"][ONE] == handle_arguments(plain(64))[1]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"names": ["w"]}, "not equally many"),
        ({"names": "wb"}, "not equally many"),
        ({"names": ["w", 3]}, "unknown kind"),
        ({"dtypes": ["float32", "__class__"]}, "unknown kind"),
        ({"dtypes": ["float32", ["float32"]]}, "unknown kind"),
        ({"shapes": [[2, 3], 2]}, "unknown kind"),
        ({"shapes": [[2, 3], [-2]]}, "unknown kind"),
        ({"shapes": [[2, 3], [True]]}, "unknown kind"),
        ({"sizes": [24, 9]}, "9 bytes"),
        ({"sizes": [24, "8"]}, "'8' bytes"),
    ],
)
def test_malformed_pieces_are_refused(changes, said):
    with pytest.raises(WireError, match=said):
        update_info(replace(GOOD, **changes), "nccl")


def test_a_buffer_must_hold_what_is_said_to_be_in_it():
    for handles in ([], [plain(31)], [plain(64), plain(31) | {"uuid": TWO}]):
        with pytest.raises(WireError, match="smaller than the weights"):
            update_info(replace(GOOD, handles=handles), "ipc")
    with pytest.raises(WireError, match="without a path"):
        update_info(GOOD, "host")


# --- handles --------------------------------------------------------------------------------------------------


def reduced(size=64, offset=0, sync=True, **changes):
    """What torch makes of a buffer on a GPU."""
    message = {
        "tensor_cls": torch.Tensor, "tensor_size": torch.Size([size]), "tensor_stride": (1,), "tensor_offset": offset,
        "storage_cls": torch.storage.TypedStorage, "dtype": torch.uint8, "storage_device": 0,
        "storage_handle": b"\x01\x63" + bytes(range(64)), "storage_size_bytes": size + offset,
        "storage_offset_bytes": 512, "requires_grad": False, "ref_counter_handle": b"/torch_12_345_0",
        "ref_counter_offset": 3, "event_handle": bytes(64), "event_sync_required": sync,
    }  # fmt: skip
    return reductions.rebuild_cuda_tensor, tuple((message | changes).values())


def plain(room=64, **changes):
    return plain_handle(ONE, reduced(room)) | changes


def test_torch_takes_what_we_decode_by_these_names():
    assert tuple(inspect.signature(reductions.rebuild_cuda_tensor).parameters) == vllm_transfer.PARAMETERS


@given(st.integers(1, 1 << 40), st.integers(0, 1 << 30), st.booleans(), st.binary(min_size=1, max_size=200))
def test_handles_arrive_as_they_were_sent(size, offset, sync, handle):
    sent = reduced(size, offset, sync, storage_handle=handle)
    frame = vllm_wire.encode(replace(GOOD, handles=[plain_handle(ONE, sent)]))
    _, length, _ = vllm_wire.HEADER.unpack(frame[: vllm_wire.HEADER.size])
    text = frame[vllm_wire.HEADER.size :]
    came = vllm_wire.decode(text[:length], text[length:])
    assert isinstance(came, WeightPiece)
    assert handle_arguments(came.handles[0]) == (ONE, sent[1])


@pytest.mark.parametrize(
    "changes",
    [
        {"size": -1}, {"size": 0}, {"size": 65}, {"size": 1.5}, {"size": True}, {"size": 1 << 63}, {"tensor_offset": 1},
        {"storage_size_bytes": 63}, {"storage_device": "0"}, {"storage_device": -1}, {"storage_offset_bytes": None},
        {"ref_counter_offset": [1]}, {"event_sync_required": 1}, {"uuid": 7}, {"storage_handle": ""},
        {"storage_handle": "not base64!"}, {"storage_handle": "ä"}, {"event_handle": 64}, {"ref_counter_handle": None},
        {"event_handle": base64.b64encode(bytes(5000)).decode()}, {"storage_cls": "os.system"},
    ],
)  # fmt: skip
def test_malformed_handles_are_refused(changes):
    handle_arguments(plain())
    with pytest.raises(WireError, match="handle"):
        handle_arguments(plain(**changes))


def test_what_is_no_handle_is_refused():
    sound = plain()
    for wrong in (None, [], "x", {}, *({k: v for k, v in sound.items() if k != name} for name in sound)):
        with pytest.raises(WireError, match="unknown shape"):
            handle_arguments(wrong)


@pytest.mark.parametrize(
    "sent",
    [
        (reductions.rebuild_tensor, ()),
        (reductions.rebuild_cuda_tensor, reduced()[1][:-1]),
        reduced(dtype=torch.float32),
        reduced(tensor_stride=(2,)),
        reduced(requires_grad=True),
    ],
)
def test_only_flat_buffers_on_gpus_are_shared(sent):
    with pytest.raises(WireError):
        plain_handle(ONE, sent)


def test_torch_rebuilds_the_buffer_from_what_was_decoded(monkeypatch):
    """The other side's memory is played by a storage of this process."""
    memory = torch.arange(96, dtype=torch.uint8)
    asked = []

    def opened(*arguments):
        asked.append(arguments)
        return memory.untyped_storage()

    monkeypatch.setattr(torch.UntypedStorage, "_new_shared_cuda", opened)
    monkeypatch.setattr(torch.cuda, "_lazy_init", lambda: None)
    monkeypatch.setattr(reductions, "storage_from_cache", lambda *_: None)
    monkeypatch.setattr(reductions, "shared_cache", {})
    sent = reduced(64, 32)
    _, arguments = handle_arguments(plain_handle(ONE, sent))
    assert torch.equal(reductions.rebuild_cuda_tensor(*arguments), memory[32:])
    by_parameter = dict(zip(vllm_transfer.PARAMETERS, sent[1], strict=True))
    names = ("storage_device", "storage_handle", "storage_size_bytes", "storage_offset_bytes", "ref_counter_handle",
             "ref_counter_offset", "event_handle", "event_sync_required")  # fmt: skip
    assert asked == [tuple(by_parameter[name] for name in names)]


# --- the lifecycle --------------------------------------------------------------------------------------------


@pytest.fixture
def ends():
    a, b = socket.socketpair()
    with a, b:
        yield Wire(a), Wire(b)


class Line:
    """Our end, as ``Process`` is it."""

    def __init__(self, wire):
        self.wire, self.send = wire, wire.send

    def receive(self, *kinds):
        message = self.wire.receive()
        assert isinstance(message, kinds)
        return message


def answered(ends, work, *answers):
    """(what ``work`` returned or raised, what the other side was told), when it answers so."""
    told = []

    def other():
        for answer in answers:
            told.append(ends[1].receive())
            ends[1].send(answer(told[-1]) if callable(answer) else answer)

    thread = threading.Thread(target=other, daemon=True)
    thread.start()
    try:
        outcome = work(Line(ends[0]))
    except (AhaError, vllm_senders.TransferRefusedError) as error:
        outcome = error
    thread.join(30)
    return outcome, told


class Pieces(vllm_senders.HostSender):
    """Piece by piece; notes what is done when."""

    def __init__(self, done, fails=None):
        super().__init__()
        self.done, self.fails = done, fails

    def pieces(self, tensors):
        for i, piece in enumerate(pieces(tensors, 40)):
            if i == self.fails:
                raise RuntimeError("CUDA error: invalid device")
            self.done.append("piece")
            yield described(piece)

    def move(self):
        self.done.append("move")

    def landed(self):
        self.done.append("landed")

    def release(self):
        self.done.append("release")


HELD = WeightHashes(4, {"a": "1"}, {}, [])


def test_an_update_is_begun_sent_piece_by_piece_and_ended(ends):
    done = []
    few = {"b": torch.zeros(8), "d": torch.zeros(8)}
    answer, told = answered(
        ends, lambda line: vllm_senders.deliver(line, Pieces(done), few, 4), Taken(), Taken(), Taken(), HELD
    )
    assert answer == HELD
    assert [type(m) for m in told] == [Begin, WeightPiece, WeightPiece, End]
    assert told[-1].version == 4
    assert done == ["piece", "move", "landed"] * 2 + ["release"]


@pytest.mark.parametrize("answers", [(0,), (1, 0), (1, 1, 0)])
def test_a_refusal_at_any_time_is_told_and_buffers_are_freed(ends, answers):
    done = []
    said = [Taken() if a else TransferRefused("ValueError: IPC handle not found") for a in answers]
    answer, told = answered(
        ends, lambda line: vllm_senders.deliver(line, Pieces(done), {"b": torch.zeros(8)}, 4), *said
    )
    assert isinstance(answer, vllm_senders.TransferRefusedError)
    assert "IPC handle not found" in str(answer)
    assert len(told) == len(answers)
    assert done[-1:] == (["release"] if len(answers) > 1 else [])


def test_what_fails_here_is_a_refusal_too(ends):
    done = []
    few = {"b": torch.zeros(8), "d": torch.zeros(8)}
    answer, _ = answered(
        ends, lambda line: vllm_senders.deliver(line, Pieces(done, fails=1), few, 4), Taken(), Taken()
    )
    assert isinstance(answer, vllm_senders.TransferRefusedError)
    assert "CUDA error: invalid device" in str(answer)
    assert done == ["piece", "move", "landed", "release"]


def test_host_memory_carries_all_of_it_in_one_piece(ends):
    sender, seen = vllm_senders.HostSender(), {}

    def look(piece):
        seen.update({name: t.clone() for name, t in mapped(update_info(piece, "host")["path"]).items()})
        return Taken()

    answered(ends, sender.join, Taken())
    answer, _ = answered(
        ends, lambda line: vllm_senders.deliver(line, sender, WEIGHTS, 4), Taken(), look, HELD
    )
    assert answer == HELD
    assert list(seen) == list(WEIGHTS)
    assert all(torch.equal(seen[n], t) and seen[n].dtype == t.dtype for n, t in WEIGHTS.items())
    sender.close()


def test_the_nccl_group_is_joined_and_broadcasts_are_waited_for(ends, monkeypatch):
    """torch's NCCL is played by notes: a GPU is needed for more."""
    from torch.cuda import nccl

    calls = []
    monkeypatch.setattr(nccl, "unique_id", lambda: bytes(range(128)))
    monkeypatch.setattr(
        nccl, "init_rank", lambda size, group, rank: calls.append((size, group, rank)) or "comm"
    )
    monkeypatch.setattr(nccl, "all_reduce", lambda x, comms: calls.append((x[0].tolist(), comms)))
    sent = []
    monkeypatch.setattr(
        nccl, "broadcast", lambda x, root, streams, comms: sent.append((x[0].clone(), root, comms))
    )
    stream = SimpleNamespace(synchronize=lambda: None, query=lambda: True)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda *_: stream)
    monkeypatch.setattr(torch.cuda, "Stream", lambda *_: stream)
    monkeypatch.setattr(torch.cuda, "device", lambda *_: contextlib.nullcontext())
    sender = vllm_senders.NcclSender(torch.device("cpu"), 2)
    _, [joined] = answered(ends, sender.join, Taken())
    assert joined == Join("nccl", base64.b64encode(bytes(range(128))).decode(), 3)
    assert calls == [(3, bytes(range(128)), 0), ([0.0], ["comm"])]
    few = {"a": WEIGHTS["a"], "c": WEIGHTS["c"]}
    answers = [Taken()] * (1 + len(list(pieces(few)))) + [HELD]
    answer, told = answered(ends, lambda line: vllm_senders.deliver(line, sender, few, 4), *answers)
    assert answer == HELD
    assert [(root, comms) for _, root, comms in sent] == [(0, ["comm"])] * 2
    for (flat, _, _), piece in zip(sent, told[1:-1], strict=True):
        assert len(flat) == sum(piece.sizes)
        assert torch.equal(
            flat.view(getattr(torch, piece.dtypes[0])).view(piece.shapes[0]), few[piece.names[0]]
        )
    stream.query = lambda: False
    monkeypatch.setattr(vllm_senders, "LAND_SECONDS", 0.05)
    answer, _ = answered(
        ends, lambda line: vllm_senders.deliver(line, sender, few, 4), Taken(), TransferRefused("no room")
    )
    assert "hangs. Continue with rl.vllm.weight_transfer=host" in str(answer)


@pytest.mark.parametrize("fails", [True, False])
def test_ranks_that_do_not_join_are_not_waited_for_forever(ends, monkeypatch, fails):
    from torch.cuda import nccl

    def never(*_):
        if fails:
            raise RuntimeError("NCCL error: no socket")
        threading.Event().wait(5)

    monkeypatch.setattr(nccl, "unique_id", lambda: bytes(128))
    monkeypatch.setattr(nccl, "init_rank", never)
    monkeypatch.setattr(torch.cuda, "device", lambda *_: contextlib.nullcontext())
    monkeypatch.setattr(vllm_senders, "JOIN_SECONDS", 60.0 if fails else 0.1)
    monkeypatch.setattr(vllm_senders, "LAND_SECONDS", 0.1)
    with pytest.raises(
        AhaError, match="NCCL group: NCCL error: no socket" if fails else r"NCCL group in 0 s"
    ):
        vllm_senders.NcclSender(torch.device("cpu"), 1).join(Line(ends[0]))
