"""A headless Chromium, driven over its DevTools protocol: it opens a page, looks and clicks."""

import contextlib
import itertools
import json
import shutil
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any

from websockets.sync.client import ClientConnection, connect

from rcsops.testing import wait_until

_NAMES = ("chromium", "chromium-browser", "google-chrome")


def browser() -> str | None:
    """Its program, None where there is none."""
    return next(filter(None, map(shutil.which, _NAMES)), None)


class Page:
    """One tab. ``console`` has what the page, or the browser about it, has said; ``requests`` the
    addresses that it has fetched."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._ids = itertools.count(1)
        self.console: list[str] = []
        self.requests: list[str] = []

    def __enter__(self) -> "Page":
        program = browser()
        assert program is not None
        profile = self._directory / "profile"
        with (self._directory / "browser.log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    program,
                    *("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run"),
                    *("--remote-debugging-port=0", f"--user-data-dir={profile}"),
                    *("--window-size=1400,1000", "about:blank"),
                ],
                stdout=log,
                stderr=log,
            )
        opened = profile / "DevToolsActivePort"
        wait_until(lambda: opened.exists() and opened.read_text().count("\n"), 60, what="Chromium")
        port, path = opened.read_text().split()[:2]
        self._stack = contextlib.ExitStack()
        self._socket: ClientConnection = self._stack.enter_context(
            connect(f"ws://127.0.0.1:{port}{path}", max_size=None)
        )
        target = next(
            each
            for each in self._call("Target.getTargets")["targetInfos"]
            if each["type"] == "page"
        )
        attached = self._call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network", "Audits"):
            self._call(f"{domain}.enable")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()
        self._process.terminate()
        self._process.wait(30)

    _session = ""

    def open(self, address: str) -> None:
        """Goes there, and waits until it is loaded."""
        self._call("Page.navigate", url=address)
        wait_until(lambda: self.evaluate("document.readyState") == "complete", 60)

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page."""
        answer = self._call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def click(self, selector: str) -> None:
        """A click of the mouse into the middle of an element, which is scrolled to before."""
        place = self.evaluate(
            f"(() => {{ const each = document.querySelector({json.dumps(selector)});"
            "each.scrollIntoView({block: 'center'}); const box = each.getBoundingClientRect();"
            "return [box.x + box.width / 2, box.y + box.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self._call(
                "Input.dispatchMouseEvent",
                type=kind,
                x=place[0],
                y=place[1],
                button="left",
                clickCount=1,
            )

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._ids)
        request = {"id": number, "method": method, "params": parameters}
        if self._session:
            request["sessionId"] = self._session
        self._socket.send(json.dumps(request))
        while True:
            message = json.loads(self._socket.recv(timeout=60))
            if message.get("id") == number:
                assert "error" not in message, (method, message)
                result: dict[str, Any] = message["result"]
                return result
            self._note(message.get("method", ""), message.get("params", {}))

    def _note(self, method: str, parameters: dict[str, Any]) -> None:
        if method == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])
        elif method in (
            "Log.entryAdded",
            "Runtime.consoleAPICalled",
            "Runtime.exceptionThrown",
            "Audits.issueAdded",
            "Page.javascriptDialogOpening",
        ):
            self.console.append(f"{method}: {json.dumps(parameters)}")
