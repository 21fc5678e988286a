"""TRL in an environment of its own: GRPO steps on demand, JSON lines in and out. Imports nothing of aha.

The trainer is TRL's own, as a user would run it; a callback holds it between steps until it is asked for
the next one, so that two programs can be measured in turn.
"""
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


def ask():
    """The next question, or an end when the asker is gone."""
    line = sys.stdin.readline()
    if not line:
        os._exit(0)
    return json.loads(line)


def main():
    """Load, then take one step for each question."""
    job = ask()
    try:
        trainer = make_trainer(job)
        trainer.train()
    except Exception as error:
        answer(error=f"{type(error).__name__}: {error}"[:2000])
        raise


def make_trainer(job):
    """TRL's GRPO on the given checkpoint and prompts."""
    import torch
    import trl
    from datasets import Dataset
    from transformers import PreTrainedTokenizerFast

    if job["threads"]:
        torch.set_num_threads(job["threads"])
    lengths = []

    def graded(completions, completion_ids, **_):
        lengths.extend(map(len, completion_ids))
        return reward(completions)

    config = make_config(job)
    return trl.GRPOTrainer(
        model=job["folder"],
        reward_funcs=graded,
        args=config,
        train_dataset=Dataset.from_dict({"prompt": job["prompts"]}),
        # By its own file: by the model's type transformers would take another kind for random models.
        processing_class=PreTrainedTokenizerFast.from_pretrained(job["folder"], padding_side="left"),
        callbacks=[make_turns(lengths, config.per_device_train_batch_size)],
    )


def reward(completions):
    """The share of the digit 1 in the text: cheap, and different for different completions."""
    return [text.count("1") / max(1, len(text)) for text in completions]


def on_gpu(job):
    """Whether the work is done on a GPU."""
    import torch

    return torch.cuda.is_available() and job["device"].startswith("cuda")


def make_config(job):
    """TRL's defaults, with everything off that is no part of a step."""
    import trl

    total = len(job["prompts"]) * job["group"]
    micro = max(d for d in range(1, total + 1) if total % d == 0 and d <= max(1, job["micro_batch"]))
    bf16 = job["dtype"] == "bfloat16"
    weights = "bfloat16" if bf16 and job["precision"] == "bf16" else "float32"
    return trl.GRPOConfig(
        output_dir=job["folder"],
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=total // micro,
        num_generations=job["group"],
        max_completion_length=job["tokens"],
        max_steps=job["steps"],
        temperature=1.0,
        top_p=1.0,
        top_k=0,
        beta=0.0,
        learning_rate=1e-6,
        lr_scheduler_type="constant",
        loss_type="grpo",
        bf16=bf16 and job["precision"] == "autocast",
        gradient_checkpointing=False,
        use_cpu=not on_gpu(job),
        optim="adamw_torch_fused",
        report_to=[],
        save_strategy="no",
        logging_strategy="no",
        log_completions=False,
        disable_tqdm=True,
        shuffle_dataset=False,
        dataloader_pin_memory=on_gpu(job),
        # Nothing ends early, here as there.
        generation_kwargs={"min_new_tokens": job["tokens"]},
        model_init_kwargs={"dtype": weights},
    )


def make_turns(lengths, micro):
    """A callback that waits before each step for the word to go, and tells afterwards how long it took."""
    import torch
    import trl
    from transformers import TrainerCallback

    def synchronise():
        if torch.cuda.is_available():
            torch.cuda.synchronize()

    class Turns(TrainerCallback):
        def on_train_begin(self, *args, **kwargs):
            answer(ready=True, version=f"trl {trl.__version__}, torch {torch.__version__}", micro_batch=micro)

        def on_step_begin(self, *args, **kwargs):
            ask()
            lengths.clear()
            synchronise()
            self.started = time.perf_counter()

        def on_step_end(self, *args, **kwargs):
            synchronise()
            seconds = time.perf_counter() - self.started
            answer(seconds=seconds, tokens=sum(lengths), completions=len(lengths))

    return Turns()


if __name__ == "__main__":
    main()
