"""Prompts as public sets lay them out, a few invented rows each: what is asked, what comes beside it, what is
refused."""

from __future__ import annotations

import pytest

from aha.data.prompt_rows import read_prompt, spoken
from aha.types import AhaError


def user(*turns):
    return tuple({"role": "user" if i % 2 == 0 else "assistant", "content": t} for i, t in enumerate(turns))


def hh(*turns):
    return "".join(f"\n\n{'Assistant' if i % 2 else 'Human'}: {t}" for i, t in enumerate(turns))


SCORED = [{"response": "poor", "overall_score": 2.0}, {"response": "fine", "overall_score": 8.0}]
PKU = {"prompt": "q", "response_0": "bad", "response_1": "kind", "is_response_0_safe": False,
       "is_response_1_safe": True, "better_response_id": 1, "safer_response_id": 1}  # fmt: skip
WILD = {"vanilla": "plain", "adversarial": "", "completion": "no", "data_type": "vanilla_harmful"}
SYSTEM = {"role": "system", "content": "Be brief."}
# name -> (row, layout, messages, reference, harmful, pairs, labels)
CASES = {
    "ultrafeedback": ({"instruction": "q", "completions": SCORED}, "ultrafeedback", user("q"), "fine", None,
                      (("fine", "poor"),), ()),
    "binarized": ({"prompt": "q", "chosen": [*user("q", "good")], "rejected": [*user("q", "bad")]}, "preference",
                  user("q"), "good", None, (("good", "bad"),), ()),
    "hh of several turns": ({"chosen": hh("a", "b", "c", "good"), "rejected": hh("a", "b", "c", "bad")}, "preference",
                            user("a", "b", "c"), "good", None, (("good", "bad"),), ()),
    "hh whose sides part early": ({"chosen": hh("a", "b", "c", "good"), "rejected": hh("a", "x", "y", "bad")},
                                  "preference", user("a", "b", "c"), "good", None, (), ()),
    "trl's hh prompt": ({"prompt": "\n\nHuman: q\n\nAssistant:", "chosen": "good", "rejected": "bad"}, "preference",
                        user("q"), "good", None, (("good", "bad"),), ()),
    "pku": (PKU, "pku-saferlhf", user("q"), "kind", None, (("kind", "bad"),), (("bad", 0), ("kind", 1))),
    "pku, neither safe": (PKU | {"is_response_1_safe": False}, "pku-saferlhf", user("q"), None, None,
                          (("kind", "bad"),), (("bad", 0), ("kind", 0))),
    "beavertails": ({"prompt": "q", "response": "bad", "is_safe": False, "category": {}}, "beavertails", user("q"),
                    None, None, (), (("bad", 0),)),
    "wildjailbreak": (WILD, "wildjailbreak", user("plain"), "no", True, (), ()),
    "wildjailbreak, adversarial": (WILD | {"adversarial": "sly", "data_type": "adversarial_benign"}, "wildjailbreak",
                                   user("sly"), "no", False, (), ()),
    "lmsys": ({"conversation": [SYSTEM, *user("a", "b", "c", "d")], "language": "English"}, "lmsys-chat",
              (SYSTEM, *user("a", "b", "c")), "d", None, (), ()),
    "sharegpt": ({"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}],
                  "system": "Be brief."}, "sharegpt", (SYSTEM, *user("a")), "b", None, (), ()),
    "alpaca": ({"instruction": "sum", "input": "1 2", "output": "3"}, "alpaca", user("sum\n1 2"), "3", None, (), ()),
    "messages": ({"messages": [*user("a")]}, "messages", user("a"), None, None, (), ()),
    "trl prompt": ({"prompt": [*user("a")]}, "prompt", user("a"), None, None, (), ()),
    "advbench": ({"goal": "harm", "target": "Sure, here is"}, "prompt", user("harm"), None, None, (), ()),
    "xstest": ({"prompt": "kill time", "type": "homonyms", "label": "safe"}, "prompt", user("kill time"), None, False,
               (), ()),
    "question": ({"question": "a", "answer": "b"}, "prompt", user("a"), "b", None, (), ()),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_layout_is_read(name):
    row, layout, messages, reference, harmful, pairs, labels = CASES[name]
    prompt = read_prompt(row)
    assert (prompt.layout, prompt.messages, prompt.reference) == (layout, messages, reference)
    assert (prompt.harmful, prompt.pairs, prompt.labels) == (harmful, pairs, labels)


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"conversations": [{"from": "gpt", "value": "a"}, {"from": "human", "value": "b"}]}, "assistant speaks first"),
        ({"messages": [{"role": "user", "content": " "}]}, "one of its turns is empty"),
        ({"messages": [{"role": "assistant", "content": "a"}]}, "no user turn"),
        ({"messages": [*user("a"), {"role": "tool", "content": "3"}, *user("b")]}, "turns of a tool"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "part of type image_url"),
        ({"chosen": "words", "rejected": "other words"}, "a text without turns"),
        ({"vanilla": "", "adversarial": None, "data_type": "vanilla_benign"}, "both wordings are empty"),
        ({"prompt": " "}, "its prompt is empty: the column prompt holds nothing"),
        ({"messages": None}, "its prompt is empty: the column messages holds null"),
        ({"number": 3}, r"columns are \['number'\]"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_named(row, why):
    with pytest.raises(AhaError, match=why):
        read_prompt(row)


@pytest.mark.parametrize("label", [False, 0, "false"])
def test_an_answer_that_its_row_calls_bad_is_no_reference(label):
    said = [*user("q"), {"role": "assistant", "content": "a"}]
    for row in ({"messages": said}, {"prompt": "q", "completion": "a"}, {"instruction": "q", "output": "a"}):
        assert read_prompt(row | {"label": label}).reference is None
        assert read_prompt(row | {"label": True}).reference == "a"
        assert read_prompt(row | {"label": "safe"}).reference == "a", "a word on the prompt"


def test_tools_stand_in_the_system_message():
    tool = {"type": "function", "function": {"name": "weather", "parameters": {}}}
    prompt = read_prompt({"messages": [SYSTEM, *user("Oslo?")], "tools": [tool]})
    assert prompt.messages[0]["content"].startswith("Be brief.\n\nYou can call these functions:\n<tools>\n{")
    assert '"name": "weather"' in prompt.messages[0]["content"]
    assert prompt.messages[1:] == user("Oslo?")


def test_a_conversation_is_one_text_for_a_judge():
    assert spoken(user("a")) == "a"
    assert spoken((SYSTEM, *user("a", "b", "c"))) == "System: Be brief.\n\nUser: a\n\nAssistant: b\n\nUser: c"
