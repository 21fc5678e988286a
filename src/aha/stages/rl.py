"""Reinforcement learning with verifiable rewards: sample, grade, credit, update. R1-Zero is this and a base.

The loop in ``RL._train`` is the documentation; everything it calls is a leaf.
"""

from __future__ import annotations

import copy
import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from aha.chat import SETTING
from aha.cluster.settings import ClusterSettings
from aha.rewards import get_reward
from aha.runs import interrupts
from aha.runs.pipeline import Context, Stage
from aha.sampling.vllm import VllmSettings
from aha.stages import ahead, engines, inputs
from aha.stages.carry import token_versions
from aha.stages.collect import difficulties, is_right
from aha.stages.rl_setup import Session, check_lengths, prepare
from aha.tasks import row_sources
from aha.training import credit, parallel
from aha.training.batching import pack, token_mean
from aha.training.critic import Critic
from aha.training.curriculum import Curriculum
from aha.training.frozen import FrozenAdapters
from aha.training.policy import Policy
from aha.training.presets import Algorithm
from aha.training.sharding import Shards
from aha.types import AhaError, Batch, Example, Group, Scored


class RL(Stage):
    """One stage of reinforcement learning."""

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
    def _corrected(self) -> RL:
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
        ahead.check(self)
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

    def run(self, context: Context) -> dict[str, Any]:
        """Train, or continue; returns what goes into ``summary.json``."""
        session = prepare(self, context)
        with session.console, session.closing():
            before = session.evaluation("before", 0)
            self._train(session)
            after = session.evaluation("after", self.steps)
        return session.finish(before, after)

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

    def _evaluate(self, s: Session, step: int) -> None:
        """Evaluate where it is due; an evaluation that was done before is only read."""
        if self._evaluates(step):
            s.evaluation("step", step)

    def _evaluates(self, step: int) -> bool:
        return bool(self.eval_every) and step > 0 and step % self.eval_every == 0 and step < self.steps

    def _train(self, s: Session) -> None:
        self._evaluate(s, s.start)  # a kill may have come between the checkpoint and its evaluation
        for step in range(s.start + 1, self.steps + 1):
            with interrupts.Step(step, s.saved) as held:
                self._step(s, step)
                # an evaluation takes long: it begins from a checkpoint
                due = step % self.save_every == 0 or step == self.steps or self._evaluates(step)
                interrupts.saving(held, due, partial(s.save, step))
            held.leave()
            self._evaluate(s, step)

    def _step(self, s: Session, step: int) -> None:
        clock = time.perf_counter()
        groups = s.collect(step, self.tokens_at(step), progress=(step - 1) / self.steps)
        advantages = s.advantages(groups)
        sampled = time.perf_counter()
        version = s.engine.version if self.algorithm.carry or self.ahead else None
        examples = s.replay.mix(step, to_examples(groups, advantages, s.collector.steps, version))
        examples = self.algorithm.credit(s.annotate(examples), outcome=s.collector.has_outcome)
        totals = self._update(s, step, examples)
        s.adapt_entropy(totals)
        seconds = (sampled - clock, time.perf_counter() - sampled)
        s.report(step, groups, advantages, totals, seconds, self.tokens_at(step), self.lr_at(step))
        if self.algorithm.needs_reference and step % self.algorithm.reference_every == 0:
            s.reference = frozen_copy(s.policy)

    def _update(self, s: Session, step: int, examples: Sequence[Example]) -> dict[str, float]:
        """Split one rollout into mini-batches by question, in random order, and step on each."""
        totals: dict[str, float] = {}
        parts = split_by_group(examples, self.mini_batches, random.Random(f"{self.seed}:{step}:split"))
        for index, part in enumerate(parts):
            if s.critic is not None:
                _add(totals, self._critic_step(s, s.critic, part, step), 1 / len(parts))
            if step > self.algorithm.value_pretrain_steps or s.critic is None:
                _add(totals, self._policy_step(s, part, step, note=index == 0))
        weight = totals.pop("weight", 0.0) or 1.0
        parts_of = {"loss": 1.0, "grad_norm": len(parts) or 1.0}
        whole = {k: v for k, v in totals.items() if k.startswith("critic/")}
        return whole | {k: v / parts_of.get(k, weight) for k, v in totals.items() if k not in whole}

    def _policy_step(self, s: Session, part: list[Example], step: int, note: bool) -> dict[str, float]:
        """One update of the policy from one mini-batch."""
        a, totals = self.algorithm, {}
        weighting, loss = a.weighting(), a.loss(s.entropy_coef)
        if a.agro:
            part = credit.agro_credit(s.with_policy_logprobs(part), a.kl_coef)
        if a.imitation:
            part = credit.imitate(part, a.imitation, weighting)

        def chunks(tokens: int) -> list[Batch]:
            return pack(part, weighting, tokens, skip_zero_advantage=a.silent_without_advantage)

        def learn(batch: Batch) -> tuple[dict[str, float], np.ndarray]:
            found = s.policy.backward(batch, loss, self.temperature)
            return found, s.mismatch_of(batch)

        batches = parallel.even(chunks, s.config.max_batch_tokens, s.policy.dealt_to)
        for found, mismatch in s.policy.over_ranks(batches, learn):
            _add(totals, found)
            if note and not a.replay_share:  # before the policy moves, on its own samples
                s.mismatch.append(mismatch)
        return totals | {"grad_norm": s.policy.step(self.lr_at(step))}

    def _critic_step(self, s: Session, critic: Critic, part: list[Example], step: int) -> dict[str, float]:
        """One update of the critic: the mean over tokens of the value loss."""
        totals: dict[str, float] = {}
        clip = self.algorithm.value_clip
        batches = parallel.even(partial(pack, part, token_mean), s.config.max_batch_tokens, critic.dealt_to)
        for found in critic.over_ranks(batches, lambda batch: critic.backward(batch, clip)):
            _add(totals, found)
        critic.step(self.lr_at(step) * self.algorithm.critic_lr_scale)
        return totals

    def lr_at(self, step: int) -> float:
        """Linear warm-up, then a straight line down to ``lr_final``."""
        warm = min(1.0, step / self.warmup_steps) if self.warmup_steps else 1.0
        done = max(0, step - self.warmup_steps) / max(1, self.steps - self.warmup_steps)
        return self.lr * warm * (1 - (1 - self.lr_final) * done)

    @property
    def longest_completion(self) -> int:
        """Tokens of the longest completion at any step."""
        return max(self.max_tokens, (self.later_max_tokens or (0, 0))[1])

    def tokens_at(self, step: int) -> int:
        """The longest completion at a step (the paper doubles it late in training)."""
        if self.later_max_tokens and step >= self.later_max_tokens[0]:
            return self.later_max_tokens[1]
        return self.max_tokens


def to_examples(
    groups: Sequence[Group],
    advantages: Sequence[np.ndarray],
    steps: Callable[[Scored], tuple[tuple[int, float], ...]] = lambda member: (),
    version: int | None = None,
) -> list[Example]:
    """Members with an advantage, as sequences to train on: prompt and completion, learned on the completion.

    ``steps`` gives a member's process rewards as (index among the completion's tokens, reward). With
    ``version`` tokens that an earlier version of the policy sampled are marked.
    """
    examples = []
    for index, (group, values) in enumerate(zip(groups, advantages, strict=True)):
        for member, advantage in zip(group.members, values, strict=True):
            if math.isnan(advantage):
                continue
            r, prompt = member.rollout, len(member.rollout.prompt_ids)
            mask = np.arange(prompt + len(r.completion_ids)) >= prompt
            examples.append(
                Example(
                    token_ids=np.concatenate([r.prompt_ids, r.completion_ids]),
                    mask=mask,
                    advantage=np.where(mask, advantage, 0.0),
                    sampler_logprobs=np.concatenate([np.zeros(prompt, np.float32), r.logprobs]),
                    prompt_length=prompt,
                    group=index,
                    right=is_right(member),
                    steps=tuple((prompt + at, value) for at, value in steps(member)),
                    stale=None if version is None else mask_of(token_versions(r) < version, prompt),
                )
            )
    return examples


def mask_of(values: np.ndarray, prompt: int) -> np.ndarray:
    """Values of a completion's tokens [C] as those of the whole sequence [P + C], 0 in the prompt."""
    return np.concatenate([np.zeros(prompt), values])


def _add(totals: dict[str, float], found: Mapping[str, float], scale: float = 1.0) -> None:
    for name, value in found.items():
        totals[name] = totals.get(name, 0.0) + scale * value


def split_by_group(examples: Sequence[Example], parts: int, rng: random.Random) -> list[list[Example]]:
    """Deal whole groups, in random order, into at most ``parts`` mini-batches; empty ones are left out."""
    groups = sorted({e.group for e in examples})
    rng.shuffle(groups)
    part_of = {group: i % parts for i, group in enumerate(groups)}
    split: list[list[Example]] = [[] for _ in range(parts)]
    for example in examples:
        split[part_of[example.group]].append(example)
    return [part for part in split if part]


def frozen_copy(policy: Policy) -> Policy | FrozenAdapters:
    """The policy as it is now, without an optimizer: a reference."""
    if policy.adapters is not None:
        return FrozenAdapters(policy)
    with policy.whole():
        model = copy.deepcopy(policy.sampler)
    for param in model.parameters():
        param.grad = None
        param.requires_grad_(False)
    copied = Policy(model, shards=None if policy.shards is None else Shards(model, trains=False))
    copied.context = policy.context
    return copied
