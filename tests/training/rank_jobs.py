"""What the tests of ranks compute, in one process or in each of several: ``python rank_jobs.py FOLDER``."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from conftest import make_model

from aha import ranks
from aha.corpus import tiny
from aha.corpus import tokenizer as tiny_tokenizer
from aha.rewards.format import strict_format
from aha.sampling.local.engine import LocalEngine
from aha.sampling.rollouts import Prompter, sample_groups
from aha.sampling.sampler import SamplingParams
from aha.stages.supervised.dpo import whole_rows
from aha.training import checkpoint, offload, parallel
from aha.training.batching import pack, sequence_mean
from aha.training.losses import clipped_loss
from aha.training.policy import OptimizerConfig, Policy
from aha.training.preferences import Preference, StepCompletions, preference_loss
from aha.training.reference import sequence_logprobs
from aha.training.scalar import ScalarModel, pairwise, text_example
from aha.training.sharding import Shards
from aha.types import Example, Problem

STEPS = 3
PREFERENCES = ("dpo", "orpo", "kto")
LAYOUTS = ("replicated", "sharded")
VARIANTS = {
    "plain": {},
    "recomputed": {"gradient_checkpointing": True},
    "offloaded": {"activation_offload": True},
    "both": {"gradient_checkpointing": True, "activation_offload": True},
}


def make_tokenizer():
    return tiny_tokenizer.build(tiny.documents("tests", 300))


def examples(groups=6, seed=0):
    rng = np.random.default_rng(seed)
    rows = []
    for group in range(groups):
        prompt = rng.integers(0, 300, 5)
        for _ in range(4):
            ids = np.concatenate([prompt, rng.integers(0, 300, rng.integers(1, 30))])
            mask = np.arange(len(ids)) >= 5
            advantage = np.where(mask, rng.normal(), 0.0)
            rows.append(Example(ids, mask, advantage, np.full(len(ids), -5.0), 5, group))
    return rows


def new_policy(tokenizer, sharded, dtype=torch.float32, **changes):
    model = make_model(tokenizer, dtype)
    shards = Shards(model, trains=True, samples=True) if sharded else None
    return Policy(model, OptimizerConfig(lr=1e-3, **changes), shards=shards)


def steps(policy, first, last):
    """(loss, gradient norm) of each step, an odd number of micro-batches in each."""
    curve = []
    for number in range(first, last + 1):
        batches = pack(examples(seed=number), sequence_mean, 60)
        batches = batches[: len(batches) - 1 + len(batches) % 2]
        sums = policy.map_microbatches(batches, lambda batch: policy.backward(batch, clipped_loss()))
        curve.append((sum(s["loss"] for s in sums), policy.step()))
    return curve


def weights(policy):
    with policy.unsharded():
        return torch.cat([p.detach().float().flatten() for p in policy.sampler.parameters()])


def trained(tokenizer, sharded, dtype=torch.float32, **changes):
    policy = new_policy(tokenizer, sharded, dtype, **changes)
    curve = steps(policy, 1, STEPS)
    batches = pack(examples(), sequence_mean, 60)
    logprobs = policy.map_microbatches(batches, policy.logprobs, trains=False)
    return {"curve": curve, "weights": weights(policy), "logprobs": torch.tensor(np.concatenate(logprobs))}


def sampled(tokenizer, policy):
    """Token ids, logprobs and rewards of three answers to each of five questions."""
    problems = [Problem(f"q{i}", "none", ({"role": "user", "content": f"{i} + {i}?"},)) for i in range(5)]
    engine = LocalEngine(policy.sampler, tokenizer, max_rows=4)
    rewards = {"format": (1.0, strict_format())}
    with policy.unsharded():
        groups = sample_groups(
            engine, Prompter(tokenizer), problems, 3, SamplingParams(max_tokens=12), rewards, seed=7
        )
    members = [m for g in groups for m in g.members]
    return {
        "problems": [g.problem.id for g in groups],
        "ids": [m.rollout.completion_ids.tolist() for m in members],
        "logprobs": torch.tensor(np.concatenate([m.rollout.logprobs for m in members])),
        "rewards": [m.reward for m in members],
    }


def scalar(tokenizer, sharded):
    """Steps of a reward model on pairs, and the scores it ends with."""
    rng = np.random.default_rng(3)
    rows = [
        text_example(rng.integers(0, 300, 4), rng.integers(0, 300, rng.integers(2, 20)), 1, pair)
        for pair in range(5)
        for _ in range(2)
    ]
    model = ScalarModel(make_model(tokenizer), OptimizerConfig(lr=1e-2), sharded=sharded)
    curve = []
    for _ in range(2):
        sums = model.learn(rows, 60, pairwise(5))
        curve.append((sums["loss"], model.step()))
    return {
        "curve": curve,
        "dealt": torch.tensor(model.score(rows, 60, deal=True)),
        "each": torch.tensor(model.score(rows, 60)),
        "head": model.whole_head(),
    }


def saved(tokenizer, root, sharded):
    """Two steps and a checkpoint with a reward model in its ``extra``."""
    policy = new_policy(tokenizer, sharded)
    critic = ScalarModel(make_model(tokenizer), OptimizerConfig(lr=1e-2), sharded=sharded)
    steps(policy, 1, STEPS - 1)
    extra = {"critic": critic, "note": torch.ones(3)}
    checkpoint.save(root, STEPS - 1, policy, tokenizer, {"seconds": 1.0}, extra)
    return policy


def preferences(tokenizer, sharded, loss):
    """Two steps on five pairs, after the reference was asked: its sums, the curve, and where the weights are."""
    pairs = [replace(e, group=i // 2) for i, e in enumerate(examples()) if e.group < 5 and i % 4 < 2]
    pairs = [replace(e, group=i // 2) for i, e in enumerate(pairs)]
    policy, curve = new_policy(tokenizer, sharded), []
    reference = sequence_logprobs(policy, pairs, 60)
    labels = np.tile([1.0, 0.0], len(pairs) // 2)
    lengths = np.array([float(e.mask.sum()) for e in pairs])
    ends = np.cumsum([len(e.token_ids) for e in pairs])
    longest = max(
        len(a.token_ids) + len(b.token_ids) - 5 for a, b in zip(pairs[0::2], pairs[1::2], strict=True)
    )
    for _ in range(3):
        kl = float((sequence_logprobs(policy, pairs, 60) - reference).mean())
        step = preference_loss(
            Preference(loss, beta=0.5), StepCompletions(labels, reference, lengths, ends, kl)
        )
        batches = parallel.balance(partial(whole_rows, pairs, longest), 80)
        sums = policy.map_microbatches(batches, lambda batch, of=step: policy.backward(batch, of(batch)))
        curve.append((sum(s["loss"] for s in sums), sum(s["rewards/chosen"] for s in sums), policy.step()))
    return {"curve": curve, "weights": weights(policy), "reference": torch.tensor(reference)}


def continued(tokenizer, root, sharded):
    """The last step, from a checkpoint that any number of ranks may have written."""
    policy = new_policy(tokenizer, sharded)
    critic = ScalarModel(make_model(tokenizer, seed=1), OptimizerConfig(lr=1e-2), sharded=sharded)
    folder = checkpoint.latest(root)
    assert folder is not None
    progress, extra = checkpoint.load(folder, policy, {"critic": critic})
    assert (progress["seconds"], sorted(extra), policy.version) == (1.0, ["note"], STEPS - 1)
    curve = steps(policy, STEPS, STEPS)
    return {"curve": curve, "weights": weights(policy)}


def run_stages(folder, layout):
    """A pipeline of pretraining, fine-tuning and a reward model, on all ranks; small, and from scratch."""
    from aha.files import write_jsonl
    from aha.runs import pipeline
    from aha.stages.supervised import pretrain
    from aha.stages.supervised.pretrain import Pretrain
    from aha.stages.supervised.reward_model import RewardModel
    from aha.stages.supervised.sft import SFT

    pretrain.VOCABULARY_DOCUMENTS["tiny"] = 300  # a small vocabulary is soon made
    rows, pairs = folder / "rows.jsonl", folder / "pairs.jsonl"
    user = [[{"role": "user", "content": f"Add {i} and 2"}] for i in range(24)]
    texts = [f"<think>{i}+2={i + 2}.</think> <answer>{i + 2}</answer>" for i in range(24)]
    said = [[{"role": "assistant", "content": text}] for text in texts]
    write_jsonl(rows, [{"messages": [*q, *a]} for q, a in zip(user, said, strict=True)])
    wrong = [*said[1:], said[0]]
    write_jsonl(
        pairs,
        [
            {"prompt": q, "chosen": a, "rejected": b, "problem_id": str(i)}
            for i, (q, a, b) in enumerate(zip(user, said, wrong, strict=True))
        ],
    )
    widths = {
        "hidden_size": 32,
        "layers": 2,
        "heads": 4,
        "kv_heads": 2,
        "intermediate_size": 64,
        "context_length": 256,
    }
    small = {"dtype": "float32", "save_every": 2, "max_tokens_per_batch": 512}
    base = Pretrain.model_validate({"name": "base", "steps": 4, "tokens_per_step": 900, **widths, **small})
    common = {"model": base, "prompt": "r1_zero", "max_length": 200, "lr": 1e-2, **small}
    tuned = SFT.model_validate(
        {
            "name": "tuned",
            "data": (str(rows),),
            "epochs": 1,
            "batch_size": 6,
            "validation_share": 0.2,
            **common,
        }
    )
    scorer = RewardModel.model_validate(
        {"name": "scorer", "data": (str(pairs),), "batch_size": 6, "held_out": 0.2, **common}
    )
    ranks.barrier()
    context = pipeline.Context(folder, "cpu", threads=1, plain=True, parallel=layout)
    return pipeline.run([tuned, scorer], folder / "run", context, config={}, say=print)


def main(folder):
    """As one of the ranks: everything, into FOLDER/RANK.pt; FOLDER/one holds a checkpoint of one process."""
    torch.set_num_threads(1)
    offload.LEAST_ELEMENTS = 1  # these models' tensors are small
    tokenizer, results = make_tokenizer(), {}
    with ranks.joined("cpu"):
        results["world"] = parallel.world()
        for layout in LAYOUTS:
            sharded = layout == "sharded"
            for name, changes in VARIANTS.items():
                results[layout, name] = trained(tokenizer, sharded, **changes)
            results[layout, "bfloat16"] = trained(tokenizer, sharded, torch.bfloat16)
            results[layout, "muon"] = trained(tokenizer, sharded, muon_lr=0.01)
            policy = saved(tokenizer, folder / layout, sharded)
            results[layout, "sampled"] = sampled(tokenizer, new_policy(tokenizer, sharded))
            results[layout, "scalar"] = scalar(tokenizer, sharded)
            for loss in PREFERENCES:
                results[layout, loss] = preferences(tokenizer, sharded, loss)
            checkpoint.save_model(policy, tokenizer, folder / f"{layout}-final")
        ranks.barrier()
        for source in ("one", *LAYOUTS):
            for layout in LAYOUTS:
                results["continued", source, layout] = continued(
                    tokenizer, folder / source, layout == "sharded"
                )
    torch.save(results, folder / f"{os.environ['RANK']}.pt")


if __name__ == "__main__":
    if len(sys.argv) > 2:
        with ranks.joined("cpu"):
            run_stages(Path(sys.argv[1]), sys.argv[2])
    else:
        main(Path(sys.argv[1]))
    ranks.end(0)
