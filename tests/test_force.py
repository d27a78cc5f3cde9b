"""What is not usable is refused, and built by force with a word on what to expect."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from avatar.core.files import UserError
from avatar.core.recipe import Recipe
from avatar.core.take import Span, Take, write_take
from avatar.pipelines.build import build
from tests.actors import shorten
from tests.conftest import Filmed

FRAMES = 80
QUICK = Recipe(steps=2, train_size=64)


def spoilt(actor: Filmed, root: Path, figures: dict[str, float], *spans: Span) -> Take:
    take = shorten(actor.take, FRAMES, root)
    take = replace(take, excluded=spans, quality=take.quality | figures)
    write_take(take, root)
    return take


def test_a_covered_mouth_without_sound(actor: Filmed, tmp_path: Path) -> None:
    figures = {"usable": 0.0, "mouth_covered": 1.0, "sound_rms": 0.0}
    take = spoilt(actor, tmp_path / "take", figures, Span(0, FRAMES, "something covers the mouth"))
    (take.root / "audio.wav").unlink()
    out = tmp_path / "x.avatar"
    with pytest.raises(UserError, match=r"the mouth is covered in 100% .*no speech.*--force"):
        build(take.root, out, recipe=QUICK)
    assert not out.exists()
    with pytest.warns(UserWarning, match="expect") as notes:
        build(take.root, out, recipe=QUICK, force=True)
    words = "\n".join(str(note.message) for note in notes)
    assert "expect lips that do not move" in words
    assert "expect lips as they are in general" in words
    assert out.exists()


def test_frames_without_a_face_are_not_even_trained_on_by_force(actor: Filmed, tmp_path: Path) -> None:
    take = spoilt(actor, tmp_path / "take", {"usable": 0.0}, Span(0, FRAMES, "no face found"))
    with pytest.warns(UserWarning, match="nearly all"), pytest.raises(UserError, match="only 0 frames"):
        build(take.root, tmp_path / "x.avatar", recipe=QUICK, force=True)
