"""One whole step of GRPO, end to end: sample groups, grade, credit, update. Tokens a second, beside TRL.

Equal work: the same checkpoint, prompts, group size and lengths; nothing ends early; a reward that costs
nothing; one optimizer step on all completions.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from aha import hardware, options, ranks
from aha.bench import interleave, models, profiling, roofline
from aha.files import check_writable
from aha.options import whole
from aha.types import AhaError

HELP = "a whole GRPO step, end to end"
UNIT = "tokens_per_second"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Model, size of the step, and the peer."""
    models.add_arguments(parser)
    parser.add_argument("--prompts", type=whole(1), default=8, help="questions of one step (%(default)s)")
    parser.add_argument("--group", type=whole(2), default=16, help="completions of each (%(default)s)")
    parser.add_argument(
        "--tokens", type=whole(1), default=128, help="tokens of each, none ends early (%(default)s)"
    )
    parser.add_argument("--prompt-tokens", type=whole(1), default=32, help="tokens of a prompt (%(default)s)")
    parser.add_argument(
        "--packed-length", type=whole(1), default=4096, help="tokens of one pass (%(default)s)"
    )
    parser.add_argument("--runs", type=whole(1), default=3, help="measured steps of each side (%(default)s)")
    parser.add_argument("--against", choices=("trl",), help="the peer, in turn in the same run")
    parser.add_argument(
        "--peer-precision",
        choices=("autocast", "bf16"),
        default="autocast",
        help="trl's weights: float32 with bf16 autocast (its default), or bf16 without float32 masters",
    )
    parser.add_argument("--peer-micro-batch", type=whole(), default=0, help="trl's sequences of one pass")
    parser.add_argument("--ranks", metavar="N", help="take our steps on N processes, as aha run --ranks does")
    parser.add_argument("--profile", type=Path, metavar="FILE", help="write a trace for Perfetto of our step")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")


def run(args: argparse.Namespace) -> int:
    """Measure in turn, print medians, their ratio and the limit; profile if asked."""
    if not args.against:
        options.refuse(
            args, ("peer_precision", "peer_micro_batch"), "it is of a peer. Name one with --against."
        )
    if args.profile:
        check_writable(args.profile)
    with ranks.joined(args.device):
        return _lead(args) if ranks.is_main() else _follow(args)


def _follow(args: argparse.Namespace) -> int:
    """Take part in every step that the first rank takes, until it takes no more."""
    subject = models.load(args)
    ours = Step(subject, models.prompt_texts(subject, args.prompts, args.prompt_tokens), args)
    while ranks.broadcast_object(lambda: False):
        ours.take()
    ranks.barrier()  # nobody leaves while the machine is measured
    return 0


def _lead(args: argparse.Namespace) -> int:
    """Measure on the first rank, or the only one."""
    subject = models.load(args)
    texts = models.prompt_texts(subject, args.prompts, args.prompt_tokens)
    with contextlib.ExitStack() as stack:
        ours = Step(subject, texts, args)

        def take() -> float:
            ranks.broadcast_object(lambda: True)
            return ours.take()

        sides: dict[str, interleave.Work] = {interleave.OURS: interleave.timed(take, subject.device)}
        extra: dict[str, dict[str, Any]] = {interleave.OURS: {}}
        if args.against:  # it takes the weights as they are before any step
            sides[args.against], extra[args.against] = stack.enter_context(_trl(args, subject, texts))
        readings = interleave.in_turn(sides, args.runs)
        grading = [("grading", sys.modules[__name__], "grade")]
        profile = profiling.profile(take, subject.device, args.profile, grading) if args.profile else None
        ranks.broadcast_object(lambda: False)
    with ranks.alone():
        hardware.set_threads(args.threads)  # the machine's limit, whoever shares the work
        peaks = roofline.measure(subject.device)
    ranks.barrier()
    least = _least(subject, ours, args, peaks)
    for name, reading in readings.items():
        extra[name] |= least.compare(reading.median_seconds)
    extra[interleave.OURS] |= ours.parts()
    figures = interleave.result("step", _work(args, ours), readings, UNIT, extra)
    figures |= {"model": subject.describe(), "limits": peaks.describe()}
    sampling = figures["sides"][interleave.OURS]["sampling_seconds"]
    notes = [f"of ours, sampling {sampling:.3f} s a step", peaks.line(), f"at best {least.seconds:.3f} s"]
    if profile is not None:
        figures["profile"] = profile
        notes += [*profiling.page(figures["profile"]), f"trace: {args.profile} (open it at ui.perfetto.dev)"]
    interleave.show(figures, UNIT, args.json, tuple(notes))
    return 0


def _work(args: argparse.Namespace, ours: Step) -> dict[str, Any]:
    return {
        "prompts": args.prompts,
        "group": args.group,
        "tokens": args.tokens,
        "prompt_tokens": round(sum(ours.prompt_lengths) / args.prompts, 1),
        "packed_length": args.packed_length,
        "ranks": ranks.launched(),
    }


def _least(
    subject: models.BenchModel, ours: Step, args: argparse.Namespace, peaks: roofline.Roofline
) -> roofline.Least:
    """Sampling at its limit, then training at its own; what grading and the update need is left out."""
    parts = roofline.anatomy(subject.model)
    mean = round(sum(ours.prompt_lengths) / args.prompts)
    rows = args.prompts * args.group
    working_set = parts.weight_bytes + rows * (mean + args.tokens // 2) * parts.kv_bytes
    reads = max(peaks.bytes_per_second, roofline.read_peak_at(subject.device, working_set))
    speeds = (peaks.flops(subject.dtype), reads)
    sampling = roofline.decoding(parts, rows, args.prompts, mean, args.tokens, speeds)
    # The prompt counts once for its group; each completion sees it.
    lengths = [*ours.prompt_lengths, *[args.tokens] * rows]
    seen = 12 * parts.layers * parts.attention_width * args.tokens * sum(ours.prompt_lengths) * args.group
    flops = roofline.training_flops(parts, lengths) + seen
    training = roofline.Least(flops / speeds[0], flops, 0.0, "matrix products")
    return roofline.join(sampling, training)


def grade(texts: Sequence[str]) -> list[float]:
    """The share of the digit 1 in each text: cheap, and different for different completions."""
    return [text.count("1") / max(1, len(text)) for text in texts]


class Step:
    """Our side: the parts that the stage of reinforcement learning is made of, once."""

    def __init__(self, subject: models.BenchModel, texts: Sequence[str], args: argparse.Namespace):
        from aha.chat import Prompt
        from aha.sampling.local.engine import LocalEngine
        from aha.sampling.rollouts import Prompter
        from aha.sampling.sampler import SamplingParams
        from aha.training.algorithm import Algorithm
        from aha.training.policy import Policy
        from aha.training.trainer import OptimizerConfig
        from aha.types import Problem

        rows = args.prompts * args.group
        self.policy = Policy(subject.model, OptimizerConfig(lr=1e-6))
        self.engine = LocalEngine(subject.model, subject.tokenizer, max_rows=rows, cache_bytes=1 << 60)
        self.engine.eos_ids = frozenset({-1})
        self.prompter = Prompter(subject.tokenizer, Prompt("text", words="{question}"))
        self.params = SamplingParams(max_tokens=args.tokens)
        self.algorithm = Algorithm.model_validate("grpo_no_kl")
        messages = [({"role": "user", "content": text},) for text in texts]
        self.problems = [Problem(str(i), "bench", message) for i, message in enumerate(messages)]
        self.prompt_lengths = [len(self.prompter.encode(problem)[0]) for problem in self.problems]
        self.group, self.packed_length = args.group, args.packed_length
        self.count = 0
        self.sampling: list[float] = []

    def take(self) -> float:
        """One step; returns the number of tokens sampled."""
        import numpy as np

        from aha.sampling.rollouts import sample_groups
        from aha.training import parallel
        from aha.training.batching import pack
        from aha.training.sequences import to_examples

        started = time.perf_counter()
        self.count += 1
        rewards = {"ones": (1.0, _reward)}
        groups = sample_groups(
            self.engine, self.prompter, self.problems, self.group, self.params, rewards, seed=self.count
        )
        self.sampling.append(time.perf_counter() - started)
        of_groups = [np.array([member.reward for member in group.members], dtype=float) for group in groups]
        advantages = self.algorithm.advantages(of_groups)
        examples = to_examples(groups, advantages)
        loss, weighting = self.algorithm.loss(), self.algorithm.weighting()
        batches = parallel.balance(lambda tokens: pack(examples, weighting, tokens), self.packed_length)
        self.policy.map_microbatches(batches, lambda batch: self.policy.backward(batch, loss))
        self.policy.step(1e-6)
        return float(sum(len(m.rollout.completion_ids) for g in groups for m in g.members))

    def parts(self) -> dict[str, float]:
        """What of a step is sampling and grading, warm-up left out."""
        import statistics

        return {"sampling_seconds": round(statistics.median(self.sampling[1:]), 6)}


def _reward(problem: Any, rollouts: Sequence[Any]) -> list[Any]:
    from aha.types import Score

    return [Score(value) for value in grade([rollout.text for rollout in rollouts])]


@contextlib.contextmanager
def _trl(
    args: argparse.Namespace, subject: models.BenchModel, texts: Sequence[str]
) -> Iterator[tuple[interleave.Work, dict[str, Any]]]:
    """TRL in its own environment, holding still between steps."""
    import torch

    from aha.bench.peers import Peer

    expected = args.prompts * args.group * args.tokens
    with ranks.alone():  # its process is the only one that works
        threads = args.threads or hardware.set_threads()
    hardware.set_threads(args.threads)
    micro = args.peer_micro_batch or max(1, args.packed_length // (args.prompt_tokens + args.tokens))
    with tempfile.TemporaryDirectory() as place, Peer.start("trl", threads) as peer:
        question = {
            "folder": str(models.save(subject, Path(place))),
            "dtype": str(subject.dtype).removeprefix("torch."),
            "device": str(subject.device),
            "precision": args.peer_precision,
            "prompts": list(texts),
            "group": args.group,
            "tokens": args.tokens,
            "micro_batch": micro,
            "steps": args.runs + 2,  # the last is never asked for: nothing of the end is measured
            "threads": threads,
        }
        started = peer.ask(question)

        def work() -> tuple[float, float]:
            reply = peer.ask({})
            if reply["tokens"] != expected:
                raise AhaError(f"trl did other work than was asked for: {reply}, not {expected} tokens.")
            return reply["tokens"], reply["seconds"]

        kind = "bf16 weights" if args.peer_precision == "bf16" else "float32 weights, bf16 autocast"
        if subject.dtype != torch.bfloat16:
            kind = "float32 weights"
        said = {"version": started["version"], "micro_batch": started["micro_batch"], "compares": kind}
        yield work, said
