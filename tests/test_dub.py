"""Dubbed footage: every pixel but the mouth's as it was filmed, and the mouth as it was asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from avatar.core.avatar_file import Avatar, save_avatar
from avatar.core.encode import write_video
from avatar.core.files import UserError
from avatar.core.label import Label
from avatar.core.media import SAMPLE_RATE, probe, read_order, read_speech, read_whole, write_wav
from avatar.core.motion_space import Motion
from avatar.core.segments import Segment, read_segments
from avatar.core.speech_file import SpeechFile, first_sound
from avatar.core.take import Span, Take, read_audio, read_track
from avatar.core.threads import one_ahead
from avatar.pipelines import dub as dubbing
from avatar.pipelines import dub_stage
from avatar.pipelines.dub_plan import Plan, fade, longest, usable_frames
from avatar.pipelines.dub_stage import MouthReplacer, Stage
from avatar.pipelines.footage_order import find_jump, loop, plain, to_and_fro
from avatar.pipelines.speak import speak
from avatar.play.look import Look
from avatar.play.player import Player, motion_of_take
from avatar.render import open_renderer
from avatar.render.gaussian import GaussianRenderer
from cuda_ext import ops
from preprocess.dub import SHRINK, Faces, box_of, covering, mask, outline
from preprocess.morph import between
from preprocess.nv12 import Box, chroma_of, luma_of, put, rgb_of, size_of
from tests.conftest import Filmed

Array = np.ndarray
SIZE, EYE = 512, 75.0  # px of the actor's Take, and about his eye distance in it


def still(count: int, fps: float = 25.0) -> Motion:
    turn = torch.eye(3).expand(count, 3, 3)
    return Motion(torch.zeros(count, 32), torch.ones(count, 4), turn, torch.zeros(count, 3), torch.zeros(count, 4), fps)


@pytest.fixture(scope="module")
def numbered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film whose frames say their number by their brightness."""
    film = tmp_path_factory.mktemp("numbered") / "numbered.mp4"
    write_video((np.full((48, 64, 3), 3 * index, np.uint8) for index in range(70)), film, fps=29.97)
    return film


@pytest.mark.parametrize("frames", [range(70), range(69, -1, -1), [3, 4, 5, 4, 3, 2, 40, 41, 7], range(20, 50)])
def test_frames_are_read_in_any_order(numbered: Path, frames: list[int]) -> None:
    expected = list(read_whole(numbered, fps=29.97, pixels="nv12"))
    for number, frame in zip(frames, read_order(numbered, frames, fps=29.97), strict=True):
        assert np.array_equal(frame, expected[number]), number


def test_frames_after_a_start_are_counted_from_it(numbered: Path) -> None:
    whole = list(read_whole(numbered, fps=29.97, pixels="nv12"))
    for number, frame in zip((0, 1, 2), read_order(numbered, [0, 1, 2], fps=29.97, start=10 / 29.97), strict=True):
        assert np.array_equal(frame, whole[10 + number])


def test_short_footage_runs_to_and_fro_and_turns_where_it_is_calm() -> None:
    filmed, every = still(100), range(100)
    moving = torch.ones(100)
    moving[[20, 21, 22, 80, 81, 82]] = 0.0
    places = torch.cat([moving.cumsum(0)[:, None], torch.zeros(100, 2)], 1)
    shown = to_and_fro(replace(filmed, translation=places), 300, every).shown
    steps = shown[1:] - shown[:-1]
    assert shown[:80].tolist() == list(range(80))
    assert steps.abs().max() == 1
    turned = (steps[1:] != steps[:-1]).nonzero().flatten() + 1
    assert set(shown[turned].tolist()) <= {20, 21, 22, 80, 81, 82}
    assert to_and_fro(filmed, 60, every).shown.tolist() == list(range(60))
    assert to_and_fro(filmed, 20, range(40, 90)).shown.tolist() == list(range(40, 60))


def test_a_loop_jumps_by_a_morph_and_shows_no_frame_twice_in_a_row() -> None:
    order = loop(300, range(5, 95), (90, 20))
    assert len(order) == len(order.other) == len(order.share) == 300
    assert order.shown[:85].tolist() == list(range(5, 90))
    assert order.shown[85:91].tolist() == list(range(90, 96))  # both sides go on moving
    assert order.other[85:91].tolist() == list(range(14, 20))
    assert 0 < order.share[85] < order.share[88] < order.share[90] < 1
    assert order.shown[91:161].tolist() == list(range(20, 90))
    assert (order.share[91:161] == 0).all()


def test_a_jump_is_found_where_pictures_and_motion_are_alike(tmp_path: Path) -> None:
    """A square that goes round in 50 frames: frames 50 apart are the same."""
    film, angle = tmp_path / "round.mp4", torch.arange(120) * 2 * torch.pi / 50

    def frames() -> Iterator[Array]:
        for one in angle.tolist():
            frame = np.full((128, 160, 3), 60, np.uint8)
            x, y = 70 + round(40 * np.cos(one)), 54 + round(40 * np.sin(one))
            frame[y : y + 20, x : x + 20] = 220
            yield frame

    write_video(frames(), film, fps=25.0)
    places = torch.stack([angle.cos(), angle.sin(), torch.zeros(120)], 1)
    filmed = replace(still(120), translation=places)
    leave, enter = find_jump(film, probe(film), filmed, range(120), 0.0) or (0, 0)
    assert leave > enter
    assert (leave - enter) % 50 in (49, 0, 1)
    assert find_jump(film, probe(film), still(20), range(20), 0.0) is None


def test_a_morph_is_half_way_in_place() -> None:
    noise = torch.rand(1, 1, 128, 200, generator=torch.Generator().manual_seed(0))
    smooth = functional.avg_pool2d(noise, 9, 1, 4)[0, 0]
    picture = ((smooth - smooth.min()) / (smooth.max() - smooth.min()) * 200 + 20).to(torch.uint8).numpy()
    frames = [np.full((192, 160), 128, np.uint8) for _ in range(3)]
    for frame, left in zip(frames, (20, 17, 14), strict=True):
        luma_of(frame)[...] = picture[:, left : left + 160]
    first, truth, last = frames
    inner = (slice(20, 108), slice(20, 140))
    morphed, mixed = between(first, last, 0.5)[inner], (first[inner].astype(int) + last[inner]) / 2
    assert np.abs(morphed - mixed).mean() > 3
    assert np.abs(morphed.astype(int) - truth[inner]).mean() < 0.4 * np.abs(mixed - truth[inner]).mean()


def test_items_are_made_one_ahead_in_order_and_errors_arrive() -> None:
    made = list[int]()

    def items() -> Iterator[int]:
        for one in range(4):
            made.append(one)
            yield one
        raise UserError("the fifth")

    given, ahead = list[int](), one_ahead(items())
    with pytest.raises(UserError, match="the fifth"):
        given.extend(ahead)
    assert given == made == [0, 1, 2, 3]
    closing = one_ahead(iter(range(1000)))
    assert next(closing) == 0
    closing.close()  # type: ignore[attr-defined]


def test_only_one_usable_stretch_is_shown() -> None:
    usable = torch.ones(100, dtype=torch.bool)
    usable[[20, 70]] = False
    assert longest(usable) == range(21, 70)
    assert longest(torch.ones(5, dtype=torch.bool)) == range(5)


def test_frames_that_cannot_be_dubbed_stay_and_their_neighbours_go_over(actor: Filmed) -> None:
    spans = (Span(10, 14, "no face found"), Span(30, 50, "not among the most informative seconds"))
    usable = usable_frames(replace(actor.take, excluded=spans))
    assert (~usable).nonzero().flatten().tolist() == [10, 11, 12, 13]
    weight = fade(usable, 25.0)
    assert weight[10:14].abs().sum() == 0
    assert 0 < weight[9] < weight[7] < weight[5] == 1
    assert (weight[1:] - weight[:-1]).abs().max() < 0.35


def test_the_mask_reaches_below_both_chins_and_nothing_is_outside_it(actor: Filmed) -> None:
    points = read_track(actor.take).landmarks[20, :, :2].numpy()
    lower = points + [0, 12.0] * (points[:, 1:] > points[2, 1])  # a mouth further open
    for own, new in ((points, lower), (lower, points)):
        faces = Faces(own, new, eye=EYE)
        border = outline(faces)
        assert border[:, 1].max() > max(own[152, 1], new[152, 1]) + 0.3 * EYE
        box = box_of(faces, (SIZE, SIZE))
        shown = mask(faces, box)
        assert shown.max() == 1
        assert shown[0].max() == shown[-1].max() == shown[:, 0].max() == 0
        frame = np.random.default_rng(0).integers(30, 255, (SIZE * 3 // 2, SIZE), dtype=np.uint8)
        result = frame.copy()
        put(result, box, np.zeros((*shown.shape, 3), np.float32), shown)
        for plane, step in ((luma_of, 1), (chroma_of, 2)):
            outside = np.ones((SIZE // step, SIZE // step), bool)
            box.smaller(step).of(outside)[...] = shown.reshape(-1, step, shown.shape[1] // step, step).max((1, 3)) == 0
            assert np.array_equal(plane(result)[outside], plane(frame)[outside])
        assert luma_of(result)[~outside.repeat(2, 0).repeat(2, 1)].mean() < luma_of(frame).mean()


def test_something_before_the_mouth_is_seen(actor: Filmed) -> None:
    points = read_track(actor.take).landmarks[20, :, :2].numpy()
    faces, whole, side = Faces(points, points, eye=EYE), Box(0, 0, SIZE, SIZE), SIZE // SHRINK
    face = np.full((side, side, 3), 150, np.float32)
    noisy = face + np.random.default_rng(0).normal(0, 1, face.shape).astype(np.float32)
    hand = noisy.copy()
    x, y = (points[17] / SHRINK).astype(int)
    hand[y : y + 15, x - 20 : x + 3] = 60
    assert covering(noisy, face, faces, whole) < 2
    assert covering(hand, face, faces, whole) > 20


def test_parts_of_frames_are_rgb_and_back(numbered: Path) -> None:
    """As the encoder's own conversion has it: what is put back where it was is what was there."""
    rng = np.random.default_rng(1)
    blocks = rng.integers(40, 220, (1, 3, 12, 16), dtype=np.uint8).repeat(4, 2).repeat(4, 3)
    square = torch.from_numpy(np.ascontiguousarray(blocks[0, :, :, :48])).float() / 255
    frame = ops.to_nv12(square, torch.ones(1, 48, 48), torch.zeros(48, 48, 3, dtype=torch.uint8)).numpy()
    box = Box(8, 4, 40, 44)
    small, whole = rgb_of(frame, box, 4), rgb_of(frame, box)
    truth = 255 * square.permute(1, 2, 0).numpy()[box.top : box.bottom, box.left : box.right]
    assert np.abs(small - truth[::4, ::4]).max() < 2.5
    assert np.abs(whole[1::4, 1::4] - truth[1::4, 1::4]).max() < 60  # chroma is at half the size
    again = frame.copy()
    put(again, box, whole, np.ones(box.shape, np.float32))
    assert np.abs(luma_of(again).astype(int) - luma_of(frame)).max() <= 1


def test_a_part_is_drawn_as_the_whole_has_it(avatar: Avatar) -> None:
    renderer = open_renderer(avatar)
    assert isinstance(renderer, GaussianRenderer)
    motion, size = avatar.style.own, avatar.camera.size
    whole = torch.cat(renderer.render(motion, range(3, 4)), 1)[0]
    left, top, side = size // 4, size // 3, size // 2
    part = torch.cat(renderer.render_part(motion, 3, ops.Part(float(size), left, top), side), 1)[0]
    assert (part - whole[:, top : top + side, left : left + side]).abs().max() < 1e-3
    tiny = ops.Part(size / 4, 0.0, 0.0, low_pass=ops.LOW_PASS / 16)
    small = torch.cat(renderer.render_part(motion, 3, tiny, size // 4), 1)[0]
    brightness = functional.avg_pool2d(whole[None], 4)[0]
    assert (small - brightness).mean().abs() < 2e-3


@pytest.fixture(scope="module")
def home(avatar: Avatar, actor: Filmed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The avatar's file with its Take beside it, as `build` leaves them."""
    folder = tmp_path_factory.mktemp("home")
    save_avatar(avatar, folder / "actor.avatar")
    (folder / "actor.take").symlink_to(actor.take.root)
    return folder


@pytest.mark.parametrize("fps", [25.0, 29.97])
def test_a_film_is_dubbed(home: Path, actor: Filmed, monkeypatch: pytest.MonkeyPatch, fps: float) -> None:
    speech, out, video = home / "said.wav", home / "out.mp4", actor.video
    if fps != 25:
        video = home / "faster.mp4"
        write_video(read_whole(actor.video, fps=fps), video, fps=fps, sound=actor.video)
        monkeypatch.setattr(dubbing, "open_footage", lambda *_, **__: actor.take)
    write_wav(speech, read_audio(actor.take)[2 * SAMPLE_RATE : 4 * SAMPLE_RATE])
    kept: list[Array] = []

    def write(frames: object, *arguments: object, **options: object) -> int:
        kept.extend(frames)  # type: ignore[arg-type]
        return write_video(iter(kept), *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(dubbing, "write_video", write)
    monkeypatch.setattr(dubbing, "mark_frames", lambda frames, number: frames)
    made = dubbing.dub(home / "actor.avatar", video, speech, out, force=True)
    info = probe(video)
    assert (made.frames, made.left) == (len(kept), 0) == (round(2 * info.fps), 0)
    assert (probe(out).width, probe(out).height, probe(out).fps) == (info.width, info.height, info.fps)
    changed = np.zeros(size_of(kept[0]), bool)
    for frame, filmed in zip(kept, islice(read_whole(video, fps=info.fps, pixels="nv12"), len(kept)), strict=True):
        different = luma_of(frame) != luma_of(filmed)
        assert 0 < different.mean() < 0.4
        changed |= different
    assert not changed[: len(changed) // 3].any()  # forehead and eyes are as they were filmed


def test_the_mouth_is_the_one_asked_for(home: Path, avatar: Avatar, actor: Filmed) -> None:
    """A frame with another frame's mouth is nearer to that frame, mouth against mouth, than it was."""
    take = actor.take
    tracked = motion_of_take(avatar, take)
    stage = Stage(avatar, take)
    opening = read_track(take).landmarks[:, 14, 1] - read_track(take).landmarks[:, 13, 1]
    shut, wide = int(opening.argmin()), int(opening.argmax())
    own = tracked[slice(shut, shut + 1)]
    new = replace(own, expression=tracked.expression[wide : wide + 1])
    (frame,) = read_order(actor.video, [shut], fps=take.fps)
    plan = Plan(plain(torch.tensor([shut])), own, new, torch.ones(1), torch.zeros(1, dtype=torch.bool))
    frames = MouthReplacer(stage, plan, usual=20.0)
    (dubbed,) = frames.draw(iter([frame]))
    points = stage.faces(own, new, 0).new
    middle = points[[13, 14]].mean(0).round().astype(int)
    before, after = (float(luma_of(picture)[middle[1], middle[0]]) for picture in (frame, dubbed))
    assert after < before - 20  # dark between open lips


def test_wrong_footage_is_refused(home: Path, actor: Filmed, numbered: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    speech = home / "short.wav"
    write_wav(speech, torch.zeros(SAMPLE_RATE))
    with pytest.raises(UserError, match="has no picture"):
        dubbing.dub(home / "actor.avatar", speech, speech, home / "x.mp4")
    with pytest.raises(UserError, match="is read"):
        dubbing.dub(home / "actor.avatar", actor.video, speech, actor.video)
    monkeypatch.setattr(dub_stage, "ANOTHER_PERSON", 0.01)
    with pytest.raises(UserError, match="does not show the avatar's person"):
        dubbing.dub(home / "actor.avatar", actor.video, speech, home / "x.mp4")
    assert not (home / "x.mp4").exists()


@pytest.mark.parametrize("full", [True, False])
def test_an_avatar_speaks_over_its_own_footage(home: Path, actor: Filmed, full: bool) -> None:
    speech, out, info = home / "over.wav", home / "over.mp4", probe(actor.video)
    write_wav(speech, read_audio(actor.take)[2 * SAMPLE_RATE : 3 * SAMPLE_RATE])
    look = Look(footage=str(actor.video), full_frame=full, size=None if full else 128, label=Label("eu"))
    assert speak(home / "actor.avatar", speech, out, look=look, force=True) == round(info.fps)
    made = probe(out)
    assert (made.width, made.height) == ((info.width, info.height) if full else (128, 128))
    if full:
        written, filmed = (next(read_whole(one, fps=info.fps)).astype(int) for one in (out, actor.video))
        assert np.abs(written - filmed)[info.height // 4 : info.height // 3].mean() < 6  # eyes and brows: as filmed


def test_footage_of_another_clip_is_refused(home: Path, numbered: Path) -> None:
    write_wav(speech := home / "no.wav", torch.zeros(SAMPLE_RATE))
    with pytest.raises(UserError, match="is not the clip that the avatar was built from"):
        speak(home / "actor.avatar", speech, home / "no.mp4", look=Look(footage=str(numbered)))
    with pytest.raises(UserError, match="footage keeps its own background"):
        Look(footage=str(numbered), background="white")
    with pytest.raises(UserError, match="films of a speech"):
        Player(home / "actor.avatar", look=Look(footage=str(numbered)))
    assert not (home / "no.mp4").exists()


def read_sound(film: Path) -> Array:
    return torch.cat(list(read_speech(first_sound(film)))).numpy()


def test_a_part_gets_another_speech_and_the_rest_stays(
    home: Path, actor: Filmed, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, info, kept = home / "edited.mp4", probe(actor.video), list[Array]()
    write_wav(said := home / "new.wav", 0.3 * torch.sin(torch.arange(SAMPLE_RATE) * 0.3))
    (home / "parts.yaml").write_text(f"sentence: {{start: 2, end: 3.4, speech: {said}}}")

    def write(frames: object, *arguments: object, **options: object) -> int:
        kept.extend(frames)  # type: ignore[arg-type]
        return write_video(iter(kept), *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(dubbing, "write_video", write)
    monkeypatch.setattr(dubbing, "mark_frames", lambda frames, number: frames)
    made = dubbing.dub(home / "actor.avatar", actor.video, read_segments(home / "parts.yaml"), out)
    first, last = round(2 * info.fps), round(3.4 * info.fps)
    filmed = list(read_whole(actor.video, fps=info.fps, pixels="nv12"))
    assert (len(kept), made.left) == (len(filmed), 0)
    same = [np.array_equal(*pair) for pair in zip(kept, filmed, strict=True)]
    assert all(same[:first])
    assert all(same[last:])
    assert not any(same[first + 1 : last - 1])
    own, new = read_sound(actor.video), read_sound(out)
    at = [round(second * SAMPLE_RATE) for second in (1.9, 2.05, 2.95, 3.05, 3.35, 3.45, 4.45)]
    assert np.corrcoef(own[: at[0]], new[: at[0]])[0, 1] > 0.98
    assert np.abs(new[at[3] : at[4]]).max() < 0.02  # after the new speech silence, to the end of the part
    assert np.corrcoef(own[at[5] : at[6]], new[at[5] : at[6]])[0, 1] > 0.98
    tone = np.abs(np.fft.rfft(new[at[1] : at[2]]))
    assert abs(tone.argmax() / (at[2] - at[1]) - 0.3 / (2 * np.pi)) < 1e-3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: {start: 3, end: 2, speech: x.wav}", "ends at 2 s, before it begins"),
        (
            "a: {start: 1, end: 3, speech: x.wav}\nb: {start: 2, end: 4, speech: y.wav}",
            "b begins at 2 s, before a ends",
        ),
        ("a: {start: 1, end: 3, speach: x.wav}", "'speech' field required"),
        ("a: 3", "must be NAME"),
        ("{}", "holds no segment"),
    ],
)
def test_what_is_wrong_with_segments_is_said(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "parts.yaml").write_text(text)
    with pytest.raises(UserError, match=message):
        read_segments(tmp_path / "parts.yaml")


def test_a_speech_that_is_too_long_for_its_part_is_refused(home: Path, actor: Filmed) -> None:
    write_wav(said := home / "long.wav", torch.zeros(2 * SAMPLE_RATE))
    for start, message in ((1.0, "is 1.00 s longer"), (500.0, "ends at 501 s")):
        part = Segment("a", start, start + 1.0, SpeechFile(said))
        with pytest.raises(UserError, match=message):
            dubbing.dub(home / "actor.avatar", actor.video, [part], home / "x.mp4")
    assert not (home / "x.mp4").exists()


def test_a_take_of_other_footage_is_not_used(home: Path, actor: Filmed) -> None:
    def known(take: Take) -> bool:
        return take.root == home / "actor.take"

    assert known(dubbing.open_footage(actor.video, home / "o.mp4", home / "actor.avatar", "auto", lambda *_: None))
