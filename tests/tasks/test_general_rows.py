"""The tasks general and harmful over rows: splits of few rows, repeated prompts, languages, and what no rule grades."""

from __future__ import annotations

import json

import pytest

from aha import aside
from aha.tasks import get_task
from aha.tasks.general_rows import prompt_language
from aha.types import AhaError, Outcome


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_every_prompt_is_in_one_split_and_no_split_is_empty(tmp_path):
    for n in (3, 5, 30, 200):
        task = get_task(
            "general", write(tmp_path / "rows.jsonl", [{"prompt": f"Question {i}?"} for i in range(n)])
        )
        ids = [{p.id for p in task.load(split, n, 0)} for split in ("train", "validation", "test")]
        assert all(ids)
        assert sum(map(len, ids)) == len(set.union(*ids)) == n
    with pytest.raises(AhaError, match="give three at least"):
        get_task("general", write(tmp_path / "two.jsonl", [{"prompt": "a"}, {"prompt": "b"}])).load(
            "train", 1, 0
        )


def test_a_repeated_prompt_is_asked_once_with_all_that_is_known_of_it(tmp_path):
    row = {"prompt": "q", "response": "bad", "is_safe": False}
    rows = [row, row | {"response": "kind", "is_safe": True}, *({"prompt": f"other {i}"} for i in range(20))]
    said = []
    with aside.settings(say=said.append):
        task = get_task("harmful", write(tmp_path / "rows.jsonl", rows))
        (problem,) = [
            p
            for s in ("train", "test", "validation")
            for p in task.load(s, 99, 0)
            if p.messages[0]["content"] == "q"
        ]
    assert problem.metadata["given_labels"] == (("bad", 0), ("kind", 1))
    assert problem.answer == "kind"
    assert any("1 of 22 rows repeat a prompt" in text for text in said)


def test_harmful_is_what_the_file_is_for_unless_a_row_says_otherwise(tmp_path):
    rows = [
        {"prompt": "a"},
        {"prompt": "b", "label": "safe"},
        {"prompt": "c", "data_type": "x_harmful", "vanilla": "c"},
    ]
    path = write(tmp_path / "rows.jsonl", rows)
    for name, expected in (
        ("harmful", {"a": True, "b": False, "c": True}),
        ("general", {"a": False, "b": False, "c": True}),
    ):
        replies = {
            p.messages[0]["content"]: p.metadata["harmful"] for p in get_task(name, path).load("all", 9, 0)
        }
        assert replies == expected


def test_what_no_rule_grades_is_unknown_and_never_wrong(tmp_path):
    rows = [
        {"prompt": "a"},
        {"prompt": "b", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]},
        {"prompt": "c"},
    ]
    task = get_task("general", write(tmp_path / "rows.jsonl", rows))
    free, ruled, _ = sorted(task.load("all", 9, 0), key=lambda p: p.messages[0]["content"])
    said = "<think>a, b</think> <answer>{}</answer>"
    assert task.verify(free, said.format("yes")).outcome is Outcome.UNKNOWN
    assert task.verify(free, "<think>only thought").outcome is Outcome.UNKNOWN, (
        "or its rate would be of those alone"
    )
    assert task.verify(ruled, "<think>only thought").outcome is Outcome.NO_ANSWER
    assert task.verify(ruled, said.format("yes")).outcome is Outcome.CORRECT
    assert task.verify(ruled, said.format("yes, yes")).outcome is Outcome.WRONG


def test_a_set_of_bad_rows_is_refused_with_the_reason(tmp_path):
    rows = [{"prompt": "a"}, *({"conversation": [{"role": "assistant", "content": "b"}]} for _ in range(3))]
    with pytest.raises(
        AhaError, match=r"3 of 4 rows cannot be used \(3 no user turn is left to be answered\)"
    ):
        get_task("general", write(tmp_path / "rows.jsonl", rows)).load("train", 1, 0)


@pytest.mark.parametrize(
    ("text", "said", "language"),
    [
        ("Write a poem about the sea.", "", "en"),
        ("Schreibe ein Gedicht über das Meer und die Sonne.", "", "de"),
        ("¿Cuál es la capital de los Estados Unidos y por qué?", "", "es"),
        ("Quelle est la différence entre le chat et la souris ?", "", "fr"),
        ("请写一首诗", "", "zh"),
        ("Translate 'la casa' for the people of this town.", "", "en"),
        ("Hola", "Spanish language", "en"),
        ("Hola", "es", "es"),
    ],
)
def test_the_language_of_a_prompt(text, said, language):
    assert prompt_language(text, said) == language
