"""Everything that only a GPU can show, in one run: each part in a process of its own with a time-out, the most
important first, and one JSON of verdicts. A part that fails leaves the others running."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from aha.options import whole
from aha.types import AhaError

HELP = "everything that only a GPU can show, in twelve minutes"
SECONDS = 700
"""Of all parts together: twelve minutes with the start of Python."""
SHAPE = ("--shape", "qwen2.5-1.5b", "--device", "cuda", "--json")
TAIL = 3000
"""Characters of a failed part's output that are kept."""

Figures = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Part:
    """One question to the machine: ``command`` are words behind ``python -m aha``; ``judge`` reads what it wrote and
    returns its figures, or raises AhaError with what is wrong. ``peer``: the environment that it needs."""

    name: str
    shows: str
    seconds: int
    command: tuple[str, ...]
    judge: Callable[[str], Figures]
    peer: str = ""


@dataclass(slots=True)
class BenchOutcome:
    """What came of a part: passed, failed, timed out, or skipped."""

    name: str
    verdict: str
    why: str = ""
    seconds: float = 0.0
    command: str = ""
    figures: Figures = field(default_factory=dict)
    tail: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where results go, which parts, and how long."""
    parser.add_argument("--out", type=Path, default=Path("gpu_check.json"), help="the verdicts (%(default)s)")
    parser.add_argument("--only", action="append", default=[], metavar="PART", help="this part; repeatable")
    parser.add_argument("--seconds", type=whole(1), default=SECONDS, help="for all parts (%(default)s)")
    parser.add_argument("--dry-run", action="store_true", help="list the parts and run none")
    parser.add_argument("--json", action="store_true", help="print what is written to --out, too")


def run(args: argparse.Namespace) -> int:
    """Run the parts and say what each found; 0 if none failed. Raises AhaError without a GPU."""
    parts = chosen(make_parts(args.out.absolute().parent), args.only)
    if args.dry_run:
        print("\n".join(f"{p.name:<18}{p.seconds:>5} s  {p.shows}" for p in parts))
        return 0
    if (missing := no_gpu()) is not None:
        raise AhaError(missing)
    outcomes = check(parts, args.out, args.seconds)
    print(table(outcomes))
    if args.json:
        print(args.out.read_text(encoding="utf-8"))
    return 1 if any(o.verdict in ("failed", "timed out") for o in outcomes) else 0


def chosen(parts: Sequence[Part], only: Sequence[str]) -> list[Part]:
    """The parts of these names, or all. Raises AhaError for a name that there is not."""
    names = [part.name for part in parts]
    if unknown := [name for name in only if name not in names]:
        raise AhaError(f"No part '{unknown[0]}'. There are: {', '.join(names)}.")
    return [part for part in parts if not only or part.name in only]


def no_gpu() -> str | None:
    """Why nothing can be checked here; None where there is a GPU."""
    import torch

    if torch.cuda.is_available():
        return None
    return (
        f"There is no GPU here that torch {torch.__version__} can use, and every part of this check needs one. "
        "With --dry-run it lists its parts; on CPUs, run aha doctor and aha bench."
    )


# --- the parts -------------------------------------------------------------------------------------------------


def make_parts(folder: Path) -> list[Part]:
    """What is asked, the most important first; runs are written into ``folder``."""
    bench = lambda *words: ("bench", *words, *SHAPE)  # noqa: E731
    sampled = ("--rows", "256", "--tokens", "256", "--prompt-tokens", "256")
    stepped = ("--prompts", "16", "--group", "16", "--tokens", "256", "--packed-length", "8192")
    runs = ("--runs-dir", str(folder / "gpu_check_runs"), "--device", "cuda")
    return [
        Part("graphs-attention", "CUDA graphs are replayed, variable-length attention passes its trial", 60,
             ("bench", "rollout", "--shape", "small", "--rows", "64", "--tokens", "64", "--device", "cuda", "--json"),
             judged_graphs),
        Part("doctor-quick", "the checks that every run makes as it starts", 90,
             ("doctor", "--quick", "--json", *runs), judged_doctor),
        Part("rollout", "sampling of a 1.5B model", 70,
             bench("rollout", *sampled, "--runs", "2"), judged_graphs),
        Part("train", "training of a 1.5B model, packed", 70,
             bench("train", "--tokens", "65536", "--length-mean", "1500", "--packed-length", "8192", "--runs", "2"),
             judged_attention),
        Part("zero", "R1-Zero on the embedded base learns", 150,
             ("zero", "--plain", "--fresh", *runs, "rl.steps=20", "rl.test_problems=128", "rl.test_samples=4",
              "rl.eval_every=0"), judged_zero),
        Part("step", "a whole GRPO step of a 1.5B model", 70,
             bench("step", *stepped, "--runs", "2"),
             judged_bench),
        Part("transfer", "weights reach vLLM between GPUs' memories (IPC or NCCL), proven", 120,
             ("doctor", "--engine", "vllm", "--only", "weights", "--only", "weights_after_step", "--json", *runs),
             judged_doctor, "vllm"),
        Part("step-trl", "the same step beside TRL", 100,
             bench("step", *stepped, "--runs", "1", "--against", "trl"), judged_bench, "trl"),
        Part("rollout-vllm", "the same sampling beside vLLM", 120,
             bench("rollout", *sampled, "--runs", "1", "--against", "vllm"), judged_bench, "vllm"),
        Part("train-stock", "the same training beside transformers", 90,
             bench("train", "--tokens", "32768", "--length-mean", "1500", "--packed-length", "8192", "--runs", "1",
                   "--against", "transformers"), judged_bench),
        Part("doctor", "all checks", 200, ("doctor", "--json", *runs), judged_doctor),
    ]  # fmt: skip


def last_json(text: str) -> Any:
    """The JSON object that stands at the end of what was printed. Raises AhaError where there is none."""
    at = 0 if text.startswith("{") else text.find("\n{") + 1
    try:
        return json.loads(text[at:])
    except ValueError:
        raise AhaError("It printed no JSON.") from None


def judged_bench(text: str) -> Figures:
    """Rates of each side and their ratio."""
    figures = last_json(text)
    kept = {name: {k: v for k, v in side.items() if k != "runs"} for name, side in figures["sides"].items()}
    more = {key: figures[key] for key in ("ratio", "limits", "model") if key in figures}
    return {"sides": kept, "attention": figures["machine"]["attention"], **more}


def judged_attention(text: str) -> Figures:
    """A benchmark in which attention went through the GPU's own kernels."""
    figures = judged_bench(text)
    if figures["attention"] != ["varlen"]:
        raise AhaError(f"Attention went through {', '.join(figures['attention']) or 'nothing'}, not varlen.")
    return figures


def judged_graphs(text: str) -> Figures:
    """A rollout whose decoding steps were replayed from CUDA graphs."""
    figures = judged_attention(text)
    graphs = figures["sides"]["aha"].get("graphs")
    if not graphs or not graphs.get("captured") or not graphs.get("replayed"):
        raise AhaError(f"No decoding step was replayed: {graphs}.")
    return figures


def judged_doctor(text: str) -> Figures:
    """An examination without a failure."""
    report = last_json(text)
    bad = [f"{f['name']}: {f['compared']}" for f in report["findings"] if f.get("ok") is False]
    if not report["ok"]:
        raise AhaError(f"{len(bad)} checks failed: {'; '.join(bad[:5])}.")
    return {"findings": len(report["findings"])}


def judged_zero(text: str) -> Figures:
    """A run whose accuracy on held-out problems rose."""
    path = next(
        (Path(line.split(maxsplit=1)[1]) for line in text.splitlines() if line.startswith("Summary ")), None
    )
    if path is None:
        raise AhaError("The run wrote no summary.")
    summary = json.loads(path.read_text(encoding="utf-8"))
    before, after = (float(summary[when]["pass@1"]) for when in ("before", "after"))
    if not after > before + 0.1:
        raise AhaError(f"It did not learn: pass@1 {before:.3f} before and {after:.3f} after.")
    return {"before": before, "after": after, "tokens_per_second": summary.get("tokens_per_second")}


# --- running them ----------------------------------------------------------------------------------------------


def check(parts: Sequence[Part], out: Path, seconds: float) -> list[BenchOutcome]:
    """The parts one after another, within ``seconds``; what is known is in ``out`` after each of them."""
    ends, outcomes = time.monotonic() + seconds, list[BenchOutcome]()
    for part in parts:
        left = ends - time.monotonic()
        print(f"{part.name} ...", flush=True)
        outcomes.append(one(part, min(part.seconds, left)))
        print(f"  {outcomes[-1].verdict} {outcomes[-1].why}", flush=True)
        write(out, outcomes)
    return outcomes


def one(part: Part, seconds: float) -> BenchOutcome:
    """Run a part for at most so long."""
    from aha.bench import peers

    if part.peer and not (peers.folder(part.peer) / "bin" / "python").exists():
        return BenchOutcome(
            part.name, "skipped", f"{part.peer} is not here: set AHA_PEERS to its environment's folder"
        )
    if seconds < 5:
        return BenchOutcome(part.name, "skipped", "no time was left")
    command, started = [sys.executable, "-m", "aha", *part.command], time.monotonic()
    code, text, errors = run_for(command, seconds)
    spent, words = round(time.monotonic() - started, 1), " ".join(part.command)
    tail = (errors + text)[-TAIL:]
    if code is None:
        return BenchOutcome(part.name, "timed out", f"after {spent:.0f} s", spent, words, tail=tail)
    try:
        figures = part.judge(text)
    except (AhaError, KeyError, TypeError, ValueError, OSError) as error:
        why = str(error) if isinstance(error, AhaError) else f"its output is not understood: {error!r}"
        why = f"exit code {code}. {why}" if code else why
        return BenchOutcome(part.name, "failed", why, spent, words, tail=tail)
    if code:
        return BenchOutcome(part.name, "failed", f"exit code {code}", spent, words, figures, tail)
    return BenchOutcome(part.name, "passed", "", spent, words, figures)


def run_for(command: Sequence[str], seconds: float) -> tuple[int | None, str, str]:
    """(exit code, or None where the time was up; stdout; stderr). Everything that it started ends with it."""
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0,
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    code: int | None
    try:
        text, errors = process.communicate(timeout=seconds)
        code = process.returncode
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        text, errors = process.communicate()
        code = None
    return code, text, errors


def write(out: Path, outcomes: Sequence[BenchOutcome]) -> None:
    """One JSON of what is known so far."""
    from aha import hardware

    ok = all(o.verdict not in ("failed", "timed out") for o in outcomes)
    report: Mapping[str, Any] = {
        "ok": ok, "machine": hardware.describe_machine(), "parts": [asdict(o) for o in outcomes]
    }  # fmt: skip
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def table(outcomes: Sequence[BenchOutcome]) -> str:
    """Verdicts for people, a line a part."""
    return "\n".join(
        f"{o.name:<18}{o.verdict:<10}{o.seconds:>7.1f} s  {o.why or headline(o.figures)}" for o in outcomes
    )


def headline(figures: Figures) -> str:
    """The figure of a part that says most."""
    sides = figures.get("sides", {})
    rates = [
        f"{name} {next(v for k, v in side.items() if k.endswith('per_second')):,.0f} tokens/s"
        + (f" ({side['percent_of_limit']:.0f} % of the limit)" if "percent_of_limit" in side else "")
        for name, side in sides.items()
    ]
    if rates:
        return ", ".join(rates) + (f", {figures['ratio']} times" if "ratio" in figures else "")
    return ", ".join(f"{key} {value}" for key, value in figures.items())
