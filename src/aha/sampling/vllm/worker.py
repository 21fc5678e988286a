"""The program in vLLM's environment: it holds the engine, takes weights and requests, gives rollouts.

Started by ``vllm_process`` with the number of its end of a socket. Of aha it imports what needs no more than
numpy and torch.
"""
# pyright: reportMissingImports=false

from __future__ import annotations

import os
import select
import shutil
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from typing import Any

import numpy as np

from aha.sampling.vllm import wire
from aha.sampling.vllm.transfer import BACKENDS, Places, choose, update_info

EXTENSION = "aha.sampling.vllm.extension.Extension"
CPU_BLOCK = 32  # tokens; vLLM's default of 128 would share few prompts
CPU_PREFILL = 8192  # tokens of prompts in one pass on a CPU


def main() -> None:
    """Serve until the other side is gone."""
    sock = socket.socket(fileno=int(sys.argv[1]))
    end = threading.Thread(target=_end_with_them, args=(sock, sys.argv[2]), daemon=True)
    end.start()
    line = wire.Wire(sock)
    try:
        start = line.receive()
        assert isinstance(start, wire.Start)
        worker = VllmWorker(line, start)
        while True:
            worker.answer(line.receive())
    except wire.Closed:
        end.join()
    except Exception as error:
        line.send(wire.WorkerFailed(f"{type(error).__name__}: {error}"[:4000]))
        raise


def _end_with_them(sock: socket.socket, scratch: str) -> None:
    """When the other side is gone, whatever ended it, end this process and all it started."""
    poll = select.poll()
    poll.register(sock, 0)  # hang-ups alone
    poll.poll()
    shutil.rmtree(scratch, ignore_errors=True)
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


class VllmWorker:
    """The engine and what is said of it."""

    def __init__(self, line: wire.Wire, start: wire.Start):
        import torch

        vllm: Any = import_module("vllm")  # with its own types, which this environment lacks

        self.line, self.version, self.asleep = line, -1, False
        on_gpu = torch.cuda.is_available()
        gpus, nccl = _gpus(start.ranks) if on_gpu else ([], "")
        places = Places(start.gpu, start.gpus, gpus, start.nccl, nccl, start.named)
        self.transfer, why = choose(start.transfer, places)
        if why and start.transfer != "auto":
            raise RuntimeError(f"weights cannot come by vllm.weight_transfer={start.transfer}: {why}")
        more: dict[str, Any] = {}
        if not on_gpu:
            # After a part of a prompt vLLM sets a seeded generator back, which a CPU's cannot be.
            whole = {
                "enable_chunked_prefill": False,
                "max_num_batched_tokens": max(start.max_len, CPU_PREFILL),
            }
            more = {"block_size": CPU_BLOCK, **whole}
        self.llm: Any = vllm.LLM(
            model=start.folder,
            dtype=start.dtype,
            load_format="dummy",  # weights come from the policy alone
            weight_transfer_config={"backend": BACKENDS[self.transfer]},
            generation_config="vllm",  # a checkpoint's own sampling settings are not asked for
            max_model_len=start.max_len,
            max_num_seqs=start.max_rows,
            kv_cache_memory_bytes=start.cache_bytes,
            gpu_memory_utilization=start.gpu_memory_utilization,
            tensor_parallel_size=start.ranks,
            enforce_eager=start.eager,
            enable_sleep_mode=start.sleep,
            enable_prefix_caching=True,
            logprobs_mode="processed_logprobs",  # of the distribution that was drawn from
            worker_extension_cls=EXTENSION,
            disable_log_stats=True,
            seed=0,
            **more,
        )
        about = f"vllm {vllm.__version__}, torch {torch.__version__}"
        device = torch.cuda.get_device_name() if on_gpu else "cpu"
        line.send(wire.Ready(about, device, self.transfer, why, gpus))

    def answer(self, message: wire.WireMessage) -> None:
        """Do what a message asks."""
        if isinstance(message, wire.Rest):
            self.rest()
        elif not isinstance(message, wire.Cancel):  # else too late: that call is done
            self.wake()
        if isinstance(message, wire.Join | wire.Begin | wire.WeightPiece | wire.End):
            self.line.send(self.weights(message))
        elif isinstance(message, wire.HashWeights):
            self.line.send(self.held({}))
        elif isinstance(message, wire.Generate):
            self.generate(message)

    # --- weights ------------------------------------------------------------------------------------------

    def weights(self, message: wire.Join | wire.Begin | wire.WeightPiece | wire.End) -> wire.WireMessage:
        """A step of vLLM's lifecycle of weights. What fails is refused: until all of it succeeds, nothing can be
        sampled."""
        self.version = -1
        try:
            if isinstance(message, wire.End):
                return self.end(message)
            if isinstance(message, wire.Join):
                self.transfer = message.transfer
                self._all("aha_join", message.transfer, _join_info(message))
            elif isinstance(message, wire.Begin):
                self._all("aha_begin")
            else:
                self._all("aha_take", update_info(message, self.transfer))
        except Exception as error:  # the other side says it, or goes another way
            return wire.TransferRefused(f"{type(error).__name__}: {error}"[:4000])
        return wire.Taken()

    def end(self, message: wire.End) -> wire.WeightHashes:
        """All weights have come; nothing that was computed with the old ones is kept."""
        said = self._all("aha_end")
        if any(other != said[0] for other in said):
            raise RuntimeError("the ranks were given different weights")
        if not self.llm.reset_prefix_cache():
            raise RuntimeError("the prefix cache of the old weights could not be dropped")
        hashes = self.held(said[0])
        self.version = message.version
        return replace(hashes, version=message.version)

    def _all(self, method: str, *args: Any) -> list[Any]:
        """What each rank's worker answers."""
        return self.llm.collective_rpc(method, args=args)

    def held(self, delivered: dict[str, str]) -> wire.WeightHashes:
        """What the model holds, as the first rank says; of a model in parts nothing is read back."""
        hashes, hidden = self.llm.collective_rpc("aha_held")[0]
        return wire.WeightHashes(self.version, delivered, hashes, hidden)

    def rest(self) -> None:
        """Free the GPU's memory."""
        self.llm.sleep(level=1)
        self.asleep = True
        self.line.send(wire.Rested())

    def wake(self) -> None:
        """Take the memory again."""
        if self.asleep:
            self.llm.wake_up()
            self.asleep = False

    # --- sampling -----------------------------------------------------------------------------------------

    def generate(self, asked: wire.Generate) -> None:
        """Sample, and send each prompt's samples when all of them have ended."""
        engine = self.llm.llm_engine
        waiting = {}
        for name, prompt, params in _requests(asked):
            engine.add_request(name, {"prompt_token_ids": prompt}, params)
            waiting[name] = None
        groups: dict[int, dict[int, Any]] = {}
        while engine.has_unfinished_requests():
            for output in engine.step():
                if not output.finished:
                    continue
                del waiting[output.request_id]
                index, sample = (int(part) for part in output.request_id.split("-")[1:])
                group = groups.setdefault(index, {})
                group[sample] = output.outputs[0]
                if len(group) == asked.counts[index]:
                    del groups[index]
                    self.line.send(_finished(asked.call, index, self.version, group))
            if waiting and self.line.ready() and self._cancelled(asked.call):
                engine.abort_request(list(waiting))
                waiting.clear()
        self.line.send(wire.Done(asked.call))

    def _cancelled(self, call: int) -> bool:
        message = self.line.receive()
        if not isinstance(message, wire.Cancel):
            raise wire.WireError(f"{type(message).__name__} in the middle of a call")
        return message.call == call


def _gpus(ranks: int) -> tuple[list[str], str]:
    """(UUIDs of the GPUs that ``ranks`` ranks are put on, version of NCCL): without touching the GPUs. What cannot be
    found out rules the ways out that need it."""
    from vllm.distributed.device_communicators.pynccl_wrapper import NCCLLibrary
    from vllm.platforms import current_platform

    try:
        nccl = NCCLLibrary().ncclGetVersion()
    except Exception:
        nccl = ""
    try:
        return [current_platform.get_device_uuid(i) for i in range(ranks)], nccl
    except Exception:
        return [f"unknown {i}" for i in range(ranks)], nccl


def _join_info(message: wire.Join) -> dict[str, Any]:
    """What vLLM's ``init_weight_transfer_engine`` takes."""
    if message.transfer == "ipc":
        return {"packed": True}
    if message.transfer == "nccl":
        # A buffer never fills: each piece is one broadcast.
        buffers = {"packed": True, "packed_buffer_size_bytes": 1 << 62, "packed_num_buffers": 1}
        return {
            "nccl_unique_id_b64": message.group,
            "rank_offset": 1,
            "world_size": message.size,
            **buffers,
        }
    return {}


def _requests(asked: wire.Generate) -> Iterator[tuple[str, list[int], Any]]:
    """(name, prompt, parameters) of each sample: one request each, with a seed of its own."""
    vllm: Any = import_module("vllm")
    from vllm.sampling_params import RequestOutputKind

    prompts = np.split(asked.prompts, np.cumsum(asked.lengths)[:-1])
    seeds = iter(asked.seeds.tolist())
    for index, (prompt, count) in enumerate(zip(prompts, asked.counts.tolist(), strict=True)):
        ids = prompt.tolist()
        for sample in range(count):
            yield (
                f"{asked.call}-{index}-{sample}",
                ids,
                vllm.SamplingParams(
                    temperature=asked.temperature,
                    top_p=asked.top_p,
                    top_k=asked.top_k,
                    min_p=asked.min_p,
                    max_tokens=asked.max_tokens,
                    seed=next(seeds) >> 1,  # signed there
                    stop=asked.stop or None,
                    stop_token_ids=asked.stop_ids,
                    ignore_eos=True,  # stop_token_ids name every id that ends a completion
                    logprobs=0,  # of the sampled token alone
                    flat_logprobs=True,
                    detokenize=bool(asked.stop),
                    skip_special_tokens=False,
                    output_kind=RequestOutputKind.FINAL_ONLY,
                ),
            )


def _finished(call: int, index: int, version: int, group: dict[int, Any]) -> wire.Finished:
    samples = [group[i] for i in range(len(group))]
    for s in samples:
        if s.finish_reason not in ("stop", "length") or len(s.logprobs.logprobs) != len(s.token_ids):
            raise RuntimeError(f"a sample ended by {s.finish_reason} with {len(s.logprobs.logprobs)} logprobs "
                               f"of {len(s.token_ids)} tokens")  # fmt: skip
    return wire.Finished(
        call=call,
        index=index,
        version=version,
        tokens=np.concatenate([np.asarray(s.token_ids, np.int32) for s in samples]),
        logprobs=np.concatenate([np.asarray(s.logprobs.logprobs, np.float32) for s in samples]),
        lengths=np.array([len(s.token_ids) for s in samples], np.int64),
        finish=[s.finish_reason for s in samples],
    )


if __name__ == "__main__":
    main()
