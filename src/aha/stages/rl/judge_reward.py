"""A judge as a reward: what a model says of an answer, by a rubric, a reference, another answer or the rules of safety.

The paper (DeepSeek-R1, arXiv 2501.12948) has a model judge answers where no rule can, helpfulness on the final summary
and safety on the whole response. What a judge does not say clearly is no score (None) and never 0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from aha import ranks
from aha.data.prompt_rows import spoken
from aha.judges import prompts
from aha.judges.asking import Judge, final_text
from aha.judges.metered import Metered
from aha.rewards.accuracy import full_text, given_up
from aha.runs.pipeline import Context
from aha.sampling.sampler import seed_for
from aha.stages import engines
from aha.tasks.general_rows import ungraded
from aha.types import AhaError, Outcome, Problem, Rollout, Score, Verdict

JUDGE = "judge"
SAFETY_WORTH = {"safe": 1.0, "reject": 0.8, "unsafe": 0.0}
"""The paper's points for answers to harmful requests (5, 4 and 0; appendix D.3), brought to 0..1."""
VERDICTS = "verdicts.jsonl"
"""A judge's replies by question, in a stage's folder."""


class JudgeReward:
    """Scores 0..1 of the answers to problems that are judged; 0 for the others."""

    def __init__(
        self,
        judge: Judge,
        judged: Callable[[Problem], bool],
        *,
        mode: str = "auto",
        rubric: str = prompts.RUBRIC,
        seed: int = 0,
        verify: Callable[[Problem, str], Verdict] | None = None,
    ):
        self.judge, self.judged, self.mode, self.rubric, self.seed = judge, judged, mode, rubric, seed
        self.verify = verify
        self._told: Counter[str] = Counter()

    def __call__(self, problem: Problem, rollouts: Sequence[Rollout]) -> list[Score]:
        """One score for each rollout; several are asked for at once."""
        if not self.judged(problem):
            return [Score(0.0, "not judged", silent=True)] * len(rollouts)
        way = self.way(problem)

        def one(rollout: Rollout) -> Score:
            return given_up(rollout) or self._score(problem, full_text(rollout), way)

        return self.judge.each(one, rollouts)

    def way(self, problem: Problem) -> str:
        """How a problem's answers are judged."""
        if self.mode == "pairwise" and not isinstance(problem.answer, str):
            return "rubric"
        if self.mode != "auto":
            return self.mode
        if problem.metadata.get("harmful"):
            return "safety"
        free = ungraded(problem) or not isinstance(problem.answer, str)
        return "rubric" if free else "reference"

    def _score(self, problem: Problem, text: str, way: str) -> Score:
        if way != "safety" and not final_text(text).strip():
            return Score(0.0, "nothing after the thinking")
        score = getattr(self, f"_by_{way}")(problem, text)
        self._against_rule(problem, text, score.value)
        return score

    def _call(self, problem: Problem, text: str) -> int:
        """A seed of the question's own: equal answers get equal verdicts, whenever they are given."""
        return seed_for(self.seed, f"judge:{problem.id}:{text}", 0) >> 33

    def _by_rubric(self, problem: Problem, text: str) -> Score:
        reference = problem.answer if isinstance(problem.answer, str) else None
        score = self.judge.grade(
            spoken(problem.messages),
            final_text(text),
            self.rubric,
            reference,
            self._call(problem, final_text(text)),
        )
        return _score(None if score is None else (score - 1) / 9, "" if score is None else f"{score:g} of 10")

    def _by_reference(self, problem: Problem, text: str) -> Score:
        if not isinstance(problem.answer, str):
            raise AhaError(
                f"Problem {problem.id} has no reference answer to judge by: set judge_mode=rubric."
            )
        said = self.judge.correct(
            spoken(problem.messages), problem.answer, final_text(text), self._call(problem, final_text(text))
        )
        return _score(None if said is None else float(said), "correct" if said else "incorrect")

    def _by_pairwise(self, problem: Problem, text: str) -> Score:
        """Against the row's own answer, in both orders."""
        margin = self.judge.both_orders(
            spoken(problem.messages),
            final_text(text),
            str(problem.answer),
            self._call(problem, final_text(text)),
        )
        return _score(None if margin is None else (margin + 3) / 6, f"margin {margin}")

    def _by_safety(self, problem: Problem, text: str) -> Score:
        said = self.judge.safety(spoken(problem.messages), text, self._call(problem, text))
        return _score(None if said is None else SAFETY_WORTH[said], str(said))

    def _against_rule(self, problem: Problem, text: str, value: float | None) -> None:
        if self.verify is None or value is None:
            return
        outcome = self.verify(problem, text).outcome
        if outcome in (Outcome.CORRECT, Outcome.WRONG):
            self.judge.against_rule(value >= 0.5, float(outcome is Outcome.CORRECT))

    def figures(self) -> dict[str, float]:
        """What was asked since the last call, for a step's metrics; calls and tokens are all that were paid so far."""
        counts: dict[str, float] = {}
        now = Counter(self.judge.counts)
        news, self._told = {name: n - self._told[name] for name, n in now.items()}, now
        for name, n in news.items():
            kind, _, what = name.partition("/")
            key = f"judge/rule_{what}" if kind == "rule" else f"judge/{what}"
            counts[key] = counts.get(key, 0) + n
        meter = self.judge.complete
        if isinstance(meter, Metered):
            counts |= {"judge/calls": meter.calls, "judge/tokens": meter.tokens}
        return dict(sorted(counts.items()))


def _score(value: float | None, note: str) -> Score:
    return Score(None, "the judge gave no verdict that can be read") if value is None else Score(value, note)


def make_judge_reward(
    config: Any,
    context: Context,
    judged: Callable[[Problem], bool],
    verify: Callable[[Problem, str], Verdict],
) -> JudgeReward | None:
    """The judge that a stage's settings name, with its memory in the stage's folder; None for none."""
    if config.judge is None:
        return None
    rank, size = ranks.world()
    cache = context.folder / (VERDICTS if size == 1 else f"{Path(VERDICTS).stem}.{rank}.jsonl")
    complete = engines.completer(context, config.judge, _no_program, **engines.judging(config))
    meter = Metered(
        complete, config.judge, cache, max_calls=config.judge_max_calls, max_tokens=config.judge_max_tokens
    )
    return JudgeReward(
        Judge(meter, engines.concurrency(config.judge)), judged, mode=config.judge_mode,
        rubric=read_rubric(config.judge_rubric), seed=config.seed, verify=verify,
    )  # fmt: skip


def _no_program(messages: Any, seed: int) -> str:
    raise AhaError("a judge is named, so no program is asked")


def read_rubric(file: str | None) -> str:
    """The words of a rubric: a file's, or the package's own. Raises AhaError for a file that holds none."""
    if file is None:
        return prompts.RUBRIC
    try:
        text = Path(file).expanduser().read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise AhaError(f"Cannot read the rubric '{file}': {error}.") from error
    if not text:
        raise AhaError(f"The rubric '{file}' is empty: write what a good answer is.")
    return text
