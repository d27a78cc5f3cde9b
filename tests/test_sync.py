"""Films are never late: adapted motion at all rates, films in all containers; the tool, its codes, its mended copy."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from avatar.cli import app
from avatar.core.articulation import LIP_LEAD
from avatar.core.coding import Coding
from avatar.core.controls import Controls
from avatar.core.encode import write_video
from avatar.core.files import UserError
from avatar.core.media import find_speech, read_speech, read_video
from avatar.core.media_command import ffmpeg_binary
from avatar.core.motion_space import concatenate, resample
from avatar.motion.driver import Driver, drive
from avatar.motion.speech_to_motion import open_speech_model
from avatar.motion.sync import measure_encoded, open_sync
from avatar.pipelines.sync import at_shown_times, check_sync
from avatar.pipelines.sync_faces import find_turns
from preprocess.actor import film_actor
from preprocess.crop import follow_people
from tests.conftest import SECONDS, Adapted, Filmed

ACTOR = -LIP_LEAD / 25  # s: the actor's lips move by synthetic articulation, which comes so much later than people's
WITHIN = 0.010  # s


def ffmpeg(*arguments: str | Path) -> None:
    subprocess.run([ffmpeg_binary(), "-v", "error", "-y", *map(str, arguments)], check=True, stdin=subprocess.DEVNULL)


def test_motion_is_in_time_with_speech_at_every_rate(adapted: Adapted, actor: Filmed) -> None:
    """The actor's lips come a frame after people's; an avatar of the actor is in time as people are, for all that."""
    model, style = adapted
    samples = torch.cat(list(read_speech(find_speech(actor.video))))
    driver = Driver(open_speech_model(model), style, fps=25, controls=Controls(blink=0.0, temperature=0.0))
    motion, measure = concatenate(list(drive(driver, samples.split(16000)))), open_sync(samples)
    seen = torch.ones(len(motion), dtype=torch.bool)
    assert style.lag_seconds == pytest.approx(-ACTOR)
    for fps in (24.0, 25.0, 30000 / 1001, 50.0, 60.0):
        shown = resample(motion, fps).expression
        # what a reader of 25 frames/s takes of a film of this rate
        source = torch.ceil((torch.arange(len(motion)) + 0.5) * fps / 25 - 1e-6).long() - 1
        read = at_shown_times(shown[source.clamp(0, len(shown) - 1)], fps)
        found = measure(read, seen).whole
        assert found.follows
        assert abs(found.offset) < WITHIN, fps


@pytest.mark.parametrize(("name", "rate"), [("a.mp4", "50"), ("a.mov", "24"), ("a.webm", "60")])
def test_a_film_reads_the_same_in_every_container(name: str, rate: str, actor: Filmed, tmp_path: Path) -> None:
    codec = ("-c:v", "libvpx", "-deadline", "realtime", "-b:v", "1M", "-c:a", "libopus") if name.endswith("webm") else (
        "-preset", "ultrafast", "-c:a", "aac",
    )  # fmt: skip
    ffmpeg("-i", actor.video, "-vf", f"scale=256:256,fps={rate}", *codec, tmp_path / name)
    found = check_sync(tmp_path / name)
    assert found.offset == pytest.approx(ACTOR, abs=0.02)


@pytest.fixture(scope="module")
def offset(actor: Filmed) -> float:
    """What the actor's film reads, s."""
    found = check_sync(actor.video).offset
    assert found == pytest.approx(ACTOR, abs=0.02)
    return found


def test_our_own_encoders_and_containers_move_nothing(actor: Filmed, offset: float, tmp_path: Path) -> None:
    """What is written is in time to 10 ms, whatever the sound's codec puts before its first sample."""
    frames = list(read_video(actor.video, size=256, fps=25.0))
    for name, codec in (("a.mp4", "h264"), ("a.mov", "h264"), ("a.webm", "av1")):
        write_video(frames, tmp_path / name, fps=25.0, sound=actor.video, coding=Coding(codec=codec))
        assert check_sync(tmp_path / name).offset == pytest.approx(offset, abs=WITHIN), name


def test_a_finished_film_is_in_time_at_another_rate(offset: float, tmp_path: Path) -> None:
    """The same performance, filmed at 24 frames/s, reads the same to 10 ms."""
    film_actor(tmp_path / "a.mov", seconds=SECONDS, seed=3, size=256, fps=24.0)
    assert check_sync(tmp_path / "a.mov").offset == pytest.approx(offset, abs=WITHIN)


def test_the_tool_finds_and_mends_a_late_sound(actor: Filmed, tmp_path: Path) -> None:
    late, mended, figures, page = (tmp_path / name for name in ("late.mp4", "mended.mp4", "f.json", "p.html"))
    small = ("-vf", "scale=256:256", "-preset", "ultrafast")
    ffmpeg("-i", actor.video, "-itsoffset", "0.24", "-i", actor.video, "-map", "0:v", "-map", "1:a", *small, late)
    run = CliRunner().invoke(app, ["sync", *map(str, (late, "--fix", mended, "--json", figures, "--page", page))])
    assert run.exit_code == 3, run.output
    assert "sound late" in run.output
    found = json.loads(figures.read_text())
    assert found["whole"]["offset"] == pytest.approx(0.24 + ACTOR, abs=0.02)
    assert found["whole"]["certainty"] > 0.95
    assert len(found["windows"]) == 6
    assert "Offset of the sound" in page.read_text()
    again = check_sync(mended)
    assert again.verdict == "in sync"
    assert abs(again.offset or 1.0) < WITHIN


def test_nothing_is_said_where_nothing_can_be(actor: Filmed, tmp_path: Path) -> None:
    grey, still, silent, mute, few = (tmp_path / f"{name}.mp4" for name in ("grey", "still", "silent", "mute", "few"))
    speech, fast = ("-i", actor.video, "-map", "0:v", "-map", "1:a", "-t", "4"), ("-preset", "ultrafast")
    ffmpeg("-f", "lavfi", "-i", "color=gray:s=256x256:r=25", *speech, *fast, grey)
    ffmpeg("-i", actor.video, "-vf", "loop=-1:1:0,scale=256:256,setpts=N/25/TB", "-t", "4", *fast, still)
    ffmpeg("-i", actor.video, "-vf", "scale=256:256", "-af", "volume=0", "-t", "4", *fast, silent)
    ffmpeg("-i", actor.video, "-vf", "scale=256:256", "-an", "-t", "4", *fast, mute)
    ffmpeg("-i", actor.video, "-vf", "scale=256:256", "-frames:v", "3", "-t", "0.12", *fast, few)
    reasons = {
        grey: "no face",
        still: "do not move",
        silent: "nobody speaks",
        mute: "no sound",
        few: "s long",
    }
    for film, reason in reasons.items():
        found = check_sync(film)
        assert (found.verdict, found.offset) == ("cannot be said", None), film
        assert reason in found.reason, film
    result = CliRunner().invoke(app, ["sync", str(mute), "--json", str(tmp_path / "m.json")])
    assert result.exit_code == 5
    assert json.loads((tmp_path / "m.json").read_text())["whole"] is None
    with pytest.raises(UserError, match="not written"):
        CliRunner().invoke(app, ["sync", str(mute), "--fix", str(tmp_path / "x.mp4")], catch_exceptions=False)


def test_music_and_a_sound_longer_than_the_picture(actor: Filmed, offset: float, tmp_path: Path) -> None:
    music, long = tmp_path / "music.mp4", tmp_path / "long.mp4"
    chord = "aevalsrc=0.2*(sin(440*2*PI*t)+sin(554*2*PI*t)+sin(660*2*PI*t))*(0.6+0.4*sin(4*PI*t)):s=16000:d=8"
    small = ("-vf", "scale=256:256", "-preset", "ultrafast")
    ffmpeg("-i", actor.video, "-f", "lavfi", "-i", chord, "-map", "0:v", "-map", "1:a", *small, music)
    found = check_sync(music)
    assert found.offset is None
    assert found.verdict in ("cannot be said", "lips do not follow the sound")
    ffmpeg("-i", actor.video, *small, "-af", "apad=pad_dur=4", long)
    assert check_sync(long).offset == pytest.approx(offset, abs=WITHIN)


def test_lips_do_not_follow_a_foreign_sound(actor: Filmed, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.mp4"
    ffmpeg("-i", actor.video, "-vf", "scale=256:256", "-af", "areverse", "-preset", "ultrafast", foreign)
    found = check_sync(foreign).found
    assert found
    assert found.whole.certainty < 0.2
    assert found.whole.follows is not True


def test_an_expression_at_25_frames_is_left_as_it_is() -> None:
    values = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(at_shown_times(values, 25.0), values.double())
    assert measure_encoded(torch.zeros(0, 168), values, torch.ones(40) > 0).whole.follows is None


def test_who_speaks_when_of_two_faces(actor: Filmed, tmp_path: Path) -> None:
    """The right one is the left one five seconds later; the sound is the left one's, then the right one's."""
    two = tmp_path / "two.mp4"
    graph = (
        "[0:v]scale=256:256,split[a][b];[b]tpad=start_duration=5:start_mode=clone,hflip[late];[a][late]hstack[v];"
        "[0:a]asplit[c][d];[c]atrim=0:6[first];[d]adelay=5000:all=1,atrim=6:12,asetpts=PTS-STARTPTS[second];"
        "[first][second]concat=n=2:v=0:a=1[s]"
    )
    named = ("-map", "[v]", "-map", "[s]", "-t", "12", "-preset", "ultrafast")
    ffmpeg("-i", actor.video, "-filter_complex", graph, *named, two)
    found = check_sync(two)
    left, right = found.faces
    assert (left.place, right.place) == ("face 1 from the left", "face 2 from the left")
    assert left.turns
    assert all(stop <= 7.5 for _, stop in left.turns)
    assert right.turns
    assert all(start >= 5.5 for start, _ in right.turns)
    for face in (left, right):
        assert sum(stop - start for start, stop in face.turns) > 3
        assert face.found.whole.follows
        assert face.found.whole.offset == pytest.approx(ACTOR, abs=0.025)


def test_turns_join_windows_that_follow_each_other() -> None:
    windows = [(0.0, 3.0), (1.0, 4.0), (2.0, 5.0), (3.0, 6.0)]
    assert find_turns([0, 0, None, 1], windows, 0) == [(0.0, 3.0)]
    assert find_turns([0, 0, None, 1], windows, 1) == [(4.0, 6.0)]
    assert find_turns([None, 1, None, 1], windows, 1) == [(2.0, 3.0), (4.0, 6.0)]


def test_people_beside_each_other_are_followed_and_those_after_a_cut_are_not() -> None:
    left, right, cut = (10.0, 10.0, 50.0, 60.0), (200.0, 12.0, 48.0, 60.0), (100.0, 90.0, 110.0, 120.0)
    beside = follow_people([[left, right], [right, left], [left], [right, left]])
    assert [[bool(box) for box in person] for person in beside] == [[True] * 4, [True, True, False, True]]
    assert len(follow_people([[left], [left], [cut], [cut]])) < 2
    assert follow_people([[], []]) == []
