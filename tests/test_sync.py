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
from avatar.core.controls import Controls
from avatar.core.files import UserError
from avatar.core.media import find_speech, read_speech
from avatar.core.media_command import ffmpeg_binary
from avatar.core.motion_space import concatenate, resample
from avatar.motion.driver import Driver, drive
from avatar.motion.speech_to_motion import open_speech_model
from avatar.motion.sync import measure_encoded, open_sync
from avatar.pipelines.sync import at_shown_times, check_sync
from tests.conftest import Adapted, Filmed

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
