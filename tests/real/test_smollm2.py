"""A pretrained model, SmolLM2-135M-Instruct, from its file to a trained checkpoint that transformers loads."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from aha.checkpoints import public
from aha.modeling import load_model, load_tokenizer
from aha.sampling.engine import Request
from aha.sampling.local.engine import LocalEngine
from aha.sampling.sampler import SamplingParams
from aha.training import checkpoint
from aha.training.batching import pack, sequence_mean
from aha.training.losses import policy_loss
from aha.training.policy import Policy
from aha.training.trainer import OptimizerConfig
from aha.types import Example

QUESTIONS = ("What is 12 + 30?", "Write a short line about the sea.")
NEW = 12
"""Tokens of each completion."""


@pytest.fixture(scope="module")
def tokenizer(smollm2):
    return load_tokenizer(str(smollm2))


@pytest.fixture(scope="module")
def prompts(tokenizer):
    turns = [[{"role": "user", "content": question}] for question in QUESTIONS]
    return [
        tokenizer.apply_chat_template(t, add_generation_prompt=True, tokenize=True, return_dict=False)
        for t in turns
    ]


def sampled(model, tokenizer, prompts):
    """Two completions of each prompt, at temperature 1."""
    requests = [Request(ids, 2, key) for key, ids in enumerate(prompts)]
    sampled = dict(LocalEngine(model, tokenizer).generate(requests, SamplingParams(max_tokens=NEW)))
    return [rollout for index in sorted(sampled) for rollout in sampled[index]]


def example(rollout, group):
    ids = np.concatenate([rollout.prompt_ids, rollout.completion_ids]).astype(np.int64)
    begin = len(rollout.prompt_ids)
    mask = np.arange(len(ids)) >= begin
    logprobs = np.zeros(len(ids), np.float32)
    logprobs[begin:] = rollout.logprobs
    advantage = np.where(mask, 1.0 if group % 2 else -1.0, 0.0)
    return Example(ids, mask, advantage, logprobs, begin, group // 2)


def by_transformers(model, rollouts):
    """Log probabilities of the completions as transformers' own model has them."""
    out = []
    for rollout in rollouts:
        ids = torch.tensor([*rollout.prompt_ids, *rollout.completion_ids])[None]
        begin = len(rollout.prompt_ids)
        with torch.no_grad():
            logits = model(input_ids=ids, use_cache=False).logits[0, begin - 1 : -1].float()
        chosen = ids[0, begin:, None]
        out.append(logits.log_softmax(-1).gather(1, chosen)[:, 0].numpy())
    return np.concatenate(out)


def plain(folder, dtype):
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()


@pytest.fixture(scope="module")
def loaded(smollm2):
    """The model in float32; nobody may train it."""
    return load_model(str(smollm2))


@pytest.fixture(scope="module")
def in_float32(smollm2):
    """The same by transformers alone."""
    return plain(smollm2, torch.float32)


def test_every_tensor_of_the_file_is_loaded(smollm2, loaded, tokenizer):
    model, kept = loaded, load_file(smollm2 / "model.safetensors")
    parameters = dict(model.named_parameters())
    assert parameters.keys() == kept.keys()
    assert sum(value.numel() for value in parameters.values()) == 134_515_008
    assert all(torch.equal(parameters[name], value.float()) for name, value in kept.items())
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert (tokenizer.eos_token, LocalEngine(model, tokenizer).eos_ids) == ("<|im_end|>", {2})


def test_its_file_can_be_given_itself(loaded, tokenizer):
    """The GGUF file under any command that takes a model."""
    file = str(public.gguf_path("smollm2"))
    ours, theirs = load_model(file).state_dict(), loaded.state_dict()
    assert all(torch.equal(ours[name], value) for name, value in theirs.items())
    tokenizer_read = load_tokenizer(file)
    assert tokenizer_read.get_vocab() == tokenizer.get_vocab()
    assert tokenizer_read.chat_template == tokenizer.chat_template


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bf16"])
def test_sampler_and_policy_agree_with_transformers(smollm2, loaded, in_float32, tokenizer, prompts, dtype):
    """Each errs against float32 by no more than transformers itself in that type, twice over."""
    model = loaded if dtype == torch.float32 else load_model(str(smollm2), dtype=dtype)
    rollouts = sampled(model, tokenizer, prompts)
    drawn = np.concatenate([rollout.logprobs for rollout in rollouts])
    examples = [example(rollout, number) for number, rollout in enumerate(rollouts)]
    policy = Policy(model)
    learned = [logprobs_of(policy, row) for row in examples]
    truth = by_transformers(in_float32, rollouts)
    allowed = 1e-4
    if dtype == torch.bfloat16:
        allowed = 2 * np.abs(by_transformers(plain(smollm2, dtype), rollouts) - truth).mean()
        assert allowed < 0.2
    assert np.abs(drawn - truth).mean() < allowed
    assert np.abs(np.concatenate(learned) - truth).mean() < allowed


def logprobs_of(policy, row):
    """The policy's log probabilities of a row's completion."""
    (batch,) = pack([row], sequence_mean, 4096)
    return policy.logprobs(batch)[row.mask]


def test_a_step_is_saved_loaded_by_transformers_and_continued(smollm2, tokenizer, prompts, tmp_path):
    """GRPO's gradient raises what it should, the checkpoint is the model, and a resumed run goes on the same."""
    settings = OptimizerConfig(lr=1e-5)
    policy = Policy(load_model(str(smollm2)), settings)
    rollouts = sampled(policy.model, tokenizer, prompts)
    rows = [example(rollout, number) for number, rollout in enumerate(rollouts)]
    batches, loss = pack(rows, sequence_mean, 4096), policy_loss()

    def update(trainer):
        sums = [trainer.backward(batch, loss) for batch in batches]
        return sum(s["loss"] for s in sums), trainer.step()

    before = [policy.logprobs(batch) for batch in batches]
    update(policy)
    after = [policy.logprobs(batch) for batch in batches]
    gain = sum(
        float(((b - a) * batch.advantages).sum()) for a, b, batch in zip(before, after, batches, strict=True)
    )
    assert gain > 0

    folder = checkpoint.save(tmp_path, 1, policy, tokenizer, {}, {})
    text = torch.tensor([rows[0].token_ids])
    with torch.no_grad():
        expected = plain_logits(policy, text)
        logits = plain(folder, torch.float32)(input_ids=text, use_cache=False).logits
    torch.testing.assert_close(logits, expected, atol=1e-3, rtol=1e-4)
    assert load_tokenizer(str(folder)).chat_template == tokenizer.chat_template

    again = Policy(load_model(str(folder)), settings)
    checkpoint.load(folder, again)
    assert update(again) == update(policy)
    for one, other in zip(again.model.parameters(), policy.model.parameters(), strict=True):
        assert torch.equal(one, other)


def plain_logits(policy, ids):
    """What transformers makes of the policy's weights as they are."""
    from transformers import AutoModelForCausalLM

    copy = AutoModelForCausalLM.from_config(
        policy.model.config, attn_implementation="sdpa", dtype=torch.float32
    )
    copy.load_state_dict(policy.model.state_dict())
    return copy.eval()(input_ids=ids, use_cache=False).logits


@pytest.mark.real
@pytest.mark.parametrize("name", ["qwen", "gemma3"])
def test_the_others_load_and_speak(name, request):
    folder = str(request.getfixturevalue(name))
    model, tokenizer = load_model(folder, dtype=torch.bfloat16), load_tokenizer(folder)
    ids = tokenizer.encode("The capital of France is")
    (rollout,) = dict(
        LocalEngine(model, tokenizer).generate([Request(ids, 1, 0)], SamplingParams(0.0, max_tokens=4))
    )[0]
    assert "Paris" in rollout.text
