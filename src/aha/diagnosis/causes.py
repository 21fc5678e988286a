"""What can be wrong with a run, by name: what it means, what to change, and what would explain it away.

Thresholds do not stand here: those of figures are ``runs.health.RULES``, which name their cause.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cause:
    """A cause in words. ``settings`` are those to change, ``stage.`` left away. It is no finding of its own where one
    of ``explained_by`` was found too: they hide it."""

    title: str
    advice: str
    settings: tuple[str, ...] = ()
    explained_by: tuple[str, ...] = ()


_NO_REWARD = ("grader_errors", "ungradable_golds", "truncated", "no_answer", "lr_high")

CAUSES: dict[str, Cause] = {
    "died": Cause(
        "A stage did not come to its end",
        "Mend what its last words name; the same command goes on from the last checkpoint.",
        (),
    ),
    "wrong_prompt": Cause(
        "The model is asked otherwise than it was trained",
        "Leave prompt at auto, which takes what the checkpoint was trained with.",
        ("prompt", "model"),
    ),
    "held_out_trained": Cause(
        "Held-out problems are among those that are trained on",
        "Take them out of the training rows (`aha data decontaminate`), or hold other problems out: their figures show "
        "what is known by heart.",
        ("data", "test_data", "task"),
    ),
    "grader_errors": Cause(
        "A grader fails on answers",
        "Correct the line that the note names: what it cannot grade should be 0 or None, not an error. "
        "`aha rescore RUN --rewards` tries it on what is stored.",
        ("rewards",),
    ),
    "ungradable_golds": Cause(
        "Some reference answers cannot be graded",
        "Correct or drop those rows: whatever is answered to them has no reward.",
        ("data", "task"),
    ),
    "ungradable": Cause(
        "Many answers cannot be graded",
        "Read the notes: a verifier that times out needs shorter programs or more time, one that cannot parse needs "
        "another prompt.",
        ("rewards", "max_tokens"),
        ("grader_errors", "ungradable_golds"),
    ),
    "leaking_prompts": Cause(
        "The answer stands in the prompt",
        "Take it out of the rows: copying is learned instead of thinking, and held-out rows that leak hide it.",
        ("data", "task"),
    ),
    "duplicate_prompts": Cause(
        "The same question stands in many rows",
        "Run `aha data dedup` on the rows: copies are trained on more often than they should, and held-out ones may be "
        "among them.",
        ("data", "task"),
    ),
    "never_ends": Cause(
        "Completions have answered, and do not end",
        "The model has not learned to end its turn: ask with the prompt it was trained with (prompt=auto), or begin "
        "with supervised fine-tuning on a few answers, which teaches the end too. More room would only be filled.",
        ("prompt", "model"),
        ("wrong_prompt", "lr_high"),
    ),
    "truncated": Cause(
        "Completions are cut before they end",
        "Raise max_tokens, or reward shorter ones (soft_overlong).",
        ("max_tokens", "rewards"),
        ("lr_high", "never_ends", "wrong_prompt"),
    ),
    "no_answer": Cause(
        "There is no answer where the verifier looks",
        "Ask with a prompt that this model answers in (prompt=auto, r1_zero, boxed), add a format reward, or begin "
        "with supervised fine-tuning on a few answers.",
        ("prompt", "rewards"),
        ("lr_high", "wrong_prompt"),
    ),
    "format_never": Cause(
        "The format is rewarded and never kept",
        "Begin with supervised fine-tuning on a few answers in the format, or ask with another prompt.",
        ("prompt", "model", "rewards"),
        ("truncated", "lr_high", "wrong_prompt", "never_ends"),
    ),
    "reward_hacking": Cause(
        "The reward rises while truth falls",
        "Go back to the checkpoint that was best on held-out problems, and lower the weight of the reward that rose "
        "without it.",
        ("rewards", "steps"),
    ),
    "length_gaming": Cause(
        "Length is paid for as such",
        "Look at what is rewarded beside accuracy: lower its weight, or bound it by length.",
        ("rewards",),
    ),
    "repetition_gaming": Cause(
        "Texts repeat themselves",
        "Look at what is rewarded beside accuracy; add the reward repetition, or lower lr.",
        ("rewards", "lr"),
        ("never_ends",),
    ),
    "empty_chains": Cause(
        "Chains of thought hold no thought",
        "Give format less weight than accuracy, or take the package's format reward, which pays nothing for them.",
        ("rewards", "lr"),
    ),
    "repeated_chains": Cause(
        "Different questions get one and the same chain",
        "Lower lr, or give format less weight than accuracy.",
        ("lr", "rewards"),
        ("lr_high", "empty_chains", "repetition_gaming", "duplicate_prompts", "truncated"),
    ),
    "language_drift": Cause(
        "Chains drift into other languages",
        "Add the reward language, or give it more weight.",
        ("rewards",),
    ),
    "lr_high": Cause(
        "The learning rate is too high: the model came apart",
        "Lower lr (to a third, then see), or max_grad_norm and mini_batches; go back to an earlier checkpoint.",
        ("lr", "mini_batches", "max_grad_norm", "algorithm.kl_coef"),
        ("mismatch",),
    ),
    "lr_low": Cause(
        "Nothing has moved: the learning rate is too low",
        "Raise lr by ten; with adapters (lora_rank) it is usually ten times that of whole weights.",
        ("lr", "warmup_steps"),
        (
            "no_signal", "all_wrong", "all_right", "no_answer", "truncated", "mismatch", "grader_errors",
            "no_diversity", "nothing_to_learn",
        ),
    ),
    "no_diversity": Cause(
        "Samples of one question are copies from the first step on",
        "Raise temperature (1 is usual for training): groups of equal answers teach nothing.",
        ("temperature", "model"),
    ),
    "entropy_collapse": Cause(
        "Entropy collapsed: samples of one question are copies",
        "Raise algorithm.clip_high or algorithm.entropy_coef, lower lr, or stop earlier.",
        ("algorithm.clip_high", "algorithm.entropy_coef", "lr"),
        ("lr_high", "no_diversity"),
    ),
    "kl_growing": Cause(
        "The policy runs away from its reference",
        "Raise algorithm.kl_coef, lower lr, or refresh the reference more often (algorithm.reference_every).",
        ("algorithm.kl_coef", "lr", "algorithm.reference_every"),
        ("lr_high",),
    ),
    "mismatch": Cause(
        "The sampler draws from another distribution than the one that is trained",
        "Run aha doctor on the last checkpoint; set algorithm.importance_sampling=truncated; lower max_staleness.",
        ("algorithm.importance_sampling", "max_staleness", "engine"),
    ),
    "all_wrong": Cause(
        "No answer is right",
        "Take easier questions, larger groups, or a model that solves some of them.",
        ("task", "group_size", "model"),
        _NO_REWARD,
    ),
    "all_right": Cause(
        "Nearly every answer is right already",
        "Take harder questions, or end the run.",
        ("task", "data", "algorithm.curriculum"),
    ),
    "no_signal": Cause(
        "Groups have no signal: all rewards of a question are equal",
        "Take questions between too easy and too hard (`aha data` filters by pass rate), larger groups, or an "
        "algorithm that samples on (algorithm.preset=dapo).",
        ("group_size", "algorithm.preset", "task", "algorithm.curriculum"),
        ("all_right", "all_wrong", "entropy_collapse", "no_diversity", *_NO_REWARD),
    ),
    "empty_answers": Cause(
        "Rows have empty answers",
        "Drop those rows, or name the column in which the answers stand.",
        ("data",),
    ),
    "cut_answers": Cause(
        "Answers were cut in their thinking",
        "Drop those rows, or sample them again with more tokens: the model learns never to come to an end.",
        ("data", "max_length"),
    ),
    "rows_lost": Cause(
        "Most rows were left out",
        "Look at the reasons: longer rows need max_length (and memory), empty ones another column.",
        ("max_length", "data"),
        ("empty_answers", "equal_pairs"),
    ),
    "duplicate_rows": Cause(
        "The same row stands many times",
        "Run `aha data dedup` on the rows: copies weigh more than they should, and held-out ones were trained on.",
        ("data",),
    ),
    "equal_pairs": Cause(
        "Chosen and rejected are the same",
        "Drop those pairs: they say nothing of what is better.",
        ("data",),
    ),
    "contradicting_pairs": Cause(
        "Pairs contradict each other",
        "Look at who labelled them: what one pair of a question rejects another one chooses.",
        ("data",),
    ),
    "length_preferred": Cause(
        "Pairs prefer length",
        "Take pairs of like length, or a loss that divides by it (simpo): else longer answers are what is learned.",
        ("data", "loss"),
    ),
    "nothing_to_learn": Cause(
        "There is nothing to learn in the rows",
        "Look at a row: its completion is empty but for its end, or the model knows it by heart already.",
        ("data", "turns"),
    ),
    "preferences_unlearned": Cause(
        "What is preferred is not learned",
        "Look at pairs: the sides may be swapped or chance. If they are sound, raise lr, or lower beta.",
        ("data", "lr", "beta"),
        ("contradicting_pairs", "equal_pairs", "lr_high"),
    ),
    "overfit": Cause(
        "The rows are learned by heart: the held-out loss rises",
        "Train for fewer epochs, on more rows, or with a smaller lr; the checkpoint with the least held-out loss is "
        "the better one.",
        ("epochs", "data", "lr"),
        ("lr_high", "duplicate_rows"),
    ),
}  # fmt: skip
"""By name, in the order in which they are told: what hides others comes first."""
