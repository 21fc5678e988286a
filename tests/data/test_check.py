"""``aha data check``: what a run would read of a file, said before a run."""

from __future__ import annotations

import json

import pytest

from aha.cli import main

ASKED, SAID = {"role": "user", "content": "What is it?"}, {"role": "assistant", "content": "It is five."}


def put(folder, rows, name="rows.jsonl"):
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def check(capsys, *arguments):
    assert main(["data", "check", *arguments, "--json"]) == 0
    [described] = json.loads(capsys.readouterr().out).values()
    return described


MATH = [{"problem": f"Add {i}.", "answer": str(i), "hint": "h", "url": "u"} for i in range(40)]


def test_a_file_is_described(tmp_path, capsys):
    rows = [*MATH, {"problem": "q", "answer": None, "url": "u"}, {"problem": "Add 3.", "answer": "4"}]
    path = put(tmp_path, rows)
    described = check(capsys, path)
    assert (described["task"], described["rows"], described["proven"]) == ("math", 42, 41)
    assert described["used"] == ["answer", "problem"]
    assert described["not_used"] == ["hint", "url"]
    assert "level or difficulty" in described["could_be"]["level"]
    assert described["set_aside"]["rows"] == 1
    assert described["set_aside"]["reasons"] == {"has no answer": 1}
    assert described["set_aside"]["examples"][0]["where"] == "line 41"
    assert described["answers"] == {"several": 0, "repeated_questions": 1, "repeated_with_other_answers": 1}
    assert len(described["prompts"]) == 3
    assert described["prompts"][0] == "user: Add 0."
    assert main(["data", "check", path]) == 0
    said = capsys.readouterr().out
    assert "42 rows for math; layout open-r1-problem (41)" in said
    assert "columns not used  hint, url" in said
    assert "1 set aside: 1 has no answer" in said
    assert "41 rows proven by their own grader, all 42 looked at" in said


@pytest.mark.parametrize(
    ("row", "task"),
    [
        ({"question": "q", "choices": ["a", "b"], "answer": 1}, "choice"),
        ({"question": "q", "A": "a", "B": "b", "C": "c", "D": "d", "answer": "C"}, "choice"),
        ({"prompt": "def f(x):", "test": "def check(f):\n    assert f(1) == 1", "entry_point": "f"}, "code"),
        ({"text": "q", "test_list": ["assert f(1) == 1"]}, "code"),
        ({"question": "q", "answer": "#### 5"}, "math"),
        ({"prompt": [ASKED], "reward_model": {"ground_truth": "5"}}, "math"),
        (
            {"prompt": [ASKED], "reward_model": {"ground_truth": '{"inputs": ["1"], "outputs": ["2"]}'}},
            "code",
        ),
        ({"messages": [ASKED, SAID]}, "conversations"),
        ({"prompt": "q", "chosen": "a", "rejected": "b"}, "conversations"),
        ({"prompt": "q", "chosen": "a", "rejected": None}, "conversations"),
        ({"messages": [ASKED, SAID], "label": True}, "conversations"),
        ({"prompt": "q", "completion": "a", "label": False}, "conversations"),
        ({"prompt": "q", "response_0": "a", "response_1": "b", "better_response_id": 0}, "conversations"),
        ({"question": "q", "label": 3}, "math"),
        (
            {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
            "conversations",
        ),
    ],
)
def test_what_rows_are_for_is_told_by_their_columns(tmp_path, row, task):
    from aha.commands.data_check import guess

    assert guess(put(tmp_path, [row])) == task


def test_conversations_are_described(tmp_path, capsys):
    rows = [{"messages": [ASKED, SAID], "system": "Be brief.", "num_tokens": 4}] * 3
    rows += [{"messages": [{"role": "wizard", "content": "x"}]}]
    described = check(capsys, put(tmp_path, rows))
    assert (described["task"], described["proven"], described["completions"], described["with_system"]) == (
        "conversations",
        3,
        3,
        3,
    )
    assert described["not_used"] == ["num_tokens"]
    assert "a message's role is 'wizard'" in described["set_aside"]["examples"][0]["reason"]
    assert described["prompts"][0].startswith("system: Be brief.\nuser: What is it?")


def test_labels_of_conversations_are_counted(tmp_path, capsys):
    path = put(tmp_path, [{"messages": [ASKED, SAID], "label": i > 0} for i in range(3)])
    assert check(capsys, path)["labels"] == 3


def test_what_general_prompts_bring_is_counted(tmp_path, capsys):
    rows = [
        {"prompt": "p", "response_0": "a", "response_1": "b", "is_response_0_safe": True, "is_response_1_safe": False,
         "better_response_id": 1, "safer_response_id": 0},
        {"vanilla": "v", "adversarial": "", "completion": "c", "data_type": "vanilla_harmful"},
        {"conversation": [{"role": "system", "content": "s"}, ASKED, SAID, ASKED]},
        {"chosen": "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant: d",
         "rejected": "\n\nHuman: a\n\nAssistant: x\n\nHuman: y\n\nAssistant: z"},
    ]  # fmt: skip
    described = check(capsys, path := put(tmp_path, rows), "--task", "general")
    assert described["brings"] == {
        "references": 3, "pairs": 1, "answers called safe or unsafe": 2, "called harmful": 1, "called benign": 0,
        "several turns": 2, "system message": 1,
    }  # fmt: skip
    assert main(["data", "check", path, "--task", "general"]) == 0
    assert "several turns: 2, system message: 1" in capsys.readouterr().out


def test_few_prompts_are_shown_once_each_and_whole_conversations_are_compared(tmp_path, capsys):
    conversations = [[{"role": "user", "content": hello}, SAID, ASKED] for hello in ("Hi", "Ho")]
    described = check(
        capsys, put(tmp_path, [{"messages": turns} for turns in conversations]), "--task", "general"
    )
    assert [text[:8] for text in described["prompts"]] == ["user: Hi", "user: Ho"]
    assert described["answers"]["repeated_questions"] == 0, "their last turns alone are the same"


def test_prompts_are_shown_as_a_model_is_asked(tmp_path, capsys, checkpoint):
    described = check(capsys, put(tmp_path, MATH), "--model", str(checkpoint))
    assert "Add 0." in described["prompts"][0]
    assert described["prompts"][0] != "user: Add 0."


def test_a_task_that_reads_no_rows(tmp_path, capsys):
    assert main(["data", "check", put(tmp_path, MATH), "--task", "logic"]) == 1
    assert "reads no rows" in capsys.readouterr().err
