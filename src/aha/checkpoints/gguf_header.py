"""The header of a GGUF file (ggml's docs/gguf.md): what it says of itself, and where each tensor lies."""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from aha.types import AhaError

MAGIC = b"GGUF"
SCALARS = {
    0: "<B",
    1: "<b",
    2: "<H",
    3: "<h",
    4: "<I",
    5: "<i",
    6: "<f",
    7: "<?",
    10: "<Q",
    11: "<q",
    12: "<d",
}
STRING, ARRAY = 8, 9
LONGEST_ARRAY = 4096  # numbers of an array that are kept; vocabularies are read by those who need them


@dataclass(frozen=True, slots=True)
class Stored:
    """A tensor as it lies in the file: ``shape`` in torch's order, ``kind`` ggml's number of its type."""

    name: str
    shape: tuple[int, ...]
    kind: int
    start: int  # bytes from the beginning of the file
    size: int  # bytes


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says. Of arrays of strings and very long arrays only the length is kept."""

    fields: dict[str, Any]
    tensors: tuple[Stored, ...]

    @property
    def architecture(self) -> str:
        return str(self.fields.get("general.architecture", ""))

    def get(self, key: str, default: Any = None) -> Any:
        """A field of the architecture's own, such as ``rope.freq_base``."""
        return self.fields.get(f"{self.architecture}.{key}", default)


def is_gguf(path: Path) -> bool:
    """Whether a file begins as GGUF files do."""
    with open(path, "rb") as file:
        return file.read(4) == MAGIC


def read(path: Path) -> Header:
    """The header of a whole file. Raises AhaError for other files, old versions, parts of a file and split ones."""
    if not is_gguf(path):
        raise AhaError(f"'{path}' is not a GGUF file: it does not begin with the letters GGUF.")
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            header = _Reader(data).header()
        except (struct.error, UnicodeDecodeError, ValueError, IndexError) as error:
            raise AhaError(f"'{path}' is damaged or cut off within its header. Download it again.") from error
        _whole(path, header, len(data))
    return header


def without_vocabulary(path: Path) -> bytes:
    """A GGUF file of the same fields but for long arrays, and of the same tensors without any content."""
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        reader = _Reader(data)
        header = reader.header()
        fields = [data[begin:end] for begin, end in reader.short]
    named = [tensor.name.encode() for tensor in header.tensors]
    entries = [struct.pack("<Q", len(name)) + name + struct.pack("<IQIQ", 1, 0, 0, 0) for name in named]
    return (
        MAGIC + struct.pack("<IQQ", 3, len(entries), len(fields)) + b"".join([*fields, *entries]) + b"\0" * 64
    )


def _whole(path: Path, header: Header, size: int) -> None:
    parts = int(header.fields.get("split.count", 0))
    if parts > 1:
        raise AhaError(
            f"'{path}' is one of {parts} parts of a model. Join them first: "
            "llama-gguf-split --merge FIRST-PART OUT.gguf"
        )
    if not header.architecture:
        raise AhaError(f"'{path}' does not say what architecture it holds: it is no language model.")
    end = max((tensor.start + tensor.size for tensor in header.tensors), default=0)
    if end > size:
        raise AhaError(
            f"'{path}' is cut off: its tensors reach to byte {end:,} and it has {size:,}. Download it again."
        )


class _Reader:
    """A place in the file, moved on by what is read."""

    def __init__(self, data: mmap.mmap):
        self.data, self.at = data, 4
        self.short: list[tuple[int, int]] = []  # places of the fields that are kept whole

    def header(self) -> Header:
        version, tensors, fields = self.unpack("<IQQ")
        if version not in (2, 3):
            raise AhaError(f"GGUF of version {version} is not read here, only 2 and 3 (little-endian).")
        metadata = dict(self.field() for _ in range(fields))
        entries = [self.entry() for _ in range(tensors)]
        step = int(metadata.get("general.alignment", 32))
        start = -(-self.at // step) * step
        return Header(metadata, tuple(_stored(*entry, start) for entry in entries))

    def field(self) -> tuple[str, Any]:
        begin, key, kind = self.at, self.text(), self.number("<I")
        value = self.value(kind)
        if kind != ARRAY or isinstance(value, list):
            self.short.append((begin, self.at))
        return key, value

    def unpack(self, form: str) -> tuple[Any, ...]:
        values = struct.unpack_from(form, self.data, self.at)
        self.at += struct.calcsize(form)
        return values

    def number(self, form: str) -> Any:
        return self.unpack(form)[0]

    def text(self) -> str:
        length = self.number("<Q")
        self.at += length
        if self.at > len(self.data):
            raise ValueError("a text reaches beyond the file")
        return self.data[self.at - length : self.at].decode()

    def value(self, kind: int) -> Any:
        if kind == STRING:
            return self.text()
        return self.array() if kind == ARRAY else self.number(_form(kind))

    def array(self) -> Any:
        kind, count = self.unpack("<IQ")
        if kind == STRING:
            for _ in range(count):
                length = self.number("<Q")
                self.at += length
            return count
        form = _form(kind)
        begin, width = self.at, struct.calcsize(form)
        self.at += count * width
        if count > LONGEST_ARRAY:
            return count
        return list(struct.unpack_from(f"<{count}{form[1]}", self.data, begin))

    def entry(self) -> tuple[str, tuple[int, ...], int, int]:
        name = self.text()
        dimensions = self.unpack(f"<{self.number('<I')}Q")
        kind, offset = self.unpack("<IQ")
        return name, tuple(reversed(dimensions)), kind, offset


def _form(kind: int) -> str:
    if kind not in SCALARS:
        raise ValueError(f"a field of unknown type {kind}")
    return SCALARS[kind]


def _stored(name: str, shape: tuple[int, ...], kind: int, offset: int, start: int) -> Stored:
    from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

    elements, size = GGML_QUANT_SIZES[GGMLQuantizationType(kind)]
    return Stored(name, shape, kind, start + offset, prod(shape) // elements * size)
