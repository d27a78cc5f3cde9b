"""Short films of the actor, and shortened Takes: what many tests of preprocessing need, made once a test run."""

from __future__ import annotations

import shutil
from dataclasses import fields, replace
from pathlib import Path

import pytest

from avatar.core.take import Take, open_take, read_track, save_track, split_frames, write_take
from preprocess.actor import film_actor
from tests.conftest import made_once

SHORT_SECONDS = 3.6  # a little more than the least that is accepted


def short_film(factory: pytest.TempPathFactory) -> Path:
    """A film of the actor, 3.6 s at 256 px, with sound."""

    def make(folder: Path) -> None:
        film_actor(folder / "clip.mp4", seconds=SHORT_SECONDS, seed=7, size=256)

    return made_once(factory, "short_film", make) / "clip.mp4"


def shorten(take: Take, frames: int, root: Path) -> Take:
    """The first frames of a Take as a Take of its own; its sound stays whole."""
    shutil.copytree(take.root, root, ignore=shutil.ignore_patterns("frames", "mattes", "*.html"))
    for path in [place(frame) for place in (take.frame_path, take.matte_path) for frame in range(frames)]:
        (root / path.parent.name).mkdir(exist_ok=True)
        shutil.copy(path, root / path.parent.name)
    track = read_track(take)
    whole = ("neutral", "fps")
    by_frame = {field.name: getattr(track, field.name)[:frames] for field in fields(track) if field.name not in whole}
    save_track(replace(track, **by_frame), root / "track.safetensors")
    train, test = split_frames(frames, 0.1)
    write_take(replace(take, root=root, length=frames, train=train, test=test), root)
    return open_take(root)
