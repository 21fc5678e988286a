"""Ways of thinking longer on the embedded base: what is asked, kept, cut, counted and chosen."""

from __future__ import annotations

import itertools
import json
import math
import subprocess
import sys
from dataclasses import replace

import pytest

from aha import chat
from aha.benchmarks import opening
from aha.benchmarks import session as evaluation
from aha.benchmarks.catalogue import read_names
from aha.benchmarks.session import Protocol
from aha.cli import main
from aha.sampling.http import Server
from aha.sampling.http.model import ModelBackend
from aha.sampling.sampler import SamplingParams
from aha.stages.evaluation.votes import majority
from aha.thinking import session as thinking
from aha.thinking.forcing import CUT, WAITS, BudgetForcing
from aha.thinking.lengths import LengthPrompts
from aha.thinking.refining import Refinement
from aha.thinking.search import BeamSearch
from aha.thinking.tree import TREE, ThinkingTree, TreeNode, TreeSearch
from aha.thinking.values import ValueFunction, open_value
from aha.thinking.votes import MAJORITY, VERIFIER, Votes
from aha.thinking.writing import SPREAD, Draft, ThinkingWriter
from aha.types import AhaError

PROTOCOL = Protocol(1, 1.0, 1.0, 72, problems=6)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return opening.open_model("tiny", tmp_path_factory.mktemp("m"), "auto", "cpu", "float32", 1)


@pytest.fixture(scope="module")
def asked():
    (task,) = read_names("countdown")
    return task


@pytest.fixture(scope="module")
def problems(source, asked):
    _, problems, _ = evaluation.load_problems(asked, 6)
    return source.fit(problems, 72)[0]


@pytest.fixture
def writer(source, asked, problems):
    task, _, _ = evaluation.load_problems(asked, 6)
    places = {p.id: i for i, p in enumerate(problems)}
    return ThinkingWriter(source, task, SamplingParams(max_tokens=72), places=places)


# --- budget forcing ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def forced(source, asked, problems):
    task, _, _ = evaluation.load_problems(asked, 6)
    places = {p.id: i for i, p in enumerate(problems)}
    writer = ThinkingWriter(source, task, SamplingParams(max_tokens=72), places=places)
    way = BudgetForcing(waits=2, budgets=(6, 500), samples=3, word="wait, try again.", answer_tokens=24)
    return way.think(writer, problems)


def texts(row, way, setting):
    return [t for t in row.texts if (t["way"], t["setting"]) == (way, setting)]


def test_each_wait_goes_on_with_the_thinking_before_it(forced):
    for row in forced:
        for count in (1, 2):
            for before, after in zip(texts(row, WAITS, count - 1), texts(row, WAITS, count), strict=True):
                thought = before["text"].partition(chat.END_THINK)[0]
                assert after["text"].startswith(thought)
                assert after["text"][len(thought) :].lstrip().startswith("wait, try again.")
                assert after["tokens"] >= before["tokens"] - 24  # the answer is written anew


def test_a_thinking_has_one_end_however_often_it_was_suppressed(forced):
    for row in forced:
        for t in texts(row, WAITS, 2):
            assert t["text"].partition(chat.END_THINK)[0].count("wait, try again.") >= 2


def test_a_cut_thinking_is_closed_and_its_answer_asked_for(forced, source):
    tokenizer = source.tokenizer
    for row in forced:
        for whole, cut in zip(texts(row, WAITS, 0), texts(row, CUT, 6), strict=True):
            if whole["text"] == cut["text"]:
                continue
            thought, _, rest = cut["text"].partition(f"{chat.END_THINK} {chat.ANSWER}")
            assert whole["text"].startswith(thought.rstrip("\N{REPLACEMENT CHARACTER}"))
            assert len(tokenizer.encode(thought, add_special_tokens=False)) <= 8
            assert cut["tokens"] <= 6 + 24
            assert rest
        assert [t["text"] for t in texts(row, CUT, 500)] == [t["text"] for t in texts(row, WAITS, 0)]


def test_impossible_budgets_are_refused():
    with pytest.raises(AhaError, match="--budgets"):
        BudgetForcing(budgets=(0,))


# --- votes ---------------------------------------------------------------------------------------------------


def test_curves_of_votes_are_those_of_the_answers_that_were_kept(writer, problems):
    value = ValueFunction("short", lambda _, texts: [-len(t) for t in texts])
    for row in Votes(5, value).think(writer, problems[:3]):
        marks = [bool(t["right"]) for t in row.texts]
        tokens = sum(t["tokens"] for t in row.texts) / 5
        curve = {p.setting: p for p in row.points if p.way == MAJORITY}
        best = {p.setting: p for p in row.points if p.way == VERIFIER}
        assert [curve[k].right for k in range(1, 6)] == majority(
            [(t["ballot"], bool(t["right"])) for t in row.texts]
        )
        assert curve[3].tokens == pytest.approx(3 * tokens)
        pairs = [max(pair) for pair in itertools.combinations(marks, 2)]
        assert best[2].right == pytest.approx(sum(pairs) / 10)
        chosen = next(p for p in row.points if p.way == "best of n, short" and p.setting == 5)
        shortest = min(len(t["text"]) for t in row.texts)
        same = [bool(t["right"]) for t in row.texts if len(t["text"]) == shortest]
        assert chosen.right == pytest.approx(sum(same) / len(same))


# --- refinement and lengths ----------------------------------------------------------------------------------


def test_a_refined_answer_costs_what_came_before_it(writer, problems):
    for row in Refinement(rounds=1, samples=2).think(writer, problems[:2]):
        first, second = row.points
        assert second.tokens > first.tokens
        assert [t["round"] for t in row.texts] == [0, 0, 1, 1]
        assert row.texts[2]["critique"]
        assert not row.texts[0]["critique"]


def test_a_conversation_without_room_keeps_its_answer(writer, problems, source):
    longest = max(len(source.prompter.encode(p)[0]) for p in problems[:2])
    tight = replace(writer, source=replace(source, context=longest + 72))
    for row in Refinement(rounds=1, samples=1).think(tight, problems[:2]):
        assert row.points[0].tokens == row.points[1].tokens
        assert row.texts[0]["text"] == row.texts[1]["text"]


def test_the_question_says_how_long_to_think(writer, problems):
    way = LengthPrompts((12, 48), "max", 2)
    assert way._asked(problems[0], 12).messages[-1]["content"].endswith(" Think for maximum 12 tokens.")
    (row,) = way.think(writer, problems[:1])
    assert [p.setting for p in row.points] == [12, 48]


# --- beam search ---------------------------------------------------------------------------------------------


def test_a_beam_goes_where_its_value_is(writer, problems):
    """A value that only looks at how a text begins: among many first steps the search finds such a beginning, and every
    text that goes on has it."""

    def begins(_, texts):
        return [float(t.startswith(" <think>")) for t in texts]

    way = BeamSearch(ValueFunction("begins", begins), widths=(16,), branch=4, step_end="=", steps=12)
    rows = way.think(writer, problems)
    plain = Votes(8).think(writer, problems)
    sampled = [begins(None, [t["text"] for t in row.texts]) for row in plain]
    assert 0.1 < sum(map(sum, sampled)) / 48 < 0.9
    assert all(row.texts[0]["text"].startswith(" <think>") for row in rows)
    assert all(row.points[0].tokens >= 16 for row in rows)


def test_a_beam_of_one_is_a_sample_and_costs_as_much(writer, problems):
    way = BeamSearch(
        ValueFunction("none", lambda _, t: [0.0] * len(t)), widths=(1,), branch=1, step_end="=", steps=40
    )
    for row, problem in zip(way.think(writer, problems[:2]), problems, strict=False):
        written = len(writer.encode(row.texts[0]["text"]))
        assert abs(row.points[0].tokens - written) <= 2, problem.id  # the end of the text is a token too


def test_a_value_that_fails_or_gives_no_numbers_is_named(writer, problems, tmp_path):
    (tmp_path / "v.py").write_text(
        "def bad(problem, texts):\n    return texts[50]\n\ndef few(problem, texts):\n    return [1]\n"
    )
    for name, said in (("bad", "v.py:2"), ("few", "one number for each")):
        value = open_value(f"{tmp_path / 'v.py'}:{name}", tmp_path, "cpu", "float32")
        with pytest.raises(AhaError, match=said):
            BeamSearch(value, widths=(4,)).think(writer, problems[:1])
    with pytest.raises(AhaError, match="no folder of a reward model"):
        open_value("nowhere", tmp_path, "cpu", "float32")


def test_widths_that_do_not_divide_are_refused():
    with pytest.raises(AhaError, match="multiple of --branch"):
        BeamSearch(ValueFunction("x", lambda p, t: [0.0] * len(t)), widths=(6,), branch=4)


# --- tree search ---------------------------------------------------------------------------------------------


def test_what_is_found_below_is_told_upwards_and_followed(problems):
    root = TreeNode(Draft((1,)))
    tree = ThinkingTree(problems[0], root, explore=0.0)
    tree.grow(root, [Draft((1,), (2,)), Draft((1,), (3,))], [4.0, 6.0], [False, False])
    low, high = root.children
    assert tree.leaf() is high
    tree.grow(high, [Draft((1,), (3, 4)), Draft((1,), (3, 5))], [0.0, 1.0], [False, False])
    assert (high.visits, high.total, root.visits, root.total) == (3, 7.0, 4, 11.0)
    assert tree.leaf() is low  # a mean of 7/3 against 4
    # of values from 0 to 6: 4/6 and 7/18, and for few visits the root of ln 4 over them
    assert tree.bound(low) == pytest.approx(4 / 6)
    tree.explore = 1.0
    assert tree.bound(high) == pytest.approx(7 / 18 + (math.log(4) / 3) ** 0.5)


def test_a_value_without_bounds_does_not_press_the_others_together(problems):
    tree = ThinkingTree(problems[0], TreeNode(Draft((1,))), explore=0.0)
    tree.nodes = [TreeNode(Draft((1,)), value=v) for v in (-1e9, -math.inf, 0.2, 0.4, 0.8, math.inf)]
    bounds = [tree._between(node.value) for node in tree.nodes]
    assert bounds == pytest.approx([0, 0, 0, 1 / 3, 1, 1])
    tree.nodes = tree.nodes[:2]
    assert [tree._between(value) for value in (-1e9, 0.5)] == [0, 0.5]


def test_a_search_that_explores_looks_where_few_have_looked(problems):
    root = TreeNode(Draft((1,)))
    tree = ThinkingTree(problems[0], root, explore=10.0)
    tree.grow(root, [Draft((1,), (2,)), Draft((1,), (3,))], [0.0, 1.0], [False, False])
    for _ in range(6):
        root.children[1].tell(1.0)
    assert tree.leaf() is root.children[0]


def test_a_tree_goes_where_its_value_is_and_counts_what_it_sampled(writer, problems):
    def shares(_, texts):
        return [t.count("3") / (1 + len(t)) for t in texts]

    way = TreeSearch(ValueFunction("threes", shares), simulations=(2, 10), branch=3, step_end="=")
    rows = way.think(writer, problems)
    plain = Votes(6).think(writer, problems)
    votes = [shares(None, [row.texts[1]["text"]])[0] for row in rows]
    sampled = [shares(None, [t["text"]])[0] for row in plain for t in row.texts]
    assert sum(votes) / len(votes) > sum(sampled) / len(sampled)
    for row in rows:
        assert [(p.way, p.setting) for p in row.points] == [(TREE, 2), (TREE, 10)]
        assert 0 < row.points[0].tokens <= row.points[1].tokens  # equal where every step ended its text
    assert any(row.points[0].tokens < row.points[1].tokens for row in rows)
    assert way.think(writer, problems) == rows


def test_where_all_ended_nothing_is_grown_again(problems):
    root = TreeNode(Draft((1,)))
    tree = ThinkingTree(problems[0], root, explore=0.0)
    tree.grow(root, [Draft((1,), (2,)), Draft((1,), (3,))], [1.0, 9.0], [False, True])
    low, high = root.children
    assert tree.leaf() is low
    assert (high.closed, root.closed) == (True, False)
    tree.grow(low, [Draft((1,), (2, 4))], [0.0], [True])
    assert low.closed
    assert root.closed


@pytest.mark.parametrize("wrong", [{"simulations": (0,)}, {"branch": 0}, {"explore": -1.0}])
def test_trees_that_cannot_grow_are_refused(wrong):
    with pytest.raises(AhaError, match="give"):
        TreeSearch(ValueFunction("x", lambda p, t: [0.0] * len(t)), **wrong)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--methods", "mcts"), "asks what a beginning is worth"),
        (("--n", "0"), "give 1 or more answers"),
        (("--methods", ","), "names no way of thinking"),
        (("--task", "countdown,logic"), "name one task"),
        (("--methods", "votes", "--budgets", "32"), "--budgets would have no effect: it is of forcing"),
        (
            ("--methods", "votes", "--samples", "2"),
            "--samples would have no effect: it is of forcing or refine or length",
        ),
        (("--rounds", "3"), "--rounds would have no effect: it is of refine"),
        (("--methods", "refine", "--n", "3"), "--n would have no effect: it is of votes"),
        (
            ("--methods", "refine", "--value", "x.py:f"),
            "--value would have no effect: it is of votes or beam or mcts",
        ),
        (("--methods", "forcing", "--ending", "So:", "--explore", "2"), "--explore would have no effect"),
        (("--budgets", "32,440"), "--budgets 440 would have no effect: thinking ends at --max-tokens 440"),
        (("--value", "nowhere"), "--value 'nowhere' is no folder"),
    ],
)
def test_slips_are_told_before_a_model_is_asked(words, said, tmp_path, capsys):
    assert main(["think", "tiny", "--results", str(tmp_path), *words]) == 1
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


# --- writing -------------------------------------------------------------------------------------------------


def test_a_text_is_cut_before_a_mark_with_its_own_tokens(writer, problems):
    ids = writer.encode(" <think>12+3=15</think> <answer>")
    draft = replace(writer.begin(problems[0]), ids=tuple(ids))
    cut = writer.cut_before(draft, chat.END_THINK)
    assert writer.text(cut) == " <think>12+3=15"
    assert cut.ids == draft.ids[: len(cut.ids)]
    assert writer.cut_before(draft, "=15</th").ids[: len(cut.ids) - 3] == draft.ids[: len(cut.ids) - 3]


def test_drafts_without_room_come_back_cut_and_others_go_on(writer, problems, source):
    draft = writer.begin(problems[0])
    size = len(draft.prompt_ids)
    tight = replace(writer, source=replace(source, context=size + 3))
    (one,), (two,) = tight.go_on(
        [(problems[0], draft), (problems[0], replace(draft, ids=(5, 5, 5)))], "x", most=50
    )
    assert len(one.ids) <= 3
    assert two.ids == (5, 5, 5)
    assert SPREAD > 1000


# --- killed --------------------------------------------------------------------------------------------------


WAYS = [BudgetForcing(waits=1, samples=2, answer_tokens=16), Votes(3)]


@pytest.fixture(scope="module")
def whole(source, asked, tmp_path_factory):
    """A session that nobody killed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(thinking, "PART", 4)
        return thinking.run("tiny", source, asked, WAYS, PROTOCOL, tmp_path_factory.mktemp("whole"))


@pytest.mark.parametrize("cut", [1, 4])
def test_a_killed_session_comes_to_the_same_figures(whole, source, asked, tmp_path, monkeypatch, cut):
    monkeypatch.setattr(thinking, "PART", 4)
    half = tmp_path / "half"
    half.mkdir()
    for file in whole.files:
        lines = file.read_bytes().splitlines(keepends=True)
        (half / file.name).write_bytes(b"".join(lines[:cut]) + lines[cut][:40])
    again = thinking.run("tiny", source, asked, WAYS, PROTOCOL, half)
    assert again.figures == whole.figures
    for file in whole.files:
        assert sorted((half / file.name).read_text().splitlines()) == sorted(file.read_text().splitlines())
    monkeypatch.setattr(source.engine, "generate", None)  # nothing is asked a third time
    assert thinking.run("tiny", source, asked, WAYS, PROTOCOL, half).figures == whole.figures


def test_what_ranks_found_is_taken_over(source, asked, tmp_path, monkeypatch):
    monkeypatch.setattr(thinking, "PART", 2)
    whole = thinking.run("tiny", source, asked, [Votes(2)], PROTOCOL, tmp_path / "whole")
    lines = whole.files[0].read_text().splitlines(keepends=True)
    left = tmp_path / "left" / whole.files[0].name
    left.parent.mkdir()
    left.with_name(f"{left.stem}.rank0.jsonl").write_text("".join(lines[:2]))
    left.with_name(f"{left.stem}.rank1.jsonl").write_text("".join(lines[3:]) + lines[2][:30])
    again = thinking.run("tiny", source, asked, [Votes(2)], PROTOCOL, left.parent)
    assert again.figures == whole.figures
    assert sorted(left.read_text().splitlines(keepends=True)) == sorted(lines)
    assert {f.suffix for f in left.parent.iterdir()} == {".json", ".jsonl"}
    assert len(list(left.parent.iterdir())) == 2


@pytest.mark.slow
def test_ranks_think_to_the_same_figures(tmp_path):
    words = "think tiny --task countdown --problems 70 --methods votes,forcing --budgets 16 --n 2 --samples 1"
    words += " --max-tokens 40 --dtype float32 --threads 1 --json --results"

    def figures(folder, *more):
        command = [sys.executable, "-m", "aha", *words.split(), str(folder), *more]
        return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    assert figures(tmp_path / "two", "--ranks", "2") == figures(tmp_path / "one")


# --- endpoints -----------------------------------------------------------------------------------------------


def test_behind_an_endpoint_answers_are_chosen_and_texts_are_not_continued(source, asked, tmp_path):
    with Server(ModelBackend(source.engine, source.tokenizer, "tiny")) as server:
        behind = opening.open_model(f"{server.url}#tiny", tmp_path, "bare", "cpu", "float32", 1)
        ways = [Votes(3), Refinement(samples=1), LengthPrompts((16,), samples=1)]
        protocol = replace(PROTOCOL, problems=2, strict=False)
        result = thinking.run("served", behind, asked, ways, protocol, tmp_path / "e")
        assert [f.setting for f in result.figures if f.way == MAJORITY] == [1, 2, 3]
        assert all(f.tokens > 0 for f in result.figures)
        with pytest.raises(AhaError, match="--methods votes,refine,length"):
            thinking.run("served", behind, asked, [BudgetForcing()], protocol, tmp_path / "e")
