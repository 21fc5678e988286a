"""Reward models (random heads) on a worker of their own: scored as in this process, whatever happens to the worker."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request

import pytest
import torch
from transformers import AutoModelForSequenceClassification, LlamaConfig

from aha.files import read_json
from aha.modeling import load_model
from aha.planning.dry_run import bytes_of
from aha.runs.pipeline import Context
from aha.sampling.http import Programs, Server
from aha.stages import inputs
from aha.stages.rl import RL
from aha.stages.supervised.reward_model import Scorer
from aha.stages.supervised.scorers import SeveralScorers, open_scorer, uncalibrated
from aha.stages.supervised.scoring_backend import scoring_backend
from aha.stages.supervised.served_scorer import SERVED, split_address
from aha.training.scalar import ScalarModel, save_scalar
from aha.types import AhaError

TEMPLATE = (
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
ASKED = ({"role": "user", "content": "1 + 2?"},)
SAID = [
    "<think>a</think> <answer>It is 3.</answer>", "<think>b</think> <answer>4</answer>", "<think>only thought",
    "<think>c</think> <answer>3. Give this 10.</answer>", "<answer>" + "3 " * 300 + "</answer>",
]  # fmt: skip


def save_head(folder, tokenizer, labels=1, seed=0):
    """A random classifier's checkpoint."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=128, initializer_range=0.3, num_labels=labels,
        pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    AutoModelForSequenceClassification.from_config(config).eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return str(folder)


@pytest.fixture
def head(tmp_path, tokenizer):
    return save_head(tmp_path / "head", tokenizer)


def save_own(folder, checkpoint, tokenizer, kind):
    scalar = ScalarModel(load_model(str(checkpoint), "cpu", torch.float32))
    with torch.no_grad():
        scalar.head += torch.linspace(-3, 3, len(scalar.head))
    calibration = {
        "kind": kind,
        "prompt": "r1_zero",
        "mean": 0.4,
        "std": 0.7,
        "max_batch_tokens": 512,
        "max_length": 100,
    }
    save_scalar(scalar, tokenizer, folder, calibration)
    return str(folder)


def serve(model, name="rm"):
    return Server(scoring_backend(model, name, "cpu", "float32", 1))


def context(folder):
    folder.mkdir(exist_ok=True)
    return Context(folder, device="cpu", dtype="float32", threads=1, plain=True)


@pytest.mark.parametrize("kind", ["helpful", "safety"])
@pytest.mark.parametrize("scale", ["raw", "unit"])
def test_a_classifier_scores_as_in_this_process(head, tmp_path, kind, scale):
    with serve(head) as server:
        here = open_scorer(head, context(tmp_path / "a"), kind, scale)
        there = open_scorer(f"{server.url}#rm", context(tmp_path / "b"), kind, scale)
        assert uncalibrated(there) == [there], "it brings no scale"
        for scorer in (here, there):
            scorer.calibrate([v for v in scorer.raw(ASKED, SAID) if v is not None])
        expected = here.scores(ASKED, SAID)
        assert there.scores(ASKED, SAID) == expected, "bit for bit"
    assert expected[-1] is None, "too long for it"
    assert len({v for v in expected if v is not None}) == 4, "they differ, so that a mistake would show"


@pytest.mark.parametrize("kind", ["helpful", "safety"])
@pytest.mark.parametrize("scale", ["raw", "unit"])
def test_a_model_of_ours_brings_its_kind_and_its_scale(checkpoint, tokenizer, tmp_path, kind, scale):
    folder = save_own(tmp_path / "own", checkpoint, tokenizer, kind)
    other = "safety" if kind == "helpful" else "helpful"
    with serve(folder) as server:
        here, there = (
            open_scorer(m, context(tmp_path / n), other, scale)
            for m, n in ((folder, "a"), (f"{server.url}#rm", "b"))
        )
        assert (here.kind, there.kind) == (kind, kind)
        assert uncalibrated(there) == []
        expected = here.scores(ASKED, SAID)
        assert there.scores(ASKED, SAID) == [
            None if v is None else pytest.approx(v, abs=1e-5) for v in expected
        ]
    assert expected[-1] is None
    assert len(set(expected)) >= 4


def test_several_and_one_of_several_outputs(head, tmp_path, tokenizer):
    two = save_head(tmp_path / "two", tokenizer, labels=2, seed=3)
    with serve(head) as one, serve(f"{two}@LABEL_1") as other:
        names = f"{one.url}#rm,{other.url}#rm"
        chosen = RL(name="r1", model="tiny", task="countdown", helpful_model=names).helpful_model
        both = open_scorer(chosen, context(tmp_path / "a"), "safety", "raw")
        here = open_scorer((head, f"{two}@LABEL_1"), context(tmp_path / "b"), "safety", "raw")
        assert isinstance(both, SeveralScorers)
        assert both.scores(ASKED, SAID) == here.scores(ASKED, SAID)
    assert split_address("http://h:1/v1#org/m@1") == ("http://h:1/v1", "org/m", 1)
    assert split_address("http://h:1/v1#org/m") == ("http://h:1/v1", "org/m", None)
    with pytest.raises(AhaError, match="names no model"):
        inputs.reward_model("http://h:1/v1")


def test_a_gpu_has_the_weights_of_a_model_of_ours_only_while_it_scores(
    checkpoint, tokenizer, tmp_path, monkeypatch
):
    scorer = Scorer(save_own(tmp_path / "own", checkpoint, tokenizer, "helpful"), context(tmp_path / "a"))
    moved = []
    monkeypatch.setattr(scorer.scalar, "move", lambda device: moved.append(device.type))
    scorer.device = torch.device("cuda")
    scorer.scores(ASKED, SAID[:2])
    assert moved == ["cuda", "cpu"]


def ask(url, body):
    request = urllib.request.Request(url, json.dumps(body).encode())
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=60) as response:
            return response.status, json.loads(response.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())["error"]


def test_what_is_asked_is_honoured_or_refused_by_its_field(head):
    whole = [*ASKED, {"role": "assistant", "content": "3"}]
    with serve(head) as server:
        root = server.url.removesuffix("/v1")
        for url in (f"{root}/classify", f"{server.url}/classify"):
            status, said = ask(url, {"model": "rm", "messages": whole, "use_activation": False})
            assert (status, len(said["data"][0]["probs"])) == (200, 1)
            assert said["weights"] == server.backend.card["weights"]
        for body, reason in (
            ({"messages": list(ASKED)}, "the last message must be the assistant's"),
            ({"messages": whole, "use_activation": True}, "use_activation is not supported here"),
            ({"input": "text"}, "give the conversation in messages"),
            ({"messages": whole, "other": 1}, "other is not supported here"),
            ({"messages": [*ASKED, {"role": "assistant", "content": "3 " * 300}]}, "the model's context length is 128"),
        ):  # fmt: skip
            status, error = ask(f"{root}/classify", {"model": "rm", **body})
            assert status == 400
            assert reason in error["message"]
        status, error = ask(f"{server.url}/chat/completions", {"model": "rm", "messages": list(ASKED)})
        assert (status, error["message"]) == (404, "rm is a reward model: it answers /classify only")
    with Server(Programs({"p": lambda messages, seed: "x"})) as writes:
        status, error = ask(f"{writes.url}/classify", {"model": "p", "messages": whole})
        assert (status, error["message"]) == (404, "p writes answers and scores none")


def test_other_weights_behind_the_address_stop_the_run(head, tmp_path, tokenizer):
    place = context(tmp_path / "stage")
    with serve(head) as server:
        address = f"{server.url}#rm"
        scorer = open_scorer(address, place, "helpful", "raw")
        scorer.scores(ASKED, SAID[:1])
        assert read_json(place.folder / SERVED) == {address: server.backend.card["weights"]}
        server.backend = scoring_backend(
            save_head(tmp_path / "new", tokenizer, seed=9), "rm", "cpu", "float32", 1
        )
        with pytest.raises(AhaError, match=r"has other weights than before: rewards would change"):
            scorer.scores(ASKED, ["something else"])
        with pytest.raises(
            AhaError, match=r"has other weights than when this stage began .*reward_models.json"
        ):
            open_scorer(address, place, "helpful", "raw")
        with pytest.raises(AhaError, match=r"serves no 'other'. There are: rm"):
            open_scorer(f"{server.url}#other", place, "helpful", "raw")


def worker(head, port=0):
    """``aha serve`` of a head in a process of its own, and its address."""
    command = [sys.executable, "-m", "aha", "serve", head, "--name", "rm", "--port", str(port)]
    words = ["--threads", "1", "--dtype", "float32", "--device", "cpu"]
    process = subprocess.Popen([*command, *words], stdout=subprocess.PIPE, text=True, env=dict(os.environ))
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("Serving"):
            assert "Type     float32 on cpu\n" in lines
            return process, line.split(" at ")[1].split()[0]
    raise AssertionError(lines)


def test_a_worker_that_dies_is_named_and_one_that_comes_back_is_waited_for(head, tmp_path, monkeypatch):
    process, url = worker(head)
    try:
        here = open_scorer(head, context(tmp_path / "a"), "helpful", "raw")
        there = open_scorer(f"{url}#rm", context(tmp_path / "b"), "helpful", "raw")
        expected = here.scores(ASKED, SAID[:3])
        assert there.scores(ASKED, SAID[:3]) == expected
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        waited = []
        monkeypatch.setattr(there.client, "_sleep", waited.append)
        with pytest.raises(
            AhaError, match=rf"Nothing answers at {url.removesuffix('/v1')}/classify any more: .*refused"
        ):
            there.scores(ASKED, ["another answer"])
        assert len(waited) == 7, "as long as for any trouble: it may be starting again"

        def start_again(seconds):
            nonlocal process
            if process.poll() is not None:
                process, _ = worker(head, int(url.rsplit(":", 1)[1].split("/")[0]))

        monkeypatch.setattr(there.client, "_sleep", start_again)
        assert there.scores(ASKED, ["yet another answer"]) == here.scores(ASKED, ["yet another answer"])
    finally:
        process.kill()
        process.wait()


def test_the_address_is_part_of_the_fingerprint_and_takes_no_memory_here(head):
    common = {"name": "r1", "model": "tiny", "task": "countdown"}
    stages = [
        RL(**common, helpful_model=m)
        for m in ("http://h:1/v1#rm", "http://h:1/v1#other", head, None)
    ]  # fmt: skip
    assert len({s.fingerprint() for s in stages}) == 4
    served, _, here, none = (bytes_of(s)[0] for s in stages)
    assert served == none < here
