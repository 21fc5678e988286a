"""TRL's GRPO, learning: a rollout and its updates for each question, rewards asked of the asker. Imports nothing of
aha but the driver beside it, which has the answers' stream."""
# pyright: reportMissingImports=false

import os
import time

from trl_driver import answer, ask, on_gpu


def main():
    """Load, then one rollout for each question, with what was asked for of the weights in between."""
    job = ask()
    try:
        make_trainer(job).train()
    except Exception as error:
        answer(error=f"{type(error).__name__}: {error}"[:2000])
        raise


def make_trainer(job):
    """TRL's GRPO with the settings of the other side."""
    import torch
    import trl
    from datasets import Dataset
    from transformers import PreTrainedTokenizerFast, set_seed

    if job["threads"]:
        torch.set_num_threads(job["threads"])
    set_seed(job["seed"])
    clock = {"asked": 0.0, "tokens": 0}

    def graded(completions, completion_ids, index, **_):
        started = time.perf_counter()
        clock["tokens"] += sum(map(len, completion_ids))
        answer(grade=[list(map(int, ids)) for ids in completion_ids], index=index)
        rewards = ask()["rewards"]
        clock["asked"] += time.perf_counter() - started
        return rewards

    config = make_config(job)
    return trl.GRPOTrainer(
        model=job["folder"],
        reward_funcs=graded,
        args=config,
        train_dataset=Dataset.from_dict(
            {"prompt": job["prompts"], "index": list(range(len(job["prompts"])))}
        ),
        processing_class=PreTrainedTokenizerFast.from_pretrained(job["folder"], padding_side="left"),
        callbacks=[make_turns(job, clock)],
    )


def make_config(job):
    """The same batch, mini-batches, loss and optimizer; the rest is TRL's default."""
    import trl

    rollout = job["questions"] * job["group"]
    batch = rollout // job["mini_batches"]
    micro = max(d for d in range(1, batch + 1) if batch % d == 0 and d <= max(1, job["micro_batch"]))
    bf16 = job["dtype"] == "bfloat16"
    return trl.GRPOConfig(
        output_dir=job["folder"],
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=batch // micro,
        steps_per_generation=rollout // micro,
        num_generations=job["group"],
        num_iterations=1,
        max_completion_length=job["max_tokens"],
        max_steps=job["steps"] * job["mini_batches"],
        temperature=job["temperature"],
        top_p=1.0,
        top_k=0,
        beta=0.0,
        epsilon=job["clip_low"],
        epsilon_high=job["clip_high"],
        scale_rewards="group",
        loss_type="dapo",  # the mean over all tokens of a mini-batch
        learning_rate=job["lr"],
        lr_scheduler_type="constant",
        adam_beta1=job["betas"][0],
        adam_beta2=job["betas"][1],
        weight_decay=0.0,
        max_grad_norm=job["max_grad_norm"],
        bf16=bf16,
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
        seed=job["seed"],
        model_init_kwargs={"dtype": "float32"},
    )


def make_turns(job, clock):
    """Waits before each rollout for the word to go, and tells after its last update how long it took."""
    import torch
    import trl
    from transformers import TrainerCallback

    def synchronise():
        if torch.cuda.is_available():
            torch.cuda.synchronize()

    class LearnTurns(TrainerCallback):
        def on_train_begin(self, *args, **kwargs):
            answer(ready=True, version=f"trl {trl.__version__}, torch {torch.__version__}")

        def on_step_begin(self, args, state, control, **kwargs):
            if state.global_step % job["mini_batches"]:
                return
            while (question := ask()).get("save"):
                kwargs["model"].save_pretrained(question["save"])
                answer(saved=True)
            clock.update(asked=0.0, tokens=0)
            synchronise()
            self.started = time.perf_counter()

        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step % job["mini_batches"]:
                return
            synchronise()
            seconds = time.perf_counter() - self.started
            answer(seconds=seconds, waited=clock["asked"], tokens=clock["tokens"])
            if state.global_step == args.max_steps:  # the last weights are asked for, too
                while (question := ask()).get("save"):
                    kwargs["model"].save_pretrained(question["save"])
                    answer(saved=True)
                os._exit(0)

    return LearnTurns()


if __name__ == "__main__":
    main()
