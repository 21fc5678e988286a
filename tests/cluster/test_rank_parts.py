"""The parts of watching over trainer ranks, without Ray: verdicts, retries, a rank's process, what it is told."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from rank_runs import alive

from aha import ranks
from aha.cli import main
from aha.cluster import supervisor
from aha.cluster.rank_actor import RankActor, RankHello, RankNews
from aha.cluster.rank_group import GRACE_SECONDS, Command, Fault, Generation, Rank, environments
from aha.cluster.settings import RankSettings
from aha.commands import ray_ranks
from aha.sampling.engine import FirstRanksEngine, Request
from aha.sampling.rollouts import samplers, stream_groups
from aha.sampling.sampler import SamplingParams
from aha.types import AhaError, Problem

SETTINGS = RankSettings.model_validate({"hang_timeout": 10.0, "start_timeout": 100.0, "max_failures": 3})


def generation(*codes, settings=SETTINGS):
    group = Generation(SimpleNamespace(), settings, Command((), ""), io.StringIO(), io.StringIO())
    group.ranks = [Rank(i, None, code=code, said=f"words of {i}") for i, code in enumerate(codes)]
    group._ask = lambda rank: None
    group._looked = 1000.0
    for rank in group.ranks:
        rank.watch.begin(1000.0, settings.start_timeout)
    return group


# --- what is made of exit codes ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("codes", "verdict"),
    [((None, None), None), ((0, None), None), ((0, 0), 0), ((1, 1), 1), ((1, ranks.LOST), 1), ((2, 2), 2)],
)
def test_ends_that_are_the_commands_own(codes, verdict):
    assert generation(*codes)._verdict() == verdict


@pytest.mark.parametrize(
    ("codes", "reason"),
    [
        ((None, -9), "rank 1 was killed by SIGKILL"),
        ((ranks.LOST, -11), "rank 1 was killed by SIGSEGV"),
        ((1, -9), "killed"),
        ((ranks.LOST, ranks.LOST), "lost each other"),
        ((ranks.LOST, ranks.CRASHED), "rank 1 ended with exit code 70"),
        ((134, None), None),
    ],
)
def test_ends_after_which_the_ranks_start_again(codes, reason):
    group = generation(*codes)
    if reason is None:
        assert group._verdict() is None  # the others may have something to say
        group._looked += GRACE_SECONDS + 1
        reason = "exit code 134"
    with pytest.raises(Fault, match=reason):
        group._verdict()


def test_an_error_of_a_later_rank_is_shown():
    group = generation(ranks.LOST, 1)
    assert group._verdict() == 1
    assert group.err.getvalue() == "words of 1"


def test_a_rank_that_failed_waits_for_the_first_ones_words():
    group = generation(None, 1)
    assert group._verdict() is None
    group._hear(group.ranks[0], RankNews(b"", "aha: wörds".encode(), 0, 1))
    assert group._verdict() == 1
    assert group.err.getvalue() == "aha: wörds"


# --- slow and hung ----------------------------------------------------------------------------------------


def test_while_one_rank_goes_on_none_is_hung_and_then_all_are():
    group = generation(None, None)
    for tick in range(1, 30):
        group._looked += 9.0
        group._hear(group.ranks[0], RankNews(b"", b"", tick, None))
        group._hear(group.ranks[1], RankNews(b"", b"", 1, None))
        assert group._verdict() is None
    group._looked += 10.5
    with pytest.raises(Fault, match=r"no rank made progress for 1[01] s .*: hung"):
        group._verdict()


def test_a_start_has_more_time():
    group = generation(None, None)
    group._looked += 99.0
    assert group._verdict() is None
    group._looked += 2.0
    with pytest.raises(Fault, match="no rank made progress"):
        group._verdict()


# --- again and again --------------------------------------------------------------------------------------


def supervised(monkeypatch, ends, places):
    """(what it came to, losses that were noted): generations end as in ``ends``, the run is where ``places`` say."""
    ends, noted, closed = iter(ends), [], []

    class Fake:
        def __init__(self, *_):
            pass

        def run(self):
            end = next(ends)
            if isinstance(end, Exception):
                raise end
            return end

        def end(self):
            closed.append(1)

    monkeypatch.setattr(supervisor, "Generation", Fake)
    monkeypatch.setattr(
        supervisor, "Cluster", lambda *_, **__: SimpleNamespace(close=lambda: closed.append(2))
    )
    place = iter(places)
    last = []

    def reached():
        last.append(next(place, last[-1] if last else 0))
        return last[-1]

    try:
        outcome = supervisor.supervise(Command((), ""), 2, SETTINGS, reached=reached, note=noted.append)
    finally:
        assert closed[-1] == 2
    return outcome, noted


def test_losses_are_survived_and_noted(monkeypatch):
    assert supervised(monkeypatch, [Fault("a"), Fault("b"), 0], [0]) == (0, ["a", "b"])


def test_an_error_is_passed_on_at_once(monkeypatch):
    assert supervised(monkeypatch, [1], [0]) == (1, [])
    with pytest.raises(AhaError, match="other versions"):
        supervised(monkeypatch, [AhaError("other versions")], [0])


def test_losses_in_a_row_without_progress_end_the_run(monkeypatch):
    with pytest.raises(AhaError, match=r"3 times in a row .* last: c\."):
        supervised(monkeypatch, [Fault("a"), Fault("b"), Fault("c"), 0], [0])


def test_progress_between_losses_begins_the_count_anew(monkeypatch):
    ends = [Fault("a"), Fault("b"), Fault("c"), Fault("d"), 0]
    places = [0, 0, 0, 5, 5]  # before, and after each loss
    assert supervised(monkeypatch, ends, places) == (0, ["a", "b", "c", "d"])


def test_how_far_a_run_has_come(tmp_path):
    assert ray_ranks.reached(tmp_path) == frozenset()
    step = tmp_path / "rl/checkpoints/step-000001"
    step.mkdir(parents=True)
    assert ray_ranks.reached(tmp_path) == frozenset()  # not whole yet
    (step / "progress.json").touch()
    first = ray_ranks.reached(tmp_path)
    (tmp_path / "rl/metrics.jsonl").touch()
    assert ray_ranks.reached(tmp_path) == first != frozenset()
    (tmp_path / "rl/done.json").touch()
    assert ray_ranks.reached(tmp_path) != first


# --- what a rank is told ----------------------------------------------------------------------------------


def test_ranks_are_told_what_torchrun_would_tell_them():
    hellos = [RankHello(1, "", "", (gpu,), 5000 + i) for i, gpu in enumerate(["3", "0", "1"])]
    nodes = [("a", "10.0.0.1"), ("b", "10.0.0.2"), ("a", "10.0.0.1")]
    told = environments(hellos, nodes, "10.0.0.9:6379")
    keys = ("RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "CUDA_VISIBLE_DEVICES")
    assert [tuple(e[k] for k in keys) for e in told] == [
        ("0", "0", "2", "3,1"),
        ("1", "0", "1", "0"),
        ("2", "1", "2", "3,1"),
    ]
    shared = ("WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "RAY_ADDRESS")
    assert {tuple(e[k] for k in shared) for e in told} == {("3", "10.0.0.1", "5000", "10.0.0.9:6379")}


def test_progress_moves_the_files_time_where_somebody_watches(tmp_path, monkeypatch):
    pulse = tmp_path / "pulse"
    pulse.touch()
    os.utime(pulse, (0, 0))
    ranks.progress()
    assert pulse.stat().st_mtime_ns == 0
    monkeypatch.setenv(ranks.PULSE, str(pulse))
    monkeypatch.setattr(ranks, "_pulse_at", -10.0)
    ranks.progress()
    assert pulse.stat().st_mtime_ns > 0


def test_a_lost_rank_is_told_from_an_error_where_somebody_watches(monkeypatch):
    assert ranks.exit_code(ranks.LostRank("gone")) == ranks.exit_code(AhaError("wrong")) == 1
    monkeypatch.setenv(ranks.PULSE, "/nowhere")
    assert (ranks.exit_code(ranks.LostRank("gone")), ranks.exit_code(AhaError("wrong"))) == (ranks.LOST, 1)


# --- a rank's process -------------------------------------------------------------------------------------


@pytest.fixture
def kept():
    actor = RankActor()
    yield actor
    actor.end()


def until_over(actor):
    out = err = b""
    while True:
        news = actor.news()
        out, err = out + news.out, err + news.err
        if news.code is not None:
            return news.code, out.decode(), err.decode()


def test_a_rank_runs_the_command_and_tells_how_it_ended(kept, tmp_path):
    kept.begin(["--version"], str(tmp_path), {})
    code, out, _ = until_over(kept)
    assert (code, out.split()[0]) == (0, "aha")


def with_list(folder, body):
    """An environment in which ``aha list`` does ``body``."""
    code = f"""
import sys, types
def run(args):
    {body}
sys.modules["aha.commands.list"] = types.SimpleNamespace(
    __doc__="", add_arguments=lambda parser: None, run=run
)
"""
    (folder / "sitecustomize.py").write_text(code, encoding="utf-8")
    return {"PYTHONPATH": os.pathsep.join([str(folder), *filter(None, sys.path)])}


def test_an_error_that_was_explained_is_told_from_one_that_was_not(kept, tmp_path):
    kept.begin(["run", "no_such_recipe"], str(tmp_path), {})
    code, _, err = until_over(kept)
    assert code == 1
    assert err.startswith("aha: ")
    other = RankActor()
    other.begin(["list"], str(tmp_path), with_list(tmp_path, "raise RuntimeError('of the device')"))
    code, _, err = until_over(other)
    assert code == ranks.CRASHED
    assert "RuntimeError: of the device" in err


def test_ctrl_c_is_handed_on(kept, tmp_path):
    kept.begin(["list"], str(tmp_path), with_list(tmp_path, "print('there'); import time; time.sleep(600)"))
    while not kept.news().out:
        pass
    kept.interrupt()
    code, _, err = until_over(kept)
    assert code == 130
    assert "Interrupted" in err


def test_a_folder_that_is_not_there_is_explained(kept, tmp_path):
    with pytest.raises(AhaError, match="one file system"):
        kept.begin(["--version"], str(tmp_path / "elsewhere"), {})


KEEPER = """
import ast, sys, time
from aha.cluster.rank_actor import RankActor
made = RankActor()
print(made.begin(["list"], sys.argv[1], ast.literal_eval(sys.argv[2])), flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("stopped", [False, True])
def test_a_rank_ends_with_its_keeper_even_if_it_is_stopped(tmp_path, stopped):
    environment = with_list(tmp_path, "open('there', 'w').close(); import time; time.sleep(600)")
    command = [sys.executable, "-c", KEEPER, str(tmp_path), repr(environment)]
    keeper = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert keeper.stdout is not None
    pid = int(keeper.stdout.readline())
    deadline = time.monotonic() + 120
    while not (tmp_path / "there").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    if stopped:
        os.kill(pid, signal.SIGSTOP)
    assert alive(pid)
    keeper.kill()
    keeper.communicate()
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(pid)


# --- the command line -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "environment", "said"),
    [
        (["ranks.cpus=2"], {}, "is a setting of --ray-ranks"),
        (["--ray-ranks", "2", "ranks.cpu=2"], {}, "Did you mean 'cpus'"),
        (["--ray-ranks", "2", "rl.stepz=2"], {}, "Did you mean 'steps'"),
        (["--ray-ranks", "0"], {}, "give 1 or more"),
        (["--ray-ranks", "2"], {"WORLD_SIZE": "2"}, "without torchrun"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_started(
    words, environment, said, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert main(["zero", *words]) == 1
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_workers_beside_the_ranks_are_counted():
    from aha.recipes import get_recipe
    from aha.runs import config

    stages = get_recipe("r1_zero").build()
    assert ray_ranks.workers_beside(stages) == 0
    words = ["rl.engine=ray", "rl.rollout_workers=3", "rl.cluster.cpus=2", "rl.cluster.reward_workers=1"]
    config.apply(stages, config.read_overrides(words))
    assert ray_ranks.workers_beside(stages) == 7
    config.apply(stages, {"rl.cluster.address": "head:6379"})
    assert ray_ranks.workers_beside(stages) == 0


# --- who samples ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("for_all", "rank", "keys"), [(False, 0, [0, 2]), (False, 1, [1]), (True, 0, [0, 1, 2]), (True, 1, [])]
)
def test_the_first_rank_samples_for_all_where_it_alone_has_the_engine(for_all, rank, keys, monkeypatch):
    asked = []

    class Engine:
        version = 0

        def generate(self, requests, params, **_):
            asked.extend(r.key for r in requests)
            return iter([])

    engine = Engine()
    if for_all:
        engine.for_all = True
    monkeypatch.setattr(ranks, "world", lambda: (rank, 2))
    requests = [Request([1, 2], 1, key) for key in range(3)]
    problems = [Problem(f"q{i}", "none", ()) for i in range(3)]
    stream = stream_groups(
        engine, SimpleNamespace(), problems, 1, SamplingParams(), {}, seed=0, requests=requests
    )
    assert list(stream) == []
    assert asked == keys
    assert samplers(engine) == (1 if for_all else 2)


def test_nobody_asks_an_engine_that_is_elsewhere():
    with pytest.raises(AhaError, match="first rank"):
        FirstRanksEngine().generate([], SamplingParams())
