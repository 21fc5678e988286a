"""The paper's claims (DeepSeek-R1, arXiv 2501.12948), each with the figures it is judged by and their bounds.

The bounds were fixed before any run of the whole recipe was read, and are not to be tuned to one.
"""

from __future__ import annotations

from aha.runs.claims.data import PROXY, TRUE
from aha.runs.claims.measures import (
    ACCURACY,
    LENGTH,
    WORDS,
    at_equal_steps,
    change,
    evaluated,
    every,
    final,
    first,
    gap,
    general,
    last,
    lift,
    minus,
    of_base,
    over,
    peak,
    reasoning,
    rule_gap,
    said,
    seconds,
    since_best,
    state,
)
from aha.runs.claims.rules import Claim, Criterion

MANYFOLD = 2.0
"""A lift is manyfold from here on (the paper: 15.6 % to 77.9 %)."""
FEW_POINTS = 0.03
"""What an accuracy may lose and still be called kept."""
APART = 0.05
"""How far a reward and the truth may part before the one no longer stands for the other; larger, for they are
measured on different problems or are the best of several evaluations."""


shown = Criterion
"""A figure beside the criteria, that nothing is judged by: it has no bound."""


def _pass(name: str) -> Criterion:
    return shown(f"pass@1 of {name}", "rate", reasoning(name, "pass@1"))


CLAIMS: tuple[Claim, ...] = (
    Claim(
        "a",
        "Reinforcement learning alone lifts pass@1 manyfold, and majority voting lifts it further",
        (
            shown("pass@1 of the base", "rate", of_base("pass@1")),
            _pass("zero"),
            shown("right in any format, base", "rate", of_base("lenient")),
            shown("right in any format, zero", "rate", reasoning("zero", "lenient")),
            Criterion("pass@1 of zero / base", "ratio", lift, MANYFOLD),
            Criterion(
                "cons@k - pass@1 of zero", "points",
                minus(reasoning("zero", "maj"), reasoning("zero", "pass@1")), 0.0,
            ),
        ),
    ),
    Claim(
        "b",
        "Responses grow longer by themselves",
        (
            shown("tokens, first step", "number", first("zero", LENGTH)),
            shown("tokens, last steps", "number", last("zero", LENGTH)),
            Criterion("last steps / first step", "ratio", over(last("zero", LENGTH), first("zero", LENGTH)), 1.0),
            Criterion(
                "test problems, after / before", "ratio",
                over(evaluated("zero", "after", "mean_length"), evaluated("zero", "before", "mean_length")), 1.0,
            ),
        ),
    ),
    Claim(
        "c",
        "Reflective words grow by themselves",
        (
            shown("a response, first step", "number", first("zero", WORDS)),
            shown("a response, highest step", "number", peak("zero", WORDS)),
            shown("a response, last steps", "number", last("zero", WORDS)),
            Criterion("last steps - first step", "number", minus(last("zero", WORDS), first("zero", WORDS)), 0.0),
            Criterion("test problems, after - before", "number", change("zero", "reflections"), 0.0),
        ),
    ),
    Claim(
        "d",
        "Zero mixes languages; the language reward cures it at a small cost in accuracy",
        (
            shown("language of zero", "rate", reasoning("zero", "language")),
            Criterion(
                "language, dev2 - zero", "points",
                minus(reasoning("dev2", "language"), reasoning("zero", "language")), 0.0,
            ),
            Criterion(
                "language, r1 - zero", "points",
                minus(reasoning("r1", "language"), reasoning("zero", "language")), 0.0,
            ),
            Criterion(
                "language, dev2 - dev2 without the reward", "points",
                minus(reasoning("dev2", "language"), reasoning("dev2_no_language", "language")), 0.0,
            ),
            Criterion(
                "pass@1 that the reward costs", "points",
                minus(reasoning("dev2_no_language", "pass@1"), reasoning("dev2", "pass@1")), FEW_POINTS, "below",
            ),
        ),
    ),
    Claim(
        "e",
        "The cold start gives readability",
        (
            shown("readable, zero", "rate", reasoning("zero", "readable")),
            shown("readable, dev1", "rate", reasoning("dev1", "readable")),
            Criterion(
                "readable, dev1 - zero", "points",
                minus(reasoning("dev1", "readable"), reasoning("zero", "readable")), 0.0,
            ),
        ),
    ),
    Claim(
        "f",
        "The final model beats Zero on general questions and format without losing reasoning",
        (
            Criterion(
                "general helpfulness, r1 - zero", "number",
                minus(general("r1", "general"), general("zero", "general")), 0.0,
            ),
            Criterion(
                "format on all tasks, r1 - zero", "points",
                minus(every("r1", "format"), every("zero", "format")), 0.0,
            ),
            _pass("r1"),
            Criterion(
                "pass@1 lost on reasoning, zero - r1", "points",
                minus(reasoning("zero", "pass@1"), reasoning("r1", "pass@1")), FEW_POINTS, "below",
            ),
        ),
    ),
    Claim(
        "g1",
        "Preference optimisation for too long parts the reward model from the truth",
        (
            Criterion("reward model's score, after - before", "number", change("hacked", PROXY), 0.0),
            shown("true rubric, after - before", "number", change("hacked", TRUE)),
            Criterion("growth of the gap between them", "number", gap("hacked"), 0.0),
            shown("the same gap in r1 (few steps of it)", "number", gap("r1")),
        ),
    ),
    Claim(
        "g2",
        "... until the truth falls while the reward model's score still rises (the paper's figure 6)",
        (
            Criterion(
                "true rubric since its best evaluation", "number", since_best("hacked", TRUE), -APART, "below"
            ),
            Criterion("reward model's score since then", "number", since_best("hacked", PROXY), 0.0),
        ),
    ),
    Claim(
        "h",
        "Distillation beats reinforcement learning on a small student",
        (
            _pass("distilled"),
            _pass("student_rl"),
            Criterion(
                "pass@1, distilled - student_rl", "points",
                minus(reasoning("distilled", "pass@1"), reasoning("student_rl", "pass@1")), 0.0,
            ),
            shown("time of distillation", "seconds", seconds("distilled")),
            shown("time of sampling its data from the teacher", "seconds", seconds("reject")),
            shown("time of reinforcement learning", "seconds", seconds("student_rl")),
            shown("tokens trained on, distillation", "tokens", said("distilled", "tokens")),
            shown("tokens sampled and trained on, RL", "tokens", final("student_rl", "num_tokens")),
        ),
    ),
    Claim(
        "i",
        "GRPO matches PPO with lambda 1, PPO at lambda 0.95 is worse, and GRPO saves the critic's memory",
        (
            shown("training accuracy at equal steps, GRPO", "rate", at_equal_steps("zero", "ppo")),
            shown("training accuracy at equal steps, PPO", "rate", at_equal_steps("ppo", "zero")),
            Criterion(
                "what GRPO lacks to PPO at equal steps", "points",
                minus(at_equal_steps("ppo", "zero"), at_equal_steps("zero", "ppo")), FEW_POINTS, "below",
            ),
            _pass("ppo"),
            _pass("ppo_095"),
            Criterion(
                "pass@1, lambda 1 - lambda 0.95", "points",
                minus(reasoning("ppo", "pass@1"), reasoning("ppo_095", "pass@1")), 0.0,
            ),
            shown("training state, GRPO", "bytes", state("zero")),
            shown("training state, PPO", "bytes", state("ppo")),
            Criterion("training state, PPO / GRPO", "ratio", over(state("ppo"), state("zero")), 1.0, exact=True),
        ),
    ),
    Claim(
        "j",
        "Rule rewards are not hacked where the reward model is",
        (
            Criterion(
                "accuracy reward, last steps - first", "points",
                minus(last("zero", ACCURACY), first("zero", ACCURACY)), 0.0,
            ),
            Criterion("true pass@1, after - before", "points", change("zero", "pass@1"), 0.0),
            Criterion("growth of the gap, rule reward", "points", rule_gap("zero"), APART, "below"),
            Criterion(
                "growth of the gap, reward model - rule", "number", minus(gap("hacked"), rule_gap("zero")), 0.0
            ),
        ),
    ),
)  # fmt: skip
