"""Peers in their own environments: how they are spoken to, and, where they are installed, that they work."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest

from aha.bench import peers, roofline
from aha.cli import main
from aha.types import AhaError

DRIVER = """
import json, sys
for line in sys.stdin:
    asked = json.loads(line)
    if asked.get("die"):
        sys.exit("the reason is this")
    if asked.get("fail"):
        print(json.dumps({"error": "it did not work"}), flush=True)
        sys.exit(1)
    print(json.dumps({"twice": 2 * asked["number"]}), flush=True)
"""


@pytest.fixture
def peer(tmp_path):
    script = tmp_path / "driver.py"
    script.write_text(DRIVER, encoding="utf-8")
    with peers.Peer(sys.executable, script, threads=1) as started:
        yield started


def test_a_peer_answers_each_question(peer):
    assert peer.ask({"number": 3}) == {"twice": 6}
    assert peer.ask({"number": 4}) == {"twice": 8}


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_peer_takes_no_time_between_questions(peer):
    peer.ask({"number": 3})
    deadline = time.monotonic() + 120
    while _state(peer) != "T" and time.monotonic() < deadline:
        time.sleep(0.01)
    assert _state(peer) == "T"  # stopped
    assert peer.ask({"number": 5}) == {"twice": 10}


def _state(peer):
    return Path(f"/proc/{peer._process.pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_a_peer_that_dies_says_why(peer):
    with pytest.raises(AhaError, match="the reason is this"):
        peer.ask({"die": True})


def test_a_peer_that_fails_says_why(peer):
    with pytest.raises(AhaError, match="it did not work"):
        peer.ask({"fail": True})


def test_a_peer_is_not_waited_for_without_end(tmp_path):
    script = tmp_path / "asleep.py"
    script.write_text("import time; time.sleep(60)", encoding="utf-8")
    with (
        peers.Peer(sys.executable, script, threads=1) as slow,
        pytest.raises(AhaError, match="without an answer"),
    ):
        slow.ask({}, seconds=0.5)


def test_a_peer_that_is_not_installed_is_explained(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("AHA_PEERS", str(tmp_path))
    words = ["bench", "step", "--shape", "tiny", "--threads", "1", "--against", "trl"]
    assert main(words) == 1
    assert "aha bench peers install trl" in capsys.readouterr().err
    assert main(["bench", "peers", "list"]) == 0
    assert "vllm          not installed" in capsys.readouterr().out
    assert main(["bench", "peers", "install", "nobody"]) == 1


@pytest.mark.parametrize("name", peers.PEERS)
def test_pins_are_exact(name):
    lines = (peers.HERE / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all(line.partition(";")[0].count("==") == 1 for line in pins)  # behind ; : where it applies
    if name in peers.LIBRARIES:
        assert any(line.startswith(f"{name.replace('-', '_')}==") for line in pins)
        return
    assert any(line.startswith("torch==") for line in pins)
    assert name in peers.PROGRAMS or (peers.HERE / f"{name}_driver.py").exists()


def _needs(name):
    if not (peers.folder(name) / "bin" / "python").exists():
        pytest.skip(f"{name} is not installed: aha bench peers install {name}")


@pytest.mark.peers
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("trl", ["step", "--prompts", "2", "--group", "2", "--tokens", "6", "--prompt-tokens", "5"]),
        ("vllm", ["rollout", "--rows", "4", "--tokens", "6", "--prompts", "2", "--peer-eager"]),
    ],
)
def test_the_peer_does_the_same_work(capsys, monkeypatch, name, words):
    _needs(name)
    monkeypatch.setattr(roofline, "MATMUL_SIZE", {"cpu": 256})
    monkeypatch.setattr(roofline, "READ_BYTES", {"cpu": 4 << 20})
    capsys.readouterr()
    toy = ["--shape", "tiny", "--threads", "1", "--runs", "2", "--against", name, "--json"]
    assert main(["bench", *words, *toy]) == 0
    result = json.loads(capsys.readouterr().out)
    assert name in result["sides"][name]["version"]
    assert len(result["sides"][name]["runs"]) == 2
    assert result["ratio"] > 0
