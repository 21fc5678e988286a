"""Algorithms by name: each a few settings of one trainer, with its paper. Imports nothing heavy."""

from __future__ import annotations

from typing import Any

PRESETS: dict[str, dict[str, Any]] = {
    # DeepSeekMath, arXiv 2402.03300; as the R1 paper uses it, arXiv 2501.12948 section 2.1.
    "grpo": {"kl": "k3", "kl_coef": 0.001},
    # GRPO without the reference model, as most open reproductions run it.
    "grpo_no_kl": {},
    # Understanding R1-Zero-like training, arXiv 2503.20783.
    "dr_grpo": {"advantage": "group_mean", "aggregation": "constant_length"},
    # DAPO, arXiv 2503.14476: clip-higher and the token mean (dynamic sampling is the stage's setting).
    "dapo": {"clip_high": 0.28, "aggregation": "token_mean"},
    # Group sequence policy optimization, arXiv 2507.18071.
    "gspo": {"ratio": "sequence", "clip_low": 3e-4, "clip_high": 4e-4},
}
