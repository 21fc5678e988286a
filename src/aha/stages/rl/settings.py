"""The settings of reinforcement learning, what is looked at before a run, and what follows from them alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from aha.chat import SETTING
from aha.cluster.settings import ClusterSettings
from aha.rewards import get_reward
from aha.runs.pipeline import Context, Stage
from aha.sampling.vllm.engine import VllmSettings
from aha.stages import engines, inputs
from aha.stages.rl.collect import difficulties
from aha.tasks import row_sources
from aha.training.curriculum import Curriculum
from aha.training.presets import Algorithm
from aha.types import AhaError


class RLSettings(Stage):
    """What can be set of a stage of reinforcement learning, and what follows from it alone."""

    all_ranks: ClassVar[bool] = True
    machine: ClassVar[frozenset[str]] = frozenset(
        {
            "engine",
            "workers",
            "cluster",
            "vllm",
            "max_batch_tokens",
            "decode_rows",
            "checkpoint_layers",
            "offload_activations",
            "context_ranks",
            "compile_layers",
            "save_every",
        }
    )
    figures: ClassVar[frozenset[str]] = frozenset(
        {
            "test_problems",
            "test_samples",
            "eval_every",
            "eval_problems",
            "eval_samples",
            "eval_temperature",
            "eval_top_p",
            "strict",
        }
    )

    replaces: ClassVar[Mapping[str, str]] = {"max_tokens": "later_max_tokens"}

    model: str | Stage = Field("tiny", description="base: an embedded one, a folder, a hub name, a stage")
    task: str = Field("countdown", description="what is asked (aha list)")
    data: str | None = Field(None, description="rows for tasks that read them: a file or a hub name")
    test_data: str | None = Field(None, description="rows of the test split, if they are apart")
    prompt: str = Field("auto", description=SETTING)
    rewards: dict[str, float] = Field({"accuracy": 1.0, "format": 1.0}, description="weight of each reward")
    helpful_model: str | Stage | None = Field(None, description="reward model of general questions")
    safety_model: str | Stage | None = Field(None, description="reward model of harmful ones")
    general_tasks: tuple[str, ...] = Field(("general",), description="tasks that reward models score")
    preference_weight: float = Field(1.0, description="weight of the reward models' scores")
    preference_scale: Literal["unit", "raw"] = Field(
        "unit", description="of those scores: brought to 0..1, or the reward models' own (the paper)"
    )
    preference_from: int = Field(
        1, ge=1, description="step from which general questions are asked (the paper: the last 400 of 1,700)"
    )
    algorithm: Algorithm = Field(
        default_factory=lambda: Algorithm.model_validate({}), description="preset or its parts"
    )
    steps: int = Field(100, ge=0, description="rollouts to take; each is split into mini_batches updates")
    prompts_per_step: int = Field(32, ge=1, description="questions in one rollout")
    group_size: int = Field(16, ge=2, description="G, completions of each question")
    mini_batches: int = Field(1, ge=1, description="updates from one rollout, each on its share of questions")
    lr: float = Field(3e-6, gt=0, description="learning rate after the warm-up")
    lr_final: float = Field(1.0, ge=0, le=1, description="the last step's learning rate as a part of lr")
    warmup_steps: int = Field(0, ge=0, description="steps of linear warm-up")
    max_grad_norm: float = Field(1.0, gt=0, description="gradients are clipped to this norm")
    temperature: float = Field(1.0, gt=0, description="of sampling, and of the logprobs trained on")
    max_tokens: int = Field(1024, ge=1, description="longest completion")
    later_max_tokens: tuple[int, int] | None = Field(None, description="(step, tokens): raised from there on")
    max_prompt_tokens: int = Field(1024, ge=1, description="problems with longer prompts are left out")
    max_batch_tokens: int = Field(
        4096,
        ge=1,
        description="packed tokens of one forward and backward pass at most: fewer where memory is short",
    )
    checkpoint_layers: bool = Field(
        False, description="compute layers again going backward; done anyway where memory is short"
    )
    offload_activations: bool = Field(False, description="keep activations in the CPU's memory meanwhile")
    compile_layers: bool = Field(False, description="norms and feed-forward through torch.compile: faster")
    context_ranks: int = Field(1, ge=1, description="ranks (torchrun) that share each pass: long sequences")
    lora_rank: int = Field(0, ge=0, description="train adapters of this rank (needs peft); 0 = all weights")
    decode_rows: int = Field(512, ge=1, description="completions sampled at once at most")
    train_problems: int = Field(8192, ge=1, description="at most so many problems are drawn from the task")
    test_problems: int = Field(256, ge=1, description="held-out problems before and after")
    test_samples: int = Field(16, ge=1, description="samples of each of them")
    eval_every: int = Field(
        10, ge=0, description="steps between evaluations on the validation split; 0 = none"
    )
    eval_problems: int = Field(64, ge=1, description="problems of such an evaluation")
    eval_samples: int = Field(4, ge=1, description="samples of each of them")
    eval_temperature: float = Field(1.0, ge=0, description="temperature of evaluations")
    eval_top_p: float = Field(1.0, gt=0, le=1, description="top-p of evaluations")
    strict: bool = Field(True, description="right answers count only if they keep the format")
    save_every: int = Field(10, ge=1, description="steps between checkpoints")
    precision: Literal["auto", "float32", "bfloat16"] = Field("auto", description="compute type")
    engine: engines.Kind = Field(
        "local", description="what samples: the policy itself, vLLM beside it, or workers through Ray"
    )
    workers: int = Field(2, ge=1, description="processes that sample, with engine=ray")
    ahead: int = Field(0, ge=0, description="steps that sampling may be ahead of the update (engine=ray)")
    cluster: ClusterSettings = Field(
        default_factory=lambda: ClusterSettings.model_validate({}), description="how Ray is used"
    )
    vllm: VllmSettings = Field(
        default_factory=lambda: VllmSettings.model_validate({}), description="how vLLM is run"
    )
    seed: int = Field(0, description="of everything random")

    def data_files(self) -> list[str]:
        """The rows that its tasks read."""
        return row_sources(self.task, self.data, self.test_data)

    @model_validator(mode="after")
    def _corrected(self) -> RLSettings:
        """What is not sampled by the policy itself is corrected for, unless importance was set."""
        other = self.engine == "vllm" or self.ahead > 0
        if other and "importance" not in self.algorithm.model_fields_set:
            self.algorithm.importance = "truncated"
        if self.engine == "vllm" and self.algorithm.carry:
            raise AhaError("vLLM cannot go on with what is begun: set algorithm.carry=0.")
        return self

    def check_inputs(self, context: Context) -> None:
        """Model, rows, rewards, prompts and engine, as far as they can be looked at without sampling."""
        inputs.machine(context, self.precision)
        check_asynchronous(self)
        inputs.engine(self.engine, self.name)
        for source in (self.helpful_model, self.safety_model):
            inputs.model(source)
        tokenizer = inputs.model(self.model)
        task = inputs.task(self.task, self.data, self.test_data, ("test",))
        if self.eval_every and self.steps > self.eval_every:
            with inputs.hint(f"Or set {self.name}.eval_every=0: then nothing is evaluated on the way."):
                task.load("validation", self.eval_problems, 0)
        for name in self.rewards:
            get_reward(name, task.verify)
        problems = task.load("train", self.train_problems, self.seed)
        if self.algorithm.sampling == "easy_to_hard":
            Curriculum(len(problems), "easy_to_hard", difficulty=difficulties(problems))
        if tokenizer is not None and isinstance(self.model, str):
            limit = inputs.context_length(self.model)
            check_lengths(self, limit)
            room = min(self.max_prompt_tokens, limit - self.longest_completion)
            inputs.prompts(problems, tokenizer, self.prompt, room)

    def goes_on_from(self, before: Mapping[str, Any], reached: int) -> bool:
        """With more steps, where no step depends on how many there are: the learning rate does not fall towards
        the last, and problems do not get harder towards it."""
        now = self.essential()
        changed = {key for key, value in now.items() if before.get(key) != value}
        level = self.lr_final == 1 and self.algorithm.sampling != "easy_to_hard"
        return changed == {"steps"} and level and self.steps >= reached

    def work(self) -> dict[str, float]:
        """Tokens sampled at most, with the evaluations, and trained on."""
        each = self.prompts_per_step * self.group_size
        tokens = float(each * sum(self.tokens_at(step) for step in range(1, self.steps + 1)))
        between = (
            (self.steps - 1) // self.eval_every * self.eval_problems * self.eval_samples
            if self.eval_every
            else 0
        )
        asked = 2 * self.test_problems * self.test_samples + max(0, between)
        return {"sampled": tokens + asked * self.tokens_at(self.steps), "trained": tokens}

    def lr_at(self, step: int) -> float:
        """Linear warm-up, then a straight line down to ``lr_final``."""
        warm = min(1.0, step / self.warmup_steps) if self.warmup_steps else 1.0
        done = max(0, step - self.warmup_steps) / max(1, self.steps - self.warmup_steps)
        return self.lr * warm * (1 - (1 - self.lr_final) * done)

    @property
    def longest_completion(self) -> int:
        """Tokens of the longest completion at any step."""
        return max(self.max_tokens, (self.later_max_tokens or (0, 0))[1])

    @property
    def longest_sequence(self) -> int:
        """Tokens of prompt and completion that can come up."""
        return self.max_prompt_tokens + self.longest_completion

    def tokens_at(self, step: int) -> int:
        """The longest completion at a step (the paper doubles it late in training)."""
        if self.later_max_tokens and step >= self.later_max_tokens[0]:
            return self.later_max_tokens[1]
        return self.max_tokens


def check_asynchronous(config: RLSettings) -> None:
    """Raise AhaError for what workers, and sampling ahead of the update, do not go with."""
    a = config.algorithm
    if config.ahead and config.engine != "ray":
        raise AhaError(
            f"{config.name}.ahead={config.ahead} needs workers: in one process sampling and update take turns on "
            f"the same cores, and the policy's own modules cannot be both. Set {config.name}.engine=ray, or ahead=0."
        )
    refused = {
        "signal_share": a.signal_share > 0,
        "oversample": a.oversample > 0,
        "replay_share": a.replay_share > 0,
        "advantage=greedy_baseline": a.advantage == "greedy_baseline",
    }
    for name, found in refused.items():
        if config.ahead and found:
            raise AhaError(
                f"{config.name}.ahead and algorithm.{name} cannot be combined: which groups a step samples would "
                "depend on groups that are not there yet. Switch one of them off."
            )


def check_lengths(config: RLSettings, limit: int) -> None:
    """Raise AhaError where completions alone fill the model's context of ``limit`` tokens."""
    if (longest := config.longest_completion) >= limit:
        raise AhaError(
            f"max_tokens={longest} leaves no room for a prompt in the model's context of {limit} tokens. "
            f"Lower {config.name}.max_tokens."
        )
