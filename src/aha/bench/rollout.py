"""How fast the in-process engine samples, in tokens a second, beside transformers' own generate."""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

HELP = "sampling speed of the local engine"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Model, rows, and the peer."""
    parser.add_argument("--model", default="tiny", help="tiny, a folder or a hub name")
    parser.add_argument("--rows", type=int, default=256, help="completions sampled at once")
    parser.add_argument("--tokens", type=int, default=128, help="tokens of each, none ends early")
    parser.add_argument("--runs", type=int, default=3, help="measured runs")
    parser.add_argument("--against", choices=("transformers",), help="the peer, in turn in the same run")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--json", action="store_true")


def run(args: argparse.Namespace) -> int:
    """Measure in turn, print medians and their ratio."""
    from aha import hardware, modeling

    hardware.set_threads(args.threads)
    device = hardware.pick_device()
    model = modeling.load_model(args.model, device, hardware.pick_dtype("auto", device))
    tokenizer = modeling.load_tokenizer(args.model)
    prompt = tokenizer("Using the numbers [3, 5, 7], create an equation that equals 26.")["input_ids"]
    sides: dict[str, Callable[[], int]] = {"aha": _ours(model, tokenizer, prompt, args)}
    if args.against == "transformers":
        sides["transformers"] = _generate(model, tokenizer, prompt, args)
    speeds: dict[str, list[float]] = {name: [] for name in sides}
    for i in range(args.runs + 1):
        for name, side in sides.items():
            started = time.perf_counter()
            tokens = side()
            if i:  # the first is a warm-up
                speeds[name].append(tokens / (time.perf_counter() - started))
    result: dict[str, Any] = {name: round(statistics.median(v), 1) for name, v in speeds.items()}
    if args.against:
        result["ratio"] = round(result["aha"] / result[args.against], 2)
    result |= {"unit": "tokens/s", "rows": args.rows, "tokens": args.tokens}
    if args.json:
        print(json.dumps(result | {"machine": hardware.describe_machine()}, indent=1))
    else:
        print(", ".join(f"{key} {value}" for key, value in result.items()))
    return 0


def _ours(model: Any, tokenizer: Any, prompt: list[int], args: argparse.Namespace) -> Callable[[], int]:
    from aha.sampling.local import LocalEngine, Request
    from aha.sampling.sampler import SamplingParams

    engine = LocalEngine(model, tokenizer, max_rows=args.rows)
    engine.eos_ids = frozenset({-1})  # equal work: nothing ends early
    params = SamplingParams(max_tokens=args.tokens)

    def sample() -> int:
        groups = engine.generate([Request(prompt, args.rows, 0)], params)
        return sum(len(r.completion_ids) for _, group in groups for r in group)

    return sample


def _generate(model: Any, tokenizer: Any, prompt: list[int], args: argparse.Namespace) -> Callable[[], int]:
    import copy

    import torch

    peer = copy.deepcopy(model)
    peer.set_attn_implementation("sdpa")
    ids = torch.tensor([prompt] * args.rows, device=peer.device)

    def sample() -> int:
        with torch.inference_mode():
            out = peer.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                do_sample=True,
                min_new_tokens=args.tokens,
                max_new_tokens=args.tokens,
                pad_token_id=tokenizer.eos_token_id,
            )
        return int(out.shape[0] * (out.shape[1] - ids.shape[1]))

    return sample
