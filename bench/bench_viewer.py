"""The viewer of web pages in headless Chromium without a GPU: picture, frames a second, size, sound.

python -m bench.bench_viewer NAME.avatar [--engine painter] [--seconds 8]: a page of the person's own motion, with a
sound, opened from disk. Prints a line a figure. SwiftShader stands in for a GPU: of `webgl` the picture counts, not
the speed.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from importlib.resources import files
from pathlib import Path

import numpy as np

from avatar.core.avatar_file import Avatar, load_avatar
from avatar.core.drawing_file import drawing_bytes
from avatar.core.motion_space import Motion
from avatar.pipelines.export_page import SCRIPTS, export_page
from bench.viewer_page import ViewerPage, decibels, drawn_by_renderer

FRAMES, TURNED = 10, 12.0  # frames compared; degrees
ASSETS = Path(str(files("avatar") / "assets"))
SPEECH, VIEWER = ASSETS / "actor_speech.flac", ASSETS / "viewer"
WATCH = """(async () => {{
  const {{film, view}} = avatarPage, apart = [], begun = view.drawn, start = performance.now();
  let last = -1;
  while (performance.now() - start < 1000 * {seconds}) {{
    if (view.shown.frame !== last && film.seconds < film.length) {{
      last = view.shown.frame;
      apart.push(film.seconds - (last + 0.5) / film.fps);
    }}
    await new Promise(requestAnimationFrame);
  }}
  return {{apart, drawn: (view.drawn - begun) / (performance.now() - start) * 1000, size: view.size, lead: view.leads}};
}})()"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("avatar", type=Path)
    parser.add_argument("--engine", choices=("painter", "webgl"), default="painter")
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--size", type=int, help="px a side; default: the avatar's own")
    parser.add_argument("--painters", type=int, help="default: as the viewer chooses")
    options = parser.parse_args()
    avatar = load_avatar(options.avatar)
    motion = avatar.style.own
    motion = motion[0 : min(len(motion), 400)]
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "page.html"
        export_page(avatar, place, motion=motion, speech=SPEECH)
        scripts = sum((VIEWER / f"{name}.js").stat().st_size for name in SCRIPTS)
        print(f"sent at start: drawing {len(drawing_bytes(avatar)) / 1e6:.2f} MB, scripts {scripts / 1e3:.0f} kB")
        print(f"page with everything: {place.stat().st_size / 1e6:.2f} MB")
        begun = time.perf_counter()
        with ViewerPage(place, options.engine, ["--window-size=900,900"]) as page:
            print(f"browser and first picture: {time.perf_counter() - begun:.2f} s")
            measure(page, avatar, motion, options)


def measure(page: ViewerPage, avatar: Avatar, motion: Motion, options: argparse.Namespace) -> None:
    """Frames a second with sound, then pictures against the renderer's."""
    size = options.size or avatar.camera.size
    page.evaluate(f"avatarPage.view.canvas.style.width = '{size}px'")
    if options.painters:
        painters = f"new PainterEngine(avatarPage.view.canvas, avatarPage.drawing, {options.painters})"
        page.evaluate(f"avatarPage.view.engine = {painters}; avatarPage.view.size = 0")
    page.wait(f"avatarPage.view.size === {size}")
    page.evaluate("document.getElementById('sound').onclick()")
    page.wait("avatarPage.film.sound && avatarPage.film.seconds > 1")
    seen = page.evaluate(WATCH.format(seconds=options.seconds))
    low, median, high = np.percentile(seen["apart"], [5, 50, 95]) * 1000
    drawn, each = seen["drawn"], 1e3 * seen["lead"]
    print(f"{options.engine}, {seen['size']} px: {drawn:.1f} frames/s finished, {each:.0f} ms each")
    print(f"sound minus picture: {low:.0f} / {median:.0f} / {high:.0f} ms (p5, median, p95)")
    chosen = [round(index * (len(motion) - 1) / (FRAMES - 1)) for index in range(FRAMES)]
    for degrees in (0.0, TURNED, -TURNED):
        expected = drawn_by_renderer(avatar, motion, chosen, size, degrees)
        pairs = zip(chosen, expected, strict=True)
        values = [decibels(page.drawn(frame, size, degrees), other) for frame, other in pairs]
        print(f"from {degrees:.0f} degrees: {min(values):.1f} dB at worst, {np.mean(values):.1f} on the mean")


if __name__ == "__main__":
    main()
