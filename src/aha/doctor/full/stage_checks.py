"""The loop of reinforcement learning: seeds of steps, the reference, whole steps, stopping and resuming."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from aha.doctor import exact, gradient_checks, ground_truth, miniature
from aha.doctor.finding import Check, Finding, at_least, at_most, count, holds
from aha.doctor.full import bench
from aha.doctor.sampling_checks import HOT
from aha.doctor.subject import DoctorContext
from aha.doctor.weight_checks import digest
from aha.stages import rl
from aha.stages.rl.session import RLSession
from aha.training import sequences
from aha.types import Group

TIMES = ("step_time", "time/sampling", "time/training", "tokens_per_second")
NEVER = 10**6


def steps(subject: DoctorContext) -> Iterator[Finding]:
    """What changes from step to step in a real session: seeds, versions, weights in the engine."""
    subject = miniature.of(subject)
    with bench.saved(subject) as place:
        # One question in all, and hot: equal completions are then equal random numbers.
        config = bench.stage(subject, place, temperature=HOT, train_problems=1, prompts_per_step=1)
        session = bench.prepared(config, bench.context(subject, place / "run"))
        first, second = _ids(_collect(session, 1)), _ids(_collect(session, 2))
        yield count("completions of the same question that repeat in the next step",
                    [str(i) for i in first if i in second], len(first),
                    cause="every step draws the same random numbers: the step is not in the seed",
                    fix="look at the seed that the stage hands to the engine")  # fmt: skip
        other = config.model_copy(update={"seed": config.seed + 1})
        session.collector.seed = other.seed
        third = _ids(_collect(session, 1))
        yield count("completions that repeat under another seed of the run",
                    [str(i) for i in first if i in third], len(first),
                    cause="the run's seed is not used", fix="look at the stage's seed")  # fmt: skip
        session.config = config = config.model_copy(update={"temperature": 1.3})
        yield from _version(session, config)
        yield _ungradable(session)


def _collect(session: RLSession, step: int) -> list[Group]:
    with bench.quiet():
        return session.collect(step, 12, 0.0)


def _ids(groups: list[Group]) -> list[tuple[int, ...]]:
    return [tuple(m.rollout.completion_ids.tolist()) for g in groups for m in g.members]


def _version(session: RLSession, config: rl.RL) -> Iterator[Finding]:
    """After an update the rollouts carry the new version, and their logprobs are the new weights'."""
    _update(session, config, 1, _collect(session, 1))
    after = _collect(session, 2)
    versions = {m.rollout.policy_version for g in after for m in g.members}
    now = session.policy.version
    yield holds("policy version noted in rollouts, and the policy's", versions == {now} and now > 0,
                f"{sorted(versions)} and {now}", threshold="equal, above 0",
                cause="the engine does not know which weights it samples with",
                fix="set the engine's version before sampling")  # fmt: skip
    rollouts = [m.rollout for g in after for m in g.members]
    truth = exact.Exact(session.policy.model).truth(rollouts, config.temperature)
    said = [r.logprobs.astype(np.float64) for r in rollouts]
    yield from truth.compare("the sampler's logprobs for the updated policy at the stage's temperature", said,
                             cause="the engine samples with old weights, or at another temperature than it says",
                             fix="load the weights after each step")  # fmt: skip


def _ungradable(session: RLSession) -> Finding:
    """Through the stage's own path: a member without a reward has no advantage, and is not trained on."""
    (group,) = _collect(session, 3)
    rewards = [1.0, None, 0.0, None]
    members = tuple(replace(m, reward=r) for m, r in zip(group.members, rewards, strict=True))
    advantages = session.advantages([replace(group, members=members)])
    examples = sequences.to_examples([group], advantages)
    values = [round(float(v), 3) for v in advantages[0]]
    ok = str(values) == "[1.0, nan, -1.0, nan]" and len(examples) == 2
    return holds("advantages of rewards 1, none, 0, none in the stage, and the examples made of them", ok,
                 f"{values}, {len(examples)} examples", threshold="1, NaN, -1, NaN and 2 examples",
                 cause="what could not be graded is scored as wrong on the way to the advantages",
                 fix="look at the stage's collector and at to_examples")  # fmt: skip


def _update(session: RLSession, config: rl.RL, step: int, groups: list[Group]) -> dict[str, float]:
    """The stage's own update, with advantages that are never all zero."""
    examples = sequences.to_examples(groups, ground_truth.random_advantages(groups, step))
    return config._update(session, step, config.algorithm.credit(session.annotate(examples)))


def update(subject: DoctorContext) -> Iterator[Finding]:
    """One whole update of a real session against one computed apart: the gradient of equation 1 by autograd
    through transformers' forward, and the step it makes; in float32, since bf16 is too coarse for it."""
    subject = miniature.of(subject)
    with bench.saved(subject) as place:
        config = bench.stage(subject, place, mini_batches=1, temperature=1.2, warmup_steps=0, min_lr_ratio=1.0,
                             max_grad_norm=1e9, prompts_per_step=3)  # fmt: skip
        session = bench.prepared(config, bench.context(subject, place / "run", precise=True))
        groups = _collect(session, 1)
        # Room for one group and a little: several micro-batches.
        room = max(len(g.members[0].rollout.prompt_ids) for g in groups) + 60
        session.config = config = config.model_copy(update={"max_tokens_per_batch": room})
        advantages = ground_truth.random_advantages(groups, 1)
        examples = ground_truth.examples(groups, advantages)  # the same advantages as _update takes at step 1
        weights = [e.mask / (len(examples) * e.mask.sum()) for e in examples]  # the mean of sequence means
        # At the first update of a stage the reference is the starting policy: the KL term is 0, and flat.
        near = [replace(e, reference_logprobs=e.sampler_logprobs) for e in examples]
        expected, _ = gradient_checks.plain_gradients(
            session.policy.model, near, config.algorithm, weights, config.temperature
        )
        norm = float(sum(g.double().square().sum() for g in expected)) ** 0.5
        session.policy.zero_grad()
        start = [m.detach().clone() for m in session.policy.masters]
        told = _update(session, config, 1, groups)
        yield at_most("gradient norm of the stage's update and of plain autograd, relative",
                      abs(told["grad_norm"] - norm) / norm, 5e-3, more=f"{told['grad_norm']:.5g} and {norm:.5g}",
                      cause="the update is not equation 1: another temperature, weights per micro-batch, a "
                      "mask or an advantage on wrong tokens", fix="run packing, masks and losses")  # fmt: skip
        # AdamW's first step goes against the sign of the gradient, by lr, wherever it is not tiny.
        floor = 1e-3 * max(float(g.abs().max()) for g in expected)
        off, total = 0, 0
        for m, s, g in zip(session.policy.masters, start, expected, strict=True):
            large = g.abs() > floor
            off += int((((m.detach() - s) * g.sign() + config.lr)[large].abs() > 0.05 * config.lr).sum())
            total += int(large.sum())
        yield at_most("weights that do not move against the plain gradient by the learning rate",
                      off / max(total, 1), 0.01, more=f"{off} of {total}",
                      cause="the step goes another way than the gradient, or by another rate",
                      fix="look at Trainer.step and the stage's lr_at")  # fmt: skip


def reference(subject: DoctorContext) -> Iterator[Finding]:
    """Frozen between refreshes, the policy's copy after one, shared never."""
    subject = miniature.of(subject)
    with bench.saved(subject) as place:
        config = bench.stage(subject, place, steps=3, save_every=NEVER)
        session = bench.prepared(config, bench.context(subject, place / "run"))
        start = digest(list(session.policy.model.parameters()))
        seen: list[tuple[int, str, str]] = []
        watch = session.report

        def report(step: int, *rest: Any) -> None:
            # Called after the update and before the refresh of the same step.
            assert session.reference is not None
            reference_hash, moved = (
                digest(list(p.model.parameters())) for p in (session.reference, session.policy)
            )
            seen.append((step, reference_hash, moved))
            watch(step, *rest)

        session.report = report  # type: ignore[method-assign]
        with bench.quiet(), session.console:
            config._train(session)
        assert session.reference is not None
        frozen = [s for s, ref, _ in seen[:2] if ref != start]
        yield count("steps before the refresh in which the reference is not the start", list(map(str, frozen)), 2,
                    cause="the reference shares the policy's weights, or is refreshed too early",
                    fix="look at frozen_copy and reference_every")  # fmt: skip
        (_, at_three, _), policy_at_two = seen[2], seen[1][2]
        yield holds("reference in step 3 and policy after step 2, when a refresh is due every 2 steps",
                    at_three == policy_at_two != start, f"{at_three} and {policy_at_two}", threshold="equal",
                    cause="the reference is not refreshed when it is due, so the KL term pulls to old weights",
                    fix="look at the stage's loop and frozen_copy")  # fmt: skip
        tensors = {p.data_ptr() for p in session.policy.model.parameters()}
        shared = [n for n, p in session.reference.model.named_parameters() if p.data_ptr() in tensors]
        grads = [n for n, p in session.reference.model.named_parameters() if p.requires_grad]
        yield count("tensors that the reference shares with the policy, or that take gradients",
                    shared + grads, len(tensors), cause="it is no copy", fix="look at frozen_copy")  # fmt: skip
        yield from _kl_figures(place / "run")


def _kl_figures(folder: Path) -> Iterator[Finding]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    kl = [float(row["kl"]) for row in rows]
    yield at_least("kl of every step in the metrics", min(kl), 0.0, more=", ".join(f"{k:.2e}" for k in kl),
                   cause="k3 has the wrong sign", fix="look at training.losses.kl_estimate")  # fmt: skip
    yield at_least("kl of step 2, when the policy has moved and the reference has not", kl[1], 1e-9,
                   cause="the reference follows the policy", fix="look at frozen_copy")  # fmt: skip


def stage_resume(subject: DoctorContext) -> Iterator[Finding]:
    """A stage killed after its first checkpoint and started again, against one that ran through."""
    cause = "something that the next step depends on is not in the checkpoint, or starts over on resuming"
    fix = "look at Session.save, Session.resume, lr_at and the order of problems"
    subject = miniature.of(subject)
    with bench.saved(subject) as place:
        with bench.quiet():
            bench.stage(subject, place).run(bench.context(subject, place / "whole"))
            cut = bench.stage(subject, place, bench.StoppedRL, stop_after=3)
            with contextlib.suppress(bench.Stopped):
                cut.run(bench.context(subject, place / "cut"))
            bench.stage(subject, place).run(bench.context(subject, place / "cut"))
        whole, again = _rows(place / "whole"), _rows(place / "cut")
        norms = [float(r["grad_norm"]) for r in whole]
        yield at_least("smallest gradient norm of the stage (one that does not move shows nothing)", min(norms),
                       1e-9, cause="no term of the loss has a gradient", fix="look at the stage's update")  # fmt: skip
        yield holds("steps in the metrics of the resumed run", [r["step"] for r in again] == [1, 2, 3, 4],
                    str([r["step"] for r in again]), threshold="1 to 4, each once", cause=cause, fix=fix)  # fmt: skip
        off = [f"step {a.get('step')}: {k} {a.get(k)} and {b.get(k)}"
               for a, b in zip(whole, again, strict=False) for k in sorted(a.keys() | b.keys())
               if k not in TIMES and a.get(k) != b.get(k)]  # fmt: skip
        yield count("figures of the metrics that differ between the runs", off, sum(map(len, whole)),
                    cause=cause, fix=fix)  # fmt: skip
        files = _bytes(place / "whole"), _bytes(place / "cut")
        names = sorted(files[0].keys() | files[1].keys())
        wrong = [n for n in names if files[0].get(n) != files[1].get(n)]
        yield count("files that differ byte for byte (rollouts, final weights)", wrong, len(names),
                    cause=cause, fix=fix)  # fmt: skip


def _rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def _bytes(folder: Path) -> Mapping[str, bytes]:
    files = [*sorted((folder / "rollouts").iterdir()), folder / "final" / "model.safetensors"]
    return {f.name: f.read_bytes() for f in files if f.exists()}


CHECKS = (
    Check("steps", "each step has its own random numbers and weights", steps),
    Check("update", "a whole update by hand", update),
    Check("reference", "the reference is frozen, and refreshed when due", reference),
    Check("stage_resume", "a stage killed and resumed equals one that ran through", stage_resume),
)
