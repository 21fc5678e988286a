"""Figures of the DeepSeek-R1 paper (arXiv 2501.12948 v2, Tables 3 and 15, and the distillation table), in percent;
of Codeforces the percentile.

Its protocol: at most 32,768 tokens, temperature 0.6, top-p 0.95, no examples in the prompt; pass@1 is the mean of k
samples.
"""

from __future__ import annotations

from collections.abc import Mapping

SOURCE = "DeepSeek-R1, arXiv 2501.12948 v2"
MAX_TOKENS, TEMPERATURE, TOP_P = 32_768, 0.6, 0.95

STAGES = ("R1-Zero", "R1-Dev1", "R1-Dev2", "R1-Dev3", "R1")
_TABLE: Mapping[str, tuple[float, float, float, float, float]] = {
    "mmlu": (88.8, 89.1, 91.2, 91.0, 90.8),
    "mmlu_redux": (85.6, 90.0, 93.0, 93.1, 92.9),
    "mmlu_pro": (68.9, 74.1, 83.8, 83.1, 84.0),
    "ifeval": (46.6, 71.7, 72.0, 78.1, 83.3),
    "drop": (89.1, 89.8, 91.1, 88.7, 92.2),
    "gpqa": (75.8, 66.1, 70.7, 71.2, 71.5),
    "simpleqa": (30.3, 17.8, 28.2, 24.9, 30.1),
    "frames": (82.3, 78.5, 81.8, 81.9, 82.5),
    "alpaca_eval": (24.7, 50.1, 55.8, 62.1, 87.6),
    "arena_hard": (53.6, 77.0, 73.2, 75.6, 92.3),
    "livecodebench": (50.0, 57.5, 63.5, 64.6, 65.9),
    "codeforces": (80.4, 84.5, 90.5, 92.1, 96.3),
    "swe_verified": (43.2, 39.6, 44.6, 45.6, 49.2),
    "aider": (12.2, 6.7, 25.6, 44.8, 53.3),
    "aime24": (77.9, 59.0, 74.0, 78.1, 79.8),
    "math500": (95.9, 94.2, 95.9, 95.4, 97.3),
    "cnmo24": (88.1, 58.0, 73.9, 77.3, 78.8),
    "cluewsc": (93.1, 92.8, 92.6, 91.6, 92.8),
    "csimpleqa": (66.4, 58.8, 64.2, 66.9, 63.7),
    "ceval": (92.8, 85.7, 91.9, 86.4, 91.8),
}
_DISTILLED: Mapping[str, Mapping[str, float]] = {
    "R1-Distill-Qwen-1.5B": {"aime24": 28.9, "math500": 83.9, "gpqa": 33.8, "livecodebench": 16.9},
    "R1-Distill-Qwen-7B": {"aime24": 55.5, "math500": 92.8, "gpqa": 49.1, "livecodebench": 37.6},
    "R1-Distill-Qwen-14B": {"aime24": 69.7, "math500": 93.9, "gpqa": 59.1, "livecodebench": 53.1},
    "R1-Distill-Qwen-32B": {"aime24": 72.6, "math500": 94.3, "gpqa": 62.1, "livecodebench": 57.2},
    "R1-Distill-Llama-8B": {"aime24": 50.4, "math500": 89.1, "gpqa": 49.0, "livecodebench": 39.6},
    "R1-Distill-Llama-70B": {"aime24": 70.0, "math500": 94.5, "gpqa": 65.2, "livecodebench": 57.5},
}


def figures(benchmark: str) -> dict[str, float]:
    """Published pass@1 of a benchmark by model, in percent; empty where the paper has none here."""
    by_model = dict(zip(STAGES, _TABLE.get(benchmark, ()), strict=False))
    return by_model | {model: own[benchmark] for model, own in _DISTILLED.items() if benchmark in own}
