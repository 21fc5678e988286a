"""Options by log likelihood and examples in the prompt: texts by hand, scores against transformers' own logits."""

from __future__ import annotations

import json

import pytest
import torch

from aha import modeling
from aha.benchmarks import likelihood, opening, session, shots
from aha.benchmarks.catalogue import read_names
from aha.benchmarks.session import Protocol
from aha.chat import choose
from aha.cli import main
from aha.sampling.http import Programs, Server
from aha.sampling.http.model import ModelBackend
from aha.tasks import choice, math_word
from aha.types import AhaError

ROWS = [
    {"question": f"What is {a} + {b}?", "choices": [str(a), str(a + b), str(a * b + 1), "none of them"],
     "answer": "B", "subject": subject}
    for a, b, subject in ((2, 3, "sums"), (4, 7, "sums"), (9, 5, "other_sums"), (6, 8, "sums"))
]  # fmt: skip
PROBLEMS = [choice.make_problem(row, i) for i, row in enumerate(ROWS, 1)]


@pytest.fixture
def rows(tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return file


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return opening.open_model("tiny", tmp_path_factory.mktemp("m"), "auto", "cpu", "float32", 1)


def test_letters_are_asked_as_mmlu_asks_them():
    shown = [shots.SolvedQuestion(PROBLEMS[1])]
    assert likelihood.context(PROBLEMS[0], shown, "letters") == (
        "The following are multiple choice questions (with answers) about sums.\n\n"
        "What is 4 + 7?\nA. 4\nB. 11\nC. 29\nD. none of them\nAnswer: B\n\n"
        "What is 2 + 3?\nA. 2\nB. 5\nC. 7\nD. none of them\nAnswer:"
    )
    assert likelihood.context(PROBLEMS[0], shown, "cloze") == (
        "Question: What is 4 + 7?\nAnswer: 11\n\nQuestion: What is 2 + 3?\nAnswer:"
    )


@pytest.mark.parametrize("form", ["letters", "cloze"])
def test_the_chosen_option_is_the_one_that_the_model_would_write(source, form):
    plain = _plain()
    graded = list(likelihood.grade(source, PROBLEMS, [[]] * 4, form))
    for problem, (record, row) in zip(PROBLEMS, graded, strict=True):
        before = likelihood.context(problem, [], form)
        texts = [likelihood.option(problem, i, form) for i in range(4)]
        values = [_logprob(plain, source.tokenizer, before, f" {text}") for text in texts]
        assert row["logprobs"] == pytest.approx(values, abs=1e-3)
        best = max(range(4), key=lambda i: values[i])
        normed = max(range(4), key=lambda i: values[i] / len(texts[i]))
        (sample,) = record.samples
        assert (sample.ballot, sample.right, sample.lenient) == ("ABCD"[best], best == 1, normed == 1)


def _plain():
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(modeling.EMBEDDED["tiny"], dtype=torch.float32).eval()


def _logprob(model, tokenizer, before, text):
    ids, whole = tokenizer.encode(before), tokenizer.encode(before + text)
    with torch.inference_mode():
        logp = torch.log_softmax(model(torch.tensor([whole])).logits[0], -1)
    return sum(float(logp[i - 1, whole[i]]) for i in range(len(ids), len(whole)))


@pytest.mark.parametrize("form", ["letters", "cloze"])
def test_an_endpoint_scores_as_the_model_behind_it(source, form, tmp_path):
    with Server(ModelBackend(source.engine, source.tokenizer, "tiny")) as server:
        behind = opening.open_model(f"{server.url}#tiny", tmp_path, "bare", "cpu", "float32", 1)
        graded = {r.problem: (r, row) for r, row in likelihood.grade(behind, PROBLEMS, [[]] * 4, form)}
    for record, row in likelihood.grade(source, PROBLEMS, [[]] * 4, form):
        other, said = graded[record.problem]
        assert said["logprobs"] == pytest.approx(row["logprobs"], abs=1e-3)
        assert other.samples[0].ballot == record.samples[0].ballot
        assert other.samples[0].tokens == record.samples[0].tokens


def test_an_endpoint_without_log_probabilities_says_so(tmp_path):
    with Server(Programs({"echo": lambda messages, seed: "x"})) as server:
        behind = opening.open_model(f"{server.url}#echo", tmp_path, "bare", "cpu", "float32", 1)
        with pytest.raises(AhaError, match="completions"):
            list(likelihood.grade(behind, PROBLEMS, [[]] * 4, "letters"))


def test_examples_are_of_the_questions_own_subject_and_never_itself():
    every = [shots.SolvedQuestion(p) for p in PROBLEMS]
    assert [e.problem.id for e in shots.examples_for(PROBLEMS[0], every, 3)] == [
        "choice-2",
        "choice-4",
        "choice-3",
    ]
    assert [e.problem.id for e in shots.examples_for(PROBLEMS[2], every, 1)] == ["choice-1"]
    with pytest.raises(AhaError, match="--shots 4: there are 3"):
        shots.examples_for(PROBLEMS[0], every, 4)


def test_examples_are_turns_answered_where_the_prompt_wants_it(tmp_path):
    file = tmp_path / "train.jsonl"
    file.write_text(
        "".join(
            json.dumps({"question": q, "answer": f"It is {a}.\n#### {a}"}) + "\n"
            for q, a in (("2+2?", 4), ("3+4?", 7))
        )
    )
    every = shots.read_examples("gsm8k", str(file))
    assert [(e.question, e.solution) for e in every] == [
        ("2+2?", "It is 4.\n#### 4"),
        ("3+4?", "It is 7.\n#### 7"),
    ]
    asked = math_word.make_problem({"question": "1+5?", "answer": "6"}, 1)
    tags = shots.with_examples(asked, every[:1], choose("r1_zero"))
    assert tags.messages[1]["content"] == "<think>It is 4.\n#### 4</think> <answer>4</answer>"
    assert [m["role"] for m in tags.messages] == ["user", "assistant", "user"]
    bare = shots.with_examples(asked, every, choose("bare"))
    assert bare.messages[3]["content"] == "It is 7.\n#### 7"


def test_a_scored_benchmark_is_kept_and_goes_on(rows, source, tmp_path):
    (asked,) = read_names(f"choice={rows}")
    protocol = Protocol(1, choice="letters", shots=1, shots_from=str(rows))
    whole = session.run("tiny", source, asked, protocol, tmp_path / "whole")
    assert whole.figures["acc"] == sum(r.samples[0].right for r in whole.records) / 4
    half = tmp_path / "half"
    half.mkdir()
    lines = whole.file.read_bytes().splitlines(keepends=True)
    (half / whole.file.name).write_bytes(lines[0] + lines[1][:30])
    assert session.run("tiny", source, asked, protocol, half).figures == whole.figures


def test_what_has_no_options_or_no_examples_is_refused(source, rows, tmp_path):
    (countdown,) = read_names("countdown")
    with pytest.raises(AhaError, match=r"countdown-.* has none"):
        session.run("tiny", source, countdown, Protocol(1, choice="cloze", problems=2), tmp_path)
    (asked,) = read_names(f"choice={rows}")
    with pytest.raises(AhaError, match="--shots-from FILE"):
        session.run("tiny", source, asked, Protocol(1, shots=2), tmp_path)


def test_a_sweep_over_examples_and_prompts_is_one_table(rows, tmp_path, capsys):
    words = [
        "eval",
        "tiny",
        "--tasks",
        f"choice={rows}",
        "--shots",
        "0,1",
        "--shots-from",
        str(rows),
        "--json",
    ]
    words += [
        "--dtype",
        "float32",
        "--threads",
        "1",
        "--results",
        str(tmp_path / "e"),
        "--markdown",
        str(tmp_path / "t.md"),
    ]
    words += ["--harness-json", str(tmp_path / "h.json")]
    assert main([*words, "--choice", "letters"]) == 0
    table = (tmp_path / "t.md").read_text()
    assert table.startswith("| model | benchmark | shots | acc | acc_norm |")
    assert "tiny (shots 0) and tiny (shots 1)" in table or "better than" in table
    figures = json.loads((tmp_path / "h.json").read_text())["results"]
    assert list(figures) == ["choice_shots=0", "choice_shots=1"], "of a sweep each has its own"
    assert all(one.keys() >= {"acc,none", "acc_norm,none"} for one in figures.values())
    assert main([*words, "--prompts", "r1_zero,bare", "--max-tokens", "8", "--k", "1"]) == 0
    assert (tmp_path / "t.md").read_text().count("| tiny |") == 4
    assert "| prompt | shots |" in (tmp_path / "t.md").read_text()
    capsys.readouterr()


def test_an_option_without_words_is_scored_too(source):
    problem = choice.make_problem({"question": "Say nothing or x?", "choices": ["x", ""], "answer": "A"}, 1)
    ((record, row),) = likelihood.grade(source, [problem], [[]], "cloze")
    assert len(row["logprobs"]) == 2
    assert record.problem == "choice-1"
