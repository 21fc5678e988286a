"""The model's state, and room for the run: dropout, reference, memory, disk."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from aha import modeling, ranks
from aha.doctor import ground_truth, memory, miniature
from aha.doctor.finding import Check, Finding, NotApplicable, at_most, count, holds
from aha.doctor.subject import DoctorContext
from aha.planning.workload import Workload
from aha.sampling.local import engine as local
from aha.training import batching, losses
from aha.training import policy as policies


def dropout(subject: DoctorContext) -> Iterator[Finding]:
    """No module drops anything, neither where samples are drawn nor where gradients are taken."""
    models = {"policy": subject.policy.model, "engine": getattr(subject.engine, "model", subject.model)}
    for name, model in models.items():
        active = [n for n, m in model.named_modules() if _drops(m)]
        yield count(f"modules of the {name}'s model with dropout on", active, 1 + len(list(model.modules())),
                    cause="the model is in training mode, so sampler and trainer compute different numbers",
                    fix="call model.eval() after loading, and set the dropout of the config to 0")  # fmt: skip
    groups = subject.groups()
    examples = ground_truth.examples(groups, [np.ones(len(g.members)) for g in groups])[:2]
    batch = batching.pack(examples, batching.token_mean, 1 << 20)[0]
    first, second = (subject.policy.logprobs(batch) for _ in range(2))
    yield at_most("|difference| of logprobs asked for twice", float(np.abs(first - second).max()), 1e-3,
                  unit=" nats", cause="something random is in the forward pass: dropout, noise",
                  fix="model.eval(), and deterministic kernels")  # fmt: skip


def _drops(module: torch.nn.Module) -> bool:
    """Whether a module would drop something now. Attention layers keep a number instead of a module."""
    if isinstance(module, torch.nn.modules.dropout._DropoutNd):
        return module.training and module.p > 0
    rate = getattr(module, "attention_dropout", 0.0)
    return module.training and isinstance(rate, float) and rate > 0


def training_mode(subject: DoctorContext) -> Iterator[Finding]:
    """The program's own way from a checkpoint to a policy leaves dropout off, also after a step."""
    subject = miniature.of(subject)
    model = subject.copy_model()
    policy = policies.Policy(model, policies.OptimizerConfig(lr=1e-4))
    engine = subject.new_engine(model)
    prompt = subject.prompter.encode(subject.some_problems()[0])[0]
    groups = subject.groups()
    batch = batching.pack(ground_truth.examples(groups, [np.ones(len(g.members)) for g in groups])[:1],
                          batching.token_mean, 1 << 20)[0]  # fmt: skip
    policy.backward(batch, losses.negative_log_likelihood)
    policy.step()
    list(engine.generate([local.Request(prompt, 1, 0)], _two_tokens(), seed=0))
    active = [n for n, m in model.named_modules() if m.training and (_drops(m) or not list(m.children()))]
    yield count("modules in training mode after sampling, a backward pass and a step", active,
                len(list(model.modules())), cause="something switches the model to training mode",
                fix="keep the model in evaluation mode (modeling.load_model)")  # fmt: skip


def _two_tokens() -> Any:
    from aha.sampling.sampler import SamplingParams

    return SamplingParams(max_tokens=2)


def resources(subject: DoctorContext) -> Iterator[Finding]:
    """Memory and disk that the run will still ask for, and what is free."""
    plan, model = subject.plan, subject.model
    longest = max(len(subject.prompter.encode(p)[0]) for p in list(subject.problems)[:64])
    work = Workload(
        kind="rl", steps=0, sequences=plan.group_size * plan.prompts_per_step, group=plan.group_size,
        prompt=longest, completion=plan.max_tokens, batch_tokens=plan.max_tokens_per_batch,
        recompute=plan.gradient_checkpointing, lora=plan.lora_rank, reference=plan.algorithm.needs_reference,
        critic=plan.algorithm.critic, max_num_seqs=plan.max_num_seqs,
        number_bytes=next(model.parameters()).element_size(),
    )  # fmt: skip
    moments = subject.policy.optimizer_bytes()
    asked = memory.needs(model, work, gpus=ranks.launched(), shares=subject.shares, optimizer=moments)
    # What a run takes in memory is an estimate: only a clear shortage is one.
    for what, parts, free, slack, fix in (
        ("memory", asked.memory, memory.free_memory(subject.device), 1.25,
         "lower max_tokens_per_batch, max_num_seqs or max_tokens, or take a smaller model"),
        ("disk", asked.disk, memory.free_disk(subject.folder), 1.0,
         "free some space, or choose another disk with --runs-dir"),
    ):  # fmt: skip
        need = sum(parts.values())
        listed = ", ".join(f"{k} {_size(v)}" for k, v in parts.items() if v)
        yield holds(f"free {what} and what the run asks for", slack * free >= need,
                    f"{_size(free)} free, {_size(need)} needed: {listed}",
                    threshold=f"free at least {1 / slack:.0%} of what is needed",
                    cause=f"too little {what} for this run's model, lengths and batch", fix=fix)  # fmt: skip
    room = modeling.max_context(model)
    if subject.wanted_tokens > plan.max_tokens:  # of a run that is not started here
        yield Finding("", None, f"the run's completions of {subject.wanted_tokens} tokens",
                      cause=f"the model's context of {room} has room for {plan.max_tokens} beside the prompts, "
                      "with which it is examined: give the run max_tokens and max_tokens_schedule to suit")  # fmt: skip
    yield at_most("longest prompt and completion, and the model's context", longest + plan.max_tokens, room,
                  unit=" tokens", cause="completions would run past what the model was built for",
                  fix="lower max_tokens or max_prompt_tokens")  # fmt: skip


def _size(n: float) -> str:
    return f"{n / 2**30:.1f} GiB" if n >= 2**30 else f"{n / 2**20:.0f} MiB"


def finite(subject: DoctorContext) -> Iterator[Finding]:
    """Weights that are numbers, and not all the same."""
    bad = [n for n, p in subject.model.named_parameters() if not bool(torch.isfinite(p).all())]
    yield count("tensors with NaN or infinity", bad, len(list(subject.model.parameters())),
                cause="the checkpoint is damaged", fix="use an earlier checkpoint, or download again")  # fmt: skip


def template(subject: DoctorContext) -> Iterator[Finding]:
    """The kind of the model and its template; EOS within the vocabulary."""
    from aha import chat

    rendered = subject.prompter.render(subject.some_problems()[0])
    doubt = chat.warn_prompt(
        subject.prompter.prompt, subject.tokenizer, model_name=subject.source.rstrip("/").split("/")[-1]
    )
    if doubt:  # a guess: shown, and no reason to stop
        yield Finding("", None, f"prompt {rendered.prompt}", cause=doubt)
    else:
        yield holds(f"the prompt {rendered.prompt} suits the model", True, rendered.prompt, cause="", fix="")
    rows = subject.model.get_input_embeddings().weight.shape[0]
    eos = sorted(getattr(subject.engine, "eos_ids", [subject.tokenizer.eos_token_id]))
    outside = [str(t) for t in eos if not 0 <= int(t) < rows]
    yield count("EOS ids outside of the model's vocabulary", outside, len(eos),
                cause="tokenizer and model do not belong together", fix="use the model's own tokenizer")  # fmt: skip
    if len(subject.tokenizer) > rows:
        raise NotApplicable(f"the tokenizer has {len(subject.tokenizer)} tokens, the model {rows}: "
                            "tokens beyond the model's would fail")  # fmt: skip


CHECKS = (
    Check("finite", "the weights are numbers", finite),
    Check("template", "template and EOS suit the model", template, quick=True),
    Check("dropout", "dropout is off", dropout, quick=True),
    Check("training_mode", "nothing switches dropout on", training_mode),
    Check("resources", "free memory and disk for the run", resources, quick=True),
)
