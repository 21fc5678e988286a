"""One model on one benchmark: sampled by whatever engine it has, graded, and written problem by problem.

A problem's answers depend on its place among the problems and on the seed alone, so an evaluation that was killed goes
on with the problems that are not in its file, and comes to the same figures.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from aha import ranks
from aha.benchmarks import likelihood, records, revisions, shots, statistics, unanswered
from aha.benchmarks.catalogue import BenchmarkRows
from aha.benchmarks.dates import of_dates, read_dates
from aha.benchmarks.judging import figures as judge_figures
from aha.benchmarks.judging import tasks as judged
from aha.benchmarks.judging.beside import ThreadedGrader
from aha.benchmarks.keeping import kept
from aha.benchmarks.likelihood import ChoiceForm
from aha.benchmarks.opening import BenchmarkJudge, price_of, spent
from aha.benchmarks.records import GradedProblem
from aha.benchmarks.shots import SolvedQuestion
from aha.benchmarks.spending import estimate, spending
from aha.benchmarks.turns import asking
from aha.benchmarks.turns import figures as turn_figures
from aha.benchmarks.turns.asking import TurnSampling
from aha.checkpoints import runs
from aha.data.sources import commit_of
from aha.files import write_json
from aha.rewards.accuracy import accuracy
from aha.rewards.format import strict_format
from aha.sampling.client.metering import Usage
from aha.sampling.rollouts import WeightedRewards, stream_groups
from aha.sampling.sampler import SamplingParams
from aha.stages.engines import AnswerSource
from aha.tasks import get_task, turns
from aha.tasks.base import Task
from aha.tasks.rows import as_row
from aha.types import AhaError, Problem

_log = logging.getLogger(__name__)

Progress = Callable[[int, int, int], None]
"""(tokens sampled since it was last told, problems graded, all problems)."""
LATER = ("dates", "own_turns")
"""Settings that came later: results of before, where nobody could set them, keep their names."""
MADE = 256
"""Problems asked of a task that makes its own, unless a number is given."""


@dataclass(frozen=True, slots=True)
class Protocol:
    """How answers are sampled and counted; what stands in the fingerprint of a result. ``shots``: examples before each
    question, of the rows ``shots_from``; ``choice``: whether options are answered in text, or scored; ``dates``: of
    the contests that are asked (``benchmarks.dates``), "" for all. ``own_turns``: conversations are asked turn by turn,
    without the answers that are stored in them."""

    k: int = 4
    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: int = 440
    prompt: str = "auto"
    strict: bool = True
    seed: int = 0
    problems: int | None = None
    shots: int = 0
    shots_from: str = ""
    choice: ChoiceForm = "text"
    dates: str = ""
    own_turns: bool = False

    def params(self, max_tokens: int) -> SamplingParams:
        """Of the sampler, with the longest completion that there is room for."""
        return SamplingParams(self.temperature, self.top_p, max_tokens=max_tokens)


@dataclass(frozen=True, slots=True)
class BenchmarkResult:
    """One model on one benchmark. ``records`` are in the order of the problems; ``file`` holds them with texts."""

    model: str
    benchmark: str
    protocol: Protocol
    figures: dict[str, Any]
    records: tuple[GradedProblem, ...]
    file: Path
    data: dict[str, Any] = field(default_factory=dict)
    spent: dict[str, Any] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()


def load_problems(
    asked: BenchmarkRows, count: int | None, judge: BenchmarkJudge | None = None, dates: str = ""
) -> tuple[Task, list[Problem], dict[str, Any]]:
    """A benchmark's task, its problems, and what was read: source, split, rows, a hash of their content, and of a set
    on the hub the commit, where that is known. Raises AhaError for one that a judge grades, without one."""
    source, split = asked.rows
    task = _judged(asked, judge) if asked.benchmark.judged else get_task(asked.benchmark.task, source, None)
    most = count if count and not dates else MADE if source is None else 1 << 62
    problems = task.load(split, most, 0)
    if dates:
        problems = of_dates(problems, dates)[:count]
    digest = hashlib.sha256()
    for problem in problems:
        digest.update(json.dumps(as_row(problem), sort_keys=True, default=str).encode())
    read = {"source": asked.source or asked.name, "split": asked.split, "rows": len(problems)}
    if commit := commit_of(source) if source is not None else "":
        read["commit"] = commit
    return task, problems, read | {"sha256": digest.hexdigest()}


def _judged(asked: BenchmarkRows, judge: BenchmarkJudge | None) -> Task:
    if judge is None:
        raise AhaError(
            f"{asked.benchmark.title} is graded by a judge: give --judge http://host:port/v1#MODEL, or FILE.py:NAME."
        )
    return judged.task(
        cast("judged.JudgedKind", asked.benchmark.judged), judge.judge, asked.rows[0], asked.name
    )


def run(
    model: str,
    source: AnswerSource,
    asked: BenchmarkRows,
    protocol: Protocol,
    folder: Path,
    progress: Progress | None = None,
    judge: BenchmarkJudge | None = None,
    say: Callable[[str], None] | None = None,
) -> BenchmarkResult:
    """Evaluate; what is in the model's file of this benchmark, protocol and content is not asked again. ``say`` is told
    what it may cost; ``progress`` is told every few seconds, also where nothing was sampled since."""
    started = time.perf_counter()
    judge = judge if asked.benchmark.judged else None
    task, problems, read = load_problems(asked, protocol.problems, judge, protocol.dates)
    read |= {"judge": f"{judge.name} {judge.code[:16]}".strip()} if judge is not None else {}
    problems = [turns.split(p) for p in problems] if protocol.own_turns else problems
    examples = read_shots(asked, protocol, read)
    what = named(model, asked, protocol, read)
    if ranks.is_main():
        for other in revisions.others(folder.parent, what, read):
            _log.warning(other)
    file = folder / f"{asked.name}-{what['id']}.jsonl"
    done = unanswered.graded_before(source, file)
    before, bill = sum(_tokens(r) for r in done.values()), _bill(source)
    left = sum(turns.count(p) for p in problems if p.id not in done)
    if say is not None and left and protocol.choice == "text":
        say(estimate(folder, left * protocol.k, protocol.max_tokens, price_of(source), asked.name).sentence())
    tick = None if progress is None else lambda tokens: progress(tokens, len(done), len(problems))
    if protocol.choice == "text":
        threads = judge.threads if judge is not None else 0
        fitting = _answer(source, task, problems, examples, protocol, file, done, tick, threads)
    else:
        fitting = _score(source, problems, examples, protocol, file, done, tick)
    graded = tuple(done[p.id] for p in fitting)
    _tell_unanswered(source, asked.name, graded, read, len(problems) - len(fitting))
    figures = statistics.summary(graded) | _of_turns(asked, graded) | _of_judges(asked, graded)
    if protocol.choice != "text":
        figures |= {"acc": figures["pass@1"], "acc_norm": figures["lenient"]}
    tokens = sum(_tokens(r) for r in done.values()) - before
    cost = spending(tokens, time.perf_counter() - started, bill, _bill(source))
    if ranks.is_main():
        write_json(file.with_suffix(".json"), {**what, "figures": figures, "data": read, "spent": cost})
    return BenchmarkResult(model, asked.name, protocol, figures, graded, file, read, cost, tuple(fitting))


def _tell_unanswered(
    source: AnswerSource, name: str, graded: Sequence[GradedProblem], read: dict[str, Any], left: int
) -> None:
    """How many problems were not answered, among what was ``read``; ``left`` have a prompt that was not even sent."""
    unanswered.check(source, name, graded)
    every = {reason: len(problems) for reason, problems in unanswered.counts(graded).items()}
    every["too_long"] = every.get("too_long", 0) + left
    read |= {reason: number for reason, number in every.items() if number}
    if ranks.is_main():
        for sentence in unanswered.sentences(name, graded):
            _log.warning(sentence)


def _tokens(record: GradedProblem) -> int:
    return sum(sample.tokens for sample in record.samples)


def _bill(source: AnswerSource) -> Usage | None:
    bill = spent(source)
    return None if bill is None else replace(bill)


def _of_turns(asked: BenchmarkRows, kept: Sequence[GradedProblem]) -> dict[str, Any]:
    """What is counted of conversations, where turns are right or wrong, and not scored."""
    return {} if asked.benchmark.judged == "conversation" else turn_figures.figures(kept)


def _of_judges(asked: BenchmarkRows, kept: Sequence[GradedProblem]) -> dict[str, Any]:
    """What judged benchmarks have beside the usual figures."""
    every = {"reference": judge_figures.attempts, "pair": judge_figures.against_baseline,
             "conversation": judge_figures.scores}  # fmt: skip
    own = every.get(asked.benchmark.judged)
    return own(kept) if own is not None else {}


def named(model: str, asked: BenchmarkRows, protocol: Protocol, read: dict[str, Any]) -> dict[str, Any]:
    """What a result is the result of, and a short hash of it."""
    what = {"model": model, "weights": _weights(model), "benchmark": asked.name, "data": read["sha256"]}
    what |= {name: read[name] for name in ("examples", "judge") if name in read}
    what |= {name: value for name, value in asdict(protocol).items() if name not in LATER or value}
    digest = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()
    return {"id": digest[:10], **what}


def _weights(model: str) -> list[Any]:
    """What tells a checkpoint folder from an earlier one of that name: its files' sizes and times, of a run
    those of the model that it made last; nothing of a hub name or an address."""
    folder = Path(runs.model_of(model)).expanduser()
    files = sorted(folder.glob("*")) if folder.is_dir() else [folder] if folder.is_file() else []
    kept = [f for f in files if f.suffix in (".safetensors", ".json", ".jinja", ".gguf", ".bin", ".model")]
    return [(f.name, f.stat().st_size, f.stat().st_mtime_ns) for f in kept]


def read_shots(asked: BenchmarkRows, protocol: Protocol, read: dict[str, Any]) -> list[SolvedQuestion]:
    """The solved questions that examples are taken from, a hash of them among what was ``read``. Raises AhaError where
    there are none."""
    if not protocol.shots:
        return []
    if not (source := protocol.shots_from or asked.examples):
        raise AhaError(
            f"--shots {protocol.shots}: where are {asked.name}'s examples? Give --shots-from FILE."
        )
    examples = shots.read_examples(asked.benchmark.task, source)
    said = json.dumps([(e.question, str(e.problem.answer), e.solution) for e in examples])
    read["examples"] = hashlib.sha256(said.encode()).hexdigest()
    return examples


def _score(
    source: AnswerSource,
    problems: Sequence[Problem],
    examples: Sequence[SolvedQuestion],
    protocol: Protocol,
    file: Path,
    done: dict[str, GradedProblem],
    progress: Callable[[int], None] | None,
) -> Sequence[Problem]:
    """Score the options of the problems that are missing."""
    if several := next((p.id for p in problems if turns.later(p)), None):
        raise AhaError(
            f"--choice {protocol.choice}: {several} asks several turns, which are answered in text."
        )
    waiting = [p for p in problems if p.id not in done]
    waiting = [waiting[i] for i in ranks.share(len(waiting))]
    shown = [shots.examples_for(p, examples, protocol.shots) for p in waiting]
    with kept(file, done) as keep:
        for record, row in likelihood.grade(source, waiting, shown, protocol.choice):
            keep(record, row)
            if progress is not None:
                progress(record.samples[0].tokens)
    return problems


def _answer(
    source: AnswerSource,
    task: Task,
    problems: Sequence[Problem],
    examples: Sequence[SolvedQuestion],
    protocol: Protocol,
    file: Path,
    done: dict[str, GradedProblem],
    progress: Callable[[int], None] | None,
    threads: int,
) -> Sequence[Problem]:
    """Sample answers to the problems that are missing, graded in ``threads`` (0: one after another); returns those that
    have room."""
    if protocol.shots:
        prompt = source.prompter.prompt
        problems = [
            shots.with_examples(p, shots.examples_for(p, examples, protocol.shots), prompt) for p in problems
        ]
    fitting, longest = source.fit(problems, protocol.max_tokens)
    waiting = [p for p in fitting if p.id not in done]
    if waiting:
        _sample(source, task, fitting, waiting, protocol, longest, file, done, progress, threads)
    return fitting


def _sample(
    source: AnswerSource,
    task: Task,
    problems: Sequence[Problem],
    waiting: Sequence[Problem],
    protocol: Protocol,
    max_tokens: int,
    file: Path,
    done: dict[str, GradedProblem],
    progress: Callable[[int], None] | None,
    threads: int,
) -> None:
    """Ask the waiting problems, each by the key that it has among all, and write each as it is graded."""
    rewards: WeightedRewards = {"accuracy": (1.0, accuracy(task.verify)), "format": (0.0, strict_format())}
    params = protocol.params(max_tokens)
    if any(map(turns.later, problems)):
        how = TurnSampling(
            source, task, rewards, params, protocol.k, protocol.seed, protocol.strict, threads, progress
        )
        asking.sample(how, problems, waiting, file, done)
        return
    every = source.prompter.requests(problems, protocol.k)
    missing = {p.id for p in waiting}
    requests = [r for p, r in zip(problems, every, strict=True) if p.id in missing]
    with kept(file, done) as keep, _beside(rewards, threads, progress) as grader:
        stream = stream_groups(
            source.engine, source.prompter, waiting, protocol.k, params, rewards,
            seed=protocol.seed, progress=progress, requests=requests, grader=grader,
        )  # fmt: skip
        for _, group in stream:
            keep(*records.record(group, task, protocol.strict))


@contextmanager
def _beside(
    rewards: WeightedRewards, threads: int, progress: Callable[[int], None] | None
) -> Iterator[ThreadedGrader | None]:
    """What grades in threads, while sampling goes on; None for no threads."""
    idle = None if progress is None else lambda: progress(0)
    grader = ThreadedGrader(rewards, threads, idle) if threads else None
    try:
        yield grader
    finally:
        if grader is not None:
            grader.close()


def check(protocol: Protocol, samples: str = "--k") -> None:
    """Raise AhaError for numbers that cannot be; ``samples``: what the number of samples is called."""
    if protocol.shots < 0:
        raise AhaError(f"--shots {protocol.shots}: give 0 or more.")
    if protocol.k < 1:
        raise AhaError(f"{samples} {protocol.k}: give 1 or more samples of each problem.")
    if protocol.max_tokens < 1:
        raise AhaError(f"--max-tokens {protocol.max_tokens}: give 1 or more.")
    if protocol.problems is not None and protocol.problems < 1:
        raise AhaError(f"--problems {protocol.problems}: give 1 or more.")
    if not 0 <= protocol.temperature < float("inf"):
        raise AhaError(f"--temperature {protocol.temperature}: give 0 (greedy) or more.")
    if protocol.dates:
        read_dates(protocol.dates)
    if not 0 < protocol.top_p <= 1:
        raise AhaError(f"--top-p {protocol.top_p}: give a number above 0, up to 1.")
