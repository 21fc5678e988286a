"""A folder of runs made up for the page, and a client that was let in."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

from starlette.testclient import TestClient

from aha.view import app

TOKEN, PORT = "a-token-of-tests", 8421
_place = Path(__file__).parents[1] / "runs" / "report_run.py"
_spec = importlib.util.spec_from_file_location("report_run_of_view", _place)
report_run = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(report_run)
make_run, write_lines, HOSTILE = report_run.make_run, report_run.write_lines, report_run.HOSTILE


def client(roots, **more):
    """A client with the token, as the browser that the command opened has it."""
    roots = roots if isinstance(roots, list) else [roots]
    opened = TestClient(
        app.build(app.ViewApp(roots), TOKEN, PORT), base_url=f"http://127.0.0.1:{PORT}", **more
    )
    opened.headers["authorization"] = f"Bearer {TOKEN}"
    return opened


def say(browser, path, said):
    """POST as the page does."""
    return browser.post(f"/api/{path}", json=said)


def change(file, **values):
    """A JSON file with other values."""
    parsed = json.loads(file.read_text())
    file.write_text(json.dumps(parsed | values))
