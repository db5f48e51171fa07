"""A headless Firefox without network, spoken to over a socket: no package is needed.

The protocol is Marionette: texts with their length and a colon before them, commands
`[0, number, name, parameters]`, answers `[1, number, error, result]`.
"""

import base64
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

NAMES = ("firefox", "firefox-esr")
PATIENCE = 60.0  # seconds
# Code points that stand for keys in the WebDriver protocol.
KEYS = {
    "ArrowLeft": "\ue012",
    "ArrowUp": "\ue013",
    "ArrowRight": "\ue014",
    "ArrowDown": "\ue015",
    "Enter": "\ue007",
}
# Nothing is looked up, and whatever is asked for goes to a port where nobody listens.
SETTINGS = {
    "marionette.port": 0,
    "network.dns.disabled": True,
    "network.proxy.type": 1,
    "network.proxy.http": "127.0.0.1",
    "network.proxy.http_port": 9,
    "network.proxy.ssl": "127.0.0.1",
    "network.proxy.ssl_port": 9,
}
SCHEME = "layout.css.prefers-color-scheme.content-override"


def find_firefox():
    """Path of a Firefox, or None."""
    return next((path for path in map(shutil.which, NAMES) if path), None)


class Firefox:
    """One page of a headless Firefox; a context manager like `browser.Browser`."""

    def __init__(self, program, width=1280, height=900, dark=False):
        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        home = Path(self._folder.name)
        rows = [
            f"user_pref({json.dumps(k)}, {json.dumps(v)});" for k, v in SETTINGS.items()
        ]
        (home / "user.js").write_text("\n".join(rows))
        command = [program, "--headless", "--no-remote", "--marionette"]
        command += ["--remote-allow-system-access", "--profile", str(home)]
        self._process = subprocess.Popen(
            [*command, "about:blank"],
            env={**os.environ, "HOME": str(home)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._socket = socket.create_connection(("127.0.0.1", self._port()), PATIENCE)
        self._rest, self._number = b"", 0
        self._read()
        self.call("WebDriver:NewSession", capabilities={"alwaysMatch": {}})
        self.resize(width, height)
        self.colours("dark" if dark else "light")

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.call("Marionette:Quit", flags=["eForceQuit"])
        self._process.wait(PATIENCE)
        self._socket.close()
        self._folder.cleanup()

    @property
    def problems(self):
        """Errors and warnings of pages from disk, those of its policy among them."""
        return self._within(
            "return Services.console.getMessageArray().filter(m => m instanceof "
            "Ci.nsIScriptError && m.sourceName.startsWith('file:'))"
            ".map(m => m.errorMessage)"
        )

    def resize(self, width, height):
        """Size of the page in pixels; windows are not made as narrow as a telephone."""
        self.call("WebDriver:SetWindowRect", width=max(width, 500), height=height)
        side = f"{width}px" if width < 500 else ""
        self._within(
            "const page = gBrowser.selectedBrowser; page.style.minWidth = "
            f"page.style.maxWidth = {side!r}; return null"
        )
        self._wait(f"innerWidth === {width}")

    def colours(self, scheme):
        """Lets the page believe that the person likes "light" or "dark"."""
        value = ("dark", "light").index(scheme)
        self._within(f"Services.prefs.setIntPref({SCHEME!r}, {value}); return null")
        self._wait(f"matchMedia('(prefers-color-scheme: {scheme})').matches")

    def open(self, path):
        """Opens a file from disk and waits until it has been loaded."""
        self.call("WebDriver:Navigate", url=path.resolve().as_uri())

    def run(self, script):
        """Value of an expression of JavaScript."""
        return self._value(f"return {script}")

    def click(self, x, y):
        """Presses and releases the mouse at a place of the window."""
        actions = [
            {"type": "pointerMove", "x": int(x), "y": int(y), "duration": 0},
            {"type": "pointerDown", "button": 0},
            {"type": "pointerUp", "button": 0},
        ]
        self._act("pointer", {"parameters": {"pointerType": "mouse"}}, actions)

    def press(self, key):
        """Presses a key, such as "ArrowLeft"."""
        kinds = ("keyDown", "keyUp")
        self._act("key", {}, [{"type": kind, "value": KEYS[key]} for kind in kinds])

    def picture(self, path):
        """Writes a PNG of the whole page."""
        answer = self.call("WebDriver:TakeScreenshot", full=True, hash=False)
        path.write_bytes(base64.b64decode(answer["value"]))

    def call(self, name, **parameters):
        """Result of one command of the protocol."""
        self._number += 1
        text = json.dumps([0, self._number, name, parameters]).encode()
        self._socket.sendall(b"%d:%s" % (len(text), text))
        _, _, error, result = self._read()
        assert error is None, error
        return result

    def _act(self, kind, more, actions):
        action = {"type": kind, "id": kind, "actions": actions, **more}
        self.call("WebDriver:PerformActions", actions=[action])

    def _value(self, script):
        found = self.call("WebDriver:ExecuteScript", script=script, args=[])
        return found["value"]

    def _within(self, script):
        """Value of a function's body that runs in the browser, not in its page."""
        self.call("Marionette:SetContext", value="chrome")
        try:
            return self._value(script)
        finally:
            self.call("Marionette:SetContext", value="content")

    def _wait(self, condition):
        """Waits until the page, which lives in another process, has heard of it."""
        limit = time.monotonic() + PATIENCE
        while not self.run(condition):
            assert time.monotonic() < limit, condition

    def _port(self):
        file = Path(self._folder.name) / "MarionetteActivePort"
        limit = time.monotonic() + PATIENCE
        while not (file.is_file() and file.read_text().strip()):
            assert self._process.poll() is None, "the browser has ended"
            assert time.monotonic() < limit, "the browser does not answer"
            time.sleep(0.05)
        return int(file.read_text())

    def _read(self):
        while b":" not in self._rest:
            self._more()
        length, _, self._rest = self._rest.partition(b":")
        while len(self._rest) < int(length):
            self._more()
        text = self._rest[: int(length)]
        self._rest = self._rest[int(length) :]
        return json.loads(text)

    def _more(self):
        chunk = self._socket.recv(1 << 20)
        assert chunk, "the browser has ended"
        self._rest += chunk
