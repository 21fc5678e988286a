"""Sequence classifiers as reward models: equal to transformers' own forward, and a row's score the row's alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from aha.runs.pipeline import Context
from aha.stages.supervised.scorers import SeveralScorers, open_scorer
from aha.training.classifier import Classifier, check_classifier, is_classifier, load_classifier
from aha.types import AhaError

TEMPLATE = (
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
ASKED = ({"role": "user", "content": "1 + 2?"},)
SAID = ["3", "It is 3.", "I think that 1 + 2 = 3, but it may be 4.", "4"]


def save(folder, tokenizer, family="llama", labels=1, pad=True, template=TEMPLATE, seed=0):
    """A random classifier of a stock family in a folder."""
    from transformers import BertConfig, LlamaConfig, Qwen2Config

    small = {"vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
             "num_attention_heads": 4, "num_key_value_heads": 2,
             "max_position_embeddings": 128, "initializer_range": 0.3, "num_labels": labels,
             "pad_token_id": tokenizer.pad_token_id if pad else None}  # fmt: skip
    kind = {"llama": LlamaConfig, "qwen2": Qwen2Config, "bert": BertConfig}[family]
    torch.manual_seed(seed)
    model = AutoModelForSequenceClassification.from_config(kind(**small)).eval()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    if template:
        (folder / "chat_template.jinja").write_text(template)
    return str(folder)


def by_transformers(folder, texts):
    """Each conversation alone through transformers' own forward."""
    model, tokenizer = (
        kind.from_pretrained(folder) for kind in (AutoModelForSequenceClassification, AutoTokenizer)
    )
    scores = []
    for text in texts:
        whole = [*ASKED, {"role": "assistant", "content": text}]
        text = tokenizer.apply_chat_template(whole, tokenize=False)
        ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")
        with torch.no_grad():
            scores.append(float(model.eval()(input_ids=ids["input_ids"]).logits[0, 0]))
    return scores


@pytest.mark.parametrize("family", ["llama", "qwen2"])
@pytest.mark.parametrize("pad", [True, False])
def test_equal_to_transformers_and_to_itself_in_any_batch(tmp_path, tokenizer, family, pad):
    folder = save(tmp_path / family, tokenizer, family, pad=pad)
    assert is_classifier(folder)
    classifier = load_classifier(folder)
    rows = [classifier.encode(ASKED, text) for text in SAID]
    alone = classifier.score(rows)
    np.testing.assert_allclose(alone, by_transformers(folder, SAID), atol=1e-5)
    assert len({round(x, 3) for x in alone}) == 4, "the scores differ, so that a mistake would show"
    assert (classifier.score(rows[::-1])[::-1] == alone).all(), "bit for bit, whatever is beside it"
    for budget in (40, 60, 1000):
        np.testing.assert_allclose(classifier.score(rows, budget), alone, atol=1e-5)
    assert len(list(classifier._batches([len(r) for r in rows], 1000))) == 1, "padded together"


def test_an_encoder_reads_a_pair_and_rows_of_one_length(tmp_path, tokenizer):
    folder = save(tmp_path / "bert", tokenizer, "bert", template="")
    classifier = load_classifier(folder)
    rows = [classifier.encode(ASKED, text) for text in ("3", "4", "It is 3.")]
    assert rows[0] == tokenizer("1 + 2?", "3")["input_ids"]
    assert [len(b) for b in classifier._batches([len(r) for r in rows], 1000)] == [2, 1]
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        expected = [float(model(input_ids=torch.tensor([r])).logits[0, 0]) for r in rows]
    np.testing.assert_allclose(classifier.score(rows, 1000), expected, atol=1e-5)


def test_several_outputs_need_a_name(tmp_path, tokenizer):
    folder = save(tmp_path / "two", tokenizer, labels=2)
    with pytest.raises(AhaError, match=r"has 2 outputs \(LABEL_0, LABEL_1\): which is the score\?"):
        check_classifier(folder)
    rows = [load_classifier(f"{folder}@LABEL_1").encode(ASKED, SAID[0])]
    one, other = (load_classifier(f"{folder}@{name}").score(rows)[0] for name in ("LABEL_1", "0"))
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        np.testing.assert_allclose([other, one], model(input_ids=torch.tensor(rows)).logits[0], atol=1e-5)


def test_what_is_no_trained_reward_model_is_refused(tmp_path, tokenizer, checkpoint):
    assert not is_classifier(str(checkpoint))
    with pytest.raises(AhaError, match=r"lacks score.weight: it is no trained classifier"):
        load_classifier(str(checkpoint))
    with pytest.raises(AhaError, match="has no chat template"):
        load_classifier(save(tmp_path / "bare", tokenizer, template=""))
    broken = load_classifier(save(tmp_path / "nan", tokenizer))
    broken.model.score.weight.data[:] = float("nan")
    with pytest.raises(AhaError, match="a score that is not finite"):
        broken.score([[1, 2]])


def test_a_scorer_reads_the_summary_or_all_and_is_brought_to_a_unit(tmp_path, tokenizer):
    folder = save(tmp_path / "rm", tokenizer)
    context = Context(tmp_path, dtype="float32")
    text = "<think>long</think> <answer>It is 3.</answer>"
    helpful, safety = (open_scorer(folder, context, kind, "raw") for kind in ("helpful", "safety"))
    assert helpful.scores(ASKED, [text]) == helpful.raw(ASKED, ["<answer>It is 3.</answer>"])
    assert safety.scores(ASKED, [text]) == [
        safety.classifier.score([safety.classifier.encode(ASKED, text)])[0]
    ]
    assert safety.scores(ASKED, [text]) != helpful.scores(ASKED, [text])
    unit = open_scorer(folder, context, "helpful", "unit")
    raw = unit.raw(ASKED, SAID)
    assert unit.calibrate(raw) == {"mean": np.mean(raw), "std": np.std(raw), "n": 4}
    expected = 1 / (1 + np.exp(-(np.array(raw) - np.mean(raw)) / np.std(raw)))
    np.testing.assert_allclose(unit.scores(ASKED, SAID), expected, atol=1e-9)
    assert unit.scores(ASKED, ["<think>a</think>", "3 " * 200]) == [0.0, None], "silent, and too long"
    other = open_scorer(save(tmp_path / "other", tokenizer, "qwen2", seed=5), context, "helpful", "raw")
    both = open_scorer((folder, str(tmp_path / "other")), context, "helpful", "raw")
    assert isinstance(both, SeveralScorers)
    mean = (np.array(helpful.raw(ASKED, SAID)) + np.array(other.raw(ASKED, SAID))) / 2
    np.testing.assert_allclose(both.scores(ASKED, SAID), mean)
    assert both.scores(ASKED, ["3 " * 200]) == [None]


def test_weights_stand_on_the_device_only_while_they_are_used(tmp_path, tokenizer, monkeypatch):
    classifier = load_classifier(save(tmp_path / "rm", tokenizer))
    moved = []
    monkeypatch.setattr(classifier.model, "to", lambda device: moved.append(str(device)))
    monkeypatch.setattr(Classifier, "_forward", lambda self, rows: np.zeros(len(rows)))
    classifier.device = torch.device("cuda")
    classifier.score([[1], [2]])
    assert moved == ["cuda", "cpu"]
