"""How fast the trainer takes packed tokens through forward, backward and step."""

from __future__ import annotations

import argparse
import json
import statistics
import time

HELP = "training speed of the packed trainer"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Model and shape of the work."""
    parser.add_argument("--model", default="tiny", help="tiny, a folder or a hub name")
    parser.add_argument("--tokens", type=int, default=16_384, help="tokens of one optimizer step")
    parser.add_argument("--length", type=int, default=160, help="mean length of a sequence")
    parser.add_argument("--batch-tokens", type=int, default=4096, help="packed tokens of one pass")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--json", action="store_true")


def run(args: argparse.Namespace) -> int:
    """Measure and print the median."""
    import numpy as np

    from aha import hardware, modeling
    from aha.training.batching import pack, token_mean
    from aha.training.losses import negative_log_likelihood
    from aha.training.policy import OptimizerConfig, Policy
    from aha.types import Example

    hardware.set_threads(args.threads)
    device = hardware.pick_device()
    model = modeling.load_model(args.model, device, hardware.pick_dtype("auto", device))
    policy = Policy(model, OptimizerConfig(lr=1e-6))
    rng = np.random.default_rng(0)
    examples, total = [], 0
    while total < args.tokens:
        n = int(np.clip(rng.lognormal(np.log(args.length) - 0.125, 0.5), 8, args.batch_tokens))
        mask = np.arange(n) > 0
        examples.append(Example(rng.integers(0, model.config.vocab_size, n), mask, np.zeros(n)))
        total += n
    speeds = []
    for i in range(args.runs + 1):
        started = time.perf_counter()
        for batch in pack(examples, token_mean, args.batch_tokens):
            policy.backward(batch, negative_log_likelihood)
        policy.step(0.0)
        if i:
            speeds.append(total / (time.perf_counter() - started))
    parameters = sum(p.numel() for p in policy.params)
    speed = statistics.median(speeds)
    result = {"tokens_per_second": round(speed, 1), "gflops": round(6 * parameters * speed / 1e9, 1)}
    if args.json:
        print(json.dumps(result | {"machine": hardware.describe_machine()}, indent=1))
    else:
        print(f"{result['tokens_per_second']} tokens/s, {result['gflops']} GFLOP/s of 6ND")
    return 0
