"""What rows mean for a run: levels for curricula, empty splits said at the start, set-aside rows beside the run."""

from __future__ import annotations

import json

import pytest

from aha import aside
from aha.runs import pipeline
from aha.runs.pipeline import Context, Stage
from aha.stages.rl import RL
from aha.stages.rl.collect import difficulties
from aha.tasks import get_task
from aha.tasks.splits import split_of
from aha.types import AhaError, Problem


def put(folder, rows):
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def ask(levels):
    return [Problem(str(i), "math", (), "1", metadata={"level": level}) for i, level in enumerate(levels)]


@pytest.mark.parametrize(
    ("levels", "numbers"),
    [
        (["Level 5", "Level 1", "Level ?", "Level 3"], [5, 1, 3, 3]),
        ([81.5, 3, "2"], [81.5, 3, 2]),
        (["EASY", "MEDIUM_HARD", "Hard", "competition", "very hard"], [1, 2.5, 3, 3, 4]),
        (["Level ?", None, "1"], None),
        (["nan", "inf"], None),
    ],
)
def test_levels_as_data_sets_write_them(levels, numbers):
    assert difficulties(ask(levels)) == numbers


def test_levels_of_rows_reach_the_curriculum(tmp_path):
    rows = [
        {
            "problem": f"Add {i}.",
            "level": f"Level {i % 5 + 1}",
            "type": "Algebra",
            "solution": f"\\boxed{{{i}}}",
        }
        for i in range(20)
    ]
    problems = get_task("math", put(tmp_path, rows)).load("all", 20, 0)
    levels = difficulties(problems)
    assert levels == [int(p.metadata["level"].split()[1]) for p in problems]
    assert sorted(set(levels)) == [1, 2, 3, 4, 5]


def test_kinds_of_problems_are_their_levels(tmp_path):
    rows = [{"question": f"q{i}", "answer": i, "level": f"Level {i % 2 + 1}"} for i in range(4)]
    task = get_task("math", put(tmp_path, rows))
    assert {task.facet(p) for p in task.load("all", 9, 0)} == {"Level 1", "Level 2"}
    rows = [{"question": f"q{i}", "answer": i, "subject": "algebra", "difficulty": i + 0.5} for i in range(4)]
    assert {task.facet(p) for p in get_task("math", put(tmp_path, rows)).load("all", 9, 0)} == {"algebra"}


def test_a_split_without_rows_is_said_at_the_start(tmp_path, checkpoint):
    asked = [f"Add {i} and {i + 1}." for i in range(400)]
    tests = [q for q in asked if split_of(q) == "test"][:2]
    rows = [
        {"question": q, "answer": "1"} for q in [*(q for q in asked if split_of(q) == "train")][:10] + tests
    ]
    stage = RL.model_validate(
        {"name": "rl", "model": str(checkpoint), "task": "math", "data": put(tmp_path, rows), "steps": 4,
         "eval_every": 2, "max_tokens": 16, "max_prompt_tokens": 64}
    )  # fmt: skip
    with pytest.raises(AhaError, match=r"no rows for the validation split: .*eval_every=0"):
        stage.check_inputs(Context(tmp_path))
    stage.eval_every = 0
    stage.check_inputs(Context(tmp_path))


class Reads(Stage):
    data: str

    def run(self, context):
        return {"problems": len(get_task("math", self.data).load("all", 100, 0))}


def test_rows_that_were_set_aside_lie_beside_the_run(tmp_path):
    source = put(tmp_path, [{"question": f"q{i}", "answer": i or None} for i in range(30)])
    said = []
    summaries = pipeline.run(
        [Reads(name="reads", data=source)],
        tmp_path / "run",
        Context(tmp_path / "run"),
        config={},
        say=said.append,
    )
    assert summaries == {"reads": {"problems": 29}}
    [file] = (tmp_path / "run" / "reads" / "set_aside").glob("*.jsonl")
    assert json.loads(file.read_text()) == {
        "source": source,
        "where": "line 1",
        "reason": "has no answer: its answer is null. Wanted: answer, solution or reward_model.ground_truth.",
    }
    [line] = [text for text in said if "set aside" in text]
    assert line == f"{source}: 1 of 30 rows set aside (1 has no answer); see {file}."


def test_the_share_holds_for_the_whole_run(tmp_path):
    source = put(tmp_path, [{"question": f"q{i}", "answer": i if i > 4 else None} for i in range(30)])
    stage = Reads(name="reads", data=source)
    with pytest.raises(AhaError, match="5 of 30 rows cannot be used"):
        pipeline.run([stage], tmp_path / "a", Context(tmp_path / "a"), config={}, say=print)
    with aside.settings(share=0.5):
        pipeline.run([stage], tmp_path / "b", Context(tmp_path / "b"), config={}, say=print)
