"""The studio's page in Chromium: the whole way with a camera that shows the actor, and whether everybody can use it."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from avatar.core.media_command import ffmpeg_binary
from tests.conftest import Filmed
from tests.studio_process import Served

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
)
AXE = Path(os.environ.get("AXE", "node_modules/axe-core/axe.min.js"))
pytestmark = [pytest.mark.browser, pytest.mark.skipif(not CHROMIUM, reason="no Chromium")]
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
PATIENCE = 240_000  # ms for what takes long: looking at a clip, a build


@pytest.fixture(scope="module")
def camera(actor: Filmed, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Options of Chromium whose camera and microphone are the actor's film."""
    folder = tmp_path_factory.mktemp("camera")
    pictures, sound = folder / "actor.mjpeg", folder / "actor.wav"
    command = [ffmpeg_binary(), "-v", "error", "-i", str(actor.video)]
    subprocess.run([*command, "-vf", "scale=640:640", "-q:v", "3", str(pictures)], check=True)
    subprocess.run([*command, "-ac", "1", "-ar", "48000", str(sound)], check=True)
    return [
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-video-capture={pictures}",
        f"--use-file-for-fake-audio-capture={sound}",
    ]


class Watched:
    """A page whose errors, and requests to elsewhere, are noted."""

    def __init__(self, chromium: Any, url: str, **context: Any) -> None:
        self.context = chromium.new_context(locale="en-US", **context)
        self.page, self.wrong = self.context.new_page(), list[str]()
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on(
            "request", lambda one: self.wrong.append(one.url) if not one.url.startswith((url, "blob:", "data:")) else 0
        )
        self.page.on("console", lambda one: self.wrong.append(one.text) if "Content Security" in one.text else 0)
        self.page.goto(url)


@pytest.fixture(scope="module")
def chromium(camera: list[str]) -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=[*ARGUMENTS, *camera])
        yield opened
        opened.close()


@pytest.mark.slow
def test_from_the_camera_to_a_film(chromium: Any, tmp_path: Path) -> None:
    """Six clicks: film, record, done, it is me, build, make the film."""
    served = Served(tmp_path, real=True)
    try:
        watched = Watched(chromium, f"http://127.0.0.1:{served.port}/#/new")
        page = watched.page
        page.set_default_timeout(PATIENCE)
        page.get_by_role("button", name="Film yourself").click()
        page.locator(".hints li").first.wait_for()
        page.get_by_role("button", name="Record").click()
        time.sleep(11)
        page.locator(".record").click()
        page.get_by_label("Name").fill("The Actor")
        page.get_by_label("It is me").check(force=True)
        page.get_by_label("½ min").check(force=True)
        page.locator(".grade").wait_for()
        page.get_by_role("button", name="Build the avatar").click()
        page.locator(".building .stages").wait_for()
        preview = page.locator(".preview[data-first]")
        preview.wait_for()
        page.locator("#slider-head").fill("1.6")
        page.locator(".preview[data-changes='2']").wait_for()
        page.get_by_role("button", name="Make the film").click()
        page.locator(".film-card video").wait_for()
        film = tmp_path / "the-actor" / "films" / "film.mp4"
        assert film.stat().st_size > 20_000
        assert "--head 1.6" in (film.parent / "film.mp4.json").read_text()
        assert not watched.wrong
    finally:
        served.stop()


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory, avatar_file: Path) -> Iterator[Served]:
    """A library with a person who speaks, one whose build has failed, and one who was only filmed."""
    folder = tmp_path_factory.mktemp("library")
    served = Served(folder)
    served.add("Failing", b"fail" * 1000, build=True, quality="quick")
    key = served.add("Anna", b"a clip" * 1000)
    shutil.copy(avatar_file, folder / key / "anna.avatar")
    (folder / key / "films").mkdir()
    shutil.copy(avatar_file, folder / key / "films" / "hello.mp4")
    yield served
    served.stop()


PAGES = ("#/", "#/new", "#/queue", "#/verify", "#/p/anna", "#/p/anna/about", "#/p/anna/measure", "#/p/failing")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everybody_can_use_it(chromium: Any, furnished: Served, scheme: str) -> None:
    if not AXE.is_file():
        pytest.skip("no axe-core: npm install axe-core, or AXE=FILE")
    url = f"http://127.0.0.1:{furnished.port}/"
    watched = Watched(chromium, url, bypass_csp=True, color_scheme=scheme, viewport={"width": 390, "height": 844})
    found = []
    for address in PAGES:
        page = watched.page
        page.goto(url + address)
        page.locator("main h1").wait_for()
        page.wait_for_timeout(700)  # until what comes in has come
        page.add_script_tag(path=str(AXE))
        result = page.evaluate("axe.run(document, {iframes: false})")
        found += [(address, one["id"], one["impact"], one["nodes"][0]["html"][:200]) for one in result["violations"]]
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, address
    assert not found
    assert not watched.wrong


def test_a_key_is_enough(chromium: Any, furnished: Served) -> None:
    """Tab reaches the way to a new avatar, in order, and Enter goes it."""
    page = Watched(chromium, f"http://127.0.0.1:{furnished.port}/").page
    page.locator("main h1").wait_for()
    seen = []
    for _ in range(8):
        page.keyboard.press("Tab")
        seen.append(page.evaluate("document.activeElement.textContent.trim()"))
    assert any(text.startswith("New avatar") for text in seen), seen
    page.locator("a.new").focus()
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Choose a clip or photo").wait_for()


def test_it_goes_on_after_the_studio_was_killed(chromium: Any, tmp_path: Path) -> None:
    served = Served(tmp_path)
    try:
        served.add("Anna", b"fail" * 1000)
        watched = Watched(chromium, f"http://127.0.0.1:{served.port}/#/queue")
        watched.page.get_by_text("Nothing to do.").wait_for()
        port = served.port
        served.kill()
        watched.page.locator("body.offline").wait_for()
        served.start(port)
        served.json("POST", "/api/people/anna/build", {"quality": "quick"})
        watched.page.locator(".job").wait_for()
    finally:
        served.stop()


def test_a_file_that_is_no_clip_gets_a_sentence(chromium: Any, furnished: Served) -> None:
    page = Watched(chromium, f"http://127.0.0.1:{furnished.port}/#/new").page
    page.set_default_timeout(PATIENCE)
    wrong = {"name": "holiday.mp4", "mimeType": "video/mp4", "buffer": b"no pictures at all" * 100}
    page.locator("input[type=file]").set_input_files(wrong)
    page.get_by_text("holiday.mp4: is not a video or sound file").wait_for()
    assert page.get_by_role("button", name="Build the avatar").is_disabled()
