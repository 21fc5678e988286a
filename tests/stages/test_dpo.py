"""Preference optimisation: rows of every layout, what is refused and counted, a reference asked once, the same end
after a kill, and probability that moves from the rejected to the chosen."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from aha import aside, modeling
from aha.chat import choose
from aha.cli import main
from aha.data.schemas import read_record
from aha.files import read_jsonl, write_jsonl
from aha.runs.pipeline import Context
from aha.stages.supervised import reward_model
from aha.stages.supervised.dpo import DPO, REFERENCE, DPOSession
from aha.stages.supervised.preference_rows import (
    mismatched,
    question_of,
    read_preferences,
    split_by_question,
    to_rows,
)
from aha.types import AhaError

TIMES = ("tokens_per_second", "seconds")


class Killed(Exception):
    pass


def pair(i, **rest):
    chosen, rejected = (
        f"<think>{i}+2={i + 2}.</think> <answer>{i + 2}</answer>",
        f"<answer>it is {i + 7}</answer>",
    )
    return {"prompt": f"Add {i} and 2", "chosen": chosen, "rejected": rejected} | rest


def label(i, good):
    row = pair(i)
    return {"prompt": row["prompt"], "completion": row["chosen" if good else "rejected"], "label": good}


@pytest.fixture
def pairs(tmp_path):
    write_jsonl(path := tmp_path / "pairs.jsonl", [pair(i) for i in range(12)])
    return str(path)


@pytest.fixture
def labels(tmp_path):
    write_jsonl(path := tmp_path / "labels.jsonl", [label(i, i % 2 == 0) for i in range(16)])
    return str(path)


def stage(checkpoint, rows, **changes):
    settings = {
        "name": "dpo", "model": str(checkpoint), "data": (rows,), "prompt": "r1_zero", "epochs": 2, "batch_size": 4,
        "lr": 3e-3, "max_length": 256, "max_tokens_per_batch": 256, "validation_share": 0.1, "save_every": 2,
        "dtype": "float32", "seed": 3,
    }  # fmt: skip
    return DPO.model_validate(settings | changes)


def run(stage, folder, **finals):
    folder.mkdir(exist_ok=True)
    context = Context(folder, plain=True, threads=1, device="cpu")
    context.finals |= finals
    return stage.run(context)


def result(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    plain = [{k: v for k, v in line.items() if k not in TIMES} for line in lines]
    return plain, (folder / "final" / "model.safetensors").read_bytes()


# --- rows ------------------------------------------------------------------------------------------------

ASK = [{"role": "user", "content": "Add 3 and 2"}]
YES, NO = ([{"role": "assistant", "content": text}] for text in ("<answer>5</answer>", "<answer>6</answer>"))
LAYOUTS = {
    "texts": {"prompt": "Add 3 and 2", "chosen": "<answer>5</answer>", "rejected": "<answer>6</answer>"},
    "conversations": {"prompt": ASK, "chosen": YES, "rejected": NO},
    "implicit prompt": {"chosen": [*ASK, *YES], "rejected": [*ASK, *NO]},
    "UltraFeedback, binarized": {"prompt": "Add 3 and 2", "chosen": [*ASK, *YES], "rejected": [*ASK, *NO],
                                 "score_chosen": 9.0, "score_rejected": 2.0, "messages": [*ASK, *YES]},
    "UltraFeedback": {"instruction": "Add 3 and 2", "completions": [
        {"response": "<answer>6</answer>", "overall_score": 2.0},
        {"response": "<answer>5</answer>", "overall_score": 8.5}]},
    "HH-RLHF": {"chosen": "\n\nHuman: Add 3 and 2\n\nAssistant: <answer>5</answer>",
                "rejected": "\n\nHuman: Add 3 and 2\n\nAssistant: <answer>6</answer>"},
    "of our stages": {"prompt": ASK, "chosen": YES, "rejected": NO, "margin": 2.0, "problem_id": "p1"},
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_pairs_of_every_layout(tokenizer, layout):
    record, _ = read_record(LAYOUTS[layout], 1)
    (row,), dropped = to_rows([record], tokenizer, choose("r1_zero", tokenizer), True, 256)
    assert not dropped
    chosen, rejected = row.examples
    texts = [tokenizer.decode(e.token_ids[e.mask]) for e in row.examples]
    assert texts == [f" <answer>{n}</answer>{tokenizer.eos_token}" for n in (5, 6)]
    assert row.labels == (1.0, 0.0)
    assert chosen.prompt_length == rejected.prompt_length == int((~chosen.mask).sum())
    assert tokenizer.decode(chosen.token_ids[~chosen.mask]).endswith("User: Add 3 and 2 Assistant:")


@pytest.mark.parametrize(("value", "good"), [(True, 1.0), (False, 0.0), (1, 1.0), (0, 0.0)])
def test_labelled_completions(tokenizer, value, good):
    row = {"prompt": "Add 3 and 2", "completion": "<answer>5</answer>", "label": value}
    record, _ = read_record(row, 1)
    (row,), _ = to_rows([record], tokenizer, choose("r1_zero", tokenizer), False, 256)
    assert row.labels == (good,)
    pair_record, _ = read_record(LAYOUTS["texts"], 1)
    two, _ = to_rows([pair_record], tokenizer, choose("r1_zero", tokenizer), False, 256)
    assert [r.labels for r in two] == [(1.0,), (0.0,)], "a pair is a desirable and an undesirable completion"


def test_what_cannot_be_used_is_counted_by_reason(checkpoint, tmp_path):
    long = "<think>" + "1+1=2. " * 200 + "</think>"
    rows = [pair(1), pair(2), pair(3, rejected=pair(3)["chosen"]), pair(4, chosen=long)]
    write_jsonl(path := tmp_path / "rows.jsonl", rows)
    summary = run(stage(checkpoint, str(path), validation_share=0.0), tmp_path / "a")
    assert summary["dropped"] == {"chosen and rejected are the same": 1, "too long": 1}
    assert (summary["rows"], summary["sources"]) == (2, {"rows.jsonl": 4})
    write_jsonl(path, rows[2:])
    with pytest.raises(AhaError, match="No row of 2 can be trained on"):
        run(stage(checkpoint, str(path)), tmp_path / "b")


def test_rows_without_a_pair_are_set_aside_and_labels_need_kto(tmp_path, labels, capsys):
    write_jsonl(path := tmp_path / "mixed.jsonl", [*(pair(i) for i in range(40)), label(1, True)])
    records, counts = read_preferences([str(path)], True)
    assert (len(records), list(counts.values())) == (40, [40])
    assert "1 of 41 rows set aside (1 it has no chosen and rejected answer)" in capsys.readouterr().err
    assert len(read_preferences([str(path)], False)[0]) == 41
    with pytest.raises(AhaError, match="take --loss kto"):
        read_preferences([labels], True)
    write_jsonl(path, [{"messages": [*ASK, *YES]}] * 4)
    with pytest.raises(AhaError, match="neither a label nor a chosen") as told:
        read_preferences([str(path)], False)
    assert f"aha data check {path}. " in str(told.value), "a command that can be given"


@pytest.mark.parametrize("kind", ["pairs", "helpful", "safety"])
def test_rows_without_a_preference_are_told_by_their_line(tmp_path, kind):
    """Also behind a row that could not be read."""
    good = label(1, True) if kind == "safety" else pair(1)
    write_jsonl(path := tmp_path / "rows.jsonl", [{"nothing": 1}, good, good, {"messages": [*ASK, *YES]}])
    with aside.settings(share=0.9, folder=tmp_path, say=lambda text: None):
        if kind == "pairs":
            read_preferences([str(path)], True)
        else:
            reward_model.judged(kind, [str(path)])
    told = [read_jsonl(file) for file in sorted((tmp_path / "set_aside").iterdir())]
    assert [[row["where"] for row in rows] for rows in told] == [["line 1"], ["line 4"]]


def test_held_out_are_questions_and_not_rows(tokenizer):
    records = [read_record(pair(i // 3), 1)[0] for i in range(30)]
    rows, _ = to_rows(records, tokenizer, choose("r1_zero", tokenizer), True, 256)
    train, held_out = split_by_question(rows, 0.2, 0)
    assert (len(train), len(held_out)) == (24, 6)
    assert not {r.key for r in train} & {r.key for r in held_out}


@pytest.mark.parametrize("split", [reward_model.split_by_problem, None])
def test_one_question_under_two_ids_is_held_out_whole(tokenizer, split):
    """Two files name one question differently, and give one id to different questions."""
    records = [read_record({**pair(i % 10), "problem_id": f"{i // 10}-{i}"}, 1)[0] for i in range(20)]
    if split is None:
        rows, _ = to_rows(records, tokenizer, choose("r1_zero", tokenizer), True, 256)
        sides = [{row.key for row in side} for side in split_by_question(rows, 0.3, 0)]
    else:
        sides = [{str(row.prompt) for row in side} for side in split(records, 0.3, 0)]
    assert (len(sides[0]), len(sides[1])) == (7, 3)
    assert not sides[0] & sides[1]
    same = [read_record({**pair(i), "problem_id": "1"}, 1)[0] for i in range(10)]
    assert len(to_rows(same, tokenizer, choose("r1_zero", tokenizer), True, 256)[0]) == 10
    assert len({question_of(record) for record in same}) == 10


def test_a_mismatch_is_another_questions_completion(tokenizer):
    records = [read_record(pair(i), 1)[0] for i in range(5)]
    rows, _ = to_rows(records, tokenizer, choose("r1_zero", tokenizer), False, 256)
    pairs = mismatched(rows, 256, seed=0)
    said = {tokenizer.decode(e.token_ids[e.mask]): row.key for row in rows for e in row.examples}
    for row in pairs:
        own = row.examples[0]
        assert row.mismatch.prompt_length == own.prompt_length
        assert (row.mismatch.token_ids[: own.prompt_length] == own.token_ids[: own.prompt_length]).all()
        assert said[tokenizer.decode(row.mismatch.token_ids[row.mismatch.mask])] != row.key
    assert [r.mismatch for r in mismatched(rows[:2], 256, 0)] == [None, None], "one question has no other"


# --- settings --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"loss": "ipo", "label_smoothing": 0.1}, "ipo has no label_smoothing"),
        ({"loss": "kto", "length_normalized": True}, "kto has no length_normalized"),
        ({"loss": "orpo", "reference": "tiny"}, "orpo has no reference"),
        ({"reference": "tiny"}, "another vocabulary"),
        ({"context_parallel_size": 2}, "a preference loss needs each whole"),
    ],
)
def test_settings_that_do_not_go_together(checkpoint, pairs, tmp_path, changes, words):
    with pytest.raises(AhaError, match=words):
        stage(checkpoint, pairs, **changes).check_inputs(Context(tmp_path, device="cpu"))


def test_a_pair_that_fits_no_pass_is_explained(checkpoint, pairs, tmp_path):
    with pytest.raises(AhaError, match=r"Raise dpo\.max_tokens_per_batch"):
        run(stage(checkpoint, pairs, max_tokens_per_batch=30), tmp_path / "a")


# --- training --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [{}, {"loss": "ipo", "beta": 1.0}, {"loss": "orpo", "beta": 1.0}, {"loss": "simpo"}, {"loss": "kto", "beta": 0.5}],
    ids=lambda changes: changes.get("loss", "dpo"),
)  # fmt: skip
def test_probability_moves_from_rejected_to_chosen(checkpoint, pairs, tmp_path, changes):
    """Of completions that were never trained on, too: what tells them apart is how they begin."""
    summary = run(stage(checkpoint, pairs, epochs=4, validation_share=0.2, **changes), tmp_path / "a")
    loss = summary["validation_loss"]
    assert loss["after"] < loss["before"]
    lines, _ = result(tmp_path / "a")
    first, last = (lines[i]["logps/chosen"] - lines[i]["logps/rejected"] for i in (1, -1))
    assert last > first + 2
    assert lines[-1]["rewards/margins"] > lines[1]["rewards/margins"]
    assert lines[-1]["validation_rewards/margins"] > lines[0]["validation_rewards/margins"]


def test_the_reference_is_the_model_as_it_started(checkpoint, pairs, tmp_path):
    """By transformers alone: sums of log probabilities; the first step's loss is then log 2, and its rewards 0."""
    run(stage(checkpoint, pairs, validation_share=0.0, epochs=1), tmp_path / "a")
    tokenizer, model = modeling.load_tokenizer(str(checkpoint)), modeling.load_model(str(checkpoint))
    records = [read_record(pair(i), 1)[0] for i in range(12)]
    rows, _ = to_rows(records, tokenizer, choose("r1_zero", tokenizer), True, 256)
    kept = read_jsonl(tmp_path / "a" / REFERENCE)
    for row, line in zip(rows, kept, strict=True):
        for example, logp in zip(row.examples, line["logps"], strict=True):
            ids = torch.from_numpy(example.token_ids)[None]
            with torch.no_grad():
                table = torch.log_softmax(model(ids).logits[0, :-1].double(), -1)
            expected = table.gather(1, ids[0, 1:, None])[example.mask[1:], 0].sum()
            assert logp == pytest.approx(float(expected), abs=1e-3)
    lines, _ = result(tmp_path / "a")
    assert lines[1]["loss"] == pytest.approx(np.log(2), abs=1e-5)
    assert lines[1]["rewards/margins"] == pytest.approx(0.0, abs=1e-4)


def test_another_checkpoint_is_the_reference(checkpoint, pairs, tmp_path):
    tuned = run(stage(checkpoint, pairs), tmp_path / "first")
    assert tuned["steps"] > 0
    final = str(tmp_path / "first" / "final")
    run(stage(final, pairs, reference=str(checkpoint), epochs=1), tmp_path / "second")
    lines, _ = result(tmp_path / "second")
    assert lines[1]["rewards/margins"] > 0.1, "it begins where the first one ended, seen from the start"
    asked = [
        [line["logps"] for line in read_jsonl(tmp_path / name / REFERENCE)] for name in ("first", "second")
    ]
    assert asked[0] == [pytest.approx(row, abs=1e-3) for row in asked[1]]


@pytest.mark.parametrize("loss", ["dpo", "kto"])
def test_stopped_and_resumed_it_ends_the_same(checkpoint, pairs, tmp_path, monkeypatch, loss):
    c = stage(checkpoint, pairs, loss=loss)
    run(c, tmp_path / "whole")
    step = DPOSession.step
    asked = []
    reference = DPOSession._reference
    monkeypatch.setattr(DPOSession, "_reference", lambda self: asked.append(1) or reference(self))
    for kill_at in (1, 4, 5):

        def dies(self, at, kill_at=kill_at):
            if at == kill_at:
                raise Killed
            return step(self, at)

        with monkeypatch.context() as patch:
            patch.setattr(DPOSession, "step", dies)
            with pytest.raises(Killed):
                run(c, tmp_path / "cut")
    run(c, tmp_path / "cut")
    assert result(tmp_path / "cut") == result(tmp_path / "whole")
    assert asked == [1], "the reference was asked before the first kill, and never again"


def test_a_reference_that_was_cut_off_goes_on(checkpoint, pairs, tmp_path, monkeypatch):
    from aha.training import reference

    monkeypatch.setattr(reference, "PART", 4)
    run(stage(checkpoint, pairs), tmp_path / "whole")
    lines = (tmp_path / "whole" / REFERENCE).read_text().splitlines(keepends=True)
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / REFERENCE).write_text("".join(lines[:6]) + lines[6][:20])  # torn in the second part
    sums = []
    real = reference.sequence_logprobs
    monkeypatch.setattr(reference, "sequence_logprobs", lambda *a: sums.append(len(a[1])) or real(*a))
    run(stage(checkpoint, pairs), tmp_path / "cut")
    assert sums[:2] == [8, 8], "the first part of four pairs was there"
    assert (tmp_path / "cut" / REFERENCE).read_text() == "".join(lines)
    assert result(tmp_path / "cut") == result(tmp_path / "whole")


def test_the_reference_of_other_rows_is_computed_anew(checkpoint, pairs, tmp_path):
    run(stage(checkpoint, pairs, epochs=1), tmp_path / "a")
    (tmp_path / "b").mkdir()
    lines = read_jsonl(tmp_path / "a" / REFERENCE)
    wrong = [line | {"checksum": line["checksum"] ^ 1, "logps": [0.0, 0.0]} for line in lines]
    write_jsonl(tmp_path / "b" / REFERENCE, wrong)
    run(stage(checkpoint, pairs, epochs=1), tmp_path / "b")
    assert read_jsonl(tmp_path / "b" / REFERENCE) == lines


def test_passes_of_another_size_change_nothing(checkpoint, pairs, tmp_path):
    results = []
    for size in (160, 4096):
        run(stage(checkpoint, pairs, max_tokens_per_batch=size, epochs=1), tmp_path / str(size))
        results.append(result(tmp_path / str(size))[0])
    for small, large in zip(*results, strict=True):
        assert small.keys() == large.keys()
        for key in small:
            assert small[key] == pytest.approx(large[key], rel=1e-3, abs=1e-3), key
    assert (
        stage(checkpoint, pairs).fingerprint()
        == stage(checkpoint, pairs, max_tokens_per_batch=160).fingerprint()
    )


def test_labels_alone_teach(checkpoint, labels, tmp_path):
    summary = run(stage(checkpoint, labels, loss="kto", beta=0.5, epochs=4), tmp_path / "a")
    assert summary["dropped"] == {}
    lines, _ = result(tmp_path / "a")
    assert all(line["kl"] >= 0 for line in lines[1:])
    assert lines[-1]["loss"] < 0.4 < lines[1]["loss"] == pytest.approx(0.5, abs=1e-4)


def test_adapters_are_trained_alone_and_the_base_is_the_reference(checkpoint, pairs, tmp_path):
    pytest.importorskip("peft")
    run(stage(checkpoint, pairs, lora_rank=4, lr=1e-2, epochs=4), tmp_path / "a")
    lines, _ = result(tmp_path / "a")
    assert lines[1]["loss"] == pytest.approx(np.log(2), abs=1e-5)
    assert lines[-1]["rewards/margins"] > 0.2
    merged = modeling.load_model(str(tmp_path / "a" / "final")).state_dict()
    before = modeling.load_model(str(checkpoint)).state_dict()
    moved = {name for name, value in merged.items() if not torch.equal(value, before[name])}
    assert moved == {name for name in before if name.endswith("_proj.weight")}


# --- command and Python ----------------------------------------------------------------------------------


def test_the_command(checkpoint, pairs, tmp_path, capsys):
    small = [
        "dpo.batch_size=4",
        "dpo.max_length=256",
        "--plain",
        "--threads",
        "1",
        "--runs-dir",
        str(tmp_path),
    ]
    words = ["dpo", str(checkpoint), "--data", pairs, "--loss", "simpo", "dpo.validation_share=0.2", *small]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "Chosen before rejected" in said
    assert f"Next     aha chat {tmp_path / 'dpo' / 'dpo' / 'final'}" in said
    settings = json.loads((tmp_path / "dpo" / "config.json").read_text())["stages"]["dpo"]
    assert (settings["model"], settings["data"], settings["loss"]) == (str(checkpoint), [pairs], "simpo")
    assert main(["dpo", "one", "two", "--data", pairs]) == 1
    assert "Which is the model: one, two?" in capsys.readouterr().err
    assert main(["dpo"]) == 1
    assert "aha dpo FILE" in capsys.readouterr().err


def test_from_python(checkpoint, tmp_path):
    import aha

    done = aha.dpo([pair(i) for i in range(8)], model=str(checkpoint), loss="ipo", batch_size=4, max_length=256,
                   runs_dir=tmp_path, threads=1)  # fmt: skip
    assert done.summary["objective"] == "ipo"
    assert done.summary["steps"] == 2
    card = (tmp_path / "dpo/dpo/final/README.md").read_text()
    assert card.startswith("# `")
    assert "preference optimisation, loss ipo, 1 epochs, 2 steps" in card
