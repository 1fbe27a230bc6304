"""A headless Chromium driven through its DevTools protocol: what the explorer's test needs."""

from __future__ import annotations

import base64
import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.types import ASGIApp
from websockets.sync.client import ClientConnection, connect

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium (infra/setup.sh)")
DONE = "document.getElementById('status').textContent === 'Done.'"
_START_S = 60
_FLAGS = (
    "--headless --no-sandbox --use-angle=swiftshader --enable-unsafe-swiftshader --disable-quic "
    "--no-first-run --disable-sync "
    "--disable-background-networking --disable-component-update --remote-debugging-port=0 "
    "--hide-scrollbars"
)


class Browser:
    """One tab."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._last = 0

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """The result of one DevTools command."""
        self._last += 1
        self._connection.send(json.dumps({"id": self._last, "method": method, "params": params}))
        while True:
            answer = json.loads(self._connection.recv(timeout=_START_S))
            if answer.get("id") == self._last:
                assert "error" not in answer, answer["error"]
                return answer["result"]

    def open(self, url: str, width: int = 1100, height: int = 900, *, dark: bool = False) -> None:
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])
        self.send("Page.navigate", url=url)
        self.wait("document.readyState === 'complete'")

    def run(self, expression: str) -> Any:
        """The value of a JavaScript expression, awaited."""
        result = self.send(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def wait(self, expression: str, seconds: float = 60) -> None:
        """Until an expression is true."""
        deadline = time.monotonic() + seconds
        while not self.run(expression):
            assert time.monotonic() < deadline, f"never true: {expression}"
            time.sleep(0.1)

    def drop(self, name: str, data: bytes, kind: str = "") -> None:
        """Drop a file on the page."""
        encoded = base64.b64encode(data).decode()
        self.run(
            "(() => {"
            f"const bytes = Uint8Array.from(atob('{encoded}'), (c) => c.charCodeAt(0));"
            f"const file = new File([bytes], {json.dumps(name)}, {{ type: {json.dumps(kind)} }});"
            "const dataTransfer = new DataTransfer(); dataTransfer.items.add(file);"
            "const options = { dataTransfer, bubbles: true, cancelable: true };"
            "document.getElementById('drop').dispatchEvent(new DragEvent('drop', options));"
            "})()"
        )

    def press(self, key: str, code: int, text: str = "") -> None:
        """One key, down and up."""
        for kind in ("keyDown", "keyUp"):
            pressed = {"key": key, "windowsVirtualKeyCode": code, "type": kind}
            self.send("Input.dispatchKeyEvent", **pressed, **({"text": text} if text else {}))

    def type(self, words: str) -> None:
        self.send("Input.insertText", text=words)

    def screenshot(self, path: Path, *, whole: bool = True) -> None:
        shot = self.send("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(shot["data"]))


class _Quiet(uvicorn.Server):
    """In a thread, which may set no signal handlers; the engine outlives it."""

    def install_signal_handlers(self) -> None:
        pass


@contextmanager
def serving(app: ASGIApp) -> Generator[str]:
    """The address of an app on a free port, without Ray."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = _Quiet(uvicorn.Config(app, "127.0.0.1", port, lifespan="off", log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    yield f"http://127.0.0.1:{port}/"
    server.should_exit = True
    thread.join()


@contextmanager
def browser(folder: Path) -> Generator[Browser]:
    """A browser with its profile in `folder`."""
    assert CHROMIUM is not None
    command = [CHROMIUM, *_FLAGS.split(), f"--user-data-dir={folder}", "about:blank"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with connect(_address(folder), max_size=None) as connection:
            yield _tab(Browser(connection))
    finally:
        process.kill()
        process.wait()


def _address(folder: Path) -> str:
    told = folder / "DevToolsActivePort"
    deadline = time.monotonic() + _START_S
    while not told.exists() or len(told.read_text().splitlines()) < 2:
        assert time.monotonic() < deadline, "chromium does not start"
        time.sleep(0.1)
    port, path = told.read_text().splitlines()[:2]
    return f"ws://127.0.0.1:{port}{path}"


def _tab(whole: Browser) -> Browser:
    """The first tab: commands to it carry its session."""
    targets = whole.send("Target.getTargets")["targetInfos"]
    target = next(t["targetId"] for t in targets if t["type"] == "page")
    session = whole.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
    tab = _Session(whole, session)
    tab.send("Page.enable")
    return tab


class _Session(Browser):
    def __init__(self, whole: Browser, session: str) -> None:
        super().__init__(whole._connection)
        self._session, self._last = session, whole._last

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        self._last += 1
        asked = {"id": self._last, "method": method, "params": params, "sessionId": self._session}
        self._connection.send(json.dumps(asked))
        while True:
            answer = json.loads(self._connection.recv(timeout=_START_S))
            if answer.get("id") == self._last:
                assert "error" not in answer, answer["error"]
                return answer["result"]
