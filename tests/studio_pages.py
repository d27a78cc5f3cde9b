"""Pages of the studio in Chromium, for tests that look at them; without Chromium or playwright they skip."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import pytest

from avatar.core.media_command import ffmpeg_binary
from bench.chromium import find_chromium

ARGUMENTS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--mute-audio",
)  # fmt: skip
CAMERA_RATE = 30  # pictures a second that Chromium's camera takes from a file of JPEGs, whatever was filmed
needs_browser = pytest.mark.skipif(find_chromium() is None, reason="Chromium is not installed")


class HasPort(Protocol):
    """A studio that is being served."""

    port: int


@contextmanager
def browser(*arguments: str) -> Iterator[Any]:
    """A Chromium of its own."""
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=find_chromium(), args=[*ARGUMENTS, *arguments])
        try:
            yield opened
        finally:
            opened.close()


def camera_of(film: Path, folder: Path) -> list[str]:
    """Options of a Chromium whose camera and microphone are a film's pictures and sound, in time with each other."""
    pictures, sound = folder / "camera.mjpeg", folder / "microphone.wav"
    command = [ffmpeg_binary(), "-v", "error", "-i", str(film)]
    subprocess.run([*command, "-vf", f"fps={CAMERA_RATE},scale=640:640", "-q:v", "3", str(pictures)], check=True)
    subprocess.run([*command, "-ac", "1", "-ar", "48000", str(sound)], check=True)
    return [
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-video-capture={pictures}",
        f"--use-file-for-fake-audio-capture={sound}",
    ]


@contextmanager
def watched(chromium: Any, served: HasPort, place: str = "#/", *, script: str = "", **context: Any) -> Iterator[Any]:
    """A page of the studio; what it throws, asks for elsewhere or is refused by its own policy fails the test.

    script: runs before the page's own.
    """
    here, wrong = "http://127.0.0.1:", list[str]()  # the live page is at another port
    opened = chromium.new_context(**{"locale": "en-US"} | context)
    try:
        page = opened.new_page()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda one: None if one.url.startswith((here, "blob:", "data:")) else wrong.append(one.url))
        page.on("console", lambda one: wrong.append(one.text) if "Content Security" in one.text else None)
        if script:
            page.add_init_script(script)
        page.goto(f"{here}{served.port}/{place}")
        yield page
        assert not wrong
    finally:
        opened.close()
