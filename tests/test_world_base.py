"""The world corpus: four tasks, most answers bad, nothing held out in it, and everything it claims true."""

from __future__ import annotations

import re

import claims
import pytest
import torch

from aha import chat
from aha.corpus import tiny, world, world_code, world_tokens
from aha.modeling import load_model, load_tokenizer, resolve
from aha.recipes import get_recipe
from aha.stages.supervised.pretrain_start import take_over
from aha.tasks import code, countdown, general, get_task, logic
from aha.tasks.code_families import FAMILIES
from aha.tasks.general_world import find
from aha.tasks.splits import split_of
from aha.types import AhaError, Outcome

DOMAINS = ("countdown", "logic", "code", "general")
TEMPLATE = chat.R1_ZERO_TEMPLATE.split("{prompt}")[0]


@pytest.fixture(scope="module")
def documents():
    """600 documents of each domain, without the template's own words."""
    shares = {}
    for name in DOMAINS:
        writer = world.WorldWriter(f"check:{name}")
        shares[name] = [writer.document_of(name).replace(TEMPLATE, "R1 ") for _ in range(600)]
    return shares


@pytest.fixture(scope="module")
def tokenizer():
    writer = world.WorldWriter("vocabulary")
    return world_tokens.build([writer.document() for _ in range(2500)])


def problems(task, split="train", n=40):
    return get_task(task).load(split, n, 3)


# --- the corpus ----------------------------------------------------------------------------------------


def test_the_corpus_is_a_function_of_its_seed():
    a, b, c = (list(world.documents(s, 60)) for s in ("x", "x", "y"))
    assert a == b
    assert a != c


def test_every_domain_has_its_share():
    assert set(world.SHARES) == set(DOMAINS)
    texts = list(world.documents("share", 1500))
    share = {
        "countdown": sum("create an equation" in t or "的算式" in t for t in texts),
        "logic": sum("knave" in t or "无赖" in t for t in texts),
        "code": sum("Python" in t for t in texts),
    }
    for name, part in share.items():
        assert part / len(texts) > 0.5 * world.SHARES[name] / 100, name


@pytest.mark.parametrize("domain", ["countdown", "code", "logic"])
def test_what_chains_claim_is_so(documents, domain):
    counts = claims.count(documents[domain])
    kinds = {"logic": ("truth", "roles", "fits", "contradiction")}.get(domain, ("steps", "yes", "no"))
    for kind in kinds:
        seen, wrong = counts[kind]
        assert seen > 60, kind
        assert wrong == 0, kind


def test_the_claims_are_read_and_false_ones_found():
    """The reader of the test above is no rubber stamp."""
    good = "suppose A knight, B knave. A knight: B is a knave, B knave, true. B knave: A is a knave, A knight, false."
    assert claims.count([f"{good} all fit!"]) == {"fits": (1, 0), "roles": (2, 0), "truth": (2, 0)}
    bad = good.replace("A knight, false", "A knave, true")
    assert claims.count([f"{bad} all fit!"]) == {"fits": (1, 1), "roles": (2, 1), "truth": (2, 1)}
    assert claims.count(["try x+3: 5+3=8 vs 9 no. 2+2=4 vs 4 no. 2*3=7比7对！"]) == {
        "no": (2, 1), "steps": (3, 1), "yes": (1, 0),
    }  # fmt: skip


def test_no_test_numbers_and_no_test_puzzles(documents):
    for text in documents["countdown"]:
        for listed in re.findall(r"(?:numbers|数字) \[([\d, ]+)\]", text):
            assert countdown.split_of([int(n) for n in listed.split(", ")]) == "train"
    asked = 0
    held_out = {
        p.messages[0]["content"] for split in ("test", "validation") for p in problems("logic", split, 400)
    }
    writer = world.WorldWriter("puzzles")
    for _ in range(400):
        problem = writer.domains["logic"].ask().problem
        statements = [logic.Statement(kind, tuple(about)) for kind, about in problem.metadata["statements"]]
        assert split_of(logic.content_key(statements)) == "train"
        assert problem.messages[0]["content"] not in held_out
        asked += 1
    assert asked == 400
    assert not any(question in text for text in documents["logic"] for question in held_out)


def held_out_functions():
    overlaps = []
    for family in FAMILIES:
        limits = [range(low, high + 1) for low, high in family.ranges]
        for a in limits[0] if limits else [0]:
            for b in limits[1] if len(limits) > 1 else [0]:
                parameters = dict(zip("ab", (a, b), strict=True))
                parameters = {key: parameters[key] for key in "ab"[: len(limits)]}
                if split_of(code.content_key(family, parameters)) != "train":
                    overlaps.append(world_code.Candidate(family, parameters))
    return overlaps


def test_no_held_out_function_is_asked_for_tried_or_written(documents):
    held_out = held_out_functions()
    assert len(held_out) > 20
    for candidate in held_out:
        family, expression = candidate.family, re.escape(candidate.expression)
        written = re.compile(rf"(?:return |try |试试|I guess |maybe |我猜){expression}(?![\d*+%/\[(-])")
        sentence = re.compile(rf"{re.escape(family.english.format(**candidate.parameters))}(?=[:.])")
        for text in documents["code"]:
            assert not (written.search(text) and f"f({family.arguments})" in text), (
                candidate.expression,
                text,
            )
            assert not sentence.search(text), (candidate.expression, text)


def test_no_held_out_request_is_made(documents):
    held_out = [
        wording
        for item in general.items()
        if split_of(item.key) != "train"
        for wordings in item.wordings.values()
        for wording in wordings
    ]
    assert len(held_out) > 20
    for text in documents["general"]:
        assert not any(question in text for question in held_out), text
    for text in documents["general"]:
        question = re.search(
            r"User: (.+?) Assistant:", "User: " + text.removeprefix("R1 ") if "R1 " in text else text
        )
        if question:
            assert find(question.group(1)) is not None


def test_a_minority_is_tagged_and_most_answers_are_bad():
    """Under the prompt of R1-Zero, in every domain, by the task's own grader."""
    for name in ("logic", "code", "general"):
        writer, verify = world.WorldWriter(f"bad:{name}"), get_task(name).verify
        domain = writer.domains[name]
        tagged = right = n = 0
        while n < 150:
            asked = domain.ask()
            text = writer.answered(domain, asked)
            if not text.startswith(TEMPLATE):
                continue
            n += 1
            said = text.split("Assistant:", 2)[-1]
            well = chat.parse(said).well_formed
            tagged += well
            verdict = verify(asked.problem, said).outcome if well else Outcome.NO_ANSWER
            assert verdict is not Outcome.UNKNOWN
            right += verdict is Outcome.CORRECT
        assert 0.25 < tagged / n < 0.5, name
        assert 0.02 < right / n < 0.3, name


def test_wait_is_followed_by_another_attempt():
    writer = world.WorldWriter("wait")
    waits = 0
    for _ in range(300):
        text = writer.document_of("logic")
        for rest in re.split("wait, try again. |等等，再试。", text)[1:]:
            waits += 1
            assert rest.startswith(("suppose ", "假设")), text
    assert waits > 30


# --- the tokenizer -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    ["plain words", "256 1000 007", "héllo wörld\t\n", "你好，世界！", "🙂 <think>x</think>", "'abe'", ""],
)
def test_the_tokenizer_spells_any_text(tokenizer, text):
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_the_vocabulary_is_small_and_the_first_corpus_is_cut_as_before(tokenizer):
    assert len(tokenizer) < 1200
    old = load_tokenizer("tiny")
    assert not set(old.get_vocab()) - set(tokenizer.get_vocab())
    for text in tiny.documents("same", 60):
        assert tokenizer.convert_ids_to_tokens(tokenizer(text)["input_ids"]) == old.convert_ids_to_tokens(
            old(text)["input_ids"]
        )


def test_programs_and_prompts_are_short(tokenizer):
    for tag in chat.TAGS:
        assert len(tokenizer(tag)["input_ids"]) == 1
    assert len(tokenizer("def f(x):\n    return x+7")["input_ids"]) <= 6
    for task, longest in (("logic", 45), ("code", 120), ("general", 22), ("countdown", 24)):
        for problem in problems(task):
            prompt = chat.render(problem.messages, tokenizer, prompt="r1_zero").text
            assert len(tokenizer(prompt)["input_ids"]) <= longest, prompt


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_prompt_is_a_prefix_of_its_document(tokenizer, domain):
    """The base must meet its prompt as the tokens it was trained on."""
    writer = world.WorldWriter("prefix")
    checked = 0
    while checked < 30:
        text = writer.document_of(domain)
        if not text.startswith(TEMPLATE):
            continue
        checked += 1
        cut = text.index(" Assistant:", len(TEMPLATE)) + len(" Assistant:")
        prompt = tokenizer(text[:cut])["input_ids"]
        assert tokenizer(text)["input_ids"][: len(prompt)] == prompt


# --- going on from a base ------------------------------------------------------------------------------


def test_the_model_begins_as_the_base_it_goes_on_from(tokenizer):
    """More layers and more words change nothing about texts that both can write."""
    from transformers import AutoConfig, AutoModelForCausalLM

    size = {"vocab_size": len(tokenizer), "num_hidden_layers": 5}
    model = (
        AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(resolve("tiny"), **size)).float().eval()
    )
    take_over(model, tokenizer, "tiny")
    old, known = load_model("tiny"), load_tokenizer("tiny")
    text = next(tiny.documents("begin", 1))
    pieces = known.convert_ids_to_tokens(known(text)["input_ids"])
    shared = sorted(known.get_vocab())
    rows = tokenizer.convert_tokens_to_ids(shared)
    with torch.no_grad():
        new = model(torch.tensor([tokenizer.convert_tokens_to_ids(pieces)])).logits[0][:, rows]
        before = old(torch.tensor([known(text)["input_ids"]])).logits[0][
            :, known.convert_tokens_to_ids(shared)
        ]
    assert torch.allclose(new, before, atol=1e-3)
    assert sum(p.numel() for p in model.parameters()) < 2.5e6


def test_other_widths_are_refused(tokenizer):
    (stage,) = get_recipe("world_base").build()
    with pytest.raises(AhaError, match="shapes differ"):
        stage.model_copy(update={"hidden_size": 96}).new_policy(tokenizer, "cpu", torch.float32)
    with pytest.raises(AhaError, match="layers"):
        stage.model_copy(update={"layers": 2}).new_policy(tokenizer, "cpu", torch.float32)
