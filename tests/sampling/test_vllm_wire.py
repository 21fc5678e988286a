"""Framing, and vLLM's process as far as it goes without vLLM: the real worker program in this environment."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from conftest import make_model
from hypothesis import given
from hypothesis import strategies as st

from aha.sampling.vllm import process as vllm_process
from aha.sampling.vllm import wire as vllm_wire
from aha.sampling.vllm.engine import VllmEngine
from aha.sampling.vllm.settings import VllmSettings
from aha.sampling.vllm.wire import Cancel, Closed, Done, Finished, Generate, WeightHashes, Wire, WireError
from aha.types import AhaError


def same(a, b):
    return type(a) is type(b) and all(
        np.array_equal(x, y) and x.dtype == y.dtype if isinstance(x, np.ndarray) else x == y
        for x, y in ((getattr(a, f.name), getattr(b, f.name)) for f in fields(a))
    )


@pytest.fixture
def ends():
    a, b = socket.socketpair()
    with a, b:
        yield Wire(a), Wire(b)


tokens = st.lists(st.integers(0, 2**31 - 1), max_size=20)


@given(tokens, st.lists(st.floats(-1024, 0, width=32), max_size=20), st.text(max_size=10))
def test_messages_arrive_as_they_were_sent(ids, logprobs, text):
    message = Finished(
        7,
        3,
        -1,
        np.array(ids, np.int32),
        np.array(logprobs, np.float32),
        np.array([len(ids)], np.int64),
        ["stop", text],
    )
    frame = vllm_wire.encode(message)
    _, size, _ = vllm_wire.HEADER.unpack(frame[: vllm_wire.HEADER.size])
    body = frame[vllm_wire.HEADER.size :]
    assert same(vllm_wire.decode(body[:size], body[size:]), message)


def test_seeds_keep_all_their_bits(ends):
    some = np.array([0, 1, 2**63, 2**64 - 1], np.uint64)
    none = np.zeros(0, np.int64)
    sent = Generate(1, none.astype(np.int32), none, none, some, 0.7, 1.0, 0, 0.0, 8, ["\n"], [574])
    ends[0].send(sent)
    assert same(ends[1].receive(), sent)


def test_frames_larger_than_the_sockets_buffer_and_many_at_once(ends):
    big = Finished(1, 0, 0, np.arange(1 << 20, dtype=np.int32), np.zeros(1 << 20, np.float32),
                   np.array([1 << 20], np.int64), ["length"])  # fmt: skip
    sender = threading.Thread(target=lambda: [ends[0].send(m) for m in (Cancel(1), big, Done(1))])
    sender.start()
    assert same(ends[1].receive(), Cancel(1))
    assert ends[1].ready(5)
    assert same(ends[1].receive(), big)
    assert same(ends[1].receive(), Done(1))
    sender.join()
    assert not ends[1].ready()


@pytest.mark.parametrize(
    ("text", "raw"),
    [
        (b"{", b""),
        (b"[]", b""),
        (b'{"kind": "Nonsense", "fields": {}, "arrays": []}', b""),
        (b'{"kind": "Done", "fields": {}, "arrays": []}', b""),  # a field is missing
        (b'{"kind": "Done", "fields": {"call": 1, "more": 2}, "arrays": []}', b""),
        (b'{"kind": "Done", "fields": {}, "arrays": [["call", "object", 1]]}', b"x" * 8),
        (b'{"kind": "Done", "fields": {}, "arrays": [["call", "int64", 9]]}', b"x" * 8),
        (b'{"kind": "Done", "fields": {"call": 1}, "arrays": []}', b"left over"),
    ],
)
def test_what_is_no_message_is_refused(text, raw):
    with pytest.raises(WireError):
        vllm_wire.decode(text, raw)


def test_a_stream_of_something_else_is_refused(ends):
    ends[0].sock.sendall(b"GET / HTTP/1.1\r\nHost: nowhere\r\n\r\n")
    with pytest.raises(WireError, match="a frame that starts with"):
        ends[1].receive()


def test_arrays_that_cannot_be_sent_are_refused():
    with pytest.raises(WireError):
        vllm_wire.encode(Generate(1, *[np.array(["x"], object)] * 4, 1.0, 1.0, 0, 0.0, 8, [], []))


def test_an_end_that_goes_away_is_noticed(ends):
    frame = vllm_wire.encode(WeightHashes(1, {"a": "b"}, {}, []))
    ends[0].sock.sendall(frame[:-3])
    ends[0].close()
    with pytest.raises(Closed):
        ends[1].receive()
    with pytest.raises(Closed):
        ends[1].send(Done(1))


# --- the process ----------------------------------------------------------------------------------------------


def test_where_vllm_is_looked_for(tmp_path, monkeypatch):
    monkeypatch.setenv("AHA_PEERS", str(tmp_path))
    monkeypatch.delenv("AHA_VLLM_PYTHON", raising=False)
    monkeypatch.setattr(vllm_process.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(AhaError, match="aha bench peers install vllm"):
        vllm_process.find_python()
    peer = tmp_path / "vllm" / "bin" / "python"
    peer.parent.mkdir(parents=True)
    peer.touch()
    assert vllm_process.find_python() == peer
    monkeypatch.setenv("AHA_VLLM_PYTHON", sys.executable)
    assert vllm_process.find_python() == Path(sys.executable)
    with pytest.raises(AhaError, match="no such file"):
        vllm_process.find_python(str(tmp_path / "nothing"))


def without_vllm():
    return subprocess.run([sys.executable, "-c", "import vllm"], capture_output=True).returncode != 0


def test_an_environment_without_vllm_is_explained(tokenizer):
    if not without_vllm():
        pytest.skip("vLLM is installed in this very environment")
    engine = VllmEngine(make_model(tokenizer), tokenizer, VllmSettings(python=sys.executable))
    with engine, pytest.raises(AhaError, match="No module named 'vllm'") as caught:
        engine.wait()
    assert "log" in str(caught.value)
    assert not engine._process.scratch.exists()
    with pytest.raises(AhaError, match="ended before"):
        engine.wait()


def test_a_killed_process_is_reported_with_the_end_of_its_log():
    process = vllm_process.VllmProcess(Path(sys.executable))
    assert process.alive
    process.log.write_text("one\nthe last thing it said\n", encoding="utf-8")
    os.kill(process.pid, signal.SIGKILL)
    with pytest.raises(AhaError, match="killed by SIGKILL") as caught:
        process.receive(Done)
    assert "the last thing it said" in str(caught.value)
    assert not process.alive
    with pytest.raises(AhaError, match="ended before"):
        process.send(Done(1))


def test_a_message_out_of_turn_ends_the_process():
    process = vllm_process.VllmProcess(Path(sys.executable))
    ours, theirs = socket.socketpair()
    process.wire = Wire(ours)
    with ours, theirs:
        Wire(theirs).send(Done(1))
        with pytest.raises(AhaError, match="Done out of turn"):
            process.receive(WeightHashes)
    assert not process.alive


PARENT = """
import sys, time
from pathlib import Path
from aha.sampling.vllm.process import VllmProcess
process = VllmProcess(Path(sys.executable))
print(process.pid, process.scratch, flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_it_ends_with_us_however_we_end(how):
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler), start_new_session=True,
    )  # fmt: skip
    assert parent.stdout is not None
    pid, scratch = parent.stdout.readline().split()
    parent.send_signal(how)
    parent.wait(timeout=60)
    deadline = time.monotonic() + 60
    while _runs(int(pid)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _runs(int(pid))
    while Path(scratch).exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(scratch).exists()


def _runs(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"  # nobody may be there to collect it
