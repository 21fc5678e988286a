"""Best of n: the recipe's rejection sampling keeps the answer that a reward model scores highest."""

from __future__ import annotations

import pytest
from test_reject import Prompts, Script
from test_served_reward_model import save_head, serve

from aha.files import read_jsonl, write_jsonl
from aha.runs.pipeline import Context
from aha.stages import engines
from aha.stages.data.reject import Reject
from aha.stages.supervised.scorers import open_scorer
from aha.tasks import get_task

ROWS = [{"prompt": f"Write about {thing}.", "domain": "writing"} for thing in ("rain", "wind", "snow", "fog")]


def said(key, sample):
    """Answers that differ; some without the form that is asked for."""
    words = " ".join(f"w{key}{sample}{i}" for i in range(1 + 2 * ((key + sample) % 4)))
    return words if sample == 3 else f"<think>I write it.</think> <answer>{words}</answer>"


@pytest.mark.parametrize("task", ["general", "harmful"])
def test_the_highest_score_of_each_question_is_kept(tokenizer, tmp_path, monkeypatch, task):
    write_jsonl(tmp_path / "prompts.jsonl", ROWS)
    data = str(tmp_path / "prompts.jsonl")
    problems = get_task(task, data).load("train", 9, 0)

    class Asked(Prompts):
        def requests(self, asked, n, first_key=0):
            from aha.sampling.engine import Request

            return [Request([1], n, problems.index(p)) for p in asked]

    source = engines.AnswerSource(Script(said), Asked(), None, 10_000)
    monkeypatch.setattr(engines, "open_source", lambda *a, **k: source)
    head = save_head(tmp_path / "head", tokenizer)
    with serve(head) as server:
        stage = Reject(name="reject", model="tiny", task=task, data=data, problems=9, samples=4, max_per_problem=1,
                       max_tokens=64, decontaminate_problems=0, best_by=f"{server.url}#rm")  # fmt: skip
        (tmp_path / "stage").mkdir()
        summary = stage.run(Context(tmp_path / "stage", plain=True, threads=1))
    scorer = open_scorer(head, Context(tmp_path, plain=True, device="cpu", dtype="float32"), "helpful", "raw")
    kept = {row["problem_id"]: row for row in read_jsonl(tmp_path / "stage/data.jsonl")}
    assert len(kept) == len(problems) >= 2
    for key, problem in enumerate(problems):
        well_formed = [said(key, sample) for sample in range(3)]
        scores = scorer.scores(problem.messages, well_formed)
        row = next(row for name, row in kept.items() if name.endswith(problem.id))
        assert row["messages"][-1]["content"] == well_formed[scores.index(max(scores))]
        assert (row["domain"], row["part"]) == ("writing", "general"), "for the mix it is what its row says"
    assert summary["dropped"] == {"bad format": len(problems), "more than enough": 2 * len(problems)}
    assert "writing" in summary["domains"]
