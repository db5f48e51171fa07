"""A headless Chromium without network, spoken to over a pipe: no package is needed.

The protocol is the one of Chromium's developer tools; messages are JSON, each ended by
a zero byte, on the descriptors 3 and 4 (`--remote-debugging-pipe`).
"""

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PATIENCE = 60.0  # seconds


def find_browser():
    """Path of a Chromium, or None."""
    return next((path for path in map(shutil.which, NAMES) if path), None)


class Browser:
    """One page of a headless Chromium; a context manager.

    Attributes:
        problems: messages of the console and exceptions, as they came.
    """

    def __init__(self, program, width=1280, height=900, dark=False):
        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        to_browser, ours = os.pipe()
        theirs, from_browser = os.pipe()

        def take_pipes():
            # Moved away first, as one of them may lie where the other belongs.
            ends = [os.dup(os.dup(os.dup(end))) for end in (to_browser, from_browser)]
            for place, end in zip((3, 4), ends, strict=True):
                os.dup2(end, place)
                os.set_inheritable(place, True)

        command = [
            program,
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--remote-debugging-pipe",
            f"--user-data-dir={self._folder.name}",
            "about:blank",
        ]
        self._process = subprocess.Popen(
            command,
            preexec_fn=take_pipes,
            close_fds=False,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        self._out, self._in, self._rest, self._number = ours, theirs, b"", 0
        self._session, self._loaded, self.problems = None, False, []
        targets = self.call("Target.getTargets")["targetInfos"]
        page = next(t["targetId"] for t in targets if t["type"] == "page")
        attached = self.call("Target.attachToTarget", targetId=page, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        offline = {"latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
        self.call("Network.emulateNetworkConditions", offline=True, **offline)
        self.resize(width, height)
        self.colours("dark" if dark else "light")

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._process.kill()
        self._process.wait()
        os.close(self._out)
        os.close(self._in)
        self._folder.cleanup()

    def resize(self, width, height):
        """Size of the page in pixels."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def colours(self, scheme):
        """Lets the page believe that the person likes "light" or "dark"."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", features=features)

    def open(self, path):
        """Opens a file from disk and waits until it has been loaded."""
        self._loaded = False
        self.call("Page.navigate", url=path.resolve().as_uri())
        limit = time.monotonic() + PATIENCE
        while not self._loaded:
            self._read(limit)

    def run(self, script):
        """Value of an expression of JavaScript; promises are waited for."""
        answer = self.call(
            "Runtime.evaluate",
            expression=script,
            returnByValue=True,
            awaitPromise=True,
        )
        if "exceptionDetails" in answer:
            raise AssertionError(answer["exceptionDetails"])
        return answer["result"].get("value")

    def click(self, x, y):
        """Presses and releases the mouse at a place of the window."""
        for kind in ("mousePressed", "mouseReleased"):
            place = {"x": x, "y": y, "button": "left", "buttons": 1, "clickCount": 1}
            self.call("Input.dispatchMouseEvent", type=kind, **place)

    def move(self, x, y):
        """Moves the mouse."""
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def press(self, key):
        """Presses a key, such as "ArrowLeft"."""
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key)

    def picture(self, path, whole=True):
        """Writes a PNG of the page."""
        answer = self.call("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(answer["data"]))

    def call(self, method, **parameters):
        """Result of one command of the protocol."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        number, limit = self._number, time.monotonic() + PATIENCE
        while True:
            answer = self._read(limit)
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]

    def _read(self, limit):
        while b"\0" not in self._rest:
            left = limit - time.monotonic()
            ready, _, _ = select.select([self._in], [], [], max(left, 0))
            assert ready, "the browser does not answer"
            chunk = os.read(self._in, 1 << 20)
            assert chunk, "the browser has ended"
            self._rest += chunk
        text, _, self._rest = self._rest.partition(b"\0")
        message = json.loads(text)
        method, found = message.get("method"), message.get("params", {})
        if method == "Page.loadEventFired":
            self._loaded = True
        elif method == "Runtime.exceptionThrown":
            self.problems.append(str(found["exceptionDetails"]))
        elif method == "Log.entryAdded":
            self.problems.append(found["entry"]["text"])
        elif method == "Runtime.consoleAPICalled":
            self.problems.append(str(found["args"]))
        return message
