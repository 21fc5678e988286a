"""Every benchmark of the catalogue from a row in its public layout to its figure: asked of an endpoint that answers
right and of one that answers wrong. Rows that cannot be graded are refused with their reason."""

from __future__ import annotations

import json
from collections import defaultdict
from contextlib import redirect_stdout
from io import StringIO

import pytest
from public_rows import LAYOUTS

from aha.benchmarks.catalogue import BENCHMARKS, read_names
from aha.benchmarks.dates import of_dates, read_dates
from aha.benchmarks.opening import BenchmarkJudge
from aha.benchmarks.session import load_problems
from aha.cli import main
from aha.judges import prompts
from aha.judges.asking import Judge
from aha.sampling.http import Programs, Server
from aha.tasks import choice, code_rows, ifeval
from aha.types import AhaError, Outcome

NAMES = sorted({layout.name for layout in LAYOUTS})


def test_all_that_is_sampled_has_a_row_here():
    assert set(NAMES) == {name for name, one in BENCHMARKS.items() if not one.imported}


def letter_of(layout, answer):
    """The letter under which GPQA's options, which have an order of their own, list an answer."""
    options = choice.make_problem(layout.row, 1).metadata["options"]
    return f"Answer: {'ABCD'[options.index(answer)]}"


def answers(side):
    """A model that knows what every question is answered by."""

    def program(messages, seed):
        asked = "\n".join(message["content"] for message in messages)
        for layout in LAYOUTS:
            if asking(layout) in asked:
                said = getattr(layout, side)
                return letter_of(layout, said) if layout.name == "gpqa" else said
        raise AssertionError(f"nobody knows {asked!r}")

    return program


def asking(layout):
    """Words that stand in one question alone."""
    row = layout.row
    if "turn_1_prompt" in row:
        return json.loads(row["turn_1_prompt"])["content"]
    names = ("Problem", "problem", "Question", "question", "Prompt", "prompt", "text", "instruction",
             "question_content", "description", "json_schema", "context")  # fmt: skip
    value = row["turns"] if "turns" in row else next(row[name] for name in names if name in row)
    while not isinstance(value, str):
        value = value[0] if isinstance(value, list) else value["content"]
    return value[:60]


def judge(messages, seed):
    """A judge that knows the right answers of the layouts."""
    parts = prompts.unquote(messages)
    right = {layout.right for layout in LAYOUTS}
    if "answer_a" in parts:
        return (
            f"[[{'A>B' if parts['answer_a'] in right else 'B>A' if parts['answer_b'] in right else 'A>B'}]]"
        )
    good = parts["response"] in right
    return json.dumps({"analysis": "known", "verdict": "correct" if good else "incorrect",
                       "correctness": "correct" if good else "incorrect", "score": 9 if good else 2})  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """One file of rows a benchmark."""
    folder, rows = tmp_path_factory.mktemp("rows"), defaultdict(list)
    for layout in LAYOUTS:
        rows[layout.name].append(json.dumps(layout.row, ensure_ascii=False) + "\n")
    for name, lines in rows.items():
        (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def figures(files, tmp_path_factory):
    """{(model, benchmark): figures} of all, by one command."""
    folder = tmp_path_factory.mktemp("evals")
    programs = {"right": answers("right"), "wrong": answers("wrong"), "judge": judge}
    with Server(Programs(programs)) as server:
        names = [f"{server.url}#{side}" for side in ("right", "wrong")]
        words = [
            "eval",
            *names,
            "--tasks",
            ",".join(NAMES),
            "--data-dir",
            str(files),
            "--k",
            "1",
            "--prompt",
            "boxed",
        ]
        words += ["--results", str(folder), "--judge", f"{server.url}#judge", "--max-tokens", "500", "--json"]
        with redirect_stdout(out := StringIO()):
            assert main(words) == 0
    return {(r["model"].partition("#")[2], r["benchmark"]): r for r in json.loads(out.getvalue())}


@pytest.mark.parametrize("name", NAMES)
def test_a_right_answer_is_right_and_a_wrong_one_wrong(figures, name):
    right, wrong = figures["right", name], figures["wrong", name]
    assert (right["pass@1"], right["lenient"], right["ungradable"]) == (1.0, 1.0, 0.0)
    assert (wrong["pass@1"], wrong["lenient"], wrong["ungradable"]) == (0.0, 0.0, 0.0)
    assert right["problems"] == sum(layout.name == name for layout in LAYOUTS)


REFUSED = [(one.name, row, words) for one in LAYOUTS for row, words in one.refused]


@pytest.mark.parametrize(("name", "row", "words"), REFUSED, ids=[f"{n}-{w}" for n, _, w in REFUSED])
def test_what_cannot_be_graded_is_refused_by_name(name, row, words, tmp_path, capsys):
    """Two such rows among three are too many; the first is told with its reason. Rows that their publisher marks are
    told too, and the others are asked."""
    file = tmp_path / "rows.jsonl"
    good = next(one.row for one in LAYOUTS if one.name == name)
    file.write_text("".join(json.dumps(r) + "\n" for r in (row, row, good)))
    (asked,) = read_names(f"{name}={file}")
    marked = "error_type" in row
    try:
        _, problems, _ = load_problems(asked, None, BenchmarkJudge("mine", Judge(judge)))
        said = capsys.readouterr().err
        assert marked
        assert len(problems) == 1
    except AhaError as error:
        said = str(error)
    assert words in said


def test_a_problem_of_codeforces_is_asked_with_its_forms_and_examples():
    row = next(one.row for one in LAYOUTS if one.name == "codeforces")
    said = code_rows.make_problem(row, 1).messages[0]["content"]
    shown = "Examples:\nInput:\n2 3\nOutput:\n5"
    assert said.startswith(f"Find the sum.\n\nInput:\nTwo whole numbers.\n\nOutput:\nTheir sum.\n\n{shown}\n")


def written(file, *rows):
    """A file of these rows."""
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def test_questions_and_answers_that_lie_apart_are_joined_by_their_names(tmp_path):
    """As BFCL keeps its possible answers, and Arena-Hard both versions of its baseline's."""
    bfcl = next(one.row for one in LAYOUTS if one.name == "bfcl")
    questions = written(tmp_path / "q.json", {k: v for k, v in bfcl.items() if k != "ground_truth"})
    possible = written(tmp_path / "a.json", {"id": bfcl["id"], "ground_truth": bfcl["ground_truth"]})
    (asked,) = read_names(f"bfcl={questions}+{possible}")
    _, (problem,), _ = load_problems(asked, None)
    assert problem.metadata["calls"][0][0] == "triangle_area"

    said = {"index": 0, "turns": [{"content": "Hello!", "token_len": 2}]}
    older = written(
        tmp_path / "1.jsonl", {"question_id": "q1", "cluster": "x", "turns": [{"content": "Say hello."}]}
    )
    answers_of = written(tmp_path / "2.jsonl", {"question_id": "q1", "answer_id": "z", "choices": [said]})
    newer = written(tmp_path / "3.jsonl", {"uid": "u1", "category": "hard_prompt", "prompt": "Say hello."})
    turns = [
        {"role": "user", "content": "Say hello."},
        {"role": "assistant", "content": {"answer": "Hello!"}},
    ]
    messages = written(tmp_path / "4.jsonl", {"uid": "u1", "model": "m", "messages": turns})
    for source in (f"{older}+{answers_of}", f"{newer}+{messages}"):
        (asked,) = read_names(f"arena_hard={source}")
        _, (problem,), _ = load_problems(asked, None, BenchmarkJudge("mine", Judge(judge)))
        assert (problem.messages, problem.answer) == (({"role": "user", "content": "Say hello."},), "Hello!")


def test_a_question_whose_answer_is_missing_is_told(tmp_path):
    bfcl = next(one.row for one in LAYOUTS if one.name == "bfcl")
    questions = written(tmp_path / "q.json", *({**bfcl, "id": name} for name in "abc"))
    possible = written(tmp_path / "a.json", {"id": "a", "ground_truth": []})
    (asked,) = read_names(f"bfcl={questions}+{possible}")
    with pytest.raises(AhaError, match=r"line 2: no row of a\.json has its id b"):
        load_problems(asked, None)
    written(possible, {"name": "a"})
    with pytest.raises(AhaError, match="its rows have none of id, question_id"):
        load_problems(asked, None)
    written(possible, {"id": "a"}, {"id": "a"})
    with pytest.raises(AhaError, match="line 2: id a stands twice"):
        load_problems(asked, None)


def test_rules_of_earlier_turns_hold_in_a_conversation():
    """What was asked for in the first turn is a rule of the last answer."""
    turns = [
        {"role": "user", "content": "From now on write without commas."},
        {"role": "assistant", "content": "I will."},
        {"role": "user", "content": "Name two colours, in small letters."},
    ]
    rules = {
        "instruction_id_list": ["punctuation:no_comma", "change_case:english_lowercase"],
        "kwargs": [{}, {}],
    }
    problem = ifeval.make_problem({"messages": turns, **rules}, 1)
    assert [m["role"] for m in problem.messages] == ["user", "assistant", "user"]
    assert ifeval.verify(problem, "red and blue").outcome is Outcome.CORRECT
    assert ifeval.verify(problem, "red, blue").outcome is Outcome.WRONG
    with pytest.raises(AhaError, match="no prompt, instruction_id_list and kwargs"):
        ifeval.make_problem({"messages": turns[:2], **rules}, 1)


def test_contests_of_some_days_are_asked(files):
    """The paper takes those of 2024-08 to 2025-01."""
    (asked,) = read_names("livecodebench", files)
    days = lambda dates: sorted(p.metadata["date"] for p in load_problems(asked, None, None, dates)[1])  # noqa: E731
    assert days("") == days(BENCHMARKS["livecodebench"].dates) == ["2024-08-11", "2024-09-07"]
    assert days("2024-09:") == ["2024-09-07"]
    assert days(":2024-08") == ["2024-08-11"]
    with pytest.raises(AhaError, match="of 2024-08-11 to 2024-09-07, none lies within"):
        days("2025-02-01:")
    with pytest.raises(AhaError, match="says no date"):
        of_dates(_undated(), "2024-01:")


def _undated():
    return [code_rows.make_problem(next(one.row for one in LAYOUTS if one.name == "codeforces"), 1)]


@pytest.mark.parametrize("text", ["2024", "2024-08", "x:y", ":", "2025-01:2024-08"])
def test_days_that_are_none_are_refused(text):
    with pytest.raises(AhaError, match="--dates"):
        read_dates(text)
