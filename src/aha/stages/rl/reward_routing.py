"""Rewards of all-scenario reinforcement learning: rules for reasoning, reward models for general questions.

The paper (DeepSeek-R1, arXiv 2501.12948): R = R_reasoning (rules) + R_general (reward model + format) +
R_language; each general question is scored by the reward model of its own kind; general questions and
preference rewards come in only for the last 400 of 1,700 steps, for longer use of a learned reward ends in
its being hacked (figure 6). The monitor here watches for that: the true rubric beside the proxy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aha import ranks
from aha.files import read_json, write_json
from aha.judges.asking import final_text
from aha.judges.injection import neutral
from aha.rewards.accuracy import full_text
from aha.runs.pipeline import Context
from aha.sampling.rollouts import WeightedRewards
from aha.stages.rl.judge_reward import JUDGE, JudgeReward
from aha.stages.supervised.calibrated import CalibratedScorer
from aha.stages.supervised.reward_model import Scale
from aha.stages.supervised.scorers import AnswerScorer, open_scorer, uncalibrated
from aha.tasks import rubric
from aha.tasks.general import rubric_of
from aha.tasks.general_rows import ungraded
from aha.types import AhaError, Finish, Group, Problem, Reward, Rollout, Score

Answer = Callable[[list[Problem]], list[Group]]
PREFERENCE = "preference"
PROXY, TRUE, UNSAFE = "preference/proxy", "preference/true", "preference/unsafe"
ONLY_REASONING = ("accuracy", "code", "tinyzero", "cosine", "kimi_length")
"""Rewards of an answer's correctness: general questions have none by rule."""
NO_RULE, NO_MODEL = "a general question: no rule", "a reasoning question: no reward model"
"""Notes of rewards that have nothing to say of a question."""


class Router:
    """Which rewards a problem gets: by rule where it has a rule, by a reward model where it is general."""

    def __init__(
        self,
        general: Sequence[str],
        helpful: AnswerScorer | None,
        safety: AnswerScorer | None,
        judge: tuple[float, JudgeReward] | None = None,
    ):
        self.general, self.judge = frozenset(general), judge
        self.scorers = {"helpful": helpful, "safety": safety}

    def is_general(self, problem: Problem) -> bool:
        """Whether a problem's task is one of the general ones, or its row says that no rule grades it."""
        return problem.task in self.general or ungraded(problem)

    def scorer(self, problem: Problem) -> AnswerScorer | None:
        """The reward model of a general problem's own kind: safety for harmful requests, else helpfulness."""
        harmful = bool(problem.metadata.get("harmful"))
        first, second = ("safety", "helpful") if harmful else ("helpful", "safety")
        return self.scorers[first] or self.scorers[second]

    def route(self, rewards: WeightedRewards, weight: float) -> WeightedRewards:
        """The rewards with rules of correctness silent (0) on general problems, and beside them ``preference``
        and ``judge``, silent on the others."""
        routed = {
            name: (w, self._only_reasoning(reward) if name.partition(":")[0] in ONLY_REASONING else reward)
            for name, (w, reward) in rewards.items()
        }
        if any(self.scorers.values()):
            routed[PREFERENCE] = (weight, self._preference)
        return routed if self.judge is None else routed | {JUDGE: self.judge}

    def _only_reasoning(self, reward: Reward) -> Reward:
        def grade(problem: Problem, rollouts: Sequence[Rollout]) -> Sequence[Score]:
            if self.is_general(problem):
                return [Score(0.0, NO_RULE, silent=True)] * len(rollouts)
            return reward(problem, rollouts)

        return grade

    def _preference(self, problem: Problem, rollouts: Sequence[Rollout]) -> Sequence[Score]:
        """Scores of the problem's reward model, on its scale. None for answers too long for it, and for
        rollouts the engine failed on."""
        if not self.is_general(problem):
            return [Score(0.0, NO_MODEL, silent=True)] * len(rollouts)
        scorer = self.scorer(problem)
        assert scorer is not None
        texts = [full_text(r) for r in rollouts]
        values = scorer.scores(problem.messages, texts)
        return [
            Score(None, "the engine failed") if r.finish in (Finish.ABORT, Finish.ERROR)
            else Score(None, "too long for the reward model") if v is None
            else Score(v, f"{scorer.kind} reward model{_asked_for_it(scorer.kind, text)}")
            for r, v, text in zip(rollouts, values, texts, strict=True)
        ]  # fmt: skip

    # --- calibration ----------------------------------------------------------------------------------------

    def calibrate(self, folder: Path, problems: Sequence[Problem], answer: Answer) -> None:
        """Give classifiers the mean and spread of their scores over the policy's own first answers, once: from then on
        they are read from ``folder``. ``answer`` samples some for each problem."""
        waiting = [(kind, m) for kind in self.scorers for m in uncalibrated(self.scorers[kind])]
        if not waiting:
            return
        known: dict[str, dict[str, float]] = (
            read_json(folder / CALIBRATED) if (folder / CALIBRATED).exists() else {}
        )
        missing = [(kind, m) for kind, m in waiting if f"{kind}: {m.name}" not in known]
        for kind in dict.fromkeys(kind for kind, _ in missing):
            groups = answer(self._of_kind(kind, problems)[:CALIBRATION_PROMPTS])
            for member in (m for k, m in missing if k == kind):
                known[f"{kind}: {member.name}"] = member.calibrate(raw_scores(member, groups))
        for kind, member in waiting:
            member.calibration = known[f"{kind}: {member.name}"]
        if missing and ranks.is_main():
            write_json(folder / CALIBRATED, known)

    def _of_kind(self, kind: str, problems: Sequence[Problem]) -> list[Problem]:
        """The general problems that a kind of reward model scores; where there are none, all general ones."""
        general = [p for p in problems if self.is_general(p)]
        return [p for p in general if self.scorer(p) is self.scorers[kind]] or general

    # --- the monitor ----------------------------------------------------------------------------------------

    def proxy_and_truth(self, groups: Sequence[Group]) -> dict[str, float]:
        """Means over general questions: the reward model's score, and the rubric's helpfulness and safety.
        Empty without general questions that have a rubric."""
        if not any(self.scorers.values()):
            return {}
        proxy, helpful, unsafe = [], [], []
        for group in groups:
            if not (self.is_general(group.problem) and group.problem.metadata.get("rubric")):
                continue
            scored = self._preference(group.problem, [m.rollout for m in group.members])
            proxy += [s.value for s in scored if s.value is not None]
            judged = [rubric.score(rubric_of(group.problem), full_text(m.rollout)) for m in group.members]
            helpful += [f.helpful for f in judged]
            unsafe += [not f.safe for f in judged]
        if not proxy:
            return {}
        means = {PROXY: proxy, TRUE: helpful, UNSAFE: unsafe}
        return {name: round(float(np.mean(values)), 6) for name, values in means.items()}


def _asked_for_it(kind: str, text: str) -> str:
    """That an answer asks for its grade, in a score's note; "" where it does not, and where all of it is read."""
    attempts = neutral(final_text(text))[1] if kind == "helpful" else 0
    return f"; sentences left away that ask for a grade: {attempts}" if attempts else ""


CALIBRATED = "reward_scale.json"
"""Mean and spread by which classifiers' scores are brought to 0..1, in a stage's folder."""
CALIBRATION_PROMPTS = 16


def raw_scores(member: CalibratedScorer, groups: Sequence[Group]) -> list[float]:
    """A reward model's own scores of all answers that it can read."""
    scores = [member.raw(g.problem.messages, [full_text(m.rollout) for m in g.members]) for g in groups]
    return [value for values in scores for value in values if value is not None]


def check_graded(problems: Sequence[Problem], graders: Sequence[object], name: str) -> None:
    """Raise AhaError where prompts that no rule grades are asked and nothing else grades them."""
    if not any(graders) and (problem := next(filter(ungraded, problems), None)):
        raise AhaError(
            f"{name}: nothing grades answers to the prompts of the task {problem.task}: name a reward model "
            f"({name}.helpful_model=FOLDER) or a judge ({name}.judge=http://host:port/v1#MODEL)."
        )


def hacking(
    rows: Sequence[Mapping[str, Any]], now: Mapping[str, Any], least: float = 0.01
) -> list[dict[str, Any]]:
    """A warning as a row to write (step, key, value, text) where, since the truth was best among earlier
    ``rows`` of the same split, the proxy rose and the truth fell by ``least`` at least; else nothing."""
    earlier = [
        r for r in rows if r.get("split") == now.get("split") and TRUE in r and r["step"] < now["step"]
    ]
    if not earlier or TRUE not in now:
        return []
    best = max(earlier, key=lambda row: row[TRUE])
    up, down = float(now[PROXY]) - float(best[PROXY]), float(best[TRUE]) - float(now[TRUE])
    if up < least or down < least:
        return []
    text = (
        f"The reward model's score rose by {up:.3f} to {now[PROXY]:.3f} while the true rubric fell by {down:.3f} to "
        f"{now[TRUE]:.3f} since step {best['step']}: the reward model is being exploited. Stop earlier, use preference "
        "rewards for fewer steps, or train the reward model on newer answers."
    )
    return [{"step": now["step"], "key": TRUE, "value": now[TRUE], "text": text}]


def check_asked(problems: Sequence[Problem], router: Router | None, name: str) -> None:
    """Raise AhaError where reward models or a judge are named and none of their prompts is left to be asked."""
    if router is None or router.judge is not None:
        return
    if not any(map(router.is_general, problems)):
        raise AhaError(
            f"{name}: a reward model is named, and no prompt that it would score is left: the task asks none, or all "
            f"are longer than {name}.max_prompt_tokens."
        )


def make_router(
    context: Context,
    general: Sequence[str],
    helpful: Any,
    safety: Any,
    scale: Scale = "unit",
    judge: tuple[float, JudgeReward] | None = None,
) -> Router | None:
    """The router of a stage that names reward models or a judge; None for one that names neither."""
    if helpful is None and safety is None and judge is None:
        return None
    scorers = (open_scorer(helpful, context, "helpful", scale), open_scorer(safety, context, "safety", scale))
    return Router(general, *scorers, judge)


def phases(problems: Sequence[Problem], router: Router | None, start: int) -> list[tuple[int, list[Problem]]]:
    """(first step, problems) of each phase: without the general ones before step ``start``."""
    if router is None or start <= 1:
        return [(1, list(problems))]
    reasoning = [p for p in problems if not router.is_general(p)]
    return [(1, reasoning), (start, list(problems))] if reasoning else [(1, list(problems))]


Phase = tuple[int, Any]


def at(plan: Sequence[Phase], step: int) -> Any:
    """What holds at a step: of the last phase that has begun."""
    return [value for start, value in plan if start <= step][-1]
