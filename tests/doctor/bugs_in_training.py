"""Bugs in weights, log probabilities, sampling, gradients, losses, the optimizer and resuming."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from bug_forms import bug, change_batches, change_rollouts, wrap

from aha import attention
from aha.doctor import memory
from aha.sampling import sampler
from aha.sampling.local import engine as local
from aha.sampling.local import scheduler
from aha.stages import rl
from aha.stages.rl import collect, loop, setup
from aha.stages.rl.session import RLSession
from aha.training import algorithm, batching, losses, parallel, trainer
from aha.training import policy as policies

# --- weights -----------------------------------------------------------------------------------------------


@bug("weights_after_step")
def stale_weights_after_sync(mp):
    wrap(mp, local.LocalEngine, "__init__", lambda f, s, m, t, **k: f(s, copy.deepcopy(m), t, **k))


@bug("weights_after_step")
def masters_not_copied_into_working_weights(mp):
    mp.setattr(trainer.Trainer, "_copy_masters", lambda self: None)


@bug("weights_after_step")
def version_does_not_move(mp):
    def step(original, self, lr=None):
        norm = original(self, lr)
        self.version = 0
        return norm

    wrap(mp, trainer.Trainer, "step", step)


# --- log probabilities and sampling ------------------------------------------------------------------------


@bug("logprobs")
def off_by_one_in_the_policy(mp):
    change_batches(
        mp, lambda b: replace(b, predictor=np.where(b.predictor > 0, b.predictor - 1, b.predictor))
    )


@bug("logprobs")
def off_by_one_in_the_sampler(mp):
    change_rollouts(mp, lambda r: replace(r, logprobs=np.roll(r.logprobs, 1)))


@bug("logprobs", temperature=0.7)
def temperature_missing_in_the_policy(mp):
    wrap(mp, policies.Policy, "_forward", lambda f, s, b, c, t: f(s, b, c, 1.0))


@bug("packing", temperature=0.7)
def temperature_missing_in_the_gradient(mp):
    wrap(mp, policies.Policy, "backward", lambda f, s, b, loss, t=1.0: f(s, b, loss, 1.0))


def report_logprobs(mp, logp_of):
    """The sampler draws as before and reports log probabilities of another distribution."""

    def sample(original, logits, uniform, params):
        tokens, _ = original(logits, uniform, params)
        return tokens, logp_of(logits, params).gather(1, tokens[:, None])[:, 0]

    wrap(mp, scheduler, "sample", sample)


@bug("draws")
def temperature_missing_in_the_sampler(mp):
    report_logprobs(mp, lambda logits, params: torch.log_softmax(logits, -1))


@bug("draws")
def top_p_without_renormalising(mp):
    report_logprobs(mp, lambda logits, params: torch.log_softmax(logits / (params.temperature or 1), -1))


@bug("draws")
def greedy_reports_certainty(mp):
    def sample(original, logits, uniform, params):
        tokens, logprobs = original(logits, uniform, params)
        return tokens, torch.zeros_like(logprobs) if params.temperature == 0 else logprobs

    wrap(mp, scheduler, "sample", sample)


@bug("draws")
def temperature_applied_twice(mp):
    wrap(mp, scheduler, "sample", lambda f, z, u, p: f(z / (p.temperature or 1), u, p))


@bug("seeds")
def all_samples_draw_the_same_numbers(mp):
    wrap(mp, sampler, "row_seeds", lambda f, seed, keys: f(seed, np.zeros_like(keys)))


@bug("seeds")
def run_seed_not_used(mp):
    wrap(mp, sampler, "row_seeds", lambda f, seed, keys: f(0, keys))


@bug("seeds")
def numbers_depend_on_the_row(mp):
    wrap(mp, scheduler, "uniforms", lambda f, s, c: f(s + np.arange(len(s)).astype(np.uint64), c))


@bug("seeds")
def numbers_from_a_global_generator(mp):
    wrap(mp, scheduler, "uniforms", lambda f, s, c: np.random.random(len(s)).astype(np.float32))


@bug("steps")
def sampler_seed_repeated_across_steps(mp):
    wrap(mp, collect, "seed_for", lambda f, seed, purpose, step: f(seed, purpose, 1))


@bug("steps")
def engine_not_told_the_version(mp):
    def collect_(original, self, *args, **kwargs):
        version, self.policy.version = self.policy.version, 0
        result = original(self, *args, **kwargs)
        self.policy.version = version
        return result

    wrap(mp, RLSession, "collect", collect_)


# --- packing and gradients ---------------------------------------------------------------------------------


@bug("packing")
def positions_run_on_over_the_packed_row(mp):
    change_batches(mp, lambda b: replace(b, positions=np.arange(len(b.positions))))


@bug("packing")
def attention_leaks_across_segments(mp):
    def plan(original, segments, device="cpu"):
        return original(np.array([(0, int(segments[:, 1].sum()), 0, 0)]), device)

    wrap(mp, attention, "make_plan", plan)


@bug("packing")
def completions_do_not_see_their_shared_prompt(mp):
    def plan(original, segments, device="cpu"):
        return original(segments * np.array([1, 1, 0, 0]), device)

    wrap(mp, attention, "make_plan", plan)


@bug("invariance")
def normalised_per_micro_batch(mp):
    change_batches(mp, lambda b: replace(b, weights=b.weights / b.weights.sum()))


@bug("invariance")
def loss_scaled_by_the_number_of_micro_batches(mp):
    def pack(original, *args, **kwargs):
        batches = original(*args, **kwargs)
        return [replace(b, weights=b.weights / len(batches)) for b in batches]

    wrap(mp, batching, "pack", pack)


@bug("invariance")
def silent_sequences_left_out_before_weighing(mp):
    def pack(original, examples, weighting, room, *, skip_zero_advantage=False):
        kept = [e for e in examples if e.advantage.any()] if skip_zero_advantage else examples
        return original(kept, weighting, room)

    wrap(mp, batching, "pack", pack)


@bug("invariance")
def last_micro_batch_overwrites_the_gradient(mp):
    def backward(original, self, *args):
        self.zero_grad()
        return original(self, *args)

    wrap(mp, policies.Policy, "backward", backward)


@bug("ranks")
def gradients_not_summed_over_ranks(mp):
    mp.setattr(parallel, "sum_gradients", lambda masters: None)


@bug("ranks")
def gradients_averaged_over_ranks(mp):
    def averaged(original, masters):
        original(masters)
        for master in masters:
            master.grad /= parallel.world()[1]

    wrap(mp, parallel, "sum_gradients", averaged)


@bug("ranks")
def every_rank_takes_all_batches(mp):
    mp.setattr(parallel, "deal", lambda batches, rank, size: list(batches))


# --- losses ------------------------------------------------------------------------------------------------


@bug("losses")
def clip_on_the_wrong_side(mp):
    def clipped(original, r, a, low, high, dual):
        return -torch.maximum(r * a, r.clamp(1 - low, 1 + high) * a), original(r, a, low, high, dual)[1]

    wrap(mp, losses, "_clipped", clipped)


@bug("losses")
def advantage_sign(mp):
    wrap(mp, losses, "_clipped", lambda f, r, a, *rest: f(r, -a, *rest))


@bug("losses")
def kl_sign(mp):
    wrap(mp, losses, "kl_estimate", lambda f, *args: -f(*args))


@bug("losses")
def k3_with_swapped_policies(mp):
    wrap(mp, losses, "kl_estimate", lambda f, policy, reference, kind: f(reference, policy, kind))


@bug("losses")
def kl_without_gradient(mp):
    wrap(mp, losses, "kl_estimate", lambda f, *args: f(*args).detach())


@bug("losses")
def entropy_sign(mp):
    def settings(original, **changes):
        return original(**changes | {"entropy_coef": -changes.get("entropy_coef", 0.0)})

    wrap(mp, algorithm, "policy_loss", settings)


@bug("losses")
def gspo_ratio_per_token(mp):
    wrap(mp, losses, "log_ratio", lambda f, logprobs, view, ratio: f(logprobs, view, "token"))


# --- optimizer, resuming, state ----------------------------------------------------------------------------


@bug("optimizer")
def gradient_not_cleared_after_a_step(mp):
    mp.setattr(trainer.Trainer, "zero_grad", lambda self: None)


@bug("optimizer")
def weight_decay_on_norms(mp):
    def made(original, masters, outer, config):
        optimizers = original(masters, outer, config)
        for group in optimizers[0].param_groups:
            group["weight_decay"] = config.weight_decay
        return optimizers

    wrap(mp, trainer, "make_optimizers", made)


@bug("optimizer")
def gradient_not_clipped(mp):
    wrap(mp, torch.nn.utils, "clip_grad_norm_", lambda f, params, limit: f(params, math.inf))


@bug("optimizer")
def schedule_not_followed(mp):
    wrap(mp, trainer.Trainer, "step", lambda f, self, lr=None: f(self, None))


@bug("optimizer")
def betas_of_another_optimizer(mp):
    wrap(mp, trainer, "make_optimizers", lambda f, m, o, c: f(m, o, replace(c, betas=(0.9, 0.999))))


@bug("resume")
def optimizer_state_lost_on_resume(mp):
    def load(original, self, state):
        fresh = [optimizer.state_dict() for optimizer in self.optimizers]
        original(self, state | {"optimizers": fresh})

    wrap(mp, trainer.Trainer, "load_state", load)


@bug("resume")
def version_lost_on_resume(mp):
    wrap(mp, trainer.Trainer, "load_state", lambda f, self, state: f(self, state | {"version": 0}))


@bug("resume")
def masters_saved_rounded(mp):
    def state(original, self):
        saved = original(self)
        return saved | {"masters": [m.to(torch.bfloat16).float() for m in saved["masters"]]}

    wrap(mp, trainer.Trainer, "state", state)


@bug("stage_resume")
def learning_rate_schedule_restarted_on_resume(mp):
    began = SimpleNamespace(step=0)

    def resume(original, session):
        original(session)
        began.step = session.start

    wrap(mp, RLSession, "resume", resume)
    wrap(mp, rl.RL, "lr_at", lambda f, self, step: f(self, step - began.step))


@bug("reference")
def reference_not_refreshed(mp):
    first: list[Any] = []

    def copy_once(original, policy):
        first.append(first[0] if first else original(policy))
        return first[0]

    for module in (loop, setup):
        wrap(mp, module, "frozen_copy", copy_once)


@bug("reference")
def reference_shares_the_policys_weights(mp):
    for module in (loop, setup):
        mp.setattr(module, "frozen_copy", lambda policy: policies.Policy(policy.model))


@bug("update")
def advantages_lost_before_the_update(mp):
    wrap(mp, algorithm.Algorithm, "credit", lambda f, self, examples: [
        replace(e, advantage=np.sign(e.advantage)) for e in f(self, examples)])  # fmt: skip


@bug("dropout", dropout=0.1)
def dropout_on(mp):
    """The patient's model is in training mode."""


@bug("training_mode")
def backward_switches_to_training_mode(mp):
    def backward(original, self, *args):
        self.model.train()
        return original(self, *args)

    wrap(mp, policies.Policy, "backward", backward)


@bug("resources")
def disk_is_full(mp):
    mp.setattr(memory, "free_disk", lambda folder: 1000)


@bug("resources")
def memory_is_short(mp):
    mp.setattr(memory, "free_memory", lambda device: 1 << 20)
