"""Groups of settings that several stages share, each under its heading.

A stage inherits the groups that it has, gives its own defaults as class keywords, and adds what only it has:
``class SFT(PromptSettings, OptimizerSettings, Stage, lr=5e-5)``. Names are one flat list for each stage, so that
``sft.lr`` is enough; ``sft.optimizer.lr`` is the same.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from aha.chat import SETTING
from aha.runs.pipeline import Stage
from aha.settings import Settings, setting


class SeedSettings(Settings):
    """Random numbers."""

    seed: int = setting(0, "of everything random")


class TrainedModelSettings(Settings):
    """The model that is trained."""

    heading: ClassVar[str] = "data"
    model: str | Stage = setting("tiny", "what is trained: an embedded base, a folder, a hub name, a stage")


class AnsweringModelSettings(Settings):
    """The model whose answers become rows."""

    heading: ClassVar[str] = "data"
    model: str | Stage = setting("tiny", "who answers: a checkpoint, a stage, an endpoint#MODEL")


class AnsweringModelsSettings(Settings):
    """The models whose answers stand side by side."""

    heading: ClassVar[str] = "data"
    models: tuple[str | Stage, ...] = setting((), "who answers: stages, folders, names, endpoints")


class TableSettings(AnsweringModelsSettings):
    """The models of a table."""

    heading: ClassVar[str] = "data"
    names: tuple[str, ...] = setting((), "what the table calls them; none: their own names")


class SourceSettings(Settings):
    """The rows that are learned."""

    heading: ClassVar[str] = "data"
    data: tuple[str | Stage, ...] = setting(
        (), "rows of conversations, pairs or labels: files, hub names, stages"
    )


class RowSettings(SourceSettings):
    """How many of them are learned."""

    heading: ClassVar[str] = "data"
    max_rows: int | None = setting(None, "at most so many rows, drawn by the seed", ge=1)
    validation_share: float = setting(0.02, "share of rows or questions held out", ge=0, lt=1)


class TaskRowSettings(Settings):
    """Rows of a task."""

    heading: ClassVar[str] = "data"
    data: str | None = setting(None, "rows for tasks that read them: a file or a hub name")


class TaskSettings(TaskRowSettings):
    """The task whose questions are asked."""

    heading: ClassVar[str] = "data"
    task: str = setting("countdown", "what is asked (aha list tasks); a mixture in shares")


class TestRowSettings(Settings):
    """Rows of the test split."""

    heading: ClassVar[str] = "data"
    test_data: str | None = setting(None, "rows of the test split, if they are apart")


class ProblemSettings(Settings):
    """How many questions."""

    heading: ClassVar[str] = "data"
    problems: int = setting(1024, "questions, of each task where there are several", unit="questions", ge=1)


class QuestionSettings(ProblemSettings):
    """How many questions, and answers to each."""

    heading: ClassVar[str] = "data"
    samples: int = setting(16, "answers to each", unit="completions", ge=1)


class LengthSettings(Settings):
    """The longest row that is learned."""

    heading: ClassVar[str] = "data"
    max_length: int = setting(32_768, "longer rows are left out, and counted", unit="tokens", ge=2)


class TeacherSettings(Settings):
    """Who writes what is learned, or translates what is asked."""

    heading: ClassVar[str] = "rollout"
    teacher: str | None = setting(
        None,
        "who writes or translates: endpoint#MODEL or a checkpoint; none: the rows' own answers, or the program that "
        "knows the world",
    )


class JudgeModelSettings(Settings):
    """Who judges."""

    heading: ClassVar[str] = "reward"
    judge: str | None = setting(
        None,
        "who judges answers: endpoint#MODEL, a checkpoint or FILE.py:NAME; none: the rule or program that "
        "knows the task, where there is one",
    )


class JudgeReplySettings(Settings):
    """What a judge may reply."""

    heading: ClassVar[str] = "rollout"
    judge_reply_tokens: int = setting(2048, "longest reply of a judge", unit="tokens", ge=16)
    judge_schema: bool = setting(
        False,
        "hold an endpoint's verdicts to a JSON schema (response_format): small judges keep to the form then",
    )


class PreferenceKindSettings(Settings):
    """The two kinds of judged answers."""

    heading: ClassVar[str] = "data"
    kind: Literal["helpful", "safety"] = setting(
        "helpful", "helpful: pairs, on summaries; safety: single answers with a label, on whole responses"
    )


class PromptSettings(Settings):
    """The prompt template."""

    heading: ClassVar[str] = "prompt"
    prompt: str = setting("auto", SETTING)


class SamplingSettings(Settings):
    """How answers are sampled."""

    heading: ClassVar[str] = "rollout"
    temperature: float = setting(1.0, "of sampling", gt=0)
    max_tokens: int = setting(1024, "longest answer", unit="tokens", ge=1)


class GreedySamplingSettings(SamplingSettings):
    """How answers are sampled where they may be greedy ones too."""

    heading: ClassVar[str] = "rollout"
    temperature: float = setting(0.6, "of sampling (the paper: 0.6); 0: the likeliest tokens", ge=0)


class AnswerFormatSettings(Settings):
    """What a right answer has to keep."""

    heading: ClassVar[str] = "evaluation"
    require_format: bool = setting(True, "right answers count only if they keep the format", measure=True)


class TopPSettings(Settings):
    """Nucleus sampling."""

    heading: ClassVar[str] = "rollout"
    top_p: float = setting(1.0, "of sampling: the smallest set of tokens with this probability", gt=0, le=1)


class ReadableChainSettings(Settings):
    """Which chains of thought can be read."""

    heading: ClassVar[str] = "filter"
    max_other_languages: float = setting(
        0.1, "share of a chain's words in other languages; above: dropped", ge=0, le=1
    )
    max_repetition: float = setting(0.3, "share of repeated 8-grams; above: dropped", ge=0, le=1)


class ChainFilterSettings(ReadableChainSettings):
    """Which chains of thought are kept."""

    heading: ClassVar[str] = "filter"
    max_per_problem: int = setting(
        4, "at most so many answers of a question are kept", unit="completions", ge=1
    )


class StatedAnswerSettings(Settings):
    """What an answer has to have."""

    heading: ClassVar[str] = "filter"
    require_answer: bool = setting(True, "kept answers have <answer> tags, or any summary")


class OptimizerSettings(Settings):
    """The learning rate and how it falls."""

    heading: ClassVar[str] = "optimizer"
    lr: float = setting(1e-5, "peak learning rate", gt=0)
    min_lr_ratio: float = setting(1.0, "the last step's learning rate as a part of the peak", ge=0, le=1)


class WarmupSettings(Settings):
    """The first steps."""

    heading: ClassVar[str] = "optimizer"
    warmup_steps: int = setting(0, "of linear warm-up", unit="steps", ge=0)


class GradientClipSettings(Settings):
    """The bound of a gradient."""

    heading: ClassVar[str] = "optimizer"
    max_grad_norm: float = setting(1.0, "gradients are clipped to this norm", gt=0)


class WeightDecaySettings(Settings):
    """Weight decay."""

    heading: ClassVar[str] = "optimizer"
    weight_decay: float = setting(0.0, "of the layers' matrices", ge=0)


class EpochSettings(Settings):
    """How often rows are seen, and how many at once."""

    heading: ClassVar[str] = "optimizer"
    epochs: int = setting(1, "times through the data", unit="epochs", ge=1)
    batch_size: int = setting(128, "rows of one step", ge=1)


class AdapterSettings(Settings):
    """Low-rank adapters (LoRA, arXiv 2106.09685)."""

    heading: ClassVar[str] = "optimizer"
    lora_rank: int = setting(0, "train adapters of this rank (needs peft); 0 = all weights", ge=0)


class TokenBatchSettings(Settings):
    """The size of one pass."""

    heading: ClassVar[str] = "memory"
    max_tokens_per_batch: int = setting(
        4096,
        "packed tokens of one forward and backward pass at most: fewer where memory is short",
        unit="tokens",
        machine=True,
        ge=1,
    )


class MemorySettings(TokenBatchSettings):
    """What is computed again, moved away, or compiled."""

    heading: ClassVar[str] = "memory"
    gradient_checkpointing: bool = setting(
        False, "compute layers again going backward; done anyway where memory is short", machine=True
    )
    activation_offload: bool = setting(False, "keep activations in the CPU's memory meanwhile", machine=True)
    torch_compile: bool = setting(False, "norms and feed-forward through torch.compile: faster", machine=True)


class DtypeSettings(Settings):
    """The type that a model computes in."""

    heading: ClassVar[str] = "memory"
    dtype: Literal["auto", "float32", "bfloat16"] = setting(
        "auto", "compute type; auto: what --dtype says, or what is fastest here"
    )


class DecodingSettings(Settings):
    """How many sequences are decoded together."""

    heading: ClassVar[str] = "memory"
    max_num_seqs: int = setting(
        512, "completions sampled at once at most", unit="completions", machine=True, ge=1
    )


class ContextParallelSettings(Settings):
    """Long sequences over several ranks."""

    heading: ClassVar[str] = "parallel"
    context_parallel_size: int = setting(
        1, "ranks (torchrun) that share each pass: long sequences", machine=True, ge=1
    )


class CheckpointSettings(Settings):
    """When a checkpoint is written."""

    heading: ClassVar[str] = "logging"
    save_every: int = setting(100, "steps between checkpoints", unit="steps", machine=True, ge=1)


class WriteSettings(Settings):
    """How much is sampled before it is written."""

    heading: ClassVar[str] = "logging"
    write_every: int = setting(64, "questions sampled and written at once", unit="questions", ge=1)
