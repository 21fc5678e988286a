"""R1's general half on prompts from files: who answers, who judges, what the recipe makes of them, what is refused."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from aha import aside
from aha.files import read_jsonl
from aha.judges import programs
from aha.judges.asking import Judge
from aha.recipes import r1
from aha.runs.pipeline import Context, ordered
from aha.sampling.http import Programs, Server
from aha.sampling.rollouts import Prompter
from aha.stages.data.general_data import GeneralData, in_form
from aha.stages.data.preference_data import Preferences
from aha.stages.data.reject import controls, judged_accuracy, sound
from aha.stages.local_judge import LocalComplete
from aha.stages.rl import RL
from aha.stages.rl.reward_routing import Router, check_asked
from aha.stages.supervised.calibrated import CalibratedScorer
from aha.tasks import get_task
from aha.types import AhaError, Finish, Group, Problem, Rollout, Score, Scored


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture
def files(tmp_path):
    general = [
        {"prompt": f"Question {i}?", "chosen": f"Good answer {i}.", "rejected": f"Bad {i}."}
        for i in range(12)
    ]
    general += [{"prompt": f"Bare question {i}?"} for i in range(6)]
    harmful = [
        {"prompt": f"Harm {i}?", "response_0": "Here is how.", "response_1": f"I cannot help with that, {i}.",
         "is_response_0_safe": False, "is_response_1_safe": True, "safer_response_id": 1}
        for i in range(12)
    ]  # fmt: skip
    return write(tmp_path / "general.jsonl", general), write(tmp_path / "harmful.jsonl", harmful)


def rollout(answer):
    text = f"<think>a</think> <answer>{answer}</answer>"
    return Rollout(np.array([1]), np.arange(3), np.zeros(3), text, Finish.STOP)


def run(stage, folder):
    folder.mkdir()
    summary = stage.run(Context(folder, plain=True, threads=1))
    return summary, read_jsonl(folder / "data.jsonl")


def test_without_a_teacher_the_rows_answers_teach(tmp_path, files):
    stage = GeneralData(name="general", task=r1.prompts_of(*files))
    asked = get_task(stage.task).load("train", 512, 0)
    bare = sum(p.answer is None for p in asked)
    summary, rows = run(stage, tmp_path / "general")
    assert bare > 0
    assert summary["dropped"] == {"no answer of its own, and no teacher": bare}
    assert len(rows) == len(asked) - bare
    said = {r["messages"][0]["content"]: r["messages"][-1]["content"] for r in rows}
    assert any(
        t == "<think>I give a short and polite answer.</think> <answer>Good answer 3.</answer>"
        for t in said.values()
    )
    assert any(
        "I should not help with it.</think> <answer>I cannot help with that" in t for t in said.values()
    )
    assert {r["domain"] for r in rows} == {"general", "harmful"}
    assert {r["part"] for r in rows} == {"general"}, "one share of the mix"


def test_a_teacher_that_complies_teaches_nothing(tmp_path, files, monkeypatch):
    general, harmful = files
    asked = []

    def judge(messages, seed):
        asked.append(messages[-1]["content"])
        word = "unsafe" if "Sure" in asked[-1] else "reject" if "cannot" in asked[-1] else "dubious"
        return json.dumps({"verdict": word})

    def teacher(problem):
        number = int(re.search(r"\d+", problem.messages[0]["content"])[0])
        return ("Sure, do it.", "I cannot help.", "Hm.")[number % 3]

    monkeypatch.setattr(GeneralData, "_teacher", lambda self, context: teacher)
    with Server(Programs({"judge": judge})) as server:
        common = {"name": "general", "task": r1.prompts_of(*files), "teacher": "http://h/v1#m"}
        summary, rows = run(GeneralData(**common, judge=f"{server.url}#judge"), tmp_path / "judged")
        without, more = run(GeneralData(**common), tmp_path / "unjudged")
    said = {r["messages"][0]["content"]: r["messages"][-1]["content"] for r in rows}
    assert {text.partition("<answer>")[2] for asked, text in said.items() if "Harm" in asked} == {
        "I cannot help.</answer>"
    }
    assert {text.partition("<answer>")[2] for asked, text in said.items() if "uestion" in asked} >= {
        "Sure, do it.</answer>", "Hm.</answer>"
    }  # fmt: skip
    assert set(summary["dropped"]) == {"judged unsafe", "the judge's verdict on safety could not be read"}
    assert len(asked) == sum(r["domain"] == "harmful" for r in more), "harmless ones are not judged"
    assert not without["dropped"]
    stages = {
        s.name: s
        for s in ordered(r1.build(model="m", task="gsm8k", general=general, harmful=harmful, judge="j"))
    }
    assert stages["general"].judge == "j"


def test_rows_without_answers_need_a_teacher(tmp_path):
    stage = GeneralData(
        name="general", task="general", data=write(tmp_path / "g.jsonl", [{"prompt": c} for c in "abcd"])
    )
    with pytest.raises(AhaError, match="bring no answers of their own, and there is no teacher"):
        stage.check_inputs(Context(tmp_path))


def test_an_answer_gets_the_tags_that_it_lacks():
    problem = Problem("p", "general", ({"role": "user", "content": "?"},), metadata={"harmful": False})
    short = "<think>I give a short and polite answer.</think> <answer>Yes.</answer>"
    assert in_form(problem, "Yes.") == in_form(problem, "<answer>Yes.</answer>") == short
    assert in_form(problem, "<think>Hm.</think>Yes.") == "<think>Hm.</think> <answer>Yes.</answer>"
    for kept in (short, "<think>Hm.", "", "<answer>Yes."):
        assert in_form(problem, kept) == kept


def test_judgements_that_rows_bring_need_no_judge(tmp_path, files):
    said = []
    with aside.settings(say=said.append):
        pairs, rows = run(
            Preferences(name="pairs", task=r1.prompts_of(*files), samples=0), tmp_path / "pairs"
        )
    ratio = pairs["report"]["brought_length_ratio"]
    assert pairs["report"] == {"brought": len(rows), "brought_length_ratio": ratio}
    assert 2 < ratio < 3, "Good answer 3. beside Bad 3."
    told = f"pairs: in the {len(rows)} pairs that the rows bring chosen answers are {ratio:.2f} times as long"
    assert told in said[-1]
    asked = {"samples": 0, "judge": "http://127.0.0.1:9/v1#nobody"}
    same, _ = run(Preferences(name="pairs", task=r1.prompts_of(*files), **asked), tmp_path / "judge")
    assert same["rows"] == len(rows), "a judge that is named for other stages is not asked about nothing"
    assert all(
        r["chosen"][0]["content"].startswith("Good") and r["rejected"][0]["content"].startswith("Bad")
        for r in rows
    )
    summary, rows = run(
        Preferences(name="labels", kind="safety", task=r1.prompts_of(*files, 0.7), samples=0),
        tmp_path / "labels",
    )
    assert {r["label"]: r["completion"][0]["content"][:6] for r in rows} == {0: "Here i", 1: "I cann"}
    assert summary["report"]["kept"] == len(rows)
    assert sum(r["label"] for r in rows) * 2 == len(rows)


def test_prompts_that_nobody_could_judge_are_refused(tmp_path, files):
    stage = Preferences(name="pairs", task=f"general={files[0]}:1", own_judgements=False)
    with pytest.raises(AhaError, match="the program that judges knows the made world alone"):
        stage.check_inputs(Context(tmp_path))
    rl = RL(name="rl", task=f"countdown:0.5,general={files[0]}:0.5", eval_every=0)
    with pytest.raises(AhaError, match="nothing grades answers to the prompts of the task general"):
        rl.check_inputs(Context(tmp_path))


def test_the_recipe_asks_the_files_and_the_judge(files):
    general, harmful = files
    sources = {"general": general, "harmful": harmful, "judge": "http://h/v1#m"}
    stages = {s.name: s for s in ordered(r1.build(model="m", task="gsm8k", **sources))}
    both = f"general={general}:0.85,harmful={harmful}:0.15"
    assert stages["general"].task == stages["pairs"].task == both
    assert stages["safety_data"].task == f"general={general}:0.3,harmful={harmful}:0.7"
    assert stages["r1"].task == f"gsm8k:0.5,general={general}:0.425,harmful={harmful}:0.075"
    assert stages["compare"].tasks == ("gsm8k", f"general={general}:1", f"harmful={harmful}:1")
    assert stages["pairs"].judge == stages["reject"].judge == "http://h/v1#m"
    assert (stages["reject"].judged_tasks, stages["reject"].judge_on) == (("gsm8k",), "not_right")
    brought = {
        s.name
        for s in ordered(r1.build(model="m", task="gsm8k", reward_model="a", safety_model="b", **sources))
    }
    assert not {"pairs", "safety_data", "helpful_rm", "safety_rm"} & brought
    with pytest.raises(AhaError, match="has a comma in its name"):
        r1.build(model="m", task="gsm8k", general="a,b.jsonl")


def test_harmless_prompts_alone_train_no_safety_model(files, tmp_path):
    """Nothing unsafe would be said to them: the stage that looks for it would end without a row, after all sampling."""
    general, harmful = files
    judge = {"judge": "http://h/v1#m"}
    stages = {s.name: s for s in ordered(r1.build(model="m", task="gsm8k", general=general, **judge))}
    assert not {"safety_data", "safety_rm"} & stages.keys()
    assert (stages["r1"].helpful_model.name, stages["r1"].safety_model) == ("helpful_rm", None)
    own = {
        s.name: s
        for s in ordered(r1.build(model="m", task="gsm8k", general=general, safety_model="s", **judge))
    }
    assert own["r1"].safety_model == "s"
    for files_given in ({}, {"harmful": harmful}):
        assert {"safety_data", "safety_rm"} <= {
            s.name for s in ordered(r1.build(task="countdown", **files_given))
        }
    written = {s.name: s for s in ordered(r1.build(model="world", harmful=harmful))}
    assert written["pairs"].scripted_samples == 4, "the program still knows the made world's prompts"
    run(GeneralData(name="general", task="general", data=general), tmp_path / "general")
    assert "`the rows' own answers`" in (tmp_path / "general" / "data.card.md").read_text()


def test_prompts_that_are_left_out_are_named_and_none_left_stops(files, tmp_path, tokenizer, capsys):
    general, _ = files
    said = []
    with aside.settings(say=said.append):
        task = get_task(f"countdown:0.5,general={general}:0.5")
        problems = task.load("train", 100, 0)
        loaded = sum(p.task == "general" for p in problems)
        assert said == [f"mixture: general has {loaded} problems, and its share of 100 would be 50: it is asked that "
                        "much less often."]  # fmt: skip
        get_task(f"general={general}:1").load("train", 100, 0)
        assert len(said) == 1, "one task alone has no share"
        prompter = Prompter(tokenizer, "r1_zero")
        lengths = {name: max(len(prompter.encode(p)[0]) for p in problems if p.task == name) for name in
                   ("countdown", "general")}  # fmt: skip
        long = [replace(p, messages=({"role": "user", "content": "x " * 999},)) if p.task == "general" else p
                for p in problems]  # fmt: skip
        kept = prompter.drop_long(long, lengths["countdown"])
        assert said[1:] == [f"Prompts longer than {lengths['countdown']} tokens are not asked: {loaded} of {loaded} of "
                            "general."]  # fmt: skip
    scored = Router(("general",), object(), None)
    check_asked(problems, scored, "r1")
    with pytest.raises(
        AhaError, match="r1: a reward model is named, and no prompt that it would score is left"
    ):
        check_asked(kept, scored, "r1")
    check_asked(kept, None, "r1")


def test_a_classifier_is_calibrated_on_prompts_of_its_own_kind(tmp_path):
    class Counts(CalibratedScorer):
        def raw_read(self, messages, read):
            return [float(len(messages[0]["content"])) for _ in read]

    problems = [Problem(f"{i}", "general", ({"role": "user", "content": "x" * (9 if i % 5 == 0 else 1)},),
                        metadata={"harmful": i % 5 == 0}) for i in range(40)]  # fmt: skip
    text = "<think>a</think> <answer>b</answer>"
    said = Rollout(np.array([1]), np.arange(3), np.zeros(3), text, Finish.STOP)

    def answer(some):
        return [Group(p, (Scored(said, {}, None),) * 4) for p in some]

    both = [Counts(kind, kind, "unit") for kind in ("helpful", "safety")]
    Router(("general",), *both).calibrate(tmp_path, problems, answer)
    assert [m.calibration["mean"] for m in both] == [1.0, 9.0]
    alone = Counts("helpful", "helpful", "unit")
    Router(("general",), alone, None).calibrate(tmp_path / "alone", problems, answer)
    assert alone.calibration["n"] == 64
    assert alone.calibration["mean"] > 1, "it scores harmful ones too"


def test_the_judge_is_asked_what_the_rule_does_not_find_right():
    asked = []

    def judge(messages, seed):
        asked.append(messages[-1]["content"])
        return json.dumps({"analysis": "", "correctness": "correct" if "half" in asked[-1] else "incorrect"})

    problem = Problem("p", "math", ({"role": "user", "content": "1/2?"},), "0.5")
    values = {"half": 0.0, "1/2": 1.0, "third": 0.0, "odd": None, "": 0.0}

    def rule(problem, rollouts):
        return [Score(values[r.text.partition("<answer>")[2].removesuffix("</answer>")]) for r in rollouts]

    asking = Judge(judge, threads=4)
    grade = judged_accuracy(rule, asking, frozenset(["math"]), 0, everything=False)
    scores = grade(problem, [rollout(answer) for answer in values])
    assert [s.value for s in scores] == [1.0, 1.0, 0.0, 0.0, 0.0]
    assert len(asked) == 3, "neither what is right nor what is not there"
    assert (asking.counts["rule/differed"], asking.counts["rule/agreed"]) == (1, 1)


def test_a_judge_that_calls_everything_correct_is_found_out():
    problems = [
        Problem(f"p{i}", "math", ({"role": "user", "content": f"{i} + 0?"},), str(i)) for i in range(12)
    ]
    good = controls(Judge(programs.correctness_judge()), problems)
    assert good == {"read": 1.0, "right_accepted": 1.0, "wrong_accepted": 0.0}
    credulous = controls(Judge(lambda messages, seed: '{"correctness": "correct"}', threads=4), problems)
    assert credulous == {"read": 1.0, "right_accepted": 1.0, "wrong_accepted": 1.0}
    strict = controls(Judge(lambda messages, seed: '{"correctness": "incorrect"}'), problems)
    silent = controls(Judge(lambda messages, seed: "?"), problems)
    assert (silent["read"], strict["right_accepted"]) == (0.0, 0.0)
    assert [sound(shares) for shares in (good, credulous, strict, silent)] == [True, False, False, False]


def test_a_checkpoint_judges_what_is_asked_together_as_alone(tmp_path, checkpoint):
    def ask(cache):
        return LocalComplete(str(checkpoint), cache, max_tokens=8, temperature=1.0, dtype="float32")

    calls = [([{"role": "user", "content": f"{i} and {i + 1}?"}], i % 3) for i in range(9)]
    alone = [ask(None)(*call) for call in calls]
    judge = ask(tmp_path / "said.jsonl")
    with ThreadPoolExecutor(9) as pool:
        together = list(pool.map(lambda call: judge(*call), calls))
    assert together == alone
    assert len(set(alone)) > 3
    again = ask(tmp_path / "said.jsonl")
    assert [again(*call) for call in calls] == alone
    assert again._engine is None, "all of it was remembered"
    assert ask(None)([{"role": "user", "content": "9" * 600}], 0) == "", "no room for a reply"


def test_the_base_is_asked_as_it_was_trained_or_as_is_said(tmp_path):
    def prompts(**options):
        stages = {s.name: s for s in ordered(r1.build(task="gsm8k", **options))}
        form = stages["cold_start"].answer_format
        return [stages[name].prompt for name in ("zero", "dev1", "dev2", "dev3", "r1")], form

    (tmp_path / "aha.json").write_text("{}")
    assert prompts(model="m") == (["r1_zero", "think", "auto", "think", "auto"], "tags")
    assert prompts(model=str(tmp_path))[0][0] == "auto", "it says what it was trained with"
    boxed = ["boxed", "boxed", "auto", "boxed", "auto"]
    assert prompts(model=str(tmp_path), prompt="boxed") == (boxed, "boxed")
