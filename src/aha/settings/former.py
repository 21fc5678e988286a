"""Former names of settings: read for one release more, with a note that names the new one."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Container, Iterator, Mapping
from typing import Any

FORMER: dict[str, str] = {
    "ahead": "max_staleness",
    "cache_gib": "kv_cache_gib",
    "calls": "judge_calls",
    "carry": "partial_rollouts",
    "check": "verified_only",
    "checkpoint_layers": "gradient_checkpointing",
    "compile_layers": "torch_compile",
    "context": "context_length",
    "context_ranks": "context_parallel_size",
    "decode_rows": "max_num_seqs",
    "drop_silent": "filter_zero_variance",
    "eager": "enforce_eager",
    "entropy_step": "entropy_coef_step",
    "evaluation": "decontaminate_tasks",
    "evaluation_problems": "decontaminate_problems",
    "form": "answer_format",
    "imitation": "nll_coef",
    "importance": "importance_sampling",
    "importance_cap": "importance_sampling_cap",
    "importance_level": "importance_sampling_level",
    "judged": "judged_tasks",
    "keep": "max_per_problem",
    "keep_rates": "pass_rate_range",
    "later_max_tokens": "max_tokens_schedule",
    "lr_final": "min_lr_ratio",
    "max_batch_tokens": "max_tokens_per_batch",
    "memory_share": "gpu_memory_utilization",
    "mlp_size": "intermediate_size",
    "near": "dedup_threshold",
    "ngram": "decontaminate_ngram",
    "offload_activations": "activation_offload",
    "other_languages": "max_other_languages",
    "others": "mix_with",
    "paragraph": "max_paragraph_words",
    "part": "write_every",
    "positions": "max_position_embeddings",
    "precision": "dtype",
    "preference_from": "preference_start_step",
    "ranks": "tensor_parallel_size",
    "ratios": "domain_ratios",
    "repeated": "max_repetition",
    "replay_share": "replay_ratio",
    "replay_steps": "replay_max_age",
    "rows": "max_rows",
    "sampling": "curriculum",
    "shares": "proportions",
    "signal_rounds": "dynamic_sampling_rounds",
    "signal_share": "dynamic_sampling",
    "sleep": "enable_sleep_mode",
    "start": "init_from",
    "strict": "require_format",
    "threshold": "min_margin",
    "transfer": "weight_transfer",
    "validation": "validation_share",
    "workers": "rollout_workers",
    "written": "scripted_samples",
}
"""Former name -> the name of today. No former name is that of another setting today."""

ADDED: dict[str, Any] = {
    "own_judgements": True, "judge_on": "all", "best_by": None, "judge_weight": 1.0,
    "judge_tasks": ["general", "harmful"], "judge_mode": "auto", "judge_rubric": None, "judge_reply_tokens": 2048,
    "judge_schema": False, "judge_max_calls": None, "judge_max_tokens": None, "reward_schedule": {},
    "own_answers": ["self_cognition"],
}  # fmt: skip
"""Settings that came later, with the value at which a result is what it was without them: fingerprints leave it out."""

ALIASES: dict[str, str] = {"template": "prompt"}
"""Names from before fingerprints were what they are."""

GROUPS = ("algorithm", "vllm", "cluster")
"""Settings that hold settings."""

_FIRST = {new: old for old, new in FORMER.items()}


class FormerNameWarning(FutureWarning):
    """A setting was given by its former name."""


def today(name: str, fields: Container[str]) -> str:
    """The name of today of a setting among ``fields``; the name itself where it has no other."""
    new = FORMER.get(name) or ALIASES.get(name)
    return new if new and name not in fields and new in fields else name


def noted(name: str, fields: Container[str]) -> str:
    """As ``today``, with a note for a former name."""
    if (new := today(name, fields)) != name:
        note(name, new)
    return new


def renamed(values: Mapping[str, Any], fields: Container[str]) -> dict[str, Any]:
    """Values by the names of today, with a note for each that was given by a former one."""
    return {noted(name, fields): value for name, value in values.items()}


def note(name: str, new: str) -> None:
    """Say that a former name was used."""
    text = f"The setting {name} is called {new} now; its former name is read for one release more."
    warnings.warn(text, FormerNameWarning, stacklevel=2)


@contextlib.contextmanager
def plain_notes() -> Iterator[None]:
    """Print the notes within as lines on standard error, each once, in place of Python's warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", FormerNameWarning)
        yield
    for text in dict.fromkeys(str(w.message) for w in caught if issubclass(w.category, FormerNameWarning)):
        print(f"note: {text}", file=sys.stderr)
    for w in caught:
        if not issubclass(w.category, FormerNameWarning):
            warnings.warn_explicit(w.message, w.category, w.filename, w.lineno)


def stored(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a stage as a run keeps them, by the names of today: what an older version wrote."""
    present = {FORMER.get(name) or ALIASES.get(name, name): value for name, value in settings.items()}
    for group in GROUPS:
        if isinstance(inner := present.get(group), Mapping):
            present[group] = {FORMER.get(name, name): value for name, value in inner.items()}
    if "max_tokens_schedule" in present:
        present["max_tokens_schedule"] = _pairs(present["max_tokens_schedule"])
    return present


def _pairs(value: Any) -> Any:
    """One pair (step, tokens), or none, as a list of pairs."""
    one = isinstance(value, list | tuple) and len(value) == 2 and all(isinstance(v, int) for v in value)
    return [value] if one else value or []


def hashed(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by the names that fingerprints were first made of: a name that changes leaves them as they are."""
    new = {name for name, value in ADDED.items() if name in settings and settings[name] == value}
    if "judge_mode" in settings and settings.get("judge") is None:
        new.add("judge")  # of reinforcement learning, which had none; other stages always had one
    if "own_answers" in settings and settings.get("judge") is None:
        new.add("judge")  # of general data, likewise
    first_names = {_FIRST.get(name, name): value for name, value in settings.items() if name not in new}
    for group in GROUPS:
        if isinstance(inner := first_names.get(group), Mapping):
            first_names[group] = {_FIRST.get(name, name): value for name, value in inner.items()}
    if pairs := first_names.get("later_max_tokens"):
        first_names["later_max_tokens"] = pairs[0] if len(pairs) == 1 else pairs
    elif pairs is not None:
        first_names["later_max_tokens"] = None
    return first_names
