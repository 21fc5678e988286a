"""What the tests of context parallelism compute, in one process or in each of several ranks:
``python context_jobs.py FOLDER SIZES NAME ...``"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from conftest import make_model
from rank_jobs import make_tokenizer, weights
from transformers import AutoModelForCausalLM

from aha import kernels, ranks
from aha.files import write_jsonl
from aha.planning import measure
from aha.planning.measure import _config, _StorageCounter
from aha.planning.workload import Workload
from aha.runs import pipeline
from aha.stages.supervised.sft import SFT
from aha.training import offload, parallel
from aha.training.batching import pack, sequence_mean
from aha.training.critic import Critic
from aha.training.lora import Adapters, LoraSettings
from aha.training.losses import negative_log_likelihood, policy_loss
from aha.training.policy import OptimizerConfig, Policy
from aha.training.scalar import ScalarModel, pairwise, text_example
from aha.training.sharding import Shards, unsharded
from aha.types import Example

sys.path.append(str(Path(__file__).parents[1] / "models"))

BOTH = {"gradient_checkpointing": True, "activation_offload": True}


def example(rng, prompt, completion, group=-1):
    """Prompt ids and ``completion`` random tokens to learn from, each with an advantage of its own."""
    ids = np.concatenate([prompt, rng.integers(0, 300, completion)])
    mask = np.arange(len(ids)) >= len(prompt)
    columns = {name: np.where(mask, rng.normal(size=len(ids)), 0.0) for name in ("values", "returns")}
    advantage = np.where(mask, rng.normal(), 0.0)
    logprobs, reference = (-5 + rng.normal(size=(2, len(ids))) / 4).astype(np.float32)
    plain = Example(ids, mask, advantage, logprobs, len(prompt), group, **columns)
    return replace(plain, reference_logprobs=reference)


def one_long(rng):
    return [example(rng, rng.integers(0, 300, 7), 160)]


def many(rng):
    return [example(rng, rng.integers(0, 300, 3), int(n)) for n in rng.integers(1, 30, 24)]


def prompts(rng):
    """Groups of four with prompts longer and shorter than their completions."""
    rows = []
    for group, length in enumerate((40, 3, 12)):
        prompt = rng.integers(0, 300, length)
        rows += [example(rng, prompt, int(n), group) for n in rng.integers(1, 40, 4)]
    return rows


def few(rng):
    """Fewer tokens than ranks may be."""
    return [example(rng, rng.integers(0, 300, 1), 1)]


@dataclass(frozen=True)
class Case:
    rows: Callable[[np.random.Generator], list[Example]] = prompts
    max_tokens: int = 200
    family: str = "llama"
    sharded: bool = False
    loss: dict[str, Any] = field(default_factory=dict)
    changes: dict[str, Any] = field(default_factory=dict)
    adapters: bool = False


GRPO = {"kl": "k3", "kl_coef": 0.1, "entropy_coef": 0.02}
CASES = {
    "long": Case(one_long),
    "long-recomputed": Case(one_long, changes={"gradient_checkpointing": True}),
    "many": Case(many, 120),
    "prompts": Case(loss=GRPO),
    "prompts-both": Case(changes=BOTH),
    "sequence-ratio": Case(loss={"ratio": "sequence"}),
    "few": Case(few),
    "sharded-long": Case(one_long, sharded=True),
    "sharded-many": Case(many, 120, sharded=True, changes=BOTH),
    "sharded-few": Case(few, sharded=True),
    "gemma2": Case(family="gemma2"),
    "gemma2-long": Case(one_long, family="gemma2"),
    "gpt-oss": Case(family="gpt-oss", changes={"gradient_checkpointing": True}),
    "deepseek-v3": Case(family="deepseek-v3"),
}
if find_spec("peft"):
    CASES["adapters"] = Case(one_long, adapters=True, changes={"gradient_checkpointing": True})
FOUR = ("long", "many", "prompts-both", "few", "sharded-many", "sharded-long", "sharded-few")
"""What four ranks compute, two to a micro-batch and all four to one."""


def new_model(tokenizer, case, dtype=torch.float32):
    from families import make

    return make_model(tokenizer, dtype) if case.family == "llama" else make(case.family, tokenizer, dtype)


def new_policy(tokenizer, case, context_parallel_size, dtype=torch.float32):
    model = new_model(tokenizer, case, dtype)
    config = OptimizerConfig(lr=1e-3, context_parallel_size=context_parallel_size, **case.changes)
    adapters = Adapters(model, LoraSettings(4)) if case.adapters else None
    shards = Shards(model, trains=True, samples=True) if case.sharded else None
    return Policy(model, config, adapters, shards)


def gradient(trainer):
    """The gradient so far, of all ranks."""
    gradient_sum = torch.cat([unsharded(m.grad).detach().flatten() for m in trainer.masters])
    if trainer.shards is None and ranks.world()[1] > 1:
        dist.all_reduce(gradient_sum)
    return gradient_sum


def computed(tokenizer, case, context_parallel_size=1, dtype=torch.float32):
    """Log probabilities, and two steps: sums of the loss, the gradient, its norm, the weights."""
    policy, loss = new_policy(tokenizer, case, context_parallel_size, dtype), policy_loss(**case.loss)
    results = {"sums": [], "norms": [], "gradients": [], "seen": []}

    def learn(batch):
        return policy.backward(batch, loss), policy.last_logprobs

    for step in range(2):
        rows = case.rows(np.random.default_rng(step))
        batches = pack(rows, sequence_mean, case.max_tokens)
        logprobs = policy.map_microbatches(batches, policy.logprobs, trains=False)
        results["logprobs"] = torch.tensor(np.concatenate(logprobs))
        for sums, (chosen, values) in policy.map_microbatches(batches, learn):
            results["sums"].append(sums)
            results["seen"].append(torch.tensor(np.stack([chosen, values])))
        results["gradients"].append(gradient(policy))
        results["norms"].append(policy.step())
    return results | {"weights": weights(policy)}


def critic(tokenizer, sharded, context_parallel_size):
    """The values of a critic before and after a step, and a reward model's scores on pairs."""
    config = OptimizerConfig(lr=1e-2, context_parallel_size=context_parallel_size)
    batches = pack(prompts(np.random.default_rng(0)), sequence_mean, 150)
    model = Critic(make_model(tokenizer), config, sharded=sharded)
    sums = model.map_microbatches(batches, lambda batch: model.backward(batch, 0.2))
    slope, norm = gradient(model), model.step()
    values = model.map_microbatches(batches, model.values, trains=False)
    rng = np.random.default_rng(3)
    rows = [text_example(rng.integers(0, 300, 4), rng.integers(0, 300, 15), 1, i // 2) for i in range(10)]
    scorer = ScalarModel(make_model(tokenizer), config, sharded=sharded)
    learned = scorer.learn(rows, 60, pairwise(5)), scorer.step()
    return {
        "sums": sums,
        "norm": norm,
        "gradient": slope,
        "values": torch.tensor(np.concatenate(values)),
        "learned": learned,
        "scores": torch.tensor(scorer.score(rows, 60, deal=True)),
    }


WORK = {
    again: Workload("sft", 1, 1, 1, 0, 1024, 1024, recompute=again, number_bytes=4) for again in (False, True)
}


def memory(recompute, context_parallel_size):
    """Bytes that a pass over one long sequence adds to this rank's tensors at its peak, and those that autograd
    keeps between the passes."""
    torch.manual_seed(0)
    length, counter = WORK[recompute].longest, _StorageCounter()
    ids = np.random.default_rng(0).integers(0, 300, length)
    rows = [Example(ids, np.arange(length) >= 0, np.ones(length), None, 0, -1)]
    (batch,) = pack(rows, sequence_mean, length)
    with kernels.without(), counter.watching():
        model = AutoModelForCausalLM.from_config(_config(measure.Case("small")), dtype=torch.float32).eval()
        policy = Policy(
            model,
            OptimizerConfig(gradient_checkpointing=recompute, context_parallel_size=context_parallel_size),
        )
        policy.step()  # makes the optimizer's moments
        kept = {p.untyped_storage().data_ptr(): 0 for p in model.parameters()}
        resident = counter.now
        counter.start()
        with torch.autograd.graph.saved_tensors_hooks(lambda x: _noted(x, kept), lambda x: x):
            policy.backward(batch, negative_log_likelihood)
    return {"peak": counter.peak - resident, "saved": sum(kept.values())}


def _noted(value, kept):
    storage = value.untyped_storage()
    kept.setdefault(storage.data_ptr(), storage.nbytes())
    return value


def fine_tuned(folder, context_parallel_size):
    """A stage of three steps on conversations of which one is long, from FOLDER/base, into FOLDER/RANKS."""
    rows = folder / "rows.jsonl"
    if ranks.is_main() and not rows.exists():
        texts = [" ".join(f"{i} + {n} = {i + n}." for n in range(30 if i == 3 else 3)) for i in range(10)]
        turns = [("user", "Add."), ("assistant", "")]
        conversations = [[{"role": role, "content": said or text} for role, said in turns] for text in texts]
        write_jsonl(rows, [{"messages": messages} for messages in conversations])
    ranks.barrier()
    stage = SFT.model_validate(
        {"name": "tuned", "model": str(folder / "base"), "data": (str(rows),), "epochs": 1, "batch_size": 3}
        | {"validation_share": 0.1, "lr": 1e-3, "prompt": "r1_zero", "dtype": "float32", "max_length": 500}
        | {
            "max_tokens_per_batch": 500,
            "gradient_checkpointing": True,
            "context_parallel_size": context_parallel_size,
        }
    )
    context = pipeline.Context(folder, "cpu", threads=1, plain=True)
    return pipeline.run([stage], folder / str(context_parallel_size), context, config={}, say=print)


def main(folder, groups, names):
    """As one of the ranks: the named cases, in groups of each size, into FOLDER/RANK.pt."""
    torch.set_num_threads(1)
    offload.LEAST_ELEMENTS = 1  # these models' tensors are small
    tokenizer, results = make_tokenizer(), {}
    with ranks.joined("cpu"):
        results["world"] = parallel.world()
        for size in groups:
            for name in names:
                results[size, name] = computed(tokenizer, CASES[name], size)
            for sharded in (False, True):
                results[size, "critic", sharded] = critic(tokenizer, sharded, size)
        if "gemma2" in names:
            results["bfloat16"] = computed(tokenizer, CASES["prompts"], 2, torch.bfloat16)
        for recompute in WORK:
            results["memory", recompute] = memory(recompute, max(groups))
        if (folder / "base").exists():
            fine_tuned(folder, max(groups))
    torch.save(results, folder / f"{os.environ['RANK']}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]), [int(size) for size in sys.argv[2].split(",")], sys.argv[3:])
    ranks.end(0)
