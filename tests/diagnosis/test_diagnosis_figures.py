"""The figures and the causes of a diagnosis, against numbers worked by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from aha.diagnosis import figures, setup, stored, supervised
from aha.diagnosis.causes import CAUSES
from aha.diagnosis.diagnose import findings
from aha.diagnosis.monitor import Monitor
from aha.diagnosis.sampled import Sampled
from aha.diagnosis.seen import Seen, leaks
from aha.diagnosis.truth import best, truth_fall
from aha.files import write_jsonl
from aha.runs import health
from aha.runs.metrics import rl_metrics
from aha.runs.report import data
from aha.stages.evaluation.evaluate import rollout_rows
from aha.tasks import countdown, get_task
from aha.types import AhaError, Finish, Group, Outcome, Problem, Rollout, Score, Scored, Verdict

PROBLEM = Problem(
    "p", "math", ({"role": "user", "content": "What is 6 * 7?"},), "42", metadata={"place": "tags"}
)


def member(text="", reward=0.0, right=None, tokens=10, finish=Finish.STOP, note="", name="accuracy"):
    ids = np.zeros(tokens, np.int32)
    value = reward if right is None else right
    scores = {name: Score(value, note)}
    return Scored(Rollout(ids[:0], ids, np.zeros(tokens, np.float32), text, finish), scores, reward)


def group(*members, problem=PROBLEM):
    return Group(problem, members)


# --- figures -------------------------------------------------------------------------------------------------------


def test_a_reward_that_is_a_length_is_paid_for_length_alone():
    """Four equally wrong completions, rewards 1 2 3 4 by length: all of the variance."""
    paid = group(*(member(reward=r, right=0.0, tokens=10 * r) for r in (1, 2, 3, 4)))
    assert figures.paid_for([paid], figures.length) == pytest.approx(1.0)
    upside_down = group(*(member(reward=r, right=0.0, tokens=50 - 10 * r) for r in (1, 2, 3, 4)))
    assert figures.paid_for([upside_down], figures.length) == 0.0, "shorter ones are paid more"


def test_right_answers_that_are_long_are_no_payment_for_length():
    """Rewards differ only between right and wrong: within each there is nothing that length could explain."""
    paid = group(
        *(member(reward=right, right=right, tokens=t) for right, t in ((0, 5), (0, 9), (1, 40), (1, 50)))
    )
    assert figures.paid_for([paid], figures.length) == 0.0


def test_the_share_that_is_paid_by_hand():
    """Right: rewards 1.0 and 1.4 at 10 and 20 tokens; wrong: 0.0 and 0.2 at 10 and 20. Ranks within the group are
    1/6, 5/6, 1/6, 5/6. Less their cell's mean: r = -.2 .2 -.1 .1, m = -1/3 1/3 -1/3 1/3. (sum r m)^2 / sum m^2 =
    0.2^2 / (4/9) = 0.09; the rewards' mean is 0.65, their sum of squares 1.31."""
    paid = group(
        *(
            member(reward=r, right=float(r >= 1), tokens=t)
            for r, t in ((1, 10), (1.4, 20), (0, 10), (0.2, 20))
        )
    )
    assert figures.paid_for([paid], figures.length) == pytest.approx(0.09 / 1.31)


def test_what_cannot_be_graded_is_left_out():
    assert figures.paid_for([group(member(reward=None), member(reward=1.0))], figures.length) == 0.0
    assert figures.step_figures([group(member(reward=None))])["paid/length"] == 0.0
    assert figures.step_figures([])["completions/repetition"] == 0.0
    cut = figures.step_figures([group(member("no", finish=Finish.LENGTH))])
    assert "answers/missing" not in cut, "of nothing there is no share"


def test_an_answer_is_missing_where_it_was_asked_for():
    tagged, boxed = "<think>6*7</think> <answer>42</answer>", "so \\boxed{42}"
    asked_box = replace(PROBLEM, metadata={"place": "boxed"})
    assert not figures.is_missing(PROBLEM, member(tagged))
    assert figures.is_missing(PROBLEM, member("it is 42"))
    assert figures.is_missing(asked_box, member(tagged))
    assert not figures.is_missing(asked_box, member(boxed))
    assert not figures.is_missing(PROBLEM, member("it is 42", right=1.0)), "a verifier may look elsewhere"
    assert not figures.is_missing(PROBLEM, member("it is", finish=Finish.LENGTH)), (
        "what is cut had no room for it"
    )
    step = figures.step_figures([group(member(tagged), member("no"), member("cut", finish=Finish.LENGTH))])
    assert step["answers/missing"] == 0.5


def test_repetition_is_the_share_of_runs_of_eight_words_that_stood_before():
    once = "one two three four five six seven eight nine ten"
    assert figures.repetition(member(once).rollout) == 0.0
    looped = figures.repetition(member(" ".join(["wait I must think again about this now"] * 10)).rollout)
    assert looped == pytest.approx(1 - 8 / 73), "80 words are 73 runs, of which 8 differ"


def test_a_chain_that_is_the_answer_again_holds_no_thought():
    def alone(text):
        return figures.answers_alone(member(text).rollout)

    assert alone("<think>6*7.</think> <answer>6*7</answer>")
    assert alone("<think>I think the answer is 6*7</think> <answer>6*7</answer>")
    assert not alone("<think>5*7=35, too small. 6*7</think> <answer>6*7</answer>")
    assert not alone("<think>five sevens are too few</think> <answer>6*7</answer>")
    assert alone("<think>maybe 6*7?</think> <answer>6*7</answer>"), "a guess"
    assert not alone("6*7")


# --- the table -----------------------------------------------------------------------------------------------------


def test_every_rule_names_a_cause_that_is_explained():
    assert {rule.cause for rule in health.RULES} - {""} <= CAUSES.keys()
    assert all(by in CAUSES for cause in CAUSES.values() for by in cause.explained_by)
    assert [
        name
        for name, cause in CAUSES.items()
        if not (cause.title and cause.advice and (cause.settings or name == "died"))
    ] == []


def test_no_two_causes_explain_each_other_away():
    """Otherwise neither would be named."""

    def behind(name, seen=()):
        assert name not in seen, (*seen, name)
        for by in CAUSES[name].explained_by:
            behind(by, (*seen, name))

    for name in CAUSES:
        behind(name)


# --- questions and graders -----------------------------------------------------------------------------------------


def asked(text, answer, **changes):
    return Problem(changes.pop("id", "p"), "math", ({"role": "user", "content": text},), answer, **changes)


def takes(word):
    return lambda problem, text: Verdict(Outcome.CORRECT if word in text else Outcome.WRONG)


@pytest.mark.parametrize(
    ("question", "answer", "told"),
    [
        ("What is 6 * 7? The answer is 42.", "42", True),
        ("6 * 7 = ? Answer: 42", "42", True),
        ("6 * 7？答案是42", "42", True),
        ("What is 6 * 7? #### 42", "42", True),
        ("There are 42 boys. How many pupils are there if 42 answer?", "42", False),
        ("What is 6 * 7? The answer is 421.", "42", False),
        ("Write (3+4)*6+0*11 as a number, that is (3+4)*6+0*11", "(3+4)*6+0*11", True),
    ],
)
def test_an_answer_leaks_where_it_is_told(question, answer, told):
    assert leaks(asked(question, answer), takes(answer)) is told


def test_a_target_in_the_question_is_no_answer():
    """Every question of Countdown holds its reference, and no equation that reaches it."""
    problem = countdown.load(countdown.TINY, "train", 1, 0)[0]
    text = f"{problem.messages[0]['content']} The result is {problem.answer}"
    told = replace(problem, messages=({"role": "user", "content": text},))
    assert leaks(told, lambda p, t: Verdict(Outcome.CORRECT)), "by its words alone it would be one"
    assert not leaks(told, countdown.verify)


def test_options_of_a_choice_hold_the_answer_and_tell_nothing():
    assert not leaks(asked("A or B? Answer: B", "B", metadata={"options": ("x", "y")}), takes("B"))


def seen(*groups):
    gathered = Seen(takes("nothing"))
    for step, one in enumerate(groups, 1):
        gathered.note(step, [one])
    return {illness.cause: illness for illness in gathered.found("rl")}


def test_copies_are_found_whatever_their_names_and_spaces():
    few = [
        group(member(), problem=asked("What is  6 * 7?" if i else "what is 6 * 7?", "42", id=f"p{i}"))
        for i in range(3)
    ]
    others = [group(member(), problem=asked(f"What is {i}?", str(i), id=f"q{i}")) for i in range(10)]
    (illness,) = seen(*few, *others).values()
    assert illness.cause == "duplicate_prompts"
    assert "2 of 13" in illness.evidence[0]
    assert seen(*others, *others) == {}, "the same problem again is another visit, and no copy"


def ungraded(note, n=4):
    return [member(reward=None, note=note)] * n


def test_a_reference_that_nothing_is_graded_by_and_a_grader_that_fails_are_two_things():
    bad = [group(*ungraded("no number"), problem=asked(f"bad {i}", "?", id=f"bad{i}")) for i in range(3)]
    good = [
        group(member(), member(reward=1.0), problem=asked(f"good {i}", "1", id=f"g{i}")) for i in range(6)
    ]
    assert list(seen(*bad, *good)) == ["ungradable_golds"]
    torn = [
        group(
            member(),
            *ungraded("own.py:3: IndexError: list index out of range", 2),
            problem=asked(f"t{i}", "1", id=f"t{i}"),
        )
        for i in range(6)
    ]
    illnesses = seen(*torn)
    assert list(illnesses) == ["grader_errors"]
    assert "own.py:3" in illnesses["grader_errors"].evidence[0]
    every = [
        group(*ungraded("own.py:3: KeyError: 'x'"), problem=asked(f"e{i}", "1", id=f"e{i}")) for i in range(6)
    ]
    assert list(seen(*every)) == ["grader_errors"], (
        "where nothing at all is graded it is no reference's fault"
    )


def test_what_was_seen_before_a_kill_is_seen_again(tmp_path):
    """A monitor that is made anew says what one that went through says, and nothing twice."""
    copies = [
        [group(member(), member(reward=1.0), problem=asked("What is 6 * 7?", "42", id=f"p{i}"))]
        for i in range(2)
    ]
    through = Monitor("rl", tmp_path, takes(""), 10)
    (tmp_path / "rollouts").mkdir()
    said = []
    for step, groups in enumerate(copies, 1):
        write_jsonl(tmp_path / f"rollouts/step_{step:05d}.jsonl", rollout_rows(step, groups))
        said += through.after_step(step, groups, [], [])
    assert said == [], "one copy of two is not enough"
    again = Monitor("rl", tmp_path, takes(""), 10)
    again.restore([])
    more = [group(member(), member(reward=1.0), problem=asked("What is 6 * 7?", "42", id="p3"))]
    assert through.after_step(3, more, [], []) == again.after_step(3, more, [], [])
    ((cause, text),) = again.after_step(3, more, [], [])
    assert (cause, "2 of 3" in text) == ("duplicate_prompts", True)
    assert again.after_step(3, more, [], [{"key": cause}]) == []


# --- truth ---------------------------------------------------------------------------------------------------------


def evaluation(step, truth, half=0.05, split="validation"):
    return {
        "name": "step",
        "split": split,
        "step": step,
        "pass@1": truth,
        "pass@1_ci": [truth - half, truth + half],
    }


def paid(*values):
    return [{"step": i, "reward": v, "rewards/judge/mean": v} for i, v in enumerate(values, 1)]


def test_reward_up_and_truth_down_is_hacking():
    metrics = paid(*np.linspace(0, 1, 20))
    fall = truth_fall(metrics, [evaluation(5, 0.5), evaluation(10, 0.6), evaluation(20, 0.3)])
    assert (fall.best, fall.step, fall.hacked) == (10, 20, True)
    assert "60.0% at step 10 to 30.0% at step 20" in fall.words()
    assert "judge from" in fall.words()
    rows = [evaluation(10, 0.6), evaluation(15, 0.3), evaluation(20, 0.2)]
    (illness,) = findings("rl", metrics, rows, Seen(takes("")))
    assert (illness.cause, illness.step) == ("reward_hacking", 15), "where it was first seen"


def test_a_fall_within_chance_is_none():
    """Half-widths 0.05 each: sqrt(0.05^2 + 0.05^2) = 0.0707; of the best of two 2.2414 / 1.96 times that, 0.0809."""
    metrics = paid(*np.linspace(0, 1, 20))
    assert truth_fall(metrics, [evaluation(10, 0.6), evaluation(20, 0.53)]) is None
    assert truth_fall(metrics, [evaluation(10, 0.6), evaluation(20, 0.529)]) is not None
    assert truth_fall(metrics, [evaluation(5, 0.1), evaluation(10, 0.6), evaluation(20, 0.52)]) is None
    assert truth_fall(metrics, [evaluation(5, 0.1), evaluation(10, 0.6), evaluation(20, 0.519)]) is not None
    assert truth_fall(metrics, [evaluation(10, 0.6)]) is None
    assert truth_fall(metrics, [evaluation(5, 0.6, split="test"), evaluation(20, 0.3)]) is None, (
        "two other splits"
    )


def test_a_policy_that_comes_apart_is_no_hacker():
    fall = truth_fall(paid(*np.linspace(1, 0, 20)), [evaluation(5, 0.6), evaluation(20, 0.1)])
    assert not fall.hacked
    (illness,) = findings(
        "rl", paid(*np.linspace(1, 0, 20)), [evaluation(5, 0.6), evaluation(20, 0.1)], Seen(takes(""))
    )
    assert illness.cause == "lr_high"


def test_the_best_evaluation_is_the_first_of_equal_ones_on_the_validation_split():
    rows = [evaluation(0, 0.9, split="test"), evaluation(5, 0.4), evaluation(10, 0.6), evaluation(15, 0.6)]
    assert best(rows)["step"] == 10
    assert best(rows[:1]) is None


# --- together ------------------------------------------------------------------------------------------------------


def test_a_consequence_is_told_behind_its_cause():
    rows = [{"step": i, "completions/clipped_ratio": 1.0, "rewards/accuracy/mean": 0.0} for i in range(1, 9)]
    illnesses = {i.cause: i for i in findings("rl", rows, [], Seen(takes("")))}
    assert illnesses["truncated"].explained_by == ()
    assert illnesses["all_wrong"].explained_by == ("truncated",)


def test_what_was_made_good_does_not_last():
    def rows(bad, good):
        values = [1.0] * bad + [0.1] * good
        return [{"step": i, "completions/clipped_ratio": v} for i, v in enumerate(values, 1)]

    assert [i.lasting for i in findings("rl", rows(4, 20), [], Seen(takes("")))] == [False]
    assert [i.lasting for i in findings("rl", rows(12, 4), [], Seen(takes("")))] == [True]


# --- stages that learn from rows -----------------------------------------------------------------------------------


def losses(*values, **more):
    return [{"step": i, "loss": v, "lr": 1e-4, "grad_norm": 1.0, **more} for i, v in enumerate(values, 1)]


def test_a_loss_rises_or_is_thrown_or_is_no_number():
    falling = losses(*np.linspace(2, 1, 20))
    assert supervised.loss_rises(falling) == ""
    assert "rose" in supervised.loss_rises(losses(*np.linspace(2, 1, 10), *np.linspace(1, 1.8, 10)))
    assert "worst 9" in supervised.loss_rises(losses(2, 9, 9, 9, *np.linspace(4, 1, 16)))
    assert supervised.loss_rises(losses(2, 9, *np.linspace(4, 1, 16))) == "", "one bad batch"
    assert "2 of 4" in supervised.loss_rises(losses(2.0, float("nan"), float("inf"), 1.0))


def test_a_held_out_loss_that_rises_while_the_other_falls_is_learning_by_heart():
    rows = losses(*np.linspace(2, 0.1, 20))
    evaluations = [{"step": 0, "validation_loss": 2.0}, {"step": 10, "validation_loss": 1.0}]
    assert "from 1 at step 10 to 1.3" in supervised.overfit(
        [*evaluations, *rows, {"step": 20, "validation_loss": 1.3}]
    )
    assert supervised.overfit([*evaluations, *rows, {"step": 20, "validation_loss": 1.04}]) == "", (
        "within chance"
    )
    assert supervised.overfit([*evaluations, *rows, {"step": "x", "validation_loss": 1.3}]) == "", (
        "nobody knows when"
    )
    rising = losses(*np.linspace(1, 2, 20))
    assert supervised.overfit([*evaluations, *rising, {"step": 20, "validation_loss": 1.3}]) == "", (
        "nothing is learned"
    )


def test_preferences_at_chance_and_those_that_have_not_moved_are_two_things():
    rng = np.random.default_rng(0)
    scatter = 0.69 + 0.02 * rng.normal(size=24)
    even = {"rewards/accuracies": 0.5, "rewards/margins": 0.0, "rewards/chosen": 0.3, "rewards/rejected": 0.3}
    rows = losses(*scatter, **even)
    assert "50.0%" in supervised.preferences_unlearned(rows, rows)
    assert supervised.unmoved(rows, 0) == ""
    still = losses(*scatter, **even | {"rewards/chosen": 1e-6, "rewards/rejected": 1e-6})
    assert supervised.preferences_unlearned(still, still) == ""
    assert "no more than chance" in supervised.unmoved(still, 0)
    learned = losses(*scatter, **even | {"rewards/accuracies": 0.8, "rewards/margins": 0.4})
    assert supervised.preferences_unlearned(learned, learned) == ""


def test_a_loss_of_zero_leaves_nothing_to_learn():
    nothing = [row | {"grad_norm": 0.001} for row in losses(*[0.0001] * 6)]
    assert supervised.nothing_to_learn(nothing)
    assert not supervised.nothing_to_learn(losses(*[0.5] * 6))


def test_rows_that_were_left_out_are_counted_with_their_reasons():
    words = supervised.rows_lost(
        {"rows": 20, "held_out": 4, "dropped": {"too long": 30, "nothing is said": 2}}
    )
    assert "32 of 56" in words
    assert "too long: 30" in words
    assert supervised.rows_lost({"rows": 40, "held_out": 4, "dropped": {"too long": 30}}) == ""


# --- how samples end -----------------------------------------------------------------------------------------------


def test_completions_that_answered_and_went_on_do_not_lack_room():
    said = "<think>6*7</think> <answer>42</answer>"
    on = [member(said + " User: And 7 * 8? " * 12, finish=Finish.LENGTH)] * 4
    (illness,) = seen(group(*on)).values()
    assert illness.cause == "never_ends"
    short = [member("<think>" + "let me see " * 30, finish=Finish.LENGTH)] * 4
    assert seen(group(*short)) == {}, "these lack room"
    assert seen(group(*[member(said)] * 6, on[0])) == {}, "one of seven"


def test_samples_that_are_copies_from_the_first_step_on():
    def sampled(*steps):
        gathered = Sampled()
        for step, differ in enumerate(steps, 1):
            members = [member(f"text {i if differ else 0}") for i in range(4)]
            gathered.note(step, [group(*members)] * 4)
        return [illness.cause for illness in gathered.found("rl")]

    assert sampled(False, False, False, True) == ["no_diversity"]
    assert sampled(True, True, True, False, False, False) == [], (
        "what training has made of them has another cause"
    )


# --- questions that no rule grades ---------------------------------------------------------------------------------


def test_general_questions_are_no_wrong_answers():
    """Half of the questions have a rule, and those are right: their share is 1, marked or by an older run's note."""
    ruled = group(*[member(reward=1.0)] * 2)
    note = "a general question: no rule"
    quiet = Scored(member().rollout, {"accuracy": Score(0.0, note, silent=True)}, 0.4)
    general = group(quiet, quiet, problem=asked("Write a poem.", None, id="g"))
    assert figures.by_rule([ruled, general]) == {"rewards/accuracy/mean": 1.0}
    assert figures.by_rule([ruled]) == {}
    assert figures.correctness(quiet) is None
    (old,) = stored.groups([{"problem_id": "g", "scores": {"accuracy": {"value": 0.0, "note": note}}}])
    assert old.members[0].scores["accuracy"].silent
    means = rl_metrics(1, [ruled, general], [np.zeros(2)] * 2, {}, np.zeros(0))
    assert means["rewards/accuracy/mean"] == 1.0


# --- what a stage was set up with ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("prompt", "missing", "named"), [
    ("boxed", 1.0, True), ("boxed", 0.2, False), ("auto", 1.0, False), ("r1_zero", 1.0, False), ("", 1.0, False),
])  # fmt: skip
def test_another_prompt_is_wrong_where_the_model_does_not_understand_it(tmp_path, prompt, missing, named):
    (tmp_path / "sft/final").mkdir(parents=True)
    (tmp_path / "sft/final/aha.json").write_text('{"prompt": "r1_zero"}')
    rows = [{"step": i, "answers/missing": missing, "completions/clipped_ratio": 0.0} for i in range(1, 6)]
    illness = setup.wrong_prompt("rl", {"model": "<sft>"}, prompt, tmp_path, rows)
    assert (illness is not None) is named


def test_held_out_problems_among_those_that_are_trained_on():
    class Same:
        def load(self, split, n, seed):
            return countdown.load(countdown.TINY, "train", n, 0)

    known = {p.id: p for p in countdown.load(countdown.TINY, "train", 50, 0)}
    settings = {"test_problems": 20, "eval_problems": 20, "eval_every": 0}
    illness = setup.held_out_trained("rl", Same(), known, settings)
    assert len(illness.evidence) == 1, "the validation split is not asked"
    assert "20 of 20" in illness.evidence[0]
    assert setup.held_out_trained("rl", get_task("countdown"), known, settings) is None


@pytest.mark.parametrize("value", ["x", {}, -1, 1e300, float("inf"), True, 10**30])
def test_a_setting_that_is_no_number_of_things_is_named(value):
    with pytest.raises(AhaError, match="train_problems="):
        stored.count({"train_problems": value}, "train_problems")
    assert stored.count({}, "train_problems", 8) == 8


def test_lengths_that_cannot_be_are_read_as_what_can():
    rows = [{"problem_id": "g", "member": i, "tokens": n} for i, n in enumerate((-1, 3, 1e300, "x"))]
    (group,) = stored.groups(rows)
    assert [len(m.rollout.completion_ids) for m in group.members] == [0, 3, stored.LONGEST, 0]


def test_rows_whose_step_is_no_number_stand_where_they_were_written():
    rows = [{"step": 1}, {"step": "x", "loss": 1.0}, {"step": None}, {"loss": 2.0}]
    stage = data.stage_data(Path("rl"), {}, rows, [], [])
    assert [row["step"] for row in stage.metrics] == [1, 2, 3, 4]
