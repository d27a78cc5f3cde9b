"""Headless Chromium, steered by its DevTools protocol: for measurements, and for tests where it is installed."""

from __future__ import annotations

import asyncio
import itertools
import json
import shutil
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--mute-audio",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--remote-debugging-port=0",
    "--autoplay-policy=no-user-gesture-required", "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream", "--disable-background-timer-throttling", "--disable-renderer-backgrounding",
    "--disable-features=WebRtcHideLocalIpsWithMdns",
)  # fmt: skip
COMMAND_SECONDS = 120.0  # a script of a page may await what it measures
START_SECONDS = 30.0


def find_chromium() -> str | None:
    """The program; None where it is not installed."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Page:
    """A page that is open."""

    def __init__(self, socket: Any) -> None:
        self._socket, self._numbers = socket, itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self.console: list[str] = []  # what the page wrote, and its errors
        self._reader = asyncio.create_task(self._read())

    async def command(self, method: str, *, patience: float = COMMAND_SECONDS, **values: Any) -> dict[str, Any]:
        """A command of the DevTools protocol; its result, within `patience` seconds.

        Raises: RuntimeError, TimeoutError; CancelledError when the browser is gone.
        """
        number = next(self._numbers)
        self._answers[number] = asyncio.get_running_loop().create_future()
        await self._socket.send(json.dumps({"id": number, "method": method, "params": values}))
        answer = await asyncio.wait_for(self._answers[number], patience)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']['message']}")
        result: dict[str, Any] = answer["result"]
        return result

    async def run(self, script: str, patience: float = COMMAND_SECONDS) -> Any:
        """The value of an expression, awaited where it is a promise. Raises: RuntimeError with the page's error."""
        values = {"expression": script, "awaitPromise": True, "returnByValue": True, "userGesture": True}
        found = await self.command("Runtime.evaluate", patience=patience, **values)
        if "exceptionDetails" in found:
            raise RuntimeError(found["exceptionDetails"].get("exception", {}).get("description", "the script failed"))
        return found["result"].get("value")

    async def wait(self, script: str, seconds: float) -> Any:
        """Wait until an expression is true. Raises: TimeoutError."""
        end = time.monotonic() + seconds
        while not (value := await self.run(script)):
            if time.monotonic() > end:
                raise TimeoutError(f"{script} is not so after {seconds:g} s; {self.console[-5:]}")
            await asyncio.sleep(0.1)
        return value

    async def _read(self) -> None:
        try:
            await self._dispatch()
        finally:  # nobody waits for a browser that is gone
            for waiting in self._answers.values():
                waiting.cancel()

    async def _dispatch(self) -> None:
        async for text in self._socket:
            message = json.loads(text)
            if "id" in message:
                self._answers.pop(message["id"]).set_result(message)
            elif message["method"] == "Runtime.consoleAPICalled":
                self.console.append(" ".join(str(one.get("value")) for one in message["params"]["args"]))
            elif message["method"] == "Runtime.exceptionThrown":
                self.console.append(str(message["params"]["exceptionDetails"].get("exception", {}).get("description")))
            elif message["method"] == "Log.entryAdded":
                self.console.append(message["params"]["entry"]["text"])


@asynccontextmanager
async def open_page(url: str, flags: Sequence[str] = ()) -> AsyncIterator[Page]:
    """A page in a browser of its own, which ends with it; flags: beside FLAGS.

    Raises: FileNotFoundError, TimeoutError.
    """
    from websockets.asyncio.client import connect

    program = find_chromium()
    if program is None:
        raise FileNotFoundError("Chromium is not installed; apt install chromium")
    with tempfile.TemporaryDirectory(prefix="chromium", ignore_cleanup_errors=True) as folder:
        process = subprocess.Popen(
            [program, *FLAGS, *flags, f"--user-data-dir={folder}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            port = await _port(Path(folder) / "DevToolsActivePort")
            targets = await asyncio.to_thread(_read_json, f"http://127.0.0.1:{port}/json")
            address = next(one["webSocketDebuggerUrl"] for one in targets if one["type"] == "page")
            async with connect(address, max_size=None, ping_interval=None) as socket:
                page = Page(socket)
                for domain in ("Runtime", "Log", "Page"):
                    await page.command(f"{domain}.enable")
                await page.command("Page.navigate", url=url)
                await page.wait("document.readyState === 'complete' && location.href !== 'about:blank'", START_SECONDS)
                yield page
        finally:
            process.terminate()
            process.wait(10)


async def _port(file: Path) -> int:
    end = time.monotonic() + START_SECONDS
    while not (file.exists() and file.read_text().strip()):
        if time.monotonic() > end:
            raise TimeoutError(f"Chromium did not start in {START_SECONDS:g} s")
        await asyncio.sleep(0.05)
    return int(file.read_text().splitlines()[0])


def _read_json(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.load(answer)
