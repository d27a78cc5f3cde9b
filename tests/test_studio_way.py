"""The whole way in Chromium: filmed, looked at, built, spoken; then a text, talking, figures, origin, deletion."""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from avatar.core.media import probe
from avatar.studio.films import voices
from tests.conftest import Filmed
from tests.studio_pages import browser, camera_of, needs_browser, watched
from tests.studio_process import Served

PATIENCE = 180_000  # ms for what takes long: looking at a clip, a build
FILMED_SECONDS, SAID_SECONDS = 5.0, 2.0  # of the clip, of a sentence: what comes after takes as long again, or more
LENGTH = "(film) => new Promise((found) => { film.onloadedmetadata = () => found(film.duration); film.load(); })"
pytestmark = [pytest.mark.browser, pytest.mark.slow, needs_browser]


def test_from_the_camera_to_a_film(actor: Filmed, tmp_path: Path) -> None:
    """Six clicks: film, record, done, how long, build, make the film; it is me already."""
    (tmp_path / "library").mkdir()
    served = Served(tmp_path / "library", real=True)
    try:
        with browser(*camera_of(actor.video, tmp_path)) as chromium, watched(chromium, served, "#/new") as page:
            page.set_default_timeout(PATIENCE)
            page.get_by_role("button", name="Film yourself").click()
            page.locator(".hints li").first.wait_for()
            page.get_by_role("button", name="Record").click()
            page.locator(".record.on").wait_for()
            time.sleep(FILMED_SECONDS)
            assert page.locator(".level .fill").evaluate("(one) => parseInt(one.style.height)") > 0
            page.locator(".record").click()
            page.get_by_label("Name").fill("The Actor")
            assert page.get_by_label("It is me").is_checked()
            page.get_by_label("½ min").check(force=True)
            page.locator(".grade").wait_for()
            assert page.locator(".thumbs img").count() >= 6
            page.get_by_role("button", name="Build the avatar").click()
            page.locator(".building .pair img").wait_for()  # truth beside prediction
            preview = page.locator(".preview[data-first]")
            preview.wait_for()
            page.get_by_role("link", name="Talk").wait_for()
            page.locator("#slider-head").fill("1.6")
            page.locator(".preview[data-changes='2']").wait_for()
            page.get_by_role("button", name="Record", exact=True).click()
            page.get_by_role("button", name="Stop recording").wait_for()
            time.sleep(SAID_SECONDS)
            page.get_by_role("button", name="Stop recording").click()
            page.locator(".preview[data-changes='3']").wait_for()
            page.get_by_label("Small").check(force=True)
            page.get_by_role("button", name="Make the film").click()
            page.locator(".film-card video").wait_for()
        film = served.folder / "the-actor" / "films" / "recording.mp4"
        assert probe(film).seconds == pytest.approx(SAID_SECONDS, abs=0.7)
        assert "--head 1.6" in (film.parent / f"{film.name}.json").read_text()
    finally:
        served.stop()


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory, avatar_file: Path, actor: Filmed) -> Iterator[Served]:
    """A library with Anna, who was built."""
    served = Served(tmp_path_factory.mktemp("library"), real=True)
    folder = served.folder / served.add("Anna", actor.video.read_bytes())
    shutil.copy(avatar_file, folder / "anna.avatar")
    shutil.copytree(actor.take.root, folder / "anna.take")
    yield served
    served.stop()


def test_from_a_text_to_nothing_left(furnished: Served) -> None:
    """A text is said; a film's origin is told; figures; a live page; and all of it is deleted."""
    if not voices():
        pytest.skip("no voice is installed")
    folder = furnished.folder / "anna"
    microphone = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
    with browser(*microphone) as chromium, watched(chromium, furnished, "#/p/anna") as page:
        page.set_default_timeout(PATIENCE)
        page.locator(".preview[data-changes='1']").wait_for()
        page.get_by_label("A text").check(force=True)
        page.get_by_label("What should be said?").fill("Hello. This is a test.")
        page.locator(".preview[data-changes='2']").wait_for()
        page.get_by_label("Small").check(force=True)
        page.get_by_role("button", name="Make the film").click()
        page.locator(".film-card video").wait_for()
        (film,) = (folder / "films").glob("*.mp4")
        assert (folder / "texts" / f"{film.stem}.txt").read_text() == "Hello. This is a test."
        assert page.locator(".film-card video").evaluate(LENGTH) > 1

        page.get_by_role("link", name="Talk").click()
        page.get_by_role("button", name="Start").click()
        page.frame_locator("iframe.live").locator("#avatar option").wait_for(state="attached")
        live = page.frames[-1]
        assert live.evaluate("navigator.mediaDevices.getUserMedia({ audio: true }).then((media) => media.active)")

        page.get_by_role("link", name="Evaluate").click()
        page.get_by_role("button", name="Compare with the clip").click()
        report = page.frame_locator("iframe.report")
        report.locator("table").first.wait_for()
        assert report.locator("img, video").count() > 0

        page.get_by_role("link", name="Verify").click()
        page.locator("input[type=file]").set_input_files(film)
        page.get_by_text("This was generated", exact=True).wait_for()
        assert "[object" not in page.locator(".result").inner_text()

        page.goto(f"http://127.0.0.1:{furnished.port}/#/p/anna/about")
        page.get_by_role("button", name="Delete everything").click()
        page.get_by_role("dialog").get_by_role("button", name="Delete everything").click()
        page.get_by_text("Anna is deleted").wait_for()
    assert not folder.exists()
    left = [path for path in furnished.folder.rglob("*") if "anna" in path.name.lower()]
    assert not left
    with sqlite3.connect(furnished.folder / "studio.batch" / "journal.sqlite") as journal:
        assert "anna" not in "\n".join(journal.iterdump()).lower()
