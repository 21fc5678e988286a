"""The last part of the recipe on SmolLM2-135M without a reward model from outside: pairs of its own answers, a reward
model trained on them, reinforcement learning with it; and the same scores of it from a worker of its own."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from aha.data.sources import read_rows
from aha.files import read_json, read_jsonl, write_jsonl
from aha.judges import prompts
from aha.recipes import r1
from aha.runs import config, pipeline
from aha.runs.pipeline import Context, ordered
from aha.sampling.http import Programs, Server
from aha.stages.supervised.scorers import open_scorer
from aha.stages.supervised.scoring_backend import scoring_backend

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.timeout(3600)]
SHARED = Path(__file__).parents[2].parent / "shared/data"
STAGES = ("pairs", "helpful_rm", "r1")
SETTINGS = {
    "pairs.problems": 24, "pairs.samples": 3, "pairs.pairs_per_problem": 2, "pairs.max_tokens": 40,
    "pairs.write_every": 8, "helpful_rm.epochs": 2, "helpful_rm.batch_size": 8, "helpful_rm.lr": 2e-5,
    "helpful_rm.max_length": 400, "helpful_rm.max_tokens_per_batch": 1024, "helpful_rm.held_out": 0.25,
    "r1.steps": 2, "r1.preference_start_step": 1, "r1.prompts_per_step": 4, "r1.group_size": 4, "r1.mini_batches": 1,
    "r1.max_tokens": 40, "r1.max_prompt_tokens": 256, "r1.train_problems": 16, "r1.eval_every": 0,
    "r1.test_problems": 2, "r1.test_samples": 1, "r1.save_every": 1, "r1.max_tokens_per_batch": 1024,
}  # fmt: skip


def on_the_subject(messages, seed):
    """A judge that prefers the answer with more of the request's longer words."""
    parts = prompts.unquote(messages)
    asked = set(re.findall(r"[a-z]{5,}", parts["request"].lower()))
    a, b = (
        len(asked & set(re.findall(r"[a-z]{5,}", parts[name].lower()))) for name in ("answer_a", "answer_b")
    )
    return f"[[A{'>>' if a > b else '<<' if a < b else '='}B]]"


def stages(model, folder, judge):
    """The recipe's own last stages, each with SmolLM2 in the place of Dev3."""
    rows = {name: str(SHARED / f"math/gsm8k_{name}.jsonl.gz") for name in ("train", "test")}
    asked = {"data": rows["train"], "test_data": rows["test"], "general": str(folder / "general.jsonl")}
    whole = r1.build(model=model, task="gsm8k", prompt="boxed", judge=judge, teacher=judge, **asked)
    config.apply(ordered(whole), SETTINGS)
    pairs, reward_model, last = ({s.name: s for s in ordered(whole)}[name] for name in STAGES)
    assert last.safety_model is None, "nothing harmful is asked"
    pairs.models, reward_model.model, last.model = (model,), model, model
    return [last]


def test_it_makes_its_own_pairs_and_learns_with_its_own_reward_model(tmp_path, smollm2, capsys):
    if not SHARED.exists():
        pytest.skip("the public rows are not here")
    asked = sorted(read_rows(str(SHARED / "general/ifeval.jsonl")), key=lambda r: len(r["prompt"]))[:80]
    write_jsonl(tmp_path / "general.jsonl", asked)
    said: list[str] = []
    with Server(Programs({"judge": on_the_subject})) as server:
        run = tmp_path / "run"
        for _ in range(2):
            last = stages(str(smollm2), tmp_path, f"{server.url}#judge")
            context = Context(run, plain=True, threads=1)
            summaries = pipeline.run(last, run, context, config={}, say=said.append)
    assert sum("finished before, not run again" in line for line in said) == len(STAGES), "the second time"
    assert list(summaries) == list(STAGES)
    pairs, trained = summaries["pairs"], summaries["helpful_rm"]
    steps = [row for step in (1, 2) for row in read_jsonl(run / f"r1/rollouts/step_{step:05d}.jsonl")]
    scores = [s["value"] for row in steps if (s := row["scores"].get("preference")) and not s.get("silent")]
    with capsys.disabled():
        print(json.dumps({"pairs": pairs["report"], "judge": pairs["judge"], "reward model": trained}))
        print(json.dumps({"scores of answers in r1": scores}))
    assert pairs["rows"] >= 8
    assert trained["rows"] + trained["held_out"] + trained["too_long"] == pairs["rows"]
    assert any(0 < (value or 0) < 1 for value in scores), "the reward model scored the policy's answers"
    assert read_json(run / "r1/done.json")["summary"]
    same_elsewhere(
        str(run / "helpful_rm/final"), asked[0]["prompt"], [row["text"] for row in steps[:4]], tmp_path
    )


def same_elsewhere(model, asked, texts, folder):
    """The trained reward model scores alike in this process and on a worker of its own."""
    context, messages = (
        Context(folder, device="cpu", dtype="float32", threads=1),
        [{"role": "user", "content": asked}],
    )
    here = open_scorer(model, context, "helpful", "raw").scores(messages, texts)
    with Server(scoring_backend(model, "rm", "cpu", "float32", 1)) as worker:
        there = open_scorer(f"{worker.url}#rm", context, "safety", "raw")
        assert there.kind == "helpful", "it says itself what it reads"
        assert there.scores(messages, texts) == pytest.approx(here, abs=1e-4)
    assert len({round(value, 6) for value in here}) > 1
