"""A small assembler for classic BPF, the language of seccomp filters.

A program is a list of instructions and labels; ``assemble`` turns labels into the relative jumps that the
kernel wants. Only what a system call filter needs is here.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

_LOAD, _AND, _JUMP_EQUAL, _RETURN = 0x20, 0x54, 0x15, 0x06  # BPF_LD|W|ABS, ALU|AND|K, JMP|JEQ|K, RET|K

NUMBER, ARCHITECTURE = 0, 4  # offsets in struct seccomp_data

KILL = 0x8000_0000
USER_NOTIFY = 0x7FC0_0000
ALLOW = 0x7FFF_0000


def errno_action(number: int) -> int:
    """The action that makes a system call fail with this errno."""
    return 0x0005_0000 | number


def low(argument: int) -> int:
    """The offset of the low 32 bits of an argument (both supported machines are little-endian)."""
    return 16 + 8 * argument


def high(argument: int) -> int:
    """The offset of the high 32 bits of an argument."""
    return low(argument) + 4


@dataclass(frozen=True, slots=True)
class Label:
    """A place to jump to."""

    name: str


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction; the labels are empty where the next instruction follows."""

    code: int
    value: int
    if_true: str = ""
    if_false: str = ""


Line = Label | Instruction


def load(offset: int) -> Instruction:
    """Load 32 bits of ``struct seccomp_data``."""
    return Instruction(_LOAD, offset)


def mask(bits: int) -> Instruction:
    """Keep only these bits of what was loaded."""
    return Instruction(_AND, bits & 0xFFFF_FFFF)


def equal(value: int, *, then: str = "", otherwise: str = "") -> Instruction:
    """Compare what was loaded and jump."""
    return Instruction(_JUMP_EQUAL, value & 0xFFFF_FFFF, then, otherwise)


def give(action: int) -> Instruction:
    """End with an action."""
    return Instruction(_RETURN, action)


def assemble(lines: list[Line]) -> bytes:
    """The ``struct sock_filter`` array for a program.

    Raises ValueError if a jump is longer than the 255 instructions that one byte can say, goes backward, or
    has no target.
    """
    places: dict[str, int] = {}
    instructions: list[Instruction] = []
    for line in lines:
        if isinstance(line, Label):
            places[line.name] = len(instructions)
        else:
            instructions.append(line)
    return b"".join(
        struct.pack(
            "HBBI", each.code, _jump(places, each.if_true, at), _jump(places, each.if_false, at), each.value
        )
        for at, each in enumerate(instructions)
    )


def _jump(places: dict[str, int], name: str, at: int) -> int:
    if not name:
        return 0
    distance = places.get(name, -1) - at - 1
    if not 0 <= distance <= 255:
        raise ValueError(f"the jump to {name!r} at {at} cannot be assembled")
    return distance
