"""One contract: the prompt says where the answer stands, verifiers look there, and the format reward asks for it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from aha.rewards.format import strict_format, tag_count
from aha.rewards.places import answer_line
from aha.tasks import choice, countdown, math_word
from aha.types import Finish, Outcome, Problem, Rollout

RIGHT, WRONG, NONE = Outcome.CORRECT, Outcome.WRONG, Outcome.NO_ANSWER
MATH = Problem("m", "gsm8k", ({"role": "user", "content": "How many?"},), "72")
COUNTDOWN = countdown.make_problem((3, 5, 7), 22, countdown.TINY)
CHOICE = choice.make_problem({"question": "Sky?", "choices": ["blue", "red", "green"], "answer": 0}, 1)
TAGGED = "<think>I add 3 to 69.</think> <answer>{}</answer>"


def at(problem, place):
    return replace(problem, metadata={**problem.metadata, "place": place})


@pytest.mark.parametrize(
    ("place", "text", "outcome"),
    [
        ("tags", TAGGED.format("72"), RIGHT),
        ("tags", TAGGED.format("\\boxed{72}"), RIGHT),
        ("tags", "<think>I add.</think> \\boxed{72}", NONE),
        ("tags", TAGGED.format("71") + " \\boxed{72}", WRONG),
        ("boxed", "I add 3 to 69: \\boxed{72}", RIGHT),
        ("boxed", "<think>\\boxed{72}</think> so \\boxed{71}", WRONG),
        ("boxed", "<think>\\boxed{72}</think> I do not know", NONE),
        ("boxed", TAGGED.format("72"), NONE),
        ("any", TAGGED.format("72"), RIGHT),
        ("any", "so \\boxed{72}", RIGHT),
        ("any", "it is 72", NONE),
    ],
)
def test_math_is_read_where_the_prompt_asked(place, text, outcome):
    assert math_word.verify(at(MATH, place), text).outcome is outcome
    lenient = math_word.verify_lenient(at(MATH, place), text.replace("71", "72")).outcome
    assert lenient is RIGHT or "do not know" in text


@pytest.mark.parametrize(
    ("place", "text", "outcome"),
    [
        ("tags", TAGGED.format("3*5+7"), RIGHT),
        ("boxed", "So \\boxed{3 \\times 5 + 7}", RIGHT),
        ("boxed", "So \\boxed{\\left(3 \\cdot 5\\right) + 7 = 22}", RIGHT),
        ("boxed", "So \\boxed{3+5+7}", WRONG),
        ("boxed", TAGGED.format("3*5+7"), NONE),
    ],
)
def test_countdown_is_read_where_the_prompt_asked(place, text, outcome):
    assert countdown.verify(at(COUNTDOWN, place), text).outcome is outcome


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("The sky is blue.\nAnswer: A", RIGHT),
        ("The sky is blue.\n**Answer: $A$**", RIGHT),
        ("Answer: B\nno, wait.\nFinal answer: (A)", RIGHT),
        ("答案：A", RIGHT),
        ("So \\boxed{A}", RIGHT),
        ("Answer: B", WRONG),
        ("The answer is A", NONE),
        ("<think>Answer: A</think> hm", NONE),
    ],
)
def test_a_choice_is_read_off_its_answer_line(text, outcome):
    assert choice.verify(at(CHOICE, "boxed"), text).outcome is outcome


def test_an_answer_line_is_read_in_linear_time():
    assert answer_line("answer" + " " * 200_000 + ": B") == "B"
    assert answer_line("answer:\n" * 20_000) is None


def rollout(text, opened=False):
    return Rollout(
        np.array([1]), np.arange(3), np.zeros(3, np.float32), text, Finish.STOP, opened_think=opened
    )


@pytest.mark.parametrize(
    ("problem", "place", "text", "opened", "value"),
    [
        (MATH, "tags", TAGGED.format("72"), False, 1.0),
        (MATH, "tags", "3+69=72 \\boxed{72}", False, 0.0),
        (MATH, "boxed", "3+69=72 \\boxed{72}", False, 1.0),
        (MATH, "boxed", "<think>3+69=72</think> \\boxed{72}", False, 1.0),
        (MATH, "boxed", "3+69=72</think> \\boxed{72}", True, 1.0),
        (MATH, "boxed", "3+69=72 \\boxed{72}", True, 0.0),
        (MATH, "boxed", "<think>3+69=72 \\boxed{72}", False, 0.0),
        (MATH, "boxed", TAGGED.format("72"), False, 0.0),
        (MATH, "any", TAGGED.format("72"), False, 1.0),
        (MATH, "any", "it is 72", False, 0.0),
        (CHOICE, "boxed", "It is blue.\nAnswer: A", False, 1.0),
        (CHOICE, "boxed", "It is A", False, 0.0),
    ],
)
def test_the_format_reward_asks_for_what_the_prompt_asked(problem, place, text, opened, value):
    for reward in (strict_format(), tag_count()):
        (score,) = reward(at(problem, place), [rollout(text, opened)])
        if not (reward is not strict_format and place == "tags"):
            assert score.value == value, score.note
    (score,) = strict_format()(at(problem, place), [rollout(text, opened)])
    assert score.value == value, score.note
