"""One model on one benchmark: sampled by whatever engine it has, graded, and written problem by problem.

A problem's answers depend on its place among the problems and on the seed alone, so an evaluation that was killed goes
on with the problems that are not in its file, and comes to the same figures.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from aha.benchmarks import likelihood, records, shots, statistics
from aha.benchmarks.catalogue import BenchmarkRows
from aha.benchmarks.judging import figures as judge_figures
from aha.benchmarks.judging import tasks as judged
from aha.benchmarks.judging.beside import ThreadedGrader
from aha.benchmarks.likelihood import ChoiceForm
from aha.benchmarks.records import GradedProblem
from aha.benchmarks.shots import SolvedQuestion
from aha.files import write_json
from aha.judges.asking import Judge, over, own
from aha.rewards.accuracy import accuracy
from aha.rewards.format import strict_format
from aha.runs.pipeline import Context
from aha.sampling.client.engine import ChatPrompter
from aha.sampling.rollouts import Prompter, WeightedRewards, stream_groups
from aha.sampling.sampler import SamplingParams
from aha.stages.engines import AnswerSource, concurrency, connect, is_endpoint, own_judge
from aha.tasks import get_task
from aha.tasks.base import Task
from aha.tasks.rows import as_row
from aha.types import AhaError, Problem

MADE = 256
"""Problems asked of a task that makes its own, unless a number is given."""


@dataclass(frozen=True, slots=True)
class Protocol:
    """How answers are sampled and counted; what stands in the fingerprint of a result. ``shots``: examples before each
    question, of the rows ``shots_from``; ``choice``: whether options are answered in text, or scored."""

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
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class BenchmarkJudge:
    """Who grades where no rule can: how it was named, how it is asked, and how many questions at once."""

    name: str
    judge: Judge
    threads: int = 1


def load_problems(
    asked: BenchmarkRows, count: int | None, judge: BenchmarkJudge | None = None
) -> tuple[Task, list[Problem], dict[str, Any]]:
    """A benchmark's task, its problems, and what was read: source, split, rows and a hash of their content. Raises
    AhaError for one that a judge grades, without one."""
    made = asked.source is None
    task = (
        _judged(asked, judge)
        if asked.benchmark.judged
        else get_task(asked.benchmark.task, asked.source, None)
    )
    problems = task.load(asked.split, count or (MADE if made else 1 << 62), 0)
    digest = hashlib.sha256()
    for problem in problems:
        digest.update(json.dumps(as_row(problem), sort_keys=True, default=str).encode())
    read = {"source": asked.source or asked.name, "split": asked.split, "rows": len(problems)}
    return task, problems, read | {"sha256": digest.hexdigest()}


def _judged(asked: BenchmarkRows, judge: BenchmarkJudge | None) -> Task:
    if judge is None:
        raise AhaError(
            f"{asked.benchmark.title} is graded by a judge: give --judge http://host:port/v1#MODEL, or FILE.py:NAME."
        )
    return judged.task(
        cast("judged.JudgedKind", asked.benchmark.judged), judge.judge, asked.source, asked.name
    )


def run(
    model: str,
    source: AnswerSource,
    asked: BenchmarkRows,
    protocol: Protocol,
    folder: Path,
    progress: Callable[[int], None] | None = None,
    judge: BenchmarkJudge | None = None,
) -> BenchmarkResult:
    """Evaluate; what is in the model's file of this benchmark, protocol and content is not asked again."""
    started = time.perf_counter()
    judge = judge if asked.benchmark.judged else None
    task, problems, read = load_problems(asked, protocol.problems, judge)
    read |= {"judge": judge.name} if judge is not None else {}
    examples = read_shots(asked, protocol, read)
    what = named(model, asked, protocol, read)
    file = folder / f"{asked.name}-{what['id']}.jsonl"
    done = records.by_problem(list(records.read(file))) if file.exists() else {}
    trim(file)
    file.parent.mkdir(parents=True, exist_ok=True)
    if protocol.choice == "text":
        threads = judge.threads if judge is not None else 0
        fitting = _answer(source, task, problems, examples, protocol, file, done, progress, threads)
    else:
        fitting = _score(source, problems, examples, protocol, file, done, progress)
    left = len(problems) - len(fitting)
    if left:
        read["too_long"] = left
    kept = tuple(done[p.id] for p in fitting)
    figures = statistics.summary(kept) | _of_judges(asked, kept)
    if protocol.choice != "text":
        figures |= {"acc": figures["pass@1"], "acc_norm": figures["lenient"]}
    result = BenchmarkResult(
        model, asked.name, protocol, figures, kept, file, read, time.perf_counter() - started
    )
    write_json(file.with_suffix(".json"), {**what, "figures": figures, "data": read})
    return result


def _of_judges(asked: BenchmarkRows, kept: Sequence[GradedProblem]) -> dict[str, Any]:
    """What judged benchmarks have beside the usual figures."""
    own = {"reference": judge_figures.attempts, "pair": judge_figures.against_baseline}.get(
        asked.benchmark.judged
    )
    return own(kept) if own is not None else {}


def named(model: str, asked: BenchmarkRows, protocol: Protocol, read: dict[str, Any]) -> dict[str, Any]:
    """What a result is the result of, and a short hash of it."""
    what = {"model": model, "weights": _weights(model), "benchmark": asked.name, "data": read["sha256"]}
    what |= {name: read[name] for name in ("examples", "judge") if name in read}
    what |= asdict(protocol)
    digest = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()
    return {"id": digest[:10], **what}


def _weights(model: str) -> list[Any]:
    """What tells a checkpoint folder from an earlier one of that name: its files' sizes and times; nothing of a hub
    name or an address."""
    folder = Path(model)
    files = sorted(folder.glob("*")) if folder.is_dir() else [folder] if folder.is_file() else []
    kept = [f for f in files if f.suffix in (".safetensors", ".json", ".jinja", ".gguf", ".bin", ".model")]
    return [(f.name, f.stat().st_size, f.stat().st_mtime_ns) for f in kept]


def trim(file: Path) -> None:
    """Take a last line away that was cut as it was written."""
    if not file.exists():
        return
    content = file.read_bytes()
    if content and not content.endswith(b"\n"):
        with file.open("r+b") as out:
            out.truncate(content.rfind(b"\n") + 1)


def read_shots(asked: BenchmarkRows, protocol: Protocol, read: dict[str, Any]) -> list[SolvedQuestion]:
    """The solved questions that examples are taken from, a hash of them among what was ``read``. Raises AhaError where
    there are none."""
    if not protocol.shots:
        return []
    hub = asked.source if asked.split != "all" else None
    if not (source := protocol.shots_from or hub):
        raise AhaError(
            f"--shots {protocol.shots}: where are {asked.name}'s examples? Give --shots-from FILE."
        )
    found = shots.read_examples(asked.benchmark.task, source)
    said = json.dumps([(e.question, str(e.problem.answer), e.solution) for e in found])
    read["examples"] = hashlib.sha256(said.encode()).hexdigest()
    return found


Keep = Callable[[GradedProblem, dict[str, Any]], None]


@contextmanager
def _kept(file: Path, done: dict[str, GradedProblem]) -> Iterator[Keep]:
    """Write each graded problem as it comes."""
    with file.open("a", encoding="utf-8") as out:

        def keep(record: GradedProblem, row: dict[str, Any]) -> None:
            out.write(json.dumps(row, ensure_ascii=False) + "\n")
            out.flush()
            done[record.problem] = record

        yield keep


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
    waiting = [p for p in problems if p.id not in done]
    shown = [shots.examples_for(p, examples, protocol.shots) for p in waiting]
    with _kept(file, done) as keep:
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
    every = source.prompter.requests(problems, protocol.k)
    missing = {p.id for p in waiting}
    requests = [r for p, r in zip(problems, every, strict=True) if p.id in missing]
    with _kept(file, done) as keep, _beside(rewards, threads) as grader:
        stream = stream_groups(
            source.engine, source.prompter, waiting, protocol.k, params, rewards,
            seed=protocol.seed, progress=progress, requests=requests, grader=grader,
        )  # fmt: skip
        for _, group in stream:
            keep(*records.record(group, task, protocol.strict))


@contextmanager
def _beside(rewards: WeightedRewards, threads: int) -> Iterator[ThreadedGrader | None]:
    """What grades in threads, while sampling goes on; None for no threads."""
    grader = ThreadedGrader(rewards, threads) if threads else None
    try:
        yield grader
    finally:
        if grader is not None:
            grader.close()


def check(protocol: Protocol) -> None:
    """Raise AhaError for numbers that cannot be."""
    if protocol.shots < 0:
        raise AhaError(f"--shots {protocol.shots}: give 0 or more.")
    if protocol.k < 1:
        raise AhaError(f"--k {protocol.k}: give 1 or more samples of each problem.")
    if protocol.max_tokens < 1:
        raise AhaError(f"--max-tokens {protocol.max_tokens}: give 1 or more.")
    if protocol.problems is not None and protocol.problems < 1:
        raise AhaError(f"--problems {protocol.problems}: give 1 or more.")
    if not 0 <= protocol.temperature < float("inf"):
        raise AhaError(f"--temperature {protocol.temperature}: give 0 (greedy) or more.")
    if not 0 < protocol.top_p <= 1:
        raise AhaError(f"--top-p {protocol.top_p}: give a number above 0, up to 1.")


def open_judge(address: str, folder: Path, max_tokens: int = 2048) -> BenchmarkJudge:
    """An endpoint that remembers its answers in ``folder``, or a function of one's own. Raises AhaError for neither."""
    if is_endpoint(address):
        complete = over(connect(address, folder), max_tokens=max_tokens)
    elif (part := own_judge(address)) is not None:
        complete = own(part)
    else:
        raise AhaError(f"'{address}' is no judge. Give http://host:port/v1#MODEL, or FILE.py:NAME.")
    return BenchmarkJudge(address, Judge(complete), concurrency(address))


def asked_with(source: AnswerSource, prompt: str) -> AnswerSource:
    """The same engine, asked with another prompt."""
    if source.tokenizer is None:
        return replace(source, prompter=ChatPrompter(prompt=prompt))
    return replace(source, prompter=Prompter(source.tokenizer, prompt))


def open_model(
    model: str, folder: Path, prompt: str, device: str, dtype: str, threads: int, rows: int = 512
) -> AnswerSource:
    """The engine behind a model's name (checkpoint, GGUF file, hub name) or an endpoint's address."""
    from aha.stages.engines import open_source

    return open_source(Context(folder, device, dtype, threads), model, prompt, rows=rows)
