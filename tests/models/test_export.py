"""What leaves a run is whole: weights, tokenizer, template, generation config, and a card that tells its story."""

from __future__ import annotations

import json

import pytest
import torch
from families import make

from aha.cli import main
from aha.runs.export import finished, lineage
from aha.training.checkpoint import save_model
from aha.training.policy import Policy

TEMPLATE = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}<|assistant|><think>\n"


@pytest.fixture
def run(tokenizer, tmp_path):
    """A finished run of two stages that make models, and an evaluation between."""
    stages = {
        "sft": {"model": "org/base-1b", "task": "math", "data": "rows.jsonl", "steps": 7},
        "check": {"model": "<sft>", "task": "math"},
        "rl": {"model": "<sft>", "task": "countdown", "rewards": {"accuracy": 1.0}, "steps": 9, "lr": 1e-6},
    }
    folder = tmp_path / "runs" / "mine"
    for name, settings in stages.items():
        place = folder / name
        place.mkdir(parents=True)
        (place / "settings.json").write_text(json.dumps({"fingerprint": "x", "settings": settings}))
        if name != "check":
            model = make("qwen3", tokenizer, seed=len(name))
            save_model(Policy(model), tokenizer, place / "final", "# the stage's own card\n")
        summary = (
            {"steps": 9, "before": {"pass@1": 0.125}, "after": {"pass@1": 0.5, "n": 3}}
            if name == "rl"
            else {}
        )
        done = {"fingerprint": "x", "seconds": 12.0, "summary": summary}
        (place / "done.json").write_text(json.dumps(done))
    (folder / "config.json").write_text(json.dumps({"recipe": "r1_zero", "stages": stages}))
    return folder


def test_the_last_model_is_copied_with_a_card(run, tmp_path, capsys):
    assert main(["export", "mine", str(tmp_path / "out"), "--runs-dir", str(run.parent)]) == 0
    assert "final checkpoint of rl" in capsys.readouterr().out
    weights = (run / "rl/final/model.safetensors").read_bytes()
    assert (tmp_path / "out/model.safetensors").read_bytes() == weights
    card = (tmp_path / "out/README.md").read_text()
    assert "base_model: org/base-1b" in card
    assert "recipe `r1_zero`" in card
    assert card.index("| `sft` | `org/base-1b` | math | 7 |") < card.index("| `rl` | `sft` | countdown | 9 |")
    assert "| `check`" not in card, "it did not lead to this model"
    assert "data rows.jsonl" in card
    assert "| pass@1 | 0.125 | 0.500 |" in card
    assert "lr = 1e-06" in card
    assert (run / "rl/final/README.md").read_text() == "# the stage's own card\n"


def test_another_stage_by_name(run, tmp_path):
    assert main(["export", str(run), str(tmp_path / "out"), "--stage", "sft"]) == 0
    assert (tmp_path / "out/model.safetensors").read_bytes() == (
        run / "sft/final/model.safetensors"
    ).read_bytes()
    stages = finished(run)
    assert [s.name for s in lineage(stages["rl"], stages)] == ["sft", "rl"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{run}", "{run}"], "is not empty"),
        (["{run}", "{out}", "--stage", "check"], "no finished stage 'check' with a model"),
        (["{run}-no", "{out}"], "has no run of that name"),
        (["{out}", "{out}/x"], "no finished stage with a model"),
    ],
)
def test_what_cannot_be_exported_is_explained(run, tmp_path, capsys, words, message):
    out = tmp_path / "out"
    out.mkdir()
    assert main(["export", *(w.format(run=run, out=out) for w in words)]) == 1
    assert message in capsys.readouterr().err


def test_pushing_creates_a_private_repository_and_uploads_the_folder(run, tmp_path, monkeypatch):
    import huggingface_hub

    calls = []

    class Api:
        def create_repo(self, repo, **options):
            calls.append((repo, options))
            return f"https://hub/{repo}"

        def upload_folder(self, **options):
            calls.append(options)

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    out = tmp_path / "out"
    assert main(["export", str(run), str(out)]) == 0
    assert not calls, "nothing leaves the machine unasked"
    assert main(["export", str(run), str(out) + "2", "--push", "me/model"]) == 0
    assert calls[0] == ("me/model", {"private": True, "exist_ok": True})
    assert calls[1]["repo_id"] == "me/model"


def test_a_saved_model_has_all_that_talking_to_it_needs(tokenizer, tmp_path):
    import copy

    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    chat = copy.deepcopy(tokenizer)
    chat.chat_template = TEMPLATE
    model = make("llama", tokenizer)
    model.generation_config.eos_token_id = [tokenizer.eos_token_id, 7]
    model.generation_config.temperature, model.generation_config.do_sample = 0.6, True
    policy = Policy(model)
    save_model(policy, chat, tmp_path / "saved", "# Card\n")
    back = AutoTokenizer.from_pretrained(tmp_path / "saved")
    assert back.apply_chat_template([{"role": "user", "content": "2+2"}], tokenize=False).endswith("<think>")
    config = GenerationConfig.from_pretrained(tmp_path / "saved")
    assert (config.eos_token_id, config.temperature) == ([tokenizer.eos_token_id, 7], 0.6)
    assert (tmp_path / "saved/README.md").read_text() == "# Card\n"
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "saved", dtype=torch.float32)
    assert loaded.config._attn_implementation != "aha", "how it was computed here is nobody else's business"
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), loaded.parameters(), strict=True))
