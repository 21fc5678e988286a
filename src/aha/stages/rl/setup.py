"""Setting up a stage of reinforcement learning: model, policy, engine, session, and where it stopped before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from aha import hardware, modeling, plugins
from aha.cluster.workers import RewardSpec
from aha.planning import fitted as room
from aha.runs.console import Console
from aha.runs.pipeline import Context
from aha.sampling.engine import EngineSetup
from aha.sampling.engines import engine_class
from aha.stages import asking, engines
from aha.stages.rl.session import RLSession
from aha.stages.rl.settings import RLSettings, check_asynchronous, check_lengths
from aha.training import sharding
from aha.training.critic import Critic
from aha.training.frozen import frozen_copy
from aha.training.lora import Adapters, LoraSettings
from aha.training.policy import OptimizerConfig, Policy


def prepare(config: RLSettings, context: Context) -> RLSession:
    """Load the model and the data, and take up where an earlier process stopped."""
    hardware.set_threads(context.threads)
    device = hardware.pick_device(context.device)
    chosen = context.dtype if context.dtype != "auto" else config.dtype
    dtype = hardware.pick_dtype(chosen, device)
    source = context.model_path(config.model)
    tokenizer, free = modeling.load_tokenizer(source), room.free(device)
    model = modeling.load_model(source, device, dtype)
    check_lengths(config, modeling.max_context(model))
    check_asynchronous(config)
    config, tell = room.fitted(config, context, model, free, source)
    adapters = Adapters(model, LoraSettings(config.lora_rank), config.seed) if config.lora_rank else None
    optimizer = OptimizerConfig(
        lr=config.lr,
        max_grad_norm=config.max_grad_norm,
        gradient_checkpointing=config.gradient_checkpointing,
        activation_offload=config.activation_offload,
        context_parallel_size=config.context_parallel_size,
        torch_compile=config.torch_compile,
    )
    sharded, critic = sharding.chosen(context.parallel, model), None
    if config.algorithm.critic:
        critic_lr = config.lr * config.algorithm.critic_lr_scale
        critic = Critic(model, replace(optimizer, lr=critic_lr), sharded=sharded)
    policy = Policy(model, optimizer, adapters, sharding.shards(context.parallel, model, samples=True))
    engine = engines.for_policy(
        config.engine, policy, tokenizer,
        EngineSetup(
            rows=config.max_num_seqs, longest=config.longest_sequence, threads=context.threads, stage=config,
            rewards=_reward_spec(config),
        ),
    )  # fmt: skip
    try:
        return _session(config, context, policy, engine, tokenizer, source, critic, tell)
    except BaseException:
        engine.close()
        raise


def _reward_spec(config: RLSettings) -> RewardSpec | None:
    """What reward workers grade by; None where nothing grades beside the sampling."""
    engine = engine_class(config.engine)
    if not engine.has_workers:
        return None
    files = plugins.parcel(config.own_parts()) if engine.grades(config) else ()
    return RewardSpec(config.task, config.data, config.test_data, config.rewards, files)


def _session(
    config: RLSettings,
    context: Context,
    policy: Policy,
    engine: Any,
    tokenizer: Any,
    source: str,
    critic: Critic | None,
    tell: Callable[[Console], None],
) -> RLSession:
    """The session, taken up where an earlier process stopped, and examined."""
    session = RLSession(config, context, policy, engine, tokenizer)
    if config.algorithm.needs_reference:
        session.reference = frozen_copy(policy)
    session.critic = critic
    session.resume()
    _show_prompt(session, source)
    prompt = session.prompter.prompt
    asking.keep(policy.model, tokenizer, prompt, prompt.one_instruction(session.problems))
    tell(session.console)
    with engines.ready(engine, policy):
        session.sync()
        session.calibrate()
    if context.examine is not None:
        context.examine(session, source)
    return session


def _show_prompt(session: RLSession, source: str) -> None:
    asking.show(session.console, session.prompter, session.problems, source)
    if session.start:
        session.console.note(f"Continuing after step {session.start}.")
