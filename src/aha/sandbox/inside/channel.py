"""Messages over a pair of pipes: a length in four bytes, then as many bytes."""

from __future__ import annotations

import os
import struct

_read, _write = os.read, os.write  # bound here: a program that replaces them changes nothing in the channel
_pack, _unpack = struct.pack, struct.unpack


def write_frame(descriptor: int, payload: bytes) -> None:
    """Send one message."""
    data = memoryview(_pack(">I", len(payload)) + payload)
    while data:
        data = data[_write(descriptor, data) :]


def read_frame(descriptor: int) -> bytes | None:
    """The next message, or None at the end."""
    head = _read_exactly(descriptor, 4)
    return None if head is None else _read_exactly(descriptor, _unpack(">I", head)[0])


def _read_exactly(descriptor: int, count: int) -> bytes | None:
    parts: list[bytes] = []
    while count:
        part = _read(descriptor, min(count, 1 << 20))
        if not part:
            return None
        parts.append(part)
        count -= len(part)
    return b"".join(parts)
