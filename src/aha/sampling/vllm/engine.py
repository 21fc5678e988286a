"""vLLM as an engine: it samples in a process and an environment of its own, from weights that are given to it.

What it samples with is proven, not believed: both sides hash every tensor, and what differs stops the run.
"""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from aha import ranks
from aha.modeling import max_context, own_weights
from aha.sampling.colocated import Colocated
from aha.sampling.engine import (
    UNLOADED,
    Engine,
    EngineSetup,
    Partials,
    Proof,
    Request,
    check_room,
    ending_ids,
)
from aha.sampling.hashes import Tensors, digests, hash_of_all
from aha.sampling.sampler import SamplingParams, sample_seed
from aha.sampling.vllm import senders, wire
from aha.sampling.vllm.process import VllmProcess, find_python
from aha.sampling.vllm.settings import VllmSettings
from aha.sampling.vllm.transfer import nccl_version
from aha.types import AhaError, Finish, Rollout

LOG = logging.getLogger(__name__)


class VllmEngine(Engine):
    """Rollouts from vLLM. Starting returns at once; the first use waits until the engine is there.

    Use it in a ``with``, or ``close`` it; it ends with this process in any case. Nothing is sampled before
    ``load_weights``.
    """

    max_temperature = 2.0
    """vLLM refuses more."""

    for_all = True

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        settings: VllmSettings | None = None,
        *,
        max_rows: int = 512,
        max_len: int | None = None,
        threads: int = 0,
    ):
        self.settings, self.tokenizer = settings or VllmSettings.model_validate({}), tokenizer
        self.version, self.max_rows = UNLOADED, max_rows
        self.max_len = min(max_context(model), max_len or max_context(model))
        self.eos_ids = ending_ids(model, tokenizer)
        self._call, self._active, self._ready = 0, 0, False
        self.transfer: str = self.settings.weight_transfer
        self._gpus: list[str] = []
        self.device: torch.device = next(model.parameters()).device
        self._sender: senders.Sender | None = None
        self._process = VllmProcess(
            find_python(self.settings.python), threads=threads, gpus=self.settings.gpus
        )
        self._start(model)

    @classmethod
    def make(cls, model: Any, tokenizer: Any, setup: EngineSetup) -> VllmEngine:
        """In a process of its own, by the stage's settings ``vllm``."""
        settings = setup.stage.vllm
        return cls(
            model, tokenizer, settings, max_rows=setup.rows, max_len=setup.longest, threads=setup.threads
        )

    @classmethod
    def colocated(cls, stage: Any) -> Colocated:
        """As the stage's settings ``vllm`` say."""
        return stage.vllm.planned()

    def _start(self, model: Any) -> None:
        folder, kind = self._process.scratch / "model", next(model.parameters())
        # The config and the tokenizer alone: weights come from the policy, and from nowhere else.
        config = copy.deepcopy(model.config)
        # Without the name of a class that generates, vLLM takes some families for embedders.
        config.architectures = [type(model).__name__]
        config.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        on_cpu, s, gpus, own = self.device.type == "cpu", self.settings, [], ""
        if self.device.type == "cuda":
            gpus = list(senders.visible_gpus())
            own = str(torch.cuda.get_device_properties(self.device).uuid)
        self._process.send(
            wire.Start(
                folder=str(folder),
                dtype=str(kind.dtype).removeprefix("torch."),
                max_len=self.max_len,
                max_rows=self.max_rows,
                cache_bytes=int(s.kv_cache_gib * 2**30),
                gpu_memory_utilization=s.gpu_memory_utilization,
                eager=on_cpu if s.enforce_eager is None else s.enforce_eager,
                sleep=s.enable_sleep_mode and not on_cpu,
                ranks=s.tensor_parallel_size,
                transfer=s.weight_transfer,
                gpu=own,
                gpus=gpus,
                nccl=nccl_version() if own else "",
                named=s.gpus is not None,
            )
        )

    @property
    def pid(self) -> int:
        """The id of vLLM's process."""
        return self._process.pid

    def wait(self) -> str:
        """Wait until the engine is there; returns what it is, in words. Raises AhaError if it cannot be."""
        if not self._ready:
            ready = self._process.receive(wire.Ready)
            self._ready, self.about = True, f"{ready.version} on {ready.device}"
            self.transfer, self._gpus = ready.transfer, ready.gpus
            if ready.why:
                self._otherwise(ready.why)
        return self.about

    def _otherwise(self, why: str) -> None:
        """Weights cannot come as they were to: through host memory then. Raises AhaError where that was the way, or
        another one was asked for."""
        asked = self.settings.weight_transfer
        if asked != "auto" or (self._sender is not None and self.transfer == "host"):
            self.close()
            more = "" if self.transfer == "host" else " Give vllm.weight_transfer=host, or auto."
            raise AhaError(f"vLLM could not be given the weights by {why}.{more}")
        LOG.warning("Weights go to vLLM through host memory. By %s.", why)
        if self._sender is not None:
            self._sender.close()
        self._sender, self.transfer = None, "host"

    # --- weights ------------------------------------------------------------------------------------------

    def weights_of(
        self, model: Any, state: Mapping[str, torch.Tensor] | None = None
    ) -> dict[str, torch.Tensor]:
        """A model's tensors by their names in a checkpoint."""
        return checkpoint_weights(model, state)

    def load_weights(self, tensors: Tensors, version: int) -> Proof:
        """Sample with these from now on. ``tensors`` have checkpoint names (``checkpoint_weights``).

        Raises AhaError, naming tensors, if vLLM does not hold what was sent.
        """
        started = time.perf_counter()
        hashes = self.deliver(tensors, version)
        return self.compare(tensors, hashes, started)

    def deliver(self, tensors: Tensors, version: int) -> wire.WeightHashes:
        """Send weights and return what the other side says of them, unproven."""
        self.wait()
        self._stop_sampling()
        self.version = UNLOADED
        hashes = None
        while hashes is None:
            try:
                hashes = self._sent(tensors, version)
            except senders.TransferRefusedError as error:
                self._otherwise(f"{self.transfer}: {error}")
        self.version = hashes.version
        return hashes

    def _sent(self, tensors: Tensors, version: int) -> wire.WeightHashes:
        """The weights, sent in the way that was agreed on, which is made at the first time."""
        if self._sender is None:
            self._sender = senders.make(self.transfer, self._gpus, self.device)
            self._sender.join(self._process)
        return senders.deliver(self._process, self._sender, tensors, version)

    def prove(self, tensors: Tensors) -> Proof:
        """Ask the model itself for its weights' hashes, now. Raises AhaError if they are not ``tensors``'."""
        started = time.perf_counter()
        self.wait()
        self._stop_sampling()
        self._process.send(wire.HashWeights())
        return self.compare(tensors, self._process.receive(wire.WeightHashes), started)

    def compare(self, tensors: Tensors, hashes: wire.WeightHashes, started: float | None = None) -> Proof:
        """What the other side says that it has, with our own hashes. Raises AhaError where they differ."""
        started, expected = time.perf_counter() if started is None else started, digests(tensors)
        lost = set(expected) ^ set(hashes.read_back | hashes.delivered | dict.fromkeys(hashes.hidden, ""))
        said = [*hashes.delivered.items(), *hashes.read_back.items()]
        wrong = sorted(lost | {name for name, value in said if expected.get(name) != value})
        if wrong:
            self.version = UNLOADED
            raise AhaError(
                f"vLLM does not hold the policy's weights: {len(wrong)} of {len(expected)} tensors differ, first "
                f"'{wrong[0]}'. Nothing is sampled from them. Their transfer, or vLLM's loading of this "
                "architecture, is broken; sample with engine=local."
            )
        seconds = time.perf_counter() - started
        return Proof(
            hashes.version, hash_of_all(expected)[:16], len(hashes.read_back), len(hashes.hidden), seconds
        )

    def altered(self, tensors: Tensors, sound: Tensors, version: int) -> str:
        """What is said to weights that differ from the sound ones; empty if one of the two hashes notices nothing: that
        of what came, and that of what the model holds, where its layout lets it be read."""
        came, words = self.deliver(tensors, version), ""
        names = {name for name in sound if tensors[name] is not sound[name]}
        for changed in (
            replace(came, read_back={}, hidden=sorted(came.delivered)),
            replace(came, delivered={}),
        ):
            if not names & (set(changed.read_back) | set(changed.delivered)):
                continue  # this answer says nothing of the tensor that was altered
            try:
                self.compare(sound, changed)
                return ""
            except AhaError as error:
                words = str(error)
        return words

    def rest(self) -> None:
        """Give the accelerator's memory back until the next call, if the settings ask for it."""
        if self.settings.enable_sleep_mode and self._ready:
            self._process.send(wire.Rest())
            self._process.receive(wire.Rested)

    # --- sampling -----------------------------------------------------------------------------------------

    def generate(
        self,
        requests: Sequence[Request],
        params: SamplingParams,
        *,
        seed: int = 0,
        progress: Callable[[int], None] | None = None,
        leftovers: Partials | None = None,
    ) -> Iterator[tuple[int, tuple[Rollout, ...]]]:
        """Yield (index of the request, its ``n`` rollouts) as requests finish. Closing the iterator cancels the
        rest; a new call ends the one before.

        ``progress`` is told the number of tokens of each finished request. Raises AhaError if a prompt leaves
        no room, if no weights were loaded, and if vLLM's process fails or dies.
        """
        check_room(requests, params, self.max_len)
        if params.temperature > self.max_temperature:
            raise AhaError(
                f"vLLM samples at temperatures up to {self.max_temperature:g}, not {params.temperature:g}."
            )
        if leftovers is not None or any(r.partials for r in requests):
            raise AhaError("vLLM cannot go on with partial rollouts: set algorithm.partial_rollouts=0.")
        self.wait()
        if self.version == UNLOADED:
            raise AhaError("vLLM has been given no weights that were proven: call load_weights first.")
        if not requests:
            return
        self._stop_sampling()
        self._call += 1
        call = self._call
        self._process.send(self._question(call, requests, params, seed))
        self._active = call
        try:
            while self._active == call:
                message = self._process.receive(wire.Finished, wire.Done)
                ranks.progress()
                if isinstance(message, wire.Done):
                    self._active = 0
                    return
                if progress is not None:
                    progress(len(message.tokens))
                yield message.index, self._rollouts(message, requests[message.index], params)
            raise AhaError("This call was ended by a later one: vLLM answers one call at a time.")
        finally:
            if self._active == call:
                self._stop_sampling()

    def _question(
        self, call: int, requests: Sequence[Request], params: SamplingParams, seed: int
    ) -> wire.Generate:
        chosen = [seed if r.seed is None else r.seed for r in requests]
        seeds = [sample_seed(s, r.key, i) for s, r in zip(chosen, requests, strict=True) for i in range(r.n)]
        return wire.Generate(
            call=call,
            prompts=np.concatenate([np.asarray(r.prompt_ids, np.int32) for r in requests]),
            lengths=np.array([len(r.prompt_ids) for r in requests], np.int64),
            counts=np.array([r.n for r in requests], np.int64),
            seeds=np.array(seeds, np.uint64),
            temperature=params.temperature,
            top_p=params.top_p,
            top_k=params.top_k,
            min_p=params.min_p,
            max_tokens=params.max_tokens,
            stop=list(params.stop),
            stop_ids=sorted(self.eos_ids),
        )

    def _rollouts(
        self, message: wire.Finished, request: Request, params: SamplingParams
    ) -> tuple[Rollout, ...]:
        if message.version != self.version or not np.isfinite(message.logprobs).all():
            what = (
                f"weights of version {message.version}, not {self.version}"
                if message.version != (self.version)
                else "log probabilities that are not finite"
            )
            raise AhaError(f"vLLM sampled with {what}. Run aha doctor --engine vllm.")
        prompt, ends = np.asarray(request.prompt_ids, np.int32), np.cumsum(message.lengths)[:-1]
        parts = zip(
            np.split(message.tokens, ends), np.split(message.logprobs, ends), message.finish, strict=True
        )
        return tuple(
            Rollout(
                prompt_ids=prompt,
                completion_ids=ids,
                logprobs=logprobs,
                text=self._text(ids, params),
                finish=Finish(finish),
                policy_version=message.version,
                opened_think=request.opened_think,
            )
            for ids, logprobs, finish in parts
        )

    def _text(self, ids: np.ndarray, params: SamplingParams) -> str:
        """The text that the local engine would give: without what ended it."""
        ended = len(ids) and int(ids[-1]) in self.eos_ids
        text = self.tokenizer.decode(ids[: len(ids) - bool(ended)].tolist(), skip_special_tokens=False)
        cuts = [at for stop in params.stop if (at := text.find(stop)) >= 0]
        return text[: min(cuts)] if cuts else text

    def _stop_sampling(self) -> None:
        """Cancel the call that is running, and read past what it still sends."""
        call, self._active = self._active, 0
        if not call or not self._process.alive:
            return
        self._process.send(wire.Cancel(call))
        while not isinstance(self._process.receive(wire.Finished, wire.Done), wire.Done):
            pass

    # --- ending -------------------------------------------------------------------------------------------

    def close(self) -> None:
        """End vLLM's process."""
        self._process.close()
        if self._sender is not None:
            self._sender.close()

    def __enter__(self) -> VllmEngine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def checkpoint_weights(
    model: Any, state: Mapping[str, torch.Tensor] | None = None
) -> dict[str, torch.Tensor]:
    """A model's tensors by the names they have in a Hugging Face checkpoint, each tied one once.

    ``state`` stands in for the model's own, where adapters are merged into it.
    """
    from transformers.core_model_loading import revert_weight_conversion

    return dict(revert_weight_conversion(model, own_weights(model, state)))
