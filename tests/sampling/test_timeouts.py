"""How long a client waits: as long as an endpoint asks for, a little longer each time, and not beyond its timeout."""

from __future__ import annotations

import time

import pytest
from scripted import ASK, Scripted, client, good

from aha.sampling.client.endpoint import Client, Endpoint
from aha.sampling.client.engine import complete
from aha.types import AhaError


def test_retry_after_is_kept_to():
    sleeps = []
    busy = (429, {"error": {"message": "slow"}}, [("Retry-After", "7")])
    with Scripted(busy, good()) as server:
        assert complete(client(server, sleeps=sleeps), ASK) == "hello"
    assert sleeps == [pytest.approx(7 + 0.05)]


def test_retry_after_as_a_date():
    import email.utils

    sleeps = []
    date = email.utils.formatdate(time.time() + 30, usegmt=True)
    with Scripted((503, {}, [("Retry-After", date)]), good()) as server:
        complete(client(server, sleeps=sleeps), ASK)
    assert 20 < sleeps[0] < 31


def test_a_very_long_retry_after_is_said_and_not_slept():
    with (
        Scripted((429, {}, [("Retry-After", "86400")])) as server,
        pytest.raises(AhaError, match="asks to wait 86400"),
    ):
        complete(client(server), ASK)


def test_jitter_spreads_the_waits():
    with Scripted((500, {}), good()) as server:
        for drawn, expected in ((0.0, 0.25), (1.0, 0.5)):
            slept = []
            server.requests.clear()
            c = Client(
                Endpoint(server.url, "m", attempts=2), None, sleep=slept.append, jitter=lambda d=drawn: d
            )
            complete(c, ASK)
            assert slept == [expected]


def test_silence_and_dripping_end_at_the_timeout(caplog):
    def silent(handler, body):
        time.sleep(1.5)

    def drip(handler, body):
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        for _ in range(30):
            try:
                handler.wfile.write(b" ")
                handler.wfile.flush()
            except OSError:
                break
            time.sleep(0.1)
        handler.close_connection = True

    for slow in (silent, drip):
        with Scripted(slow) as server:
            started = time.monotonic()
            with pytest.raises(AhaError, match=r"2 attempts; the last: no answer within 0\.4 s"):
                complete(client(server, timeout=0.4, attempts=2), ASK)
            assert time.monotonic() - started < 60
    told = [record.getMessage() for record in caplog.records]
    assert ["asked again from the beginning, 1 times at most" in text for text in told] == [True] * 2, (
        "one for each"
    )
