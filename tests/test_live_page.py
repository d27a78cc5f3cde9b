"""The page of `avatar serve` in headless Chromium, where it is installed."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator

import pytest

from avatar.core.avatar_file import Avatar
from avatar.core.label import Label
from avatar.play.look import Look
from avatar.play.player import Player
from avatar.serve.app import Network
from avatar.serve.hub import Hub
from bench.chromium import find_chromium, open_page
from tests.test_serve import RATE, Running, none_left, run_server, spoken

__all__ = ["none_left"]  # a fixture

pytestmark = [pytest.mark.browser, pytest.mark.skipif(find_chromium() is None, reason="Chromium is not installed")]

SPEAK = """
(async () => {
  const { Link } = await import("/static/link.js");
  const canvas = document.getElementById("picture");
  const link = new Link(location.href, "", { rate: %d }, canvas);
  const seen = { finished: null, shown: 0 };
  link.addEventListener("shown", () => { seen.shown++; });
  link.addEventListener("playback_finished", ({ detail }) => { seen.finished = detail; });
  await link.openSound();
  for (let i = 0; i < 400 && !link.ready; i++) await new Promise((r) => setTimeout(r, 50));
  link.push(new Int16Array(Uint8Array.from(atob("%s"), (c) => c.charCodeAt(0)).buffer));
  link.send({ type: "end" });
  for (let i = 0; i < 200 && !(seen.finished && seen.shown > 10); i++) await new Promise((r) => setTimeout(r, 50));
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  seen.colours = new Set(data).size;
  seen.width = canvas.width;
  seen.drift = link.stats.drift;
  link.close();
  return seen;
})()
"""


FILM = """
(async () => {
  const { Link } = await import("/static/link.js");
  const video = document.getElementById("video");
  Object.assign(video, { muted: true, hidden: false });
  const link = new Link(location.href, "", { rate: %d, transport: "mp4" }, video);
  const seen = { shown: [], ended: null };
  link.addEventListener("shown", ({ detail }) => { seen.shown.push(detail.index); });
  link.addEventListener("ended", ({ detail }) => { seen.ended = detail; });
  for (let i = 0; i < 400 && seen.shown.length < 20 && !seen.ended; i++) await new Promise((r) => setTimeout(r, 50));
  const { videoWidth, buffered, currentTime } = video;
  Object.assign(seen, { width: videoWidth, behind: buffered.length && buffered.end(0) - currentTime });
  link.close();
  return seen;
})()
"""


@pytest.fixture(scope="module")
def server(avatar: Avatar) -> Iterator[Running]:
    player = Player(avatar, look=Look(size=128))
    yield from run_server(Hub({"actor": player}, label=Label("eu"), sessions=2), Network())


def test_the_page_shows_who_speaks(server: Running) -> None:
    async def run() -> None:
        async with open_page(f"http://127.0.0.1:{server.port}/") as page:
            await page.wait("document.getElementById('avatar').options.length", 20)
            assert await page.run("document.getElementById('avatar').value") == "actor"
            script = SPEAK % (RATE, base64.b64encode(spoken(1.2)).decode())
            found = await asyncio.wait_for(page.run(script), 60)
            assert found["finished"]["position"] == 1.2
            assert found["width"] == 128
            assert found["colours"] > 50, "a picture was drawn"
            await page.run("document.getElementById('check').click()")
            await page.wait("document.querySelectorAll('#checks li').length > 5", 20)
            lines = await page.run("[...document.querySelectorAll('#checks li')].map((one) => one.textContent)")
            assert [line for line in lines if line.startswith("no:")] == []
            assert not page.console, "the policy lets all of the page's own through, and nothing else is asked for"

    asyncio.run(run())


def test_the_page_plays_fragmented_mp4(server: Running) -> None:
    async def run() -> None:
        async with open_page(f"http://127.0.0.1:{server.port}/") as page:
            if not await page.run("""MediaSource.isTypeSupported('video/mp4; codecs="avc1.42E01F, mp4a.40.2"')"""):
                pytest.skip("this Chromium has no H.264 or AAC")
            found = await asyncio.wait_for(page.run(FILM % RATE), 60)
            assert found["ended"] is None
            assert found["shown"] == sorted(found["shown"])
            assert len(found["shown"]) >= 20
            assert found["width"] == 128
            assert found["behind"] < 1.0
            assert not page.console

    asyncio.run(run())
