"""Supervised fine-tuning: the loss is on completions only, the schedule is a cosine, a killed run ends the same."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from aha import modeling
from aha.chat import choose
from aha.files import write_jsonl
from aha.runs.pipeline import Context, Stage
from aha.stages.data.conversations import load, to_examples
from aha.stages.supervised import sft
from aha.stages.supervised.sft import SFT
from aha.types import AhaError

TIMES = ("tokens_per_second", "seconds")


class Killed(Exception):
    pass


def row(question, answer, **rest):
    return {
        "messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}],
        **rest,
    }


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "rows.jsonl"
    write_jsonl(
        path,
        [row(f"Add {i} and 2", f"<think>{i}+2={i + 2}.</think> <answer>{i + 2}</answer>") for i in range(24)],
    )
    return str(path)


def stage(checkpoint, rows, **changes):
    settings = {
        "name": "sft", "model": str(checkpoint), "data": (rows,), "prompt": "r1_zero", "epochs": 2, "batch_size": 5,
        "lr": 1e-2, "max_length": 256, "max_tokens_per_batch": 256, "validation_share": 0.1, "save_every": 2,
        "dtype": "float32", "seed": 3,
    }  # fmt: skip
    return SFT.model_validate(settings | changes)


def run(stage, folder, **finals):
    folder.mkdir(exist_ok=True)
    context = Context(folder, plain=True, threads=1, device="cpu")
    context.finals |= finals
    return stage.run(context)


def result(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    plain = [{k: v for k, v in line.items() if k not in TIMES} for line in lines]
    return plain, (folder / "final" / "model.safetensors").read_bytes()


def test_prompt_is_masked_and_the_end_is_trained(tokenizer):
    from aha.data.schemas import read_record

    record, _ = read_record(row("Add 3 and 2", "<think>3+2=5.</think> <answer>5</answer>"), 1)
    (example,), reason = to_examples(record, tokenizer, choose("r1_zero", tokenizer))
    assert not reason
    trained = tokenizer.decode(example.token_ids[example.mask])
    masked = tokenizer.decode(example.token_ids[~example.mask])
    assert trained == " <think>3+2=5.</think> <answer>5</answer>" + tokenizer.eos_token
    assert masked.endswith("User: Add 3 and 2 Assistant:")
    assert example.token_ids[-1] == tokenizer.eos_token_id


def test_the_loss_is_that_of_the_completions_tokens_by_hand(checkpoint, rows, tmp_path):
    """Each conversation alone through transformers, -log p of its completion's tokens, summed, over their number."""
    done = stage(checkpoint, rows, epochs=1, batch_size=64, validation_share=0.0)
    run(done, tmp_path / "a")
    tokenizer = modeling.load_tokenizer(str(checkpoint))
    model = modeling.load_model(str(checkpoint))
    total, count = 0.0, 0
    for example in load([rows], (), None, tokenizer, choose("r1_zero", tokenizer), 256, 3).examples:
        ids = torch.from_numpy(example.token_ids)[None]
        logp = torch.log_softmax(model(ids).logits[0].detach().float(), -1)
        for t in np.flatnonzero(example.mask):
            total -= float(logp[t - 1, ids[0, t]])
            count += 1
    lines, _ = result(tmp_path / "a")
    assert lines[1]["loss"] == pytest.approx(total / count, abs=1e-4)


def test_the_learning_rate_is_a_cosine_to_a_tenth(checkpoint, rows):
    c = stage(checkpoint, rows, lr=5e-5, min_lr_ratio=0.1)
    assert c.lr_at(1, 11) == pytest.approx(5e-5)
    assert c.lr_at(6, 11) == pytest.approx(5e-5 * 0.55)
    assert c.lr_at(11, 11) == pytest.approx(5e-6)
    assert c.lr_at(3, 11) == pytest.approx(5e-5 * (0.1 + 0.9 * 0.5 * (1 + math.cos(0.2 * math.pi))))
    warm = stage(checkpoint, rows, lr=1.0, warmup_steps=4)
    assert warm.lr_at(1, 100) == pytest.approx(0.25)


def test_it_learns_and_reports_what_it_held_out(checkpoint, rows, tmp_path):
    summary = run(stage(checkpoint, rows, epochs=6), tmp_path / "a")
    assert (summary["rows"], summary["held_out"]) == (22, 2)
    assert summary["validation_loss"]["after"] < summary["validation_loss"]["before"] - 0.5
    assert summary["steps"] == 6 * 5
    lines, _ = result(tmp_path / "a")
    assert [line["step"] for line in lines] == list(range(31))
    assert lines[0]["validation_loss"] == summary["validation_loss"]["before"]


def test_stopped_and_resumed_it_ends_the_same(checkpoint, rows, tmp_path, monkeypatch):
    run(stage(checkpoint, rows), tmp_path / "whole")
    step = sft.SFTSession.step
    for kill_at in (1, 4, 5, 10):

        def dies(self, at, kill_at=kill_at):
            if at == kill_at:
                raise Killed
            return step(self, at)

        with monkeypatch.context() as patch:
            patch.setattr(sft.SFTSession, "step", dies)
            with pytest.raises(Killed):
                run(stage(checkpoint, rows), tmp_path / "cut")
    run(stage(checkpoint, rows), tmp_path / "cut")
    assert result(tmp_path / "cut") == result(tmp_path / "whole")


def test_every_epoch_shows_every_row_once_in_another_order(checkpoint, rows, tmp_path):
    (tmp_path / "a").mkdir()
    session = sft.SFTSession(
        stage(checkpoint, rows, validation_share=0.0), Context(tmp_path / "a", plain=True, threads=1)
    )
    epochs = [[id(e) for s in part for e in session.batch_of(s)] for part in (range(1, 6), range(6, 11))]
    assert sorted(epochs[0]) == sorted(epochs[1]) == sorted(id(e) for e in session.train_set)
    assert epochs[0] != epochs[1]


def test_sources_are_mixed_by_their_shares_and_stages_are_inputs(checkpoint, rows, tmp_path):
    more = tmp_path / "written"
    more.mkdir()
    write_jsonl(
        more / "data.jsonl", [row(f"Say {i}", f"<think>x.</think> <answer>{i}</answer>") for i in range(8)]
    )
    other = Stage(name="written")
    c = stage(checkpoint, rows, data=(rows, other), proportions=(1.0, 1.0), epochs=1, validation_share=0.0)
    assert c.inputs() == [other]
    summary = run(c, tmp_path / "a", written=more / "final")
    assert summary["sources"] == {"rows.jsonl": 8, "written": 8}
    with pytest.raises(AhaError, match="2 sources of data but 1 shares"):
        run(
            stage(checkpoint, rows, data=(rows, other), proportions=(1.0,)),
            tmp_path / "b",
            written=more / "final",
        )


@pytest.mark.parametrize("proportions", [(1.0,), (1.0, 1.0, 1.0), (1.0, -1.0), (1.0, 0.0)])
def test_proportions_that_do_not_fit_the_sources_are_told_before_anything_is_trained(
    checkpoint, rows, tmp_path, proportions
):
    c = stage(checkpoint, rows, data=(rows, Stage(name="written")), proportions=proportions)
    with pytest.raises(AhaError, match="for 2 sources of data: give a number above 0 for each"):
        c.check_inputs(Context(tmp_path))


def test_a_changed_file_changes_the_fingerprint(checkpoint, rows):
    before = stage(checkpoint, rows).fingerprint()
    write_jsonl(tmp := __import__("pathlib").Path(rows), [row("Add 1 and 1", "<answer>2</answer>")])
    assert stage(checkpoint, str(tmp)).fingerprint() != before


def test_what_cannot_be_trained_on_is_counted(checkpoint, tmp_path):
    path = tmp_path / "rows.jsonl"
    long = row("Add", "<think>" + "1+1=2. " * 200 + "</think> <answer>2</answer>")
    write_jsonl(
        path, [row("Add 1", "<answer>1</answer>"), long, {"messages": [{"role": "user", "content": "x"}]}]
    )
    summary = run(stage(checkpoint, str(path), validation_share=0.0), tmp_path / "a")
    assert summary["dropped"] == {"too long": 1, "no completion": 1}
    assert summary["rows"] == 1
    write_jsonl(path, [long])
    with pytest.raises(AhaError, match="No conversation of 1 can be trained on"):
        run(stage(checkpoint, str(path)), tmp_path / "b")


@pytest.mark.parametrize(
    ("message", "opened", "turns", "parts"),
    [
        ({"content": "<think>a</think> b"}, False, False, " <think>a</think> b"),
        ({"content": "b", "reasoning": "a"}, False, True, "<think>a</think>b"),
        ({"content": "<think>a</think> b"}, True, True, "a</think> b"),
        ({"content": "b"}, True, True, "\n</think>\n\nb"),
    ],
)
def test_a_completion_continues_its_prompt(message, opened, turns, parts):
    from aha.chat import Rendered, render_completion

    text = "User: x Assistant:" + ("<think>\n" if opened else "")
    rendered = render_completion({"role": "assistant", **message}, Rendered(text, opened, "bare", turns))
    assert rendered == parts


# --- what distillation changes in a model -------------------------------------------------------------------


def test_rope_and_context_are_changed_before_training_and_saved(checkpoint, rows, tmp_path):
    c = stage(
        checkpoint,
        rows,
        epochs=1,
        rope_theta=300_000,
        max_position_embeddings=1024,
        validation_share=0.0,
        lr=1e-9,
    )
    run(c, tmp_path / "a")
    model = modeling.load_model(str(tmp_path / "a" / "final"))
    assert modeling.max_context(model) == 1024
    changed = modeling.load_model(str(checkpoint), changes={"rope_theta": 300_000.0})
    ids = torch.arange(3, 60)[None]
    with torch.no_grad():
        logits, plain = model(ids).logits, modeling.load_model(str(checkpoint))(ids).logits
        assert torch.allclose(logits, changed(ids).logits, atol=1e-4)
    assert not torch.allclose(logits, plain, atol=1e-2), "another base turns the positions otherwise"
    assert stage(checkpoint, rows).fingerprint() != stage(checkpoint, rows, rope_theta=300_000).fingerprint()


def test_adapters_are_trained_alone_merged_and_resumed(checkpoint, rows, tmp_path, monkeypatch):
    peft = pytest.importorskip("peft")
    c = stage(checkpoint, rows, lora_rank=4, epochs=3)
    summary = run(c, tmp_path / "whole")
    assert summary["validation_loss"]["after"] < summary["validation_loss"]["before"] - 0.1
    final = tmp_path / "whole" / "final"
    base = modeling.load_model(str(checkpoint))
    merged, ids = modeling.load_model(str(final)), torch.arange(3, 60)[None]
    with torch.no_grad():
        before = base(ids).logits
        beside = peft.PeftModel.from_pretrained(base, str(final / "adapters"))(ids).logits
        after = merged(ids).logits
    assert torch.allclose(after, beside, atol=1e-4), (
        "merged weights say what the adapters beside the base say"
    )
    assert not torch.allclose(after, before, atol=1e-1)
    untouched = modeling.load_model(str(checkpoint)).state_dict()
    moved = {name for name, value in merged.state_dict().items() if not torch.equal(value, untouched[name])}
    assert moved == {name for name in untouched if name.endswith("_proj.weight")}
    step = sft.SFTSession.step

    def dies(self, at):
        if at == 8:
            raise Killed
        return step(self, at)

    with monkeypatch.context() as patch:
        patch.setattr(sft.SFTSession, "step", dies)
        with pytest.raises(Killed):
            run(c, tmp_path / "cut")
    run(c, tmp_path / "cut")
    assert result(tmp_path / "cut") == result(tmp_path / "whole")
