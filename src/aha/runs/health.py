"""Figures that leave their healthy range, in words: ``RULES`` is the one table, for the live warnings made
here and for what a report says of whole curves. A pure function of the metrics so far.

A warning opens an episode, which ends when the figure is back behind a second, stricter bound: a figure that
trembles at a threshold is reported once and not at every step.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from aha.runs.charts import FigureKind, number

Against = Literal["", "start", "recent"]
START, RECENT = 5, 20  # steps whose median a figure is compared with


@dataclass(frozen=True, slots=True)
class HealthRule:
    """When a figure is unhealthy: beyond ``enter`` for ``patience`` steps in a row, until it is back within
    ``leave``. Bounds are upper ones if ``enter`` > ``leave``, else lower ones; with ``against`` they are
    multiples of the median of the first or of the preceding steps."""

    key: str
    label: str
    enter: float
    leave: float
    reason: str
    advice: str
    patience: int = 1
    against: Against = ""
    kind: FigureKind = "number"  # how its values are written

    def beyond(self, value: float, bound: float) -> bool:
        """Whether a value lies on the unhealthy side of a bound."""
        return value > bound if self.enter > self.leave else value < bound


@dataclass(frozen=True, slots=True)
class HealthWarning:
    """The start of an unhealthy episode."""

    step: int
    key: str
    value: float
    text: str


RULES: tuple[HealthRule, ...] = (
    HealthRule("sampler_mismatch/mean", "|policy - sampler| logprobs, mean", 0.1, 0.07,
         # 24 to 30 layers of bf16 differ by 0.03 from themselves; three times that is another distribution
         "the sampler draws from another distribution than the one that is trained",
         "run aha doctor; correct with algorithm.importance_sampling=truncated", patience=2),
    HealthRule("sampler_mismatch/mean", "|policy - sampler| logprobs, mean", 4.0, 2.0,
         # rounding stays as it was at the start; what grows comes from weights or prompts that drift apart
         "sampler and policy drift apart",
         "run aha doctor on the last checkpoint; correct with algorithm.importance_sampling=truncated", patience=3,
         against="start"),
    HealthRule("clip_ratio/region_mean", "share of clipped tokens", 0.3, 0.2,
         # published runs clip some per cent of the tokens; the clip is there for exceptions
         "the policy moves too far between sampling and its last update",
         "lower lr or mini_batches", patience=2, kind="rate"),
    HealthRule("entropy", "entropy of the policy", 0.02, 0.05,
         # at 0.02 nats samples of one question are copies, and a group of equal rewards teaches nothing
         "the policy hardly explores any more",
         "raise clip_high or entropy_coef, or lower lr", patience=3),
    HealthRule("entropy", "entropy of the policy", 3.0, 2.0,
         # reinforcement learning sharpens; growth to a multiple is the beginning of babble
         "the policy dissolves into noise", "lower lr, or entropy_coef if it is set", patience=3, against="start"),
    HealthRule("kl", "KL from the reference", 1.0, 0.5,
         # one nat a token: the reference would hardly ever write what the policy writes
         "the policy is far from its reference, and the penalty may rule the gradient",
         "lower lr, refresh the reference more often, or drop the KL term", patience=2),
    HealthRule("ungradable", "share of completions that could not be graded", 0.05, 0.02,
         # they are left out of the baselines, so many of them bias the step towards what grades easily
         "the verifier times out or cannot read the answers", "look at the notes in rollouts/", patience=2,
         kind="rate"),
    HealthRule("completions/clipped_ratio", "share of completions cut by max_tokens", 0.5, 0.3,
         # a cut chain has no answer, so above one half the reward is mostly about length
         "most completions have no room to finish", "raise max_tokens", patience=3, kind="rate"),
    HealthRule("frac_reward_zero_std", "share of groups with equal rewards", 0.9, 0.75,
         # such groups have advantage 0: the step rests on a tenth of what was sampled
         "nearly no group teaches anything: the questions are too hard or too easy",
         "take other questions, larger groups, or an algorithm that samples on (dapo)", patience=3, kind="rate"),
    HealthRule("chains/empty", "share of chains that think nothing", 0.1, 0.05,
         # the template's own placeholder is the shortest text with the right tags: a policy finds it in two updates
         "the policy writes the prompt's own words or an empty phrase for a chain of thought",
         "look at that step's rollouts; give format less weight than accuracy", kind="rate"),
    HealthRule("chains/repeated", "share of completions with one and the same chain for different questions", 0.3, 0.15,
         # what does not depend on the question cannot be a thought about it
         "the policy answers different questions with one chain",
         "look at that step's rollouts; lower lr, or give format less weight than accuracy", kind="rate"),
    HealthRule("rewards/accuracy/mean", "share of right answers", 1e-9, 0.01,
         # equal rewards have advantage 0, whatever the algorithm
         "no answer was right for several steps, so nothing is learned but what other rewards ask for",
         "look at that step's rollouts; take easier questions, or go back to an earlier checkpoint", patience=3,
         kind="rate"),
    HealthRule("rewards/accuracy/mean", "share of right answers", 0.98, 0.95,
         "nearly everything is right already: there is little left to learn from these questions",
         "end the run, or take harder questions", patience=3, kind="rate"),
    HealthRule("rewards/accuracy/mean", "share of right answers", 0.4, 0.7,
         # a policy that comes apart loses first what it had learned
         "the policy has lost most of what it could do",
         "go back to an earlier checkpoint and lower lr", patience=3, against="recent", kind="rate"),
    HealthRule("loss", "loss", 10.0, 3.0,
         # normalised advantages keep a policy loss near 0 and clipping keeps it there
         "the loss has left every usual range: the run diverges", "lower lr, or max_grad_norm", patience=2),
    HealthRule("language/mixed", "share of chains in more than one language", 0.5, 0.3,
         # the paper's R1-Zero mixed languages too: a matter of reading, not of learning
         "most chains mix languages", "give the language reward more weight", patience=3, kind="rate"),
    HealthRule("grad_norm", "gradient norm", 10.0, 3.0,
         # clipping bounds the step, but a norm of ten times the usual is another kind of batch
         "a batch unlike the others, or the beginning of a divergence",
         "look at that step's rollouts; lower lr if it stays", against="recent"),
)  # fmt: skip
"""Thresholds, each with its reason."""


def upper_bound(key: str) -> float | None:
    """Above what a figure is unhealthy, by a bound of its own; None where nothing is too much."""
    own = [rule for rule in RULES if rule.key == key and not rule.against and rule.enter > rule.leave]
    return own[0].enter if own else None


def warnings(rows: Sequence[Mapping[str, Any]], rules: Sequence[HealthRule] = RULES) -> list[HealthWarning]:
    """The start of every unhealthy episode in the metrics, in order of steps. Rows without a figure, or
    with one that is no number, leave its episode as it is."""
    found = [warning for rule in rules for warning in _episodes(rule, rows)]
    return sorted(found, key=lambda w: w.step)


def latest(rows: Sequence[Mapping[str, Any]], rules: Sequence[HealthRule] = RULES) -> list[HealthWarning]:
    """The warnings that the last row brought."""
    return [w for w in warnings(rows, rules) if rows and w.step == rows[-1].get("step")]


def _episodes(rule: HealthRule, rows: Sequence[Mapping[str, Any]]) -> list[HealthWarning]:
    found, seen = [], []
    inside, run = False, 0
    for row in rows:
        value = number(row.get(rule.key))
        if value is None:
            continue
        scale = _scale(rule, seen)
        seen.append(value)
        if scale is None:
            continue
        if inside:
            inside = rule.beyond(value, rule.leave * scale)
            continue
        run = run + 1 if rule.beyond(value, rule.enter * scale) else 0
        if run >= rule.patience:
            inside, run = True, 0
            found.append(
                HealthWarning(int(row.get("step", len(seen))), rule.key, value, _words(rule, value, scale))
            )
    return found


def _scale(rule: HealthRule, seen: Sequence[float]) -> float | None:
    """What the bounds are multiples of; None while there is too little to compare with."""
    if not rule.against:
        return 1.0
    if len(seen) < START:
        return None
    median = statistics.median(seen[:START] if rule.against == "start" else seen[-RECENT:])
    return median if median > 0 else None


def _words(rule: HealthRule, value: float, scale: float) -> str:
    side = "above" if rule.enter > rule.leave else "below"
    usual = {"": "", "start": " times its start", "recent": " times its recent median"}[rule.against]
    shown = f"{value:.3g}" + (f", {value / scale:.1f} times the usual" if rule.against else "")
    return (
        f"{rule.label} is {shown} ({side} {rule.enter:g}{usual}): {rule.reason}. {rule.advice.capitalize()}."
    )
