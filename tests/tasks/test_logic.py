"""Knights and knaves: unique solutions, disjoint contents, answers read in any form."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aha.tasks import logic
from aha.tasks.logic import Statement
from aha.tasks.logic_answers import read_assignment
from aha.types import AhaError, Outcome

# A: B is a knave. B: A and I are the same kind. Were A a knave, B were a knight and the two not alike, so B
# would lie: so A is a knight and B a knave.
TWO = (Statement("knave", (1,)), Statement("same", (0,)))


def two(language="en"):
    return logic.make_problem(TWO, ("A", "B"), language)


def three():
    # A: B and C are both knaves. B: C is a knight. C: B and I are the same kind. Were A a knight, the knave C
    # would speak the truth; were C a knave, B would be a knight who lies.
    said = (Statement("both_knaves", (1, 2)), Statement("knight", (2,)), Statement("same", (1,)))
    return logic.make_problem(said, ("A", "B", "C"))


def test_solutions_by_hand():
    assert logic.solutions(TWO) == [(True, False)]
    assert three().metadata["knights"] == (False, True, True)
    assert logic.solutions((Statement("same", (1,)), Statement("same", (0,)))) == [(True, True)]
    assert logic.solutions((Statement("knight", (1,)), Statement("knight", (0,)))) == [
        (True, True),
        (False, False),
    ], "both or neither: no puzzle"
    assert logic.solutions((Statement("both_knaves", (0, 1)), Statement("knight", (0,)))) == []


@pytest.mark.parametrize("kind", [*logic.SINGLE, *logic.PAIR])
def test_every_kind_of_statement_means_what_it_says(kind):
    """Spelled out apart from the program, over all assignments of three people, the speaker being the first."""
    about = (1,) if kind in logic.SINGLE else (1, 2)
    for me, x, y in itertools.product((True, False), repeat=3):
        expected = {
            "knave": x is False, "knight": x is True, "same": x is me, "different": x is not me,
            "both_knights": [x, y].count(True) == 2, "both_knaves": [x, y].count(True) == 0,
            "some_knave": [x, y].count(False) >= 1, "some_knight": [x, y].count(True) >= 1, "iff": x is y,
        }[kind]  # fmt: skip
        assert Statement(kind, about).holds(0, (me, x, y)) is expected


@pytest.mark.parametrize("difficulty", [logic.TINY, logic.FULL])
def test_problems_have_one_solution_and_grade_their_own_answer(difficulty):
    for p in logic.load(difficulty, "train", 40, 0):
        said = [Statement(kind, about) for kind, about in p.metadata["statements"]]
        n = len(p.metadata["people"])
        assert n in difficulty.people
        right = [
            k
            for k in itertools.product((True, False), repeat=n)
            if all(s.holds(i, k) is k[i] for i, s in enumerate(said))
        ]
        assert right == [p.metadata["knights"]]
        assert logic.verify(p, f"<think>hm</think> <answer>{p.answer}</answer>").outcome is Outcome.CORRECT
        flipped = [not p.metadata["knights"][0], *p.metadata["knights"][1:]]
        other = logic.write_answer(flipped, p.metadata["people"], p.language)
        assert logic.verify(p, f"<answer>{other}</answer>").outcome is Outcome.WRONG


def test_splits_share_no_content_in_any_language_or_order():
    solutions = {}
    for split in ("train", "validation", "test"):
        problems = logic.load(logic.TINY, split, 150, 0)
        assert {p.language for p in problems} == {"en", "zh"}
        solutions[split] = {
            logic.content_key([Statement(k, a) for k, a in p.metadata["statements"]]) for p in problems
        }
    assert not solutions["train"] & solutions["test"]
    assert not solutions["train"] & solutions["validation"]
    assert not solutions["validation"] & solutions["test"]


def test_renaming_the_people_is_the_same_content():
    swapped = (Statement("same", (1,)), Statement("knave", (0,)))
    assert logic.content_key(TWO) == logic.content_key(swapped)
    assert logic.content_key(TWO) != logic.content_key((Statement("knave", (1,)), Statement("knave", (0,))))


def test_problems_depend_on_the_seed_alone_and_a_small_world_gives_what_it_has():
    ids = [[p.id for p in logic.load(logic.TINY, "train", 40, seed)] for seed in (0, 0, 1)]
    assert ids[0] == ids[1] != ids[2]
    small = logic.LogicDifficulty(people=(2,), kinds=("knave", "same"), chinese=0)
    few = logic.load(small, "train", 1000, 0)
    assert 0 < len(few) == len({p.id for p in few}) < 10


def test_a_world_without_puzzles_says_so():
    none = logic.LogicDifficulty(
        people=(2,), kinds=("knight",), chinese=0
    )  # always true of both or of neither
    with pytest.raises(AhaError, match="is empty at this difficulty"):
        logic.load(none, "train", 10, 0)


A_KNIGHT = {"A": True, "B": False}


@pytest.mark.parametrize(
    "text",
    [
        "A knight, B knave", "B knave, A knight", "a is a knight, b is a knave", "a knight, b knave",
        "A is a knight and B is a knave.", "A: knight; B: knave", "A = Knight\nB = Knave", "**A** KNIGHT, **B** KNAVE",
        "Knights: A. Knaves: B.", "The knights are A; the knaves are B", "A骑士，B无赖", "A是骑士，B是无赖。",
        "骑士：A，无赖：B", "A truth-teller, B liar",
    ],
)  # fmt: skip
def test_answers_are_read_in_any_form(text):
    assert read_assignment(text, ("A", "B")) == (A_KNIGHT, "")


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("A knight", "nothing is said of B"),
        ("A knight, B", "nothing is said of B"),
        ("A knight, B knave, A knave", "A is called both"),
        ("A is not a knave, B knave", "says what somebody is not"),
        ("knave, knight", "a role without a name"),
        ("A knave, B knave", "wrong about A"),
        ("C knight", "a role without a name"),
        ("", "nothing is said"),
    ],
)
def test_other_answers_are_wrong_with_a_reason(text, note):
    verdict = logic.grade_assignment(two(), text)
    assert verdict.outcome is Outcome.WRONG
    assert note in verdict.note


def test_several_people_share_a_role():
    assignment, trouble = read_assignment("B and C are knights; A is a knave", ("A", "B", "C"))
    assert not trouble
    assert assignment == {"A": False, "B": True, "C": True}
    named, trouble = read_assignment("Tom and Ann are knaves, ben is a knight", ("Tom", "Ann", "Ben"))
    assert (named, trouble) == ({"Tom": False, "Ann": False, "Ben": True}, "")


def test_where_an_answer_may_stand():
    p = two()
    assert (
        logic.verify(p, "<think>A knight</think> \\boxed{\\text{A knight, B knave}}").outcome
        is Outcome.CORRECT
    )
    assert logic.verify(p, "A knight, B knave").outcome is Outcome.NO_ANSWER
    text = "A knave? no.\nA knight, B knave\nso that is it"
    assert logic.verify_lenient(p, text).outcome is Outcome.CORRECT
    assert logic.verify_lenient(p, "who knows").outcome is Outcome.NO_ANSWER


def test_equal_assignments_vote_together():
    ballots = [
        logic.vote(two(), f"<answer>{a}</answer>") for a in ("A knight, B knave", "b knave; a knight", "?")
    ]
    assert ballots[0] == ballots[1] != ballots[2]
    assert logic.vote(two(), "none") is None


def test_a_worked_solution_ends_in_the_answer():
    for p in (two(), two("zh"), three()):
        text = logic.worked(p)
        assert p.answer in text
        assert text.endswith(("yes!", "对！"))
    assert logic.worked(two()).startswith("A knight, B knight: B is a knave no. A knight, B knave:")


@given(st.text(alphabet="AB knightave,:;not是骑士无赖\n\\{}", max_size=300))
def test_reading_never_raises(text):
    read_assignment(text, ("A", "B"))
    logic.verify(two(), f"<answer>{text}</answer>")


def test_long_text_costs_little():
    import time

    started = time.thread_time()
    logic.verify_lenient(two(), "A and B and " * 100_000)
    logic.verify(two(), "<answer>" + "A knight " * 100_000 + "</answer>")
    assert time.thread_time() - started < 5


def test_random_statements_never_speak_of_the_speaker_alone():
    rng = random.Random(0)
    for _ in range(300):
        said = logic.random_statement(rng, 1, 3, (*logic.SINGLE, *logic.PAIR))
        assert said.about != (1,)
        assert len(set(said.about)) == len(said.about)
