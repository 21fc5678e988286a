"""Which curves of a stage its report draws, and in which words."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

from aha.runs.charts import Chart, FigureKind, Series, at_k, interval, number
from aha.runs.health import upper_bound
from aha.runs.report.data import Json, StageData, as_dict


def _split(row: Json) -> str:
    return str(row.get("split", ""))


def _main_split(stage: StageData) -> str:
    """The split that was measured most often."""
    splits = [_split(row) for row in stage.evals]
    return max(dict.fromkeys(splits), key=splits.count, default="")


def _eval_series(stage: StageData, keys: Sequence[tuple[str, int]], names: Mapping[str, str]) -> list[Series]:
    """Evaluation curves of the split that was measured most. Another one (the test split, before and after)
    gives single marks of the first key: figures on different problems do not make one curve."""
    main = _main_split(stage)
    curves = []
    for (key, color), split in itertools.product(keys, dict.fromkeys(map(_split, stage.evals))):
        if split != main and key != keys[0][0]:
            continue
        rows = [r for r in stage.evals if _split(r) == split and number(r.get(key)) is not None]
        points = [(r["step"], number(r[key]) or 0.0) for r in rows]
        band = [(r["step"], *bounds) for r in rows if (bounds := interval(r, key))]
        name = f"{names.get(key, key)}, {split or 'evaluation'}"
        curves.append(Series(name, points, color, marks=True, line=split == main, band=band))
    return [series for series in curves if series.points]


def large_charts(stage: StageData) -> list[Chart]:
    """What the paper's figures show: accuracy, length and reflection over steps."""
    merged: Json = {}
    for row in stage.evals:
        merged |= row if _split(row) == _main_split(stage) else {}
    votes = [(key, 2) for key in at_k(merged, "maj@")[-1:]] + [(key, 3) for key in at_k(merged, "pass@")[-1:]]
    accuracy = [Series("training problems", stage.curve("rewards/accuracy/mean"), 0)]
    length = [Series("training problems", stage.curve("completions/mean_length"), 0)]
    cap = stage.curve("max_tokens")
    longest = max((y for _, y in length[0].points), default=0.0)
    if cap and cap[-1][1] <= 2 * longest:
        length.append(Series("length limit", cap, 5, dashed=True))
    words = [Series("training problems", stage.curve("reflections/mean"), 0)]
    return [
        Chart(
            "Accuracy",
            "Share of right answers on held-out problems (with interval) and in training.",
            accuracy
            + _eval_series(
                stage, [("pass@1", 1), *votes, ("lenient", 4)], {"lenient": "right anywhere in the text"}
            ),
            "rate",
            top=1.0,
        ),
        Chart(
            "Response length",
            "Mean tokens per response. No reward asks for length, unless the settings name one.",
            length + _eval_series(stage, [("mean_length", 1)], {"mean_length": "mean length"}),
        ),
        Chart(
            "Reflective words",
            "Mean count per response of words such as wait, but, check.",
            words + _eval_series(stage, [("reflections", 1)], {"reflections": "all words"}),
        ),
        Chart(
            "Reflective words by word",
            "The five most frequent, per response; all evaluations.",
            _word_series(stage),
        ),
    ]


def _word_series(stage: StageData) -> list[Series]:
    peaks: dict[str, float] = {}
    for row in stage.evals:
        for word, value in as_dict(row.get("reflection_words")).items():
            peaks[word] = max(peaks.get(word, 0.0), number(value) or 0.0)
    best = sorted((w for w in peaks if peaks[w] > 0), key=lambda w: -peaks[w])[:5]
    counted = [row for row in stage.evals if isinstance(row.get("reflection_words"), Mapping)]
    return [
        Series(
            word,
            [(r["step"], number(r["reflection_words"].get(word)) or 0.0) for r in counted],
            color,
            marks=True,
        )
        for color, word in enumerate(best, 1)
    ]


_SMALL: tuple[tuple[str, str, tuple[tuple[str, str], ...], FigureKind], ...] = (
    ("Reward", "Mean over all responses, and the spread within a step.",
     (("reward", "mean"), ("reward_std", "standard deviation")), "number"),
    ("Preferred", "Share of pairs whose chosen completion has the higher implicit reward.",
     (("rewards/accuracies", "training"), ("validation_rewards/accuracies", "held out")), "rate"),
    ("Implicit rewards", "Beta times the log ratio to the reference, or the mean log probability.",
     (("rewards/chosen", "chosen"), ("rewards/rejected", "rejected"), ("rewards/margins", "margin")), "number"),
    ("Log probabilities", "Of whole completions: where both fall, others rise.",
     (("logps/chosen", "chosen"), ("logps/rejected", "rejected")), "number"),
    ("Format", "Share of responses that keep the tags.", (("rewards/format/mean", "format"),), "rate"),
    ("Empty chains", "Share of chains of thought that hold no thought.", (("chains/empty", "empty"),), "rate"),
    ("Repeated chains", "Share of responses with one chain for different questions.",
     (("chains/repeated", "the same"),), "rate"),
    ("Chains that are the answer", "Share of chains of thought that hold the answer and nothing else.",
     (("chains/answer_only", "answer only"),), "rate"),
    ("Entropy", "Of the next token, nats: how much is still open.", (("entropy", "entropy"),), "number"),
    ("KL to the reference", "How far the policy has moved, nats per token.", (("kl", "KL"),), "number"),
    ("Clipped tokens", "Share whose update the ratio clip stopped.",
     (("clip_ratio/region_mean", "clipped"),), "rate"),
    ("Truncation", "Share of responses cut at the length limit.",
     (("completions/clipped_ratio", "cut"),), "rate"),
    ("Groups without signal", "All members got the same reward: nothing to learn.",
     (("frac_reward_zero_std", "share of groups"),), "rate"),
    ("Sampler mismatch", "Log-probability of the same token: sampler against trainer.",
     (("sampler_mismatch/mean", "mean"),), "number"),
    ("Largest mismatch", "The worst token of each step.", (("sampler_mismatch/max", "max"),), "number"),
    ("Mixed languages", "Share of responses in more than one.", (("language/mixed", "mixed"),), "rate"),
    ("Missing answers", "Share of finished responses without an answer where it was asked for.",
     (("answers/missing", "missing"),), "rate"),
    ("Repetition", "Share of runs of eight words that stood before in the response.",
     (("completions/repetition", "repeated"),), "rate"),
    ("Paid for length", "Share of the rewards' variance among equally right answers.",
     (("paid/length", "length"), ("paid/length_unjudged", "length, where no rule says what is better")), "rate"),
    ("Paid for repetition", "Share of the rewards' variance among equally right answers.",
     (("paid/repetition", "repetition"),), "rate"),
    ("Longest response", "Tokens.", (("completions/max_length", "longest"), ("max_tokens", "limit")),
     "number"),
    ("Speed", "Tokens per second.", (("tokens_per_second", "tokens/s"),), "tokens"),
    ("Time per step", "Seconds.", (("step_time", "step"), ("time/sampling", "sampling"),
                                   ("time/training", "training")), "number"),
    ("Gradient norm", "Before clipping.", (("grad_norm", "norm"),), "number"),
    ("Loss", "What the optimizer minimises.", (("loss", "loss"),), "number"),
    ("Learning rate", "", (("lr", "lr"),), "number"),
    ("Not gradable", "Share of responses left out.", (("ungradable", "not gradable"),), "rate"),
)  # fmt: skip


_SILENT_AT_ZERO = (
    "ungradable",
    "kl",
    "chains/empty",
    "chains/repeated",
    "chains/answer_only",
    "answers/missing",
    "completions/repetition",
    "paid/length",
    "paid/repetition",
)  # nothing to see while they are zero throughout


def small_charts(stage: StageData) -> list[Chart]:
    """How the training went: every known metric that the stage wrote."""
    charts = []
    for title, note, keys, kind in _SMALL:
        series = [Series(name, stage.curve(key), color) for color, (key, name) in enumerate(keys, 1)]
        if keys[0][0] in _SILENT_AT_ZERO and not any(y for s in series for _, y in s.points):
            continue
        top = 1.0 if title == "Format" else None
        charts.append(Chart(title, note, series, kind, top=top, limit=upper_bound(keys[0][0])))
    return charts
