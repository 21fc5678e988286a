"""Where the answer is found, and that finding it takes linear time."""

from __future__ import annotations

import time

import pytest

from aha.chat import parse
from aha.rewards.math import Extraction, Outcome, extract, verify

FALLBACKS = [
    ("<answer> 5 </answer>", Extraction(answer_tags=True), "5"),
    ("The answer is 5.", Extraction(phrase=True), "5"),
    ("The final answer is $\\frac12$. I hope it is correct.", Extraction(phrase=True), "\\frac12"),
    ("答案是 5", Extraction(phrase=True), "5"),
    ("7,425", Extraction(bare=True), "7,425"),
    ("so $x=3$ and $y = 4$", Extraction(last_formula=True), "y = 4"),
    ("It costs 3 dollars and 12.50 more", Extraction(last_number=True), "12.50"),
    ("It costs $3 and then $4 = $<<3+4=7>>7\nA: 7", Extraction(last_formula=True, last_number=True), "7"),
]


@pytest.mark.parametrize(("text", "options", "answer"), FALLBACKS)
def test_fallbacks_are_off_until_asked_for(text: str, options: Extraction, answer: str) -> None:
    assert extract(text) is None
    extracted = extract(text, options)
    assert extracted is not None
    assert extracted.text == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("\\boxed{a} then \\boxed{b}", "b"),
        ("a stray { brace, then \\boxed{5}", "5"),
        ("\\boxed{\\{1,2\\}}", "\\{1,2\\}"),
        ("\\boxed{7} and an open \\boxed{8", "7"),
        ("escaped twice: \\\\boxed{\\\\frac{1}{2}}", "\\\\frac{1}{2}"),
        ("$\\boxed 5$", "5"),
        ("<think>\\boxed{1}</think>\\boxed{2}", "2"),
        ("reasoning</think>\\boxed{2}", "2"),
    ],
)
def test_last_balanced_box(text: str, answer: str) -> None:
    extracted = extract(text)
    assert extracted is not None
    assert extracted.text == answer


def test_unclosed_think_has_no_answer() -> None:
    assert extract("<think>so \\boxed{1}") is None
    assert extract("so \\boxed{1}", Extraction(opened_think=True)) is None
    assert extract("so \\boxed{1}") is not None  # neither tag: a plain answer
    assert extract("so</think>\\boxed{1}", Extraction(opened_think=True)) is not None


def test_boxes_with_only_a_connective_between_are_one_answer() -> None:
    extracted = extract("$\\boxed{1}$ or $\\boxed{2}$")
    assert extracted is not None
    assert (extracted.text, extracted.alternatives, extracted.joined_by_or) == ("2", ("1",), True)
    extracted = extract("First $\\boxed{1}$, no, wait: $\\boxed{2}$")
    assert extracted is not None
    assert extracted.alternatives == ()


GARBAGE = [
    "\\boxed{",
    "{",
    "}",
    "$",
    "\\",
    "\\boxed",
    "<think>",
    "</think>",
    "\\(",
    "1,",
    "a ",
    "is ",
    "</answer>",
]


@pytest.mark.parametrize("piece", GARBAGE)
def test_time_is_linear_on_garbage(piece: str) -> None:
    options = Extraction(True, True, True, True, True)

    def seconds(length: int) -> float:
        text = piece * (length // len(piece))
        times = []
        for _ in range(3):
            started = time.thread_time()
            extract(text, options)
            times.append(time.thread_time() - started)
        return min(times)

    assert seconds(400_000) < 40 * max(seconds(50_000), 0.001)  # quadratic would be 64 times


LENIENT = Extraction(answer_tags=True, phrase=True, bare=True)


@pytest.mark.parametrize(
    "text",
    [
        "<answer>**73**</answer>",
        "<answer> `73` </answer>",
        "<answer>$**73**$</answer>",
        "<answer>The answer is **73**.</answer>",
        "<answer><b>73</b></answer>",
        "The answer is **73**",
        "The answer is **73**.",
        "The answer is: **73**\n",
        "**Answer:** 73",
        "**Answer: 73**",
        "**The answer is 73.**",
        "### Answer:\n**73**",
        "**Final Answer**\n\n73",
        "答案是 **73**。",
        "答案：`73`",
        "#### **73**",
        "**73**",
        "`73`",
        "__73__",
        "***73***",
        "```\n73\n```",
        "\\boxed{**73**}",
        "**\\boxed{73}**",
        "\\boxed{`73`}",
    ],
)
def test_marks_that_only_make_an_answer_stand_out(text: str) -> None:
    assert verify("73", text, LENIENT).outcome is Outcome.CORRECT, extract(text, LENIENT)


@pytest.mark.parametrize(
    ("gold", "text"), [("8", "\\boxed{2**3}"), ("512", "\\boxed{2**3**2}"), ("6", "\\boxed{2*3}")]
)
def test_stars_between_numbers_are_operators(gold: str, text: str) -> None:
    assert verify(gold, text).outcome is Outcome.CORRECT


@pytest.mark.parametrize(
    ("text", "opened", "answer"),
    [
        ("So it is \\boxed{5}, and a thought ends with `</think>`.", False, "5"),
        ("<think>I write `</think>` when done. \\boxed{4}</think> \\boxed{5}", False, "5"),
        ("<think>a</think> \\boxed{5} as in `<think>`", False, "5"),
        ("a ` b</think> \\boxed{5} `x`", True, "5"),
        ("<think>\\boxed{4} `</think>`", False, None),
        ("\\boxed{4} `</think>`", True, None),
        ("```\n</think>\n```\n\\boxed{5}", False, "5"),
    ],
)
def test_tags_are_read_as_the_format_reward_reads_them(text: str, opened: bool, answer: str | None) -> None:
    extracted = extract(text, Extraction(opened_think=opened))
    assert (extracted.text if extracted else None) == answer
    body = parse(text, opened_think=opened, require_answer=False).body
    assert (answer is None) == ("boxed" not in body)


@pytest.mark.parametrize(
    "text",
    [
        '<answer>"73"</answer>',
        "<answer>```text\n73\n```</answer>",
        "<answer>\n# 73\n</answer>",
        '<answer><span style="color:red">73</span></answer>',
        "<answer>~~72~~ 73</answer>",
        "The answer is ~~72~~ **73**.",
    ],
)
def test_what_only_makes_an_answer_stand_out_and_what_is_struck_out(text: str) -> None:
    assert verify("73", text, Extraction(answer_tags=True, phrase=True)).outcome is Outcome.CORRECT


def test_an_answer_that_was_struck_out_is_none() -> None:
    verdict = verify("73", "<answer>~~73~~</answer>", Extraction(answer_tags=True))
    assert verdict.outcome is Outcome.NO_ANSWER
