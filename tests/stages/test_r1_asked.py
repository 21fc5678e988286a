"""The whole recipe on a small checkpoint with a ChatML chat template, a teacher behind an address: every stage asks a
checkpoint under the prompt that it was trained with."""

from __future__ import annotations

import json

import pytest
from chat_model import CHATML, give_chatml
from r1_teacher import teacher
from smallest import flat
from transformers import AutoTokenizer

from aha import chat, modeling
from aha.files import read_json, write_jsonl
from aha.recipes import r1
from aha.runs import config, pipeline
from aha.runs.pipeline import Context, ordered
from aha.sampling.http import Programs, Server
from aha.sampling.local.engine import LocalEngine
from aha.stages.supervised.sft import SFT

SAID = "<think>I count it out and get there.</think> <answer>18</answer>"
PROMPTS = {
    "zero": "r1_zero", "dev1": "think", "dev2": "think", "dev3": "think", "r1": "think",
    "helpful_rm": "think", "safety_rm": "think",
}  # fmt: skip
SOME = {"samples": 1, "scripted_samples": 6, "max_tokens": 40}


def questions(n, first=0):
    return [
        {
            "question": f"Tom has {a} apples and gets {18 - a} more. Batch {i}. How many?",
            "answer": f"x\n#### {18}",
        }
        for i, a in ((first + k, k % 17 + 1) for k in range(n))
    ]


def taught(tmp_path, rows, prompt, model, epochs):
    """A checkpoint that answers 18, under one prompt."""
    data = tmp_path / "taught.jsonl"
    write_jsonl(
        data,
        [
            {"messages": [{"role": "user", "content": r["question"]}, {"role": "assistant", "content": SAID}]}
            for r in rows
        ],
    )
    stage = SFT.model_validate(
        {"name": f"taught_{prompt}", "model": model, "data": (str(data),), "epochs": epochs, "batch_size": 4,
         "lr": 2e-3, "prompt": prompt, "max_length": 512, "max_tokens_per_batch": 2048, "validation_share": 0.0}
    )  # fmt: skip
    folder = tmp_path / stage.name
    folder.mkdir()
    stage.run(Context(folder, plain=True, threads=1, dtype="float32"))
    return folder / "final"


@pytest.fixture
def base(tmp_path):
    """The tiny base with ChatML's tokens and template, taught one answer under both prompts of the recipe."""
    folder = give_chatml(tmp_path / "base")
    rows = questions(24)
    for prompt in ("think", "r1_zero"):
        folder = taught(tmp_path, rows, prompt, str(folder), 3)
    (folder / "aha.json").unlink()
    (folder / "chat_template.jinja").write_text(CHATML)
    return folder


@pytest.mark.timeout(900)
def test_every_stage_asks_a_checkpoint_as_it_was_trained(tmp_path, base, monkeypatch):
    train, test = tmp_path / "train.jsonl", tmp_path / "test.jsonl"
    write_jsonl(train, questions(64))
    write_jsonl(test, questions(12, first=100))
    seen: dict[str, set[str]] = {}
    real = LocalEngine.generate

    def generate(self, requests, *args, **options):
        path = str(self.model.config._name_or_path)
        seen.setdefault(path, set()).update(self.tokenizer.decode(r.prompt_ids) for r in requests)
        return real(self, requests, *args, **options)

    monkeypatch.setattr(LocalEngine, "generate", generate)
    run = tmp_path / "run"
    with Server(Programs({"stub": teacher})) as server:
        options = {
            "task": "gsm8k",
            "data": str(train),
            "test_data": str(test),
            "teacher": f"{server.url}#stub",
        }
        stages = ordered(r1.build(model=str(base), **options))
        names = {s.name for s in stages}
        changes = {k: v for k, v in flat().items() if k.partition(".")[0] in names}
        changes |= {f"{name}.max_prompt_tokens": 480 for name in ("zero", "dev2", "r1")}
        changes |= {f"{name}.{k}": v for name in ("pairs", "safety_data") for k, v in SOME.items()}
        changes |= {"reject.decontaminate_problems": 0, "cold_start.samples": 6, "reject.samples": 6}
        again = {"lr": 2e-3, "epochs": 4, "batch_size": 4}
        changes |= {f"{name}.{k}": v for name in ("dev1", "dev3") for k, v in again.items()}
        config.apply(stages, changes)
        context = Context(run, plain=True, threads=1, dtype="float32")
        summaries = pipeline.run(stages, run, context, config={}, say=print)
    kept = {p.parent.parent.name: read_json(p)["prompt"] for p in run.glob("*/final/aha.json")}
    assert kept == PROMPTS
    sampled = {"cold_start": "zero", "reject": "dev2"}
    for stage, of in sampled.items():
        assert summaries[stage]["prompt"] == kept[of], stage
    compared = json.loads((run / "compare" / "compare.json").read_text())
    for task, figures in compared.items():
        for name, row in figures.items():
            assert row["prompt"] == kept.get(name, "boxed"), (task, name)
    for path, texts in seen.items():
        if (run.parent / path / "aha.json").exists() and str(run) in path:
            _same_as_transformers(path, texts)
    assert {p.split("/run/")[1].split("/")[0] for p in seen if "/run/" in p} >= {
        "zero",
        "dev1",
        "dev2",
        "dev3",
        "r1",
    }


def _same_as_transformers(path, texts):
    """Every prompt is what the checkpoint's own chat template makes of its question, read by transformers alone."""
    tokenizer = AutoTokenizer.from_pretrained(path)
    prompt = modeling.load_tokenizer(path)
    name = chat.choose("auto", prompt).name
    head, tail = (
        ("User: ", " Assistant:") if name == "r1_zero" else ("<|im_start|>user\n", "<|im_end|>\n<|im_start|>")
    )
    for text in texts:
        question = text.rpartition(head)[2].rpartition(tail)[0]
        rendered = tokenizer.apply_chat_template(
            [{"role": "user", "content": question}], tokenize=False, add_generation_prompt=True
        )
        assert rendered == text, path
