"""Benchmarks by name: where their rows are, who grades them, and how the paper samples them.

One entry is one benchmark. Where a machine has no hub, ``NAME=FILE`` names the rows, or ``--data-dir`` a folder of
``NAME.jsonl`` (or .jsonl.gz, .parquet, .csv).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from aha.data.sources import on_hub, with_revision, with_split
from aha.hints import nearest
from aha.tasks.rows import WHOLE
from aha.types import AhaError

SUFFIXES = (".jsonl", ".jsonl.gz", ".parquet", ".json", ".csv")


@dataclass(frozen=True, slots=True)
class Benchmark:
    """``task`` is what reads and grades the rows (``aha list tasks``), "" where nothing here does, ``why`` says why.
    ``hub`` is ``owner/name`` or ``owner/name:config`` (``data.sources``); ``split`` the rows that are asked, all of
    them; ``shots`` the split that solved examples are taken from; ``k`` the paper's samples of each problem (0: none is
    named); ``dates`` of the contests that the paper asks, FROM:TO. ``differs``: what is done otherwise here than in the
    paper. ``judged``: how a judge grades it (``judging.tasks``), "" where a rule does; ``imported``: whose results are
    read in place of sampling (``imported.READERS``); ``shown``: figures of its own that tables have."""

    name: str
    title: str
    task: str
    hub: str
    split: str = "test"
    k: int = 0
    problems: int = 0  # how many rows the published set has; 0: it varies
    why: str = ""
    differs: str = ""
    judged: str = ""
    imported: str = ""
    shown: tuple[str, ...] = ()
    shots: str = "train"
    dates: str = ""


_MATH_SUMMARY = "graded by value, where the paper does not say how"
_OURS = (
    Benchmark("aime24", "AIME 2024", "math", "HuggingFaceH4/aime_2024", "train", 64, 30, differs=_MATH_SUMMARY),
    Benchmark("aime25", "AIME 2025", "math", "math-ai/aime25", "test", 64, 30, differs=_MATH_SUMMARY),
    Benchmark("amc23", "AMC 2023", "math", "math-ai/amc23", "test", 0, 40),
    Benchmark("math500", "MATH-500", "math", "HuggingFaceH4/MATH-500", "test", 16, 500, differs=_MATH_SUMMARY),
    Benchmark("cnmo24", "CNMO 2024", "math", "", why="no public copy is known: give --data"),
    Benchmark("gsm8k", "GSM8K", "gsm8k", "openai/gsm8k:main", "test", 0, 1319),
    Benchmark("cmath", "CMATH", "math", "weitianwen/cmath", "test"),
    Benchmark("minerva", "Minerva Math", "math", "math-ai/minervamath", "test", 0, 272),
    Benchmark("olympiadbench", "OlympiadBench", "math", "math-ai/olympiadbench", "test"),
    Benchmark("gpqa", "GPQA Diamond", "choice", "Idavidrein/gpqa:gpqa_diamond", "train", 64, 198,
              differs="options in an order drawn from the question's text"),
    Benchmark("mmlu", "MMLU", "choice", "cais/mmlu:all", "test", 1, 14_042, shots="dev"),
    Benchmark("mmlu_redux", "MMLU-Redux", "choice", "edinburgh-dawg/mmlu-redux-2.0:*", "test", 1,
              differs="only questions that its annotators found to be well"),
    Benchmark("mmlu_pro", "MMLU-Pro", "choice", "TIGER-Lab/MMLU-Pro", "test", 1, 12_032, shots="validation"),
    Benchmark("ceval", "C-Eval", "choice", "ceval/ceval-exam:*", "val", 1, shots="dev",
              differs="the split whose answers are public"),
    Benchmark("cluewsc", "CLUEWSC", "choice", "clue/clue:cluewsc2020", "validation", 1, 304,
              differs="asked as a question with the options yes and no, on the split whose labels are public"),
    Benchmark("arc", "ARC-Challenge", "choice", "allenai/ai2_arc:ARC-Challenge", "test", 0, 1172),
    Benchmark("drop", "DROP (F1)", "drop", "ucinlp/drop", "validation", 1, 9536, shown=("score",)),
    Benchmark("bfcl", "BFCL (AST)", "function_calls", "", why="its questions and answers lie apart: give "
              "QUESTIONS.json+POSSIBLE_ANSWER.json, or a file that has both"),
    Benchmark("jsonschema", "JSONSchemaBench (easy)", "json_output", "epfl-dlab/JSONSchemaBench:Github_easy", "test"),
    Benchmark("ifeval", "IFEval (prompt, strict)", "ifeval", "google/IFEval", "train", 1, 541),
    Benchmark("multiif", "Multi-IF (three turns)", "ifeval", "facebook/Multi-IF", "train", 0, 4501,
              differs="sentences, words and languages as IFEval's are counted here, without langdetect and pythainlp"),
    Benchmark("livecodebench", "LiveCodeBench", "code", "lighteval/code_generation_lite:release_v5", "test", 8,
              dates="2024-08-01:2025-01-31"),
    Benchmark("codeforces", "Codeforces (percentile)", "code", "", "test", 16, why="its rows need tests: give "
              "a file of problems with contest_id, index and tests, and the contests' standings (--contests)",
              shown=("rating", "percentile"), differs="your contests and tests; time and failed attempts do not count"),
    Benchmark("humaneval", "HumanEval", "code", "openai/openai_humaneval", "test", 0, 164),
    Benchmark("humaneval_plus", "HumanEval+", "code", "evalplus/humanevalplus", "test", 0, 164),
    Benchmark("mbpp", "MBPP", "code", "google-research-datasets/mbpp:full", "test", 0, 500),
    Benchmark("mbpp_plus", "MBPP+", "code", "evalplus/mbppplus", "test", 0, 378),
)  # fmt: skip
SCORES = ("first_turn", "second_turn", "mean_score")
"""Figures that are scores from 1 to 10."""
_ATTEMPTS = ("correct", "incorrect", "not_attempted", "f_score")
_ORDERS = "your judge and our words, in both orders; "
_JUDGED = (
    Benchmark("simpleqa", "SimpleQA", "judged", "basicv8vc/SimpleQA", "test", 1, 4326, judged="reference",
              differs="your judge, and our words for its three grades", shown=_ATTEMPTS),
    Benchmark("csimpleqa", "Chinese SimpleQA", "judged", "OpenStellarTeam/Chinese-SimpleQA", "train", 1, 3000,
              judged="reference", differs="your judge, and our words for its three grades", shown=_ATTEMPTS),
    Benchmark("frames", "FRAMES", "judged", "google/frames-benchmark", "test", 1, 824, judged="correctness",
              differs="your judge; without its articles"),
    Benchmark("alpaca_eval", "AlpacaEval 2", "judged", "tatsu-lab/alpaca_eval:alpaca_eval_gpt4_baseline", "eval", 1,
              805, judged="pair", differs=_ORDERS + "verdicts in words, not probabilities of them",
              shown=("lc_win_rate", "win_rate")),
    Benchmark("arena_hard", "Arena-Hard", "judged", "", "train", 1, 500, judged="pair",
              why="its rows and its baseline's answers lie apart: give QUESTION.jsonl+ANSWERS.jsonl, or a file "
              "that has both", differs=_ORDERS
              + "one judge against one baseline", shown=("weighted_win_rate",)),
    Benchmark("mtbench", "MT-Bench", "judged", "HuggingFaceH4/mt_bench_prompts", "train", 1, 80, judged="conversation",
              differs="your judge and our words for its grading; one temperature for all categories; references are "
              "the set's own unless FastChat's are joined", shown=SCORES),
)  # fmt: skip
_IMPORTED = (
    Benchmark("swe_verified", "SWE-bench Verified", "", "", "test", 1, 500, imported="swe_bench", why="it runs "
              "repositories in containers. Evaluate your patches with its own program, and give the report that it "
              "writes: --tasks swe_verified=REPORT.json"),
    Benchmark("aider", "Aider Polyglot", "", "", "test", 1, 225, imported="aider", shown=("first_try",), why="its "
              "exercises are edited by Aider and tested in its container. Give the folder of results that its "
              "benchmark writes: --tasks aider=FOLDER"),
)  # fmt: skip

REVISIONS: Mapping[str, str] = {
    "HuggingFaceH4/aime_2024": "2fe88a2f1091d5048c0f36abc874fb997b3dd99a",
    "HuggingFaceH4/MATH-500": "6e4ed1a2a79af7d8630a6b768ec859cb5af4d3be",
    "Idavidrein/gpqa": "633f5ee89ab8ad4522a9f850766b73f62147ffdd",
    "TIGER-Lab/MMLU-Pro": "b189ec765aa7ed75c8acfea42df31fdae71f97be",
    "allenai/ai2_arc": "210d026faf9955653af8916fad021475a3f00453",
    "cais/mmlu": "c30699e8356da336a370243923dbaf21066bb9fe",
    "evalplus/humanevalplus": "d32357cf319e50e9c8d8dab5ea876c72b0fd321b",
    "evalplus/mbppplus": "b2d74c91837c3f2a20c1299ae98133cbe7cfa077",
    "google-research-datasets/mbpp": "4bb6404fdc6cacfda99d4ac4205087b89d32030c",
    "google/IFEval": "966cd89545d6b6acfd7638bc708b98261ca58e84",
    "google/frames-benchmark": "58d9fb6330f3ab1316d1eca12e5e8ef23dcc22ef",
    "math-ai/aime25": "563bb8404243c5f09de6ec262f2db674fe5bce9b",
    "openai/gsm8k": "740312add88f781978c0658806c59bc2815b9866",
    "openai/openai_humaneval": "7dce6050a7d6d172f3cc5c32aa97f52fa1a2e544",
}
"""The commit at which a benchmark's set on the hub is read unless another is named: that which the code of several
publications pins (seen in November 2026). Of the other sets the newest is read, and its commit recorded."""
BENCHMARKS: Mapping[str, Benchmark] = {b.name: b for b in (*_OURS, *_JUDGED, *_IMPORTED)}


@dataclass(frozen=True, slots=True)
class BenchmarkRows:
    """A benchmark with the rows that are asked: a file, or a hub name with the split that was published."""

    benchmark: Benchmark
    source: str | None
    split: str

    @property
    def name(self) -> str:
        """The benchmark's name."""
        return self.benchmark.name

    @property
    def rows(self) -> tuple[str | None, str]:
        """(source, split) for a task to read: a published split is asked whole, and nothing of it is held out."""
        if self.source is None:
            return None, self.split
        return with_split(self.source, self.split), WHOLE

    @property
    def examples(self) -> str:
        """Where solved examples are, of a hub set; "" of a file."""
        if self.source is None or not on_hub(self.source):
            return ""
        return with_split(self.source.partition("#")[0], self.benchmark.shots)


def read_names(text: str, folder: Path | None = None) -> list[BenchmarkRows]:
    """The benchmarks of ``NAME[@REVISION][=FILE],...``; any task of ``aha list tasks`` is one too.

    Raises AhaError for an unknown name, one given twice, and one whose rows cannot be graded or found.
    """
    named = [_asked(part.strip(), folder) for part in text.split(",") if part.strip()]
    if not named:
        raise AhaError("No benchmark is named. Give --tasks NAME,NAME (aha list benchmarks).")
    twice = {a.name for a in named if sum(b.name == a.name for b in named) > 1}
    if twice:
        raise AhaError(f"--tasks names {', '.join(sorted(twice))} twice.")
    return named


def _asked(part: str, folder: Path | None) -> BenchmarkRows:
    name, _, file = part.partition("=")
    name, at, revision = name.partition("@")
    if at:
        return _at(name, revision, file)
    benchmark = BENCHMARKS.get(name) or _of_task(name)
    if benchmark.why and not ((benchmark.task or benchmark.imported) and (file or _in(folder, name))):
        raise AhaError(f"{benchmark.title} cannot be evaluated here: {benchmark.why}.")
    file = file or _in(folder, name)
    if file:
        return BenchmarkRows(benchmark, file, benchmark.split if on_hub(file) else WHOLE)
    return BenchmarkRows(benchmark, pinned(benchmark.hub) or None, benchmark.split)


def revision_of(hub: str) -> str:
    """The commit of ``REVISIONS`` at which a set is read; "" where it has none."""
    return REVISIONS.get(hub.partition(":")[0], "")


def pinned(hub: str) -> str:
    """A benchmark's set at its revision, where it has one."""
    revision = revision_of(hub)
    return with_revision(hub, revision) if revision else hub


def _at(name: str, revision: str, file: str) -> BenchmarkRows:
    """A benchmark's set on the hub at one revision."""
    benchmark = BENCHMARKS.get(name) or _of_task(name)
    source = file or benchmark.hub
    if not revision:
        raise AhaError(f"{name}@ names no revision: give a commit, a branch or a tag, as in {name}@main.")
    if not source or not on_hub(source):
        raise AhaError(f"{name}@{revision}: a revision is of a set on the hub, and {source or name} is none.")
    return BenchmarkRows(benchmark, with_revision(source, revision), benchmark.split)


def _in(folder: Path | None, name: str) -> str:
    """A benchmark's file in a folder; "" where it has none."""
    files = [folder / f"{name}{suffix}" for suffix in SUFFIXES] if folder is not None else []
    return next((str(file) for file in files if file.is_file()), "")


def _of_task(name: str) -> Benchmark:
    """A task as a benchmark of its own. Raises AhaError for an unknown name."""
    from aha.tasks import TASKS

    if name in TASKS:
        return Benchmark(name, name, name, "")
    known = [*BENCHMARKS, *TASKS]
    hint = nearest(name, known, "aha list benchmarks names them.")
    raise AhaError(f"Unknown benchmark '{name}'. {hint}")
