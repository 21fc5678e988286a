"""vLLM in an environment of its own: completions on demand, JSON lines in and out. Imports nothing of aha."""
# pyright: reportMissingImports=false

import json
import os
import sys
import time

# Everything printed goes to stderr; the answers have the real stdout for themselves.
ANSWERS = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)


def answer(**fields):
    """One line back."""
    ANSWERS.write(json.dumps(fields) + "\n")
    ANSWERS.flush()


def main():
    """Load, then sample once for each question."""
    job = json.loads(sys.stdin.readline())
    try:
        engine, params, version = load(job)
        answer(ready=True, version=version)
        prompts = [{"prompt_token_ids": ids} for ids in job["prompts"]]
        for _ in sys.stdin:
            answer(**sample(engine, params, prompts))
    except Exception as error:
        answer(error=f"{type(error).__name__}: {error}"[:2000])
        raise


def load(job):
    """The engine with room for every row at once, as its users would set it for this work."""
    import torch
    import vllm

    longest = max(map(len, job["prompts"])) + job["tokens"]
    rows = len(job["prompts"]) * job["group"]
    engine = vllm.LLM(
        model=job["folder"],
        dtype=job["dtype"],
        skip_tokenizer_init=True,
        max_model_len=longest,
        max_num_seqs=rows,
        enforce_eager=job["eager"],
        seed=0,
        disable_log_stats=True,
        gpu_memory_utilization=0.5,  # the rest is the other side's; without meaning on a CPU
    )
    params = vllm.SamplingParams(
        n=job["group"],
        temperature=1.0,
        top_p=1.0,
        top_k=0,
        max_tokens=job["tokens"],
        ignore_eos=True,
        logprobs=0,  # of the sampled token alone
        detokenize=False,
    )
    return engine, params, f"vllm {vllm.__version__}, torch {torch.__version__}"


def sample(engine, params, prompts):
    """One run, with nothing kept from the run before: new weights would have made it worthless."""
    engine.reset_prefix_cache()
    started = time.perf_counter()
    outputs = engine.generate(prompts, params, use_tqdm=False)
    seconds = time.perf_counter() - started
    completions = [completion for output in outputs for completion in output.outputs]
    with_logprobs = all(c.logprobs is not None and len(c.logprobs) == len(c.token_ids) for c in completions)
    tokens = sum(len(c.token_ids) for c in completions)
    return {"seconds": seconds, "tokens": tokens, "completions": len(completions), "logprobs": with_logprobs}


if __name__ == "__main__":
    main()
