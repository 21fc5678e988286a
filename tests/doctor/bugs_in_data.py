"""Bugs in tokens, masks, advantages and rewards."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from bug_forms import TOKENIZER, bug, change_batches, change_examples, change_rollouts, wrap

from aha import chat
from aha.rewards import accuracy
from aha.sampling import rollouts
from aha.sampling.local import scheduler
from aha.stages.rl import collect
from aha.tasks import countdown
from aha.training import advantages, sequences
from aha.types import Finish, Outcome, Score, Verdict

# --- tokens and masks --------------------------------------------------------------------------------------


@bug("masks")
def pad_tokens_in_the_loss(mp):
    def padded(e):
        pad = lambda a, value: np.append(a, [value, value]).astype(a.dtype)  # noqa: E731
        return replace(
            e, token_ids=pad(e.token_ids, 0), mask=pad(e.mask, True), advantage=pad(e.advantage, 1.0),
            sampler_logprobs=pad(e.sampler_logprobs, -1.0),
        )  # fmt: skip

    change_examples(mp, padded)


@bug("masks")
def eos_dropped_from_the_loss(mp):
    def without_last(e):
        return replace(e, mask=e.mask & (np.arange(len(e.mask)) < len(e.mask) - 1))

    change_examples(mp, without_last)


@bug("masks")
def eos_dropped_from_the_completion(mp):
    def cut(r):
        if r.finish is not Finish.STOP:
            return r
        return replace(r, completion_ids=r.completion_ids[:-1], logprobs=r.logprobs[:-1])

    change_rollouts(mp, cut)


@bug("masks")
def truncated_counted_as_stopped(mp):
    change_rollouts(mp, lambda r: replace(r, finish=Finish.STOP))


@bug("masks")
def sampling_goes_on_after_eos(mp):
    def begin(original: Any, run: Any, *args: Any) -> None:
        original(run, *args)
        run.eos = np.array([-1])

    wrap(mp, scheduler.Scheduler, "__init__", begin)


@bug("masks")
def prompt_is_trained(mp):
    change_examples(mp, lambda e: replace(e, mask=np.ones_like(e.mask)))


@bug("masks")
def advantage_broadcast_to_the_prompt(mp):
    change_examples(mp, lambda e: replace(e, advantage=np.full(len(e.mask), e.advantage[-1])))


@bug("masks")
def weights_shifted_against_tokens(mp):
    change_batches(mp, lambda b: replace(b, weights=np.roll(b.weights, -1)))


@bug("tokens")
def completion_tokenized_again(mp):
    tokenizer = TOKENIZER.value

    def again(e):
        text = tokenizer.decode(e.token_ids[e.prompt_length :].tolist(), skip_special_tokens=False)
        ids = np.array(tokenizer.encode(text, add_special_tokens=False), e.token_ids.dtype)
        ids = np.resize(ids, len(e.token_ids) - e.prompt_length)
        return replace(e, token_ids=np.concatenate([e.token_ids[: e.prompt_length], ids]))

    change_examples(mp, again)


@bug("tokens", bos=True)
def double_bos(mp):
    wrap(mp, chat, "encode_prompt", lambda f, r, t: [t.bos_token_id, t.bos_token_id, *f(r, t)])


@bug("tokens")
def prompt_cut_on_the_right(mp):
    wrap(mp, chat, "encode_prompt", lambda f, r, t: f(r, t)[:-3])


@bug("tokens")
def opened_think_not_noticed(mp):
    wrap(mp, chat, "render", lambda f, *a, **k: replace(f(*a, **k), opened_think=False))


@bug("tokens")
def texts_of_other_rollouts(mp):
    change_rollouts(mp, lambda r: replace(r, text="something else altogether"))


# --- advantages and rewards --------------------------------------------------------------------------------


def estimator(mp, function):
    for name in ("group_std", "group_mean"):
        mp.setitem(advantages.ADVANTAGES, name, function)


@bug("advantages")
def baseline_over_different_problems(mp):
    def shared(rewards, baselines=None):
        mean = np.nanmean(np.concatenate(rewards))
        return [r - mean for r in rewards]

    estimator(mp, shared)


@bug("advantages")
def std_of_a_zero_variance_group(mp):
    def divided(rewards, baselines=None):
        with np.errstate(all="ignore"):
            return [(r - np.nanmean(r)) / np.nanstd(r) for r in rewards]

    estimator(mp, divided)


@bug("advantages")
def ungradable_counted_as_zero(mp):
    for name in ("group_std", "group_mean"):
        original = advantages.ADVANTAGES[name]
        mp.setitem(
            advantages.ADVANTAGES, name, lambda r, b=None, f=original: f([np.nan_to_num(x) for x in r], b)
        )


@bug("advantages")
def sample_std_instead_of_population(mp):
    def sample_std(rewards, baselines=None):
        return [advantages.group_mean(r) / (np.nanstd(r, ddof=1) + 1e-6) for r in rewards]

    mp.setitem(advantages.ADVANTAGES, "group_std", sample_std)


@bug("advantages")
def reward_of_one_rollout_given_to_another(mp):
    def rotated(original, problem, rollouts, rewards):
        group = original(problem, rollouts, rewards)
        moved = group.members[1:] + group.members[:1]
        return replace(
            group,
            members=tuple(
                replace(m, reward=o.reward, scores=o.scores)
                for m, o in zip(group.members, moved, strict=True)
            ),
        )

    wrap(mp, rollouts, "score_group", rotated)


@bug("advantages")
def advantages_of_members_in_reverse(mp):
    wrap(mp, sequences, "to_examples", lambda f, g, values, *rest: f(g, [v[::-1] for v in values], *rest))


@bug("advantages")
def timeouts_scored_zero(mp):
    def reward(original, verify, **values):
        def known(problem, text):
            verdict = verify(problem, text)
            late = verdict.outcome is Outcome.UNKNOWN
            return Verdict(Outcome.WRONG, verdict.note) if late else verdict

        return original(known, **values)

    wrap(mp, accuracy, "accuracy", reward)


@bug("advantages")
def missing_scores_summed_as_zero(mp):
    def total(original, scores, rewards):
        return original({k: Score(v.value or 0.0) for k, v in scores.items()}, rewards)

    wrap(mp, rollouts, "_total", total)


@bug("steps")
def ungradable_becomes_zero_in_the_stage(mp):
    wrap(mp, collect.Collector, "outcome", lambda f, self, group: np.nan_to_num(f(self, group)))


@bug("verifier")
def verifier_likes_everything(mp):
    mp.setattr(countdown, "verify", lambda problem, text: Verdict(Outcome.CORRECT))


@bug("verifier")
def verifier_likes_nothing(mp):
    mp.setattr(countdown, "verify", lambda problem, text: Verdict(Outcome.WRONG))
