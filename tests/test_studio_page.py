"""The studio's pages in Chromium: whether everybody can use them, and what they say of bad input."""

from __future__ import annotations

import io
import json
import re
import shutil
import time
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from avatar.core.avatar_file import FORMAT
from tests.studio_pages import browser, needs_browser, watched
from tests.studio_process import Served

PHONE = {"width": 390, "height": 844}
PATIENCE = 60_000  # ms
CLIP = np.random.default_rng(0).bytes(9_000_000)  # three pieces, of a clip that nobody looks into
GOOD = {"checked": True, "grade": "good", "usable": True, "advice": [], "notes": [], "pictures": [], "left_out": []}
GOOD |= {"width": 640, "height": 480, "fps": 25, "seconds": 30}
SCRIPT = "# Hello\n\n::: notes\nGood morning.\n:::\n\n---\n# Silent\n\nNothing.\n"
REFUSED = "navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('', '{name}'));"
pytestmark = [pytest.mark.browser, needs_browser]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory, avatar_file: Path) -> Iterator[Served]:
    """A library with a person who speaks, one whose build has failed, and one whose avatar is of another version."""
    folder = tmp_path_factory.mktemp("library")
    served = Served(folder)
    served.add("Failing", b"fail" * 1000, build=True, quality="quick")
    key = served.add("Anna", b"a clip" * 1000)
    shutil.copy(avatar_file, folder / key / "anna.avatar")
    (folder / key / "films").mkdir()
    shutil.copy(avatar_file, folder / key / "films" / "hello.mp4")
    deck = served.upload("deck", "talk.md", SCRIPT.encode())
    served.json("POST", f"/api/people/{key}/decks", {"upload": deck})
    shutil.copytree(folder / key, folder / "old")
    (folder / "old" / "anna.avatar").unlink()
    data = avatar_file.read_bytes()
    tag, older = (f'"avatar/{version}"'.encode() for version in (FORMAT.version, FORMAT.version - 2))
    assert data.count(tag) == 1
    (folder / "old" / "old.avatar").write_bytes(data.replace(tag, older))
    yield served
    served.stop()


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Served]:
    served = Served(tmp_path)
    yield served
    served.stop()


PAGES = (
    "#/", "#/new", "#/queue", "#/verify", "#/p/anna", "#/p/anna/slides", "#/p/anna/talk", "#/p/anna/measure",
    "#/p/anna/about", "#/p/failing", "#/p/old",
)  # fmt: skip


@pytest.mark.parametrize(("scheme", "locale"), [("light", "en-US"), ("dark", "de-DE")])
def test_everybody_can_use_it(chromium: Any, furnished: Served, scheme: str, locale: str) -> None:
    """No violation that axe knows, nothing wider than a phone, no word missing or shown as a program would."""
    pytest.importorskip("axe_playwright_python")
    axe, found = str(files("axe_playwright_python") / "axe.min.js"), []
    with watched(chromium, furnished, bypass_csp=True, color_scheme=scheme, locale=locale, viewport=PHONE) as page:
        for address in PAGES:
            page.evaluate(f"location.hash = '{address}'")
            page.locator("main h1").wait_for()
            page.wait_for_timeout(700)  # until what comes in has come
            if not page.evaluate("!!window.axe"):
                page.add_script_tag(path=axe)
            wrong = page.evaluate("axe.run(document, {iframes: false})")["violations"]
            found += [(address, one["id"], one["impact"], one["nodes"][0]["html"][:200]) for one in wrong]
            assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], address
            assert not re.search(r"\[object|undefined|NaN|\{\w+\}", page.locator("body").inner_text()), address
    assert not found


def test_a_key_is_enough(chromium: Any, furnished: Served) -> None:
    """Tab reaches the way to a new avatar, in order, and Enter goes it."""
    with watched(chromium, furnished) as page:
        page.locator("main h1").wait_for()
        seen = []
        for _ in range(8):
            page.keyboard.press("Tab")
            seen.append(page.evaluate("document.activeElement.textContent.trim()"))
        assert any(text.startswith("New avatar") for text in seen), seen
        page.locator("a.new").focus()
        page.keyboard.press("Enter")
        page.get_by_role("button", name="Choose a clip or photo").wait_for()


def test_it_goes_on_after_the_studio_was_killed(chromium: Any, empty: Served) -> None:
    empty.add("Anna", b"fail" * 1000)
    with watched(chromium, empty, "#/queue") as page:
        page.get_by_text("Nothing to do.").wait_for()
        port = empty.port
        empty.kill()
        page.locator("body.offline").wait_for()
        empty.start(port)
        empty.json("POST", "/api/people/anna/build", {"quality": "quick"})
        page.locator(".job").wait_for()


def chosen(page: Any, name: str, data: bytes) -> None:
    page.locator("input[type=file]").set_input_files({"name": name, "mimeType": "video/mp4", "buffer": data})


def test_a_file_that_is_no_clip_gets_a_sentence(chromium: Any, furnished: Served) -> None:
    """And what was chosen before it cannot be built in its place."""
    with watched(chromium, furnished, "#/new") as page:
        page.set_default_timeout(PATIENCE)
        page.route("**/check", lambda route: route.fulfill(json=GOOD), times=1)
        chosen(page, "good.mp4", CLIP)
        page.get_by_label("Name").fill("Bert")
        page.get_by_label("It is me").check(force=True)
        build = page.get_by_role("button", name="Build the avatar")
        page.locator(".grade").wait_for()
        assert build.is_enabled()
        page.get_by_role("button", name="Another clip").first.click()
        chosen(page, "holiday.mp4", b"no pictures at all" * 100)
        page.get_by_text("holiday.mp4: is not a video or sound file").wait_for()
        assert build.is_disabled()
        chosen_of = page.locator(".verdict").get_by_role("button", name="Another clip")
        chosen_of.click()
        chosen(page, "notes.pdf", b"text")
        page.get_by_text("Files of this kind cannot be used here.").wait_for()
        page.get_by_role("button", name="Another clip").first.click()
        chosen(page, "empty.mp4", b"")
        page.get_by_text("The file is empty.").wait_for()


def test_a_file_of_ten_gigabytes_gets_a_sentence(chromium: Any, empty: Served, tmp_path_factory: Any) -> None:
    large = tmp_path_factory.mktemp("large") / "long.mp4"
    with large.open("wb") as file:
        file.truncate(10_000_000_000)  # of which nothing is on disk
    with watched(chromium, empty, "#/new") as page:
        page.locator("input[type=file]").set_input_files(large)
        page.get_by_text("The file is larger than 4 GB.").wait_for()
    assert not list((empty.folder / ".uploads").glob("*.mp4"))


def test_names_may_be_anything(chromium: Any, empty: Served) -> None:
    """Too long a one is refused with a sentence and can be mended; a path becomes a name."""
    with watched(chromium, empty, "#/new") as page:
        page.route("**/check", lambda route: route.fulfill(json=GOOD))
        chosen(page, "../../" + "n" * 240 + ".mp4", CLIP)
        page.locator(".grade").wait_for()
        page.get_by_label("Name").evaluate("(one) => { one.maxLength = 999; }")
        page.get_by_label("Name").fill("n" * 300)
        page.get_by_label("It is me").check(force=True)
        page.get_by_role("button", name="Build the avatar").click()
        page.get_by_text("The name is too long.").wait_for()
        page.get_by_label("Name").fill("../../etc/passwd")
        page.get_by_role("button", name="Build the avatar").click()
        page.get_by_role("heading", name="../../etc/passwd").wait_for()
    assert (empty.folder / "etc-passwd" / "clip.mp4").read_bytes() == CLIP


def test_two_tabs_cannot_build_one_person(chromium: Any, empty: Served) -> None:
    key = empty.add("Anna", b"fail" * 1000)
    with watched(chromium, empty, f"#/p/{key}") as one, watched(chromium, empty, f"#/p/{key}") as other:
        buttons = [page.get_by_role("button", name="Build in 2 min") for page in (one, other)]
        for button in buttons:
            button.wait_for()
        other.route("**/api/events", lambda route: route.abort())  # it does not know of the first one's job yet
        other.reload()
        buttons[1].wait_for()
        buttons[0].click()
        one.locator(".building .stages, .building .problem").first.wait_for()
        buttons[1].click()
        other.get_by_text("This person is being built already.").wait_for()


def test_an_upload_goes_on_where_it_was_cut(chromium: Any, empty: Served) -> None:
    """The studio dies in the middle; then the disk is full for a while: a sentence each, and nothing is lost."""
    disk = {"full": True}

    def patch(route: Any) -> None:
        if disk["full"] and "offset=0" not in route.request.url:
            route.fulfill(status=507, json={"error": "the disk has 0.1 GB left", "code": "disk", "values": {}})
        else:
            route.continue_()

    with watched(chromium, empty, "#/new") as page:
        page.set_default_timeout(PATIENCE)
        page.route("**/api/uploads/*?offset=*", patch)
        page.route("**/check", lambda route: route.fulfill(json=GOOD))
        chosen(page, "me.mp4", CLIP)
        page.get_by_text("The disk is full.").wait_for()
        port = empty.port
        empty.kill()
        disk["full"] = False
        page.get_by_text("The studio does not answer.").wait_for()
        empty.start(port)
        page.locator(".grade").wait_for()
    (came,) = (empty.folder / ".uploads").glob("*.mp4")
    assert came.read_bytes() == CLIP


def test_an_upload_goes_on_in_another_tab(chromium: Any, empty: Served) -> None:
    """The page was closed in the middle: the same file, chosen again, is sent from where it was."""
    with watched(chromium, empty, "#/new") as page:
        page.set_default_timeout(PATIENCE)
        page.route("**/check", lambda route: route.fulfill(json=GOOD))
        file = empty.folder / "me.mp4"
        file.write_bytes(CLIP)
        stopped = json.dumps({"error": "", "code": "disk", "values": {}})
        page.route("**/api/uploads/*?offset=4*", lambda route: route.fulfill(status=507, body=stopped))
        page.locator("input[type=file]").set_input_files(file)
        page.get_by_text("The disk is full.").wait_for()
        page.unroute("**/api/uploads/*?offset=4*")
        page.reload()
        offsets = []
        page.on("request", lambda one: offsets.extend(re.findall(r"offset=(\d+)", one.url)))
        page.locator("input[type=file]").set_input_files(file)
        page.locator(".grade").wait_for()
        assert offsets == ["4000000", "8000000"]
    (came,) = (empty.folder / ".uploads").glob("*.mp4")
    assert came.read_bytes() == CLIP


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("NotAllowedError", "The browser may not use the camera"),
        ("NotFoundError", "There is no camera, or no microphone"),
        ("NotReadableError", "Another program uses the camera"),
    ],
)
def test_no_camera_gets_a_sentence(chromium: Any, empty: Served, name: str, words: str) -> None:
    with watched(chromium, empty, "#/new", script=REFUSED.format(name=name)) as page:
        page.get_by_role("button", name="Film yourself").click()
        page.get_by_role("heading", name=words).wait_for()
        page.get_by_role("button", name="Try again").click()
        page.get_by_role("button", name="Choose a clip or photo").wait_for()


def test_no_microphone_gets_a_sentence(chromium: Any, furnished: Served) -> None:
    with watched(chromium, furnished, "#/p/anna", script=REFUSED.format(name="NotFoundError")) as page:
        page.get_by_role("button", name="Record", exact=True).click()
        page.get_by_text("There is no microphone; plug one in, or choose a file.").wait_for()


def test_an_avatar_of_another_version_gets_a_sentence(chromium: Any, furnished: Served) -> None:
    """Its films stay, and the other pages of the person."""
    with watched(chromium, furnished, "#/p/old") as page:
        page.set_default_timeout(PATIENCE)
        page.get_by_role("heading", name="This avatar cannot be opened").wait_for()
        said = page.get_by_role("alert").inner_text()
        assert "old/old.avatar" in said
        assert "cannot be converted" in said
        page.get_by_role("alert").get_by_role("link", name="About").click()
        page.get_by_role("heading", name="Delete Anna").wait_for()


def test_a_film_is_deleted_and_made_again(chromium: Any, furnished: Served) -> None:
    """A film's settings come back; its file goes when it is deleted."""
    key = furnished.add("Carla", b"a clip" * 1000)
    folder = furnished.folder / key
    shutil.copy(furnished.folder / "anna" / "anna.avatar", folder / f"{key}.avatar")
    form = {"speech": "sample", "controls": {"head": 1.5}, "background": "colour", "value": "#1f2a44", "size": "small"}
    furnished.json("POST", f"/api/people/{key}/films", form)
    until = time.monotonic() + PATIENCE / 1000
    while not (film := folder / "films" / "film.mp4").exists():
        assert time.monotonic() < until
        time.sleep(0.1)
    with watched(chromium, furnished, f"#/p/{key}") as page:
        page.set_default_timeout(PATIENCE)
        page.get_by_role("button", name="Again").click()
        assert page.locator("#slider-head").input_value() == "1.5"
        assert page.get_by_role("radio", name="Colour").is_checked()
        assert page.locator(".paint[aria-pressed=true]").get_attribute("aria-label") == "#1f2a44"
        assert page.get_by_label("Small").is_checked()
        assert "avatar speak" in page.locator(".command pre").text_content()
        page.get_by_role("button", name="Delete film.mp4?").click()
        page.get_by_role("button", name="Delete", exact=True).last.click()
        page.locator(".film-card").wait_for(state="detached")
    assert not film.exists()


def test_files_of_a_deck_are_chosen_together_and_mended(chromium: Any, furnished: Served) -> None:
    """A script and its picture; an unknown tag is marked on its slide; the new version makes a film."""
    pytest.importorskip("pptx")
    shutil.copytree(
        furnished.folder / "anna", furnished.folder / "dora", ignore=shutil.ignore_patterns("decks", "films")
    )
    image = io.BytesIO()
    Image.new("RGB", (64, 36), "#336699").save(image, "PNG")
    picture = {"name": "map.png", "mimeType": "image/png", "buffer": image.getvalue()}
    script = SCRIPT.replace("Silent", "![](map.png)").replace("Nothing.", "::: notes\nThis [shrug] is a map.\n:::")

    def written(text: str) -> list[dict[str, Any]]:
        return [{"name": "talk.md", "mimeType": "text/markdown", "buffer": text.encode()}, picture]

    with watched(chromium, furnished, "#/p/dora/slides") as page:
        page.set_default_timeout(PATIENCE)
        page.locator("input[type=file]").first.set_input_files(written(script))
        page.get_by_text("Slide 2: line 1: the tag [shrug] is not known").wait_for()
        make = page.get_by_role("button", name="Make the film")
        assert make.is_disabled()
        page.locator("input[type=file]").last.set_input_files(written(script.replace("[shrug] ", "")))
        page.locator(".notes", has_text="This is a map.").wait_for()
        assert page.locator(".slide img").last.evaluate("(one) => one.decode().then(() => one.naturalWidth)") > 400
        make.click()
        page.locator(".film-card video").wait_for()
    assert (furnished.folder / "dora" / "films" / "talk.mp4").exists()
    assert (furnished.folder / "dora" / "decks" / "talk" / "map.png").read_bytes() == image.getvalue()
