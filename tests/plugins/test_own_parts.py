"""Parts from outside the package: how they are named, loaded, called, and what becomes of their faults."""

from __future__ import annotations

import asyncio
import json
import subprocess
import threading
from pathlib import Path

import numpy as np
import pytest

import aha
from aha import plugins
from aha.bench import peers
from aha.files import read_jsonl
from aha.plugins import loading
from aha.rewards import check_columns, get_reward, get_rewards
from aha.stages.rl import RL
from aha.tasks import get_task
from aha.training.algorithm import Algorithm
from aha.types import AhaError, Finish, Outcome, Problem, Rollout, Verdict

EXAMPLES = Path(__file__).parents[2] / "examples"
PROBLEM = Problem("p", "t", ({"role": "user", "content": "What is 2 + 2?"},), "4", metadata={"level": 3})


def verify(problem, text):
    return Verdict(Outcome.CORRECT)


def said(*texts):
    ids = np.arange(5, dtype=np.int32)
    return [Rollout(ids, ids, np.zeros(5, np.float32), text, Finish.STOP) for text in texts]


def values(scores):
    return [score.value for score in scores]


@pytest.fixture
def own(tmp_path):
    """Writes a file of parts; returns how to name one of them."""

    def write(text, name="own.py"):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return lambda part: f"{tmp_path / name}:{part}"

    return write


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("own.py:f", True), ("/a/b c/own.py:f", True), ("pkg.mod:Class.method", True), ("own.py:f:x=1,y=a", True),
        ("accuracy:wrong=-1", False), ("countdown:0.5,logic:0.5", False), ("own.py:t:0.5,logic:0.5", False),
        ("math=rows.jsonl:0.5", False), ("own.py", False), ("openai/gsm8k:main", False), ("http://h:1/v1#M", False),
        (3, False),
    ],
)  # fmt: skip
def test_names_of_parts(text, is_one):
    assert plugins.is_reference(text) is is_one


def test_each_shape_of_reward_is_graded(own):
    name = own(
        "from aha.types import Score\n"
        "def pair(problem, text): return len(text)\n"
        "async def slow(problem, text): return float(text == problem.answer)\n"
        "def plain(completions, level, **columns): return [len(c) + l for c, l in zip(completions, level)]\n"
        "def chat(completions, **kwargs): return [len(c[0]['content']) for c in completions]\n"
        "def ids(completion_ids, solution): return [len(i) + int(s) for i, s in zip(completion_ids, solution)]\n"
        "def group(problem, rollouts): return [Score(1.0, 'best')] + [0] * (len(rollouts) - 1)\n"
        "def make(size, factor): return lambda completions, **kw: [size * factor] * len(completions)\n"
        "class Made:\n"
        "    def __init__(self, scale=1): self.scale = scale\n"
        "    def __call__(self, prompts, completions, **kwargs): return [self.scale * len(prompts)] * 2\n"
    )
    expectations = {"pair": [1, 2], "slow": [1, 0], "plain": [4, 5], "chat": [1, 2], "ids": [9, 9], "group": [1, 0],
              "Made": [2, 2], "Made:scale=3": [6, 6], "make:size=2,factor=3": [6, 6]}  # fmt: skip
    for part, expected in expectations.items():
        assert values(get_reward(name(part), verify)(PROBLEM, said("4", "ab"))) == expected, part


def test_coroutines_of_a_group_run_together(own):
    body = "    await together.wait()\n    return 1\n"  # until all eight are there
    name = own(f"import asyncio\ntogether = asyncio.Barrier(8)\nasync def f(problem, text):\n{body}")
    reward = get_reward(name("f:timeout=60"), verify)

    async def within():  # as in a notebook, whose loop is running already
        return values(reward(PROBLEM, said(*"abcdefgh")))

    assert asyncio.run(within()) == [1] * 8


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("raise ValueError('no')", "own.py:2: ValueError: no"), ("return float('nan')", "own.py:1: gave nan"),
        ("return 'x'", "no number"), ("return None", "gave None"), ("raise SystemExit", "SystemExit"),
        ("while True: pass", "took longer than 0.3 seconds"), ("import time; time.sleep(9)", "than 0.3 seconds"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("on_main", [True, False])
def test_a_broken_reward_is_named_and_never_zero(own, body, told, on_main):
    limit = 0.3 if "0.3 seconds" in told else 60
    reward = get_reward(own(f"def f(problem, text):\n    {body}\n")(f"f:timeout={limit}"), verify)
    scores: list = []
    if on_main:
        scores += reward(PROBLEM, said("a"))
    else:
        thread = threading.Thread(target=lambda: scores.extend(reward(PROBLEM, said("a"))))
        thread.start()
        thread.join(120)
    assert values(scores) == [None]
    assert told in scores[0].note


def test_a_wrong_number_of_values_grades_nothing(own):
    reward = get_reward(own("def f(completions, **kw): return [1]\n")("f"), verify)
    scores = reward(PROBLEM, said("a", "b"))
    assert values(scores) == [None, None]
    assert "own.py:1: gave 1 values for 2 completions" in scores[0].note


def test_what_cannot_be_a_reward_is_refused(own):
    name = own(
        "x = 3\ndef one(text): return 1\ndef f(completions, missing): return [0]\nboom = lambda: 1 / 0\n"
    )
    for part in ("x", "one", "boom", "nothing"):
        with pytest.raises(AhaError, match=part):
            get_reward(name(part), verify)
    with pytest.raises(AhaError, match=r"no option 'z'"):
        get_reward(own("def f(problem, text, x=1): return x\n")("f:z=2"), verify)
    with pytest.raises(AhaError, match=r"asks for 'missing'.*They have: .*level"):
        check_columns(
            get_rewards({own("def f(completions, missing): return [0]\n")("f"): 1.0}, verify), PROBLEM
        )
    with pytest.raises(AhaError, match=r"own.py:2: ZeroDivisionError"):
        get_reward(own("a = 1\n1 / 0\n")("f"), verify)
    with pytest.raises(AhaError, match=r"own.py:1: SyntaxError"):
        get_reward(own("def f(:\n")("f"), verify)
    with pytest.raises(AhaError, match="There is no file"):
        get_reward("nowhere.py:f", verify)


def test_a_task_of_ones_own(own):
    name = own(
        "def pairs(): return [(f'What is {i} + 1?', i + 1) for i in range(200)]\n"
        "def rows(split, n, seed):\n"
        "    for i in range(n): yield {'question': f'{split} {i + seed}', 'answer': 'x', 'kind': 'k'}\n"
        "class Half:\n"
        "    problems = [(f'q{i}', i) for i in range(100)]\n"
        "    def verify(self, problem, text): return {'boom': None, 'half': 0.5}.get(text, text == 'ok')\n"
    )
    task = get_task(name("pairs"))
    split = {
        s: {p.messages[0]["content"] for p in task.load(s, 50, 0)} for s in ("train", "validation", "test")
    }
    assert len(split["train"]) == 50
    assert not split["train"] & split["test"]
    problem = task.load("train", 1, 0)[0]
    assert (
        task.verify(problem, f"<think>well</think><answer>{problem.answer}</answer>").outcome
        is Outcome.CORRECT
    )
    assert get_task(name("rows")).load("test", 2, 5)[0].metadata["kind"] == "k"
    half = get_task(name("Half"))
    problem = half.load("train", 1, 0)[0]
    verdicts = [half.verify(problem, text) for text in ("ok", "no", "half", "boom")]
    assert [v.outcome for v in verdicts] == [Outcome.CORRECT, Outcome.WRONG, Outcome.WRONG, Outcome.UNKNOWN]
    assert "gave None" in verdicts[3].note
    assert values(get_reward("accuracy", half.verify)(problem, said("half", "boom"))) == [0.5, None]
    mixed = get_task(f"{name('pairs')}:0.5,countdown:0.5").load("train", 10, 0)
    assert {p.task for p in mixed} == {name("pairs"), "countdown"}
    with pytest.raises(AhaError, match="takes no --data"):
        get_task(name("pairs"), "rows.jsonl")


def test_an_algorithm_of_ones_own(own):
    name = own(
        "import torch\n"
        "from aha.training.algorithm import Algorithm\n"
        "def centred(rewards): return rewards - rewards.mean()\n"
        "def bad(rewards): return 1 / 0\n"
        "def short(rewards): return rewards[:1]\n"
        "def loss(logprobs, view): return -logprobs * view.advantages\n"
        "def flat(logprobs, view): return logprobs.detach()\n"
        "SET = {'preset': 'dapo', 'advantage': centred, 'objective': loss}\n"
        "class Mine(Algorithm):\n"
        "    def advantages(self, rewards, baselines=None): return [r * 2 for r in rewards]\n"
    )
    algorithm = Algorithm.model_validate(name("SET"))
    algorithm.check()
    assert algorithm.clip_high == 0.28  # of the preset it begins with
    assert algorithm.advantages([np.array([1.0, 0.0, np.nan])])[0][2] != 0  # NaN: left out
    np.testing.assert_allclose(
        Algorithm.model_validate(name("centred")).advantages([np.array([1.0, 0.0])])[0], [0.5, -0.5]
    )
    mine = RL.model_validate({"name": "rl", "algorithm": {"preset": name("Mine"), "kl_coef": 0.5}}).algorithm
    assert (type(mine).__name__, mine.kl_coef) == ("Mine", 0.5)
    np.testing.assert_allclose(mine.advantages([np.array([1.0])])[0], [2.0])
    for part, told in (("bad", "own.py:4: ZeroDivisionError"), ("short", "shape")):
        broken = Algorithm.model_validate({"advantage": name(part)})
        with pytest.raises(AhaError, match=told):
            broken.check()
        assert np.isnan(broken.advantages([np.array([1.0, 0.0])])[0]).all()
    with pytest.raises(AhaError, match="no gradient"):
        Algorithm.model_validate({"preset": "grpo_no_kl", "objective": name("flat")}).check()
    with pytest.raises(Exception, match=r"neither file\.py:name"):
        Algorithm.model_validate({"advantage": "nonsense"})


def test_files_are_part_of_the_fingerprint_and_are_kept(own, tmp_path):
    name = own("def f(problem, text): return 1\n")
    stage = RL.model_validate({"name": "rl", "rewards": [name("f"), "accuracy"]})
    before = stage.fingerprint()
    assert [p.read_text() for p in plugins.keep_copies(stage.own_parts(), tmp_path / "rl")] == [
        "def f(problem, text): return 1\n"
    ]
    own("def f(problem, text): return 2\n")
    assert stage.fingerprint() != before
    assert values(get_reward(name("f"), verify)(PROBLEM, said("a"))) == [2]  # loaded anew


def test_functions_that_are_passed_in_python():
    def short(problem, text):
        return 1.0

    stage = RL(name="rl", rewards={short: 0.5, "accuracy": 1.0}, task=lambda: [("q", "a")])
    assert next(iter(stage.rewards)).startswith("python:short@")
    assert [*get_rewards(stage.rewards, verify)] == ["short", "accuracy"]
    assert values(get_reward(next(iter(stage.rewards)), verify)(PROBLEM, said("a"))) == [1]
    with pytest.raises(AhaError, match="is in no file"):
        plugins.parcel(stage.own_parts())
    with pytest.raises(AhaError, match="another Python session"):
        plugins.resolve("python:gone@0123456789ab")
    assert verify.__name__ in plugins.reference_to(verify)
    assert ".py:verify" in plugins.reference_to(verify)


def test_a_worker_runs_the_text_that_it_was_given(own):
    name = own("def f(problem, text): return 1\n", "sent.py")
    files = plugins.parcel([name("f")])
    own("def f(problem, text): return 9\n", "sent.py")
    plugins.install(files)
    assert values(get_reward(name("f"), verify)(PROBLEM, said("a"))) == [1]


def test_rows_keep_the_columns_that_rewards_look_at(own, tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text(
        "".join(
            f'{{"question": "What is {i} + 1?", "answer": "{i + 1}", "hint": "h{i}"}}\n' for i in range(60)
        )
    )
    name = own("def f(completions, hint): return [float(h[1:]) for h in hint]\n")
    stage = RL(name="rl", task="math", data=str(rows), rewards=[name("f")])
    stage.load_parts()
    problem = get_task("math", str(rows)).load("train", 1, 0)[0]
    assert values(get_reward(name("f"), verify)(problem, said("a"))) == [
        float(problem.metadata["row"]["hint"][1:])
    ]


def test_prompts_recipes_and_judges(own):
    from aha import chat
    from aha.judges.asking import own as judge
    from aha.recipes import get_recipe

    name = own(
        "from aha.stages.rl import RL\n"
        "ASK = 'Q: {question} A:'\n"
        "def made(): return 'Think. {question}'\n"
        "def recipe(model='tiny', steps=3): return RL(name='mine', model=model, steps=steps)\n"
        "def judge(messages): return '[[A>B]]' if messages else 1\n"
        "def broken(messages, seed): raise RuntimeError('down')\n"
    )
    assert chat.choose(name("ASK")).words == "Q: {question} A:"
    assert chat.choose(name("made")).name == "made"
    with pytest.raises(AhaError, match="must be text"):
        chat.choose(name("recipe"))
    recipe = get_recipe(name("recipe"))
    assert [(stage.name, stage.steps) for stage in recipe.build(steps=7)] == [("mine", 7)]
    with pytest.raises(AhaError, match="takes no --task"):
        recipe.build(task="logic")
    assert judge(name("judge"))([{"role": "user", "content": "q"}], 0) == "[[A>B]]"
    assert judge(name("broken"))([], 0) == ""


@pytest.mark.parametrize("part", ["short", "shows_its_work", "asks_a_service"])
def test_the_examples_rewards(part):
    scores = get_reward(f"{EXAMPLES / 'own_reward.py'}:{part}", verify)(PROBLEM, said("a = b = c, wait"))
    assert all(0 <= score.value <= 1 for score in scores)


@pytest.mark.parametrize("file", ["own_reward", "own_task", "own_algorithm", "own_engine"])
def test_the_examples_are_short(file):
    lines = (EXAMPLES / f"{file}.py").read_text().splitlines()
    assert sum(bool(line.strip()) for line in lines) <= 30


def test_trls_own_rewards():
    pytest.importorskip("trl")
    for name in (
        "think_format_reward",
        "get_soft_overlong_punishment:max_completion_len=6,soft_punish_cache=3",
    ):
        assert None not in values(
            get_reward(f"trl.rewards:{name}", verify)(PROBLEM, said("<think>a</think>b"))
        )


def test_an_installed_package_gives_parts_by_its_entry_points(tmp_path, monkeypatch):
    """As pip leaves it: a module, and a folder of metadata that names it."""
    (tmp_path / "stranger.py").write_text(
        "def short(problem, text):\n    return float(len(text) < 5)\n\n\n"
        "def sums(split, n, seed):\n    return [(f'{a} + {a}?', 2 * a) for a in range(n)]\n"
    )
    metadata = tmp_path / "stranger-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        "[aha.rewards]\nbrief = stranger:short\n[aha.tasks]\ndoubles = stranger:sums\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    loading.entry_names.cache_clear()
    reward = get_reward("brief", verify)
    assert values(reward([PROBLEM] * 2, said("4", "a long answer"))) == [1.0, 0.0]
    problems = get_task("doubles").load("train", 3, 0)
    assert sorted(p.answer for p in problems) == ["0", "2", "4"]
    with pytest.raises(AhaError, match="Did you mean 'brief'"):
        get_reward("brif", verify)
    loading.entry_names.cache_clear()


TRLS = {"format_rewards.py:think_format_reward": 1.0,
        "other_rewards.py:get_soft_overlong_punishment:max_completion_len=30,soft_punish_cache=20": 0.5}  # fmt: skip
"""Rewards of TRL's package by their files, and their weights here."""

ASK_TRL = """import json, sys
from trl.rewards import get_soft_overlong_punishment, think_format_reward
texts, ids = json.load(sys.stdin)
said = [[{"role": "assistant", "content": text}] for text in texts]
print(json.dumps([think_format_reward(said), get_soft_overlong_punishment(30, 20)(completion_ids=ids)]))"""


@pytest.mark.peers
def test_a_run_pays_by_trls_own_rewards_what_trl_says(tmp_path, monkeypatch):
    """Its functions unchanged, from their files as they stand in its package; TRL itself is asked in its own Python."""
    python = peers.folder("trl") / "bin" / "python"
    if not python.exists():
        pytest.skip("trl is not installed: aha bench peers install trl")
    [place] = python.parents[1].glob("lib/*/site-packages/trl/rewards")
    monkeypatch.chdir(tmp_path)
    result = aha.zero(
        rewards={f"{place}/{name}": weight for name, weight in TRLS.items()}, steps=1, prompts_per_step=4,
        group_size=4, mini_batches=1, test_problems=2, test_samples=2, max_tokens=24, max_tokens_schedule=(),
        eval_every=0, doctor=False,
    )  # fmt: skip
    rows = read_jsonl(result["rl"].folder / "rollouts" / "step_00001.jsonl")
    asked = json.dumps([[row["text"] for row in rows], [[0] * row["tokens"] for row in rows]])
    reply = subprocess.run([python, "-c", ASK_TRL], input=asked, capture_output=True, text=True, check=True)
    thinks, overlong = json.loads(reply.stdout.splitlines()[-1])
    for name, theirs in (("think_format_reward", thinks), ("get_soft_overlong_punishment", overlong)):
        assert [row["scores"][name]["value"] for row in rows] == pytest.approx(theirs)
    assert [row["reward"] for row in rows] == pytest.approx(
        [a + 0.5 * b for a, b in zip(thinks, overlong, strict=True)], abs=1e-5
    )
    assert len(set(overlong)) > 1
