"""All checks, and the patient made from a command's arguments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from aha import hardware, modeling
from aha.doctor import engine_checks, suite
from aha.doctor.finding import Check
from aha.doctor.full import checkup, network_checks, stage_checks
from aha.doctor.subject import DoctorContext, ExaminationPlan
from aha.planning import fitted as planned
from aha.runs.pipeline import Context
from aha.sampling.engine import EngineSetup
from aha.sampling.engines import engine_class
from aha.sampling.rollouts import Prompter
from aha.stages import engines, rl
from aha.tasks import get_task
from aha.training import policy as policies
from aha.training import sequences
from aha.types import AhaError, Problem

CHECKS: tuple[Check, ...] = (*suite.CHECKS, *stage_checks.CHECKS, *network_checks.CHECKS)


def checks_for(engine: str) -> tuple[Check, ...]:
    """All that apply to a run with this engine."""
    return (*CHECKS, *engine_checks.CHECKS) if engine_class(engine).takes_weights else CHECKS


def admit(
    config: rl.RL, folder: Path, *, engine: str, device: str, dtype: str, threads: int
) -> DoctorContext:
    """The patient: the run's model, engine and task, as the stage ``config`` would set them up.

    Raises AhaError for an unknown engine and where model or task cannot be had.
    """
    engine_class(engine)
    if not isinstance(config.model, str):
        raise AhaError(
            f"The stage '{config.name}' starts from another stage's model, which does not exist yet. Give --model."
        )
    hardware.set_threads(threads)
    place = hardware.pick_device(device)
    kind = hardware.pick_dtype(dtype if dtype != "auto" else config.dtype, place)
    tokenizer = modeling.load_tokenizer(config.model)
    room = planned.free(place)
    model = modeling.load_model(config.model, place, kind)
    source = config.model
    where = Context(folder, device, str(kind).removeprefix("torch."), threads, plain=True)
    config, _ = planned.fitted(config, where, model, room, source)  # as the run itself would
    task = get_task(config.task, config.data, config.test_data)
    prompter = Prompter(tokenizer, config.prompt)
    drawn = task.load("train", min(64, config.train_problems), config.seed)
    plan, problems = fitted(checkup.plan_of(config), prompter, drawn, config, modeling.max_context(model))
    policy = policies.Policy(model)
    sampler = engines.for_policy(
        engine, policy, tokenizer,
        EngineSetup(config.max_num_seqs, config.max_prompt_tokens + plan.max_tokens, threads, config),
    )  # fmt: skip
    engines.sync(sampler, policy)
    return DoctorContext(
        model=model,
        tokenizer=tokenizer,
        task=task,
        problems=problems,
        prompter=prompter,
        engine=sampler,
        policy=policy,
        plan=plan,
        folder=folder,
        wanted_tokens=config.longest_completion,
        to_examples=lambda groups, advantages: sequences.to_examples(groups, advantages),
        source=source,
    )


def fitted(
    plan: ExaminationPlan, prompter: Prompter, problems: Sequence[Problem], config: rl.RL, context: int
) -> tuple[ExaminationPlan, list[Problem]]:
    """The plan with completions that leave room for prompts in the model's ``context``, and the problems whose prompts
    fit. A model is examined as it is; that a run's own lengths do not fit it is said by the check of resources."""
    room = context - plan.max_tokens
    shortest = min(len(prompter.encode(problem)[0]) for problem in prompter.asked(problems))
    if room >= shortest:
        return plan, prompter.drop_long(problems, min(config.max_prompt_tokens, room))
    kept = prompter.drop_long(problems, min(config.max_prompt_tokens, max(shortest, context // 2)))
    longest = max(len(prompter.encode(problem)[0]) for problem in kept)
    if longest >= context:
        raise AhaError(f"The shortest prompt has {longest} tokens and the model a context of {context}.")
    return replace(plan, max_tokens=context - longest), kept
