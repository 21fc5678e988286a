"""Format rewards, with the ways in which a policy could please them without keeping the format."""

from __future__ import annotations

from types import MappingProxyType

import numpy as np
import pytest

from aha.rewards.format import strict_format, tag_count, tag_token_ids
from aha.types import Finish, Problem, Rollout

PROBLEM = Problem("p", "math", ({"role": "user", "content": "2+2"},))
GOOD = "<think>a</think><answer>4</answer>"
IDS = {"<think>": 10, "</think>": 11, "<answer>": 12, "</answer>": 13}


def rollout(text: str, *, ids=(), finish: Finish = Finish.STOP, opened: bool = False) -> Rollout:
    tokens = np.array(ids, dtype=np.int64)
    return Rollout(np.zeros(1, np.int64), tokens, np.zeros(len(tokens)), text, finish, opened_think=opened)


def value(reward, text: str, **options) -> float | None:
    return reward(PROBLEM, [rollout(text, **options)])[0].value


def test_strict_is_all_or_nothing_and_says_why():
    scores = strict_format()(PROBLEM, [rollout(GOOD), rollout(GOOD + " really")])
    assert [s.value for s in scores] == [1.0, 0.0]
    assert [s.note for s in scores] == ["", "text after </answer>"]
    assert value(strict_format(right=0.5, wrong=-1.0), "4") == -1.0


def test_the_prompts_open_tag_is_known_from_the_rollout():
    assert value(strict_format(), "a</think><answer>4</answer>", opened=True) == 1.0
    assert value(strict_format(), GOOD, opened=True) == 0.0
    assert value(strict_format(), "a</think><answer>4</answer>") == 0.0


def test_a_summary_in_place_of_the_answer():
    assert value(strict_format(require_answer=False), "<think>a</think>\\boxed{4}") == 1.0
    assert value(strict_format(), "<think>a</think>\\boxed{4}") == 0.0


@pytest.mark.parametrize("reward", [strict_format(), tag_count()])
@pytest.mark.parametrize("finish", [Finish.ABORT, Finish.ERROR])
def test_what_the_engine_gave_up_on_has_no_score(reward, finish: Finish):
    assert value(reward, GOOD, finish=finish) is None


def test_what_the_limit_cut_has_one():
    assert value(strict_format(), "<think>a", finish=Finish.LENGTH) == 0.0


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        ([10, 1, 11, 12, 4, 13], 1.0),
        ([10, 1, 2, 3, 12, 4, 13], 0.0),  # </think> spelled out of ordinary tokens
        ([10, 1, 11, 11, 12, 4, 13], 0.0),  # a tag token that the text does not show
    ],
)
def test_tags_may_have_to_be_tokens(ids: list[int], expected: float):
    assert value(strict_format(token_ids=IDS), GOOD, ids=ids) == expected


def test_a_quoted_tag_is_a_token_too():
    text = "<think>the `</think>` tag</think><answer>4</answer>"
    assert value(strict_format(token_ids=IDS), text, ids=[10, 1, 11, 2, 11, 12, 4, 13]) == 1.0


def test_tag_token_ids_are_those_of_single_tokens():
    class Tokenizer:
        vocabulary = MappingProxyType({"<think>": 10, "</think>": 11})

        def encode(self, text: str, add_special_tokens: bool) -> list[int]:
            return (
                [self.vocabulary[text]] if text in self.vocabulary else [0] if text == "<answer>" else [5, 6]
            )

        def convert_ids_to_tokens(self, token: int) -> str:
            return next((text for text, i in self.vocabulary.items() if i == token), "<unk>")

    assert tag_token_ids(Tokenizer()) == {"<think>": 10, "</think>": 11}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (GOOD, 1.0),
        ("a</think><answer>4</answer>", 0.75),
        ("<think>a<answer>4</answer>", 0.75),
        ("<think>a</think>4</answer>", 0.75),
        ("<think>a</think><answer>4", 0.75),
        ("<think>a", 0.25),
        ("4", 0.0),
        ("", 0.0),
        (GOOD * 2, 0.0),  # repeating tags earns nothing
        ("<think>a</think><answer>1</answer><answer>2</answer>", 0.5),
        ("</answer><answer></think><think>", 0.25),  # nor does writing them in any order
        ("<think>`</think>` a</think><answer>4</answer>", 1.0),
    ],
)
def test_tag_count_is_the_share_of_tags_in_their_place(text: str, expected: float):
    assert value(tag_count(), text) == expected


def test_tag_count_does_not_pay_for_the_prompts_tag():
    assert value(tag_count(), "", opened=True) == 0.0
    assert value(tag_count(), "a</think><answer>4", opened=True) == pytest.approx(2 / 3)
    assert value(tag_count(), "a</think><answer>4</answer>", opened=True) == 1.0
    assert value(tag_count(), GOOD, opened=True) == 0.75
    assert value(tag_count(require_answer=False), "a</think>4", opened=True) == 1.0


def test_notes_name_the_tags():
    assert tag_count()(PROBLEM, [rollout("<think>a</think>4")])[0].note.endswith("<answer>, </answer>")
