"""Films of decks: python -m bench.bench_present NAME.avatar [--folder DIR] [--slides 10] [--lines 1080] [--stage STAGE]

Makes a deck of so many slides, every third one with a chart, with 18 s of speech each, and its film in `corner`; the
same again with the fourth slide changed; and measures how far heads and shoulders move at the joins of scenes, against
between other frames. Times are of the wall and of processors, its own and ffmpeg's; on a machine with other work the
second says more. Stages: first, changed, joins; all of them by default. Needs the extras `present` and `voices`.

Stage `hour`, with --slides 200: a film of an hour, as small as can be, in which one slide in twenty speaks: memory and
how far pictures and sound are from where they belong. It goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

import torch
from PIL import Image
from pptx import Presentation
from pptx.chart.data import CategoryChartData
from pptx.enum.chart import XL_CHART_TYPE
from pptx.util import Inches
from torch import Tensor

from avatar.core.avatar_file import load_avatar
from avatar.core.controls import resolve_controls
from avatar.core.geometry import to_vector
from avatar.core.media import SAMPLE_RATE, SoundTrack, find_speech, read_speech, read_whole
from avatar.core.motion_space import Motion, concatenate
from avatar.pipelines.present import Presenting, directed_scenes, present
from avatar.pipelines.present_scenes import FPS, Mover, Speaker, say_scenes
from avatar.presenter.decks import Sources, open_deck
from avatar.presenter.meeting import meet, rest
from avatar.presenter.store import Store, store_folder

CHANGED = 4  # the slide
SPEAKS, SEARCHED = 20, 1600  # of so many slides one speaks, in a long film; samples around where that belongs
SPEECH = (
    "Every quarter we look at how the network has grown, and at what it has cost us to keep it running. This slide "
    "shows the numbers that matter most for the coming year, and the people who are behind them. Please look at the "
    "trend rather than at any single month, because weather and holidays move every one of them."
)


def make_deck(place: Path, slides: int, changed: str = "") -> None:
    """A deck; changed: what is said besides on one slide."""
    deck = Presentation()
    deck.slide_width, deck.slide_height = Inches(13.333), Inches(7.5)
    for number in range(1, slides + 1):
        charted = number % 3 == 2
        slide = deck.slides.add_slide(deck.slide_layouts[5 if charted else 1])
        slide.shapes.title.text = f"Part {number}: how the network grew"
        if charted:
            data = CategoryChartData()
            data.categories = ["North", "East", "South", "West"]
            data.add_series("2025", (4 + number, 7, 2, 5))
            data.add_series("2026", (6, 8 + number, 3, 9))
            box = (Inches(1), Inches(1.8), Inches(8.5), Inches(5))
            slide.shapes.add_chart(XL_CHART_TYPE.COLUMN_CLUSTERED, *box, data)
        else:
            text = slide.placeholders[1].text_frame
            text.text = "Two hundred stations opened"
            text.add_paragraph().text = "Costs fell by a fifth"
        said = f"{SPEECH} That was part {number}. {changed if number == CHANGED else ''}"
        slide.notes_slide.notes_text_frame.text = said
    deck.save(str(place))


def spent() -> float:
    """s of processors so far, this program's and those that it has run."""
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in both)


def timed(avatar: Path, deck: Path, film: Path, asked: Presenting) -> None:
    """Make a film, and print what it took."""
    clock, used = time.perf_counter(), spent()
    made = present(avatar, deck, film, presenting=asked, force=True)
    wall, used, length = time.perf_counter() - clock, spent() - used, made.frames / made.fps
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    print(
        f"{made.made} of {made.frames} frames made, {length:.1f} s long: {wall:.1f} s ({wall / length:.2f}x), "
        f"{used:.1f} s of processors ({used / length:.2f}x), {memory:.0f} MB at most"
    )


def joins(avatar: Path, deck: Path, film: Path) -> None:
    """Print steps of head and shoulders at joins against other ones."""
    opened, store = load_avatar(avatar), Store(store_folder(film))
    with tempfile.TemporaryDirectory() as folder:
        scenes = directed_scenes(open_deck(deck, Sources(), Path(folder)), Presenting())
        said = say_scenes(scenes, Speaker(Presenting().saying, store), 3.0, str(deck), lambda *_: None)
    mover, motions, before = Mover(opened, resolve_controls(opened), store), list[Motion](), None
    for one in said:
        motions.append(rest(meet(before, mover.move(one, []))))
        before = motions[-1][slice(len(motions[-1]) - 2, None)]
    whole = concatenate(motions)
    at = torch.tensor([sum(map(len, motions[:index])) - 1 for index in range(1, len(motions))])
    for name, steps in steps_of(whole).items():
        other = torch.ones(len(steps), dtype=torch.bool)
        other[at] = False
        usual, high = steps[other].median(), steps[other].quantile(0.95)
        print(
            f"{name}: {len(at)} joins, median {float(steps[at].median() / usual):.2f} times the usual step, "
            f"most {float(steps[at].max() / usual):.2f} times (1 in 20 of all steps: {float(high / usual):.2f} times)"
        )


def steps_of(motion: Motion) -> dict[str, Tensor]:
    """How far parts of a person move from frame to frame."""
    return {
        "head, turning": to_vector(motion.rotation[1:] @ motion.rotation[:-1].mT).norm(dim=1),
        "head, moving": motion.translation.diff(dim=0).norm(dim=1),
        "shoulders": motion.torso[:, :2].diff(dim=0).norm(dim=1),
    }


def long_film(avatar: Path, folder: Path, slides: int, seconds: float) -> None:
    """Make a film of dark and bright slides of so many s; print memory, and where slides and speech really begin."""
    deck, film = folder / "long", folder / "long.mp4"
    deck.mkdir(exist_ok=True)
    for number in range(slides):
        Image.new("L", (64, 36), 255 * (number % 2)).save(deck / f"{number + 1:03d}.png")
        if number % SPEAKS == SPEAKS - 1:
            (deck / f"{number + 1:03d}.txt").write_text(f"{SPEECH} This was part {number + 1}.")
    asked = Presenting(lines=128, draft=True, silent=seconds)
    timed(avatar, deck, film, asked)
    scenes = directed_scenes(open_deck(deck, Sources(), folder), asked)
    said = say_scenes(scenes, Speaker(asked.saying, Store(store_folder(film))), seconds, str(deck), lambda *_: None)
    starts = torch.tensor([one.frames for one in said]).cumsum(0)[:-1]
    light = torch.tensor([float(frame[:30, :30].mean()) for frame in read_whole(film, fps=FPS, pixels="nv12")])
    changes = 1 + ((light[1:] > 128) != (light[:-1] > 128)).nonzero()[:, 0]
    print(f"{len(changes)} changes of {len(starts)} slides, frames away: {int((changes - starts).abs().max())} at most")
    sound = torch.cat(list(read_speech(find_speech(film))))
    for index in [index for index, one in enumerate(said) if one.sound is not None][:: max(1, slides // SPEAKS - 1)]:
        at = float(changes[index - 1]) / FPS + said[index].lead
        print(
            f"slide {index + 1}, at {at:.1f} s: its speech is {1000 * away(sound, at, said[index].sound):+.1f} ms away"
        )


def away(sound: Tensor, at: float, speech: SoundTrack) -> float:
    """How much later, s, a speech begins in a sound than at so many s."""
    known = torch.cat(list(read_speech(speech)))[: 4 * SAMPLE_RATE]
    first = round(at * SAMPLE_RATE) - SEARCHED
    part = sound[first : first + len(known) + 2 * SEARCHED]
    alike = torch.nn.functional.conv1d(part[None, None], known[None, None])[0, 0]
    return (int(alike.argmax()) - SEARCHED) / SAMPLE_RATE


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("avatar", type=Path)
    parser.add_argument("--folder", type=Path, default=Path("present-bench"))
    parser.add_argument("--slides", type=int, default=10)
    parser.add_argument("--lines", type=int, default=1080)
    parser.add_argument("--seconds", type=float, default=18.0, help="of each slide of the stage `hour`")
    parser.add_argument("--stage", choices=["first", "changed", "joins", "hour"])
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    deck, film = options.folder / "deck.pptx", options.folder / "film.mp4"
    if options.stage in (None, "first"):
        make_deck(deck, options.slides)
        timed(options.avatar, deck, film, Presenting(lines=options.lines))
    if options.stage in (None, "changed"):
        make_deck(deck, options.slides, "This sentence is new.")
        timed(options.avatar, deck, film, Presenting(lines=options.lines))
    if options.stage in (None, "joins"):
        joins(options.avatar, deck, film)
    if options.stage == "hour":
        long_film(options.avatar, options.folder, options.slides, options.seconds)


if __name__ == "__main__":
    main()
