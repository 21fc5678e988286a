"""The whole recipe at the smallest sizes, and what of a finished run must not depend on how it came about."""

from __future__ import annotations

import json

from aha.stages.supervised import pretrain

RL_SMALL = {
    "steps": 2, "prompts_per_step": 2, "group_size": 2, "mini_batches": 1, "max_tokens": 24, "max_tokens_schedule": (),
    "test_problems": 2, "test_samples": 1, "eval_every": 0, "save_every": 1, "train_problems": 16, "lr": 1e-5,
}  # fmt: skip
SFT_SMALL = {"epochs": 1, "batch_size": 16, "save_every": 1, "validation_share": 0.1}
RM_SMALL = {"epochs": 1, "batch_size": 8, "save_every": 1, "max_length": 400}
SMALL = {
    "zero": RL_SMALL,
    "cold_start": {"problems": 24, "samples": 10, "max_tokens": 56},
    "dev1": SFT_SMALL,
    "dev2": RL_SMALL,
    "general": {"problems": 12},
    "reject": {"problems": 24, "samples": 10, "max_tokens": 56, "decontaminate_problems": 16, "domain_ratios": ""},
    "dev3": SFT_SMALL,
    "pairs": {"problems": 10, "samples": 0, "scripted_samples": 6},
    "safety_data": {"problems": 40, "samples": 0, "scripted_samples": 6},
    "helpful_rm": RM_SMALL,
    "safety_rm": RM_SMALL,
    "r1": RL_SMALL | {"steps": 3, "preference_start_step": 3, "max_prompt_tokens": 300},
    "student": {"steps": 2, "tokens_per_step": 512, "hidden_size": 16, "layers": 1, "intermediate_size": 16,
                "save_every": 1},
    "distilled": SFT_SMALL,
    "student_rl": RL_SMALL | {"steps": 1},
    "compare": {"problems": 2, "samples": 1, "max_tokens": 16},
}  # fmt: skip
CLOCK = ("peak_bytes", 
    "seconds", "rl_seconds", "tokens_per_second", "step_time", "time/sampling", "time/training",
)  # fmt: skip
CARD = "README.md"
"""A checkpoint's card names the seconds that its training took."""


DOCUMENTS = 2000
"""Of them the student's vocabulary is made: of twenty thousand it takes longer than all stages together."""


def with_few_documents(patch=None):
    """For this process, or as long as a ``pytest.MonkeyPatch`` lasts."""
    if patch is None:
        pretrain.VOCABULARY_DOCUMENTS["tiny"] = DOCUMENTS
    else:
        patch.setitem(pretrain.VOCABULARY_DOCUMENTS, "tiny", DOCUMENTS)


def flat(names=tuple(SMALL)):
    """The settings of these stages as ``config.apply`` takes them."""
    return {f"{name}.{key}": value for name in names for key, value in SMALL[name].items()}


def plain(value):
    """Without what depends on the clock."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items() if k not in CLOCK}
    return [plain(v) for v in value] if isinstance(value, list) else value


def contents(run):
    """Everything that the stages of a run left, by path: JSON without clocks, all else (weights, tables) byte for
    byte. Left out: checkpoints on the way, which serve a resume alone, and cards."""
    by_name = {}
    for path in sorted(
        p for stage in run.iterdir() if stage.is_dir() for p in stage.rglob("*") if p.is_file()
    ):
        if "checkpoints" in path.parts or path.name == CARD:
            continue
        by_name[str(path.relative_to(run))] = _content(path)
    return by_name


def _content(path):
    if path.suffix == ".json":
        return plain(json.loads(path.read_text(encoding="utf-8")))
    if path.suffix == ".jsonl":
        return [plain(json.loads(line)) for line in path.read_text(encoding="utf-8").split("\n") if line]
    return path.read_bytes()


def assert_same(files, others):
    """Equal contents; names the first file that differs instead of printing all of them."""
    assert sorted(files) == sorted(others), sorted(set(files) ^ set(others))
    different = [name for name in others if files[name] != others[name]]
    assert not different, f"{different}: {str(files[different[0]])[:500]} | {str(others[different[0]])[:500]}"


def times(run):
    """When each file of a run was last written."""
    return {str(p): p.stat().st_mtime_ns for p in sorted(run.rglob("*")) if p.is_file()}
