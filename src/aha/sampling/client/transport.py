"""HTTP with one deadline for a whole answer: a socket's own timeout is for each piece, and drips would never end."""

from __future__ import annotations

import http.client
import io
import time
import urllib.request
import zlib
from functools import partial
from typing import Any


class _Timed(io.RawIOBase):
    """A socket's stream that gives nothing after the time ``until``."""

    def __init__(self, raw: Any, connection: Any, until: float):
        self.raw, self.connection, self.until = raw, connection, until

    def readable(self) -> bool:
        """It can be read."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """What has come, waiting no longer than until the deadline."""
        left = self.until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self.connection.settimeout(left)
        return self.raw.readinto(buffer)

    def close(self) -> None:
        """The socket's stream is closed with it."""
        self.raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    def __init__(self, sock: Any, *args: Any, until: float, **kwargs: Any):
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_Timed(self.fp.detach(), sock, until))


class _Connection(http.client.HTTPConnection):
    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        _bound(self)


class _SecureConnection(http.client.HTTPSConnection):
    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        _bound(self)


def _bound(connection: Any) -> None:
    connection.response_class = partial(_Response, until=time.monotonic() + connection.timeout)


class _HTTP(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> Any:
        return self.do_open(_Connection, req)


class _HTTPS(urllib.request.HTTPSHandler):
    def https_open(self, req: urllib.request.Request) -> Any:
        return self.do_open(_SecureConnection, req)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the API key to wherever it points."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None

    def http_error_302(self, *args: Any, **kwargs: Any) -> None:
        """Not even the address is looked at: it is told as it stands."""

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302


def opener(*, proxies: bool) -> urllib.request.OpenerDirector:
    """What opens addresses: ``timeout`` of its ``open`` is for a whole answer, and redirects are errors."""
    handlers: list[Any] = [_NoRedirect(), _HTTP(), _HTTPS()]
    if not proxies:
        handlers.append(urllib.request.ProxyHandler({}))
    return urllib.request.build_opener(*handlers)


def decoded(raw: bytes, coding: str, most: int) -> bytes:
    """``raw`` in the Content-Encoding ``coding`` as what it stands for. Raises ValueError where it is broken, is more
    than ``most`` bytes, or the coding is not known."""
    coding = coding.strip().lower()
    if coding in ("", "identity"):
        return raw
    if coding not in ("gzip", "x-gzip", "deflate"):
        raise ValueError(f"its Content-Encoding {coding} is not read here")
    unpacking = zlib.decompressobj(47)  # either header, found by zlib itself
    try:
        plain = unpacking.decompress(raw, most + 1)
    except zlib.error as error:
        raise ValueError(f"its {coding} is broken ({error})") from None
    if len(plain) > most:
        raise ValueError(f"it is longer than {most >> 20} MiB")
    if not unpacking.eof:
        raise ValueError(f"its {coding} is cut")
    return plain
