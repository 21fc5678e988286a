"""A run's folder made up for its page, and a reader of pages."""

from __future__ import annotations

import json
import math
import random
from html.parser import HTMLParser
from pathlib import Path

HOSTILE = "</div></main><script>alert(1)</script><img src=x onerror=alert(2)> \"' &amp; \x1b[31m\u202egnp"
WORDS = {
    "wait": (0.6, 1.9),
    "but": (0.3, 0.4),
    "check": (0.15, 0.9),
    "wrong": (0.1, 0.3),
    "等等": (0.05, 0.02),
}


# ------------------------------------------------------------------------------------------ a synthetic run


def write_lines(path: Path, rows: list) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = (row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def evaluation(share: float, name: str, step: int, split: str = "validation") -> dict:
    """An evaluation ``share`` of the way from the base to the trained policy."""

    def between(a: float, b: float) -> float:
        return round(a + (b - a) * share, 4)

    correct = between(0.107, 0.947)
    words = {word: between(*ends) for word, ends in WORDS.items()}
    return {
        "name": name,
        "step": step,
        "split": split,
        "n_problems": 256,
        "n_samples": 16,
        "pass@1": correct,
        "pass@1_ci": [correct - 0.022, correct + 0.018],
        "lenient": correct + 0.02,
        "maj@16": between(0.48, 0.996),
        "pass@16": between(0.86, 1.0),
        "format": between(0.38, 0.963),
        "mean_length": between(61, 134),
        "reflections": round(sum(words.values()), 3),
        "reflection_words": words,
        "truncated": 0.03,
        "mixed_language": between(0.1, 0.13),
    }


def metrics(step: int, steps: int, noise: random.Random) -> dict:
    share = 1 - math.exp(-4 * step / steps)
    length = 60 + 75 * share + noise.gauss(0, 5)
    return {
        "step": step,
        "reward": 0.12 + 0.9 * share + noise.gauss(0, 0.03),
        "reward_std": 0.4 * (1.1 - share),
        "rewards/accuracy/mean": min(1.0, 0.09 + 0.84 * share + noise.gauss(0, 0.03)),
        "rewards/format/mean": min(1.0, 0.38 + 0.58 * share + noise.gauss(0, 0.02)),
        "completions/mean_length": length,
        "completions/max_length": min(480, length * 3),
        "completions/clipped_ratio": max(0.0, 0.03 + noise.gauss(0, 0.01)),
        "entropy": 0.55 - 0.3 * share + noise.gauss(0, 0.01),
        "kl": 0.12 * share,
        "clip_ratio/region_mean": 0.01 + abs(noise.gauss(0, 0.004)),
        "frac_reward_zero_std": 0.2 + 0.35 * share,
        "sampler_mismatch/mean": 0.006 + abs(noise.gauss(0, 0.001)),
        "sampler_mismatch/max": 0.2 + abs(noise.gauss(0, 0.1)),
        "ungradable": 0,
        "lr": 1e-4 * (1 - 0.7 * step / steps),
        "grad_norm": 0.6 + abs(noise.gauss(0, 0.1)),
        "reflections/mean": 1.2 + 2.2 * share * (1.4 - share) + noise.gauss(0, 0.1),
        "language/mixed": 0.1 + 0.03 * share,
        "step_time": 5.1 + noise.gauss(0, 0.3),
        "time/sampling": 2.9,
        "time/training": 2.0,
        "tokens_per_second": 13_400 + noise.gauss(0, 400),
        "num_tokens": 68_000 * step,
        "max_tokens": 320 if step < 30 else 480,
        "something/new": 1.5,
    }


def rollout(step: int, problem: int, member: int, right: bool, trained: bool) -> dict:
    a, b, c = 3 + problem % 20, 7 + problem % 11, 2 + problem % 7
    target = (a + b) * c
    tries = [f"try {a}*{b}-{c}={a * b}-{c}={a * b - c} ? {target} no . wait , try again ."]
    tries += [f"try {a}+{b}*{c}={a + b * c} ? {target} no . 等等 , 再试 。"] * (3 if trained else 0)
    final = f"({a}+{b})*{c}" if right else f"{a}+{b}+{c}"
    end = f"{target} ? {target} yes ." if right else f"{a + b + c} ? {target} no , but I stop ."
    text = " ".join([*tries, f"try {final}={end}"])
    text = f"<think> {text} </think> <answer> {final} </answer>" if trained else f"{text} {final}"
    return {
        "step": step,
        "problem_id": f"countdown-{problem}",
        "member": member,
        "text": text,
        "finish": "stop",
        "tokens": len(text) // 3,
        "reward": float(right) + 0.1,
        "advantage": 0.4,
        "question": f"Use {a}, {b} and {c} once each, with + - *, to make {target}.",
        "answer": f"({a}+{b})*{c}",
        "scores": {
            "accuracy": {"value": float(right), "note": f"= {target if right else a + b + c}"},
            "format": {"value": float(trained), "note": "" if trained else "no <think>"},
        },
    }


def make_run(folder: Path, steps: int = 40, seed: int = 1) -> Path:
    """A finished run as the zero recipe leaves it."""
    noise = random.Random(seed)
    before, after = evaluation(0, "before", 0, "test"), evaluation(1, "after", steps, "test")
    config = {
        "recipe": "zero",
        "stages": {
            "rl": {
                "name": "rl",
                "model": "tiny",
                "tasks": ["countdown"],
                "steps": steps,
                "lr": 1e-4,
                "group_size": 16,
                "prompts": 32,
                "rewards": {"accuracy": 1.0, "format": 0.1},
                "seed": seed,
            }
        },
        "machine": {"cpu": "Intel(R) Xeon(R) Platinum 8481C", "cores": 2, "memory_gb": 7.8, "gpus": []},
        "versions": {"aha": "0.1.0", "torch": "2.11.0", "transformers": "5.0.0"},
    }
    summary = {
        "before": before,
        "after": after,
        "rl_seconds": 206.4,
        "tokens_per_second": 13_400.0,
        "steps": steps,
        "seed": seed,
        "model": "tiny",
        "task": "countdown",
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "summary.json").write_text(json.dumps(summary))
    stage = folder / "rl"
    write_lines(stage / "metrics.jsonl", [metrics(step, steps, noise) for step in range(1, steps + 1)])
    middle = [
        evaluation(1 - math.exp(-4 * step / steps), "step", step)
        for step in range(0, steps + 1, max(1, steps // 8))
    ]
    write_lines(stage / "evals.jsonl", [before, *middle, after])
    for name, share, trained in (("before", 0.1, False), ("after", 0.93, True), ("step_00001", 0.1, False)):
        rows = [
            rollout(0, problem, member, noise.random() < share, trained)
            for problem in range(40)
            for member in range(4)
        ]
        write_lines(stage / "rollouts" / f"{name}.jsonl", rows)
    return folder


class Page(HTMLParser):
    """What a browser would see: tags with attributes, and texts."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "img", "br", "path", "circle"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, tag
        assert self.open.pop() == tag

    def of(self, name: str) -> list[dict]:
        return [attrs for tag, attrs in self.tags if tag == name]
