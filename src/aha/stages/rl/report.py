"""What a stage of reinforcement learning says of its steps: metrics, rollouts, warnings and samples."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from aha import ranks
from aha.diagnosis.figures import step_figures
from aha.diagnosis.monitor import Monitor
from aha.files import append_jsonl, write_jsonl
from aha.rewards.ritual import chain_figures
from aha.runs import health
from aha.runs.console import Console
from aha.sampling.engine import Engine
from aha.stages.evaluation.evaluate import rollout_rows, text_figures
from aha.stages.rl.token_rows import TokenRows
from aha.types import Group


class Reporter:
    """Writes what happens into the stage's folder, on the first rank alone, and shows it."""

    def __init__(
        self,
        folder: Path,
        console: Console,
        engine: Engine,
        monitor: Monitor,
        tokens: TokenRows | None = None,
    ):
        self.folder, self.console, self.engine, self.monitor = folder, console, engine, monitor
        self.tokens_of = tokens
        self.seconds, self.tokens = 0.0, 0  # of all steps so far, as in checkpoints

    def step(
        self,
        step: int,
        groups: Sequence[Group],
        advantages: Sequence[np.ndarray],
        metrics: dict[str, Any],
        seconds: tuple[float, float],
        sync: tuple[float, float | None],
    ) -> None:
        """A step's ``metrics`` with those of its texts and times, and every rollout. ``seconds``: (sampling, training);
        ``sync``: of bringing weights to the engine, (in all, before sampling; None where sampling goes on beside)."""
        sampled = int(sum(len(m.rollout.completion_ids) for g in groups for m in g.members))
        self.seconds += sum(seconds)
        self.tokens += sampled
        text = _text_metrics(groups)
        if not ranks.is_main():
            return
        metrics |= text | self._time_metrics(sampled, seconds)
        lost = self.note_lost(step)
        if self.engine.has_workers:
            metrics["workers/restarted"] = lost
        metrics |= self._sync_metrics(sampled, seconds[0], sync)
        more = self.tokens_of.columns if self.tokens_of else None
        rows = rollout_rows(step, groups, advantages, more)
        write_jsonl(self.folder / f"rollouts/step_{step:05d}.jsonl", rows)
        append_jsonl(self.folder / "metrics.jsonl", [metrics])
        self.console.step(metrics)
        self._watch_health(step, groups)
        self._show_samples(groups, step)

    def _time_metrics(self, sampled: int, seconds: tuple[float, float]) -> dict[str, float]:
        return {
            "num_tokens": self.tokens,
            "step_time": round(sum(seconds), 3),
            "time/sampling": round(seconds[0], 3),
            "time/training": round(seconds[1], 3),
            "tokens_per_second": round(sampled / sum(seconds), 1),
        }

    def _sync_metrics(
        self, sampled: int, seconds: float, sync: tuple[float, float | None]
    ) -> dict[str, float]:
        """How long the weights took; beside it the sampler's own speed, where it samples in step with the update."""
        if self.engine.shares_modules:
            return {}
        metrics = {"time/weight_sync": round(sync[0], 3)}
        if sync[1] is not None:
            metrics["sampling/tokens_per_second"] = round(sampled / max(seconds - sync[1], 1e-9), 1)
        return metrics

    def note_lost(self, step: int) -> int:
        """Say, and write down, which workers were lost; returns how many."""
        lost = self.engine.events()
        for event in lost:
            text = f"{event.worker} was lost and replaced: {event.reason}"
            row = {"step": step, "key": "workers/restarted", "value": 1.0, "text": text}
            append_jsonl(self.folder / "warnings.jsonl", [row])
            self.console.warn(text)
        return len(lost)

    def tell(self, step: int, key: str, text: str) -> None:
        """Say a warning, and write it down."""
        append_jsonl(self.folder / "warnings.jsonl", [{"step": step, "key": key, "value": 0.0, "text": text}])
        self.console.warn(text)

    def _watch_health(self, step: int, groups: Sequence[Group]) -> None:
        """Say, and write down, which figures left their healthy range with this step, and what its groups show."""
        rows = self.monitor.rows("metrics")
        warned = health.latest(rows)
        append_jsonl(self.folder / "warnings.jsonl", [asdict(w) for w in warned])
        for warning in warned:
            self.console.warn(f"step {warning.step}: {warning.text}")
        for cause, text in self.monitor.after_step(step, groups, rows, self.monitor.rows("warnings")):
            self.tell(step, cause, text)

    def watch_truth(self, step: int) -> None:
        """Say, and write down, where the last evaluation lies below the best one by more than chance."""
        rows = (self.monitor.rows(name) for name in ("metrics", "evals", "warnings"))
        for cause, text in self.monitor.after_evaluation(*rows):
            self.tell(step, cause, text)

    def _show_samples(self, groups: Sequence[Group], step: int) -> None:
        rng = random.Random(step)
        for group in rng.sample(list(groups), min(4, len(groups))):
            member = rng.choice(group.members)
            score = member.scores.get("accuracy")
            if score is not None and score.value is not None:
                question = group.problem.messages[-1]["content"]
                note = score.note or next((s.note for s in member.scores.values() if s.note), "")
                self.console.sample(question, member.rollout.text, score.value > 0.5, note)


def _text_metrics(groups: Sequence[Group]) -> dict[str, float]:
    rollouts = [m.rollout for g in groups for m in g.members]
    problems = [g.problem for g in groups for _ in g.members]
    text = text_figures(rollouts, [p.language for p in problems]) | chain_figures(problems, rollouts)
    return step_figures(groups) | {
        "completions/clipped_ratio": text["truncated"],
        "reflections/mean": text["reflections"],
        "language/mixed": text["mixed_language"],
        "chains/empty": text["chains/empty"],
        "chains/repeated": text["chains/repeated"],
    }
