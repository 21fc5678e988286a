"""Strange but fair parts, as people bring them who know TRL and verl: each works, or one sentence says what to do."""

from __future__ import annotations

import functools
import json
import subprocess
import sys

import numpy as np
import pytest

from aha import chat, plugins
from aha.modeling import load_tokenizer
from aha.recipes import get_recipe
from aha.rewards import get_reward
from aha.runs import config
from aha.stages.rl import RL
from aha.tasks import get_task
from aha.types import AhaError, Finish, Outcome, Problem, Rollout

ROW = {"data_source": "mine", "extra_info": {"index": 4}}
PROBLEM = Problem("p", "t", ({"role": "user", "content": "What is 2 + 2?"},), "4", metadata={"row": ROW})


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Writes a file of parts into a folder with a space and an umlaut; returns how to name one of them."""
    folder = tmp_path / "Über uns, (2)"
    folder.mkdir()
    monkeypatch.chdir(tmp_path)

    def write(text):
        (folder / "my parts.py").write_text(text, encoding="utf-8")
        return lambda part: f"{folder.name}/my parts.py:{part}"

    return write


def grade(name):
    ids = np.arange(5, dtype=np.int32)
    rollouts = [Rollout(ids, ids, np.zeros(5, np.float32), text, Finish.STOP) for text in ("4", "ab")]
    return get_reward(name, lambda problem, text: None)(PROBLEM, rollouts)


REWARDS = """
import asyncio, functools, torch
import numpy as np

def keeps(f):
    @functools.wraps(f)
    async def inner(*args, **kwargs): return await f(*args, **kwargs)
    return inner

@keeps
async def waits(problem, text): return float(len(text))

class Length:
    def __call__(self, problem, text): return len(text)
    def score(self, problem, text): return len(text)

length, score = Length(), Length().score
bound = functools.partial(lambda scale, problem, text: scale * len(text), 1.0)
short = lambda problem, text: len(text)

def numpy_(problem, text): return np.float32(len(text))
def tensor(problem, text): return torch.tensor([float(len(text))], requires_grad=True)
def truth(problem, text): return len(text) == 1
def yields(completions, **columns):
    for text in completions: yield len(text)
def tensors(completions, **columns): return torch.tensor([1.0, 2.0], requires_grad=True)
def alone(problem, text, *, level=1): return level * len(text)
def loud(problem, text):
    print("LOUD")
    return len(text)

def verl(data_source, solution_str, ground_truth, extra_info=None):
    assert (data_source, ground_truth, extra_info) == ("mine", "4", {"index": 4})
    return {"score": float(len(solution_str)), "acc": True}
def verl_short(solution_str, ground_truth, method="strict"): return len(solution_str)
async def verl_waits(solution_str, **more): return len(solution_str)
"""


@pytest.mark.parametrize(
    "part",
    ["waits", "Length", "length", "score", "bound", "short", "numpy_", "tensor", "yields", "tensors", "alone", "loud",
     "verl", "verl_short", "verl_waits"],
)  # fmt: skip
def test_rewards_that_work(own, part):
    assert [score.value for score in grade(own(REWARDS)(part))] == [1.0, 2.0]


def test_truth_is_one_and_what_verl_says_more_is_a_note(own):
    assert [score.value for score in grade(own(REWARDS)("truth"))] == [1.0, 0.0]
    assert grade(own(REWARDS)("verl"))[0].note == "acc=True"


@pytest.mark.parametrize(
    ("body", "note"),
    [
        ("def f(problem, text): return {'score': 1}", "my parts.py:1: gave dict, no number"),
        ("def f(problem, text): return 10 ** 400", "my parts.py:1: gave int, no number"),
        ("import torch\ndef f(problem, text): return torch.ones(3)", "my parts.py:2: gave Tensor, no number"),
        ("def f(problem, text): yield 1", "gave generator, no number"),
        ("def f(completions, **kw): return {i: 1 for i, _ in enumerate(completions)}", "gave dict, no list"),
        ("def f(completions, **kw): return {1.0, 2.0}", "gave set, no list"),
        ("def f(completions, **kw): return '12'", "gave str, no list"),
        ("def f(completions, **kw):\n    for c in completions: yield 1 / 0", "my parts.py:2: ZeroDivisionError"),
    ],
)  # fmt: skip
def test_values_that_are_none_grade_nothing_and_end_nothing(own, body, note):
    scores = grade(own(body)("f"))
    assert [score.value for score in scores] == [None, None]
    assert note in scores[0].note


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("def f(text, problem): return 1", "takes 'text' first.*the problem first"),
        ("def f(response, answer): return 1", "takes 'response' first"),
        ("def f(problem, text, *, level): return 1", r"needs 'level'.*:f:level=VALUE"),
        ("def f(completions, /, **kw): return []", "remove the '/'"),
        ("def f(solution_str, tokenizer): return 1", r"needs 'tokenizer', which verl does not give"),
        ("class C:\n    def m(self, problem, text): return 1\nf = C.m", "method without its object"),
        ("def d(g): return lambda *a: g(*a)\n@d\ndef f(problem, text): return 1", "functools.wraps"),
    ],
)
def test_what_would_be_called_wrongly_is_refused(own, body, said):
    with pytest.raises(AhaError, match=said):
        grade(own(body)("f"))


TASKS = """
from dataclasses import dataclass
from aha.types import Problem

@dataclass
class Sums:
    largest: int = 9
    def problems(self, seed): return [(f"{i} + {self.largest}?", i + self.largest) for i in range(200)]

class Voted(Sums):
    def verify(self, problem, text): return text == problem.answer
    def vote(self, problem, text): raise RuntimeError("no vote")
    def facet(self, problem): raise RuntimeError("no facet")

def numbers(seed): return [Problem(str(i), "t", ({"role": "user", "content": f"q{i}"},), i) for i in range(200)]
def open_(seed): return [{"question": f"q{i}"} for i in range(200)]
"""


def test_tasks_that_work(own, caplog):
    name = own(TASKS)
    sums = get_task(name("Sums:largest=3"))
    problem = sums.load("train", 4, 0)[0]
    assert sums.verify(problem, f"<answer>{problem.answer}</answer>").outcome is Outcome.CORRECT
    voted = get_task(name("Voted"))
    problem = voted.load("test", 2, 0)[0]
    assert voted.verify(problem, problem.answer).outcome is Outcome.CORRECT
    assert (voted.vote(problem, "4"), voted.facet(problem)) == (None, "")
    assert caplog.text.count("no vote") == caplog.text.count("no facet") == 1
    assert get_task(name("numbers")).load("train", 1, 0)[0].answer.isdecimal()
    asked = get_task(name("open_"))
    assert asked.verify(asked.load("train", 1, 0)[0], "4").outcome is Outcome.UNKNOWN


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("def f(seed):\n    yield ('a', 1)\n    raise ValueError('bad row')", "my parts.py:3: ValueError: bad row"),
        ("def f(seed): return open('nowhere')", "my parts.py:1: FileNotFoundError"),
        ("def f(seed): return None", "gives NoneType for problems"),
        ("def f(seed): return 'abc'", "gives str for problems"),
        ("async def f(seed): return []", "gives coroutine for problems"),
        ("def f(seed): return ['a'] * 99", "problem 1 is str"),
        ("def f(seed): return [(1, 1)] * 99", "the question of problem 1 is int"),
        ("def f(seed): return [([{'role': 'user'}], 1)] * 99", "list of messages with role and content"),
        ("def f(seed): return [{'id': 'x', 'question': f'q{i}', 'answer': i} for i in range(99)]", "have the id 'x'"),
        ("from aha.types import Problem\ndef f(seed): return [Problem('1', 't', 'q', '4')] * 99", "are a text"),
        ("class f:\n    def problems(self, level, seed): return []", "`problems` needs 'level'"),
        ("class f:\n    def __init__(self, level): pass", r"needs 'level'.*:f:level=VALUE"),
        ("class f:\n    problems = [('a', 1)]\n    def verify(self, text): pass", r"verify takes \(text\)"),
        ("class f:\n    problems = [('a', 1)]\n    def verify(self, text, problem): pass", r"takes \(text, problem\)"),
        ("class f:\n    problems = [('a', 1)]\n    verify = 5", "verify is int"),
        ("class f:\n    problems = property(lambda self: 1 / 0)", "my parts.py:2: ZeroDivisionError"),
    ],
)  # fmt: skip
def test_tasks_that_are_refused(own, body, said):
    with pytest.raises(AhaError, match=said):
        get_task(own(body)("f")).load("train", 50, 0)


ALGORITHMS = """
import torch
def tensors(rewards): return torch.tensor(rewards - rewards.mean(), requires_grad=True)
def rated(logprobs, entropy, view): return -logprobs, {"one": 2.0, "each": logprobs.detach()}
"""


def check(**algorithm):
    stage = RL(name="rl", model="tiny", task="countdown", algorithm=algorithm)
    stage.algorithm.check()
    return stage.algorithm


def test_algorithms_that_work(own):
    name = own(ALGORITHMS)
    check(advantage=name("tensors"))
    loss = check(objective=name("rated")).loss()
    assert loss is not None


@pytest.mark.parametrize(
    ("part", "body", "said"),
    [
        ("advantage", "def f(groups, baselines): return None", "gave NoneType, no list"),
        ("advantage", "def f(groups, baselines): return groups[:1]", "gave 1 groups for 2"),
        ("advantage", "def f(rewards): return rewards[:-1]", r"shape \(3,\) for 4 rewards"),
        (
            "objective",
            "def f(logprobs, entropy, view): return logprobs.detach().numpy()",
            "gave ndarray of shape",
        ),
        ("objective", "def f(logprobs, entropy, view): return logprobs, None", "NoneType as its statistics"),
        (
            "objective",
            "def f(logprobs, entropy, view): return logprobs, {'a': object()}",
            "as the statistic 'a'",
        ),
        ("objective", "def f(logprobs, entropy, view): return logprobs, {}, 1", "gave tuple"),
        ("preset", "f = {'advantge': 'rloo'}", "sets 'advantge'.*Did you mean 'advantage'"),
    ],
)
def test_algorithms_that_are_refused(own, part, body, said):
    with pytest.raises(AhaError, match=said):
        check(**{part: own(body)("f")})


def test_a_setting_of_ones_own_algorithm_is_named_with_its_value(own):
    stages = get_recipe("r1_zero").build()
    name = own("f = {'clip_low': 'abc'}")("f")
    with pytest.raises(AhaError, match=r"clip_low' cannot be 'abc'.*by default 0\.2"):
        config.apply(stages, {"rl.algorithm.preset": name})


@pytest.mark.parametrize(
    ("name", "text", "rendered"),
    [
        ("a.txt", 'JSON {"a": {b}} %s {0}. {question} A:', 'JSON {"a": {b}} %s {0}. 2 + {x}? A:'),
        ("b.txt", "\ufeffQ: {question}\r\nA:\r\n", "Q: 2 + {x}?\nA:"),
        ("c.txt", "Q: {{question}} A:", "double braces"),
        ("d.py", "TEXT = 'Q: {question}'", "is a Python file"),
        (
            "e.jinja",
            "{% for m in messages %}{{ m.contents }}{% endfor %}",
            "e.jinja' leaves the question out",
        ),
        (
            "f.jinja",
            "{% for m in messages %}{{ m.content }}{% endfor",
            "e prompt 'f.jinja' cannot be rendered",
        ),
        ("g.jinja", "{% for m in messages %}<{{ m.content }}>{% endfor %}", "<2 + {x}?>"),
    ],
)
def test_prompts_with_braces_and_slips(tmp_path, name, text, rendered):
    (tmp_path / name).write_text(text, encoding="utf-8", newline="")
    asked = ({"role": "user", "content": "2 + {x}?"},)
    try:
        said = chat.render(asked, load_tokenizer("tiny"), prompt=str(tmp_path / name)).text
    except AhaError as error:
        said = str(error)
        assert rendered in said
    else:
        assert said == rendered


@pytest.mark.parametrize(
    ("body", "options", "said"),
    [
        ("def f(model): return STAGE", {}, r"needs 'model': give --model"),
        ("def f(): raise RuntimeError('no')", {}, "my parts.py:3: RuntimeError: no"),
        ("def f(): return RL(name='rl', model='tiny', stepz=1)", {}, "parts.py:3: RL has no setting 'stepz'"),
        ("def f(): return RL(name='rl', model='tiny', steps=-1)", {}, "RL's steps cannot be -1"),
        ("def f(): return RL(model='tiny')", {}, "RL needs name="),
        ("def f(): return RL(name='a/b', model='tiny')", {}, "cannot be called 'a/b'"),
        ("def f(): return RL(name='a.b', model='tiny')", {}, "cannot be called 'a.b'"),
        ("def f(): return RL(name='', model='tiny')", {}, "cannot be called ''"),
        ("async def f(): return STAGE", {}, "gives coroutine"),
        ("def f(model): return RL(name='rl', model=model)", {"model": "tiny"}, ""),
        ("def f(**options): return RL(name='rl', **options)", {"model": "tiny", "steps": 3}, ""),
        ("def f():\n    yield STAGE", {}, ""),
    ],
)
def test_recipes(own, body, options, said):
    name = own(f"from aha.stages.rl import RL\nSTAGE = RL(name='rl', model='tiny')\n{body}")("f")
    if not said:
        assert get_recipe(name).build(**options)[0].name == "rl"
        return
    with pytest.raises(AhaError, match=said):
        get_recipe(name).build(**options)


def test_stages_that_need_themselves_are_refused():
    from aha.runs.pipeline import ordered

    first = RL(name="first", model="tiny")
    second = RL(name="second", model=first)
    first.model = second
    with pytest.raises(AhaError, match="needs its own result"):
        ordered([first])


@pytest.mark.parametrize(
    "words",
    [("--task", "own.py"), ('rl.rewards={"own.py": 1}',), ("rl.algorithm=own.py",), ("rl.engine=own.py",),
     ("--prompt", "own.py")],
)  # fmt: skip
def test_a_file_alone_is_told_that_a_part_of_it_is_named(words, capsys):
    from aha.cli import main

    assert main(["zero", "--no-doctor", *words]) == 1
    assert "'own.py' is a Python file: name the part in it, own.py:NAME" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("def f(messages, **more): return 'yes'", "yes"), ("async def f(messages, seed): return 'yes'", "yes"),
        ("class f:\n    def __call__(self, messages): return 'yes'", "yes"), ("def f(messages, seed): 1 / 0", ""),
        ("def f(messages, seed): return {'score': 1}", ""),
        ("def f(messages, seed, model): return 'a'", "it is called with"),
        ("def f(): return 'a'", "it is called with"),
        ("class f:\n    def __init__(self): 1 / 0", "my parts.py:2: Zero"),
        ("f = 5", "a judge is a function"),
    ],
)  # fmt: skip
def test_judges(own, body, said):
    from aha.judges.asking import own as judge

    name = own(body)("f")
    if said in ("yes", ""):
        assert judge(name)([{"role": "user", "content": "?"}], 0) == said
        return
    with pytest.raises(AhaError, match=said):
        judge(name)


def test_a_judge_that_is_not_there_is_told_before_the_run(own, capsys):
    from aha.cli import main

    assert main(["zero", "--print-config", f"rl.judge={own('def f(messages): return 1')('nix')}"]) == 1
    assert "There is no 'nix'" in capsys.readouterr().err


def test_json_stands_alone_whatever_a_task_prints(own, capsys):
    from aha.cli import main

    name = own(
        "print('LOADED')\nclass T:\n    def problems(self): return [(f'q{i}', i) for i in range(200)]\n"
        "    def verify(self, problem, text):\n        print('LOUD')\n        return True\n"
    )("T")
    words = ["--task", name, "--problems", "1", "--samples", "1", "--max-tokens", "4", "--threads", "1"]
    assert main(["eval", "tiny", *words, "--json"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["n_problems"] == 1
    assert "LOADED" in printed.err
    assert "LOUD" in printed.err


# --- passed in Python ------------------------------------------------------------------------------------------


def made(value):
    def pays(problem, text):
        return value

    return pays


class Pays:
    def __init__(self, value):
        self.value = value

    def __call__(self, problem, text):
        return self.value

    def score(self, problem, text):
        return self.value


def pays(value, problem, text):
    return value


PAIRS = [
    (made(1), made(2), made(1)), (Pays(1), Pays(2), Pays(1)), (Pays(1).score, Pays(2).score, Pays(1).score),
    (functools.partial(pays, 1), functools.partial(pays, 2), functools.partial(pays, 1)),
    (made([1, {"a": 2}]), made([1, {"a": 3}]), made([1, {"a": 2}])), (made(made(1)), made(made(2)), made(made(1))),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other", "again"), PAIRS)
def test_what_a_part_holds_tells_it_from_others(one, other, again):
    """They had the same source and so one name: the second took the place of the first."""
    assert plugins.reference_to(one) != plugins.reference_to(other)
    assert plugins.reference_to(one) == plugins.reference_to(again)


def test_lambdas_of_a_line_are_two():
    one, other = (lambda problem, text: 1.0), (lambda problem, text: 2.0)
    assert plugins.reference_to(one) != plugins.reference_to(other)


def test_each_reward_of_a_stage_is_paid_and_is_part_of_what_the_run_is():
    stage = RL(name="rl", model="tiny", rewards=[made(1), made(2), Pays(3)])
    assert [plugins.resolve(name)(None, "") for name in stage.rewards] == [1, 2, 3]
    assert len(plugins.sources(stage.own_parts())) == 3
    other = RL(name="rl", model="tiny", rewards=[made(1), made(5), Pays(3)])
    assert stage.fingerprint() != other.fingerprint()


def test_two_that_cannot_be_told_apart_are_refused():
    with pytest.raises(AhaError, match="cannot be told apart"):
        RL(name="rl", model="tiny", rewards=[made(object()), made(object())])


def test_a_script_that_would_start_itself_again_is_told(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("import aha\ndef f(problem, text): return 1.0\naha.zero(rewards=f)\n")
    code = f"from aha import plugins\nplugins.resolve({f'{script}:f'!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert "script.py:3: script.py begins a run while it is loaded" in done.stderr
    assert "if __name__ == '__main__':" in done.stderr
    assert not (tmp_path / "runs").exists()
