"""Who is let in: the browser that has the token, on this machine's own name, from this very page."""

from __future__ import annotations

import pytest
from served import HOSTILE, PORT, TOKEN, client, make_run, say
from starlette.testclient import TestClient

from aha.types import AhaError
from aha.view import app, server


@pytest.fixture
def strange(tmp_path):
    """A client without the token, that follows no redirect."""
    make_run(tmp_path / "zero")
    return TestClient(
        app.build(app.ViewApp([tmp_path]), TOKEN, PORT),
        base_url=f"http://127.0.0.1:{PORT}",
        follow_redirects=False,
    )


ADDRESSES = (
    "/",
    "/main.js",
    "/style.css",
    "/api/runs",
    "/api/curves?run=zero",
    "/api/events",
    "/nothing",
    "/api/%2e%2e",
)


@pytest.mark.parametrize("address", ADDRESSES)
def test_without_the_token_nothing_is_answered(strange, address):
    for headers in ({}, {"authorization": "Bearer wrong"}, {"cookie": f"aha_view_{PORT}=wrong"}):
        answer = strange.get(address, headers=headers)
        assert answer.status_code == 403
        assert "countdown" not in answer.text


def test_the_address_with_the_token_leaves_a_cookie_and_no_token_in_the_bar(strange):
    answer = strange.get(f"/?token={TOKEN}")
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert strange.get("/").status_code == 200  # the client keeps it, as a browser does
    assert strange.get("/?token=wrong").status_code == 200
    strange.cookies.clear()
    assert strange.get("/?token=wrong").status_code == 403
    assert (
        strange.get(f"/api/runs?token={TOKEN}").status_code == 403
    )  # only the page itself takes it from there


@pytest.mark.parametrize("other", ['state={"a": 1}', "a b=1", "é=1", "path=/"])
def test_cookies_of_other_programs_on_this_machine_do_not_lock_out(strange, other):
    headers = {"cookie": f"{other}; aha_view_{PORT}={TOKEN}".encode()}
    assert strange.get("/api/runs", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", f"evil.example:{PORT}", "127.0.0.1", "127.0.0.1:1", "", f"[::1]:{PORT}"]
)
def test_another_host_name_is_refused_even_with_the_token(strange, host):
    headers = {"host": host, "authorization": f"Bearer {TOKEN}"}
    assert strange.get("/api/runs", headers=headers).status_code == 403
    assert strange.get(f"/?token={TOKEN}", headers=headers).status_code == 403


def test_localhost_is_this_machine_too(strange):
    headers = {"host": f"localhost:{PORT}", "authorization": f"Bearer {TOKEN}"}
    assert strange.get("/api/runs", headers=headers).status_code == 200


def test_what_changes_something_comes_from_this_page_as_json(strange):
    known = {"authorization": f"Bearer {TOKEN}"}
    said = b'{"run": "zero", "tags": ["x"], "note": ""}'
    kinds = {"content-type": "application/json"}
    refused = [
        known | kinds | {"origin": "http://127.0.0.1:9"}, known | kinds | {"origin": "null"},
        known | {"content-type": "text/plain"}, known, kinds,
    ]  # fmt: skip
    for headers in refused:
        assert strange.post("/api/notes", content=said, headers=headers).status_code == 403
    good = known | kinds | {"origin": f"http://127.0.0.1:{PORT}"}
    assert strange.post("/api/notes", content=said, headers=good).status_code == 200


def test_every_answer_forbids_scripts_and_frames_from_elsewhere(strange):
    for headers in ({}, {"authorization": f"Bearer {TOKEN}"}):
        headers_sent = strange.get("/", headers=headers).headers
        assert "script-src 'self'" in headers_sent["content-security-policy"]
        assert "default-src 'none'" in headers_sent["content-security-policy"]
        assert headers_sent["x-frame-options"] == "DENY"
        assert headers_sent["cache-control"] == "no-store"
        assert "access-control-allow-origin" not in headers_sent


@pytest.mark.parametrize(
    "run", ["..", "../zero", "/etc", "zero/..", "zero/rl", ".aha-view", "%2e%2e", "zero\x00", HOSTILE]
)
def test_a_run_is_looked_up_and_never_a_path(tmp_path, run):
    make_run(tmp_path / "runs" / "zero")
    make_run(tmp_path / "secret")
    browser = client(tmp_path / "runs")
    for path in ("curves", "graph", "rollouts", "tab"):
        answer = browser.get(f"/api/{path}", params={"run": run, "name": "health"})
        assert answer.status_code == 400
        assert "no run" in answer.json()["error"]
    assert say(browser, "notes", {"run": run, "tags": [], "note": "x"}).status_code == 400
    assert not (tmp_path / "runs" / ".aha-view").exists()


@pytest.mark.parametrize(
    "path", ["/../app.py", "/..%2fapp.py", "/static/main.js", "/%2e%2e/%2e%2e/cli.py", "//etc/passwd"]
)
def test_only_the_pages_own_files_are_served(tmp_path, path):
    assert client(tmp_path).get(path).status_code == 404


def test_a_large_request_is_not_taken(tmp_path):
    make_run(tmp_path / "zero")
    assert say(client(tmp_path), "notes", {"run": "zero", "note": "x" * (2 << 20)}).status_code == 413


def test_it_listens_on_this_machine_alone_and_says_when_a_port_is_taken(monkeypatch):
    first = server.listen(0)
    address, port = first.getsockname()
    assert address == "127.0.0.1"
    with pytest.raises(AhaError, match="0 takes any free one"):
        server.listen(port)
    first.close()
    usual = server.listen(0)
    monkeypatch.setattr(server, "USUAL_PORT", usual.getsockname()[1])
    other = server.listen(None)
    assert other.getsockname()[1] != server.USUAL_PORT
    other.close()
    usual.close()


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_port_that_cannot_be_is_a_sentence(port):
    with pytest.raises(AhaError, match="from 0 to 65535"):
        server.listen(port)
