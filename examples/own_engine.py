"""An engine of your own: what samples, here transformers' generate. aha zero rl.engine=examples/own_engine.py:Plain"""

import torch
from transformers import AutoModelForCausalLM

from aha.sampling.engine import Engine, as_rollout, ending_ids

HOW = {"output_scores": True, "return_dict_in_generate": True, "top_k": 0, "pad_token_id": 0}


class Plain(Engine):
    @classmethod
    def make(cls, model, tokenizer, setup):  # a model of its own, with the policy's weights after each update
        engine, config = cls(), type(model.config).from_dict(model.config.to_dict())
        engine.model = AutoModelForCausalLM.from_config(config, dtype=model.dtype).to(model.device).eval()
        engine.tokenizer, engine.ends = tokenizer, ending_ids(model, tokenizer)
        return engine

    def load_weights(self, tensors, version):
        self.version, _ = version, self.model.load_state_dict(tensors, strict=False)  # tied output layers

    def generate(self, requests, params, *, seed=0, progress=None, leftovers=None):
        how = HOW | {"do_sample": True, "temperature": params.temperature} if params.temperature else HOW
        how = how | {"max_new_tokens": params.max_tokens, "eos_token_id": list(self.ends)}
        for index, request in enumerate(requests):
            torch.manual_seed((seed + request.key) % 2**63)
            prompt = torch.tensor([request.prompt_ids] * request.n, device=self.model.device)
            out = self.model.generate(prompt, **how)
            new, scores = (
                out.sequences[:, prompt.shape[1] :],
                torch.stack(out.scores, 1).float().log_softmax(-1),
            )
            pairs = zip(new.tolist(), scores.gather(2, new[..., None])[..., 0].tolist(), strict=True)
            yield (
                index,
                tuple(as_rollout(request, *p, self.tokenizer, self.ends, self.version) for p in pairs),
            )
