"""A run examines itself as it starts: the doctor's quick checks on the session's own parts."""

from __future__ import annotations

from aha import ranks
from aha.doctor import sharded, suite
from aha.doctor.subject import DoctorContext, ExaminationPlan
from aha.stages.rl.session import RLSession
from aha.stages.rl.settings import RLSettings
from aha.training import sequences
from aha.training.policy import Policy


def plan_of(config: RLSettings) -> ExaminationPlan:
    """What of a stage's settings the examination needs."""
    return ExaminationPlan(
        algorithm=config.algorithm,
        rewards=tuple(config.rewards),
        temperature=config.temperature,
        max_tokens=config.longest_completion,
        group_size=config.group_size,
        prompts_per_step=config.prompts_per_step,
        max_tokens_per_batch=config.max_tokens_per_batch,
        max_num_seqs=config.max_num_seqs,
        gradient_checkpointing=config.gradient_checkpointing,
        lora_rank=config.lora_rank,
        seed=config.seed,
    )


def examine(session: RLSession, source: str) -> None:
    """Examine the session before its first step; every rank must call it. Raises AhaError on the first rank, with
    check, figure, cause and fix, and ends the others."""
    policy = session.policy
    if policy.shards is None:
        ranks.broadcast_object(lambda: _examine(session, source, policy))
        return
    with policy.unsharded():
        sharded.led(policy, lambda asked: _examine(session, source, asked))


def _examine(session: RLSession, source: str, policy: Policy | sharded.ShardRequest) -> None:
    findings = suite.at_start(patient(session, source, policy))
    passed = len({f.name for f in findings if f.ok})
    seconds = sum(f.seconds for f in findings)
    session.console.note(
        f"Doctor: {passed} quick checks passed in {seconds:.1f} s (all of them: aha doctor)."
    )


def patient(session: RLSession, source: str, policy: Policy | sharded.ShardRequest) -> DoctorContext:
    """The session as the doctor sees it, with ``policy`` for its own."""
    return DoctorContext(
        model=session.policy.sampler,
        tokenizer=session.tokenizer,
        task=session.task,
        problems=session.problems,
        prompter=session.prompter,
        engine=session.engine,
        policy=policy,
        plan=plan_of(session.config),
        folder=session.folder,
        to_examples=lambda groups, advantages: sequences.to_examples(groups, advantages),
        source=source,
        shares=1 if session.policy.shards is None else ranks.real_world()[1],
    )
