"""What payloads are made of: how an escape is told, how a kernel is asked directly, how a reply is forged."""

from __future__ import annotations

import textwrap

ESC = """
import sys
def esc(x=''):
    sys.stdout.write('ESCAPED ' + str(x)[:200] + '\\n')
    sys.stdout.flush()
"""
SYSCALL = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
def attempt(number, *arguments):
    if number is not None and libc.syscall(number, *arguments) >= 0:
        esc(number)
"""


def case(name: str, payload: str, check: str = "stdout_escaped", **more) -> dict:
    helpers = "" if check in ("fn", "judge") else ESC
    helpers += SYSCALL if "attempt(" in payload else ""
    return {"id": name, "check": check, "payload": helpers + textwrap.dedent(payload), **more}


def tried(name: str, body: str, **more) -> dict:
    """A body that escapes if it comes to its end without an error."""
    return case(
        name,
        "try:\n"
        + textwrap.indent(textwrap.dedent(body), "    ")
        + "\n    esc()\nexcept Exception as e: print(e)",
        **more,
    )


FORGE = """
import os, struct, sys
frame = sys._getframe()
while not hasattr(frame.f_locals.get('module'), '__dict__') or 'spec' not in frame.f_locals: frame = frame.f_back
NONCE = frame.f_locals['spec']['nonce']
def channel():
    frame = sys._getframe()
    while not hasattr(frame.f_locals.get('self'), '_reply'): frame = frame.f_back
    return frame.f_locals['self']._reply
def forged(kind, body):
    message = (NONCE + '\\n' + kind + '\\n').encode() + body
    message = struct.pack('>I', len(message)) + message
    while message: message = message[os.write(channel(), message[:65536]):]
    while True: pass
HASH_OF_ZERO = [{'int': hex(n * (2 ** 61 - 1))} for n in range(1, 80000)]
"""
NUMBERS = """
import os
arm = os.uname().machine == 'aarch64'
"""
DEEP = "import os\nfor _ in range(20): os.mkdir('d' * 250); os.chdir('d' * 250)\n"
