"""Schemas in and out, data cards, and the data command."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from aha.cli import main
from aha.data import cards, schemas
from aha.data.sources import read_rows
from aha.tasks import reader_of, rows
from aha.types import AhaError

REAL = Path(__file__).parents[3] / "shared" / "data"
USER, SAID = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}
CASES = {
    "sharegpt": {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
    "messages": {"messages": [USER, SAID]},
    "open-r1": {"problem": "q", "messages": [USER, SAID], "answer": "5", "solution": "s"},
    "open-r1-problem": {"problem": "q", "solution": "a", "answer": "5"},
    "trl-prompt-completion": {"prompt": "q", "completion": "a"},
    "trl-preference": {"prompt": "q", "chosen": "a", "rejected": "b"},
    "trl-prompt": {"prompt": [USER]},
    "trl-text": {"text": "q"},
    "verl": {"prompt": [USER], "reward_model": {"ground_truth": "5"}, "data_source": "gsm"},
    "reasoning-gym": {"question": "q", "answer": "5", "metadata": {"source_dataset": "chain_sum"}},
    "gsm8k": {"question": "q", "answer": "a\n#### 5"},
    "question-answer": {"question": "q", "answer": "5"},
    "rollouts": {"question": "q", "text": "a", "scores": {}, "answer": "5"},
}


@pytest.mark.parametrize("name", list(CASES))
def test_every_schema_is_detected_and_read(name):
    record, schema = schemas.read_record(CASES[name], 1)
    assert schema.name == name
    assert record.prompt[0] == USER
    assert record.rounds == 1
    if name in ("sharegpt", "messages", "open-r1", "trl-prompt-completion", "trl-preference", "rollouts"):
        assert record.messages == (USER, SAID)
    if name in (
        "verl",
        "reasoning-gym",
        "gsm8k",
        "question-answer",
        "open-r1",
        "open-r1-problem",
        "rollouts",
    ):
        assert record.answer == "5"
    assert schemas.describe({name: 3})[0].startswith(f"{name} (3 rows): ")


def test_domains_and_rejected():
    assert schemas.read_record(CASES["verl"], 1)[0].domain == "gsm"
    assert schemas.read_record(CASES["reasoning-gym"], 1)[0].domain == "chain_sum"
    shared = {"chosen": [USER, SAID], "rejected": [USER, {"role": "assistant", "content": "b"}]}
    record, _ = schemas.read_record(shared, 1)
    assert record.rejected == ({"role": "assistant", "content": "b"},)


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content"])
def test_reasoning_is_read_from_either_field_and_written_to_both(name):
    row = {"messages": [USER, {**SAID, name: "because"}]}
    record, _ = schemas.read_record(row, 1)
    out = schemas.convert(record, "messages")["messages"][-1]
    assert out["reasoning"] == out["reasoning_content"] == "because"
    flat = schemas.convert(record, "prompt_completion")["completion"][0]["content"]
    assert flat == "<think>because</think>a"
    assert "because" in record.text


@pytest.mark.parametrize("target", list(schemas.TARGETS))
def test_what_is_written_is_read_again(target):
    source = CASES["trl-preference"] if target == "preference" else CASES["rollouts"]
    record, _ = schemas.read_record(source, 1)
    again, _ = schemas.read_record(schemas.convert(record, target), 1)
    assert again.prompt == record.prompt
    assert again.rejected == record.rejected
    if target not in ("verl", "question_answer"):
        assert again.messages == record.messages
    if target in ("verl", "question_answer", "rollouts"):
        assert again.answer == record.answer


def test_content_in_parts_and_what_is_no_text():
    parts = [{"type": "text", "text": "q"}]
    record, _ = schemas.read_record({"messages": [{"role": "user", "content": parts}]}, 1)
    assert record.messages == (USER,)
    with pytest.raises(
        AhaError, match=r"Row 4 \(messages\) cannot be read: content holds a part of type image_url"
    ):
        schemas.read_record({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, 4)
    with pytest.raises(AhaError, match="role is 'wizard'"):
        schemas.read_record({"messages": [{"role": "wizard", "content": "x"}]}, 1)


def test_errors_name_row_and_columns():
    with pytest.raises(AhaError, match=r"Row 3 fits no schema: its columns are \['foo'\]"):
        schemas.read_record({"foo": 1}, 3)
    record, _ = schemas.read_record(CASES["trl-prompt"], 1)
    with pytest.raises(AhaError, match="Row 9 cannot be written as prompt_completion: it has no completion"):
        schemas.convert(record, "prompt_completion", 9)
    with pytest.raises(AhaError, match="No schema 'xml'"):
        schemas.convert(record, "xml")


@pytest.mark.skipif(not REAL.is_dir(), reason="the real data sets are not beside this checkout")
@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("math/gsm8k_test.jsonl.gz", "gsm8k"),
        ("math/math_train.jsonl.gz", "open-r1-problem"), ("math/cmath.jsonl", "question-answer"),
        ("general/ifeval.jsonl", "trl-prompt"), ("code/humaneval.jsonl", "trl-prompt"),
    ],
)  # fmt: skip
def test_real_files_are_recognised(file, name):
    rows = read_rows(str(REAL / file))[:200]
    assert schemas.read_records(rows)[1] == {name: len(rows)}


# --- cards and the command -----------------------------------------------------------------------------


def write(path, rows):
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows), encoding="utf-8")
    return str(path)


def test_a_card_says_what_is_in_the_file(tmp_path):
    path = tmp_path / "out.jsonl"
    steps = [cards.Filter("near copies", 5, 2, {"equal": 1, "near": 2})]
    card = cards.write_data(
        path, [{"a": 1}, {"b": "é"}], [cards.DataSource("in.jsonl", 5, "messages", "ab")], steps
    )
    text = card.read_text(encoding="utf-8")
    assert card.name == "out.card.md"
    assert "rows: 2" in text
    assert hashlib.sha256(path.read_bytes()).hexdigest() in text
    assert "near copies: 5 -> 2 (equal: 1; near: 2)" in text
    assert "`in.jsonl`: 5 rows, messages, sha256 `ab`" in text
    assert [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] == [
        {"a": 1},
        {"b": "é"},
    ]


def test_stats(tmp_path, capsys):
    rows = [{**CASES["messages"], "domain": "math"}, {**CASES["messages"], "domain": "code"}]
    assert main(["data", "stats", write(tmp_path / "a.jsonl", rows)]) == 0
    out = capsys.readouterr().out
    assert "messages (2 rows): messages -> messages" in out
    assert "total" in out
    assert main(["data", "stats", str(tmp_path / "a.jsonl"), "--json"]) == 0
    stats = json.loads(capsys.readouterr().out)
    assert stats["domains"][-1] == {"domain": "total", "samples": 2, "mean_tokens": 2.0, "mean_rounds": 1.0}


def test_dedup_and_decontaminate(tmp_path, capsys):
    long = "one two three four five six seven eight nine ten eleven"
    rows = [{"question": q, "answer": "5"} for q in ("What is 2+3?", "what is 2 + 3", f"{long} twelve?")]
    source, out = write(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl"
    assert main(["data", "dedup", source, "--output", str(out)]) == 0
    assert len(read_rows(str(out))) == 2
    assert "1 equal and 0 near copies dropped, 2 kept" in capsys.readouterr().out
    evaluation = write(tmp_path / "eval.jsonl", [{"question": long, "answer": "1"}])
    assert main(["data", "decontaminate", source, "--against", evaluation, "--output", str(out)]) == 0
    assert len(read_rows(str(out))) == 2
    assert "eval.jsonl: 1" in (tmp_path / "out.card.md").read_text()


def test_convert_with_quotas(tmp_path, capsys):
    rows = [{**CASES["gsm8k"], "domain": d} for d in ["math"] * 6 + ["code"] * 2]
    out = tmp_path / "out.jsonl"
    source = write(tmp_path / "in.jsonl", rows)
    assert (
        main(
            ["data", "convert", source, "--to", "messages", "--quotas", "math:1,code:1", "--output", str(out)]
        )
        == 0
    )
    converted = read_rows(str(out))
    assert [r["domain"] for r in converted] == ["math", "math", "code", "code"]
    assert converted[0]["answer"] == "5"
    assert main(["data", "convert", source, "--to", "preference", "--output", str(out)]) == 1
    assert "no rejected completion" in capsys.readouterr().err


def test_readable_and_difficulty(tmp_path, capsys):
    good = {"messages": [USER, {"role": "assistant", "content": "<think>I add both now.</think>5"}]}
    bad = {"messages": [USER, {"role": "assistant", "content": "<think>I add 然后我们再试一次看看</think>5"}]}
    out = tmp_path / "out.jsonl"
    assert main(["data", "readable", write(tmp_path / "in.jsonl", [good, bad]), "--output", str(out)]) == 0
    assert read_rows(str(out)) == [good]
    assert "mixed language" in capsys.readouterr().out
    values = (("a", 1), ("a", 0), ("b", 1))
    rolled = [{**CASES["rollouts"], "problem_id": p, "scores": {"accuracy": {"value": v}}} for p, v in values]
    assert main(["data", "difficulty", write(tmp_path / "r.jsonl", rolled), "--output", str(out)]) == 0
    assert read_rows(str(out)) == [{"problem_id": "a", "question": "q", "answer": "5", "pass_rate": 0.5}]


def test_difficulty_keeps_what_a_problem_is_graded_by(tmp_path, capsys):
    sources = {
        "choice": [{"question": "Which?", "choices": ["one", "two"], "answer": 1, "subject": "art"}],
        "math": [{"problem": "Add.", "level": "Level 3", "type": "Algebra", "solution": "\\boxed{5}"},
                 {"question": "q", "answer": ["1/2", "0.5"]}],
        "code": [{"question": "Double.", "input_output": {"inputs": [[1]], "outputs": [[2]], "fn_name": "f"}}],
    }  # fmt: skip
    for name, records in sources.items():
        source = write(tmp_path / f"{name}.jsonl", records)
        rolled = []
        for problem in rows.read(source, reader_of(name), name).problems:
            for member, value in enumerate((1, 0)):
                row = {
                    "problem_id": problem.id,
                    "scores": {"accuracy": {"value": value}},
                    "text": "t",
                    "answer": None,
                }
                rolled.append(row | ({"problem": rows.as_row(problem)} if member == 0 else {}))
        file = write(tmp_path / "rolled.jsonl", rolled)
        out = tmp_path / "out.jsonl"
        assert main(["data", "difficulty", file, "--output", str(out)]) == 0
        assert len(read_rows(str(out))) == len(records)
        before, after = (rows.read(path, reader_of(name), name) for path in (source, str(out)))
        assert not after.aside
        for old, new in zip(before.problems, after.problems, strict=True):
            assert (new.answer, new.language) == (old.answer, old.language)
            for key in ("answers", "options", "domain"):
                assert new.metadata.get(key) == old.metadata.get(key)
            assert new.metadata["level"] == old.metadata.get("level", 0.5)
        whole = tmp_path / "whole.jsonl"
        assert main(["data", "difficulty", file, "--data", source, "--output", str(whole)]) == 0
        assert read_rows(str(whole)) == [{**row, "pass_rate": 0.5} for row in records]


def test_difficulty_says_what_it_cannot_keep(tmp_path, capsys):
    rolled = [{"problem_id": "code-9", "question": "q", "scores": {"accuracy": {"value": v}}} for v in (0, 1)]
    out = str(tmp_path / "out.jsonl")
    assert main(["data", "difficulty", write(tmp_path / "r.jsonl", rolled), "--output", out]) == 0
    assert "1 of them have no reference answer" in capsys.readouterr().out
    source = write(tmp_path / "s.jsonl", [{"question": "q", "answer": "1"}])
    assert main(["data", "difficulty", str(tmp_path / "r.jsonl"), "--data", source, "--output", out]) == 1
    assert "has no row for the problem code-9" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["dedup", "missing.jsonl", "--output", "x.jsonl"], "No data file"),
        (["convert", "FILE", "--to", "xml", "--output", "OUT"], "No schema 'xml'"),
        (["dedup", "FILE", "--columns", "nope", "--output", "OUT"], "No column 'nope'"),
        (["convert", "FILE", "--to", "messages", "--total", "5", "--output", "OUT"], "Give --quotas too"),
        (["difficulty", "FILE", "--output", "OUT"], "no problem_id"),
    ],
)
def test_errors_of_the_command(tmp_path, capsys, arguments, words):
    names = {"FILE": write(tmp_path / "in.jsonl", [CASES["gsm8k"]]), "OUT": str(tmp_path / "out.jsonl")}
    assert main(["data", *(names.get(a, a) for a in arguments)]) == 1
    assert words in capsys.readouterr().err
