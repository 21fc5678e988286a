"""TRL's preference losses on a batch of token ids: the loss and its gradient by every weight, by TRL's own trainers.
Imports nothing of aha but the driver beside it, which has the answers' stream."""
# pyright: reportMissingImports=false

from trl_driver import answer, ask

PAIRS = {"prompt": ["a b", "a c"], "chosen": ["d", "e"], "rejected": ["f", "g"]}
LABELS = {"prompt": ["a b", "a c"], "completion": ["d", "e"], "label": [True, False]}
"""What trainers are made with; they are asked of the batch that is given."""


def main():
    """One loss for each question: its value, and gradients by the names of weights."""
    while True:
        job = ask()
        try:
            answer(**measured(job))
        except Exception as error:
            answer(error=f"{type(error).__name__}: {error}"[:2000])
            raise


def measured(job):
    """The loss of a job's rows and its gradients."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(1)
    model = AutoModelForCausalLM.from_pretrained(
        job["folder"], dtype=torch.float32, attn_implementation="eager"
    )
    loss = LOSSES[job["trainer"]](job, model)
    loss.backward()
    grads = {n: p.grad.flatten().tolist() for n, p in model.named_parameters() if p.grad is not None}
    return {"loss": float(loss.detach()), "grads": grads}


def dpo(job, model):
    """TRL's DPO, with the reference's log probabilities as they were given."""
    import torch
    import trl

    trainer = made(trl.DPOTrainer, trl.DPOConfig, PAIRS, job, model)
    trainer.precompute_ref_logps = True
    inputs = padded(job["chosen"] + job["rejected"])
    reference = {f"ref_{side}_logps": torch.tensor(job[f"ref_{side}"]) for side in ("chosen", "rejected")}
    return trainer._compute_loss(trainer.model, inputs | reference, False)


def kto(job, model):
    """TRL's KTO, with the mismatched completions as they were given."""
    import torch
    import trl

    trainer = made(trl.KTOTrainer, trl.KTOConfig, LABELS, job, model, per_device_train_batch_size=2)
    trainer.precompute_ref_logps = True
    inputs = padded(job["rows"]) | {f"KL_{k}": v for k, v in padded(job["mismatched"]).items()}
    inputs |= {"label": torch.tensor(job["labels"]), "ref_logps": torch.tensor(job["ref"])}
    inputs["ref_KL_logps"] = torch.tensor(job["ref_mismatched"])
    return trainer._compute_loss(trainer.model, inputs, False)


def orpo(job, model):
    """The odds ratio of TRL's ORPO; its SFT term, which TRL computes over the prompt as well, is left out."""
    from trl.experimental.orpo import ORPOConfig, ORPOTrainer

    trainer = made(ORPOTrainer, ORPOConfig, PAIRS, job, model)
    chosen, rejected = trainer.concatenated_forward(trainer.model, sides(job))[:2]
    return -trainer.odds_ratio_loss(chosen, rejected)[0].mean()


def cpo(job, model):
    """SimPO, and losses without a reference, as TRL's CPO has them; without its SFT term."""
    from trl.experimental.cpo import CPOConfig, CPOTrainer

    trainer = made(CPOTrainer, CPOConfig, PAIRS, job, model, loss_type="simpo", cpo_alpha=0.0)
    return trainer.get_batch_loss_metrics(trainer.model, sides(job))[0]


LOSSES = {"dpo": dpo, "kto": kto, "orpo": orpo, "cpo": cpo}


def made(trainer, config, rows, job, model, **settings):
    """A trainer of TRL's with the job's settings."""
    from datasets import Dataset
    from transformers import PreTrainedTokenizerFast

    args = config(
        output_dir=job["folder"], use_cpu=True, bf16=False, report_to=[], gradient_checkpointing=False,
        **(settings | job["settings"]),
    )  # fmt: skip
    tokenizer = PreTrainedTokenizerFast.from_pretrained(job["folder"])
    return trainer(model=model, args=args, train_dataset=Dataset.from_dict(rows), processing_class=tokenizer)


def padded(rows):
    """Sequences (prompt ids, completion ids) as TRL's collators lay them out."""
    import torch

    length = max(len(p) + len(c) for p, c in rows)

    def column(values):
        return torch.tensor([row + [0] * (length - len(row)) for row in values])

    return {
        "input_ids": column([p + c for p, c in rows]),
        "attention_mask": column([[1] * (len(p) + len(c)) for p, c in rows]),
        "completion_mask": column([[0] * len(p) + [1] * len(c) for p, c in rows]),
    }


def sides(job):
    """The batch of ORPO and CPO: labels are -100 in the prompt and in the padding."""
    tensors = {}
    for side in ("chosen", "rejected"):
        rows = padded(job[side])
        tensors[f"{side}_input_ids"] = rows["input_ids"]
        tensors[f"{side}_attention_mask"] = rows["attention_mask"]
        tensors[f"{side}_labels"] = rows["input_ids"].masked_fill(rows["completion_mask"] == 0, -100)
    return tensors


if __name__ == "__main__":
    main()
