"""An algorithm: settings of one trainer, filled from a named preset."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator, ModelWrapValidatorHandler, model_validator

from aha import plugins
from aha.hints import nearest
from aha.settings import Settings, former, setting
from aha.training import batching, credit, own
from aha.training.advantages import ADVANTAGES, Advantage, Rewards
from aha.training.batching import Weighting
from aha.training.credit import Importance
from aha.training.curriculum import Rule
from aha.training.losses import Kl, Objective, Ratio, policy_loss
from aha.training.policy import Loss
from aha.training.presets import PRESETS
from aha.types import AhaError, Example

Named = Literal["raw", "group_mean", "group_std", "leave_one_out", "group_best", "gpg", "greedy_baseline"]
Own = Annotated[str, AfterValidator(plugins.check_reference)]
"""``file.py:name`` or ``package.module:name``."""
Estimator = Named | Own
Aggregation = Literal["sequence_mean", "token_mean", "sequence_sum", "constant_length"]


class Algorithm(Settings):
    """A choice of advantage, objective, ratio, clip, aggregation, KL and sampling rule.

    ``preset`` fills what is not given.
    """

    preset: str = setting(
        "grpo", "a named algorithm (aha list) or FILE.py:NAME, whose settings fill the rest"
    )
    # from rewards to advantages
    advantage: Estimator = setting("group_std", "of whole completions; or FILE.py:NAME")
    whiten: bool = setting(False, "normalise advantages over all tokens of the rollout")
    process: bool = setting(False, "rewards of single steps, normalised in the group")
    agro: bool = setting(False, "advantage from the consistency of r - kl_coef log(policy/reference)")
    prune_rate: float = setting(0.0, "share of completions left out, least |advantage|", ge=0, lt=1)
    mask_truncated: bool = setting(False, "completions cut by the limit are not trained on")
    # the critic
    critic: bool = setting(False, "learn a value model; advantages by GAE")
    gamma: float = setting(1.0, "discount", ge=0, le=1)
    lam: float | None = setting(1.0, "GAE's lambda; none: by length (VAPO)", ge=0, le=1)
    lam_critic: float = setting(1.0, "lambda of the critic's returns", ge=0, le=1)
    lam_length: float = setting(0.05, "VAPO's alpha", gt=0)
    value_clip: float | None = setting(None, "clip of the value's change", gt=0)
    value_pretrain_steps: int = setting(0, "first steps train the critic alone", unit="steps", ge=0)
    critic_lr_scale: float = setting(2.0, "the critic's learning rate as a multiple of lr", gt=0)
    nll_coef: float = setting(0.0, "weight of -log p of correct completions beside the loss", ge=0)
    # the loss
    objective: Objective | Own = setting("clipped", "clipped (PPO), cispo, logprob, mirror, or FILE.py:NAME")
    ratio: Ratio = setting("token", "level of policy / old policy")
    clip_low: float = setting(0.2, "the ratio is clipped at 1 - clip_low", ge=0)
    clip_high: float = setting(0.2, "and at 1 + clip_high", ge=0)
    clip_dual: float | None = setting(None, "bound on the ratio where the advantage is negative", gt=1)
    mirror_coef: float = setting(0.0, "Kimi's tau", ge=0)
    aggregation: Aggregation = setting("sequence_mean", "how tokens are averaged")
    constant_length: int = setting(1024, "the divisor of constant_length", unit="tokens", ge=1)
    # reference, entropy
    kl: Kl = setting("none", "estimate of KL(policy || reference)")
    kl_coef: float = setting(0.0, "its coefficient", ge=0)
    kl_place: Literal["loss", "reward"] = setting("loss", "a term of the loss, or of the rewards")
    kl_unbiased: bool = setting(False, "weigh the estimate by policy / old policy")
    reference_every: int = setting(
        400, "steps after which the reference becomes the policy", unit="steps", ge=1
    )
    entropy_coef: float = setting(0.0, "entropy bonus")
    entropy_target: float | None = setting(None, "adapt the bonus: grows while entropy is below")
    entropy_coef_step: float = setting(0.005, "by so much a step", gt=0)
    # which samples
    curriculum: Rule = setting("shuffle", "how problems are drawn")
    pass_rate_range: tuple[float, float] = setting((0.0, 1.0), "pass rates that stay (curriculum=pass_rate)")
    easy_share: float = setting(0.0, "share of visits to problems that left for being easy", ge=0, lt=1)
    filter_zero_variance: bool = setting(False, "groups of equal rewards are not trained on")
    dynamic_sampling: float = setting(0.0, "sample on until so many of the groups have signal", ge=0, le=1)
    dynamic_sampling_rounds: int = setting(4, "but at most so many times", ge=1)
    oversample: float = setting(0.0, "begin so many more problems, and end with the first done", ge=0)
    partial_rollouts: int = setting(
        0, "what oversampling did not wait for goes on for so many steps; 0: cancelled", unit="steps", ge=0
    )
    replay_ratio: float = setting(0.0, "groups of earlier steps among those trained on", ge=0, lt=1)
    replay_max_age: int = setting(4, "age in steps at which they are forgotten", unit="steps", ge=1)
    # sampler and policy apart
    importance_sampling: Importance = setting("none", "correction of sampler / policy mismatch")
    importance_sampling_cap: float = setting(2.0, "bound of the correction", ge=1)
    importance_sampling_level: Literal["token", "sequence"] = setting("token", "its level")

    @model_validator(mode="wrap")
    @classmethod
    def _fill(cls, value: Any, handler: ModelWrapValidatorHandler[Algorithm]) -> Algorithm:
        """Settings that are not given come from the preset; one's own may be a subclass, which takes over."""
        value = _with_name(value)
        if not isinstance(value, dict):
            return handler(value)
        name = str(value.get("preset", "grpo"))
        settings = preset(name)
        if isinstance(settings, dict):
            _check_names(settings, cls.model_fields, name)
            base = preset(settings["preset"]) if settings.get("preset", name) != name else {}
            return handler((base if isinstance(base, dict) else {}) | settings | value | {"preset": name})
        if not issubclass(settings, Algorithm):
            raise AhaError(
                f"The algorithm '{name}' is a class, and no subclass of aha.training.algorithm.Algorithm."
            )
        return handler(value) if issubclass(cls, settings) else settings.model_validate(value)

    @model_validator(mode="after")
    def _consistent(self) -> Algorithm:
        low, high = self.pass_rate_range
        if not 0 <= low <= high <= 1:
            raise AhaError(
                f"algorithm.pass_rate_range={[low, high]}: give two shares from 0 to 1, the lower first."
            )
        if self.kl_place == "reward" and self.uses_kl and self.kl != "k1":
            raise AhaError("KL in the reward is log(policy / reference): set algorithm.kl=k1.")
        if self.process and self.critic:
            raise AhaError("Process rewards and a critic cannot be combined: choose process or critic.")
        if self.partial_rollouts and not self.oversample:
            raise AhaError(
                "algorithm.partial_rollouts takes up what oversampling leaves: set algorithm.oversample=0.25, say."
            )
        if self.partial_rollouts and self.replay_ratio:
            raise AhaError(
                "algorithm.partial_rollouts and algorithm.replay_ratio cannot be combined: choose one."
            )
        return self

    def without_effect(self) -> dict[str, str]:
        """Settings of parts that are switched off. A subclass, and a loss of one's own, may use them all."""
        if type(self) is not Algorithm or plugins.is_reference(self.objective):
            return {}
        critic = (
            "gamma",
            "lam",
            "lam_critic",
            "lam_length",
            "value_clip",
            "value_pretrain_steps",
            "critic_lr_scale",
        )
        clipped = self.objective in ("clipped", "cispo")
        idle = [
            (self.kl == "none" and not self.agro, ("kl_coef",), "set algorithm.kl=k3 too"),
            (self.kl_coef == 0, ("kl",), "set algorithm.kl_coef=0.001, say, too"),
            (not self.uses_kl, ("kl_place",), "set algorithm.kl and algorithm.kl_coef too"),
            (
                not self.kl_in_loss,
                ("kl_unbiased",),
                "set algorithm.kl and algorithm.kl_coef too, in the loss",
            ),
            (
                not self.needs_reference,
                ("reference_every",),
                "there is no reference: set algorithm.kl and kl_coef too",
            ),
            (not self.critic, critic, "it is of the critic: set algorithm.critic=true, or preset=ppo"),
            (
                self.aggregation != "constant_length",
                ("constant_length",),
                "set algorithm.aggregation=constant_length too",
            ),
            (self.objective != "mirror", ("mirror_coef",), "set algorithm.objective=mirror too"),
            (not clipped, ("clip_low", "clip_high"), f"the objective {self.objective} clips nothing"),
            (self.objective != "clipped", ("clip_dual",), "set algorithm.objective=clipped too"),
            (self.entropy_target is None, ("entropy_coef_step",), "set algorithm.entropy_target too"),
            (self.curriculum != "pass_rate", ("pass_rate_range",), "set algorithm.curriculum=pass_rate too"),
            (not self.dynamic_sampling, ("dynamic_sampling_rounds",), "set algorithm.dynamic_sampling too"),
            (not self.replay_ratio, ("replay_max_age",), "set algorithm.replay_ratio too"),
            (
                self.importance_sampling == "none",
                ("importance_sampling_cap", "importance_sampling_level"),
                "set algorithm.importance_sampling=truncated too",
            ),
        ]
        return {name: way for is_idle, names, way in idle if is_idle for name in names}

    @property
    def uses_kl(self) -> bool:
        """Whether a KL term is part of the objective."""
        return self.kl != "none" and self.kl_coef != 0

    @property
    def needs_reference(self) -> bool:
        """Whether a reference policy must be kept and asked."""
        return self.uses_kl or self.agro

    @property
    def kl_in_loss(self) -> bool:
        """Whether the KL is a term of the loss."""
        return self.uses_kl and self.kl_place == "loss"

    @property
    def silent_without_advantage(self) -> bool:
        """Whether a token of advantage 0 has no gradient, so that it need not be computed."""
        others = (self.kl_in_loss, self.entropy_coef, self.entropy_target, self.mirror_coef, self.nll_coef)
        return not any(others)

    def advantages(self, rewards: Rewards, baselines: np.ndarray | None = None) -> list[np.ndarray]:
        """Rewards [G] of each group -> advantages [G] of each group, NaN = drop."""
        return estimator(self.advantage)(rewards, baselines)

    def credit(self, examples: Sequence[Example], outcome: bool = True) -> list[Example]:
        """From advantages of completions to those of tokens, over the whole rollout.

        ``outcome``: under process supervision, whether a reward of the outcome is there besides the steps'.
        """
        credited = list(examples)
        in_reward = self.kl_coef if self.uses_kl and self.kl_place == "reward" else 0.0
        if self.prune_rate:
            credited = credit.prune(credited, self.prune_rate)
        if self.process:
            credited = credit.process_credit(credited, outcome)
        if self.critic:
            credited = credit.gae_credit(
                credited,
                gamma=self.gamma,
                lam=self.lam,
                lam_critic=self.lam_critic,
                lam_length=self.lam_length,
                kl_coef=in_reward,
            )
        elif in_reward:
            credited = credit.subtract_kl(credited, in_reward)
        if self.whiten:
            credited = credit.whiten(credited)
        return credit.correct_importance(
            credited, self.importance_sampling, self.importance_sampling_cap, self.importance_sampling_level
        )

    def loss(self, entropy_coef: float | None = None) -> Loss:
        """The loss of each token; ``entropy_coef`` in place of the setting, where it is adapted."""
        return policy_loss(
            objective=self._objective(),
            clip_low=self.clip_low,
            clip_high=self.clip_high,
            clip_dual=self.clip_dual,
            ratio=self.ratio,
            kl=self.kl if self.kl_in_loss else "none",
            kl_coef=self.kl_coef,
            kl_unbiased=self.kl_unbiased,
            entropy_coef=self.entropy_coef if entropy_coef is None else entropy_coef,
            mirror_coef=self.mirror_coef,
        )

    def _objective(self) -> Any:
        """The surrogate by its name, or one's own as a function."""
        return own.own_loss(self.objective) if plugins.is_reference(self.objective) else self.objective

    def weighting(self) -> Weighting:
        """How tokens are averaged."""
        if self.aggregation == "constant_length":
            return batching.constant_length(self.constant_length)
        return batching.WEIGHTINGS[self.aggregation]

    def check(self) -> None:
        """Try one's own parts on a few numbers. Raises AhaError, with file and line, where they fail."""
        if plugins.is_reference(self.preset) or any(
            map(plugins.is_reference, (self.advantage, self.objective))
        ):
            own.check(self.advantage, self.loss)


def estimator(name: str) -> Advantage:
    """The advantage of that name, or one's own. Raises AhaError for an unknown one."""
    return ADVANTAGES.get(name) or own.own_advantage(name)


def preset(name: str) -> dict[str, Any] | type:
    """The settings that an algorithm's name stands for; one's own may be a class. Raises AhaError for no name."""
    if name in PRESETS:
        return PRESETS[name]
    reference = name if plugins.is_reference(name) else plugins.entry("algorithms", name)
    if reference is None:
        hint = plugins.of_file(name) or nearest(name, PRESETS)
        raise AhaError(
            f"Unknown algorithm '{name}'. {hint} See them with: aha list algorithms. One of your "
            "own is FILE.py:NAME or PACKAGE.MODULE:NAME."
        )
    return own.own_preset(reference)


def _check_names(settings: Iterable[str], known: Collection[str], name: str) -> None:
    """Raise AhaError for a setting that an algorithm of one's own has and that there is not."""
    if unknown := next((key for key in settings if former.today(key, known) not in known), ""):
        hint = nearest(unknown, known, "aha list settings rl shows them, under rl.algorithm.")
        raise AhaError(
            f"The algorithm '{name}' sets '{unknown}', which is no setting of an algorithm. {hint}"
        )


def _with_name(value: Any) -> Any:
    """A name, a class or a function that is given in place of settings, as settings."""
    if isinstance(value, Algorithm) or value is None:
        return value
    if isinstance(value, str) or callable(value):
        return {"preset": plugins.reference_to(value)}
    if isinstance(value, dict):
        return {k: plugins.reference_to(v) if callable(v) else v for k, v in value.items()}
    return value


def adapted_entropy(coef: float, entropy: float, target: float, step: float) -> tuple[float, float]:
    """Skywork-OR1 (arXiv 2505.22312): (next coefficient, the one that applies now).

    The coefficient grows by ``step`` while entropy is below ``target`` and shrinks above, never below 0;
    it applies only while entropy is at or below the target.
    """
    moved = max(0.0, coef + (step if entropy < target else -step))
    return moved, (moved if entropy <= target else 0.0)
