"""``aha dpo`` on SmolLM2-135M with public pairs: right and wrong solutions to GSM8K's questions; killed with SIGKILL it
ends with the figures and the weights of a run that nobody disturbed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from aha import hardware
from aha.data.sources import read_rows
from aha.files import read_json, read_jsonl, write_jsonl
from aha.modeling import load_model, load_tokenizer

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.timeout(3600)]
SOLUTIONS = Path(__file__).parents[2].parent / "shared/data/outputs/gsm8k_example_model_solutions.jsonl.gz"
CLOCKS = ("tokens_per_second", "step_time")
TRAINED, HELD_OUT = 48, 48
SETTINGS = (
    "dpo.epochs=1", "dpo.batch_size=8", "dpo.lr=2e-5", "dpo.warmup_steps=1", "dpo.max_length=320", "dpo.save_every=2",
    "dpo.max_tokens_per_batch=1024", "dpo.validation_share=0.17", "--threads", "1", "--plain",
    "--no-doctor", "--run", "dpo",
)  # fmt: skip


def solution_pairs():
    """Short questions that one of the four models solved and another did not: what is right above what is wrong."""
    if not SOLUTIONS.exists():
        pytest.skip("the public rows are not here")
    pairs = []
    for row in read_rows(str(SOLUTIONS)):
        answers = [row[name] for name in row if isinstance(row[name], dict)]
        right = [a["solution"] for a in answers if a["is_correct"]]
        wrong = [a["solution"] for a in answers if not a["is_correct"]]
        if right and wrong and len(row["question"]) < 200 and max(len(right[-1]), len(wrong[0])) < 320:
            pairs.append({"prompt": row["question"], "chosen": right[-1], "rejected": wrong[0]})
    return pairs


def start(pairs, runs):
    command = [sys.executable, "-m", "aha", "dpo", "smollm2", "--data", str(pairs), "--runs-dir", str(runs)]
    return subprocess.Popen([*command, *SETTINGS], start_new_session=True)


def die_after(process, metrics, rows):
    """SIGKILL to the whole group once so many rows of figures are there."""
    while process.poll() is None and (not metrics.exists() or metrics.read_text().count("\n") < rows):
        time.sleep(0.05)
    assert process.poll() is None, "it ended before"
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def figures(runs):
    return [
        {k: v for k, v in r.items() if k not in CLOCKS} for r in read_jsonl(runs / "dpo/dpo/metrics.jsonl")
    ]


def preferred(source, pairs):
    """For each pair, whether a token of the chosen completion is the likelier one on the mean."""
    tokenizer, model = load_tokenizer(str(source)), load_model(str(source), dtype=hardware.pick_dtype())

    def likelihood(prompt, answer):
        asked = [{"role": "user", "content": prompt}]
        ids = tokenizer.apply_chat_template(
            asked, add_generation_prompt=True, tokenize=True, return_dict=False
        )
        said = tokenizer.encode(answer, add_special_tokens=False)
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([[*ids, *said]])).logits[0, len(ids) - 1 : -1].float()
        return float(logits.log_softmax(-1).gather(1, torch.tensor(said)[:, None]).mean())

    return [likelihood(p["prompt"], p["chosen"]) > likelihood(p["prompt"], p["rejected"]) for p in pairs]


def test_public_pairs_are_trained_on_and_kills_change_nothing(tmp_path, smollm2, capsys):
    pairs = solution_pairs()
    apart = pairs[TRAINED : TRAINED + HELD_OUT]
    write_jsonl(tmp_path / "pairs.jsonl", pairs[:TRAINED])
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert start(tmp_path / "pairs.jsonl", whole).wait() == 0
    for rows in (2, 5):  # step 1: nothing saved yet; step 4: two checkpoints
        die_after(start(tmp_path / "pairs.jsonl", cut), cut / "dpo/dpo/metrics.jsonl", rows)
    assert start(tmp_path / "pairs.jsonl", cut).wait() == 0
    assert figures(cut) == figures(whole)
    last = "dpo/dpo/final/model.safetensors"
    assert (cut / last).read_bytes() == (whole / last).read_bytes()
    summary = read_json(whole / "dpo/dpo/done.json")["summary"]
    before, after = (preferred(model, apart) for model in (smollm2, whole / "dpo/dpo/final"))
    with capsys.disabled():
        print(
            json.dumps(
                {k: summary[k] for k in summary if "validation" in k or k in ("rows", "steps", "seconds")}
            )
        )
        print(f"preferred before {sum(before)}, after {sum(after)} of {len(apart)}")
    assert summary["rows"] + summary["held_out"] == TRAINED
