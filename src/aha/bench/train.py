"""How fast the trainer takes packed tokens through forward, backward and step, beside padded batches.

Equal work: the same sequences, the same weights to begin with, the same optimizer, one step over all of them.
The losses of both sides are printed: where they differ, the sides did not do the same.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from aha import options
from aha.bench import interleave, models, roofline
from aha.options import whole
from aha.types import AhaError

if TYPE_CHECKING:
    import numpy as np

HELP = "training speed of the packed trainer"
UNIT = "tokens_per_second"
_SIGMA = 0.5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Model and shape of the work."""
    models.add_arguments(parser)
    parser.add_argument(
        "--tokens", type=whole(1), default=16_384, help="tokens of one optimizer step (%(default)s)"
    )
    parser.add_argument(
        "--length-mean", type=whole(1), default=160, help="mean length of a sequence (%(default)s)"
    )
    parser.add_argument(
        "--lengths", choices=("lognormal", "equal"), default="lognormal", help="distribution (%(default)s)"
    )
    parser.add_argument(
        "--packed-length",
        type=whole(1),
        default=4096,
        help="tokens of one forward and backward pass (%(default)s)",
    )
    parser.add_argument("--runs", type=whole(1), default=3, help="measured steps of each side (%(default)s)")
    parser.add_argument("--against", choices=("transformers",), help="the peer, in turn in the same run")
    parser.add_argument(
        "--peer-precision",
        choices=("autocast", "masters"),
        default="autocast",
        help="the peer's weights: float32 with bf16 autocast, or bf16 with float32 masters as ours",
    )
    parser.add_argument(
        "--peer-order",
        choices=("by-length", "arrival"),
        default="by-length",
        help="how the peer batches: by-length pads least (%(default)s)",
    )
    parser.add_argument(
        "--scale", type=_numbers, default=[], help="also time so many times the tokens: 1,2,4,8"
    )
    parser.add_argument("--compile", action="store_true", help="our layers through torch.compile")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")


def _numbers(text: str) -> list[int]:
    """``1,2,4`` as whole numbers from 1, for argparse."""
    parts = text.split(",")
    if not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise argparse.ArgumentTypeError(f"'{text[:40]}': give whole numbers from 1 with commas between")
    return [int(part) for part in parts]


def run(args: argparse.Namespace) -> int:
    """Measure in turn, print medians, waste and the limit."""
    from aha.training.policy import Policy
    from aha.training.trainer import OptimizerConfig

    if not args.against:
        options.refuse(args, ("peer_precision", "peer_order"), "it is of a peer. Name one with --against.")
    subject = models.load(args)
    vocabulary = subject.model.config.vocab_size
    sequences = make_sequences(args.tokens, args.length_mean, args.lengths, args.packed_length, vocabulary)
    lengths = [len(ids) for ids in sequences]
    policy = Policy(subject.model, OptimizerConfig(lr=1e-6, torch_compile=args.compile))
    ours = _Ours(policy, sequences, args.packed_length)
    sides: dict[str, interleave.Work] = {interleave.OURS: interleave.timed(ours.step, subject.device)}
    extra: dict[str, dict[str, Any]] = {interleave.OURS: {}}
    peer = _Padded(subject, sequences, args) if args.against else None
    if peer:
        sides[args.against] = interleave.timed(peer.step, subject.device)
        extra[args.against] = {"waste": round(padding_waste(peer.batches), 5)}
    readings = interleave.in_turn(sides, args.runs)
    peaks = roofline.measure(subject.device)
    least = roofline.training(roofline.anatomy(subject.model), lengths, peaks, subject.dtype)
    for name, reading in readings.items():
        extra[name] |= least.compare(reading.median_seconds)
    extra[interleave.OURS] |= {"loss": round(ours.first_loss, 5), **ours.waste()}
    if peer:
        extra[args.against] |= {"loss": round(peer.first_loss, 5), **peer.describe()}
    figures = interleave.result("train", _work(args, lengths), readings, UNIT, extra)
    figures |= {"model": subject.describe(), "limits": peaks.describe()}
    if args.scale:
        figures["scale"] = _scaling(subject, policy, args)
    interleave.show(figures, UNIT, args.json, _notes(figures, peaks, least))
    return 0


def _work(args: argparse.Namespace, lengths: list[int]) -> dict[str, Any]:
    return {
        "tokens": sum(lengths),
        "sequences": len(lengths),
        "length_mean": round(sum(lengths) / len(lengths), 1),
        "longest": max(lengths),
        "packed_length": args.packed_length,
        "lengths": args.lengths,
    }


def _notes(figures: dict[str, Any], peaks: roofline.Roofline, least: roofline.Least) -> tuple[str, ...]:
    lines = []
    for name, side in figures["sides"].items():
        padded, unused = 100 * side.get("waste", 0.0), 100 * side.get("unused", 0.0)
        line = f"{name}: loss {side['loss']}, padding {padded:.1f} %"
        if "unused" in side:
            rectangles = 100 * side["attention_padding"]
            line += f", unused room in batches {unused:.1f} %, padding of attention alone {rectangles:.1f} %"
        if "compares" in side:
            line += f"; {side['compares']}"
        lines.append(line)
    lines += [
        peaks.line(),
        f"at best {least.seconds:.3f} s: {least.flops / 1e9:,.1f} GFLOP (6ND and attention)",
    ]
    if "scale" in figures:
        fit = figures["scale"]
        lines += [f"{row['times']}x: {row['tokens']} tokens, {row['seconds']:.3f} s" for row in fit["rows"]]
        lines.append(
            f"fit: {fit['seconds_per_million_tokens']:.2f} s per million tokens and {fit['fixed_seconds']:.3f} s "
            f"each step; farthest from the line {fit['deviation']:.1%}"
        )
    return tuple(lines)


# --- the work ---------------------------------------------------------------------------------------------


def make_sequences(tokens: int, mean: int, kind: str, longest: int, vocabulary: int) -> list[np.ndarray]:
    """Random sequences of ``tokens`` tokens together, the same every time; lengths as reasoning has them:
    log-normal, a few far above the mean. Raises AhaError if nothing of that kind fits."""
    import numpy as np

    if not 8 <= mean <= longest or tokens < mean:
        raise AhaError(
            f"--length-mean {mean} must be at least 8 and at most --packed-length {longest} and --tokens {tokens}."
        )
    rng = np.random.default_rng(0)
    sequences, total = [], 0
    while total < tokens:
        drawn = rng.lognormal(np.log(mean) - _SIGMA**2 / 2, _SIGMA) if kind == "lognormal" else mean
        n = int(np.clip(drawn, 8, longest))
        n = max(8, min(n, tokens - total))  # the last is cut so that the sum is as asked
        sequences.append(rng.integers(0, vocabulary, n))
        total += n
    return sequences


class _Ours:
    """Our trainer on packed batches."""

    def __init__(self, policy: Any, sequences: Sequence[np.ndarray], packed_length: int):
        import numpy as np

        from aha.types import Example

        self.policy, self.packed_length = policy, packed_length
        self.examples = [Example(ids, np.arange(len(ids)) > 0, np.zeros(len(ids))) for ids in sequences]
        self.tokens = sum(map(len, sequences))
        self.first_loss = 0.0

    def step(self) -> float:
        """One optimizer step, packing included."""
        from aha.training.losses import negative_log_likelihood

        loss = 0.0
        for batch in self.packed():
            loss += self.policy.backward(batch, negative_log_likelihood)["loss"]
        self.policy.step(1e-6)
        self.first_loss = self.first_loss or loss
        return float(self.tokens)

    def packed(self) -> list[Any]:
        """The step's batches."""
        from aha.training.batching import pack, token_mean

        return pack(self.examples, token_mean, self.packed_length)

    def waste(self) -> dict[str, float]:
        """Nothing is padded inside a batch; batches may be underfull, and attention has its rectangles where a step
        went through them."""
        from aha import attention

        batches = self.packed()
        exact = "rectangles" not in attention.WAYS
        return {
            "waste": 0.0,
            "unused": round(packing_waste([len(b.token_ids) for b in batches], self.packed_length), 5),
            "attention_padding": 0.0 if exact else round(rectangle_waste([b.segments for b in batches]), 5),
        }


class _Padded:
    """transformers' model on padded batches of at most as many places as ours has tokens."""

    def __init__(self, subject: models.BenchModel, sequences: Sequence[np.ndarray], args: argparse.Namespace):
        from aha.bench.transformers_baseline import PaddedTrainer
        from aha.training.trainer import OptimizerConfig

        ordered = sorted(sequences, key=len, reverse=True) if args.peer_order == "by-length" else sequences
        self.batches = padded_batches(ordered, args.packed_length)
        self.tokens = sum(map(len, sequences))
        self.trainer = PaddedTrainer(subject, OptimizerConfig(lr=1e-6), args.peer_precision)
        self.first_loss, self.args = 0.0, args

    def step(self) -> float:
        """One optimizer step; counts real tokens, not padding."""
        loss = self.trainer.step(self.batches)
        self.first_loss = self.first_loss or loss
        return float(self.tokens)

    def describe(self) -> dict[str, str]:
        """What exactly is compared."""
        import transformers

        kind = "float32"
        if self.trainer.autocast:
            kind = "float32 weights, bf16 autocast"
        elif str(self.trainer.dtype) == "torch.bfloat16":
            kind = "bf16 weights, float32 masters"
        return {
            "version": f"transformers {transformers.__version__}",
            "compares": f"padded batches {self.args.peer_order}, {kind}, sdpa attention, fused AdamW",
        }


def padded_batches(sequences: Sequence[np.ndarray], places: int) -> list[list[np.ndarray]]:
    """Consecutive sequences in batches of at most ``places`` places, padding counted."""
    batches: list[list[np.ndarray]] = []
    longest = 0
    for ids in sequences:
        wider = max(longest, len(ids))
        if batches and wider * (len(batches[-1]) + 1) <= places:
            batches[-1].append(ids)
            longest = wider
        else:
            batches.append([ids])
            longest = len(ids)
    return batches


def padding_waste(batches: Sequence[Sequence[Any]]) -> float:
    """The share of places that hold padding."""
    places = sum(len(batch) * max(map(len, batch)) for batch in batches)
    return 1 - sum(len(ids) for batch in batches for ids in batch) / places


def packing_waste(filled: Sequence[int], capacity: int) -> float:
    """The share of packed batches' room that stays empty. No compute is spent on it: batches are as long as
    their tokens."""
    return 1 - sum(filled) / (len(filled) * capacity)


def rectangle_waste(batches: Sequence[np.ndarray]) -> float:
    """The share of padded query places in attention's rectangles, given each batch's segments."""
    from aha.attention import make_plan

    plans = [make_plan(segments) for segments in batches]
    places = sum(bucket.rows * bucket.q_len for plan in plans for bucket in plan.buckets)
    return 1 - sum(plan.tokens for plan in plans) / places


# --- cost by size -----------------------------------------------------------------------------------------


def _scaling(subject: models.BenchModel, policy: Any, args: argparse.Namespace) -> dict[str, Any]:
    """Seconds of a step for several times the tokens; the sizes in turn, so that drift hits all alike."""
    sides: dict[str, interleave.Work] = {}
    sizes = sorted(set(args.scale))
    vocabulary = subject.model.config.vocab_size
    for times in sizes:
        sequences = make_sequences(
            args.tokens * times, args.length_mean, args.lengths, args.packed_length, vocabulary
        )
        work = _Ours(policy, sequences, args.packed_length)
        sides[str(times)] = interleave.timed(work.step, subject.device)
    readings = interleave.in_turn(sides, args.runs)
    rows = [
        {"times": t, "tokens": args.tokens * t, "seconds": round(readings[str(t)].median_seconds, 6)}
        for t in sizes
    ]
    return fit_line(rows)


def fit_line(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """A straight line through (tokens, seconds), and how far the points lie from it at most."""
    import numpy as np

    tokens = np.array([row["tokens"] for row in rows], dtype=float)
    seconds = np.array([row["seconds"] for row in rows], dtype=float)
    slope, fixed = np.polyfit(tokens, seconds, 1) if len(rows) > 1 else (seconds[0] / tokens[0], 0.0)
    away = np.abs(seconds - (fixed + slope * tokens)) / seconds
    return {
        "rows": rows,
        "seconds_per_million_tokens": round(float(slope) * 1e6, 4),
        "fixed_seconds": round(float(fixed), 6),
        "deviation": round(float(away.max()), 5),
    }
