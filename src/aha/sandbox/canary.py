"""Canaries: a set of harmless attacks that every slot must hold before it runs anything else.

A sandbox that became weaker (another kernel, another container profile) is noticed here and not by a reward
that nobody earned.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import tempfile
from pathlib import Path

from aha.types import AhaError

from .execution import Limits, Status
from .inside.syscalls import NUMBERS
from .process import Gone
from .slot import Refused, Slot

_PROGRAM = Path(__file__).with_name("inside") / "canaries.py"
_EXPECTED = 31


def check(slot: Slot) -> None:
    """Run the canaries twice in a slot (the second run looks for what the first one left).

    Raises AhaError naming what was not held, Refused if no run can be entered at all.
    """
    secret = secrets.token_hex(8)
    with (
        tempfile.NamedTemporaryFile("w", prefix="canary-", dir=slot.place.path) as file,
        socket.socket(socket.AF_UNIX) as server,
    ):
        file.write(secret)
        file.flush()
        os.chmod(file.name, 0o644)
        address = "\0aha-canary-" + secret
        server.bind(address)
        server.listen()
        facts = json.dumps([NUMBERS, file.name, address]).encode()
        for _ in range(2):
            _check_once(slot, facts)
        written = os.path.join(os.path.dirname(file.name), "aha-canary-x")
        if os.path.exists(written):
            os.unlink(written)
            raise AhaError(_broken(slot, "a file was written outside"))


def _check_once(slot: Slot, facts: bytes) -> None:
    try:
        execution = slot.launch(
            {"mode": "script", "code": _PROGRAM.read_text()}, facts, Limits(wall=120)
        ).wait()
    except Gone as error:
        raise Refused(str(error)) from None
    if execution.status is Status.BROKEN:
        raise Refused(execution.note)
    if execution.status is not Status.OK:
        words = execution.stderr.decode("utf-8", "replace")[-500:]
        raise AhaError(
            _broken(slot, f"the canaries did not run ({execution.status}: {execution.note}) {words}")
        )
    results = json.loads(execution.stdout)
    loose = [name for name, good in results.items() if good is not True]
    if loose:
        raise AhaError(_broken(slot, "not held: " + ", ".join(loose)))
    if len(results) != _EXPECTED:
        raise AhaError(_broken(slot, f"{len(results)} canaries of {_EXPECTED} ran"))


def _broken(slot: Slot, reason: str) -> str:
    return (
        f"the {slot.setup.isolation} sandbox is weaker than it must be on this machine: {reason}. Model code "
        "was not run. Try the other isolation (namespaces, landlock) or a newer kernel, or report this with "
        "`uname -a`."
    )
