"""A headless Chromium, driven over the WebDriver protocol (W3C) with nothing but the standard library."""

from __future__ import annotations

import base64
import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the protocol's name of a reference to an element


def missing():
    """Why there is no browser here; "" where there is one."""
    if not shutil.which("chromedriver"):
        return "chromedriver is not installed (apt-get install chromium chromium-driver)"
    programs = [name for name in ("chromium", "chromium-browser", "google-chrome") if shutil.which(name)]
    return "" if programs else "no Chromium is installed (apt-get install chromium chromium-driver)"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Chromium:
    """A browser window; leaving the context ends it."""

    def __init__(self, width=1280, height=900, profile=None, dark=False):
        self.port = free_port()
        self.driver = subprocess.Popen(
            ["chromedriver", f"--port={self.port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self.base = f"http://127.0.0.1:{self.port}/session"
        words = [
            "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
            "--disable-background-networking", "--force-prefers-reduced-motion", f"--window-size={width},{height}",
            *([f"--user-data-dir={profile}"] if profile else []),
            *(["--force-dark-mode", "--blink-settings=preferredColorScheme=0"] if dark else []),
        ]  # fmt: skip
        chromium = next(n for n in ("chromium", "chromium-browser", "google-chrome") if shutil.which(n))
        asked = {"browserName": "chrome", "goog:loggingPrefs": {"browser": "ALL"}}
        asked["goog:chromeOptions"] = {"args": words, "binary": shutil.which(chromium)}
        try:
            self._wait()
            self.base += "/" + self._call("POST", "", {"capabilities": {"alwaysMatch": asked}})["sessionId"]
        except BaseException:
            self.driver.kill()
            raise

    def _wait(self):
        for _ in range(600):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/status", timeout=2).read()
                return
            except OSError:
                time.sleep(0.1)
        raise RuntimeError("chromedriver does not answer")

    def _call(self, method, path, said=None):
        data = None if said is None else json.dumps(said).encode()
        request = urllib.request.Request(
            self.base + path, data, {"content-type": "application/json"}, method=method
        )
        try:
            return json.load(urllib.request.urlopen(request, timeout=300))["value"]
        except urllib.error.HTTPError as error:
            raise RuntimeError(error.read().decode()[:500]) from error

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        try:
            self._call("DELETE", "")
        finally:
            self.driver.terminate()
            self.driver.wait(120)

    def go(self, address):
        self._call("POST", "/url", {"url": address})

    @property
    def address(self):
        return self._call("GET", "/url")

    def run(self, script, *arguments):
        """The value of a script's ``return``."""
        return self._call("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def until(self, script, seconds=120):
        """The script's value once it is true."""
        end = time.monotonic() + seconds
        while not (value := self.run(script)):
            assert time.monotonic() < end, f"never true: {script}; the page says: {self.text()[:800]}"
            time.sleep(0.1)
        return value

    def text(self):
        return self.run("return document.body.innerText")

    def click(self, selector):
        self._call("POST", f"/element/{self._element(selector)}/click", {})

    def type(self, selector, words):
        self._call("POST", f"/element/{self._element(selector)}/value", {"text": words})

    def keys(self, words):
        """Keys to whatever has the focus."""
        actions = [{"type": kind, "value": c} for c in words for kind in ("keyDown", "keyUp")]
        self._call("POST", "/actions", {"actions": [{"type": "key", "id": "k", "actions": actions}]})

    def _element(self, selector):
        return self._call("POST", "/element", {"using": "css selector", "value": selector})[ELEMENT]

    def size(self, width, height):
        """The window that a page sees: narrower ones than a window can be as well."""
        self._call("POST", "/goog/cdp/execute", {"cmd": "Emulation.setDeviceMetricsOverride", "params": {
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}})  # fmt: skip

    def scheme(self, name):
        """light or dark, as the system says."""
        features = [{"name": "prefers-color-scheme", "value": name}]
        self._call(
            "POST",
            "/goog/cdp/execute",
            {"cmd": "Emulation.setEmulatedMedia", "params": {"features": features}},
        )

    def complaints(self):
        """What the page wrote to the console as errors since the last look."""
        said = self._call("POST", "/se/log", {"type": "browser"})
        return [entry["message"] for entry in said if entry["level"] == "SEVERE"]

    def picture(self, path):
        path.write_bytes(base64.b64decode(self._call("GET", "/screenshot")))
