"""A reward model on a worker of its own: behind an address, asked for the scores of whole conversations.

``aha serve MODEL`` serves ours and classifiers of Hugging Face; vLLM serves classifiers in the same form
(``POST /classify`` with messages).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from aha import ranks
from aha.files import read_json, write_json
from aha.runs.pipeline import Context
from aha.sampling.client.endpoint import Client, Endpoint
from aha.sampling.client.engine import in_parallel
from aha.sampling.client.refusals import RefusedRequestError
from aha.stages.supervised.calibrated import CalibratedScorer
from aha.stages.supervised.reward_model import RewardKind, Scale, ScoreScale, own_scale
from aha.types import AhaError

SERVED = "reward_models.json"
"""The hashes of weights that served reward models had as a stage began, by address, in its folder."""
CLASSIFY = "/classify"


class ServedScorer(CalibratedScorer):
    """A reward model that is asked over an address, ``http://host:port/v1#MODEL``; of several outputs the score is
    named by its number: ``#MODEL@1``.

    A model of ours says its kind and its scale itself, and so scores as it would in this process.
    """

    def __init__(self, address: str, context: Context, kind: RewardKind, scale: Scale = "unit"):
        base, model, self.output = split_address(address)
        self.client = Client(Endpoint(base, model))
        self.card = self._card(model)
        super().__init__(address, self.card.get("kind") or kind, scale)
        self.calibration = self.card.get("calibration")
        self.weights = self.card.get("weights")
        self._same_as_before(context)

    def _card(self, model: str) -> dict[str, Any]:
        """What the server says of the model. Raises AhaError where it does not serve it."""
        served = {str(one.get("id")): one for one in self.client.served()}
        if model not in served:
            raise AhaError(
                f"{self.client.endpoint.base_url} serves no '{model}'. There are: {', '.join(served)}."
            )
        return served[model]

    def _same_as_before(self, context: Context) -> None:
        """Raise AhaError where the stage began with other weights behind this address."""
        file = context.folder / SERVED
        known: dict[str, str | None] = read_json(file) if file.exists() else {}
        if self.name not in known:
            if ranks.is_main():
                write_json(file, known | {self.name: self.weights})
        elif known[self.name] != self.weights:
            raise self._other(f"when this stage began ({file})")

    def _other(self, before: str) -> AhaError:
        return AhaError(
            f"The reward model {self.name} has other weights than {before}: rewards would change in the middle. Serve "
            "the one from before; a run of another name (--run NAME) may take this one."
        )

    def raw_read(self, messages: Sequence[Mapping[str, str]], read: Sequence[str]) -> list[float | None]:
        """The head's own scores; answers are asked for at once, equal ones together."""
        values: list[float | None] = [None] * len(read)
        jobs = [lambda text=text: self._one(messages, text) for text in read]
        for index, value in in_parallel(jobs, self.client.endpoint.concurrency):
            values[index] = value
        return values

    def _one(self, messages: Sequence[Mapping[str, str]], read: str) -> float | None:
        whole = [*map(dict, messages), {"role": "assistant", "content": read}]
        try:
            answer = self.client.post(CLASSIFY, {"messages": whole, "use_activation": False})
        except RefusedRequestError:
            return None
        if answer.get("weights", self.weights) != self.weights:
            raise self._other("before")
        return self._number(answer)

    def _number(self, answer: Mapping[str, Any]) -> float:
        """The score in an answer."""
        url = self.client.endpoint.url(CLASSIFY)
        try:
            outputs = answer["data"][0]["probs"]
            value = outputs[self.output or 0]
        except (KeyError, IndexError, TypeError):
            raise AhaError(
                f"{url} gives no score of '{self.name}' in data[0].probs: {str(answer)[:200]}"
            ) from None
        if len(outputs) > 1 and self.output is None:
            raise AhaError(
                f"'{self.name}' has {len(outputs)} outputs: which is the score? Number it from 0: {self.name}@0."
            )
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise AhaError(
                f"{url} gives a score of '{self.name}' that is no finite number: {str(value)[:40]}."
            )
        return float(value)

    def score_scale(self) -> ScoreScale:
        """The model's own where it is one of ours."""
        own = self.card.get("calibration")
        return super().score_scale() if own is None else own_scale(self.kind, own)


def split_address(address: str) -> tuple[str, str, int | None]:
    """Base, model and output of ``http://host:port/v1#MODEL@1``. Raises AhaError where no model is named."""
    base, _, model = address.partition("#")
    if not model:
        raise AhaError(f"'{address}' names no model. Write the address and the model: {address}#MODEL.")
    name, _, number = model.rpartition("@")
    return (base, name, int(number)) if name and number.isdecimal() else (base, model, None)
