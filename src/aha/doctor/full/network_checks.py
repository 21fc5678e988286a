"""Two real processes: gradients are added up, and a model sharded takes the step of a whole one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from aha import ranks
from aha.doctor import formulas, gradient_checks, ground_truth, miniature
from aha.doctor.finding import Check, Finding, NotApplicable, at_most, count
from aha.doctor.full import part
from aha.doctor.subject import DoctorContext
from aha.training import batching

SECONDS = 110.0  # two processes import torch; on a busy core that alone can take most of a minute


def network(subject: DoctorContext) -> Iterator[Finding]:
    """Two gloo processes with gradients 1 and 2 (times the tensor's number) end with 3."""
    if not dist.is_available() or not dist.is_gloo_available():
        raise NotApplicable("this torch was built without gloo")
    with subject.scratch() as place:
        store = Path(place) / "store"
        env = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": ranks.LOOPBACK}
        words = ["-m", "aha.doctor.full.rank", str(store)]
        outputs = _outputs([[*words, str(rank), "2"] for rank in range(2)], [env, env])
    wrong = []
    for rank, (_, said, error) in enumerate(outputs):
        expected = {"world": [rank, 2], "sums": [[3.0] * 3, [6.0] * 4]}
        reply = json.loads(said.splitlines()[-1]) if said.strip() else error.strip()[-200:]
        wrong += [] if reply == expected else [f"rank {rank}: {reply}"]
    yield count("ranks over gloo whose summed gradient is not the sum", wrong, 2,
                cause="gradients are not summed over processes, or processes cannot reach each other here",
                fix="look at training.parallel; on a cluster, at the network interface")  # fmt: skip


def _outputs(commands: Sequence[list[str]], envs: Sequence[dict[str, str]]) -> list[tuple[int, str, str]]:
    """(exit code, output, errors) of Python processes that run together; none outlives this call."""
    started = [
        subprocess.Popen(
            [sys.executable, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env
        )
        for words, env in zip(commands, envs, strict=True)
    ]
    try:
        said = [p.communicate(timeout=SECONDS) for p in started]
        return [(p.returncode, *words) for p, words in zip(started, said, strict=True)]
    except subprocess.TimeoutExpired:
        raise NotApplicable(f"two processes did not find each other in {SECONDS:.0f} s") from None
    finally:
        for process in started:
            if process.poll() is None:
                process.kill()
                process.wait()


def sharded(subject: DoctorContext) -> Iterator[Finding]:
    """Two ranks with half of the weights each (FSDP2) against this process with all of them: one step."""
    subject = miniature.of(subject)
    if not dist.is_available() or not dist.is_gloo_available():
        raise NotApplicable("this torch was built without gloo")
    subject.require_room(12)
    subject.require_savable()
    with subject.scratch() as place:
        yield from _sharded(subject, Path(place))


def _sharded(subject: DoctorContext, place: Path) -> Iterator[Finding]:
    """Both sides load the same files: what a model does not save may be rounded in one that was converted."""
    subject.model.save_pretrained(place / "model")
    policy = part.new_policy(place, subject.device)
    t, algorithm = subject.plan.temperature, gradient_checks.full_algorithm(subject)
    examples = gradient_checks.made_examples(subject, 7)
    examples = gradient_checks.near_policy(policy, examples, subject.data_seed, t)
    weights = formulas.weights(algorithm, examples)
    assert weights is not None
    batches = batching.pack(examples, algorithm.weighting(), 60)
    odd = batches[: len(batches) - 1 + len(batches) % 2]  # one rank has a batch less
    before = torch.cat([p.detach().flatten().cpu() for p in policy.params])
    job = {"batches": odd, "algorithm": algorithm.model_dump(), "temperature": t}
    results = _on_two_ranks(place, job, "cuda" if torch.cuda.device_count() > 1 else "cpu")
    yield from _compared(results, part.step(policy, odd, algorithm, t), before)


def _on_two_ranks(place: Path, job: dict[str, Any], device: str) -> dict[str, Any]:
    """What two ranks find. Raises RuntimeError with what they said if they find nothing."""
    torch.save(job, place / "job.pt")
    variables = ranks.variables(2, ranks.free_port())
    envs = [os.environ | one | {"OMP_NUM_THREADS": "1"} for one in variables]
    outputs = _outputs([["-m", "aha.doctor.full.part", str(place), device]] * 2, envs)
    if any(code for code, _, _ in outputs):
        raise RuntimeError("; ".join(f"rank {i}: {e.strip()[-200:]}" for i, (_, _, e) in enumerate(outputs)))
    return torch.load(place / "found.pt", weights_only=False)


def _compared(results: dict[str, Any], expected: dict[str, Any], before: torch.Tensor) -> Iterator[Finding]:
    cause = "weights, gradients or the optimizer's state are divided or put together wrongly"
    fix = "train with --parallel replicated, and report the architecture"
    gap = float(np.abs(results["logprobs"] - expected["logprobs"]).max())
    yield at_most("|sharded - whole| logprobs, largest", gap, gradient_checks.LOGPROB_LIMIT, unit=" nats",
                  cause=cause, fix=fix)  # fmt: skip
    yield at_most("gradient sharded and whole, relative",
                  ground_truth.relative_error(results["gradient"], expected["gradient"]), gradient_checks.SAME_LIMIT,
                  cause=cause, fix=fix)  # fmt: skip
    norms = abs(results["norm"] / expected["norm"] - 1)
    yield at_most("norm of the gradient sharded and whole, relative", norms, gradient_checks.SAME_LIMIT,
                  cause=cause, fix=fix)  # fmt: skip
    new, own = (torch.cat([w.flatten() for w in v["weights"]]) for v in (results, expected))
    moved = float((own - before).abs().mean())
    yield at_most("sampler's weights after the step, sharded and whole, mean difference by mean step",
                  float((new - own).abs().mean()) / moved, 0.01, cause=cause, fix=fix)  # fmt: skip
    share = max(results["elements"]) / len(before)
    yield at_most("share of the weights that a rank keeps", share, 0.6,
                  cause="the model is not divided", fix=fix)  # fmt: skip


CHECKS = (
    Check("network", "gradients of real processes are summed", network),
    Check("sharded", "two ranks with half of the weights each take the step of one process", sharded),
)
