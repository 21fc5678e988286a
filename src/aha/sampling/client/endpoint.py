"""A client of any OpenAI-compatible endpoint: one request, repeated until it is answered or cannot be.

Standard library only. What may pass by itself (429, 5xx, a cut connection, a broken body, silence) is tried
again with exponential backoff and jitter, and not before the endpoint's own Retry-After; what will not pass
(a wrong key, an unknown model, a refused request) is said at once.
"""

from __future__ import annotations

import email.utils
import http.client
import ipaddress
import json
import logging
import os
import random
import socket
import ssl
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aha import ranks
from aha.files import loaded_json, well_formed
from aha.sampling.client import refusals
from aha.sampling.client.metering import AnswerCache, Bill, RateLimit, request_key
from aha.sampling.client.replies import read_replies, tokens_used
from aha.sampling.client.transport import decoded, opener
from aha.types import AhaError

RETRIED = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 520, 522, 524, 529})
REFUSED_TRIES = 3
"""Attempts at an address where nothing listens: it may just be starting. One that has answered before may be starting
again, and is waited for as for any other trouble."""
TOO_SLOW = (
    "%s: %s. It is asked again from the beginning, %d times at most; others that take as long are not told. Fewer "
    "requests at a time (concurrency), shorter answers (max_tokens), a faster server or a longer timeout help."
)
_log = logging.getLogger(__name__)
MAX_RESPONSE = 64 << 20
CHARS_PER_TOKEN = 3.0
"""For estimates before an answer says how many tokens there were."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where and how to ask. The API key comes from the environment variable named, and from nowhere else.

    ``timeout`` is for a whole answer, in seconds. Prices are per million tokens, in any currency.
    """

    base_url: str
    model: str
    api_key_env: str = "OPENAI_API_KEY"
    timeout: float = 600.0
    attempts: int = 8
    backoff: float = 0.5  # seconds before the second attempt; doubled for each further one
    max_backoff: float = 60.0
    concurrency: int = 16
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    price_in: float = 0.0
    price_out: float = 0.0
    max_cost: float | None = None
    options: Mapping[str, Any] = field(default_factory=dict)  # sent with every request

    def __post_init__(self) -> None:
        parts = urllib.parse.urlsplit(self.base_url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise AhaError(
                f"'{self.base_url}' is no endpoint. Give an address like http://localhost:8000/v1."
            )
        if self.attempts < 1 or self.concurrency < 1 or self.timeout <= 0:
            raise AhaError("attempts and concurrency must be at least 1, timeout above 0.")

    def url(self, path: str) -> str:
        """The address of a path such as ``/chat/completions``."""
        base = self.base_url.rstrip("/")
        return (base.removesuffix("/v1") if path in AT_THE_ROOT else base) + path


AT_THE_ROOT = frozenset({"/classify"})
"""Paths that stand beside ``/v1`` and not below it, as vLLM has them."""


class _TryAgainError(Exception):
    """An attempt that failed in a way that may pass; ``after`` is how long the endpoint asks to wait; ``slow``: all
    of the timeout went by."""

    def __init__(self, cause: str, after: float | None = None, refused: bool = False, slow: bool = False):
        super().__init__(cause)
        self.after, self.refused, self.slow = after, refused, slow


class Client:
    """Sends requests to an endpoint; safe to use from many threads.

    ``cache``: a JSON Lines file of answers by request. A run that was killed and is started again pays only
    for what it had not been answered. Equal requests in flight are sent once.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        cache: Path | str | None = None,
        *,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ):
        self.endpoint = endpoint
        self.bill = Bill(endpoint.price_in, endpoint.price_out, endpoint.max_cost)
        self.cache = AnswerCache(Path(cache) if cache is not None else None)
        self._sleep, self._clock, self._jitter = sleep, clock, jitter
        self._requests = RateLimit(endpoint.requests_per_minute, clock=clock, sleep=sleep)
        self._tokens = RateLimit(endpoint.tokens_per_minute, clock=clock, sleep=sleep)
        self._flying: dict[str, Future[Any]] = {}
        self._answered = self._told_slow = False
        self._lock = threading.Lock()
        # a proxy could not reach this machine's own
        self._opener = opener(proxies=not _is_loopback(endpoint.base_url))

    @property
    def usage(self) -> Any:
        """What was asked and paid so far (``metering.Usage``)."""
        return self.bill.usage

    def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """The endpoint's answer to a request, from the cache if it was answered before.

        Raises AhaError naming the address, the cause and the way out.
        """
        body = {"model": self.endpoint.model, **self.endpoint.options, **body}
        key = request_key(path, body)
        with self._lock:
            known = self.cache.get(key)
            if known is not None and not unusable(path, known):
                self.bill.count(cached=1)
                return known
            flying = self._flying.get(key)
            mine: Future[Any] = Future()
            if flying is None:
                self._flying[key] = mine
        if flying is not None:
            self.bill.count(cached=1)
            return flying.result()
        return self._fly(key, mine, path, body)

    def _fly(self, key: str, mine: Future[Any], path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        try:
            answer = self._ask(path, body)
            self.cache.put(key, answer)
            mine.set_result(answer)
            return answer
        except BaseException as error:
            mine.set_exception(error)
            raise
        finally:
            with self._lock:
                self._flying.pop(key, None)

    def served(self) -> list[dict[str, Any]]:
        """What the endpoint says of the models that it serves. Raises AhaError as ``post``."""
        listed = self._ask("/models", None).get("data")
        return [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []

    def _ask(self, path: str, body: Mapping[str, Any] | None) -> dict[str, Any]:
        """The answer to a POST of ``body``, or to a GET where there is none."""
        data = None if body is None else well_formed(json.dumps(body, ensure_ascii=False)).encode()
        estimate = (
            0.0 if body is None else len(data or b"") / CHARS_PER_TOKEN + float(body.get("max_tokens") or 256)
        )
        for attempt in range(1, self.endpoint.attempts + 1):
            self.bill.check()
            self._requests.take(1)
            entry = self._tokens.take(estimate)
            try:
                answer = self._send(path, data)
            except _TryAgainError as error:
                self._tokens.correct(entry, 0)
                self._wait_or_give_up(path, attempt, error)
                continue
            self._answered = True
            prompt, completion = tokens_used(answer)
            self._tokens.correct(entry, prompt + completion or estimate)
            self.bill.add(prompt, completion)
            return answer
        raise AssertionError("unreachable: the last attempt raises")

    def _wait_or_give_up(self, path: str, attempt: int, error: _TryAgainError) -> None:
        limit = self.endpoint.attempts
        if error.refused and not self._answered:
            limit = min(limit, REFUSED_TRIES)
        if attempt >= limit:
            raise AhaError(self._gave_up(path, attempt, error)) from error
        self.bill.count(retries=1)
        if error.slow and not self._told_slow:
            self._told_slow = True
            _log.warning(TOO_SLOW, self.endpoint.url(path), error, limit - attempt)
        grown = min(self.endpoint.backoff * 2.0 ** (attempt - 1), self.endpoint.max_backoff)
        wait = grown * (0.5 + 0.5 * self._jitter())
        if error.after is not None:
            if error.after > 10 * self.endpoint.max_backoff:
                raise AhaError(
                    f"{self.endpoint.url(path)} asks to wait {error.after:.0f} s ({error}). Try again then: "
                    "with a cache, what was answered is not paid again."
                ) from error
            wait = error.after + 0.1 * grown * self._jitter()
        self._sleep(wait)

    def _gave_up(self, path: str, attempts: int, error: _TryAgainError) -> str:
        url = self.endpoint.url(path)
        if error.refused:
            again = " any more" if self._answered else ""
            return (
                f"Nothing answers at {url}{again}: {error}. Start the server (aha serve MODEL), or correct the "
                "address."
            )
        return (
            f"{url} gave no answer in {attempts} attempts; the last: {error}. Lower concurrency or set "
            "requests_per_minute and tokens_per_minute, raise timeout or attempts, or try again later: with a "
            "cache, what was answered is not paid again."
        )

    # --- one attempt --------------------------------------------------------------------------------------

    def _send(self, path: str, data: bytes | None) -> dict[str, Any]:
        url = self.endpoint.url(path)
        request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
        if key := self._key():
            request.add_unredirected_header("Authorization", f"Bearer {key}")
        try:
            with self._opener.open(request, timeout=self.endpoint.timeout) as response:
                raw, headers = _read(response), response.headers
            ranks.progress()
        except urllib.error.HTTPError as error:
            raise self._refusal(path, error) from None
        except urllib.error.URLError as error:
            raise self._unreachable(url, error.reason) from None
        except TimeoutError:
            raise self._slow() from None
        except (http.client.HTTPException, OSError) as error:
            raise _TryAgainError(f"the connection was cut ({type(error).__name__}: {error})") from None
        answer = self._value(url, raw, headers)
        if reason := unusable(path, answer):
            raise _TryAgainError(f"the answer cannot be used: {reason}")
        return answer

    def _key(self) -> str:
        key = os.environ.get(self.endpoint.api_key_env, "").strip()
        if not (key.isascii() and key.isprintable()):
            raise AhaError(
                f"The environment variable {self.endpoint.api_key_env} holds characters that no key has. Set it again."
            )
        return key

    def _value(self, url: str, raw: bytes, headers: Any) -> dict[str, Any]:
        """The object that an answer's body holds."""
        kind = headers.get("Content-Type", "")
        try:
            raw = decoded(raw, headers.get("Content-Encoding", ""), MAX_RESPONSE)
        except ValueError as error:
            raise _TryAgainError(f"the answer cannot be read: {error}") from None
        try:
            answer = loaded_json(raw)
        except ValueError:
            if "event-stream" in kind or raw.lstrip().startswith((b"data:", b":", b"event:")):
                raise AhaError(
                    f"{url} answers with a stream of events, which was not asked for. Take 'stream' out of the "
                    "endpoint's options, or have the endpoint answer at once."
                ) from None
            raise _TryAgainError(f"the answer is not valid JSON: {raw[:80]!r}") from None
        if not isinstance(answer, dict):
            raise _TryAgainError(f"the answer is no JSON object: {raw[:80]!r}")
        if answer.get("error"):  # some gateways answer 200 and say the error in the body
            if refused := refusals.of_one_request(200, raw, url):
                raise refused
            raise _TryAgainError(f"the answer is an error: {refusals.message_of(raw)}")
        return answer

    def _slow(self) -> _TryAgainError:
        return _TryAgainError(f"no answer within {self.endpoint.timeout:g} s", slow=True)

    def _unreachable(self, url: str, reason: Any) -> Exception:
        if isinstance(reason, TimeoutError):
            return self._slow()
        if isinstance(reason, ConnectionRefusedError):
            return _TryAgainError("the connection was refused", refused=True)
        if isinstance(reason, socket.gaierror):
            host = urllib.parse.urlsplit(url).hostname
            return _TryAgainError(f"the name '{host}' has no address ({reason})", refused=True)
        if isinstance(reason, ssl.SSLCertVerificationError):
            return AhaError(f"{url} has no valid certificate: {reason.verify_message}. Correct the address.")
        return _TryAgainError(f"the connection failed ({reason})")

    def _refusal(self, path: str, error: urllib.error.HTTPError) -> Exception:
        try:
            raw = error.read(MAX_RESPONSE)
        except (http.client.HTTPException, OSError):
            raw = b""
        url, said, code = self.endpoint.url(path), refusals.message_of(raw), error.code
        if refused := refusals.of_one_request(code, raw, url):
            return refused
        if code in (401, 403):
            name = self.endpoint.api_key_env
            state = "is not set" if not os.environ.get(name) else "holds a key that is not accepted there"
            return AhaError(
                f"{url} refused access ({code}: {said}). The environment variable {name} {state}."
            )
        if code == 404:
            return AhaError(
                f"{url} does not know this ({code}: {said}). Is the model '{self.endpoint.model}' served there, "
                f"and does the address end in /v1? {self._models()}"
            )
        if code == 429 and any(
            word in said or word.encode() in raw for word in ("insufficient_quota", "billing", "balance")
        ):
            return AhaError(f"{url}: the account's quota is used up ({said}). Add credit, then run it again.")
        if code in RETRIED or code >= 500:
            return _TryAgainError(f"status {code}: {said}", _retry_after(error.headers))
        if 300 <= code < 400:
            place = error.headers.get("Location") or "no address that it names"
            return AhaError(f"{url} redirects to {place} ({code}). Give the address where the API is.")
        return AhaError(f"{url} refused the request ({code}: {said}). Correct the request or its options.")

    def _models(self) -> str:
        try:
            ids = [str(model["id"]) for model in self._send_models()]
        except Exception:  # only a hint: the error being explained matters more than why there is none
            return ""
        return f"Served there: {', '.join(ids[:12])}." if ids else ""

    def _send_models(self) -> list[dict[str, Any]]:
        with self._opener.open(self.endpoint.url("/models"), timeout=5) as response:
            return json.loads(_read(response))["data"]


def unusable(path: str, answer: Any) -> str:
    """Why a completion's answer says nothing, in words; "" where it can be read. Such an answer is asked for again, and
    is never kept in a cache."""
    if not isinstance(answer, Mapping):
        return "it is no object"
    if not path.endswith("/completions"):
        return ""
    try:
        read_replies(answer)
    except AhaError as error:
        return str(error)
    return ""


def _is_loopback(url: str) -> bool:
    host = urllib.parse.urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _read(response: Any) -> bytes:
    """The whole body, of which the end must have come."""
    chunks, size = [], 0
    while chunk := response.read1(1 << 16):
        chunks.append(chunk)
        size += len(chunk)
        if size > MAX_RESPONSE:
            raise _TryAgainError(f"the answer is longer than {MAX_RESPONSE >> 20} MiB")
    expected = response.headers.get("Content-Length", "")
    if expected.isdecimal() and size < int(expected):
        raise _TryAgainError(f"the connection was cut after {size} of {expected} bytes")
    return b"".join(chunks)


def _retry_after(headers: Any) -> float | None:
    """Seconds that the endpoint asks to wait: a number, or until a date. None if it does not say."""
    value, scale = headers.get("Retry-After"), 1.0
    if headers.get("Retry-After-Ms") is not None:
        value, scale = headers["Retry-After-Ms"], 1e-3
    if value is None:
        return None
    try:
        return max(0.0, float(value) * scale)
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (TypeError, ValueError, OverflowError):
        return None
