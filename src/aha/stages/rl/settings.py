"""The settings of reinforcement learning, what is looked at before a run, and what follows from them alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import field_validator, model_validator
from pydantic_core import PydanticCustomError

from aha.rewards import check_columns, get_rewards, reward_names
from aha.runs.pipeline import Context, Stage
from aha.sampling.engines import ENGINES, engine_class
from aha.settings import Settings, setting, with_groups
from aha.stages import groups, inputs
from aha.stages.rl.collect import difficulties
from aha.stages.rl.judge_reward import JUDGE, read_rubric
from aha.stages.rl.reward_routing import PREFERENCE, check_graded
from aha.stages.supervised.scorers import named
from aha.tasks import row_sources
from aha.training import schedule
from aha.training.algorithm import Algorithm
from aha.training.curriculum import Curriculum
from aha.types import AhaError


class RolloutSettings(groups.SamplingSettings):
    """How many completions a step samples."""

    heading: ClassVar[str] = "rollout"
    prompts_per_step: int = setting(32, "questions in one rollout", unit="questions", ge=1)
    group_size: int = setting(16, "G, completions of each question", unit="completions", ge=2)
    max_tokens_schedule: tuple[tuple[int, int], ...] = setting(
        (), "later lengths: pairs of a step and the tokens from there on"
    )
    max_prompt_tokens: int = setting(1024, "problems with longer prompts are left out", unit="tokens", ge=1)

    @field_validator("max_tokens_schedule", mode="before")
    @classmethod
    def _pairs(cls, value: Any) -> Any:
        """One pair may stand without a list around it; none is an empty list."""
        one = isinstance(value, list | tuple) and len(value) == 2 and all(isinstance(v, int) for v in value)
        return (value,) if one else () if value is None else value

    @field_validator("max_tokens_schedule")
    @classmethod
    def _lengths(cls, pairs: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
        """A step has a number from 1, and an answer a token."""
        if any(number < 1 for pair in pairs for number in pair):
            raise PydanticCustomError("no_length", "A pair is a step and a number of tokens, both from 1")
        return pairs


class RewardModelSettings(Settings):
    """Reward models beside the rules."""

    heading: ClassVar[str] = "reward"
    helpful_model: str | Stage | tuple[str | Stage, ...] | None = setting(
        None, "reward model of general questions: a stage, a folder, a classifier of Hugging Face, or several"
    )
    safety_model: str | Stage | tuple[str | Stage, ...] | None = setting(
        None, "reward model of harmful ones, likewise"
    )
    general_tasks: tuple[str, ...] = setting(("general",), "tasks that reward models score")
    preference_weight: float = setting(1.0, "weight of the reward models' scores")
    preference_scale: Literal["unit", "raw"] = setting(
        "unit", "of those scores: brought to 0..1, or the reward models' own (the paper)"
    )
    preference_start_step: int = setting(
        1,
        "step from which general questions are asked (the paper: the last 400 updates of 1,700)",
        unit="steps",
        ge=1,
    )

    @field_validator("helpful_model", "safety_model", mode="before")
    @classmethod
    def _several(cls, value: Any) -> Any:
        """Several names may stand in one text, with commas between."""
        return tuple(value.split(",")) if isinstance(value, str) and "," in value else value


class JudgeSettings(groups.JudgeModelSettings):
    """A judge beside the rules."""

    heading: ClassVar[str] = "reward"
    judge_weight: float = setting(1.0, "weight of the judge's scores, which lie in 0..1")
    judge_tasks: tuple[str, ...] = setting(("general", "harmful"), "tasks whose answers are judged")
    judge_mode: Literal["auto", "rubric", "reference", "pairwise", "safety"] = setting(
        "auto",
        "by a rubric from 1 to 10, by the reference answer, against it in both orders, or by the rules of safety; "
        "auto: safety for harmful prompts, the reference for problems that have one, else the rubric",
    )
    judge_rubric: str | None = setting(None, "a text file with a rubric of one's own")
    judge_max_calls: int | None = setting(
        None, "questions to the judge at most; what is asked beyond has no score", ge=1
    )
    judge_max_tokens: int | None = setting(
        None, "of questions and replies at most, estimated", unit="tokens", ge=1
    )


class EvaluationSettings(groups.AnswerFormatSettings):
    """Evaluations before, between and after the updates."""

    heading: ClassVar[str] = "evaluation"
    test_problems: int = setting(
        256, "held-out problems before and after", unit="questions", measure=True, ge=1
    )
    test_samples: int = setting(16, "samples of each of them", unit="completions", measure=True, ge=1)
    eval_every: int = setting(
        10, "steps between evaluations on the validation split; 0 = none", unit="steps", measure=True, ge=0
    )
    eval_problems: int = setting(64, "problems of such an evaluation", unit="questions", measure=True, ge=1)
    eval_samples: int = setting(4, "samples of each of them", unit="completions", measure=True, ge=1)
    eval_temperature: float = setting(1.0, "temperature of evaluations", measure=True, ge=0)
    eval_top_p: float = setting(1.0, "top-p of evaluations", measure=True, gt=0, le=1)
    rollout_tokens: bool = setting(
        False,
        "write each token's text, logprobs and advantage into rollouts/, for aha view; one more pass, larger files",
        measure=True,
    )
    keep_best: bool = setting(
        True, "keep the model that was best on the validation split beside the last, in best/", measure=True
    )


@with_groups(
    {e.group: (e.settings_class, f"how {e.title} is run") for e in ENGINES.values() if e.group}, machine=True
)
class EngineSettings(Settings):
    """What samples, and where; the settings of every engine that has some beside."""

    heading: ClassVar[str] = "engine"
    engine: str = setting(
        "local", "what samples: " + ", or ".join(e.about for e in ENGINES.values()), machine=True
    )
    rollout_workers: int = setting(2, "processes that sample, with engine=ray", machine=True, ge=1)
    max_staleness: int = setting(
        0, "steps that sampling may be ahead of the update (engine=ray)", unit="steps", ge=0
    )


class RLSettings(
    groups.SeedSettings,
    groups.TrainedModelSettings,
    groups.TaskSettings,
    groups.TestRowSettings,
    groups.PromptSettings,
    RolloutSettings,
    RewardModelSettings,
    JudgeSettings,
    groups.JudgeReplySettings,
    groups.OptimizerSettings,
    groups.WarmupSettings,
    groups.GradientClipSettings,
    groups.AdapterSettings,
    groups.MemorySettings,
    groups.DtypeSettings,
    groups.DecodingSettings,
    groups.ContextParallelSettings,
    EngineSettings,
    EvaluationSettings,
    groups.CheckpointSettings,
    Stage,
    lr=3e-6,
    save_every=10,
):
    """What can be set of a stage of reinforcement learning, and what follows from it alone."""

    all_ranks: ClassVar[bool] = True
    heading: ClassVar[str] = "data"
    replaces: ClassVar[Mapping[str, str]] = {"max_tokens": "max_tokens_schedule"}

    train_problems: int = setting(
        8192, "at most so many problems are drawn from the task", unit="questions", ge=1
    )
    rewards: dict[str, float] = setting(
        {"accuracy": 1.0, "format": 1.0}, "weight of each reward", under="reward"
    )
    reward_schedule: dict[str, tuple[tuple[int, float], ...]] = setting(
        dict, "later weights of rewards: pairs of a step and the weight from there on", under="reward"
    )
    algorithm: Algorithm = setting(Algorithm, "preset or its parts", under="algorithm")
    steps: int = setting(
        100,
        "rollouts to take; each is split into mini_batches updates",
        under="optimizer",
        unit="steps",
        ge=0,
    )
    mini_batches: int = setting(
        1, "updates from one rollout, each on its share of questions", under="optimizer", ge=1
    )

    def data_files(self) -> list[str]:
        """The rows that its tasks read, and a judge's rubric."""
        rubric = [self.judge_rubric] if self.judge_rubric else []
        return [*row_sources(self.task, self.data, self.test_data), *rubric]

    @model_validator(mode="after")
    def _corrected(self) -> RLSettings:
        """What is not sampled by the policy itself is corrected for, unless importance was set."""
        engine = engine_class(self.engine)
        other = self.max_staleness > 0 or not engine.computes_alike
        if other and "importance_sampling" not in self.algorithm.model_fields_set:
            self.algorithm.importance_sampling = "truncated"
        if self.algorithm.partial_rollouts and not engine.continues:
            raise AhaError(
                f"engine={self.engine} cannot go on with partial rollouts: set algorithm.partial_rollouts=0."
            )
        return self

    def without_effect(self) -> dict[str, str]:
        """Settings of a judge, of reward models and of engines that the stage does not have, and updates without a
        question."""
        judge = (*JudgeSettings.model_fields.keys() - {"judge"}, *groups.JudgeReplySettings.model_fields)
        idle = {} if self.judge else dict.fromkeys(judge, f"set {self.name}.judge too")
        if not (self.helpful_model or self.safety_model):
            way = f"set {self.name}.helpful_model or safety_model too"
            idle |= dict.fromkeys(("preference_weight", "preference_scale"), way)
        if self.engine != "ray":
            idle["rollout_workers"] = f"set {self.name}.engine=ray too"
        idle |= {
            entry.group: f"set {self.name}.engine={name} too"
            for name, entry in ENGINES.items()
            if entry.group and name != self.engine
        }
        if self.mini_batches > self.prompts_per_step:
            idle["mini_batches"] = (
                f"a step has {self.prompts_per_step} questions (prompts_per_step), and each update takes one at least"
            )
        return idle

    def check_inputs(self, context: Context) -> None:
        """Model, rows, rewards, prompts and engine, as far as they can be looked at without sampling."""
        inputs.machine(context, self.dtype)
        check_asynchronous(self)
        inputs.engine(self)
        for source in (*named(self.helpful_model), *named(self.safety_model)):
            inputs.reward_model(source)
        inputs.endpoint(self.judge)
        read_rubric(self.judge_rubric)
        tokenizer = inputs.model(self.model)
        task = inputs.task(self.task, self.data, self.test_data, ("test",))
        if self.eval_every and self.steps > self.eval_every:
            with inputs.hint(f"Or set {self.name}.eval_every=0: then nothing is evaluated on the way."):
                task.load("validation", self.eval_problems, 0)
        self.algorithm.check()
        rewards = get_rewards(self.rewards, task.verify, task.verify_lenient)
        if self.steps and not any(self.weighted.values()) and not self.reward_schedule:
            raise AhaError(
                f"Nothing is paid for: every weight of {self.name}.rewards is 0. Give one, such as "
                f"'{self.name}.rewards={{\"accuracy\": 1}}'."
            )
        problems = task.load("train", self.train_problems, self.seed)
        check_columns(rewards, problems[0])
        check_graded(problems, (self.helpful_model, self.safety_model, self.judge), self.name)
        self.check_schedule()
        if self.algorithm.curriculum == "easy_to_hard":
            Curriculum(len(problems), "easy_to_hard", difficulty=difficulties(problems))
        if tokenizer is not None and isinstance(self.model, str):
            limit = inputs.context_length(self.model)
            check_lengths(self, limit)
            room = min(self.max_prompt_tokens, limit - self.longest_completion)
            inputs.prompts(problems, tokenizer, self.prompt, room)

    @property
    def weighted(self) -> dict[str, float]:
        """Every reward's weight as it is set, those of reward models and a judge among them."""
        models = {PREFERENCE: self.preference_weight} if self.helpful_model or self.safety_model else {}
        return {**dict(zip(reward_names(self.rewards), self.rewards.values(), strict=True)), **models,
                **({JUDGE: self.judge_weight} if self.judge else {})}  # fmt: skip

    def check_schedule(self) -> None:
        """Raise AhaError for a schedule of a reward that is not there."""
        if unknown := sorted(self.reward_schedule.keys() - self.weighted.keys()):
            raise AhaError(
                f"{self.name}.reward_schedule names '{unknown[0]}', which is no reward of this stage. There are: "
                f"{', '.join(self.weighted)}."
            )

    def weight_at(self, name: str, weight: float, step: int) -> float:
        """A reward's weight at a step."""
        later = [w for start, w in sorted(self.reward_schedule.get(name, ())) if step >= start]
        return later[-1] if later else weight

    def goes_on_from(self, before: Mapping[str, Any], reached: int) -> bool:
        """With more steps, where no step depends on how many there are: the learning rate does not fall towards
        the last, and problems do not get harder towards it."""
        now = self.essential()
        changed = {key for key, value in now.items() if before.get(key) != value}
        level = self.min_lr_ratio == 1 and self.algorithm.curriculum != "easy_to_hard"
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
        """Linear warm-up, then a straight line down to ``min_lr_ratio``."""
        warm = schedule.warm_up(step, self.warmup_steps)
        done = max(0, step - self.warmup_steps) / max(1, self.steps - self.warmup_steps)
        return self.lr * warm * schedule.linear(done, self.min_lr_ratio)

    @property
    def longest_completion(self) -> int:
        """Tokens of the longest completion at any step."""
        return max([self.max_tokens, *(tokens for _, tokens in self.max_tokens_schedule)])

    @property
    def longest_sequence(self) -> int:
        """Tokens of prompt and completion that can come up."""
        return self.max_prompt_tokens + self.longest_completion

    def tokens_at(self, step: int) -> int:
        """The longest completion at a step (the paper doubles it late in training)."""
        later = [tokens for start, tokens in sorted(self.max_tokens_schedule) if step >= start]
        return later[-1] if later else self.max_tokens


def check_asynchronous(config: RLSettings) -> None:
    """Raise AhaError for what workers, and sampling ahead of the update, do not go with."""
    a = config.algorithm
    if config.max_staleness and not engine_class(config.engine).samples_beside:
        raise AhaError(
            f"{config.name}.max_staleness={config.max_staleness} needs workers: in one process sampling and "
            "update take turns on the same cores, and the policy's own modules cannot be both. "
            f"Set {config.name}.engine=ray, or max_staleness=0."
        )
    refused = {
        "dynamic_sampling": a.dynamic_sampling > 0,
        "oversample": a.oversample > 0,
        "reward_schedule": bool(config.reward_schedule),
        "replay_ratio": a.replay_ratio > 0,
        "advantage=greedy_baseline": a.advantage == "greedy_baseline",
    }
    for name, refusal in refused.items():
        if config.max_staleness and refusal:
            raise AhaError(
                f"{config.name}.max_staleness and algorithm.{name} cannot be combined: which groups a "
                "step samples would depend on groups that are not there yet. Switch one of them off."
            )


def check_lengths(config: RLSettings, limit: int) -> None:
    """Raise AhaError where completions alone fill the model's context of ``limit`` tokens."""
    if (longest := config.longest_completion) >= limit:
        raise AhaError(
            f"max_tokens={longest} leaves no room for a prompt in the model's context of {limit} tokens. "
            f"Lower {config.name}.max_tokens."
        )
