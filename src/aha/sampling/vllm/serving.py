"""vLLM's own OpenAI-compatible server over a checkpoint, asked as we ask it: the prompt as its chat template, the same
tokens that end a completion, and no sampling settings but those of a request."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aha import chat
from aha.checkpoints.names import resolve
from aha.modeling import load_tokenizer
from aha.sampling.serving import Serving
from aha.sampling.vllm.process import environment, find_python
from aha.types import AhaError

SERVER = "vllm.entrypoints.openai.api_server"
"""A module, since the command of builds for CPUs does not start."""
LOG_LINES = 40
CPU_WORDS = ("--enforce-eager", "--block-size", "32", "--kv-cache-memory-bytes", str(2 << 30))
"""On CPUs: nothing is compiled, prompts are shared in small blocks, and the cache does not take what memory is left."""
LOOK_SECONDS = 0.5
STARTS_WITHIN = 1200
"""Seconds: a large model is read from a slow disk."""


class VllmServer:
    """vLLM's server in a process of its own, until it is closed; use it in a ``with``. Raises AhaError where there is
    no vLLM, where the prompt cannot be a chat template, and where it does not start."""

    def __init__(self, asked: Serving):
        python = find_python()
        self.asked, self.port = asked, asked.port or _free_port(asked.host)
        self.folder = Path(tempfile.mkdtemp(prefix="aha-vllm-serve-"))
        self.log = self.folder / "log.txt"
        try:
            self.prompt, words = prepared(asked, self.folder, self.port)
            self._process = self._started([str(python), "-P", "-m", SERVER, *words])
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise

    @property
    def url(self) -> str:
        """The base address, ending in /v1."""
        return f"http://{self.asked.host}:{self.port}/v1"

    def __enter__(self) -> VllmServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def wait(self) -> None:
        """Wait until it answers. Raises AhaError with the end of its log where it ends before, or takes too long."""
        until = time.monotonic() + STARTS_WITHIN
        while not self._answers():
            if self._process.poll() is not None:
                raise AhaError(f"vLLM's server ended before it answered.\n{self._last_words()}")
            if time.monotonic() > until:
                raise AhaError(f"vLLM's server gave no answer in {STARTS_WITHIN} s.\n{self._last_words()}")
            time.sleep(LOOK_SECONDS)

    def serve(self) -> None:
        """Until it ends, or Ctrl-C. Raises AhaError with the end of its log where it ends by itself."""
        code = self._process.wait()
        raise AhaError(f"vLLM's server ended (exit code {code}).\n{self._last_words()}")

    def close(self) -> None:
        """End it and everything that it started. Harmless the second time."""
        for sent, patience in ((signal.SIGTERM, 10), (signal.SIGKILL, 30)):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, sent)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=patience)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _started(self, words: Sequence[str]) -> subprocess.Popen[bytes]:
        env = environment(None, self.asked.threads)
        env.pop("VLLM_ENABLE_V1_MULTIPROCESSING", None)  # its server has its engine beside it
        if self.asked.api_key:
            env["VLLM_API_KEY"] = self.asked.api_key
        with open(self.log, "wb") as log:
            return subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=env,
                cwd=self.folder,
                process_group=0,  # Ctrl-C is ours to answer; and all of it can be ended as one
                preexec_fn=_end_with_parent if sys.platform == "linux" else None,
            )

    def _answers(self) -> bool:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with (
            contextlib.suppress(urllib.error.URLError, OSError),
            opener.open(f"{self.url.removesuffix('/v1')}/health", timeout=5) as answer,
        ):
            return answer.status == 200
        return False

    def _last_words(self) -> str:
        with contextlib.suppress(OSError):
            lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            if lines:
                return "The end of its log:\n" + "\n".join(lines[-LOG_LINES:])
        return "Its log is empty."


def prepared(asked: Serving, folder: Path, port: int) -> tuple[chat.Prompt, list[str]]:
    """The prompt, and the words of vLLM's command line; the files that they name are written into ``folder``."""
    path, tokenizer = resolve(asked.model), load_tokenizer(asked.model)
    prompt = chat.choose(asked.prompt, tokenizer)
    chat.save_prompt(tokenizer, prompt)
    template = folder / "template.jinja"
    template.write_text(tokenizer.chat_template, encoding="utf-8")
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": _ends(path, tokenizer)}))
    options = {
        "--model": path,
        "--served-model-name": asked.name,
        "--host": asked.host,
        "--port": port,
        "--dtype": asked.dtype,
        "--chat-template": template,
        "--chat-template-content-format": "string",
        "--generation-config": folder,
        "--logprobs-mode": "processed_logprobs",  # of the distribution that was drawn from
        "--allowed-origins": json.dumps([asked.origin]),
    }
    words = [str(word) for pair in options.items() for word in pair]
    on_cpu = [*CPU_WORDS] if asked.on_cpu else []
    tools = _tool_words(tokenizer.chat_template, asked.more)
    return prompt, [*words, "--disable-uvicorn-access-log", *on_cpu, *tools, *asked.more]


def _tool_words(template: str, more: Sequence[str]) -> list[str]:
    """Calls in the form of Hermes are read where the chat template asks for them, unless another form was named."""
    named = any(word.startswith("--tool-call-parser") for word in more)
    hermes = "<tool_call>" in template
    return ["--enable-auto-tool-choice", "--tool-call-parser", "hermes"] if hermes and not named else []


def _ends(path: str, tokenizer: Any) -> list[int]:
    """Every id that ends a completion here: of the tokenizer, its chat templates, and the generation config."""
    kept: Mapping[str, Any] = {}
    with contextlib.suppress(OSError, ValueError):
        kept = json.loads((Path(path) / "generation_config.json").read_text(encoding="utf-8"))
    own = kept.get("eos_token_id")
    more = [] if own is None else [own] if isinstance(own, int) else list(own)
    return sorted({*chat.stop_ids(tokenizer), *more})


def _end_with_parent() -> None:
    """However our process ends, Linux then tells this one to end too (prctl, PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def _free_port(host: str) -> int:
    with socket.socket() as one:
        one.bind((host, 0))
        return int(one.getsockname()[1])
