"""The body of a request, by its length or in chunks. Where its end is in doubt it is refused: what comes after would be
taken for another request."""

from __future__ import annotations

import re
from email.message import Message
from typing import Any

from aha.sampling.http.refusing import RequestRefusedError

MAX_BODY = 16 << 20


class BrokenBodyError(RequestRefusedError):
    """A body that was not read to its end."""


def read_body(headers: Message, stream: Any) -> bytes:
    """All of it. Raises BrokenBodyError where it is cut, too long, silent, or in a form that is not read here."""
    coding = headers.get("Content-Encoding", "identity").strip().lower()
    if coding != "identity":
        raise BrokenBodyError(
            f"Content-Encoding {coding} is not read here: send the body as it is", status=415
        )
    lengths, codings = headers.get_all("Content-Length", []), headers.get_all("Transfer-Encoding", [])
    try:
        if not codings:
            return _counted(lengths, stream)
        if [coding.strip().lower() for coding in codings] != ["chunked"] or lengths:
            raise BrokenBodyError("a body has either a Content-Length or the Transfer-Encoding chunked")
        return _chunks(stream)
    except TimeoutError:
        raise BrokenBodyError("the request's body did not come", status=408) from None


def _counted(lengths: list[str], stream: Any) -> bytes:
    if not lengths:
        raise BrokenBodyError("the request has no Content-Length and is not chunked", status=411)
    if len({length.strip() for length in lengths}) > 1 or not re.fullmatch(
        r"\s*[0-9]{1,18}\s*", lengths[0], re.ASCII
    ):
        raise BrokenBodyError(f"Content-Length {', '.join(lengths)[:40]} is no length")
    length = int(lengths[0])
    if length > MAX_BODY:
        raise _too_long()
    return _exactly(length, stream)


def _chunks(stream: Any) -> bytes:
    """A body in chunks, each behind its length in hexadecimal."""
    parts, size = [], 0
    while length := _chunk_length(stream.readline(256)):
        size += length
        if size > MAX_BODY:
            raise _too_long()
        parts.append(_exactly(length, stream))
        if stream.readline(3).strip(b"\r\n"):
            raise _broken()
    for _ in range(64):  # trailers
        if not stream.readline(1 << 12).strip():
            return b"".join(parts)
    raise _broken()


def _chunk_length(line: bytes) -> int:
    written = re.match(rb"([0-9A-Fa-f]{1,12})[ \t]*(;.*)?\r?\n", line)
    if written is None:
        raise _broken()
    return int(written[1], 16)


def _exactly(length: int, stream: Any) -> bytes:
    body = stream.read(length)
    if len(body) < length:
        raise BrokenBodyError(f"the request was cut after {len(body)} of {length} bytes")
    return body


def _broken() -> BrokenBodyError:
    return BrokenBodyError("the request's chunks are broken")


def _too_long() -> BrokenBodyError:
    return BrokenBodyError(f"a request has at most {MAX_BODY} bytes", status=413)
