"""Reinforcement learning with verifiable rewards: sample, grade, credit, update. R1-Zero is this and a base.

The loop in ``RL._train`` is the documentation; everything it calls is a leaf.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from aha.runs import interrupts
from aha.runs.pipeline import Context
from aha.stages.rl.session import RLSession
from aha.stages.rl.settings import RLSettings
from aha.stages.rl.setup import prepare
from aha.training import credit, parallel, sequences
from aha.training.batching import pack, token_mean
from aha.training.critic import Critic
from aha.training.frozen import frozen_copy
from aha.training.totals import UpdateTotals, add
from aha.types import Batch, Example


class RL(RLSettings):
    """One stage of reinforcement learning."""

    def run(self, context: Context) -> dict[str, Any]:
        """Train, or continue; returns what goes into ``summary.json``."""
        session = prepare(self, context)
        with session.console, session.closing():
            before = session.evaluation("before", 0)
            self._train(session)
            after = session.evaluation("after", self.steps)
        return session.finish(before, after)

    def _evaluate(self, s: RLSession, step: int) -> None:
        """Evaluate where it is due; an evaluation that was done before is only read."""
        if self._evaluates(step):
            s.evaluation("step", step)
            s.keep_best(step)

    def _evaluates(self, step: int) -> bool:
        return bool(self.eval_every) and step > 0 and step % self.eval_every == 0 and step < self.steps

    def _train(self, s: RLSession) -> None:
        self._evaluate(s, s.start)  # a kill may have come between the checkpoint and its evaluation
        for step in range(s.start + 1, self.steps + 1):
            with interrupts.GuardedStep(step, s.saved) as guard:
                self._step(s, step)
                # an evaluation takes long: it begins from a checkpoint
                due = step % self.save_every == 0 or step == self.steps or self._evaluates(step)
                interrupts.saving(guard, due, partial(s.save, step))
            guard.leave()
            self._evaluate(s, step)

    def _step(self, s: RLSession, step: int) -> None:
        clock = time.perf_counter()
        groups = s.collect(step, self.tokens_at(step), progress=(step - 1) / self.steps)
        advantages = s.advantages(groups)
        sampled = time.perf_counter()
        version = s.engine.version if self.algorithm.partial_rollouts or self.max_staleness else None
        examples = s.replay.mix(step, sequences.to_examples(groups, advantages, s.collector.steps, version))
        examples = self.algorithm.credit(s.annotate(examples), outcome=s.collector.has_outcome)
        s.note_tokens(examples)
        totals = self._update(s, step, examples)
        s.adapt_entropy(totals)
        seconds = (sampled - clock, time.perf_counter() - sampled)
        s.report(step, groups, advantages, totals, seconds, self.tokens_at(step), self.lr_at(step))
        if self.algorithm.needs_reference and step % self.algorithm.reference_every == 0:
            s.reference = frozen_copy(s.policy)

    def _update(self, s: RLSession, step: int, examples: Sequence[Example]) -> dict[str, float]:
        """Split one rollout into mini-batches by question, in random order, and step on each."""
        totals = UpdateTotals()
        parts = sequences.split_by_group(
            examples, self.mini_batches, random.Random(f"{self.seed}:{step}:split")
        )
        for index, part in enumerate(parts):
            if s.critic is not None:
                totals.note_critic(self._critic_step(s, s.critic, part, step), 1 / len(parts))
            if step > self.algorithm.value_pretrain_steps or s.critic is None:
                totals.note_update(*self._policy_step(s, part, step, note=index == 0))
        return totals.figures()

    def _policy_step(
        self, s: RLSession, part: list[Example], step: int, note: bool
    ) -> tuple[UpdateTotals, float]:
        """One update of the policy from one mini-batch: its passes' totals, and the gradient's norm."""
        a, totals = self.algorithm, UpdateTotals()
        weighting, loss = a.weighting(), a.loss(s.entropy_coef)
        if a.agro:
            part = credit.agro_credit(s.with_policy_logprobs(part), a.kl_coef)
        if a.nll_coef:
            part = credit.imitate(part, a.nll_coef, weighting)

        def chunks(tokens: int) -> list[Batch]:
            return pack(part, weighting, tokens, skip_zero_advantage=a.silent_without_advantage)

        def learn(batch: Batch) -> tuple[dict[str, float], np.ndarray]:
            sums = s.policy.backward(batch, loss, self.temperature)
            return sums, s.mismatch_of(batch)

        batches = parallel.balance(chunks, s.config.max_tokens_per_batch, s.policy.dp_size)
        for sums, mismatch in s.policy.map_microbatches(batches, learn):
            totals.note_pass(sums)
            if note and not a.replay_ratio:  # before the policy moves, on its own samples
                s.mismatch.append(mismatch)
        return totals, s.policy.step(self.lr_at(step))

    def _critic_step(self, s: RLSession, critic: Critic, part: list[Example], step: int) -> dict[str, float]:
        """One update of the critic: the mean over tokens of the value loss."""
        totals: dict[str, float] = {}
        clip = self.algorithm.value_clip
        batches = parallel.balance(
            partial(pack, part, token_mean), s.config.max_tokens_per_batch, critic.dp_size
        )
        for sums in critic.map_microbatches(batches, lambda batch: critic.backward(batch, clip)):
            add(totals, sums)
        critic.step(self.lr_at(step) * self.algorithm.critic_lr_scale)
        return totals
