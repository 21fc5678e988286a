"""Figures that leave their healthy range, in words: ``RULES`` is the one table, for the live warnings made
here, for what a report says of whole curves, and for the diagnosis. A pure function of the metrics so far.

A warning opens an episode, which ends when the figure is back behind a second, stricter bound: a figure that
trembles at a threshold is reported once and not at every step.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from aha.runs.charts import FigureKind, number

Against = Literal["", "start", "recent"]
START, RECENT = 5, 20  # steps whose median a figure is compared with


@dataclass(frozen=True, slots=True)
class HealthRule:
    """When a figure is unhealthy: beyond ``enter`` for ``patience`` steps in a row, until it is back within
    ``leave``. Bounds are upper ones if ``enter`` > ``leave``, else lower ones; with ``against`` they are
    multiples of the median of the first or of the preceding steps. With ``over`` the figure is its own median over so
    many steps, for what is weak in each of them."""

    key: str
    label: str
    enter: float
    leave: float
    reason: str
    advice: str
    patience: int = 1
    against: Against = ""
    kind: FigureKind = "number"  # how its values are written
    over: int = 1
    cause: str = ""  # what the diagnosis calls it; "": a sign that names no cause alone

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


@dataclass(frozen=True, slots=True)
class HealthEpisode:
    """From the step in which a figure was found unhealthy to the last one before it was well again: ``steps`` with its
    figure, the value it was ``noticed`` by, the ``worst`` one, and whether it was ``open`` in the last row."""

    rule: HealthRule
    first: int
    last: int
    steps: int
    noticed: float
    worst: float
    scale: float
    open: bool

    def words(self) -> str:
        """What a warning says of it."""
        return _words(self.rule, self.noticed, self.scale)


RULES: tuple[HealthRule, ...] = (
    HealthRule("sampler_mismatch/mean", "|policy - sampler| logprobs, mean", 0.1, 0.07,
         # 24 to 30 layers of bf16 differ by 0.03 from themselves; three times that is another distribution
         "the sampler draws from another distribution than the one that is trained",
         "run aha doctor; correct with algorithm.importance_sampling=truncated", patience=2, cause="mismatch"),
    HealthRule("sampler_mismatch/mean", "|policy - sampler| logprobs, mean", 4.0, 2.0,
         # rounding stays as it was at the start; what grows comes from weights or prompts that drift apart
         "sampler and policy drift apart",
         "run aha doctor on the last checkpoint; correct with algorithm.importance_sampling=truncated", patience=3,
         against="start", cause="mismatch"),
    HealthRule("clip_ratio/region_mean", "share of clipped tokens", 0.3, 0.2,
         # published runs clip some per cent of the tokens; the clip is there for exceptions
         "the policy moves too far between sampling and its last update",
         "lower lr or mini_batches", patience=2, kind="rate", cause="lr_high"),
    HealthRule("entropy", "entropy of the policy", 0.02, 0.05,
         # at 0.02 nats samples of one question are copies, and a group of equal rewards teaches nothing
         "the policy hardly explores any more",
         "raise clip_high or entropy_coef, or lower lr", patience=3, cause="entropy_collapse"),
    HealthRule("entropy", "entropy of the policy", 0.1, 0.15,
         # sharpening to a fifth is what training does; at a tenth nearly every token is decided before it is sampled
         "the policy hardly explores any more", "raise clip_high or entropy_coef, or lower lr", over=5,
         against="start", cause="entropy_collapse"),
    HealthRule("entropy", "entropy of the policy", 3.0, 2.0,
         # reinforcement learning sharpens; growth to a multiple is the beginning of babble
         "the policy dissolves into noise", "lower lr, or entropy_coef if it is set", patience=3, against="start",
         cause="lr_high"),
    HealthRule("kl", "KL from the reference", 1.0, 0.5,
         # one nat a token: the reference would hardly ever write what the policy writes
         "the policy is far from its reference, and the penalty may rule the gradient",
         "lower lr, refresh the reference more often, or drop the KL term", patience=2, cause="kl_growing"),
    HealthRule("ungradable", "share of completions that could not be graded", 0.05, 0.02,
         # they are left out of the baselines, so many of them bias the step towards what grades easily
         "the verifier times out or cannot read the answers", "look at the notes in rollouts/", patience=2,
         kind="rate", cause="ungradable"),
    HealthRule("completions/clipped_ratio", "share of completions cut by max_tokens", 0.5, 0.3,
         # a cut chain has no answer, so above one half the reward is mostly about length
         "most completions have no room to finish", "raise max_tokens", patience=3, kind="rate", cause="truncated"),
    HealthRule("frac_reward_zero_std", "share of groups with equal rewards", 0.9, 0.75,
         # such groups have advantage 0: the step rests on a tenth of what was sampled
         "nearly no group teaches anything: the questions are too hard or too easy",
         "take other questions, larger groups, or an algorithm that samples on (dapo)", patience=3, kind="rate",
         cause="no_signal"),
    HealthRule("chains/empty", "share of chains that think nothing", 0.1, 0.05,
         # the template's own placeholder is the shortest text with the right tags: a policy finds it in two updates
         "the policy writes the prompt's own words or an empty phrase for a chain of thought",
         "look at that step's rollouts; give format less weight than accuracy", kind="rate", cause="empty_chains"),
    HealthRule("chains/answer_only", "share of chains that hold the answer and nothing else", 0.75, 0.6,
         # a fifth to a half of a small base's chains guess; where most do, thinking has become a ceremony
         "the policy writes its answer where it should think",
         "look at that step's rollouts; take harder questions, or give format less weight than accuracy",
         over=5, kind="rate", cause="empty_chains"),
    HealthRule("chains/repeated", "share of completions with one and the same chain for different questions", 0.3, 0.15,
         # what does not depend on the question cannot be a thought about it
         "the policy answers different questions with one chain",
         "look at that step's rollouts; lower lr, or give format less weight than accuracy", kind="rate",
         cause="repeated_chains"),
    HealthRule("rewards/accuracy/mean", "share of right answers", 1e-9, 0.01,
         # equal rewards have advantage 0, whatever the algorithm
         "no answer was right for several steps, so nothing is learned but what other rewards ask for",
         "look at that step's rollouts; take easier questions, or go back to an earlier checkpoint", patience=3,
         kind="rate", cause="all_wrong"),
    HealthRule("rewards/accuracy/mean", "share of right answers", 0.98, 0.95,
         "nearly everything is right already: there is little left to learn from these questions",
         "end the run, or take harder questions", patience=3, kind="rate", cause="all_right"),
    HealthRule("rewards/accuracy/mean", "share of right answers", 0.4, 0.7,
         # a policy that comes apart loses first what it had learned
         "the policy has lost most of what it could do",
         "go back to an earlier checkpoint and lower lr", patience=3, against="recent", kind="rate", cause="lr_high"),
    HealthRule("rewards/format/mean", "share of completions that keep the format", 0.02, 0.1,
         # one in fifty is chance: groups without one that keeps it cannot teach it
         "the format is rewarded and never kept, so that it cannot be learned",
         "begin with supervised fine-tuning on a few answers in the format, or ask with another prompt", patience=5,
         kind="rate", cause="format_never"),
    HealthRule("rewards/format/mean", "share of completions that keep the format", 0.3, 0.6,
         # what a policy could do before the first update is lost to no lesson but to steps that were too large
         "the policy has lost the form that it began with",
         "go back to an earlier checkpoint and lower lr", patience=3, against="start", kind="rate", cause="lr_high"),
    HealthRule("rewards/accuracy/mean", "share of right answers", 0.2, 0.5,
         "the policy has lost what it could do at its beginning",
         "go back to an earlier checkpoint and lower lr", patience=4, against="start", kind="rate", cause="lr_high"),
    HealthRule("answers/missing", "share of completions that end without an answer where the prompt asked for it",
         0.9, 0.75,
         # what is not found is wrong, whatever the chain came to
         "the verifier finds nothing to grade", "look at that step's rollouts; take another prompt, or a format reward",
         patience=3, kind="rate", cause="no_answer"),
    HealthRule("paid/length", "share of the rewards' variance that goes to longer texts among those equally right",
         0.2, 0.1,
         # accuracy and format leave 0.00 to 0.03 of it; a reward that is a length leaves nearly all
         "the reward pays for length as such, and a policy learns what is paid",
         "look at what else than accuracy is rewarded; divide its weight, or bound it by length", patience=2,
         kind="rate", cause="length_gaming"),
    HealthRule("paid/length", "share of the rewards' variance that goes to longer texts among those equally right",
         0.06, 0.03,
         # the same for a noisy judge: little in each step, and in none of six of a healthy run
         "the reward leans towards longer texts in every step, and a policy learns what is paid",
         "look at what else than accuracy is rewarded; divide its weight, or bound it by length", over=6,
         kind="rate", cause="length_gaming"),
    HealthRule("paid/length_unjudged",
         "share of the rewards' variance that goes to longer texts where no rule says which is better", 0.2, 0.1,
         # a correlation of 0.45 with length: longer may be better there, but a policy only sees what is paid
         "longer answers are paid more, and nothing tells whether they are better",
         "read some of that step's rollouts; balance lengths in the pairs, or lower preference_weight", patience=2,
         kind="rate", cause="length_gaming"),
    HealthRule("paid/repetition", "share of the rewards' variance that goes to repetition among texts equally right",
         0.2, 0.1,
         "the reward pays for saying the same again",
         "look at what else than accuracy is rewarded; add the reward repetition", patience=2,
         kind="rate", cause="repetition_gaming"),
    HealthRule("completions/repetition", "share of repeated runs of words", 0.3, 0.2,
         # curation drops chains above the same bound: they loop
         "the policy repeats itself", "look at that step's rollouts; add the reward repetition, or lower lr",
         patience=3, kind="rate", cause="repetition_gaming"),
    HealthRule("loss", "loss", 10.0, 3.0,
         # normalised advantages keep a policy loss near 0 and clipping keeps it there
         "the loss has left every usual range: the run diverges", "lower lr, or max_grad_norm", patience=2,
         cause="lr_high"),
    HealthRule("language/mixed", "share of chains in more than one language", 0.5, 0.3,
         # the paper's R1-Zero mixed languages too: a matter of reading, not of learning
         "most chains mix languages", "give the language reward more weight", patience=3, kind="rate",
         cause="language_drift"),
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


def episodes(rows: Sequence[Mapping[str, Any]], rules: Sequence[HealthRule] = RULES) -> list[HealthEpisode]:
    """Every unhealthy episode in the metrics, in order of steps. Rows without a figure, or with one that is no
    number, leave its episode as it is."""
    listed = [episode for rule in rules for episode in _episodes(rule, rows)]
    return sorted(listed, key=lambda e: e.first)


def warnings(rows: Sequence[Mapping[str, Any]], rules: Sequence[HealthRule] = RULES) -> list[HealthWarning]:
    """The start of every unhealthy episode, as it is said when it begins."""
    return [HealthWarning(e.first, e.rule.key, e.noticed, e.words()) for e in episodes(rows, rules)]


def latest(rows: Sequence[Mapping[str, Any]], rules: Sequence[HealthRule] = RULES) -> list[HealthWarning]:
    """The warnings that the last row brought."""
    return [w for w in warnings(rows, rules) if rows and w.step == rows[-1].get("step")]


def _episodes(rule: HealthRule, rows: Sequence[Mapping[str, Any]]) -> list[HealthEpisode]:
    listed: list[HealthEpisode] = []
    seen: list[float] = []
    inside, run = False, 0
    for row in rows:
        value = number(row.get(rule.key))
        if value is None:
            continue
        scale = _scale(rule, seen)
        seen.append(value)
        if scale is None or len(seen) < rule.over:
            continue
        value = statistics.median(seen[-rule.over :])
        at = int(row.get("step", len(seen)))
        if inside:
            inside = rule.beyond(value, rule.leave * scale)
            listed[-1] = _longer(listed[-1], at, value) if inside else replace(listed[-1], open=False)
            continue
        run = run + 1 if rule.beyond(value, rule.enter * scale) else 0
        if run >= rule.patience:
            listed.append(HealthEpisode(rule, at, at, run, value, value, scale, True))
            inside, run = True, 0
    return listed


def _longer(episode: HealthEpisode, at: int, value: float) -> HealthEpisode:
    worse = episode.rule.beyond(value, episode.worst)
    return replace(episode, last=at, steps=episode.steps + 1, worst=value if worse else episode.worst)


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
    value_of = f"{value:.3g} in the median of {rule.over} steps" if rule.over > 1 else f"{value:.3g}"
    shown = value_of + (f", {value / scale:.1f} times the usual" if rule.against else "")
    return (
        f"{rule.label} is {shown} ({side} {rule.enter:g}{usual}): {rule.reason}. {rule.advice.capitalize()}."
    )
