"""What surrounds the loop of reinforcement learning: setting up, resuming, recording, evaluating."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from aha import modeling, ranks
from aha.diagnosis.monitor import Monitor
from aha.files import append_jsonl, read_jsonl, write_json, write_jsonl
from aha.rewards import get_rewards
from aha.runs.console import Console
from aha.runs.metrics import rl_metrics
from aha.runs.pipeline import Context
from aha.sampling.engine import Engine
from aha.sampling.rollouts import Prompter, WeightedRewards, sample_groups, samplers
from aha.sampling.sampler import SamplingParams
from aha.stages import engines
from aha.stages.evaluation.evaluate import evaluate, rollout_rows
from aha.stages.evaluation.flat_reward import FirstLook
from aha.stages.model_card import model_card
from aha.stages.rl import asynchronous, state
from aha.stages.rl import reward_routing as preference
from aha.stages.rl.collect import Collector, keep, seed_for
from aha.stages.rl.judge_reward import make_judge_reward
from aha.stages.rl.partial_rollouts import staleness
from aha.stages.rl.report import Reporter
from aha.stages.rl.settings import RLSettings
from aha.stages.rl.token_rows import TokenRows
from aha.tasks import get_task
from aha.training import checkpoint, parallel
from aha.training.algorithm import adapted_entropy
from aha.training.batching import pack, token_mean, unpack
from aha.training.credit import importance_figures
from aha.training.critic import Critic
from aha.training.frozen import FrozenAdapters
from aha.training.policy import Policy
from aha.training.replay import Replay
from aha.training.trainer import Trainer
from aha.types import AhaError, Batch, Example, Group, Problem


class RLSession:
    """The live parts of one stage of reinforcement learning."""

    def __init__(self, config: RLSettings, context: Context, policy: Policy, engine: Engine, tokenizer: Any):
        self.config, self.folder = config, context.folder
        self.policy, self.engine, self.tokenizer = policy, engine, tokenizer
        self.prompter = Prompter(tokenizer, config.prompt)
        self.task = get_task(config.task, config.data, config.test_data)
        self.problems = self._load("train", config.train_problems)
        self.judge = make_judge_reward(
            config, context, lambda problem: problem.task in config.judge_tasks, self.task.verify
        )
        self.router = preference.make_router(
            context, config.general_tasks, config.helpful_model, config.safety_model, config.preference_scale,
            None if self.judge is None else (config.judge_weight, self.judge),
        )  # fmt: skip
        preference.check_asked(self.problems, self.router, config.name)
        self.rewards: WeightedRewards = get_rewards(
            config.rewards, self.task.verify, self.task.verify_lenient
        )
        if self.router is not None:
            self.rewards = self.router.route(self.rewards, config.preference_weight)
        self.console = Console(f"{config.name} on {config.task}", config.steps, plain=context.plain)
        grader = None if self.router is not None else engine.grader
        self.collectors = [
            (
                first,
                Collector(engine, self.prompter, some, self.rewards, config.algorithm, config.seed, grader),
            )
            for first, some in preference.phases(self.problems, self.router, config.preference_start_step)
        ]
        self.asynchronous = asynchronous.make(
            config, engine, lambda step: preference.at(self.collectors, step), grader
        )
        self.collector: Collector = preference.at(self.collectors, 1)
        self.replay = Replay(config.algorithm.replay_ratio, config.algorithm.replay_max_age, config.seed)
        self.reference: Policy | FrozenAdapters | None = None
        self.critic: Critic | None = None
        self.entropy_state = self.entropy_coef = config.algorithm.entropy_coef
        self.token_rows = TokenRows(tokenizer) if config.rollout_tokens else None
        monitor = Monitor(config.name, self.folder, self.task.verify, config.steps)
        self.reporter = Reporter(self.folder, self.console, engine, monitor, self.token_rows)
        self.start = self.saved = 0
        self.step = 0  # that is being done
        self.mismatch: list[np.ndarray] = []
        self.correction: dict[str, float] = {}
        self.sync_seconds = self.sync_before = 0.0  # since the last report; of them, before sampling

    def _load(self, split: str, n: int) -> list[Problem]:
        problems = self.task.load(split, n, self.config.seed if split == "train" else 0)
        room = modeling.max_context(self.policy.model) - self.config.longest_completion
        return self.prompter.drop_long(problems, min(self.config.max_prompt_tokens, room))

    def calibrate(self) -> None:
        """Have reward models that bring no scale of their own see the policy's first answers."""
        if self.router is None:
            return
        c, params = self.config, SamplingParams(self.config.temperature, max_tokens=self.config.tokens_at(1))

        def answer(problems: list[Problem]) -> list[Group]:
            seed = seed_for(c.seed, "calibration", 0)
            return sample_groups(self.engine, self.prompter, problems, 4, params, {}, seed=seed)

        self.router.calibrate(self.folder, self.problems, answer)

    # --- the steps of the loop ----------------------------------------------------------------------------

    def sync(self) -> float:
        """Have the engine sample from the policy as it is, and nothing else; returns the seconds it took."""
        self.halt()
        seconds = engines.sync(self.engine, self.policy)
        self.sync_seconds += seconds
        return seconds

    @contextmanager
    def closing(self) -> Iterator[None]:
        """On leaving, sampling in the background and an engine that is a process end."""
        try:
            yield
        finally:
            self.reporter.note_lost(self.step)
            with suppress(AhaError):  # what led here is already told
                self.halt()
            self.engine.close()

    def halt(self) -> None:
        """End sampling in the background; what there is of it is kept."""
        if self.asynchronous is not None:
            self.asynchronous.halt()

    def collect(self, step: int, max_tokens: int, progress: float) -> list[Group]:
        """The step's scored groups, from the policy as it is."""
        c, self.step = self.config, step
        self.collector = preference.at(self.collectors, step)
        if c.reward_schedule:
            self.collector.rewards = {
                name: (c.weight_at(name, weight, step), reward)
                for name, (weight, reward) in self.rewards.items()
            }
        self.params = SamplingParams(temperature=c.temperature, max_tokens=max_tokens)
        tick = self._ticker(c.prompts_per_step * c.group_size * max_tokens, "sampling")
        with engines.ready(self.engine, self.policy):
            self.sync_before = self.sync()
            if c.max_staleness:
                return asynchronous.collect(self.asynchronous, step, self.params, progress, tick)
            return self.collector.collect(step, c.prompts_per_step, c.group_size, self.params, progress, tick)

    def advantages(self, groups: Sequence[Group]) -> list[np.ndarray]:
        """Advantages [G] of each group's completions; NaN where the algorithm leaves one out."""
        algorithm, baselines = self.config.algorithm, None
        if algorithm.advantage == "greedy_baseline":
            with engines.ready(self.engine, self.policy):
                baselines = self.collector.greedy_rewards(groups, self.params)
        self.engine.rest()
        credited = algorithm.advantages([self.collector.outcome(g) for g in groups], baselines)
        return keep(algorithm, groups, credited)

    def annotate(self, examples: Sequence[Example]) -> list[Example]:
        """What the algorithm needs to know of each token before the update: reference, policy, values."""
        a, annotated = self.config.algorithm, list(examples)
        if self.reference is not None:
            columns = self._per_token(annotated, self.reference, self._logprobs_by(self.reference))
            annotated = [replace(e, reference_logprobs=x) for e, x in zip(annotated, columns, strict=True)]
        if a.importance_sampling != "none":
            annotated = self.with_policy_logprobs(annotated)
            self.correction = importance_figures(
                annotated, a.importance_sampling_cap, a.importance_sampling_level
            )
        if self.critic is not None:
            columns = self._per_token(annotated, self.critic, self.critic.values)
            annotated = [replace(e, values=x) for e, x in zip(annotated, columns, strict=True)]
        return annotated

    def with_policy_logprobs(self, examples: Sequence[Example]) -> list[Example]:
        """The examples with the logprobs of the policy as it is now."""
        columns = self._per_token(examples, self.policy, self._logprobs_by(self.policy))
        return [replace(e, policy_logprobs=x) for e, x in zip(examples, columns, strict=True)]

    def note_tokens(self, examples: Sequence[Example]) -> None:
        """Before the update: what is known of each token, where rollouts are to say it."""
        if self.token_rows is not None:
            self.token_rows.note(self.with_policy_logprobs(examples))

    def _logprobs_by(self, policy: Policy | FrozenAdapters) -> Callable[[Batch], np.ndarray]:
        return lambda batch: policy.logprobs(batch, self.config.temperature)

    def _per_token(
        self, examples: Sequence[Example], of: Trainer | FrozenAdapters, values: Callable[[Batch], np.ndarray]
    ) -> list[np.ndarray]:
        chunks = partial(pack, examples, token_mean)
        batches = parallel.balance(chunks, self.config.max_tokens_per_batch, of.dp_size)
        return unpack(examples, batches, of.map_microbatches(batches, values, trains=False))

    def adapt_entropy(self, totals: dict[str, float]) -> None:
        """Move the entropy bonus towards its target (MAGIC), and record it."""
        a = self.config.algorithm
        if a.entropy_target is not None and "entropy" in totals:
            self.entropy_state, self.entropy_coef = adapted_entropy(
                self.entropy_state, totals["entropy"], a.entropy_target, a.entropy_coef_step
            )
            totals["entropy_coef"] = self.entropy_coef

    def _ticker(self, total: int, what: str) -> Callable[[int], None]:
        return self.console.counter(total, what, samplers(self.engine))  # the first rank counts for all

    def mismatch_of(self, batch: Batch) -> np.ndarray:
        """How far the sampler's logprobs lie from the policy's, on the batch it has just gone backward on."""
        if self.policy.last_logprobs is None:
            return np.zeros(0)
        chosen, values = self.policy.last_logprobs
        fresh = slice(None) if batch.stale is None else batch.stale[chosen] == 0
        return (values - batch.sampler_logprobs[chosen])[fresh]

    def report(
        self,
        step: int,
        groups: Sequence[Group],
        advantages: Sequence[np.ndarray],
        totals: Mapping[str, float],
        seconds: tuple[float, float],
        max_tokens: int,
        lr: float,
    ) -> None:
        """Write the step's metrics and every rollout, and show them."""
        mismatch = np.concatenate(self.mismatch) if self.mismatch else np.zeros(0)
        self.mismatch.clear()
        metrics = rl_metrics(step, groups, advantages, totals, mismatch)
        metrics |= (
            self.collector.partial_rollouts.figures(groups, self.engine.version) if ranks.is_main() else {}
        )
        metrics |= {"lr": lr, "max_tokens": max_tokens} | self.correction
        if self.judge is not None:
            metrics |= self.judge.figures()
        if self.config.reward_schedule:
            metrics |= {
                f"rewards/{name}/weight": weight for name, (weight, _) in self.collector.rewards.items()
            }
        if self.asynchronous is not None:
            metrics |= staleness(groups, self.engine.version) | self.asynchronous.figures()
        before = None if self.asynchronous is not None else self.sync_before
        sync, self.sync_seconds = (self.sync_seconds, before), 0.0
        self.reporter.step(step, groups, advantages, metrics, seconds, sync)

    # --- evaluation ---------------------------------------------------------------------------------------

    def evaluation(self, name: str, step: int) -> dict[str, Any]:
        """Evaluate on the test split (before, after) or on the validation split; once, then remembered."""
        path = self.folder / "evals.jsonl"
        known = ranks.broadcast_object(lambda: state.evaluated(path, name, step))
        if known is not None:
            return known
        c, held_out = self.config, name != "step"
        split = "test" if held_out else "validation"
        problems = self._load(split, c.test_problems if held_out else c.eval_problems)
        n = c.test_samples if held_out else c.eval_samples
        limit = c.longest_completion
        look = FirstLook(
            self.task, self.prompter.prompt.name, limit, partial(self.reporter.tell, step, "flat_reward")
        )
        with engines.ready(self.engine, self.policy):
            self.sync()
            result = evaluate(
                self.engine,
                self.prompter,
                self.task,
                problems,
                n,
                SamplingParams(temperature=c.eval_temperature, top_p=c.eval_top_p, max_tokens=limit),
                seed=seed_for(c.seed, f"eval-{name}", step),
                strict=c.require_format,
                progress=self._ticker(len(problems) * n * limit, f"evaluating ({name})"),
                seen=look.note if name == "before" and ranks.is_main() else None,
            )
        look.close()
        self.engine.rest()
        row = {"name": name, "step": step, "split": split, **result.figures}
        if self.router is not None:
            row |= self.router.proxy_and_truth(result.groups)
            hacking = preference.hacking(read_jsonl(path), row)
            said = read_jsonl(self.folder / "warnings.jsonl")  # a kill may have come right after it was said
            append_jsonl(self.folder / "warnings.jsonl", [w for w in hacking if w not in said])
            for warning in hacking:
                self.console.warn(warning["text"])
        if held_out:
            write_jsonl(self.folder / f"rollouts/{name}.jsonl", rollout_rows(step, result.groups))
        append_jsonl(path, [row])
        self.console.eval(row)
        if ranks.is_main():
            self.reporter.watch_truth(step)
        return row

    # --- saving, resuming, finishing ----------------------------------------------------------------------

    def save(self, step: int) -> None:
        """Checkpoint everything that the next step depends on."""
        collector = preference.at(self.collectors, step + 1)
        self.halt()
        extra: dict[str, Any] = {"replay": self.replay.state(), "carried": collector.partial_rollouts.state()}
        if self.asynchronous is not None:
            extra["ahead"] = self.asynchronous.state()
        if self.reference is not None:
            weights = self.reference.weights()
            extra["reference"] = self.reference.model.state_dict() if weights is None else weights
        if self.critic is not None:
            extra["critic"] = self.critic
        progress = {
            "seconds": self.reporter.seconds,
            "tokens": self.reporter.tokens,
            "curriculum": collector.curriculum.state(),
            "entropy": [self.entropy_state, self.entropy_coef],
        }
        root = self.folder / "checkpoints"
        checkpoint.save(root, step, self.policy, self.tokenizer, progress, extra)
        self.saved = step

    def keep_best(self, step: int) -> None:
        """Keep the checkpoint of a step whose evaluation was the best on the validation split so far."""
        if self.config.keep_best and ranks.is_main():
            state.keep_best(self.folder, step)

    def resume(self) -> None:
        """Continue from the newest checkpoint; what was written after it is taken back."""
        saved = ranks.broadcast_object(lambda: checkpoint.latest(self.folder / "checkpoints"))
        if saved is not None:
            others = {} if self.critic is None else {"critic": self.critic}
            progress, extra = checkpoint.load(saved, self.policy, others)
            self.start = self.saved = int(progress["step"])
            self.reporter.seconds, self.reporter.tokens = float(progress["seconds"]), int(progress["tokens"])
            if self.reference is not None:
                self.reference.load_weights(extra["reference"])
            self.replay.load_state(extra["replay"])
            collector = preference.at(self.collectors, self.start + 1)
            collector.curriculum.load_state(progress["curriculum"])
            collector.partial_rollouts.load_state(extra["carried"])
            if self.asynchronous is not None and "ahead" in extra:
                self.asynchronous.load_state(extra["ahead"])
            self.entropy_state, self.entropy_coef = progress["entropy"]
        ranks.broadcast_object(lambda: state.take_back(self.folder, self.start))
        if self.start and ranks.is_main():
            self.reporter.monitor.restore(self.problems)

    def finish(self, before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
        """Write the final checkpoint with its card; returns the summary."""
        summary = state.summary(
            self.config, self.prompter.prompt.name, self.rewards, self.reporter, before, after
        )
        card = model_card(summary)
        checkpoint.save_model(self.policy, self.tokenizer, self.folder / "final", card)
        write_json(self.folder / "summary.json", summary)
        return summary
