"""The README of a checkpoint that reinforcement learning made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aha.modeling import EMBEDDED


def model_card(summary: Mapping[str, Any]) -> str:
    """The README of a trained checkpoint."""
    lines = [f"# {summary['task']}: trained from `{summary['model']}` by reinforcement learning", ""]
    lines += [
        f"Made with aha. Rewards: {', '.join(summary['rewards'])}."
        + (" No supervised fine-tuning." if summary["from_base"] else "")
        + f" It was trained, and is to be asked, with prompt={summary['prompt']}, which its chat template is.",
        "",
        "| | before | after |",
        "|---|---|---|",
    ]
    for key, value in summary["after"].items():
        if isinstance(value, float):
            lines.append(f"| {key} | {summary['before'].get(key, float('nan')):.3f} | {value:.3f} |")
    lines += ["", f"{summary['steps']} steps, {summary['rl_seconds']} s, seed {summary['seed']}.", ""]
    if summary["model"] in EMBEDDED:
        lines.append(
            'The base\'s behaviours (search, checking, "wait") were planted in its pretraining corpus; '
            "reinforcement learning selects and amplifies them, it does not invent them."
        )
    return "\n".join(lines) + "\n"
