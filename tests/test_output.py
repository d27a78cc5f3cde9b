"""What comes out: films of every kind, transparency, other sizes and rates, backgrounds that move, other views."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from avatar.core import encode
from avatar.core.coding import Coding
from avatar.core.encode import warn_of_encoder, write_video
from avatar.core.files import UserError
from avatar.core.geometry import exponential
from avatar.core.media import probe, read_video, write_wav
from avatar.core.motion_space import Motion, RateConverter, concatenate, resample
from avatar.play.look import Look

SIZE, FRAMES = 128, 12


def pictures(channels: int = 3) -> list[np.ndarray]:
    """A ramp that brightens; with alpha: the left half is there, the right half is not."""
    frames = []
    for index in range(FRAMES):
        frame = np.zeros((SIZE, SIZE, channels), np.uint8)
        frame[..., :3] = np.linspace(20, 200, SIZE)[:, None, None] + 3 * index
        if channels == 4:
            frame[:, : SIZE // 2, 3] = 255
        frames.append(frame)
    return frames


@pytest.mark.parametrize("codec", ["h264", "hevc", "av1"])
@pytest.mark.parametrize("quality", ["draft", "good"])
def test_every_codec_comes_back(tmp_path: Path, codec: str, quality: str) -> None:
    sound = tmp_path / "sound.wav"
    write_wav(sound, 0.1 * torch.randn(8000, generator=torch.Generator().manual_seed(0)))
    out = tmp_path / "film.mp4"
    assert write_video(pictures(), out, fps=25, sound=sound, coding=Coding(codec, quality)) == FRAMES
    info = probe(out)
    assert (info.width, info.height, info.fps, info.has_audio) == (SIZE, SIZE, 25, True)
    back = list(read_video(out, size=SIZE))
    assert np.mean([np.abs(a.astype(int) - b).mean() for a, b in zip(pictures(), back, strict=False)]) < 4


def test_what_limits_a_film_is_said(monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder) -> None:
    monkeypatch.setattr(encode, "encoder_works", lambda name: name == "h264_nvenc")
    warn_of_encoder(Coding("h264"))
    assert not recwarn.list
    with pytest.warns(
        UserWarning, match="the encoder limits this film, not the GPU: no hardware .* so libx265 does on"
    ):
        warn_of_encoder(Coding("hevc"))


@pytest.mark.parametrize("ending", [".mov", ".webm"])
def test_transparent_films_are_transparent(tmp_path: Path, ending: str) -> None:
    out = tmp_path / f"film{ending}"
    assert write_video(pictures(4), out, fps=25) == FRAMES
    over_green = next(read_over_green(out))
    assert np.abs(over_green[:, 80:].astype(int) - [0, 255, 0]).mean() < 6
    assert np.abs(over_green[:, :48].astype(int) - pictures()[0][:, :48]).mean() < 6


def read_over_green(path: Path):
    """Frames of a film with alpha, laid over green by ffmpeg itself."""
    import subprocess

    from avatar.core.media import ffmpeg_binary

    decoder = ["-c:v", "libvpx-vp9"] if path.suffix == ".webm" else []
    command = [
        ffmpeg_binary(),
        "-v",
        "error",
        *decoder,
        "-i",
        str(path),
        "-f",
        "lavfi",
        "-i",
        f"color=0x00ff00:s={SIZE}x{SIZE}",
    ]
    command += ["-filter_complex", "[1][0]overlay=shortest=1:format=rgb,format=rgb24", "-f", "rawvideo", "-"]
    data = subprocess.run(command, capture_output=True, check=True).stdout
    yield from np.frombuffer(data, np.uint8).reshape(-1, SIZE, SIZE, 3)


def test_a_name_without_ending_is_a_folder_of_pictures(tmp_path: Path) -> None:
    assert write_video(pictures(4), tmp_path / "frames", fps=25) == FRAMES
    names = sorted(path.name for path in (tmp_path / "frames").iterdir())
    assert names[0] == "000000.png"
    assert len(names) == FRAMES
    with Image.open(tmp_path / "frames" / names[3]) as image:
        assert np.array_equal(np.array(image), pictures(4)[3])


@pytest.mark.parametrize(
    ("name", "channels", "match"),
    [("x.mp4", 4, "holds no transparency"), ("x.gif", 3, "cannot be written as .gif"), ("x.webm", 3, "webm holds AV1")],
)
def test_endings_that_cannot_hold_it_are_refused(tmp_path: Path, name: str, channels: int, match: str) -> None:
    with pytest.raises(UserError, match=match):
        write_video(pictures(channels), tmp_path / name, fps=25)
    assert list(tmp_path.iterdir()) == []


def some_motion(frames: int) -> Motion:
    draw = torch.Generator().manual_seed(frames)
    turn = 0.3 * torch.randn(frames, 3, generator=draw)
    return Motion(
        torch.randn(frames, 4, generator=draw),
        torch.rand(frames, 4, generator=draw),
        exponential(turn),
        torch.randn(frames, 3, generator=draw),
        torch.randn(frames, 4, generator=draw),
        25.0,
    )


@settings(max_examples=30, deadline=None)
@given(
    frames=st.integers(1, 90),
    fps=st.sampled_from([10.0, 24.0, 25.0, 30.0, 50.0, 60.0]),
    cuts=st.lists(st.integers(1, 20), min_size=1, max_size=5),
)
def test_motion_at_another_rate_is_the_same_in_pieces(frames: int, fps: float, cuts: list[int]) -> None:
    motion, pieces, start = some_motion(frames), [], 0
    while start < frames:
        step = cuts[len(pieces) % len(cuts)]
        pieces.append(motion[slice(start, start + step)])
        start += step
    converter = RateConverter(fps)
    made = [*(converter.push(piece) for piece in pieces), converter.finish()]
    whole, streamed = resample(motion, fps), concatenate([part for part in made if part is not None])
    assert len(whole) == len(streamed) == max(1, round(frames * fps / 25))
    for name in ("expression", "eyes", "rotation", "translation", "torso"):
        assert torch.allclose(getattr(whole, name), getattr(streamed, name), atol=1e-4), name


def test_looks_that_contradict_themselves_are_refused() -> None:
    with pytest.raises(UserError, match="full frame keeps its own background"):
        Look(full_frame=True, background="white")
    with pytest.raises(UserError, match="not between 0 and 20"):
        Look(orbit=90)
    with pytest.raises(UserError, match="--size: 301 is not an even number"):
        Look(size=301)
