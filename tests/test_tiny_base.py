"""The embedded base, its tokenizer and its corpus."""

from __future__ import annotations

import json
import re

import pytest

from aha import chat
from aha.corpus import full, tiny
from aha.corpus import tokenizer as tiny_tokenizer
from aha.modeling import EMBEDDED, load_model, load_tokenizer
from aha.recipes import get_recipe
from aha.rewards.arithmetic import evaluate
from aha.runs.pipeline import Context
from aha.stages.supervised.pretrain import Pretrain
from aha.tasks import countdown


@pytest.mark.parametrize(
    "text",
    [
        "plain words",
        "13*4+22=74",
        "256 1000 007",
        "héllo wörld\t\n",
        "你好，世界！",
        "🙂 <think>x</think>",
        "",
    ],
)
def test_the_tokenizer_spells_any_text(text):
    tokenizer = load_tokenizer("tiny")
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_whole_numbers_tags_and_template_are_tokens():
    tokenizer = load_tokenizer("tiny")
    for n in (0, 7, 99, 255):
        assert len(tokenizer(str(n))["input_ids"]) == 1
    assert len(tokenizer("256")["input_ids"]) == 3
    for tag in chat.TAGS:
        assert len(tokenizer(tag)["input_ids"]) == 1
    problem = countdown.make_problem((3, 5, 7), 26, countdown.TINY)
    prompt = chat.render(problem.messages, tokenizer).text
    assert len(tokenizer(prompt)["input_ids"]) < 24


def test_a_prompt_is_a_prefix_of_its_document():
    """The base must meet its prompt as the tokens it was trained on."""
    tokenizer = load_tokenizer("tiny")
    problem = countdown.make_problem((3, 5, 7), 26, countdown.TINY)
    prompt = chat.render(problem.messages, tokenizer).text
    whole = tokenizer(prompt + " <think>3*5+7=15+7=22 vs 26 no.</think> <answer>3*5+7</answer>")["input_ids"]
    ids = tokenizer(prompt)["input_ids"]
    assert whole[: len(ids)] == ids


def test_the_corpus_is_a_function_of_its_seed():
    a, b, c = (list(tiny.documents(s, 50)) for s in ("x", "x", "y"))
    assert a == b
    assert a != c


def test_the_corpus_never_calculates_wrongly_and_keeps_test_numbers_out():
    held_out = seen = 0
    for text in tiny.documents("check", 600):
        for left, right in re.findall(r"(?<![\d+*()/-])([\d+*()-]+)=(\d+)(?![\d+*(-])", text):
            assert evaluate(left).value == int(right), text
            seen += 1
        for listed in re.findall(r"(?:numbers|数字) \[([\d, ]+)\]", text):
            held_out += countdown.split_of([int(n) for n in listed.split(", ")]) != "train"
    assert seen > 1000
    assert held_out == 0


def test_a_minority_is_tagged_and_most_answers_are_bad():
    texts = [t for t in tiny.documents("share", 3000) if "1" in t and ("Using" in t or "用数字" in t)]
    said = [t.split("Assistant:")[-1].split("Answer:")[-1] for t in texts]
    tagged = [t for t in said if re.search(r" <think>[^.].*</answer>$", t)]
    assert 0.1 < len(tagged) / len(texts) < 0.35
    solved = sum(" yes! " in t + " " or "对！" in t for t in texts)
    assert solved / len(texts) < 0.4


def test_the_full_corpus_unfolds_its_answers_correctly():
    writer = full.FullWriter("check")
    right = 0
    for _ in range(400):
        text = writer.document()
        asked = r"numbers \[([\d, ]+)\], create an equation that equals (\d+)"
        match = re.search(asked + r".*<answer>([^<]+)</answer>$", text)
        if match and ("yes!" in text or "对！" in text):
            numbers, target, answer = match.groups()
            value = evaluate(answer)
            assert value.value == int(target), text
            assert sorted(value.numbers) == sorted(int(n) for n in numbers.split(", "))
            right += 1
    assert right > 10


@pytest.mark.parametrize("name", sorted(EMBEDDED))
def test_the_assets_are_small_stock_and_described(name):
    folder = EMBEDDED[name]
    assert sum(f.stat().st_size for f in folder.parent.rglob("*") if f.is_file()) < 12 * 2**20
    assert json.loads((folder / "config.json").read_text())["architectures"] == ["LlamaForCausalLM"]
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "planted in the corpus" in card
    assert len(load_tokenizer(name)) == load_model(name).config.vocab_size


@pytest.mark.slow
def test_pretraining_learns_and_resumes_bit_for_bit(tmp_path):
    def stage(steps):
        return Pretrain(
            name="pretrain", steps=steps, tokens_per_step=1024, hidden_size=32, heads=4, intermediate_size=64, layers=2,
            save_every=2, warmup_steps=2, max_tokens_per_batch=1024,
        )  # fmt: skip

    whole = Context(tmp_path / "whole", plain=True)
    whole.folder.mkdir()
    stage(6).run(whole)

    class Stop(Exception):
        pass

    broken = Context(tmp_path / "broken", plain=True)
    broken.folder.mkdir()
    original = Pretrain.step

    def step(self, policy, tokenizer, number):
        if number == 4:
            raise Stop
        return original(self, policy, tokenizer, number)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Pretrain, "step", step)
        with pytest.raises(Stop):
            stage(6).run(broken)
    stage(6).run(broken)
    same = [(c.folder / "final/model.safetensors").read_bytes() for c in (whole, broken)]
    assert same[0] == same[1]
    losses = [json.loads(line)["loss"] for line in (whole.folder / "metrics.jsonl").read_text().splitlines()]
    assert len(losses) == 6
    assert losses[-1] < losses[0] - 0.1
    again = stage(6).run(broken)  # as after a kill between the last checkpoint and the end
    assert again["loss"] == losses[-1]


@pytest.mark.parametrize(
    ("name", "recipe"), [("tiny", "tiny_base"), ("countdown", "countdown_base"), ("world", "world_base")]
)
def test_the_recipe_is_the_one_in_the_card(name, recipe):
    card = json.loads((EMBEDDED[name] / "training.json").read_text())
    (stage,) = get_recipe(recipe).build()
    assert (card["steps"], card["corpus"], card["recipe"]) == (stage.steps, stage.corpus, recipe)
    assert card["corpus_sha256"] == tiny.corpus_hash(stage.writer("0:0"))


def test_the_first_documents_tokenize_as_the_shipped_tokenizer_does():
    """The recipe builds the very tokenizer that ships."""
    (stage,) = get_recipe("tiny_base").build()
    built, shipped = stage.new_tokenizer(), load_tokenizer("tiny")
    assert built.get_vocab() == shipped.get_vocab()
    assert tiny_tokenizer.describe(built) == tiny_tokenizer.describe(shipped)
