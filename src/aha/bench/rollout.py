"""How fast the in-process engine samples: tokens a second, beside a peer and beside what the machine allows."""

from __future__ import annotations

import argparse
import contextlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aha import options
from aha.bench import interleave, models, roofline
from aha.options import whole
from aha.types import AhaError

if TYPE_CHECKING:
    from aha.sampling.local.engine import LocalEngine

HELP = "sampling speed of the local engine"
UNIT = "tokens_per_second"
PEERS = ("transformers", "transformers-cb", "vllm")
_GROUP = 16


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Model, rows, and the peer."""
    models.add_arguments(parser)
    parser.add_argument(
        "--rows", type=whole(1), default=256, help="completions sampled at once (%(default)s)"
    )
    parser.add_argument(
        "--tokens", type=whole(1), default=128, help="tokens of each, none ends early (%(default)s)"
    )
    parser.add_argument("--prompt-tokens", type=whole(1), default=32, help="tokens of a prompt (%(default)s)")
    parser.add_argument(
        "--prompts", type=whole(), default=0, help="different prompts (default: one for 16 rows)"
    )
    parser.add_argument("--runs", type=whole(1), default=3, help="measured runs of each side (%(default)s)")
    parser.add_argument("--against", choices=PEERS, help="the peer, in turn in the same run")
    parser.add_argument("--peer-eager", action="store_true", help="vllm without compilation")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")


def run(args: argparse.Namespace) -> int:
    """Measure in turn, print medians, their ratio and the limit."""
    if args.against != "vllm":
        options.refuse(args, ("peer_eager",), "it is of vllm. Give --against vllm.")
    prompts_count = args.prompts or max(1, args.rows // _GROUP)
    if args.rows % prompts_count:
        raise AhaError(f"--rows {args.rows} cannot be shared out evenly to --prompts {prompts_count}.")
    subject = models.load(args)
    prompts = models.random_prompts(subject, prompts_count, args.prompt_tokens)
    group = args.rows // prompts_count
    engine, ours = _ours(subject, prompts, group, args.tokens)
    sides: dict[str, interleave.Work] = {interleave.OURS: interleave.timed(ours, subject.device)}
    with contextlib.ExitStack() as stack:
        peer = {}
        if args.against:
            side, peer = stack.enter_context(_peer(args, subject, prompts, group))
            sides[args.against] = side
        readings = interleave.in_turn(sides, args.runs)
    work = {
        "rows": args.rows,
        "tokens": args.tokens,
        "prompts": prompts_count,
        "prompt_tokens": args.prompt_tokens,
        "temperature": 1.0,
        "logprobs": True,
    }
    peaks, least = _least(subject, args, prompts_count)
    extra: dict[str, Any] = {name: least.compare(r.median_seconds) for name, r in readings.items()}
    if args.against:
        extra[args.against] |= peer
    if subject.device.type == "cuda" or engine.graphs is not None:
        extra[interleave.OURS]["graphs"] = None if engine.graphs is None else engine.graphs.describe()
    figures = interleave.result("rollout", work, readings, UNIT, extra)
    figures |= {"model": subject.describe(), "limits": peaks}
    interleave.show(figures, UNIT, args.json, (_limit_line(peaks, least),))
    return 0


def _least(
    subject: models.BenchModel, args: argparse.Namespace, prompts: int
) -> tuple[dict[str, Any], roofline.Least]:
    """The machine's peaks, and the least time for this work. Reading is measured at the size of what one
    step reads: a small model lives in the caches, and memory alone is not its limit."""
    roof = roofline.measure(subject.device)
    parts = roofline.anatomy(subject.model)
    context = args.prompt_tokens + args.tokens // 2
    working_set = parts.weight_bytes + args.rows * context * parts.kv_bytes
    reads = max(roof.bytes_per_second, roofline.read_peak_at(subject.device, working_set))
    peaks = (roof.flops(subject.dtype), reads)
    least = roofline.decoding(parts, args.rows, prompts, args.prompt_tokens, args.tokens, peaks)
    described = roof.describe() | {
        "working_set_mb": round(working_set / 2**20, 1),
        "working_set_gb_per_second": round(reads / 1e9, 2),
    }
    return described, least


def _limit_line(peaks: dict[str, Any], least: roofline.Least) -> str:
    return (
        f"limits: {peaks['bf16_gflops']:,} GFLOP/s bf16, {peaks['float32_gflops']:,} float32, "
        f"{peaks['memory_gb_per_second']} GB/s of memory, {peaks['working_set_gb_per_second']} GB/s at the "
        f"{peaks['working_set_mb']:,} MB that a step reads; at best {least.seconds:.3f} s, bound by {least.binds}"
    )


def _ours(
    subject: models.BenchModel, prompts: list[list[int]], n: int, tokens: int
) -> tuple[LocalEngine, Callable[[], float]]:
    from aha.sampling.engine import Request
    from aha.sampling.local.engine import LocalEngine
    from aha.sampling.sampler import SamplingParams

    rows = len(prompts) * n
    engine = LocalEngine(subject.model, subject.tokenizer, max_rows=rows, cache_bytes=1 << 60)
    engine.eos_ids = frozenset({-1})  # equal work: nothing ends early
    params = SamplingParams(max_tokens=tokens)
    requests = [Request(ids, n, key) for key, ids in enumerate(prompts)]

    def sample() -> float:
        groups = engine.generate(requests, params)
        return float(sum(len(r.logprobs) for _, group in groups for r in group))

    return engine, sample


@contextlib.contextmanager
def _peer(
    args: argparse.Namespace, subject: models.BenchModel, prompts: list[list[int]], n: int
) -> Iterator[tuple[interleave.Work, dict[str, Any]]]:
    """The peer ready to work, and what it says of itself."""
    if args.against == "vllm":
        with _vllm(args, subject, prompts, n) as work:
            yield work
        return
    import transformers

    from aha.bench import transformers_baseline

    make = (
        transformers_baseline.generate if args.against == "transformers" else transformers_baseline.continuous
    )
    side = interleave.timed(make(subject, prompts, n, args.tokens), subject.device)
    yield side, {"version": f"transformers {transformers.__version__}"}


@contextlib.contextmanager
def _vllm(
    args: argparse.Namespace, subject: models.BenchModel, prompts: list[list[int]], n: int
) -> Iterator[tuple[interleave.Work, dict[str, Any]]]:
    import torch

    from aha.bench.peers import Peer

    threads = torch.get_num_threads()
    cache = roofline.anatomy(subject.model).kv_bytes * args.rows * (args.prompt_tokens + args.tokens + 128)
    settings = {
        "VLLM_CPU_KVCACHE_SPACE": str(1 + cache // 2**30),
        # By itself it keeps a processor free for others; here it gets as many as the other side.
        "VLLM_CPU_OMP_THREADS_BIND": ",".join(map(str, _processors(threads))),
        "VLLM_LOGGING_LEVEL": "WARNING",
    }
    with tempfile.TemporaryDirectory() as place, Peer.start("vllm", threads, settings) as peer:
        question = {
            "folder": str(models.save(subject, Path(place))),
            "dtype": str(subject.dtype).removeprefix("torch."),
            "prompts": prompts,
            "group": n,
            "tokens": args.tokens,
            "eager": args.peer_eager,
        }
        started = peer.ask(question)

        def work() -> tuple[float, float]:
            reply = peer.ask({})
            if reply["tokens"] != args.rows * args.tokens or not reply["logprobs"]:
                raise AhaError(f"vllm did other work than was asked for: {reply}")
            return reply["tokens"], reply["seconds"]

        yield work, {"version": started["version"], "eager": args.peer_eager}


def _processors(count: int) -> list[int]:
    """The first so many that this process may use."""
    import os

    usable = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else range(count)
    return list(usable)[:count]
