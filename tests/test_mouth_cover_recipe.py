"""The recipe of the classifier of covered mouths: what it draws hides lips, and what it fits knows them."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest

from avatar.core.landmarks import OUTER_LIPS
from tests.conftest import Filmed

PATH = Path(__file__).parent.parent / "recipes" / "mouth_cover.py"


@pytest.fixture(scope="module")
def recipe() -> ModuleType:
    spec = importlib.util.spec_from_file_location("mouth_cover_recipe", PATH)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where its dataclasses are looked up
    spec.loader.exec_module(module)
    return module


def test_what_is_drawn_hides_the_lips_and_leaves_the_eyes(recipe: ModuleType, actor: Filmed) -> None:
    face, random = next(recipe.read_faces(actor.take.root, 0)), np.random.default_rng(1)
    lips = cv2.fillPoly(np.zeros(face.picture.shape[:2], np.uint8), [face.points[list(OUTER_LIPS)].astype(int)], 1) > 0
    drawn = [hidden for _ in range(24) if (hidden := recipe.cover(face, random)) is not None]
    assert len(drawn) > 12
    for hidden in drawn:
        changed = np.abs(hidden.astype(int) - face.picture).max(-1) > 2
        assert changed[lips].mean() > 0.35
        assert not changed[: int(face.points[10, 1])].any(), "above the forehead"


def test_a_fit_knows_people_who_were_left_out(recipe: ModuleType, actor: Filmed) -> None:
    """The actor's frames as those of several people."""
    faces = [
        recipe.Face(n % 5, f.picture, f.points, f.skin) for n, f in enumerate(recipe.read_faces(actor.take.root, 0))
    ]
    examples = recipe.make_examples(faces, np.random.default_rng(0))
    assert 0.25 < examples.free.mean() < 0.4
    odds = recipe.odds_left_out(examples)
    assert (odds[examples.free] < recipe.SURELY).mean() < 0.05
    assert (odds[~examples.free] > recipe.SURELY).mean() < 0.3
    changed = recipe.make_examples(faces, np.random.default_rng(0))
    np.testing.assert_array_equal(changed.features, examples.features)
